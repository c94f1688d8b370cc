// Live: camera and video files. The page sends a frame, waits for its answer, paints that very frame
// with its boxes, and takes the newest frame next: nothing queues up, whatever the connection is like.
const viewer = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const video = document.createElement("video");
video.muted = true;
video.playsInline = true;
const grabbed = document.createElement("canvas");
let live = null; // the running session: {stop(), stream, file}
let agreed = false; // the notice before the camera was accepted on this page
const pauseButton = $(".pause"), cameraButton = $(".camera"), meter = $(".meter"), seek = $(".seek");
const WIDE = 640, NARROW = 320; // pixels sent; narrow while the round trip is slow
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const within = (promise, ms) => Promise.race([promise, sleep(ms).then(() => null)]);

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

function stopLive(message) {
  if (!live) return;
  const { stream, file } = live;
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
  pauseButton.hidden = $(".live-only").hidden = true;
  if (message) say(message.text, message.error);
}

function beginLive(session) {
  stopLive();
  current += 1; // a photo still being read is no longer wanted
  stage.classList.remove("busy");
  shown = [];
  boxes.replaceChildren();
  faces.replaceChildren(make("p", "empty", "Looking for faces …"));
  $(".strip").hidden = $(".photo-only").hidden = true;
  $(".live-only").hidden = pauseButton.hidden = false;
  $(".seek-label").hidden = !session.file;
  pauseButton.textContent = "Pause";
  live = session;
  run(session);
}

const cameraProblem = (error) =>
  ({
    NotAllowedError: "The camera was refused; allow it in the browser's address bar, then press the button again.",
    NotFoundError: "No camera was found; plug one in and press the button again, or choose a photo.",
    OverconstrainedError: "No camera was found; plug one in and press the button again, or choose a photo.",
    NotReadableError: "The camera is used by another program; close that, then press the button again.",
  })[error?.name] || "The camera could not be opened; press the button again, or choose a photo.";

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    return say("Browsers open the camera only on https pages and on this machine itself; use one of these, or choose a photo.", true);
  }
  say("Opening the camera …");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" }, audio: false,
    });
  } catch (error) {
    return say(cameraProblem(error), true);
  }
  stream.getVideoTracks()[0].onended = () => {
    stopLive({ text: "The camera was unplugged or taken away; it goes on by itself when it is back.", error: true });
    const back = async () => {
      const devices = await navigator.mediaDevices.enumerateDevices();
      if (live || !devices.some((device) => device.kind === "videoinput")) return;
      navigator.mediaDevices.removeEventListener("devicechange", back);
      openCamera();
    };
    navigator.mediaDevices.addEventListener("devicechange", back);
  };
  video.srcObject = stream;
  await video.play().catch(() => null);
  cameraButton.textContent = "Stop the camera";
  say("The camera is on. Frames are read and forgotten.");
  beginLive({ stream });
}

async function playVideo(file) {
  const source = URL.createObjectURL(file);
  stopLive();
  video.srcObject = null;
  video.src = source;
  try {
    await video.play();
  } catch {
    URL.revokeObjectURL(source);
    return say(`${file.name} cannot be played by this browser; try MP4 or WebM.`, true);
  }
  say(`Playing ${file.name} here; only single frames go to the server, and none is kept.`);
  beginLive({ file: source });
}

async function run(session) {
  const cards = new Map(), painted = [], trips = [];
  let wide = true, failures = 0;
  watchFrames(session);
  while (live === session) {
    await nextFrame();
    if (live !== session) return;
    const hidden = document.hidden || element.offsetParent === null;
    if (hidden || video.paused || video.ended || !video.videoWidth) {
      if (video.ended) pauseButton.textContent = "Play again";
      await sleep(100);
      continue;
    }
    const width = Math.min(wide ? WIDE : NARROW, video.videoWidth);
    grabbed.width = width;
    grabbed.height = Math.max(1, Math.round((width * video.videoHeight) / video.videoWidth));
    const began = performance.now();
    grabbed.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, grabbed.width, grabbed.height);
    const frame = { viewer, picture: grabbed.toDataURL("image/jpeg", 0.8), smoothing: Number($(".smoothing").value) };
    const answer = await within(server.read_frame(frame).catch(() => null), 15000);
    if (live !== session) return;
    if (!answer || answer.error) {
      failures += 1;
      say(answer?.error || "The app does not answer; trying again …", true);
      await sleep(Math.min(5000, 500 * failures));
      continue;
    }
    if (failures) say("Going on.");
    failures = 0;
    paint(answer, cards);
    const now = performance.now();
    painted.push(now);
    trips.push(now - began);
    while (painted.length > 60) painted.shift();
    while (trips.length > 30) trips.shift();
    const typical = [...trips].sort((a, b) => a - b)[trips.length >> 1];
    if (trips.length >= 10) wide = wide ? typical < 250 : typical < 90;
    if (painted.length > 1 && painted.length % 5 === 0) {
      const rate = ((painted.length - 1) * 1000) / (now - painted[0]);
      meter.textContent = `${rate.toFixed(0)} frames/s · ${Math.round(typical)} ms from frame to boxes`;
    }
    if (session.file && document.activeElement !== seek) seek.value = video.currentTime / (video.duration || 1);
  }
}

// Boxes are painted on the frame that was analysed, not on a newer one.
function paint(answer, cards) {
  stage.dataset.state = "shown";
  if (canvas.width !== grabbed.width || canvas.height !== grabbed.height) {
    canvas.width = grabbed.width;
    canvas.height = grabbed.height;
    canvas.setAttribute("aria-label", "Live video with a box around each face");
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
  faces.querySelector(".empty")?.remove();
  for (const face of answer.faces) {
    if (!cards.has(face.id)) cards.set(face.id, card(face.id));
    const node = cards.get(face.id);
    node.fill(face, grabbed, 1);
    if (!node.isConnected) faces.append(node);
  }
  for (const face of answer.faces) drawBox(context, face, face.id, 1);
  if (!answer.faces.length) faces.replaceChildren(make("p", "empty", "Nobody in view. Come closer and face the camera; light from the front helps."));
}

cameraButton.onclick = () => {
  if (live?.stream) return stopLive({ text: "The camera is off." });
  if (agreed) return openCamera();
  $(".notice").hidden = false;
  $(".agree").focus();
};
$(".agree").onclick = () => {
  agreed = true;
  $(".notice").hidden = true;
  openCamera();
};
const decline = () => {
  $(".notice").hidden = true;
  cameraButton.focus();
};
$(".decline").onclick = decline;
$(".notice").onkeydown = (event) => event.key === "Escape" && decline();
pauseButton.onclick = () => {
  const still = video.paused || video.ended;
  if (still) video.play();
  else video.pause();
  pauseButton.textContent = still ? "Pause" : "Go on";
};
seek.oninput = () => { video.currentTime = seek.value * (video.duration || 0); };
$(".smoothing").oninput = (event) => { $(".smoothing-value").textContent = `${Number(event.target.value).toFixed(1)} s`; };
// A page that is left lets its place go at once; one that crashes is forgotten after ten seconds.
window.addEventListener("pagehide", () => stopLive());
