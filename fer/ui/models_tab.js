// The page's side of the Models tab; desk.js and promotion.js come before it.
const titles = Object.fromEntries(props.value.expressions);
const NAMES = { corrections: "Held-out corrections", benchmark: "Base benchmark" };
let listed = ""; // what the list on the page was made of
let versions = [];

function refuse(answer) {
  $(".models").classList.toggle("refused", Boolean(answer.refused));
  report(answer.error);
}

async function list() {
  const answer = await ask(server.listing);
  if (!answer) {
    if (!listed) $(".in-use").textContent = "The app does not answer; trying again …";
    return;
  }
  if (answer.error) return refuse(answer);
  const now = JSON.stringify(answer);
  if (now === listed) return;
  listed = now;
  versions = answer.versions;
  const active = versions.find((one) => one.active);
  const answering = answer.answering || active.version, other = answering !== active.version;
  $(".in-use").textContent = `${answering} answers.`;
  $(".warning").textContent = answer.warning || (other ? `${active.version} was promoted: it is being loaded, or the app was started with a model of its own.` : "");
  $(".warning").hidden = !$(".warning").textContent;
  $(".back").hidden = !answer.history.length;
  const open = new Set([...$(".versions").querySelectorAll("details[open]")].map((one) => one.dataset.version));
  $(".versions").replaceChildren(...versions.map((one) => entry(one, open.has(one.version))));
  choices();
  const acts = { promote: "was promoted by", rollback: "was gone back to by" };
  $(".history").replaceChildren(...(answer.history.length ? answer.history : [null]).map((one) => {
    if (!one) return make("li", "", "Nothing was promoted yet: the model that ships answers.");
    const line = make("li", "", `${dated(one.at)}: ${one.version} ${acts[one.action] || one.action} ${one.who}.`);
    if (one.why) line.append(make("span", "why", `Why: ${one.why}`));
    return line;
  }));
}

function entry(one, open) {
  const item = make("li"), head = make("h3");
  item.dataset.version = one.version;
  head.append(make("span", "", one.version));
  for (const [there, kind, words] of [[one.active, "in", "in use"], [one.shipped, "", "ships with the app"], [one.damaged, "bad", "damaged"], [one.withdrawn, "bad", "faces withdrawn"]]) {
    if (there) head.append(make("span", `badge ${kind}`, words));
  }
  const from = [one.date ? `made ${dated(one.date)}` : "", one.parent ? `from ${one.parent}` : "", one.snapshot ? `snapshot ${one.snapshot}` : "", one.origin ? `fetched from ${one.origin.repository}, commit ${one.origin.commit.slice(0, 7)}` : ""].filter(Boolean);
  item.append(head, make("p", "from", from.join(" · ")));
  if (one.damaged) item.append(make("p", "trouble", one.damaged));
  if (one.withdrawn) item.append(make("p", "trouble", "Faces were withdrawn that it, or a version it goes back to, has learned from. It may be used, but should be replaced: go back to a version before it, then start a run."));
  item.append(figures(one));
  if (one.verdict) item.append(make("p", "", one.verdict.words));
  const bar = make("div", "bar");
  if (!one.active && !one.damaged) bar.append(promoter(one));
  if (bar.children.length) item.append(bar);
  item.append(details(one, open));
  return item;
}

function figures(one) {
  const list = make("ul", "figures");
  list.append(...Object.entries(one.figures).map(([name, of]) => {
    const on = of.n === undefined ? "" : ` (${many(of.n, "face", "faces")})`;
    const before = of.accuracy_before === undefined ? "" : `${(100 * of.accuracy_before).toFixed(1)} % → `;
    const parts = [of.accuracy === undefined ? "" : `accuracy ${before}${(100 * of.accuracy).toFixed(1)} %`, of.macro_f1 === undefined ? "" : `macro-F1 ${of.macro_f1.toFixed(3)}`];
    return make("li", "", `${NAMES[name] || name}${on}: ${parts.filter(Boolean).join(", ")}`);
  }));
  return list;
}

