/* Which heads are alike; and the words. */

/* The square of one kind, in the tree's order. */
function square(kind, which) {
  const at = {
    distance: (a, b) => kind.distance[a]?.[b],
    query: (a, b) => study.subspaces?.query?.[kind.heads[a]]?.[kind.heads[b]],
    key: (a, b) => study.subspaces?.key?.[kind.heads[a]]?.[kind.heads[b]]
  }[which];
  const order = leavesOf(kind.merges, kind.heads.length), labels = order.map(a => heads[kind.heads[a]].label);
  return {order, rows: labels, columns: labels, at: (row, column) => at(order[row], order[column]) ?? null};
}

function redundancyTable(kind) {
  const rows = (study.redundancy ?? [])
                   .filter(one => one.kind === kind.kind)
                   .map(
                       one => element(
                           "tr", {}, element("th", {scope: "row"}, `layer ${one.layer}`),
                           element("td", {class: "amount", style: partOf(one.value)}, share(one.value))));
  return numbersTable(tip(element("span", {tabindex: 0}, "Redundancy"), wordsOf("redundancy")), null, rows);
}

function ownTable(kind) {
  if (!study.subspaces?.own) return null;
  const rows = kind.heads.map(
      i => element(
          "tr", {}, element("th", {scope: "row"}, headLink(i)),
          element("td", {class: "amount", style: partOf(study.subspaces.own[i])}, share(study.subspaces.own[i]))));
  return numbersTable(tip(element("span", {tabindex: 0}, "Queries with own keys"), wordsOf("subspaces")), null, rows);
}

function likenessView() {
  const kind = study.kinds[Math.min(state.kind, study.kinds.length - 1)], matrix = square(kind, state.likeness);
  const labels = kind.heads.map(i => heads[i].label), jobs = kind.heads.map(i => heads[i].job),
        name = i => heads[kind.heads[matrix.order[i]]].label;
  const texts = {distance: "distance", query: "shared query directions", key: "shared key directions"};
  const picture = heatmap(matrix, {
    width: Math.min(Math.max(320, room() - 240), 620),
    largest: 30,
    rowAxis: "",
    columnAxis: "",
    unit: texts[state.likeness],
    name: `Heads by heads: ${texts[state.likeness]}`,
    say: (a, b) => `${name(a)} and ${name(b)}: ${texts[state.likeness]} ${number(matrix.at(a, b))}`,
    picked: a => go(`head/${name(a)}`)
  });
  const canvas = picture.node.querySelector("canvas"), top = parseFloat(canvas.style.top),
        side = parseFloat(canvas.style.height) / Math.max(1, labels.length);
  picture.node.firstChild.prepend(dendrogram(kind.merges ?? [], labels, {side, top}));
  picture.node.firstChild.classList.add("with-tree");
  return element(
      "article", {}, element("h2", {}, "Which heads are alike"),
      lead(
          "Two heads are near when their rows of weights are, on all the data. Only heads of one kind can be compared."),
      element(
          "div", {class: "row"},
          choiceOf(
              "Kind", study.kinds.map((one, i) => [i, one.title]), Math.min(state.kind, study.kinds.length - 1),
              value => choose({kind: value}))),
      element(
          "div", {class: "pictures"},
          element(
              "figure", {"data-figure": "map"},
              element("h3", {}, tip(element("span", {tabindex: 0}, "Map"), wordsOf("map"))),
              scatter(kind.place, labels, jobs, {
                width: Math.min(room(), 480),
                words: i => `${labels[i]}: ${jobs[i]} ${share(heads[kind.heads[i]].score)}`
              }),
              soft(known(kind.kept) ? `The plane keeps ${percent(kind.kept)} of the distances’ spread.` : "")),
          element(
              "figure", {"data-figure": "tree"},
              element(
                  "h3", {}, tip(element("span", {tabindex: 0}, "Dendrogram"), wordsOf("dendrogram")), " and matrix"),
              choiceOf(
                  "Which likeness",
                  [
                    ["distance", "distance", wordsOf("distance between heads")],
                    ["query", "queries", wordsOf("subspaces")], ["key", "keys", wordsOf("subspaces")]
                  ],
                  state.likeness, value => choose({likeness: value})),
              picture.node),
          redundancyTable(kind), ownTable(kind)));
}

function glossaryView() {
  const entry = (name, about, formula, source) =>
      [element("dt", {}, name),
       element(
           "dd", {}, about, formula ? element("span", {class: "formula"}, formula) : null,
           source ? element("cite", {}, source) : null)];
  const looks = study.looks.map(look => entry(spoken(look.name), look.about, ...(LOOKS[look.name] ?? [])));
  const list = (title, entries) => element("section", {}, element("h3", {}, title), element("dl", {}, entries));
  const keys = [
    ["← → ↑ ↓", "move among heads, cells, tokens, and along curves"], ["Enter", "opens a head, chooses a step"],
    ["Escape", "closes a head"], [", and .", "a step of training back and forth"],
    ["[ and ]", "the head before and after"]
  ];
  return element(
      "article", {class: "glossary"}, element("h2", {}, "Words"),
      list("Jobs", JOBS.map(([name, , , about]) => entry(element("span", {}, jobSign(name, 14), " ", name), about))),
      list("What a head looks at", looks),
      list("What a head is worth", WORTH.map(([name, , , about, source]) => entry(name, about, null, source))),
      list("Other words", OTHER_WORDS.map(([name, about, source]) => entry(name, about, null, source))),
      list("Keys", keys.map(([key, does]) => entry(element("kbd", {}, key), does))));
}
