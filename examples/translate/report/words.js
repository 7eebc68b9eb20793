/* What the words mean: jobs, measures, and where their formulas come from. */

/* Of a job: its colour, and its pattern in a square of 12 x 12. */
const JOBS = [
  ["unused", "none", "M2.5 2.5l7 7M9.5 2.5l-7 7", "Nothing is lost without it."],
  ["diagonal", "blue", "M1 1L11 11", "Each token sees the token at its own place."],
  ["reverse", "red", "M11 1L1 11", "Each token sees the one at the mirrored place: the first sees the last."],
  ["previous token", "sky", "M1 4.5L7.5 11", "Each token sees the one before it."],
  ["next token", "sky", "M4.5 1L11 7.5", "Each token sees the one after it."],
  [
    "induction", "green", "M1 6h4v4M7 2h4", "Each token sees what followed the same token earlier (Olsson et al. 2022)."
  ],
  ["same token", "green", "M2 3h8M2 9h8", "Each token sees the same token elsewhere."],
  ["first token", "orange", "M1.5 1v10", "Every token sees the first."],
  ["last token", "orange", "M8 1v10", "Every token sees the last."],
  ["fixed offset", "sky", "M1 7.5L4.5 11M1 4L8 11", "Each token sees the one at a fixed distance."],
  [
    "sink", "purple", "M10.5 1v10",
    "Every token sees a mark, which holds no text: the head rests (Clark et al. 2019; Xiao et al. 2024)."
  ],
  ["broad", "grey", "M2 2h8v8h-8z", "Every token sees all others about equally."],
  ["mixed", "grey", "M2 3h2M7 5h3M3 8h3M9 10h1", "None of the patterns is strong."],
];
const UNNAMED = ["", "grey", "M2 6h8", "A job that this page has no words for."];
const jobOf = name => JOBS.find(job => job[0] === name) ?? UNNAMED;

function jobSign(name, size = 12) {
  const [, hue, pattern] = jobOf(name);
  return drawn(
      "svg", {class: `sign job-${hue}`, viewBox: "0 0 12 12", width: size, height: size, "aria-hidden": true},
      drawn("path", {d: pattern}));
}
/* Where there is little room. */
const jobShort = name => name?.replace(" token", "").replace("fixed ", "") ?? DASH;
const jobAbout = name => jobOf(name)[3];

/* Formula and source of the looks; their sentences come with the study. */
const LOOKS = {
  entropy: ["−Σ w log w, in nats", "Shannon 1948"],
  spread: ["entropy / log(keys in sight)", ""],
  confidence: ["max w, the end mark's aside", "Voita et al. 2019, section 4"],
  distance: ["Σ w |i − j|, in tokens", "Vig & Belinkov 2019"],
  back: ["Σ w (i − j), in tokens; above 0 it looks back", ""],
  diagonal: ["Σ w where j = i", ""],
  anti_diagonal: ["Σ w where j = n − 1 − i, of n keys without the end mark", ""],
  previous: ["Σ w where j = i − 1", ""],
  next: ["Σ w where j = i + 1", ""],
  first: ["Σ w where j = 0", ""],
  last: ["Σ w where j = n − 1", ""],
  offset: ["Σ w where j = i + d, for the d that fits best", ""],
  same: ["Σ w over keys with the query's token", ""],
  prefix: ["Σ w over keys just after the query's token", "Olsson et al. 2022"],
  end: ["Σ w over end marks", ""],
  begin: ["Σ w over begin marks", ""],
  padding: ["Σ w beyond the length: 0, or something is wrong", ""],
};

const spoken = name => name.replace("anti_diagonal", "anti-diagonal").replaceAll("_", " ");
const SHARES =
    ["diagonal", "anti_diagonal", "previous", "next", "first", "last", "offset", "same", "prefix", "end", "begin"];

