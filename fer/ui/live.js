// Live: camera and video files. The page sends a frame, waits for its answer, paints that very frame
// with its boxes, and takes the newest frame next: nothing queues up, whatever the connection is like.
const video = document.createElement("video");
video.muted = true;
video.playsInline = true;
video.setAttribute("aria-hidden", "true");
video.className = "source"; // in the page, though unseen: some browsers play no other
stage.append(video);
const grabbed = document.createElement("canvas");
const pauseButton = $(".pause"), cameraButton = $(".camera"), meter = $(".meter"), seek = $(".seek"), notice = $(".notice");
const WIDE = 640, NARROW = 320; // pixels sent; narrow while the round trip is slow
const FORGOTTEN = 9000; // ms of silence after which the server no longer knows our faces
let live = null; // the running session: {viewer, stream or file, paused}
let agreed = false; // the notice before the camera was accepted on this page
let awaited = false; // the camera went away while it was on, and may come back by itself
const newViewer = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Resolves once the video shows a frame that was not taken yet: at once if one came during the last round
// trip, so that a trip a little longer than a frame does not halve the rate. Waits at most 250 ms.
let fresh = false, arrived = null;
const watchFrames = (session) => {
  if (live !== session) return;
  fresh = true;
  arrived?.();
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(() => watchFrames(session));
  else setTimeout(() => watchFrames(session), 33);
};
const nextFrame = async () => {
  if (!fresh) await Promise.race([new Promise((resolve) => { arrived = resolve; }), sleep(250)]);
  fresh = false;
};

// Every new source, and every stop, takes a number from `current`: what was still under way then is dropped.
function stopLive() {
  awaited = false;
  notice.hidden = true;
  if (!live) return;
  const { viewer, stream, file } = live;
  live = null;
  stream?.getTracks().forEach((track) => { track.onended = null; track.stop(); });
  video.pause();
  video.srcObject = null;
  if (file) {
    video.removeAttribute("src");
    URL.revokeObjectURL(file);
  }
  server.leave({ viewer }).catch(() => null);
  cameraButton.textContent = "Use the camera";
  meter.textContent = "";
  pauseButton.hidden = $(".live-only").hidden = true;
  if (faces.querySelector(".empty")) faces.replaceChildren(make("p", "empty", "Choose a photo or a sample, or use the camera."));
}

function beginLive(session) {
  stage.classList.remove("busy");
  shown = [];
  boxes.replaceChildren();
  faces.replaceChildren(make("p", "empty", "Looking for faces …"));
  canvas.setAttribute("aria-label", "Live video with a box around each face");
  $(".strip").hidden = $(".photo-only").hidden = true;
  $(".live-only").hidden = pauseButton.hidden = false;
  $(".seek-label").hidden = !(session.file && Number.isFinite(video.duration));
  pauseButton.textContent = "Pause";
  cameraButton.textContent = session.stream ? "Stop the camera" : "Use the camera";
  live = session;
  run(session);
}

const missing = "No camera was found; plug one in and press the button again, or choose a photo.";
const cameraProblem = (error) =>
  ({
    NotAllowedError: "The camera was refused; allow it in the browser's address bar, then press the button again.",
    NotFoundError: missing,
    OverconstrainedError: missing,
    NotReadableError: "The camera is used by another program; close that, then press the button again.",
  })[error?.name] || "The camera could not be opened; press the button again, or choose a photo.";

let asking = false;
async function openCamera() {
  if (asking) return;
  if (!navigator.mediaDevices?.getUserMedia) {
    return say("Browsers open the camera only on https pages and on this machine itself; use one of these, or choose a photo.", true);
  }
  stopLive();
  const mine = ++current;
  asking = true;
  say("Opening the camera …");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" }, audio: false,
    });
  } catch (error) {
    if (mine === current) say(cameraProblem(error), true);
    return;
  } finally {
    asking = false;
  }
  const [track] = stream.getVideoTracks();
  if (mine !== current) return track.stop(); // something else was chosen while the browser asked
  if (track.readyState === "ended") return lostCamera();
  track.onended = lostCamera;
  video.srcObject = stream;
  await within(video.play().catch(() => null), 5000);
  if (mine !== current || track.readyState === "ended") return track.stop();
  say("The camera is on. Frames are read and forgotten.");
  beginLive({ viewer: newViewer(), stream });
}

