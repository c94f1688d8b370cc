// The page asks every few seconds, and less often where nobody looks or nobody answers.
const EVERY = 4000, line = element.querySelector(".kept"), trouble = element.querySelector(".trouble");

const minute = (time) => {
  const at = new Date(time), today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString([], { hour: "2-digit", minute: "2-digit", ...(today ? {} : { day: "numeric", month: "short" }) });
};

function words({ saved_at, on_hub_at, waiting, restored, removing }) {
  if (!saved_at && restored) return "Labels are kept on this disk and on the Hub; there is none yet.";
  const parts = [`on this disk ${saved_at ? minute(saved_at) : "nothing yet"}`, on_hub_at ? `on the Hub ${minute(on_hub_at)}` : "not on the Hub yet"];
  if (waiting) parts.push(`${waiting.toLocaleString()} waiting`);
  if (!restored) parts.push("reading what is on the Hub");
  if (removing) parts.push("a withdrawal is on its way to the Hub");
  return `Labels: ${parts.join(" · ")}`;
}

function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = !text;
}

async function look() {
  if (!document.hidden) {
    const answer = await server.kept({}).catch(() => null);
    if (answer && !answer.error) {
      show(line, words(answer));
      show(trouble, answer.problem || "");
    }
  }
  if (element.isConnected) setTimeout(look, EVERY);
}
look();
