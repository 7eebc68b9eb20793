/* The model as a whole: its training, the table of measures, what happens as heads go. */

const STEP_TEXT = 6.6; /* pixels a letter in the strips */

/* ---- training ---- */

/* A strip a head: its job at each step, the stronger the fuller. */
function strips() {
  const high = 22, left = 76, width = Math.max(480, Math.min(room(), 1180)), each = (width - left) / steps.length;
  const rows = heads.map((head, i) => {
    const y = 24 + i * high, cells = [], names = [];
    for (let step = 0, begin = 0; step < steps.length; step++) {
      const job = jobAt(i, step), score = scoreAt(i, step),
            more = step + 1 < steps.length && jobAt(i, step + 1) === job;
      cells.push(
          tip(drawn("rect", {
                class: `job-${jobOf(job)[1]}`,
                x: left + step * each,
                y: y + 1,
                width: each - (more ? 0 : 1.5),
                height: high - 2,
                "fill-opacity":
                    ((0.15 + 0.5 * clamp(score ?? 0, 0, 1)) * (/grey|none/.test(jobOf(job)[1]) ? 0.35 : 1)).toFixed(2),
                onclick: () => choose({step})
              }),
              `${head.label} at step ${steps[step]}: ${job} ${share(score)}`));
      if (more) continue;
      const run = (step + 1 - begin) * each;
      if (job && run > STEP_TEXT * job.length + 10)
        names.push(drawn("text", {class: "begin name", x: left + begin * each + 6, y: y + high / 2}, job));
      begin = step + 1;
    }
    return drawn(
        "g", {},
        drawn(
            "a", {href: `#head/${head.label}`},
            drawn("text", {class: "begin label", x: 4, y: y + high / 2}, head.label)),
        cells, names);
  });
  const marked = left + (state.step + 0.5) * each, every = Math.ceil(48 / each);
  return element(
      "div", {class: "scroll"},
      drawn(
          "svg", {
            class: "surface strips",
            width,
            height: 28 + heads.length * high,
            role: "group",
            "aria-label": "Jobs by step"
          },
          steps.map(
              (step, i) => i % every ?
                  null :
                  drawn("text", {class: "middle tick", x: left + (i + 0.5) * each, y: 12}, String(step))),
          rows, drawn("line", {class: "mark", x1: marked, x2: marked, y1: 20, y2: 26 + heads.length * high})));
}

function trainingView() {
  const width = room() > 900 ? (room() - 48) / 2 : room(), rise = study.emergence ?? {};
  if (steps.length < 2)
    return element(
        "article", {}, element("h2", {}, "Training"),
        element("p", {class: "lead"}, "The run kept no weights along the way: there is only the end to see."));
  const at = i => `step ${steps[i].toLocaleString("en")}`, picked = step => choose({step}),
        common = {x: steps, width, xName: "step", mark: state.step, at, picked};
  return element(
      "article", {}, element("h2", {}, "How the heads came about"),
      lead(
          "A click, or Enter, chooses the step; the heads and their pictures follow. That a head is unused is known of the last step alone."),
      element(
          "div", {class: "pictures"},
          curves([{name: "loss", values: rise.loss ?? [], hue: 4}], {...common, yName: "nats per token"}),
          curves(
              [
                {name: "exact match", values: rise.exact_match ?? [], hue: 0},
                {name: "token accuracy", values: rise.token_accuracy ?? [], hue: 1}
              ],
              {...common, yName: "part", low: 0, high: 1})),
      element("h3", {}, "The job of each head, step by step"), strips());
}

/* ---- measures ---- */

const order = {
  column: "loss if off",
  down: true
};

function columns() {
  const worth = WORTH.map(
      ([name, of, text, about, source]) => ({name, of: i => of(heads[i]), text, words: wordsTip(name, about, source)}));
  const looks = study.looks.map(look => {
    const [formula, source] = LOOKS[look.name] ?? ["", ""];
    return {
      name: spoken(look.name),
      of: i => heads[i].looks?.[look.name]?.mean,
      text: number,
      part: SHARES.includes(look.name),
      words: wordsTip(spoken(look.name), look.about, [formula, source].filter(Boolean).join(" · ")),
      tip: i => lookTip(heads[i], look)
    };
  });
  return [
    {
      name: "job",
      of: i => heads[i].job,
      text: job => job ?? DASH,
      sign: true,
      words: wordsTip("job", "What the head does, in a word.")
    },
    {name: "score", of: i => heads[i].score, text: share, part: true, words: wordsOf("score")}, ...worth, ...looks
  ];
}

