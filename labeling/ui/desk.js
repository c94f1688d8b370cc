// What the scripts of all tabs but the first begin with. Everything that came with a file or from people, names among it, is put
// on a page as text.
const $ = (selector) => element.querySelector(selector);
const banner = $(".banner");
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const within = (promise, ms) => Promise.race([promise, sleep(ms).then(() => null)]);
const random = (bytes) => [...crypto.getRandomValues(new Uint8Array(bytes))].map((one) => one.toString(16).padStart(2, "0")).join("");
const percent = (share) => `${Math.round(100 * share)} %`;
const many = (count, one, more) => `${count.toLocaleString()} ${count === 1 ? one : more}`;
// Whether somebody can see this tab.
const shown = () => element.isConnected && element.offsetParent !== null && !document.hidden;

// What this browser remembers, where it may.
const memory = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); return true; } catch { return false; } },
  remove: (key) => { try { localStorage.removeItem(key); } catch { /* it was never kept */ } },
};

function report(text) {
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = false;
}
// The answer, as it is, or null where none came in time.
const ask = (fn, payload = {}, ms = 15000) => within(fn(payload).catch(() => null), ms);
// The answer, or null with the sentence on the banner.
async function call(fn, payload = {}, ms = 60000) {
  banner.hidden = true;
  const answer = await ask(fn, payload, ms);
  if (answer && !answer.error) return answer;
  report(answer?.error || "The app did not answer; check the connection and try again.");
  return null;
}

// Rows of [name, count, more words, a second count]: a bar each, as long as its counts.
function bars(selector, rows) {
  const most = Math.max(1, ...rows.map(([, count, , second = 0]) => count + second));
  $(selector).replaceChildren(...(rows.length ? rows : [["none yet", 0]]).map(([name, count, more = "", second = 0]) => {
    const row = make("li"), track = make("span", "track");
    for (const [kind, share] of [["fill", count], ["fill second", second]]) {
      const fill = make("span", kind);
      fill.style.width = `${(100 * share) / most}%`;
      track.append(fill);
    }
    const label = make("span", "name", name);
    label.title = name;
    row.append(label, track, make("span", "count", `${count.toLocaleString()}${more}`));
    return row;
  }));
}
