// The page's side of the Train tab; desk.js and promotion.js come before it. All state is on the server: the page asks
// how the newest run is, once a second while it is active, and draws what it is told.
const { expressions, speeds } = props.value;
const titles = Object.fromEntries(expressions);
const SPEEDS = {
  quick: ["Quick", "Learns the last blocks of the network anew: what the model makes of what it sees."],
  full: ["Full", "Learns all but the first blocks anew, which stay as they are: new looks of faces too. Mostly better, and slower."],
};
// A run is named by its start, UTC: 20261121-115530-quick.
const began = (id) => id.replace(/^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d).*/, "$1-$2-$3T$4:$5:$6Z");
const ACTIVE = new Set(["starting", "running"]);
const FIRST = 24; // flipped faces shown at first, and more at a time
let seen = null; // the newest status
let counts = null; // the newest readiness
let told = ""; // the run and version whose report is on the page

const spent = (seconds) => (seconds < 90 ? many(Math.max(1, Math.round(seconds)), "second", "seconds") : `${(seconds / 60).toFixed(seconds < 600 ? 1 : 0)} minutes`);
const about = (seconds) => (seconds < 50 ? `about ${Math.max(10, Math.round(seconds / 10) * 10)} seconds` : `about ${many(Math.max(1, Math.round(seconds / 60)), "minute", "minutes")}`);
const left = (seconds) => (seconds === null || seconds === undefined ? "" : seconds < 45 ? "less than a minute left" : `${about(seconds)} left`);

function refuse(answer) {
  $(".train").classList.toggle("refused", Boolean(answer.refused));
  report(answer.error);
}

// --- what there is to learn from ----------------------------------------------------------------

$(".speeds").append(...speeds.map((speed, at) => {
  const label = make("label", "speed"), choice = make("input");
  Object.assign(choice, { type: "radio", name: "speed", value: speed, checked: !at });
  const [name, words] = SPEEDS[speed];
  label.append(choice, make("b", "", name), make("span", `of-${speed}`, words));
  return label;
}));

async function count() {
  const answer = await ask(server.readiness, {}, 60000);
  if (!answer || answer.error) {
    if (answer) refuse(answer);
    return;
  }
  counts = answer;
  $(".ready-words").textContent = answer.words;
  bars(".by-class", expressions.map(([name, title]) => [
    title, answer.learn[name], answer.held_out[name] ? ` + ${answer.held_out[name].toLocaleString()}` : "", answer.held_out[name]]));
  const notes = [
    ...answer.missing.map(([name, more]) => `${more} more ${titles[name].toLowerCase()} before this helps.`),
    answer.to_test < answer.to_tell && answer.to_learn ? `${many(answer.to_tell - answer.to_test, "more held-out face", "more held-out faces")} before it can be told whether a run helped; about one new face in five is held out.` : "",
    answer.groups ? `From ${many(answer.groups, "clip, person or photo", "clips, people or photos")}; one is never divided between learning and testing.` : "",
    answer.left_out ? `${many(answer.left_out, "face is", "faces are")} left out: near copies of held-out ones, or in one clip with them.` : "",
    answer.no_expression ? `${many(answer.no_expression, "face is", "faces are")} labelled cannot tell or not a face, and left out.` : "",
    answer.undecided ? `${many(answer.undecided, "held-out face is", "held-out faces are")} not tested on: no expression has more than half of the votes.` : "",
  ].filter(Boolean);
  $(".notes").replaceChildren(...notes.map((text) => make("li", "", text)));
  for (const speed of speeds) $(`.of-${speed}`).textContent = `${SPEEDS[speed][1]} ${answer.ready ? `Takes ${about(answer.estimates[speed])}.` : ""}`;
  startable();
}
function startable() {
  $(".start").disabled = !counts?.ready || ACTIVE.has(seen?.state);
}

$(".start").onclick = async () => {
  $(".start").disabled = true;
  const { value } = $(".speeds :checked");
  if (await call(server.start, { speed: value }, 120000)) {
    await lookAnew();
    $(".run-name").focus();
  }
  startable();
};