function promoter(one) {
  const forced = Boolean(one.misgiving);
  const button = make("button", "button small", forced ? "Promote anyway …" : "Use this version");
  button.type = "button";
  button.setAttribute("aria-label", `${button.textContent.replace(" …", "")}: ${one.version}`);
  button.onclick = async () => {
    const said = await consent({
      title: forced ? "Promote anyway?" : "Use this version", yes: forced ? "Promote anyway" : "Use it", reason: forced,
      words: `${forced ? `${one.misgiving} ` : ""}Who makes the app answer with ${one.version}${forced ? ", and why," : ""} is kept with its history.`,
    });
    if (said) change(server.promote, { version: one.version, ...said });
  };
  return button;
}

async function change(fn, payload) {
  $(".in-use").textContent = "Loading …";
  const answer = await call(fn, payload, 120000);
  listed = "";
  await list();
  if (answer) $(".in-use").focus();
}
$(".back").onclick = async () => {
  const said = await consent({ title: "Roll back", words: "The version that answered before does so again. Who goes back is kept with its history.", yes: "Roll back" });
  if (said) change(server.rollback, { who: said.who });
};

function details(one, open) {
  const whole = make("details"), text = make("pre"), card = make("pre");
  whole.dataset.version = one.version;
  text.tabIndex = card.tabIndex = 0;
  text.textContent = one.command || "It does not say how it was made.";
  for (const [node, words] of [[text, "Command"], [card, "Card"]]) {
    node.setAttribute("role", "region");
    node.setAttribute("aria-label", `${words} of ${one.version}`);
  }
  card.hidden = true;
  whole.append(make("summary", "", "Command and card"), text, card);
  whole.ontoggle = async () => {
    if (!whole.open || card.textContent) return;
    const answer = await call(server.card, { version: one.version });
    if (answer) card.textContent = answer.card || "It has no card.";
    card.hidden = !answer;
  };
  whole.open = open;
  return whole;
}

// --- compare ------------------------------------------------------------------------------------

function choices() {
  const sound = versions.filter((one) => !one.damaged), active = sound.find((one) => one.active), newest = sound.find((one) => !one.active);
  for (const [select, chosen] of [[$(".one"), active], [$(".other"), newest]]) {
    const before = select.value;
    select.replaceChildren(...sound.map((one) => Object.assign(make("option", "", one.version), { value: one.version })));
    select.value = sound.some((one) => one.version === before) ? before : chosen?.version || "";
  }
  $(".pair").hidden = sound.length < 2;
  $(".alone").hidden = !$(".pair").hidden;
}

$(".pair").onsubmit = async (event) => {
  event.preventDefault();
  if (await call(server.compare, { one: $(".one").value, other: $(".other").value })) watch();
};

// Asked for while it already asks, it asks once more: the answer under way may be older than the wish.
let watching = false, again = false;
async function watch() {
  again = true;
  if (watching) return;
  watching = true;
  while (again) {
    again = false;
    const answer = await ask(server.compared);
    if (answer?.error && answer.running === undefined) break; // refused
    const running = !answer || answer.running === true;
    $(".go").disabled = running;
    if (answer?.one) showComparison(answer);
    if (running) again = true;
    await sleep(running ? 500 : 0);
  }
  watching = false;
}

function showComparison({ one, other, running, error, comparison, benchmark, no_benchmark: without, verdict }) {
  $(".comparing").textContent = running ? `Reading the held-out faces with ${one} and ${other} …` : error || `${one} before, ${other} after.`;
  const columns = comparison ? [["Held-out corrections", comparison], ...(benchmark ? [["Base benchmark", benchmark]] : [])] : [];
  $(".result").replaceChildren(...(comparison ? [
    make("p", "words decided", verdict.words), compared("Before and after, with 95 % intervals", columns),
    ...(without ? [make("p", "hint without", without)] : []),
    ...columns.map(([name, of]) => classes(`${name}, by expression`, of, titles)),
  ] : []));
}

async function begin() {
  await list();
  if (!$(".refused")) watch();
}
begin();
new IntersectionObserver(([one]) => { if (one.isIntersecting && listed && !$(".refused")) list(); }).observe($(".models"));
setInterval(() => { if (shown() && !$(".refused") && !$(".ask").open) list(); }, 5000);
