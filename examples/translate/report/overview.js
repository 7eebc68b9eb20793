/* All heads at a glance: layer by head, kind by kind. */

function modelLine() {
  const {model, data, whole} = study, size = [];
  if (model.encoder_layers) size.push(count(model.encoder_layers, "encoder layer"));
  if (model.decoder_layers) size.push(count(model.decoder_layers, "decoder layer"));
  return [
    count(heads.length, "head"), ...size, `width ${model.width}`, count(model.parameters, "parameter"),
    `studied on ${count(data.sequences, "sequence")}`, `exact match ${percent(whole.exact_match)}`,
    `loss ${number(whole.loss)}`
  ].join("  ·  ");
}

/* What the numbers come to, in sentences. */
function inShort() {
  const worths = heads.map(lossWithout).map(x => x ?? -Infinity), most = worths.indexOf(Math.max(...worths)), said = [];
  if (known(worths[most]) && worths[most] > 0)
    said.push([
      "The model leans most on ", headLink(most), ` (${heads[most].job}): `,
      `without it the loss rises by ${number(worths[most])} nats a token.`
    ]);
  const greedy = study.removal?.greedy, exact = study.whole.exact_match;
  if (greedy && known(exact) && exact > 0) {
    const fails = greedy.after.findIndex(after => !(after.exact_match >= 0.95 * exact));
    const spared = fails < 0 ? heads.length : fails;
    if (greedy.after.every(after => known(after.exact_match)))
      said.push([
        " ", element("a", {href: "#removal"}, `${spared} of ${count(heads.length, "head")}`),
        " can be switched off together, and 95 % of the exact match is left."
      ]);
  }
  return said;
}
const headLink = index => element("a", {href: `#head/${heads[index].label}`, class: "label"}, heads[index].label);

function tile(index) {
  const head = heads[index];
  return element(
      "button",
      {type: "button", class: "tile", "data-head": index, tabindex: -1, onclick: () => go(`head/${head.label}`)},
      element("canvas"),
      element(
          "span", {class: "line"}, element("span", {class: "label"}, head.label), element("span", {class: "score"})),
      element("span", {class: "job"}), element("span", {class: "worth"}));
}

/* Which head comes next in a direction: within the layer, or at the same place in the layer above or below. */
function neighbour(index, key) {
  const rows = study.kinds.flatMap(kind => layersOf(kind).map(layer => inLayer(kind, layer)));
  const row = rows.findIndex(one => one.includes(index)), column = rows[row].indexOf(index);
  if (key === "Home") return rows[row][0];
  if (key === "End") return rows[row][rows[row].length - 1];
  if (key === "ArrowLeft") return heads[index - 1] ? index - 1 : index;
  if (key === "ArrowRight") return heads[index + 1] ? index + 1 : index;
  const next = rows[row + (key === "ArrowUp" ? -1 : 1)];
  return next ? next[Math.min(column, next.length - 1)] : index;
}

function overview() {
  const tiles = [],
        grid = element("div", {class: "kinds"}, study.kinds.map(kind => {
          const most = Math.max(1, ...layersOf(kind).map(layer => inLayer(kind, layer).length));
          return element(
              "section", {class: "kind", style: `--heads:${most}`}, element("h2", {}, kind.title),
              layersOf(kind).map(
                  layer => element(
                      "div", {class: "layer", role: "group", "aria-label": `${kind.title}, layer ${layer}`},
                      element("span", {class: "layer-name"}, `layer ${layer}`),
                      element(
                          "div", {class: "tiles"}, inLayer(kind, layer).map(index => tiles[index] = tile(index))))));
        }));
  grid.onkeydown = event => {
    const from = event.target.closest(".tile");
    if (!from || !/^(Arrow|Home$|End$)/.test(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    roam(tiles, neighbour(Number(from.dataset.head), event.key)).focus();
  };
  const tally =
      element("div", {class: "tally", role: "group", "aria-label": "Jobs: press to show only the heads with one"});
  const scale = scaleBar(LARGEST ?? 1, "weight: rows are queries, columns keys", known(LARGEST));
  const node = element(
      "div", {class: "overview"}, soft(modelLine()), lead(inShort()), tally, grid,
      element(
          "div", {class: "foot"}, scale,
          soft(
              "The bar is the rise of the loss when the head is switched off. Arrow keys move among heads, Enter opens one.")));
  const worst = Math.max(1e-9, ...heads.map(lossWithout).filter(known));

  function drawTile(index) {
    const node = tiles[index];
    if (!node) return;
    const job = jobAt(index, state.step), score = scoreAt(index, state.step),
          rise = state.step === LAST ? lossWithout(heads[index]) : null;
    const matrix = weightsOf(index, state.sentence, state.step), canvas = node.querySelector("canvas");
    paint(canvas, matrix);
    canvas.style.aspectRatio = clamp(matrix.columns.length / Math.max(1, matrix.rows.length), 0.6, 1.8);
    node.querySelector(".score").textContent = share(score);
    node.querySelector(".job").replaceChildren(jobSign(job), element("span", {}, jobShort(job)));
    node.querySelector(".worth").replaceChildren(
        element("i", {style: `width:${known(rise) ? 100 * clamp(rise / worst, 0, 1) : 0}%`}),
        element("span", {}, signed(rise)));
    node.classList.toggle("faded", state.job !== null && state.job !== job);
    node.setAttribute(
        "aria-label", `${heads[index].label}: ${job}, score ${share(score)}, loss without it ${signed(rise)}`);
    tip(node,
        () =>
            [element("b", {}, `${heads[index].label} · ${job} ${share(score)}`), element("p", {}, jobAbout(job)),
             soft(
                 state.step === LAST ? `Loss without it: ${signed(rise)} nats a token; exact match ${
                                           signed(change(heads[index], "off", "exact_match"))}` :
                                       "What it is worth is known of the last step alone.")]);
  }
  function drawTally() {
    const counts = new Map();
    heads.forEach((_, i) => {
      const job = jobAt(i, state.step) ?? DASH;
      counts.set(job, (counts.get(job) ?? 0) + 1);
    });
    if (state.job !== null && !counts.has(state.job)) state.job = null;
    tally.replaceChildren(...[...counts]
                              .sort((a, b) => b[1] - a[1])
                              .map(
                                  ([job, n]) =>
                                      tip(element(
                                              "button", {
                                                type: "button",
                                                class: "chip",
                                                "aria-pressed": String(state.job === job),
                                                onclick: () => {
                                                  choose({job: state.job === job ? null : job});
                                                  [...tally.children].find(chip => chip.dataset.job === job)?.focus();
                                                },
                                                "data-job": job
                                              },
                                              jobSign(job, 14), element("b", {}, String(n)), ` ${job}`),
                                          jobAbout(job))));
  }
  function update() {
    drawTally();
    heads.forEach((_, i) => drawTile(i));
    roam(tiles, state.head);
  }
  return {node, update, focus: () => tiles[state.head]?.focus()};
}

/* One of many is in the tab order. */
function roam(nodes, index) {
  nodes.forEach((node, i) => node?.setAttribute("tabindex", i === index ? 0 : -1));
  return nodes[index];
}