// --- the run ------------------------------------------------------------------------------------

const place = ({ step, steps }) => (step ? `at step ${step.toLocaleString()} of ${steps.toLocaleString()}` : "before its first step");
const SAID = {
  starting: () => "Starting …",
  running: () => "Running.",
  finished: (one) => `Finished after ${spent(one.seconds)}.`,
  stopped: (one) => `Stopped ${place(one)}. Resume goes on from there.`,
  failed: (one) => `It failed: ${one.error || "the log says more."}`,
  interrupted: (one) => `It was cut off ${place(one)}, as when the machine was switched off. Resume goes on from where it was saved last.`,
};

function show(status, active_model) {
  const before = seen;
  seen = status;
  $(".run").hidden = !status.run;
  startable();
  if (!status.run) return;
  const active = ACTIVE.has(status.state);
  $(".run").dataset.state = status.state;
  $(".run-name").textContent = `${SPEEDS[status.speed]?.[0] || "A"} run, started ${dated(began(status.run))}`;
  $(".run-name").title = status.run;
  const words = (SAID[status.state] || (() => status.state))(status);
  if ($(".state").textContent !== words) $(".state").textContent = words;
  $(".state").classList.toggle("failed", status.state === "failed");
  progress(status, active);
  $(".stop").hidden = !active;
  $(".resume").hidden = !["stopped", "interrupted", "failed"].includes(status.state);
  curves(status);
  if (status.log !== null && $(".log pre").textContent !== status.log) {
    const text = $(".log pre"), atEnd = text.scrollTop + text.clientHeight > text.scrollHeight - 30;
    text.textContent = status.log;
    if (atEnd) text.scrollTop = text.scrollHeight;
  }
  outcome(status, active_model);
  if (before && (before.run !== status.run || before.state !== status.state)) count();
}

function progress(status, active) {
  const bar = $(".progress");
  bar.hidden = !active;
  if (status.steps && status.state === "running") {
    bar.max = status.steps;
    bar.value = status.step;
  } else bar.removeAttribute("value");
  const parts = [status.words, status.steps && status.step ? `step ${status.step.toLocaleString()} of ${status.steps.toLocaleString()}` : "", left(status.seconds_left)];
  const doing = parts.filter(Boolean).join(" · ");
  $(".doing").hidden = !active || !doing;
  $(".doing").textContent = doing.slice(0, 1).toUpperCase() + doing.slice(1);
}

let looking = null;
const look = () => (looking ??= once().finally(() => { looking = null; }));
// An answer that is under way may be older than what was just done.
const lookAnew = async () => { await looking; return look(); };
async function once() {
  const answer = await ask(server.look, { log: $(".log").open });
  if (!answer) {
    $(".doing").hidden = false;
    $(".doing").textContent = "The app does not answer; trying again …";
  } else if (answer.error) refuse(answer);
  else show(answer.newest, answer.active);
}
async function follow() {
  for (;;) {
    if (shown() && !$(".refused")) await look();
    await sleep(ACTIVE.has(seen?.state) ? 1000 : 4000);
  }
}

for (const [button, fn] of [[".stop", "stop"], [".resume", "resume"]]) {
  $(button).onclick = async () => {
    $(button).disabled = true;
    if (fn === "stop") $(".state").textContent = "Stopping …";
    await call(server[fn], {}, 60000);
    await lookAnew();
    $(button).disabled = false;
    if ($(button).hidden) $(ACTIVE.has(seen?.state) ? ".stop" : ".resume").focus();
  };
}
$(".log").ontoggle = async () => {
  if (!$(".log").open) return;
  await lookAnew();
  $(".log pre").scrollTop = $(".log pre").scrollHeight;
};

// --- curves -------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
function draw(name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}
const figure = (value) => value.toFixed(value < 1 ? 2 : 1);
const shareOf = (value) => `${(100 * value).toFixed(1)} %`;

