/* Elements, numbers as text, colours, tips. */

const SVG = "http://www.w3.org/2000/svg";

/* element("p", {class: "x", onclick: f}, "text", child ..); children that are null are left out. */
function element(name, attributes, ...children) { return fill(document.createElement(name), attributes, children); }
function drawn(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function")
      node[key] = value;
    else
      node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return node;
}

/* The width that there is to draw in. */
function room() {
  const view = byId("view"), {paddingLeft, paddingRight} = getComputedStyle(view);
  return view.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
}

const byId = id => document.getElementById(id);
const lead = (...words) => element("p", {class: "lead"}, words);
const soft = (...words) => element("p", {class: "soft"}, words);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/* ---- numbers ---- */

const DASH = "–";
const known = x => typeof x === "number" && Number.isFinite(x);
const minus = text => text.replace("-", "−");

/* As many digits as are worth reading. */
function number(x) {
  if (!known(x)) return DASH;
  const size = Math.abs(x);
  if (size >= 1000) return minus(Math.round(x).toLocaleString("en"));
  if (size > 0 && size < 0.0005) return minus(x.toExponential(0));
  return minus(x.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3));
}
const share = x => known(x) ? minus(x.toFixed(2)) : DASH;
const percent = x => known(x) ? `${(100 * x).toFixed(1)} %` : DASH;
const signed = x => known(x) ? (Math.abs(x) < 0.0005 ? "0.000" : (x > 0 ? "+" : "") + number(x)) : DASH;
const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

/* The style of a cell that is filled by a part of one. */
const partOf = x => known(x) ? `--part:${100 * clamp(x, 0, 1)}%` : null;

/* ---- tokens ---- */

const UNSEEN = {
  "\n": "⏎",
  "\t": "⇥",
  " ": "␣",
  "\u00a0": "␣",
  "\u2028": "⏎",
  "\u2029": "⏎"
};
const letters = text =>
    Intl.Segmenter ? Array.from(new Intl.Segmenter().segment(text), piece => piece.segment) : [...text];

/* A token so that it can be seen: spaces and controls as signs, and not longer than `most` letters. */
function visible(token, most = 12) {
  if (token === "") return "∅";
  const signs = token.replace(/[\n\t \u00a0\u2028\u2029]/g, sign => UNSEEN[sign])
                    .replace(/[\u0000-\u001f]/g, sign => String.fromCharCode(0x2400 + sign.charCodeAt(0)))
                    .replace(/\u007f/g, "␡");
  const all = letters(signs);
  return all.length > most ? all.slice(0, most - 1).join("") + "…" : signs;
}

/* How wide a label is, and one cut to fit. */
const pen = document.createElement("canvas").getContext("2d");
function widthOf(text) {
  pen.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}
function fitted(token, room) {
  let text = visible(token, 16);
  const all = letters(text);
  while (widthOf(text) > room && all.length > 1) {
    all.pop();
    text = `${all.join("")}…`;
  }
  return text;
}

/* ---- colour ---- */

