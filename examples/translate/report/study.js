/* The study: what stands in the document, and the weights out of their packing. */

const study = JSON.parse(byId("study").textContent);
const heads = study.heads;
const steps = study.steps ?? [];
const LAST = Math.max(0, steps.length - 1);

/* What the reader has chosen. */
const state = {
  view: "heads",
  head: 0,
  sentence: 0,
  step: LAST,
  weights: "plain",
  scale: "one",
  kind: 0,
  likeness: "distance",
  removal: "loss",
  job: null
};

const layersOf = kind => [...new Set(kind.heads.map(i => heads[i].layer))].sort((a, b) => a - b);
const inLayer = (kind, layer) => kind.heads.filter(i => heads[i].layer === layer);

/* ---- at a step ---- */

const emerging = index => study.emergence?.heads?.[index];
const jobAt = (index, step) => step === LAST ? heads[index].job : emerging(index)?.job?.[step] ?? heads[index].job;
const scoreAt = (index, step) => step === LAST ? heads[index].score : emerging(index)?.score?.[step];
const lossAt = step => step === LAST ? study.whole.loss : study.emergence?.loss?.[step];
const exactAt = step => step === LAST ? study.whole.exact_match : study.emergence?.exact_match?.[step];

/* How much `measure` of the whole model changes when the head is changed in a `way`: off, mean, uniform. */
function change(head, way, measure) {
  const after = head.worth?.[way]?.[measure], before = study.whole[measure];
  return known(after) && known(before) ? after - before : null;
}
const lossWithout = head => change(head, "off", "loss");

/* ---- weights ---- */

/* Rows are queries, columns keys. */
function sidesOf(kind, sentence) {
  const {source, input} = study.sentences[sentence];
  return {encoder_self: [source, source], decoder_self: [input, input], cross: [input, source]}[kind];
}

const unpack = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

/* Where each head's weights begin in the bytes of a sentence. */
const starts = study.sentences.map((_, sentence) => {
  let at = 0;
  return heads.map(head => {
    const [rows, columns] = sidesOf(head.kind, sentence), here = at;
    at += rows.length * columns.length;
    return here;
  });
});

/* The bytes last looked at; a long training has too many to unpack them all. */
const unpacked = new Map();
function bytesOf(name, text) {
  if (!unpacked.has(name)) {
    if (unpacked.size > 40) unpacked.delete(unpacked.keys().next().value);
    unpacked.set(name, unpack(text ?? ""));
  }
  return unpacked.get(name);
}

/* The largest size of a weight where weights may be below 0; else undefined. */
const LARGEST = study.largest?.flat().reduce((most, one) => Math.max(most, one), 0);

/* A matrix: {rows, columns: tokens, at(row, column): a weight or null, full: the largest there may be, signed: whether
 * values may be below 0}. `largest`: of a signed one, what its largest byte stands for. */
function matrixOf(kind, sentence, bytes, start, largest) {
  const [rows, columns] = sidesOf(kind, sentence), signed = known(largest);
  return {
    rows,
    columns,
    signed,
    full: signed ? LARGEST : 1,
    at(row, column) {
      const byte = bytes[start + row * columns.length + column];
      return byte === undefined ? null : signed ? (byte - 128) / 127 * largest : byte / 255;
    }
  };
}

function weightsOf(index, sentence, step, which = "plain") {
  const {kind} = heads[index];
  if (which === "rollout") {
    const part = {encoder_self: "encoder", decoder_self: "target", cross: "source"}[kind];
    return matrixOf(
        kind, sentence, bytesOf(`rollout ${part} ${sentence}`, study.sentences[sentence].rollout?.[part]), 0);
  }
  const bytes = which === "norms" ? bytesOf(`norms ${sentence}`, study.norms?.[sentence]) :
                                    bytesOf(`weights ${sentence} ${step}`, study.weights[sentence][step]);
  return matrixOf(
      kind, sentence, bytes, starts[sentence][index], which === "norms" ? undefined : study.largest?.[sentence][step]);
}

/* Value norms and rollout are kept of the studied weights alone. */
const hasRollout = (index, sentence) =>
    Boolean(study.sentences[sentence]
                .rollout?.[{encoder_self: "encoder", decoder_self: "target", cross: "source"}[heads[index].kind]]);
const shownWeights = () => state.step === LAST ? state.weights : "plain";

function sentenceText(sentence) {
  const {source, input} = study.sentences[sentence];
  const text = tokens => tokens.map(token => visible(token, 8)).join(" ");
  const all = [source, input].filter(tokens => tokens.length).map(text).join("  →  ");
  return all.length > 70 ? `${all.slice(0, 69)}…` : all;
}