// Steps of 1, 2 or 5 times a power of ten: four or five of them between `low` and `high`.
function ticks(low, high) {
  const rough = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, at) => (first + at) * step);
}

let drawn = "";
function curves(status) {
  const lines = status.metrics || [];
  $(".curves").hidden = !lines.length;
  const said = JSON.stringify([status.run, status.steps, lines.length, lines.at(-1), $(".plot").clientWidth]);
  if (!lines.length || said === drawn) return;
  drawn = said;
  const last = Math.max(status.steps || 0, ...lines.map((one) => one.step));
  const points = (key) => lines.filter((one) => Number.isFinite(one[key])).map((one) => [one.step, one[key]]);
  plot(".loss", "Loss", last, [["one", "on the faces learned from", points("loss")]], figure);
  plot(".accuracy", "Accuracy", last, [["one", "base benchmark", points("base_accuracy")], ["two", "held-out corrections", points("corrections_accuracy")]], shareOf);
}

function plot(where, name, last, series, said) {
  const there = series.filter(([, , points]) => points.length);
  $(where).hidden = !there.length;
  if (!there.length) return;
  const values = there.flatMap(([, , points]) => points.map(([, value]) => value));
  const scale = ticks(where === ".loss" ? 0 : Math.min(...values) - 0.01, where === ".loss" ? Math.max(...values) : Math.min(1, Math.max(...values) + 0.01));
  const width = Math.max(240, $(`${where} .plot`).clientWidth), height = 200, [low, high] = [scale[0], scale.at(-1)];
  const x = (step) => 46 + ((width - 60) * step) / Math.max(1, last), y = (value) => 168 - (156 * (value - low)) / (high - low || 1);
  const words = there.map(([, title, points]) => `${title}: ${said(points[0][1])} at step ${points[0][0]}, ${said(points.at(-1)[1])} at step ${points.at(-1)[0]}`);
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} by step. ${words.join("; ")}.` });
  for (const value of scale) {
    picture.append(draw("line", { class: "grid", x1: 46, x2: width - 14, y1: y(value), y2: y(value) }));
    picture.append(draw("text", { x: 40, y: y(value) + 4, "text-anchor": "end" }, where === ".loss" ? String(+value.toFixed(4)) : `${+(100 * value).toFixed(1)} %`));
  }
  const middle = Math.round(last / 2);
  for (const [step, anchor] of [[0, "middle"], [middle, "middle"], [last, "end"]]) {
    picture.append(draw("text", { x: x(step), y: 186, "text-anchor": anchor }, step === middle ? `step ${step}` : String(step)));
  }
  for (const [kind, , points] of there) {
    picture.append(draw("path", { class: `line-${kind}`, d: points.map(([step, value], at) => `${at ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("") }));
    const [step, value] = points.at(-1);
    picture.append(draw("circle", { class: `dot-${kind}`, cx: x(step), cy: y(value), r: 3.5 }));
  }
  $(`${where} .plot`).replaceChildren(picture);
  $(`${where} figcaption`).replaceChildren(...there.map(([kind, title, points]) => {
    const entry = make("span"), key = draw("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
    key.append(draw("line", { class: `line-${kind}`, x1: 0, x2: 26, y1: 4, y2: 4 }));
    entry.append(key, `${title}: ${said(points[0][1])} → ${said(points.at(-1)[1])}`);
    return entry;
  }));
}

// --- what came of it ----------------------------------------------------------------------------

