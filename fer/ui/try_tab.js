// The page's side of the Try tab. A picture is sent as it is; only numbers come back, and boxes are
// drawn here, over the picture that was read.
const { samples, expressions, max_upload } = props.value;
const titles = Object.fromEntries(expressions);
// Okabe & Ito's palette, told apart by colour-blind readers; numbers name the faces as well.
const colours = ["#e69f00", "#56b4e9", "#2bc4a0", "#f0e442", "#6aa9ff", "#ff8a4c", "#e59ac4"];
const $ = (selector) => element.querySelector(selector);
const stage = $(".stage"), canvas = $(".picture"), boxes = $(".boxes"), faces = $(".faces"), status = $(".status");
let current = 0; // number of the newest picture: an older answer that comes late is dropped
let last = null; // the newest reading

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const percent = (share) => `${Math.round(share * 100)} %`;
const say = (text, error = false) => {
  status.textContent = text;
  status.classList.toggle("error", error);
};

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

async function read(blob, name) {
  const mine = ++current;
  if (blob.size > max_upload) {
    return say(`${name} is larger than ${Math.round(max_upload / 1e6)} MB; make it smaller first.`, true);
  }
  say(`Reading ${name} …`);
  stage.classList.add("busy");
  try {
    const picture = await dataUrl(blob);
    // An empty file gives "data:" without a body; the server says so in words.
    const shown = await decode(picture).catch(() => null);
    const answer = await server.read_picture({ name, picture, preview: !shown });
    if (mine !== current) return;
    if (!answer) return say("The app did not answer; check the connection and choose the photo again.", true);
    if (answer.error) return say(answer.error, true);
    show(shown || (await decode(answer.preview)), answer.reading);
  } catch (error) {
    if (mine === current) say("The app did not answer; check the connection and choose the photo again.", true);
  } finally {
    if (mine === current) stage.classList.remove("busy");
  }
}

function show(image, reading) {
  last = reading;
  canvas.width = Math.min(reading.width, 1600);
  canvas.height = Math.round((canvas.width * reading.height) / reading.width);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  stage.dataset.state = "shown";
  const count = reading.faces.length;
  const summary = count === 0 ? "No face found" : count === 1 ? "1 face" : `${count} faces`;
  canvas.setAttribute("aria-label", `${reading.image}: ${summary}`);
  say(`${reading.image}: ${summary}, read in ${Math.round(reading.ms)} ms.` +
    (count ? "" : " Try a photo where a face is larger, upright and well lit."));
  boxes.replaceChildren(...reading.faces.map((face, index) => box(face, index, reading)));
  faces.replaceChildren(...(count ? reading.faces.map((face, index) => card(image, face, index, reading)) : [nobody()]));
  $(".save").hidden = false;
  place();
}

const nobody = () =>
  make("p", "empty", "No face was found. Faces smaller than about 32 pixels, seen from the side or from behind, or far out of the light are missed.");

function box(face, index, reading) {
  const [left, top, right, bottom] = face.box;
  const node = make("button", "box");
  node.type = "button";
  node.style.setProperty("--face", colours[index % colours.length]);
  Object.assign(node.style, {
    left: `${(100 * left) / reading.width}%`, top: `${(100 * top) / reading.height}%`,
    width: `${(100 * (right - left)) / reading.width}%`, height: `${(100 * (bottom - top)) / reading.height}%`,
  });
  const many = reading.faces.length > 6;
  node.classList.toggle("many", many);
  node.classList.toggle("low", top / reading.height < 0.08);
  node.classList.toggle("flip", left / reading.width > 0.7);
  const label = `${titles[face.expression]} ${percent(face.confidence)}`;
  node.append(make("span", "", many ? `${index + 1}` : `${index + 1} · ${label}`));
  node.setAttribute("aria-label", `Face ${index + 1}: ${label}`);
  node.onclick = () => choose(index);
  return node;
}

