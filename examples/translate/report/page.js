/* The page: which view is shown, what is chosen, the keys that work everywhere. */

const VIEWS = [
  ["heads", "Heads"], ["training", "Training"], ["measures", "Measures"], ["removal", "Removal"],
  ["likeness", "Likeness"], ["words", "Words"]
];
const DRAW = {
  head: headView,
  training: trainingView,
  measures: measuresView,
  removal: removalView,
  likeness: likenessView,
  words: glossaryView
};
const FOLLOWS = ["heads", "head", "training"]; /* the views that sentence and step change */
let atlas = null;                              /* kept, so that its tiles keep the focus */

const go = where => {
  if (location.hash === `#${where}`)
    arrive();
  else
    location.hash = where;
};

/* Changes what is chosen and shows it; the focus stays where it can. */
function choose(changes) {
  Object.assign(state, changes);
  draw();
}

function draw() {
  const view = byId("view"), focused = document.activeElement,
        figure = focused?.closest?.("[data-figure]")?.dataset.figure;
  const value = focused?.dataset?.value, group = focused?.closest?.(".segments")?.getAttribute("aria-label");
  hideTip();
  drawBar();
  if (state.view === "heads") {
    atlas ??= overview();
    if (view.firstChild !== atlas.node) view.replaceChildren(atlas.node);
    atlas.update();
    return;
  }
  view.replaceChildren(DRAW[state.view]());
  if (value !== undefined && group)
    view.querySelector(`.segments[aria-label="${group}"] [data-value="${value}"]`)?.focus();
  else if (figure)
    view.querySelector(`[data-figure="${figure}"] [tabindex="0"]`)?.focus();
}

/* The view that the address names: #heads, #head/cross1.0, #measures .. */
function arrive() {
  const [name, label] = decodeURIComponent(location.hash.slice(1)).split("/");
  const index = heads.findIndex(head => head.label === label), before = state.view;
  state.view = name === "head" && index >= 0 ? "head" : VIEWS.some(view => view[0] === name) ? name : "heads";
  if (index >= 0) state.head = index;
  draw();
  if (before !== state.view) scrollTo(0, 0);
  if (state.view === "heads" && before === "head")
    atlas.focus();
  else if (before !== state.view)
    byId("view").focus({preventScroll: true});
}

/* ---- the bar ---- */

function drawBar() {
  const here = state.view === "head" ? "heads" : state.view;
  for (const link of byId("views").children) {
    const current = link.hash === `#${here}`;
    link.toggleAttribute("aria-current", current);
    if (current) link.parentNode.scrollLeft = link.offsetLeft - link.parentNode.offsetLeft - 80;
  }
  byId("choices").hidden = !FOLLOWS.includes(state.view);
  byId("sentence").value = state.sentence;
  byId("step").value = state.step;
  byId("step").setAttribute("aria-valuetext", `step ${steps[state.step]}`);
  byId("step-number").textContent = steps.length ? steps[state.step].toLocaleString("en") : "";
  byId("step-loss").textContent = `loss ${number(lossAt(state.step))} · exact match ${percent(exactAt(state.step))}`;
}

function spark() {
  const loss = steps.map((_, i) => lossAt(i)), most = Math.max(1e-9, ...loss.filter(known)),
        n = Math.max(1, steps.length - 1);
  const points = loss.map((x, i) => known(x) ? `${(100 * i / n).toFixed(2)},${(20 - 19 * x / most).toFixed(2)}` : "")
                     .filter(Boolean);
  return drawn(
      "svg", {viewBox: "0 0 100 20", preserveAspectRatio: "none"},
      drawn("polygon", {points: `0,20 ${points.join(" ")} 100,20`}));
}

let playing = null;
function play() {
  const stop = () => {
    clearInterval(playing);
    playing = null;
    byId("play").textContent = "▶";
    byId("play").setAttribute("aria-label", "Play the training");
  };
  if (playing) return stop();
  byId("play").textContent = "❚❚";
  byId("play").setAttribute("aria-label", "Pause");
  let step = state.step === LAST ? -1 : state.step;
  playing = setInterval(() => {
    step += 1;
    choose({step});
    if (step >= LAST) stop();
  }, 450);
}

function fillBar() {
  byId("title").append(element("span", {class: "soft"}, "Heads of "), study.title ?? "");
  tip(byId("title"), study.run ?? "");
  document.title = `${study.title}: attention heads`;
  byId("views").append(...VIEWS.map(([name, text]) => element("a", {href: `#${name}`}, text)));
  byId("sentence").append(...study.sentences.map((_, i) => element("option", {value: i}, sentenceText(i))));
  byId("sentence").onchange = () => choose({sentence: Number(byId("sentence").value)});
  byId("stepper").hidden = steps.length < 2;
  if (steps.length < 2) return;
  byId("spark").append(spark());
  byId("step").max = LAST;
  byId("step").oninput = () => choose({step: Number(byId("step").value)});
  byId("play").onclick = play;
}

/* ---- light and dark ---- */

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const theme =
        remembered("tapehead-theme") ?? document.documentElement.dataset.chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "☀" : "☾";
    byId("theme").setAttribute("aria-label", theme === "dark" ? "Light colours" : "Dark colours");
  };
  byId("theme").onclick = () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.chosen = theme;
    remember("tapehead-theme", theme);
    show();
  };
  dark.onchange = show;
  show();
}

/* ---- keys ---- */

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("select, input");
  if (event.key === "Escape" && !byId("tip").hidden && state.view !== "head") return hideTip();
  if (event.key === "Escape" && state.view === "head") return go("heads");
  if (typing) return;
  const step = {",": -1, ".": 1}[event.key], aside = {"[": -1, "]": 1}[event.key];
  const arrow = state.view === "head" && (event.target === document.body || event.target.id === "view") ?
      {ArrowLeft: -1, ArrowRight: 1}[event.key] :
      null;
  if (step && steps.length > 1 && FOLLOWS.includes(state.view)) choose({step: clamp(state.step + step, 0, LAST)});
  const next = heads[state.head + (aside ?? arrow ?? 0)];
  if ((aside ?? arrow) && state.view === "head" && next) go(`head/${next.label}`);
}

let width = innerWidth;
function resized() {
  if (innerWidth === width) return;
  width = innerWidth;
  draw();
}

startTheme();
startTips();
fillBar();
addEventListener("hashchange", arrive);
addEventListener("keydown", key);
addEventListener("resize", resized);
arrive();
