// The page's side of the Data tab; desk.js comes before it.
const { answers, formats, part: PART } = props.value;
const titles = Object.fromEntries(answers);
const titled = (words) => words.replace(/\b(unknown|NF)\b/g, (name) => (titles[name] ? titles[name].toLowerCase() : name));

// --- counts -------------------------------------------------------------------------------------

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const day = (at) => (new Date(at).toDateString() === new Date().toDateString() ? clock(at) : `${new Date(at).toLocaleDateString()} ${clock(at)}`);

let chosen = ""; // the pair whose faces are shown
async function refresh() {
  // A sentence about something else stays on the page while this goes on in the background.
  const answer = await ask(server.counts, {}, 60000);
  element.querySelector(".data").classList.toggle("refused", Boolean(answer?.refused));
  if (!answer || answer.error) {
    $(".saved").textContent = answer ? "" : "The app does not answer; trying again …";
    if (answer) report(answer.error);
    return;
  }
  $(".saved").textContent = answer.saved_at ? `Every label is saved on this disk; the last one at ${day(answer.saved_at)}.` : "No label yet. Each is saved on this disk before the page says so.";
  const { value, low, high, items } = answer.alpha;
  const labels = Object.values(answer.by_label).reduce((sum, count) => sum + count, 0);
  const agreement = value === null ? "–" : value.toFixed(2);
  $(".tiles").replaceChildren(...[
    [answer.faces.toLocaleString(), "faces with a picture"], [answer.labelled.toLocaleString(), "of them labelled"],
    [labels.toLocaleString(), "votes that stand"], [Object.values(answer.by_annotator).filter(Boolean).length, "people and sets"],
    [agreement, value === null ? "agreement: no face has two votes" : `agreement α [${low.toFixed(2)}, ${high.toFixed(2)}] on ${many(items, "face", "faces")}`],
    ...(answer.withdrawn ? [[answer.withdrawn.toLocaleString(), "faces withdrawn"]] : []),
  ].map(([figure, words]) => {
    const tile = make("li");
    tile.append(make("b", "", String(figure)), make("span", "", words));
    return tile;
  }));
  bars(".by-label", Object.entries(answer.by_label).map(([name, count]) => [titles[name], count]));
  bars(".by-annotator", Object.entries(answer.by_annotator).sort((a, b) => b[1] - a[1]));
  bars(".by-source", answer.by_source.map(([name, faces, labelled]) => [name, faces, ` · ${labelled.toLocaleString()} labelled`]));
  bars(".by-day", answer.by_day.slice(-14).reverse());
  const lacking = answer.missing.filter(([, , more]) => more);
  $(".lacking").textContent = lacking.length
    ? `Towards fifty faces of each expression, still missing: ${lacking.map(([name, , more]) => `${more} ${titles[name].toLowerCase()}`).join(", ")}.`
    : "Every expression has fifty faces or more.";
  pairs(answer.parting);
  newcomers(answer.newcomers || []);
}

// --- newcomers ----------------------------------------------------------------------------------

const standings = { new: "new", trusted: "released", held: "none of it is used" };
function newcomers(people) {
  const said = JSON.stringify(people);
  $(".newcomers").hidden = !people.length;
  if ($(".people").dataset.said === said) return;
  $(".people").dataset.said = said;
  $(".people").replaceChildren(...people.map((one) => {
    const row = make("li"), words = make("span"), buttons = make("span", "bar");
    const parts = [many(one.labels, "label", "labels"), standings[one.standing]];
    if (one.standing !== "held" && one.held) parts.push(`${one.held.toLocaleString()} waiting`);
    if (one.over) parts.push(`${one.over.toLocaleString()} above their share`);
    if (one.compared) parts.push(`agreed with on ${one.agreed} of ${one.compared}`);
    words.append(make("b", "", one.name), ` ${parts.join(" · ")}`);
    const button = (text, act) => {
      const made = make("button", "button small", text);
      made.type = "button";
      made.setAttribute("aria-label", `${text}: ${one.name}`);
      made.onclick = act;
      buttons.append(made);
    };
    button("Look", async () => {
      const shown = await call(server.faces, { newcomer: one.id });
      if (shown) gallery(".theirs", shown.faces);
    });
    const decide = (release) => async () => {
      const answer = await call(server.release, { newcomer: one.id, release });
      if (answer) newcomers(answer.newcomers);
    };
    if (one.standing !== "trusted") button("Release", decide(true));
    if (one.standing !== "held") button("Use none", decide(false));
    row.append(words, buttons);
    return row;
  }));
}