function card(image, face, index, reading) {
  const node = make("article", "face");
  node.style.setProperty("--face", colours[index % colours.length]);
  node.setAttribute("aria-label", `Face ${index + 1}`);
  const head = make("div", "head"), words = make("div");
  words.append(make("p", "who", `Face ${index + 1}`));
  words.append(make("p", "what", `${titles[face.expression]} ${percent(face.confidence)}`));
  head.append(thumbnail(image, face, reading), words);
  const list = make("ul", "scores");
  for (const [name, title] of expressions) {
    const share = face.scores[name];
    const row = make("li", name === face.expression ? "top" : "");
    const track = make("span", "track"), fill = make("span", "fill");
    fill.style.width = `${100 * share}%`;
    track.append(fill);
    row.append(make("span", "", title), track, make("span", "value", percent(share)));
    list.append(row);
  }
  node.append(head, list);
  return node;
}

function thumbnail(image, face, reading) {
  const node = make("canvas");
  node.width = node.height = 112;
  node.setAttribute("aria-hidden", "true");
  const [left, top, right, bottom] = face.box;
  const scale = (image.naturalWidth || image.width) / reading.width;
  const side = Math.max(right - left, bottom - top) * 1.1;
  const x = (left + right - side) / 2, y = (top + bottom - side) / 2;
  node.getContext("2d").drawImage(image, x * scale, y * scale, side * scale, side * scale, 0, 0, 112, 112);
  return node;
}

function choose(index) {
  [...boxes.children].forEach((node, at) => node.classList.toggle("chosen", at === index));
  [...faces.children].forEach((node, at) => node.classList.toggle("chosen", at === index));
  faces.children[index].scrollIntoView({ block: "nearest", behavior: "smooth" });
}

// The boxes lie over the picture, wherever the layout has put it.
function place() {
  Object.assign(boxes.style, {
    left: `${canvas.offsetLeft}px`, top: `${canvas.offsetTop}px`,
    width: `${canvas.offsetWidth}px`, height: `${canvas.offsetHeight}px`,
  });
}
new ResizeObserver(place).observe(canvas);

$(".file").onchange = (event) => {
  const [file] = event.target.files;
  if (file) read(file, file.name);
  event.target.value = ""; // so that the same file can be chosen again
};
stage.ondragover = (event) => { event.preventDefault(); stage.classList.add("over"); };
stage.ondragleave = () => stage.classList.remove("over");
stage.ondrop = (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file) read(file, file.name);
  else say("That was no picture file; drop a photo from your computer.", true);
};
document.addEventListener("paste", (event) => {
  if (!element.isConnected || element.offsetParent === null) return;
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) read(file, file.name || "pasted.png");
});
$(".save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(last, null, 2)], { type: "application/json" }));
  link.download = `${last.image.replace(/\.[^.]*$/, "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
$(".samples").replaceChildren(...samples.map((sample) => {
  const item = make("li"), button = make("button", "sample"), image = make("img");
  button.type = "button";
  image.src = `samples/${sample.file}`;
  image.alt = sample.title;
  image.loading = "lazy";
  button.title = `${sample.title}. ${sample.author}, ${sample.year}. ${sample.licence}.`;
  button.onclick = async () => {
    try {
      const answer = await fetch(image.src);
      if (!answer.ok) throw new Error(answer.status);
      await read(await answer.blob(), sample.file);
    } catch {
      say("The sample could not be loaded; check the connection and try again.", true);
    }
  };
  button.append(image);
  item.append(button);
  return item;
}));

// Until the model is in memory a reading waits; say so instead of seeming stuck.
(async function warm() {
  for (;;) {
    const health = await fetch("healthz").then((answer) => answer.json()).catch(() => null);
    if (health?.error) return say(health.error, true);
    if (health?.ready) return status.textContent.startsWith("Warming") && say("Ready.");
    if (!status.textContent) say("Warming up: the model is being loaded …");
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
})();
