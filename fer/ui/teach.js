// Teach: one click on a card, or one key, says what a face shows. The face is kept with it once its owner has
// agreed; the screen says so when the server has it on disk. live.js and try_tab.js make the cards.
const { answers, purpose } = props.value;
const answerTitles = Object.fromEntries(answers.map((one) => [one.name, one.title]));
const consent = $(".consent"), given = $(".given");
const random = (bytes) => [...crypto.getRandomValues(new Uint8Array(bytes))].map((one) => one.toString(16).padStart(2, "0")).join("");

// What this browser remembers between visits: the name, the withdrawal code, how many faces were given. Where
// a browser forbids that, it is remembered until the page is left.
const fallback = {};
const memory = {
  get: (key) => { try { return localStorage.getItem(`studio.${key}`) ?? fallback[key] ?? ""; } catch { return fallback[key] ?? ""; } },
  set: (key, value) => { fallback[key] = String(value); try { localStorage.setItem(`studio.${key}`, value); } catch { /* remembered above */ } },
};
const annotator = () => {
  if (!memory.get("name")) memory.set("name", `visitor-${random(3)}`);
  return memory.get("name");
};

// Sends again what had no answer: the server counts the same request once.
async function insist(call, tries = 3) {
  for (let left = tries; ; left -= 1) {
    const answer = await within(call().catch(() => null), 20000);
    if (answer && !answer.error) return answer;
    if (answer?.agree) {
      // Withdrawn elsewhere: nothing is kept before somebody has agreed again.
      memory.set("code", "");
      showGiven();
    }
    if (answer?.error || left <= 1) throw answer?.error || "The app did not answer, so it is not known whether this was kept; press again in a moment.";
    await sleep(800);
  }
}

let newest = null; // the correction that U takes back: {label, request, code}

async function teach(node, label) {
  if (node.teaching) return;
  node.teaching = true;
  const asked = node.asked(); // live: the frame on the screen at this moment, which is held until this is done
  const goOn = live ? holdLive() : () => null;
  try {
    if (!memory.get("code") && !(await agreeFirst())) return node.tell("Nothing was kept.");
    node.tell("Keeping …");
    const { picture, box } = await asked;
    const request = random(16);
    const before = live ? null : node.taught;
    const code = memory.get("code");
    const { waits = "" } = await insist(() => server.correct({
      picture, box, label, request, code, annotator: annotator(), pixels: memory.get("pixels") !== "no", source: live ? "live" : "photo",
    }));
    node.mark({ label, request, code, waits });
    newest = node.taught;
    // In live video the card may be another's a moment later.
    if (live) say(`Kept: you say ${answerTitles[label].toLowerCase()}. U takes it back. ${waits}`.trim());
    if (before) await insist(() => server.take_back({ code: before.code, request: before.request }));
    else memory.set("given", Number(memory.get("given")) + 1);
    showGiven();
    if (live) await sleep(1000); // long enough to be seen
  } catch (problem) {
    node.tell(typeof problem === "string" ? problem : silent, true);
  } finally {
    node.teaching = false;
    goOn();
  }
}

async function unteach(node) {
  const { request, code } = node.taught;
  try {
    await insist(() => server.take_back({ code, request }));
    node.mark(null);
    node.tell("Taken back. The face itself stays until you withdraw it, below.");
  } catch (problem) {
    node.tell(typeof problem === "string" ? problem : silent, true);
  }
}

async function takeBackNewest() {
  const taught = newest;
  const node = [...faces.children].find((one) => one.taught?.request === taught.request);
  newest = null;
  if (node) return unteach(node);
  try {
    await insist(() => server.take_back({ code: taught.code, request: taught.request }));
    say("Taken back. The face itself stays until you withdraw it.");
  } catch (problem) {
    say(typeof problem === "string" ? problem : silent, true);
  }
}

// Holds live video at the frame on the screen; what it returns lets it go on.
function holdLive() {
  const session = live;
  if (session.paused || video.paused) return () => null;
  session.paused = session.held = true;
  video.pause();
  stage.classList.add("held");
  return () => {
    stage.classList.remove("held");
    session.held = false;
    if (live !== session || !session.paused) return;
    session.paused = false;
    video.play().catch(() => null);
  };
}