// Made anew only when a pair or a count has changed, so that a button keeps the focus.
function pairs(parting) {
  const said = JSON.stringify(parting);
  if ($(".pairs").dataset.said === said) return;
  $(".pairs").dataset.said = said;
  $(".pairs").replaceChildren(...parting.map(([one, other, count]) => {
    const button = make("button", "button small", `${titles[one]} / ${titles[other]}: ${count}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(chosen === `${one}/${other}`));
    button.onclick = async () => {
      chosen = `${one}/${other}`;
      for (const each of $(".pairs").children) each.setAttribute("aria-pressed", String(each === button));
      const shown = await call(server.parted, { one, other });
      if (shown) gallery(".parted", shown.faces);
    };
    return button;
  }));
  if (!parting.length) $(".pairs").textContent = "Nowhere yet.";
}

function gallery(selector, faces) {
  $(selector).replaceChildren(...faces.map((face) => {
    const item = make("li"), image = make("img");
    image.src = face.chip;
    image.alt = `Face ${face.item}`;
    item.append(image, titled(face.words));
    return item;
  }));
}

$(".look").onclick = async (event) => {
  event.target.disabled = true;
  $(".found").textContent = "Looking …";
  const answer = await call(server.doubtful, {}, 180000);
  event.target.disabled = false;
  $(".found").textContent = !answer ? "" : answer.total
    ? `${many(answer.total, "label looks", "labels look")} wrong; on the Label tab they come first. The worst:`
    : "None found. It takes twenty labelled faces at least, and the model must have read them.";
  if (answer?.learned) $(".found").textContent += ` ${many(answer.learned, "face", "faces")} that the model has learned from cannot be judged by it.`;
  if (answer?.unread) $(".found").textContent += ` So far the model has read ${answer.read.toLocaleString()} of ${(answer.read + answer.unread).toLocaleString()} faces; look again later.`;
  if (answer) gallery(".doubted", answer.faces);
};

// --- files in -----------------------------------------------------------------------------------

const watched = new Map(); // key of an import -> its row
function row(key, name) {
  if (!watched.has(key)) {
    const item = make("li"), title = make("b", "", name), bar = make("progress"), words = make("div");
    bar.setAttribute("aria-label", `Import of ${name}`);
    words.setAttribute("role", "status");
    item.append(title, bar, words);
    $(".imports").prepend(item);
    watched.set(key, { bar, words });
  }
  return watched.get(key);
}

async function send(file) {
  const upload = random(16), { bar, words } = row(upload, file.name);
  bar.max = Math.max(1, file.size);
  for (let at = 0; at < file.size || !at; ) {
    words.textContent = `Sending: ${percent(at / Math.max(1, file.size))}`;
    bar.value = at;
    const data = await encoded(file.slice(at, at + PART));
    const answer = await call(server.part, { upload, name: file.name, at, data }, 120000);
    if (!answer) return over(upload, "It did not arrive; choose it again.", true);
    if (!file.size) break;
    at = answer.here;
  }
  await bring(upload, { name: file.name });
}
const encoded = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1] || "");
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

async function bring(upload, what) {
  if (await call(server.bring, { upload, ...what })) watch();
  else over(upload, banner.textContent, true);
}

function over(key, text, error = false) {
  const { bar, words } = watched.get(key);
  bar.hidden = true;
  words.textContent = text;
  words.classList.toggle("error", error);
}

let watching = false;
async function watch() {
  if (watching) return;
  watching = true;
  for (let running = true; running; ) {
    const answer = await ask(server.imports);
    if (answer?.refused) break;
    running = !answer || Object.values(answer.imports).some((one) => one.running);
    for (const [key, one] of Object.entries(answer?.imports || {})) {
      const { bar, words } = row(key, one.source);
      if (one.running) {
        if (one.total) { bar.max = one.total; bar.value = one.done; } else bar.removeAttribute("value");
        words.textContent = one.total ? `${one.done.toLocaleString()} of ${one.total.toLocaleString()}` : `${one.done.toLocaleString()} so far`;
      } else {
        over(key, one.error || reported(one.report), Boolean(one.error));
        if (one.report?.problem_count) problems(key, one.report);
      }
    }
    await sleep(running ? 700 : 0);
  }
  watching = false;
  refresh();
}

function reported(report) {
  if (!report) return "";
  const parts = [many(report.faces, "new face", "new faces"), many(report.judgements, "new label", "new labels")];
  const said = [[report.known, "were here already"], [report.unlabelled, "without a label"], [report.without_face, "photos without a face"],
    [report.near_duplicates, "much like another face: asked about last"]].filter(([count]) => count);
  parts.push(...said.map(([count, words]) => `${count.toLocaleString()} ${words}`));
  return `${parts.join(" · ")}.${report.problem_count ? ` ${many(report.problem_count, "part", "parts")} passed over:` : ""}`;
}

function problems(key, report) {
  const list = make("ul", "problems");
  for (const one of report.problems.slice(0, 10)) list.append(make("li", "", `${one.name}: ${one.sentence}`));
  const more = report.problem_count - Math.min(10, report.problems.length);
  if (more) list.append(make("li", "", `and ${more.toLocaleString()} more; the report in the workspace names the first 200.`));
  watched.get(key).words.append(list);
}

$(".files").onchange = async (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  for (const file of files) await send(file);
};
$(".from").onsubmit = (event) => {
  event.preventDefault();
  const source = $(".source").value.trim();
  if (!source) return;
  const upload = random(16);
  row(upload, source);
  bring(upload, { source });
};

// --- files out, withdrawal ----------------------------------------------------------------------

$(".format").replaceChildren(...Object.entries(formats).map(([kind, title]) => Object.assign(make("option", "", title), { value: kind })));
$(".out").onclick = async (event) => {
  event.target.disabled = true;
  $(".handed").textContent = "Making the zip …";
  const answer = await call(server.hand_out, { kind: $(".format").value }, 600000);
  event.target.disabled = false;
  if (answer) {
    const [first, ...others] = answer.words.split("\n");
    $(".handed").textContent = [`${first.split(" in ")[0]} in the zip`, ...others.map((one) => one.trim())].join("; ") + ".";
  } else $(".handed").textContent = "";
  if (!answer) return;
  const link = make("a");
  link.href = answer.address;
  link.download = "";
  link.click();
};
$(".snap").onclick = async () => {
  const answer = await call(server.snapshot);
  $(".handed").textContent = answer
    ? `Snapshot ${answer.id} is in ${answer.folder}: ${answer.train} to train on, ${answer.val} to choose by, ${answer.test} to test on${answer.left_out ? `; ${answer.left_out} near copies of held-out faces left out` : ""}${answer.held ? `; ${many(answer.held, "label", "labels")} of newcomers left out until others agree` : ""}.`
    : "";
};
$(".back").onsubmit = async (event) => {
  event.preventDefault();
  const code = $(".code").value.trim();
  if (!code || !confirm("Remove all faces given under this code, with everybody's labels on them, for good?")) return;
  const answer = await call(server.withdraw, { code });
  if (!answer) return;
  $(".code").value = "";
  if (memory.get("studio.code") === code) memory.set("studio.code", "");
  $(".withdrawn").textContent = `Removed for good: ${many(answer.faces, "face", "faces")}.`
    + (answer.snapshots.length ? ` Also taken out of the snapshots ${answer.snapshots.join(", ")}.` : "")
    + (answer.on_hub === false ? " On the Hub the removal is still under way; the line above the tabs says when it is done." : "")
    + (answer.models.length ? ` Trained on them before: ${answer.models.join(", ")}.` : "");
  refresh();
};

refresh();
watch();
setInterval(() => { if (shown()) refresh(); }, 20000);
