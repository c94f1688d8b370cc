// The page's side of the Try tab: photos. A picture is sent as it is; only numbers come back, and
// boxes are drawn here, over the picture that was read. live.js, which follows, adds camera and video.
const { samples, expressions, max_upload } = props.value;
const titles = Object.fromEntries(expressions);
// Okabe & Ito's palette, told apart by colour-blind readers; numbers name the faces as well.
const colours = ["#e69f00", "#56b4e9", "#2bc4a0", "#f0e442", "#6aa9ff", "#ff8a4c", "#e59ac4"];
const colour = (number) => colours[(number - 1) % colours.length];
const $ = (selector) => element.querySelector(selector);
const stage = $(".stage"), canvas = $(".picture"), boxes = $(".boxes"), faces = $(".faces"), status = $(".status");
let current = 0; // number of the newest request: an older answer that comes late is dropped
let shown = []; // the pictures read last: {name, blob, image, reading}
let chosen = 0; // which of them is on the stage

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const percent = (share) => `${Math.round(share * 100)} %`;
const say = (text, error = false) => {
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("error", error);
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const within = (promise, ms) => Promise.race([promise, sleep(ms).then(() => null)]);
const silent = "The app did not answer; check the connection and try again.";

// "Happiness 97 %", or both candidates where the model is not sure.
const headline = (face) => {
  if (!face.unclear) return `${titles[face.expression]} ${percent(face.confidence)}`;
  const [first, second] = Object.entries(face.scores).sort((a, b) => b[1] - a[1]);
  return `Unclear: ${first[0]} ${percent(first[1])} / ${second[0]} ${percent(second[1])}`;
};

// The same for the narrow label of a box.
const label = (face) => (face.unclear ? `${titles[face.expression]}?` : headline(face));

const dataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

const decode = async (source) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
};

async function ask(blob, name) {
  if (blob.size > max_upload) throw `${name} is larger than ${Math.round(max_upload / 1e6)} MB; make it smaller first.`;
  const picture = await dataUrl(blob);
  const address = URL.createObjectURL(blob);
  const drawn = await decode(address).catch(() => null); // browsers draw no TIFF
  const request = async (preview) => {
    const answer = await within(server.read_picture({ name, picture, preview }), 120000);
    if (!answer) throw silent;
    if (answer.error) throw answer.error;
    return answer;
  };
  let answer = await request(!drawn);
  // Some orientations that the server obeys are unknown to browsers; then the server's picture is shown.
  const upright = drawn && drawn.naturalWidth * answer.reading.height === drawn.naturalHeight * answer.reading.width;
  if (drawn && !upright) answer = await request(true);
  if (upright) return { name, blob, image: drawn, reading: answer.reading };
  URL.revokeObjectURL(address);
  return { name, blob, image: await decode(answer.preview), reading: answer.reading };
}

async function read(files, mine = ++current) {
  stopLive();
  stage.classList.add("busy");
  const done = [], problems = [];
  for (const [index, { blob, name }] of files.entries()) {
    say(files.length > 1 ? `Reading ${index + 1} of ${files.length}: ${name} …` : `Reading ${name} …`);
    try {
      done.push(await ask(blob, name));
    } catch (problem) {
      problems.push(typeof problem === "string" ? problem : silent);
    }
    if (mine !== current) return;
  }
  stage.classList.remove("busy");
  if (done.length) {
    for (const { image } of shown) if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
    shown = done;
    show(0);
  }
  const still = shown.length ? ` Still shown: ${shown[chosen].name}.` : "";
  const count = files.length > 1 ? `${done.length} of ${files.length} read. ` : "";
  if (problems.length) say(count + problems.join(" ") + (done.length ? "" : still), true);
}

function show(index) {
  chosen = index;
  const { image, reading } = shown[index];
  canvas.width = Math.min(reading.width, 1600);
  canvas.height = Math.max(1, Math.round((canvas.width * reading.height) / reading.width));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  stage.dataset.state = "shown";
  const count = reading.faces.length;
  const summary = count === 0 ? "no face found" : count === 1 ? "1 face" : `${count} faces`;
  canvas.setAttribute("aria-label", `${reading.image}: ${summary}`);
  say(`${reading.image}: ${summary}, read in ${Math.round(reading.ms)} ms.` +
    (count ? "" : " Try a photo where a face is larger, upright and well lit."));
  boxes.replaceChildren(...reading.faces.map((face, at) => box(face, at, reading)));
  faces.replaceChildren(...(count ? reading.faces.map((face, at) => photoCard(face, at)) : [nobody()]));
  $(".photo-only").hidden = false;
  const strip = $(".strip");
  strip.hidden = shown.length < 2;
  strip.replaceChildren(...(shown.length < 2 ? [] : shown.map((one, at) => thumb(one.image.src, `${one.name}: ${one.reading.faces.length} faces`, () => show(at), at === index))));
  place();
}

const nobody = () =>
  make("p", "empty", "No face was found. Faces smaller than about 32 pixels, seen from the side or from behind, or far out of the light are missed.");

