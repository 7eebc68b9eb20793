/* One head in large: heatmap, lines, numbers, and how it came about. */

/* Buttons of which one is chosen: [[value, text, tip] ..]. */
function choiceOf(name, values, chosen, picked) {
  return element(
      "div", {class: "segments", role: "radiogroup", "aria-label": name}, values.map(([value, text, words]) => {
        const button = element(
            "button", {
              type: "button",
              role: "radio",
              "aria-checked": String(value === chosen),
              tabindex: value === chosen ? 0 : -1,
              "data-value": value,
              onclick: () => picked(value),
              onkeydown: event => {
                const by = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
                if (!by) return;
                event.preventDefault();
                event.stopPropagation();
                const at = values.findIndex(one => one[0] === value),
                      next = values[(at + by + values.length) % values.length][0];
                picked(next);
                document.querySelector(`.segments[aria-label="${name}"] [data-value="${next}"]`)?.focus();
              }
            },
            text);
        return words ? tip(button, words) : button;
      }));
}

const wordsOf = name => {
  const found = OTHER_WORDS.find(one => one[0] === name);
  return wordsTip(...found);
};

function headChoices(head) {
  const layers = study.kinds.flatMap(kind => layersOf(kind).map(layer => ({kind, layer})));
  const here = layers.findIndex(one => one.kind.kind === head.kind && one.layer === head.layer);
  const open = index => go(`head/${heads[index].label}`);
  const layer = element(
      "select", {
        id: "layer",
        onchange: () => {
          const {kind, layer: wanted} = layers[byId("layer").value], there = inLayer(kind, wanted);
          open(there[Math.min(head.head, there.length - 1)]);
          byId("layer").focus();
        }
      },
      layers.map(
          (one, i) => element("option", {value: i, selected: i === here}, `${one.kind.title}, layer ${one.layer}`)));
  const number = element(
      "select", {
        id: "head",
        onchange: () => {
          open(Number(byId("head").value));
          byId("head").focus();
        }
      },
      inLayer(layers[here].kind, head.layer)
          .map(i => element("option", {value: i, selected: heads[i] === head}, `${heads[i].head}: ${heads[i].job}`)));
  const beside = (by, text, words) =>
      tip(element(
              "button", {
                type: "button",
                class: "plain",
                "aria-label": words,
                disabled: !heads[state.head + by],
                onclick: () => {
                  open(state.head + by);
                  document.querySelector(`[aria-label="${words}"]`)?.focus();
                }
              },
              text),
          words);
  return element(
      "div", {class: "head-choices"}, element("a", {href: "#heads", class: "back"}, "‹ all heads"),
      element("label", {class: "choice"}, "layer ", layer), element("label", {class: "choice"}, "head ", number),
      element("span", {}, beside(-1, "←", "Previous head"), beside(1, "→", "Next head")));
}

function numbersTable(caption, names, body) {
  return element(
      "table", {class: "numbers"}, element("caption", {}, caption),
      names ? element("thead", {}, element("tr", {}, names.map(name => element("th", {scope: "col"}, name)))) : null,
      element("tbody", {}, body));
}

function headLooks(head) {
  const last = state.step === LAST, looks = last ? head.looks : null;
  const value = look => last ? looks?.[look.name]?.mean : emerging(state.head)?.looks?.[look.name]?.[state.step];
  const rows = study.looks.map(look => {
    const one = looks?.[look.name] ?? {},
          isShare = SHARES.includes(look.name) || look.name === "spread" || look.name === "confidence";
    return tip(
        element(
            "tr", {tabindex: 0}, element("th", {scope: "row"}, spoken(look.name)),
            element("td", {class: "amount", style: isShare && partOf(value(look))}, number(value(look))),
            element("td", {}, known(one.deviation) ? `± ${number(one.deviation)}` : DASH),
            element("td", {}, number(one.chance))),
        lookTip(
            last ? head : {label: head.label, offset: head.offset, looks: {[look.name]: {mean: value(look)}}}, look));
  });
  return numbersTable("What it looks at", ["", "mean", "deviation", "chance"], rows);
}

function headWorth(head) {
  const last = state.step === LAST,
        rows = WORTH.map(
            ([name, of, text, about, source]) =>
                tip(element(
                        "tr", {tabindex: 0}, element("th", {scope: "row"}, name),
                        element("td", {}, last ? text(of(head)) : DASH)),
                    wordsTip(name, about, source)));
  return numbersTable(last ? "What it is worth" : "What it is worth (known of the last step)", null, rows);
}