/* What is missing goes last, whichever way. */
function sorted(column, down) {
  const value = column ? column.of : i => i, missing = x => x === null || x === undefined || Number.isNaN(x);
  return heads.map((_, i) => i).sort((a, b) => {
    const x = value(a), y = value(b);
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
    const by = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (down ? -by : by) || a - b;
  });
}

function measuresView() {
  const all = columns(), table = element("table", {class: "sheet"});
  const sortBy = name => {
    order.down = order.column === name ? !order.down : name !== "head" && name !== "job";
    order.column = name;
    draw();
    [...table.querySelectorAll("thead button")].find(button => button.dataset.column === name)?.focus();
  };
  const heading = (name, words) => {
    const button = element("button", {type: "button", "data-column": name, onclick: () => sortBy(name)}, name);
    return element(
        "th", {scope: "col", "aria-sort": order.column === name ? (order.down ? "descending" : "ascending") : "none"},
        words ? tip(button, words) : button);
  };
  function cell(column, i) {
    const value = column.of(i),
          node = element(
              "td",
              {class: column.sign ? "words" :
                   column.part    ? "amount" :
                                    null,
               style: column.part && partOf(value)},
              column.sign ? jobSign(value) : null, column.text(value));
    return column.tip ? tip(node, column.tip(i)) : node;
  }
  function draw() {
    const rows = sorted(all.find(column => column.name === order.column), order.down);
    table.replaceChildren(
        element("thead", {}, element("tr", {}, heading("head"), all.map(column => heading(column.name, column.words)))),
        element(
            "tbody", {},
            rows.map(
                i => element(
                    "tr", {"data-head": i}, element("th", {scope: "row"}, headLink(i)),
                    all.map(column => cell(column, i))))));
  }
  draw();
  return element(
      "article", {}, element("h2", {}, "Every head, every measure"),
      lead(
          "A click on a column’s name sorts by it. Over a number stand its deviation between sequences and what chance would give."),
      element(
          "div", {class: "scroll sheet-box", tabindex: 0, role: "region", "aria-label": "Table of measures"}, table));
}

/* ---- removal ---- */

const OUTCOMES = [["loss", "loss"], ["token_accuracy", "token accuracy"], ["exact_match", "exact match"]];
const ORDERS = ["single", "importance", "greedy"];

function removalView() {
  const removal = study.removal ?? {}, names = ORDERS.filter(name => removal[name]), measure = state.removal;
  const series = names.map(
      (name, i) =>
          ({name, hue: i, values: [study.whole[measure], ...removal[name].after.map(after => after[measure])]}));
  const said = OUTCOMES.find(one => one[0] === measure)[1], part = measure === "loss" ? {} : {low: 0, high: 1};
  const rows =
      heads.map((_, place) => element("tr", {}, element("th", {scope: "row"}, String(place + 1)), names.map(name => {
                  const i = removal[name].order[place];
                  return [
                    element(
                        "td", {class: "words"},
                        heads[i] ? [headLink(i), " ", jobSign(heads[i].job), ` ${jobShort(heads[i].job)}`] : DASH),
                    element("td", {}, number(removal[name].after[place]?.[measure]))
                  ];
                })));
  return element(
      "article", {}, element("h2", {}, "How many heads are needed"),
      lead("Heads are switched off one after another and stay off, in three orders."),
      element(
          "div", {class: "row"},
          choiceOf(
              "What is measured", OUTCOMES.map(([value, text]) => [value, text, wordsOf(text)]), measure,
              value => choose({removal: value}))),
      element(
          "div", {class: "pictures"}, curves(series, {
            x: Array.from({length: heads.length + 1}, (_, i) => i),
            width: room() > 1100 ? room() - 730 : room(),
            height: 320,
            xName: "heads switched off",
            yName: measure === "loss" ? "loss, nats per token" : said,
            ...part,
            at: i => `${i} of ${heads.length} heads off`,
            picked: i => {
              const at = removal[names[names.length - 1]]?.order[i - 1];
              if (heads[at]) go(`head/${heads[at].label}`);
            }
          }),
          element(
              "div", {class: "scroll"},
              element(
                  "table", {class: "numbers order"},
                  element("caption", {}, `The orders, and the ${said} once the head is gone`),
                  element(
                      "thead", {},
                      element(
                          "tr", {}, element("th", {scope: "col"}, "off"),
                          names.map(
                              name =>
                                  tip(element("th", {scope: "col", colspan: 2}, name), wordsOf(`removal: ${name}`))))),
                  element("tbody", {}, rows)))));
}