function thumb(source, name, onclick, pressed) {
  const item = make("li"), button = make("button", "sample"), image = make("img");
  button.type = "button";
  image.src = source;
  image.alt = name;
  button.onclick = onclick;
  if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
  button.append(image);
  item.append(button);
  return item;
}

const crowded = (reading) => reading.faces.length > 4; // labels would cover faces: numbers alone

function box(face, at, reading) {
  const [left, top, right, bottom] = face.box;
  const node = make("button", "box");
  node.type = "button";
  node.style.setProperty("--face", colour(at + 1));
  Object.assign(node.style, {
    left: `${(100 * left) / reading.width}%`, top: `${(100 * top) / reading.height}%`,
    width: `${(100 * (right - left)) / reading.width}%`, height: `${(100 * (bottom - top)) / reading.height}%`,
  });
  const many = crowded(reading);
  node.classList.toggle("many", many);
  node.classList.toggle("low", top / reading.height < 0.08);
  node.classList.toggle("flip", left / reading.width > 0.6);
  node.append(make("span", "", many ? `${at + 1}` : `${at + 1} · ${label(face)}`));
  node.setAttribute("aria-label", `Face ${at + 1}: ${headline(face)}`);
  node.onclick = () => choose(at);
  return node;
}

// A card is made once and filled again and again: live video fills it with every frame.
function card(number) {
  const node = make("article", "face");
  node.style.setProperty("--face", colour(number));
  node.setAttribute("aria-label", `Face ${number}`);
  const head = make("div", "head"), words = make("div"), picture = make("canvas"), list = make("ul", "scores");
  picture.width = picture.height = 112;
  picture.setAttribute("aria-hidden", "true");
  const what = make("p", "what"), remarks = make("ul", "remarks");
  words.append(make("p", "who", `Face ${number}`), what);
  head.append(picture, words);
  const rows = expressions.map(([name, title], index) => {
    const row = make("li"), button = make("button", "row"), track = make("span", "track"), fill = make("span", "fill"), value = make("span", "value");
    button.type = "button";
    button.title = `It shows ${title.toLowerCase()} (key ${index + 1})`;
    track.append(fill);
    button.append(make("span", "digit", String(index + 1)), make("span", "", title), track, value);
    row.append(button);
    list.append(row);
    return { name, row, button, fill, value };
  });
  const more = make("div", "more"), line = make("p", "kept");
  line.setAttribute("role", "status");
  node.append(head, make("p", "hint", "Not right? Press what this face shows, or its number."), list, more, line, remarks, ...explanation(node));
  node.onclick = (event) => { if (!event.target.closest("button")) choose([...faces.children].indexOf(node)); };
  teachable(node, rows, more, line);
  node.fill = (face, source, scale) => {
    node.face = face;
    what.textContent = headline(face);
    for (const { name, row, fill, value } of rows) {
      const share = face.scores[name];
      row.className = name === face.expression ? "top" : "";
      fill.style.width = `${share < 0.005 ? 0 : 100 * share}%`;
      value.textContent = percent(share);
    }
    const said = face.remarks.map((remark) => remark.words).join("|");
    if (remarks.dataset.said !== said) {
      remarks.dataset.said = said;
      remarks.replaceChildren(...face.remarks.map((remark) => make("li", "", remark.words)));
    }
    const [left, top, right, bottom] = face.box;
    const side = Math.max(right - left, bottom - top) * 1.1;
    const x = (left + right - side) / 2, y = (top + bottom - side) / 2;
    picture.getContext("2d").drawImage(source, x * scale, y * scale, side * scale, side * scale, 0, 0, 112, 112);
  };
  return node;
}

function photoCard(face, at) {
  const { image, reading, blob } = shown[chosen];
  const node = card(at + 1);
  node.fill(face, image, (image.naturalWidth || image.width) / reading.width);
  node.asked = async () => ({ picture: await dataUrl(blob), box: face.box, expression: face.expression });
  if (face.taught) node.mark(face.taught);
  return node;
}

// A button that asks what the network saw of the card's face, and the place where the answer is shown.
// `node.asked` gives the picture, box and expression to ask about.
function explanation(node) {
  const button = make("button", "button small", "What the network saw"), views = make("div", "views");
  button.type = "button";
  button.onclick = async () => {
    button.disabled = true;
    const question = await node.asked().catch(() => null);
    const answer = question && (await within(server.explain(question).catch(() => null), 60000));
    button.disabled = false;
    if (!answer || answer.error) return say(answer?.error || silent, true);
    const captions = { crop: "the crop it was given", map: `where it looked for ${question.expression}` };
    views.replaceChildren(...Object.entries(captions).map(([key, caption]) => {
      const figure = make("figure"), view = make("img");
      view.src = answer[key];
      view.alt = caption;
      figure.append(view, make("figcaption", "", caption));
      return figure;
    }));
    button.focus();
  };
  return [button, views];
}