/* The measures of what a head is worth: name, of a head, as text, sentence, source. */
const WORTH = [
  [
    "loss if off", head => change(head, "off", "loss"), signed,
    "How much the loss (nats per token) rises when the head's output is multiplied by 0.",
    "Voita et al. 2019; Michel et al. 2019"
  ],
  [
    "exact match if off", head => change(head, "off", "exact_match"), signed,
    "How much exact match changes when the head's output is multiplied by 0.", "Michel et al. 2019, section 3"
  ],
  [
    "loss if mean", head => change(head, "mean", "loss"), signed,
    "How much the loss rises when the head says the same everywhere: its mean over all rows of the data.",
    "mean ablation: Wang et al. 2023"
  ],
  [
    "loss if uniform", head => change(head, "uniform", "loss"), signed,
    "How much the loss rises when the head sees all keys in sight equally.", ""
  ],
  [
    "gradient", head => head.worth?.gradient, signed,
    "d loss / d gate at 1: below 0, a louder head would lower the loss.", ""
  ],
  [
    "importance", head => head.worth?.importance, number,
    "Mean over sequences of |d loss / d gate|: the loss feels this head, one way or the other.",
    "Michel et al. 2019, section 4.1"
  ],
  [
    "attribution", head => head.worth?.attribution, signed,
    "What the head by itself adds to the right token's logit, less what it adds to the mean logit.",
    "direct logit attribution: Elhage et al. 2021"
  ],
  [
    "copying", head => head.worth?.copying, signed,
    "From −1 to 1: how far what it reads of a token raises that same token's logit.", "Olsson et al. 2022"
  ],
];

const OTHER_WORDS = [
  [
    "weights",
    "Row i, column j: how much of what query i takes in comes from key j. A row sums to 1, unless heads are mixed: then weights may be below 0, which takes away.",
    "softmax(q·k / √d): Vaswani et al. 2017, equation 1"
  ],
  [
    "value norms",
    "A weight times the length of the vector that it lets through, each row scaled to sum 1: a large weight on a short vector moves nothing.",
    "‖w · v · W_O‖: Kobayashi et al. 2020, section 3"
  ],
  [
    "rollout",
    "Weights of all layers multiplied through, each mixed half and half with staying in place: from the last layer's rows to the first layer's inputs.",
    "Π (W̄ + I) / 2: Abnar & Zuidema 2020, section 3"
  ],
  ["chance", "What a head with equal weights on all keys in sight would have.", ""],
  ["deviation", "Standard deviation between sequences.", ""],
  ["score", "The measure that earned the head its name.", ""],
  ["loss", "Cross-entropy of the right next token, in nats per token.", ""],
  ["token accuracy", "Part of the tokens that have the largest logit, given the right ones before.", ""],
  ["exact match", "Part of the sequences of which all tokens have: what greedy decoding would get right.", ""],
  [
    "distance between heads",
    "Mean over rows of √(Jensen–Shannon divergence in bits) of their weights: 0 is the same, 1 has nothing in common.",
    "Lin 1991; Endres & Schindelin 2003; Clark et al. 2019, section 6"
  ],
  ["redundancy", "1 − mean distance between the heads of one layer: 1 where all do the same.", ""],
  [
    "subspaces",
    "How much two heads' queries (or keys) are read from the same directions: mean squared cosine of their principal angles.",
    "Björck & Golub 1973"
  ],
  ["map", "Heads as points in the plane, as far apart as their distances allow.", "classical scaling: Torgerson 1952"],
  [
    "dendrogram", "The nearest two groups of heads join, again and again, at the height of their mean distance.",
    "average linkage: Sokal & Michener 1958"
  ],
  [
    "removal: single",
    "Heads taken away together, one after another, those first without which alone the loss is lowest.", ""
  ],
  ["removal: importance", "The same, the least important first.", "Michel et al. 2019, section 4"],
  ["removal: greedy", "Each time the head goes without which, given those gone, the loss is lowest.", ""],
];

function lookTip(head, look) {
  const value = head.looks?.[look.name] ?? {}, [formula, source] = LOOKS[look.name] ?? ["", ""];
  const offset = look.name === "offset" && known(head.offset) ? `, d = ${minus(String(head.offset))}` : "";
  return () => [element("b", {}, `${head.label} · ${spoken(look.name)} ${number(value.mean)}${offset}`),
                element("p", {}, `deviation ${number(value.deviation)} · chance ${number(value.chance)}`),
                soft(look.about),
                formula ? soft(formula + (source ? ` · ${source}` : "")) : null,
  ].filter(Boolean);
}
const wordsTip = (name, about, source) =>
    () => [element("b", {}, name), element("p", {}, about), source ? soft(source) : null].filter(Boolean);
