// The page's side of the Label tab. Faces are fetched ahead and their pictures decoded, so the next one is
// there with the key press. What was said goes into an outbox, which this browser keeps on its disk, and from
// there to the server one by one, in order; a request that was cut off is sent again and counts once.
const { answers, rules, longest_name } = props.value;
const titles = Object.fromEntries(answers.map((one) => [one.name, one.title]));
const expressions = new Set(answers.slice(0, 8).map((one) => one.name));
const AHEAD = 12, BATCH = 4; // faces kept ready, and fetched at a time
// Of the last faces others shall have some too.
const enough = () => Math.min(AHEAD, Math.max(2, Math.ceil(waiting / 2)));
const easel = $(".easel"), canvas = $(".face"), desk = $(".desk"), guide = $(".guide");
let annotator = "";
let ahead = []; // faces whose pictures are decoded, the next first
let current = null;
let said = []; // what was answered on this page, newest last: {face, entry}
let second = null, doubling = false; // the second expression, or the wish to give one
let fetching = false, sending = false, offline = false, waiting = 0, mine = 0;
const times = []; // of answers, for the pace

// --- the outbox ---------------------------------------------------------------------------------

// Each open page has its own, so that two do not write over each other. A page takes over what pages before
// it left; one that is still open sends the same requests, which count once.
const OUTBOX = "studio.outbox.", box = OUTBOX + random(6);
let outbox = [];
let visit = ""; // of this page, as the server tells it from the one before
const keepOutbox = () => {
  if (outbox.length) memory.set(box, JSON.stringify(outbox));
  else memory.remove(box);
};
function adopt() {
  try {
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(OUTBOX) && one !== box)) {
      outbox.push(...JSON.parse(localStorage.getItem(key)));
      keepOutbox();
      localStorage.removeItem(key);
    }
  } catch { /* a browser that keeps nothing left nothing */ }
}

function post(entry) {
  outbox.push(entry);
  keepOutbox();
  send();
}

async function send() {
  if (sending) return;
  sending = true;
  for (let failures = 0; outbox.length; ) {
    const entry = outbox[0];
    const answer = await (entry.undo ? ask(server.undo, { request: entry.undo }) : ask(server.judge, entry));
    if (answer && (!answer.error || answer.final)) {
      outbox.shift();
      keepOutbox();
      failures = 0;
      if (answer.error) report(answer.error);
      else connected();
      if (!answer.error) kept(entry, answer);
    } else {
      failures += 1;
      disconnected(answer?.error);
      await sleep(Math.min(5000, 500 * failures));
    }
  }
  sending = false;
  if (offline) connected();
  fill();
}

function disconnected(problem) {
  offline = true;
  const count = many(outbox.length, "label waits", "labels wait");
  const cause = problem || "The app does not answer.";
  report(`${cause} ${outbox.length ? `${count} in this browser and ${outbox.length === 1 ? "goes" : "go"} out by ${outbox.length === 1 ? "itself" : "themselves"}; you can go on.` : "Trying again …"}`);
}
function connected() {
  offline = false;
  banner.hidden = true;
}

// --- faces --------------------------------------------------------------------------------------

async function fill() {
  if (fetching || !annotator) return;
  fetching = true;
  const who = annotator;
  try {
    for (let first = true; (first || ahead.length < enough()) && !(offline && outbox.length); first = false) {
      const answer = await ask(server.more, { annotator: who, count: BATCH });
      if (annotator !== who) break;
      if (!answer || answer.error) {
        disconnected(answer?.error);
        await sleep(2000);
        continue;
      }
      if (offline && !outbox.length) connected();
      waiting = answer.waiting;
      const known = new Set([current, ...ahead, ...outbox].filter(Boolean).map((face) => face.item));
      const fresh = answer.faces.filter((face) => !known.has(face.item));
      for (const face of fresh) if (await decoded(face)) ahead.push(face);
      if (!current) next();
      progress();
      if (!fresh.length) break;
    }
  } finally {
    fetching = false;
  }
  if (annotator !== who) return void fill();
  if (!current) nothing();
}

async function decoded(face) {
  const image = new Image();
  image.src = face.chip;
  face.image = image;
  face.chip = null; // the decoded picture is enough
  return image.decode().then(() => true, () => false);
}

function next() {
  current = ahead.shift() || null;
  second = null;
  setDoubling(false);
  if (current) paint(current);
  else nothing();
  if (ahead.length < enough()) fill();
}

