// Who changes which version answers, and why: asked in a dialog where it is not known. {who, why}, or null for "not now".
const known = () => (/^(?!visitor-).+/.exec(memory.get("studio.name") || "") || [""])[0];
function consent({ title, words, yes, reason }) {
  if (known() && !reason) return Promise.resolve({ who: known(), why: "" });
  const dialog = $(".ask"), who = $(".ask-who"), why = $(".ask-why");
  $(".ask-title").textContent = title;
  $(".ask-words").textContent = words;
  $(".ask-yes").textContent = yes;
  who.value = known();
  why.value = "";
  why.required = Boolean(reason);
  why.parentElement.hidden = !reason;
  dialog.returnValue = "";
  dialog.showModal();
  (who.value ? why : who).focus();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      const answer = { who: who.value.trim(), why: why.value.trim() };
      if (dialog.returnValue !== "yes" || !answer.who || (reason && !answer.why)) return resolve(null);
      memory.set("studio.name", answer.who);
      resolve(answer);
    };
  });
}
$(".ask-no").onclick = () => $(".ask").close("no");

// --- figures ------------------------------------------------------------------------------------

const share = (value, [low, high]) => `${(100 * value).toFixed(1)} % [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`;
const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(100 * value).toFixed(1)}`;
const moved = ({ change, change_interval: [low, high] }) => `${signed(change)} points [${signed(low)}, ${signed(high)}]`;
const chance = (p) => (p < 0.0001 ? "below 0.0001" : p.toPrecision(2));
const dated = (at) => (at && !Number.isNaN(Date.parse(at)) ? new Date(at).toLocaleString([], at.includes("T") ? { dateStyle: "medium", timeStyle: "short" } : { dateStyle: "medium" }) : at || "");

function row(...cells) {
  const line = make("tr");
  line.append(...cells.map((text, at) => {
    const cell = make(at ? "td" : "th", "", text);
    if (!at) cell.scope = "row";
    return cell;
  }));
  return line;
}
function table(caption, heads, rows) {
  const whole = make("table"), head = make("tr"), body = make("tbody");
  whole.append(make("caption", "", caption), make("thead"), body);
  head.append(...heads.map((text) => Object.assign(make("th", "", text), { scope: "col" })));
  whole.tHead.append(head);
  body.append(...rows.map((cells) => row(...cells)));
  return whole;
}

// Before and after of one or two comparisons, side by side.
function compared(caption, columns, [before, after] = ["Before", "After"]) {
  return table(caption, ["", ...columns.map(([name, one]) => `${name} (${one.n.toLocaleString()})`)], [
    [before, ...columns.map(([, one]) => share(one.accuracy_before, one.interval_before))],
    [after, ...columns.map(([, one]) => share(one.accuracy_after, one.interval_after))],
    ["Change", ...columns.map(([, one]) => moved(one))],
    ["Mended: wrong, now right", ...columns.map(([, one]) => one.mended.toLocaleString())],
    ["Broken: right, now wrong", ...columns.map(([, one]) => one.broken.toLocaleString())],
    ["p, one-sided McNemar", ...columns.map(([, one]) => chance(one.p))],
    ["Macro-F1", ...columns.map(([, one]) => `${one.macro_f1_before.toFixed(3)} → ${one.macro_f1_after.toFixed(3)}`)],
  ]);
}
const classes = (caption, one, titles) => table(caption, ["Expression", "Faces", "Recall", "F1"], Object.entries(one.per_class).map(([name, of]) => [
  titles[name] || name, of.n.toLocaleString(), `${percent(of.recall_before)} → ${percent(of.recall_after)}`.replaceAll(" %", "\u00a0%"), `${of.f1_before.toFixed(2)} → ${of.f1_after.toFixed(2)}`,
]));