/* viridis (Smith, van der Walt & Firing 2015), 256 colours from weight 0 to 1: those of the pictures. */
const VIRIDIS =
    "44015444025645045745055946075a46085c460a5d460b5e470d60470e6147106347116447136548146748166848176948186a481a6c" +
    "481b6d481c6e481d6f481f70482071482173482374482475482576482677482878482979472a7a472c7a472d7b472e7c472f7d46307e" +
    "46327e46337f463480453581453781453882443983443a83443b84433d84433e85423f85424086424186414287414487404588404688" +
    "3f47883f48893e49893e4a893e4c8a3d4d8a3d4e8a3c4f8a3c508b3b518b3b528b3a538b3a548c39558c39568c38588c38598c375a8c" +
    "375b8d365c8d365d8d355e8d355f8d34608d34618d33628d33638d32648e32658e31668e31678e31688e30698e306a8e2f6b8e2f6c8e" +
    "2e6d8e2e6e8e2e6f8e2d708e2d718e2c718e2c728e2c738e2b748e2b758e2a768e2a778e2a788e29798e297a8e297b8e287c8e287d8e" +
    "277e8e277f8e27808e26818e26828e26828e25838e25848e25858e24868e24878e23888e23898e238a8d228b8d228c8d228d8d218e8d" +
    "218f8d21908d21918c20928c20928c20938c1f948c1f958b1f968b1f978b1f988b1f998a1f9a8a1e9b8a1e9c891e9d891f9e891f9f88" +
    "1fa0881fa1881fa1871fa28720a38620a48621a58521a68522a78522a88423a98324aa8325ab8225ac8226ad8127ad8128ae8029af7f" +
    "2ab07f2cb17e2db27d2eb37c2fb47c31b57b32b67a34b67935b77937b87838b9773aba763bbb753dbc743fbc7340bd7242be7144bf70" +
    "46c06f48c16e4ac16d4cc26c4ec36b50c46a52c56954c56856c66758c7655ac8645cc8635ec96260ca6063cb5f65cb5e67cc5c69cd5b" +
    "6ccd5a6ece5870cf5773d05675d05477d1537ad1517cd2507fd34e81d34d84d44b86d54989d5488bd6468ed64590d74393d74195d840" +
    "98d83e9bd93c9dd93ba0da39a2da37a5db36a8db34aadc32addc30b0dd2fb2dd2db5de2bb8de29bade28bddf26c0df25c2df23c5e021" +
    "c8e020cae11fcde11dd0e11cd2e21bd5e21ad8e219dae319dde318dfe318e2e418e5e419e7e419eae51aece51befe51cf1e51df4e61e" +
    "f6e620f8e621fbe723fde725";
const GREY = [0xb8, 0xb8, 0xb8]; /* of a value that is missing */

function colour(value) {
  if (!known(value)) return GREY;
  const at = 6 * Math.round(255 * clamp(value, 0, 1));
  return [0, 2, 4].map(i => parseInt(VIRIDIS.slice(at + i, at + i + 2), 16));
}

/* From -1 to 1: blue below 0, white at it, red above, as in the pictures. */
function partedColour(value) {
  if (!known(value)) return GREY;
  const end = value < 0 ? [0x21, 0x66, 0xac] : [0xb2, 0x18, 0x2b], part = Math.min(1, Math.abs(value));
  return end.map(channel => Math.round(255 + part * (channel - 255)));
}

/* ---- tips ---- */

/* What is said of a node under the pointer or in focus: text, or a function that makes the children. */
const tips = new WeakMap();
function tip(node, words) {
  tips.set(node, words);
  return node;
}

function showTip(words, x, y) {
  const box = byId("tip");
  box.replaceChildren(...[typeof words === "function" ? words() : words].flat(Infinity));
  box.hidden = false;
  const {width, height} = box.getBoundingClientRect();
  box.style.left = `${clamp(x + 14, 8, Math.max(8, innerWidth - width - 8))}px`;
  box.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
}
const hideTip = () => {
  byId("tip").hidden = true;
};

function tipOf(node) {
  while (node && node !== document.body) {
    if (tips.has(node)) return node;
    node = node.parentNode;
  }
  return null;
}

function startTips() {
  document.addEventListener("pointermove", event => {
    const node = tipOf(event.target);
    if (node)
      showTip(tips.get(node), event.clientX, event.clientY);
    else if (!event.target.closest?.("[data-own-tip]"))
      hideTip();
  });
  document.addEventListener("focusin", event => {
    const node = tipOf(event.target);
    if (!node || !event.target.matches(":focus-visible")) return hideTip();
    const box = event.target.getBoundingClientRect();
    showTip(tips.get(node), box.left, box.bottom - 12);
  });
  for (const gone of ["focusout", "scroll"]) document.addEventListener(gone, hideTip, true);
}

/* ---- storage ---- */

/* A page opened from disk may not be allowed any. */
function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch { /* then not */
  }
}