function paint(face) {
  const { image } = face;
  const side = Math.max(image.naturalWidth, image.naturalHeight), scale = canvas.width / side;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, canvas.width, canvas.height);
  const x = (canvas.width - image.naturalWidth * scale) / 2, y = (canvas.height - image.naturalHeight * scale) / 2;
  context.drawImage(image, x, y, image.naturalWidth * scale, image.naturalHeight * scale);
  if (!face.ready_made) {
    // The face that is meant, where context shows others too.
    const [left, top, right, bottom] = face.box.map((value) => value * scale);
    for (const [width, colour] of [[5, "rgba(0, 0, 0, .55)"], [2, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.strokeRect(x + left, y + top, right - left, bottom - top);
    }
  }
  easel.dataset.state = "shown";
  easel.dataset.item = face.item;
  canvas.setAttribute("aria-label", `Face ${face.item} to label`);
  $(".reason").textContent = `Why this one: ${face.reason}`;
}

function nothing() {
  easel.dataset.state = "empty";
  delete easel.dataset.item;
  $(".reason").textContent = "";
  $(".nothing").textContent = fetching || offline
    ? "Fetching faces …"
    : "No face is waiting for you. Correct what the model says on the Try tab: such faces come here for a second opinion; or bring photos in on the Data tab. This page looks again every few seconds.";
}
setInterval(() => { if (annotator && !current && element.offsetParent !== null) fill(); }, 5000);

// --- answers ------------------------------------------------------------------------------------

function answer(label) {
  if (!current) return;
  const other = second && expressions.has(label) && second !== label ? second : null;
  const entry = { request: random(16), item: current.item, annotator, label, second: other };
  said.push({ face: current, entry });
  if (said.length > 50) said.shift();
  times.push(performance.now());
  $(".undo").disabled = false;
  showLast(entry);
  next();
  post(entry);
  progress();
}

// Undoing brings the face back; what is said about it then is a new judgement.
function undo() {
  const last = said.pop();
  if (!last) return;
  $(".undo").disabled = !said.length;
  if (current) ahead.unshift(current);
  current = last.face;
  second = null;
  paint(current);
  $(".last").hidden = true;
  post({ undo: last.entry.request, label: last.entry.label });
  progress();
}

function press(name) {
  if (doubling && expressions.has(name)) return setSecond(name);
  flash(name);
  answer(name);
}
function setSecond(name) {
  if (!expressions.has(name)) return;
  second = second === name ? null : name;
  setDoubling(false);
  for (const button of $(".answers").children) button.setAttribute("aria-pressed", String(button.dataset.answer === second));
  $(".question").textContent = second ? `Also ${titles[second].toLowerCase()}. And first of all?` : "What does this face show?";
}
function setDoubling(on) {
  doubling = on;
  $(".double").setAttribute("aria-pressed", String(on));
  for (const button of $(".answers").children) button.setAttribute("aria-pressed", "false");
  $(".question").textContent = on ? "Which is the second expression?" : "What does this face show?";
}
function flash(name) {
  const button = $(`.answer[data-answer="${name}"]`);
  button.classList.add("flash");
  setTimeout(() => button.classList.remove("flash"), 120);
}

function showLast(entry) {
  const { face } = said[said.length - 1], thumb = $(".thumb"), { image } = face;
  const side = Math.min(image.naturalWidth, image.naturalHeight);
  thumb.getContext("2d").drawImage(image, (image.naturalWidth - side) / 2, (image.naturalHeight - side) / 2, side, side, 0, 0, 96, 96);
  $(".last").hidden = false;
  $(".last").dataset.request = entry.request;
  $(".said").textContent = entry.label === null ? "Skipped." : `You: ${inWords(entry)}`;
  $(".reveal").textContent = "On its way …";
}
const inWords = ({ label, second: also }) => titles[label].toLowerCase() + (also ? `, also ${titles[also].toLowerCase()}` : "");

// The server has it on disk: only now does the page count it, and show what the model and other people say.
function kept(entry, answer) {
  if (entry.label !== null) mine += entry.undo ? -1 : 1;
  if (!entry.undo && $(".last").dataset.request === entry.request) reveal(entry, answer);
  if (mine && mine % 10 === 0) tally();
  progress();
}

function reveal(entry, answer) {
  const parts = ["Kept."];
  if (entry.label !== null && answer.scores) {
    const best = Object.entries(answer.scores).sort((a, b) => b[1] - a[1]).slice(0, 2).filter(([, share], at) => !at || share > 0.1);
    parts.push(`The model: ${best.map(([name, share]) => `${titles[name].toLowerCase()} ${percent(share)}`).join(", ")}`);
  }
  const others = Object.entries(answer.others || {});
  if (entry.label !== null && others.length) {
    parts.push(`Others: ${others.map(([name, count]) => `${titles[name].toLowerCase()} ${count}`).join(", ")}`);
  }
  if (entry.label !== null && answer.waits) parts.push(answer.waits);
  $(".reveal").textContent = parts.join(" · ").replace("Kept. · ", "Kept. ");
}

let agreement = null;
async function tally() {
  const answer = await ask(server.counts, { annotator });
  if (answer?.mine) agreement = answer.mine;
  progress();
}

function progress() {
  const recent = times.filter((time) => performance.now() - time < 60000);
  const span = recent.length > 2 ? (performance.now() - recent[0]) / 60000 : 0;
  const parts = [many(mine, "face labelled by you", "faces labelled by you")];
  if (outbox.length > 1) parts.push(`${outbox.length} on their way`);
  if (span > 0.05) parts.push(`${Math.round(recent.length / Math.max(span, 0.1))} a minute`);
  parts.push(`${waiting + ahead.length + (current ? 1 : 0)} to go`);
  if (agreement?.compared) parts.push(`you agree with others on ${percent(agreement.agreement)} of ${many(agreement.compared, "face", "faces")}`);
  $(".progress").textContent = parts.join(" · ");
}

// --- the page -----------------------------------------------------------------------------------

$(".answers").replaceChildren(...answers.map((one) => {
  const button = make("button", "answer");
  button.type = "button";
  button.dataset.answer = one.name;
  button.append(make("kbd", "", one.code.slice(-1)), make("b", "", one.title), make("span", "", one.advice));
  button.onclick = (event) => (event.shiftKey ? setSecond(one.name) : press(one.name));
  return button;
}));
$(".undo").onclick = undo;
$(".skip").onclick = () => answer(null);
$(".double").onclick = () => setDoubling(!doubling);
const showGuide = () => { guide.showModal(); guide.scrollTop = 0; };
$(".help").onclick = showGuide;
$(".shut").onclick = () => guide.close();
$(".rules").textContent = rules.replaceAll("**", "");
for (const [keys, text] of [
  ...answers.map((one) => [one.code.slice(-1), `${one.title}: ${one.advice}`]),
  ["⇧ 1–8", "A second expression, before the first"], ["U", "Undo"], ["S", "Skip"], ["H", "This help"],
]) {
  const term = make("dt");
  term.append(make("kbd", "", keys));
  $(".keys").append(term, make("dd", "", text));
}

const acts = { KeyU: undo, KeyS: () => answer(null), KeyH: () => (guide.open ? guide.close() : showGuide()) };
document.addEventListener("keydown", (event) => {
  if (!annotator || !element.isConnected || element.offsetParent === null) return;
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable=true]")) return;
  const code = event.code.replace("Numpad", "Digit");
  const chosen = answers.find((one) => one.code === code);
  if (guide.open && event.code !== "KeyH") return;
  if (!chosen && !acts[event.code]) return;
  event.preventDefault();
  if (chosen && event.shiftKey) setSecond(chosen.name);
  else if (chosen) press(chosen.name);
  else acts[event.code]();
});