/* The strongest of its shares, step by step. */
function headCurves(head) {
  const looks = emerging(state.head)?.looks;
  if (steps.length < 2 || !looks) return null;
  const most = name => Math.max(0, ...(looks[name] ?? []).filter(known));
  const shown = SHARES.filter(name => looks[name]).sort((a, b) => most(b) - most(a)).slice(0, 4);
  const width = Math.min(560, room());
  return element(
      "div", {}, element("h3", {}, "How it came about"),
      curves(shown.map((name, i) => ({name: spoken(name), values: looks[name], hue: i})), {
        x: steps,
        width,
        height: 200,
        xName: "step",
        yName: "share",
        low: 0,
        high: 1,
        mark: state.step,
        at: i => `step ${steps[i]}: ${jobAt(state.head, i)} ${share(scoreAt(state.head, i))}`,
        picked: step => choose({step})
      }),
      curves([{name: "loss", values: steps.map((_, i) => lossAt(i)), hue: 4}], {
        x: steps,
        width,
        height: 120,
        xName: "step",
        yName: "loss",
        mark: state.step,
        at: i => `step ${steps[i]}, exact match ${percent(exactAt(i))}`,
        picked: step => choose({step})
      }));
}

/* What is said of a token: whom it attends to, or who attends to it. */
function tokenWords(matrix, side, i) {
  const others = side ? matrix.rows : matrix.columns, weight = j => side ? matrix.at(j, i) : matrix.at(i, j);
  const best = others.map((token, j) => [weight(j) ?? 0, token, j])
                   .sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]))
                   .slice(0, 3)
                   .filter(one => Math.abs(one[0]) >= 0.01);
  const own = visible((side ? matrix.columns : matrix.rows)[i], 24);
  return `${i} “${own}” ${side ? "is seen by" : "sees"} ${
      best.map(([w, token, j]) => `${j} “${visible(token, 24)}” ${share(w)}`).join(", ") || "nothing"}`;
}

function headView() {
  const head = heads[state.head], which = shownWeights(),
        matrix = weightsOf(state.head, state.sentence, state.step, which);
  const job = jobAt(state.head, state.step), scale = state.scale === "one" ? matrix.full : largest(matrix);
  const columnAxis = head.kind === "cross" ? "key: source token" : "key",
        rowAxis = head.kind === "cross" ? "query: target token" : "query";
  let lines = null;
  const picture = heatmap(matrix, {
    width: room(),
    scale,
    rowAxis,
    columnAxis,
    unit: which === "plain" ? (matrix.signed ? "weight, of either sign" : "weight") :
        which === "norms"   ? "value norm, rows sum to 1" :
                              "rollout",
    name: `Weights of head ${head.label}`,
    moved: (row, column) => lines.show(row, column),
    say: (row, column) => `${row} “${visible(matrix.rows[row], 24)}” → ${column} “${
        visible(matrix.columns[column], 24)}”: ${number(matrix.at(row, column))}`
  });
  lines = links(matrix, {
    width: Math.min(room(), 290),
    scale,
    rowAxis: "query",
    columnAxis: "key",
    tokenWords: (side, i) => tokenWords(matrix, side, i)
  });
  const rises = state.step === LAST ?
      [
        ` Without it the loss changes by `, element("b", {}, signed(lossWithout(head))),
        " nats a token, exact match by ", element("b", {}, signed(change(head, "off", "exact_match"))), "."
      ] :
      [` At step ${steps[state.step].toLocaleString("en")} of training.`];
  const kinds = [["plain", "weights", wordsOf("weights")], ["norms", "value norms", wordsOf("value norms")]];
  if (hasRollout(state.head, state.sentence)) kinds.push(["rollout", "rollout of the stack", wordsOf("rollout")]);
  return element(
      "article", {class: "head-view"}, headChoices(head),
      element(
          "h2", {class: "head-title"}, element("span", {class: "label"}, head.label), " ", jobSign(job, 20),
          ` ${job ?? DASH} `,
          tip(element("span", {class: "soft", tabindex: 0}, share(scoreAt(state.head, state.step))), wordsOf("score"))),
      lead(jobAbout(job), rises),
      element(
          "div", {class: "row"},
          choiceOf(
              "Which weights", kinds, which,
              weights => choose({weights, step: weights === "plain" ? state.step : LAST})),
          choiceOf(
              "Colour scale",
              [["one", matrix.signed ? "one scale for all" : "scale 0 to 1"], ["most", "to the largest"]], state.scale,
              value => choose({scale: value}))),
      which === "rollout" ? soft("Rollout is of the whole stack of layers: the same for all its heads.") : null,
      element(
          "div", {class: "pictures"}, element("figure", {"data-figure": "heatmap"}, picture.node),
          element("figure", {"data-figure": "links"}, lines.node), headLooks(head)),
      element("div", {class: "pictures"}, headWorth(head), headCurves(head)));
}