function choose(at) {
  [...boxes.children].forEach((node, index) => node.classList.toggle("chosen", index === at));
  [...faces.children].forEach((node, index) => node.classList.toggle("chosen", index === at));
  faces.children[at].scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

// The boxes lie over the picture, wherever the layout has put it.
function place() {
  Object.assign(boxes.style, {
    left: `${canvas.offsetLeft}px`, top: `${canvas.offsetTop}px`,
    width: `${canvas.offsetWidth}px`, height: `${canvas.offsetHeight}px`,
  });
}
new ResizeObserver(place).observe(canvas);

function take(list) {
  const files = [...list];
  const film = files.find((file) => file.type.startsWith("video/") || /\.(mp4|m4v|mov|webm|mkv|avi)$/i.test(file.name));
  if (film) return playVideo(film);
  if (files.length) return read(files.map((file) => ({ blob: file, name: file.name || "pasted.png" })));
}

$(".file").onchange = (event) => {
  take(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
};
// Anywhere on the tab: a file dropped beside the stage would otherwise replace the page.
element.ondragover = (event) => { event.preventDefault(); stage.classList.add("over"); };
element.ondragleave = () => stage.classList.remove("over");
element.ondrop = (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  else say("That was no file; drop a photo or a video from your computer.", true);
};
document.addEventListener("paste", (event) => {
  if (!element.isConnected || element.offsetParent === null) return;
  take([...event.clipboardData.files].filter((one) => one.type.startsWith("image/")));
});

function download(content, type, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const name = shown.length > 1 && suffix !== ".png" ? "expressions" : shown[chosen].name.replace(/\.[^.]*$/, "");
  link.download = name + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
$(".save-json").onclick = () => {
  // Without what was taught here: the object is the one that the command line prints.
  const readings = shown.map(({ reading }) => ({ ...reading, faces: reading.faces.map(({ taught, ...face }) => face) }));
  download(JSON.stringify(readings.length > 1 ? readings : readings[0], null, 2), "application/json", ".json");
};
$(".save-csv").onclick = () => {
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  // A cell that begins like a formula would be run by a spreadsheet.
  const cell = (value) => quoted(typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
  const names = expressions.map(([name]) => name);
  const rows = [["image", "face", "left", "top", "right", "bottom", "score", "expression", "confidence", "unclear", ...names, "remarks"]];
  for (const { reading } of shown)
    for (const [at, face] of reading.faces.entries())
      rows.push([reading.image, at + 1, ...face.box, face.score, face.expression, face.confidence, face.unclear,
        ...names.map((name) => face.scores[name]), face.remarks.map((remark) => remark.code).join(" ")]);
  download(rows.map((row) => row.map(cell).join(",")).join("\n") + "\n", "text/csv", ".csv");
};
$(".save-png").onclick = () => {
  const copy = make("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0);
  const { reading } = shown[chosen];
  reading.faces.forEach((face, at) => drawBox(context, face, at + 1, canvas.width / reading.width, crowded(reading)));
  copy.toBlob((blob) => download(blob, "image/png", ".png"));
};

// A box and its label painted into a picture: for downloads and for live video.
function drawBox(context, face, number, scale, short = false) {
  const [left, top, right, bottom] = face.box.map((value) => value * scale);
  // As large on the screen as the boxes' labels on photos, however the picture is scaled.
  const size = Math.round(Math.max(13, (14 * context.canvas.width) / (canvas.clientWidth || context.canvas.width)));
  const text = short ? `${number}` : `${number} · ${label(face)}`;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.lineWidth = Math.max(3, size / 5);
  context.strokeStyle = "rgba(0, 0, 0, 0.6)";
  context.strokeRect(left - 1.5, top - 1.5, right - left + 3, bottom - top + 3);
  context.strokeStyle = colour(number);
  context.strokeRect(left, top, right - left, bottom - top);
  const width = context.measureText(text).width + size, height = size * 1.5;
  const x = Math.max(0, Math.min(left, context.canvas.width - width)), y = top > height ? top - height : top;
  context.fillStyle = colour(number);
  context.fillRect(x, y, width, height);
  context.fillStyle = "#000";
  context.textBaseline = "middle";
  context.fillText(text, x + size / 2, y + height / 2);
}

$(".samples").replaceChildren(...samples.map((sample) => {
  return thumb(`samples/${sample.file}`, sample.title, async () => {
    const mine = ++current;
    const answer = await fetch(`samples/${sample.file}`).catch(() => null);
    const blob = answer?.ok ? await answer.blob().catch(() => null) : null;
    if (mine !== current) return;
    if (!blob) return say("The sample could not be loaded; check the connection and try again.", true);
    read([{ blob, name: sample.file }], mine);
  });
}));
$(".credits ul").replaceChildren(...samples.map((sample) =>
  make("li", "", `${sample.title}: ${sample.author}, ${sample.year}. ${sample.licence}. From ${sample.source}.`)));

// Until the model is in memory a reading waits; say so instead of seeming stuck.
(async function warm() {
  const warming = "Warming up: the model is being loaded …";
  for (;;) {
    const health = await fetch("healthz").then((answer) => answer.json()).catch(() => null);
    if (health?.status === "error") return say(health.error, true);
    if (health?.ready && health.warning && ["", warming].includes(status.textContent)) return say(health.warning);
    if (health?.ready) return status.textContent === warming && say("Ready.");
    if (!status.textContent) say(warming);
    await sleep(500);
  }
})();