async function start(name) {
  annotator = name;
  visit = random(8);
  memory.set("studio.name", name);
  $(".who").hidden = true;
  desk.hidden = false;
  $(".whoami").replaceChildren(`You label as ${name}. `, Object.assign(make("button", "link", "Someone else?"), { type: "button", onclick: leave }));
  $(".nothing").textContent = "Fetching faces …";
  // What an earlier page left is counted by the server first, and then not again here.
  for (let waited = 0; outbox.length && waited < 5000; waited += 50) await sleep(50);
  for (;;) {
    const answer = await ask(server.begin, { annotator, visit });
    if (annotator !== name) return;
    if (answer && !answer.error) {
      connected();
      // Whoever signed in labels under that name, whatever was typed here.
      if (answer.annotator) $(".whoami").firstChild.textContent = `You label as ${answer.annotator}. `;
      mine = answer.mine.labels;
      agreement = answer.mine;
      break;
    }
    if (answer?.refused || answer?.final) {
      leave();
      return report(answer.error);
    }
    disconnected(answer?.error);
    await sleep(2000);
  }
  send();
  fill();
}

window.addEventListener("pagehide", () => { if (annotator) server.leave({ annotator, visit }).catch(() => null); });

// What was said is on its way under the name it was said by; faces in hand go back to the queue.
function leave() {
  if (annotator) server.leave({ annotator, visit }).catch(() => null);
  annotator = "";
  ahead = [];
  said = [];
  current = null;
  nothing();
  desk.hidden = true;
  $(".who").hidden = false;
  $(".last").hidden = true;
}

$(".name").maxLength = longest_name;
const known = memory.get("studio.name");
$(".who").onsubmit = (event) => {
  event.preventDefault();
  const name = $(".name").value.trim();
  if (name) start(name);
};
adopt();
if (outbox.length) {
  report(`${many(outbox.length, "label", "labels")} of an earlier visit ${outbox.length === 1 ? "goes" : "go"} out now.`);
  offline = true;
  send();
}
// Whoever gave a name before need not give it again.
if (known && !/^visitor-/.test(known)) {
  $(".name").value = known;
  start(known);
}