function outcome(status, active_model) {
  const came = status.report?.kind === "finetune" ? status.report : null;
  $(".report").hidden = !came;
  if (!came || told === `${status.run} ${active_model}`) return;
  const again = told.startsWith(`${status.run} `); // only the version in use is another
  told = `${status.run} ${active_model}`;
  offer(came, active_model === came.version);
  if (again) return;
  $(".verdict").textContent = came.verdict.words;
  $(".verdict").dataset.code = came.verdict.code;
  $(".facts").textContent = [
    `The version ${came.version}, from ${came.base}`, `learned from ${many(came.learned_from, "face", "faces")} in ${spent(came.seconds)}`,
    `${many(came.held_out, "face", "faces")} held out`, Number.isFinite(came.blend) ? `${percent(came.blend)} of the new weights kept, the rest is the old ones'` : "",
    came.snapshot ? `snapshot ${came.snapshot}` : ""].filter(Boolean).join(" · ") + ".";
  const columns = [["Held-out corrections", came.corrections], ["Base benchmark", came.benchmark]].filter(([, one]) => one);
  $(".before-after").replaceChildren(...(columns.length ? [compared("Before and after, with 95 % intervals", columns)] : [make("p", "hint", "No face was held out, so there is nothing to compare on.")]));
  $(".per-class").hidden = !columns.length;
  $(".per-class .tables").replaceChildren(...columns.map(([name, one]) => classes(name, one, titles)));
  flips(status.run, came.flips || [], came.corrections);
}

function offer(came, active) {
  const { promote } = came.verdict;
  $(".use").hidden = active;
  $(".use").textContent = promote ? "Use this version" : "Promote anyway …";
  $(".use").classList.toggle("primary", promote);
  $(".used").textContent = active ? `The app answers with ${came.version} now. The Models tab goes back to another.` : "";
  $(".use").onclick = async () => {
    const said = await consent({
      title: promote ? "Use this version" : "Promote anyway?", yes: promote ? "Use it" : "Promote anyway", reason: !promote,
      words: promote ? "Who makes the app answer with it is kept with its history." : `${came.verdict.words} Who promotes it all the same, and why, is kept with its history.`,
    });
    if (!said) return;
    $(".use").disabled = true;
    $(".used").textContent = "Loading …";
    const answer = await call(server.use, { version: came.version, ...said }, 120000);
    $(".use").disabled = false;
    if (!answer) $(".used").textContent = "";
    await lookAnew();
    if (answer) $(".used").focus();
  };
}

const named = (name) => titles[name] || name;

function flips(run, all, counts) {
  $(".flip-words").textContent = all.length
    ? `Of the held-out faces ${counts.broken.toLocaleString()} went from right to wrong${counts.broken ? ", shown first" : ""}, ${counts.mended.toLocaleString()} from wrong to right.`
    : "No held-out face went from right to wrong or back.";
  $(".flips").replaceChildren();
  const more = async () => {
    const at = $(".flips").children.length, next = all.slice(at, at + FIRST);
    const answer = next.length ? await ask(server.pictures, { run, names: next.map((one) => one.image) }, 60000) : null;
    if (answer?.error && !at) $(".flip-words").textContent += ` ${answer.error}`;
    $(".flips").append(...next.map((one) => flipped(one, answer?.pictures?.[one.image])));
    $(".more").hidden = at + next.length >= all.length;
  };
  $(".more").hidden = true;
  $(".more").onclick = more;
  more();
}

function flipped(one, picture) {
  const item = make("li", one.broken ? "broken" : "mended"), image = make(picture ? "img" : "span", picture ? "" : "blank");
  if (picture) {
    image.src = picture;
    image.alt = `Face labelled ${named(one.label).toLowerCase()}`;
  }
  item.append(image, make("span", "kind", one.broken ? "Right to wrong" : "Wrong to right"),
    make("b", "", `${named(one.before)} ${percent(one.before_confidence)} → ${named(one.after)} ${percent(one.after_confidence)}`),
    make("span", "", `Label: ${named(one.label).toLowerCase()}`));
  return item;
}

new ResizeObserver(() => { if (seen?.run && shown()) curves(seen); }).observe($(".run"));
// Coming back to the tab shows at once what happened meanwhile.
new IntersectionObserver(([one]) => { if (one.isIntersecting && seen && !$(".refused")) { look(); count(); } }).observe($(".train"));
count();
follow();
setInterval(() => { if (shown() && !$(".refused")) count(); }, 20000);