// What a card needs for teaching: its buttons call `teach`; `node.tell` and `node.mark` show how it went.
function teachable(node, rows, more, line) {
  for (const { name, button } of rows) button.onclick = () => teach(node, name);
  more.replaceChildren(...answers.filter((one) => !titles[one.name]).map((one) => {
    const button = make("button", "button small");
    button.append(make("span", "digit", one.code.slice(-1)), one.title);
    button.type = "button";
    button.dataset.answer = one.name;
    button.onclick = () => teach(node, one.name);
    return button;
  }));
  node.tell = (text, error = false) => {
    line.textContent = text;
    line.classList.toggle("error", error);
  };
  node.mark = (taught) => {
    node.taught = taught;
    if (node.face) node.face.taught = taught;
    for (const { name, button } of rows) button.setAttribute("aria-pressed", String(taught?.label === name));
    for (const button of more.children) button.setAttribute("aria-pressed", String(taught?.label === button.dataset.answer));
    if (!taught) return;
    const undo = make("button", "link", "Undo");
    undo.type = "button";
    undo.onclick = () => unteach(node);
    line.classList.remove("error");
    line.replaceChildren(`Kept: you say ${answerTitles[taught.label].toLowerCase()}. `, undo, taught.waits ? ` ${taught.waits}` : "");
  };
}

function agreeFirst() {
  $(".purpose").textContent = purpose;
  $(".consent-problem").textContent = "";
  $(".consent-name").value = /^visitor-/.test(memory.get("name")) ? "" : memory.get("name");
  $(".consent-pixels").checked = memory.get("pixels") === "no";
  consent.returnValue = "";
  consent.showModal();
  return new Promise((resolve) => { consent.onclose = () => resolve(consent.returnValue === "agreed"); });
}
$(".consent-yes").onclick = async (event) => {
  event.target.disabled = true;
  try {
    const { code } = await insist(() => server.agree({}));
    memory.set("code", code);
    memory.set("given", 0);
    if ($(".consent-name").value.trim()) memory.set("name", $(".consent-name").value.trim());
    memory.set("pixels", $(".consent-pixels").checked ? "no" : "yes");
    consent.close("agreed");
  } catch (problem) {
    $(".consent-problem").textContent = typeof problem === "string" ? problem : silent;
  } finally {
    event.target.disabled = false;
  }
};
$(".consent-no").onclick = () => consent.close("");

function showGiven() {
  const code = memory.get("code");
  given.hidden = !code;
  $(".given-code").textContent = code;
  const count = Number(memory.get("given"));
  $(".given summary").textContent = `You gave ${count === 1 ? "1 face" : `${count} faces`}: your code, and how to take it back`;
  $(".given-pixels").checked = memory.get("pixels") === "no";
}
$(".given-pixels").onchange = (event) => memory.set("pixels", event.target.checked ? "no" : "yes");
$(".given-copy").onclick = async () => {
  const copied = await navigator.clipboard?.writeText(memory.get("code")).then(() => true, () => false);
  say(copied ? "The withdrawal code is copied." : "The browser did not allow to copy; select the code by hand.", !copied);
};
$(".given-withdraw").onclick = async () => {
  if (!confirm("Remove all faces you gave, with everybody's labels on them, for good?")) return;
  try {
    const { faces: count } = await insist(() => server.withdraw({ code: memory.get("code") }));
    memory.set("code", "");
    for (const node of faces.children) if (node.mark) { node.mark(null); node.tell(""); }
    for (const { reading } of shown) for (const face of reading.faces) face.taught = null;
    showGiven();
    say(`Removed for good: ${count === 1 ? "1 face" : `${count} faces`}.`);
  } catch (problem) {
    say(typeof problem === "string" ? problem : silent, true);
  }
};
showGiven();

// Keys 1–8, 9 and 0, wherever they lie on the keyboard, for the chosen face or the only one.
document.addEventListener("keydown", (event) => {
  const answer = answers.find((one) => one.code === event.code);
  const back = event.code === "KeyU" && newest;
  if ((!answer && !back) || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (!element.isConnected || element.offsetParent === null || consent.open || !notice.hidden) return;
  if (event.target.closest?.("input:not([type=range]):not([type=checkbox]):not([type=file]), textarea, select, [contenteditable=true]")) return;
  if (back) return takeBackNewest();
  const cards = [...faces.querySelectorAll(".face")];
  const node = cards.length === 1 ? cards[0] : cards.find((one) => one.classList.contains("chosen"));
  if (!cards.length) return;
  event.preventDefault();
  if (node) teach(node, answer.name);
  else say("Several faces: click the one you mean, then press the key.", true);
});
