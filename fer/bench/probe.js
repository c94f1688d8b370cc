// Runs in the page before its own script: times every camera frame by the counter painted in it.
// A second video on the same stream says when a frame reached the page; reading the page's canvas
// says when the same frame stood there with its boxes.
(() => {
  const BITS = 16, CELL = 20, WIDTH = 640, HEIGHT = 480; // as fer/bench/live.py paints them
  const strip = document.createElement("canvas");
  strip.width = BITS;
  strip.height = 1;
  const context = strip.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  const counter = (source, width, height) => {
    const cell = (CELL * width) / WIDTH, y = height - (CELL * height) / HEIGHT;
    context.drawImage(source, 0, y, BITS * cell, cell, 0, 0, BITS, 1);
    const { data } = context.getImageData(0, 0, BITS, 1);
    let value = 0;
    for (let bit = 0; bit < BITS; bit++) value = value * 2 + (data[4 * bit + 1] > 127 ? 1 : 0);
    return value;
  };
  const seen = new Map();
  const frames = (window.liveFrames = []); // [painted at, latency], milliseconds
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await open(wanted);
    const probe = document.createElement("video");
    probe.muted = true;
    probe.srcObject = stream;
    await probe.play();
    const note = () => {
      seen.set(counter(probe, probe.videoWidth, probe.videoHeight), performance.now());
      probe.requestVideoFrameCallback(note);
    };
    probe.requestVideoFrameCallback(note);
    let last = -1;
    const look = () => {
      const canvas = document.querySelector("canvas.picture");
      if (canvas?.width > 300) {
        const value = counter(canvas, canvas.width, canvas.height);
        if (value !== last && seen.has(value)) frames.push([performance.now(), performance.now() - seen.get(value)]);
        last = value;
      }
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    return stream;
  };
})();