function lostCamera() {
  stopLive();
  current += 1;
  awaited = true;
  say("The camera was unplugged or taken away; it goes on by itself when it is back.", true);
}
navigator.mediaDevices?.addEventListener?.("devicechange", async () => {
  if (!awaited) return;
  awaited = false;
  const devices = await navigator.mediaDevices.enumerateDevices();
  if (devices.some((device) => device.kind === "videoinput")) openCamera();
  else awaited = true;
});

async function playVideo(file) {
  stopLive();
  const mine = ++current;
  const source = URL.createObjectURL(file);
  video.srcObject = null;
  video.src = source;
  const problem = await video.play().then(() => null, (error) => error);
  if (mine !== current) return URL.revokeObjectURL(source);
  if (problem || !video.videoWidth) {
    video.pause();
    URL.revokeObjectURL(source);
    return say(`${file.name} cannot be played by this browser; try MP4 (H.264) or WebM.`, true);
  }
  say(`Playing ${file.name} here; only single frames go to the server, and none is kept.`);
  beginLive({ viewer: newViewer(), file: source });
}

async function run(session) {
  const meters = { painted: [], trips: [], wide: true }, cards = new Map();
  let failures = 0, answered = performance.now();
  watchFrames(session);
  while (live === session) {
    await nextFrame();
    if (live !== session) return;
    const away = document.hidden || element.offsetParent === null;
    const still = (video.paused || video.ended) && !session.once;
    if (away || still || !video.videoWidth) {
      if (video.ended) pauseButton.textContent = "Play again";
      meters.painted.length = 0;
      await sleep(100);
      continue;
    }
    session.once = false;
    if (performance.now() - answered > FORGOTTEN) {
      // The numbers of forgotten faces would be given to others.
      session.viewer = newViewer();
      cards.clear();
      faces.replaceChildren();
    }
    try {
      const trip = await frame(session, cards, meters);
      if (live !== session) return;
      answered = performance.now();
      if (failures) say("Going on.");
      failures = 0;
      measure(meters, trip);
    } catch (problem) {
      if (live !== session) return;
      failures += 1;
      meters.painted.length = meters.trips.length = 0;
      say(await reason(problem, failures), true);
      await sleep(Math.min(5000, 500 * failures));
    }
    if (session.file && !session.dragging) seek.value = video.currentTime / (video.duration || 1);
  }
}

// One frame there and back, painted; the milliseconds it took. Throws a sentence, or what went wrong.
async function frame(session, cards, { wide }) {
  const width = Math.min(wide ? WIDE : NARROW, video.videoWidth);
  grabbed.width = width;
  grabbed.height = Math.max(1, Math.round((width * video.videoHeight) / video.videoWidth));
  const began = performance.now();
  grabbed.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, grabbed.width, grabbed.height);
  const picture = grabbed.toDataURL("image/jpeg", 0.8);
  const scale = video.videoWidth / width;
  const smoothing = Number($(".smoothing").value);
  const answer = await within(server.read_frame({ viewer: session.viewer, picture, smoothing, scale }), 15000);
  if (live !== session || answer?.stale || session.held) return performance.now() - began;
  if (answer?.error) throw answer.error;
  if (!Array.isArray(answer?.faces)) throw new Error("no answer");
  paint(answer, cards, picture);
  return performance.now() - began;
}

async function reason(problem, failures) {
  if (typeof problem === "string") return problem;
  if (failures < 3) return "The app does not answer; trying again …";
  const health = await within(fetch("healthz").then((answer) => answer.json()), 3000).catch(() => null);
  if (health?.status === "error") return health.error;
  if (health && !health.ready) return "Warming up: the model is being loaded …";
  return health ? "The app was started anew; if it does not go on in a moment, reload the page." : "The app does not answer; trying again …";
}

function measure(meters, trip) {
  const { painted, trips } = meters, now = performance.now();
  painted.push(now);
  trips.push(trip);
  if (painted.length > 60) painted.shift();
  if (trips.length > 30) trips.shift();
  const typical = [...trips].sort((a, b) => a - b)[trips.length >> 1];
  if (trips.length >= 10 && meters.wide !== (meters.wide ? typical < 250 : typical < 90)) {
    meters.wide = !meters.wide;
    trips.length = 0; // times of the other size say nothing about this one
  }
  if (painted.length > 1 && painted.length % 5 === 0) {
    const rate = ((painted.length - 1) * 1000) / (now - painted[0]);
    meter.textContent = `${rate.toFixed(0)} frames/s · ${Math.round(typical)} ms from frame to boxes`;
  }
}

// Boxes are painted on the frame that was analysed, not on a newer one.
function paint(answer, cards, picture) {
  stage.dataset.state = "shown";
  if (canvas.width !== grabbed.width || canvas.height !== grabbed.height) {
    canvas.width = grabbed.width;
    canvas.height = grabbed.height;
  }
  const context = canvas.getContext("2d");
  context.drawImage(grabbed, 0, 0);
  const ids = new Set(answer.faces.map((face) => face.id));
  for (const [id, node] of cards) {
    if (!ids.has(id)) {
      node.remove();
      cards.delete(id);
    }
  }
  const empty = faces.querySelector(".empty");
  if (answer.faces.length) empty?.remove();
  else if (empty?.dataset.nobody !== "yes") {
    const nobodyHere = make("p", "empty", "Nobody in view. Come closer and face the camera; light from the front helps.");
    nobodyHere.dataset.nobody = "yes";
    faces.replaceChildren(nobodyHere);
  }
  for (const face of answer.faces) {
    if (!cards.has(face.id)) cards.set(face.id, card(face.id));
    const node = cards.get(face.id);
    node.asked = async () => ({ picture, box: face.box, expression: face.expression });
    node.fill(face, grabbed, 1);
    if (!node.isConnected) faces.append(node);
  }
  for (const face of answer.faces) drawBox(context, face, face.id, 1, answer.faces.length > 4);
}

cameraButton.onclick = () => {
  if (live?.stream) {
    stopLive();
    current += 1;
    return say("The camera is off.");
  }
  if (agreed) return openCamera();
  notice.hidden = false;
  $(".agree").focus();
};
$(".agree").onclick = () => {
  agreed = true;
  notice.hidden = true;
  cameraButton.focus();
  openCamera();
};
const decline = () => {
  notice.hidden = true;
  cameraButton.focus();
};
$(".decline").onclick = decline;
notice.onkeydown = (event) => {
  if (event.key === "Escape") decline();
  if (event.key === "Tab") {
    // Two buttons: Tab goes from one to the other and stays inside.
    event.preventDefault();
    (document.activeElement === $(".agree") ? $(".decline") : $(".agree")).focus();
  }
};
pauseButton.onclick = () => {
  if (!live) return;
  live.paused = !(video.paused || video.ended);
  if (live.paused) video.pause();
  else video.play().catch(() => say("The video could not go on; choose it again.", true));
  pauseButton.textContent = live.paused ? "Go on" : "Pause";
  meter.textContent = "";
  say(live.paused ? "Paused; no frames are sent." : "Going on.");
};
// Phones pause a video when the page is left, and do not start it again.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && live && !live.paused && !video.ended) video.play().catch(() => null);
});
seek.onpointerdown = () => { if (live) live.dragging = true; };
seek.onchange = () => { if (live) live.dragging = false; };
seek.oninput = () => { if (Number.isFinite(video.duration)) video.currentTime = seek.value * video.duration; };
video.onseeked = () => { if (live) live.once = true; }; // a paused video shows the place it was moved to
$(".smoothing").oninput = (event) => { $(".smoothing-value").textContent = `${Number(event.target.value).toFixed(1)} s`; };
// Switches the camera off with the page; the server forgets the viewer after ten seconds at the latest.
window.addEventListener("pagehide", () => stopLive());
