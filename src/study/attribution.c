/* What a head adds to the logits by itself: direct logit attribution, and copying. */
#include "worth.h"

#include <math.h>
#include <stdlib.h>

typedef struct attribution {
  const th_judge *judge;
  const th_batch *batch;
  th_var **heads, **weights; /* [heads]: as its attention's tap saw them */
  const double *deviation;   /* [B*T]: of what the last norm reads; NULL: there is none */
  double *direct, *copied;   /* [heads]: sums */
  int64_t *direct_rows, *copied_rows;
} attribution;

static void note(void *context, const th_nn_attention *layer, th_seen *seen) {
  const attribution *a = context;
  int first = th_study_first_head(a->judge->model, layer);
  for (int64_t h = 0; h < layer->heads; h++)
    a->heads[first + h] = seen->heads, a->weights[first + h] = seen->weights;
}

/* What the last norm, or without one the output layer, reads: [B,T,E]. */
static th_var *residual(const th_transformer *m, th_tape *tape, const th_batch *b, const th_tap *tap) {
  bool crossing = m->config.shape == TH_ENCODER_DECODER;
  th_var *memory = crossing ? th_transformer_encode(m, tape, &b->source, b->source_length, NULL) : NULL;
  return th_transformer_residual(m, tape, memory, b->source_length, &b->input, tap);
}

/* The deviations of x's rows [B,T,E], as the last norm takes them, in the tape's memory; NULL: none left. */
static const double *deviations(th_tape *tape, const th_tensor *x) {
  int64_t e = x->shape[2], rows = x->shape[0] * x->shape[1];
  double *made = th_keep(tape, (size_t)rows * sizeof *made);
  for (int64_t r = 0; made && r < rows; r++) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < e; i++) mean += th_tensor_get(x, r * e + i) / (double)e;
    for (int64_t i = 0; i < e; i++) square += pow(th_tensor_get(x, r * e + i) - mean, 2) / (double)e;
    made[r] = sqrt(square + TH_NORM_EPSILON);
  }
  return made;
}

/* Rows of c [B,T,E] as the last norm passes them on: centred, over these deviations, times its weight. */
static void pass_norm(const th_tensor *weight, const double *deviation, const th_tensor *c) {
  int64_t e = c->shape[2], rows = c->shape[0] * c->shape[1];
  for (int64_t r = 0; r < rows; r++) {
    double mean = 0;
    for (int64_t i = 0; i < e; i++) mean += th_tensor_get(c, r * e + i) / (double)e;
    for (int64_t i = 0; i < e; i++)
      th_tensor_set(c, r * e + i,
                    (th_tensor_get(c, r * e + i) - mean) / deviation[r] * th_tensor_get(weight, i));
  }
}

/* What a head alone adds to the logits [B,T,vocabulary]. */
static th_var *own_logits(const attribution *a, int index) {
  const th_transformer *m = a->judge->model;
  th_tape *tape = a->judge->borrowed.tape;
  th_head head = th_head_at(m, index);
  const th_nn_attention *layer = th_head_attention(m, head.kind, head.layer);
  int64_t v = layer->value_width, place = th_head_place(m, head);
  th_var *said = th_slice(a->heads[index], 1, place, place + 1);
  th_var *out = th_slice(th_use(tape, layer->out.weight), 1, place * v, (place + 1) * v);
  int64_t flat[] = {said->value.shape[0], said->value.shape[2], v};
  th_var *c = th_linear(th_reshape(said, 3, flat), out, NULL);
  if (m->config.reversible) c = th_scale(c, 0.5); /* it is added to one of two streams, whose mean is read */
  if (th_tape_error(tape)) return c;
  if (a->deviation) pass_norm(&m->decoder_norm.weight->value, a->deviation, &c->value);
  return th_linear(c, th_use(tape, m->output.weight), NULL);
}

/* The token at the key with the largest weight; -1: a mark, or of another vocabulary. */
static int32_t most_attended(const attribution *a, int index, int64_t b, int64_t t) {
  const th_study_data *data = a->judge->data;
  th_head head = th_head_at(a->judge->model, index);
  const th_tensor *w = &a->weights[index]->value; /* [B,H,T,S] */
  const th_tensor *ids = th_study_keys(head.kind, a->batch);
  int64_t keys = w->shape[3], best = 0;
  int64_t row = ((b * w->shape[1] + th_head_place(a->judge->model, head)) * w->shape[2] + t) * keys;
  if (head.kind == TH_CROSS && !data->one_vocabulary) return -1;
  for (int64_t k = 1; k < keys; k++)
    if (fabs(th_tensor_get(w, row + k)) > fabs(th_tensor_get(w, row + best))) best = k;
  int32_t id = ((const int32_t *)ids->data)[b * keys + best];
  return id == data->begin || id == data->end ? -1 : id;
}

/* Of the rise of all logits above their mean, the part that is this token's; below 0: none rises. */
static double part_of(const th_tensor *logits, int64_t row, int64_t n, double mean, int32_t token) {
  double rise = 0, own = th_tensor_get(logits, row * n + token) - mean;
  for (int64_t v = 0; v < n; v++) rise += fmax(th_tensor_get(logits, row * n + v) - mean, 0);
  return rise > 0 ? fmax(own, 0) / rise : -1;
}

static void add_rows(const attribution *a, int index, const th_tensor *logits) {
  int64_t n = logits->shape[2], longest = logits->shape[1];
  const int32_t *wanted = a->batch->output.data;
  for (int64_t row = 0; row < logits->shape[0] * longest; row++) {
    double mean = 0;
    if (wanted[row] < 0) continue;
    for (int64_t v = 0; v < n; v++) mean += th_tensor_get(logits, row * n + v) / (double)n;
    a->direct[index] += th_tensor_get(logits, row * n + wanted[row]) - mean;
    a->direct_rows[index]++;
    int32_t token = most_attended(a, index, row / longest, row % longest);
    double part = token >= 0 ? part_of(logits, row, n, mean, token) : -1;
    if (part >= 0) a->copied[index] += 2 * part - 1, a->copied_rows[index]++;
  }
}

static bool has_path(const th_transformer *m, int index) {
  return m->config.layer.norm_first && m->config.shape != TH_ENCODER_ONLY &&
         th_head_at(m, index).kind != TH_ENCODER_SELF;
}

static th_status attribute_batch(attribution *a, th_error *error) {
  const th_transformer *m = a->judge->model;
  th_tape *tape = a->judge->borrowed.tape;
  th_tape_reset(tape);
  const th_var *x = residual(m, tape, a->batch, &(th_tap){note, a});
  bool norm = m->decoder_norm.weight && !th_tape_error(tape);
  a->deviation = norm ? deviations(tape, &x->value) : NULL;
  th_tape_mark(tape);
  for (int i = 0; i < th_head_count(m) && !th_tape_error(tape); i++) {
    if (!has_path(m, i) || !a->weights[i]) continue;
    th_var *logits = own_logits(a, i);
    if (!th_tape_error(tape)) add_rows(a, i, &logits->value);
    th_tape_rewind(tape);
  }
  const th_error *failed = th_tape_error(tape);
  return failed ? th_error_set(error, failed->status, "%s", failed->text) : TH_OK;
}

th_status th_judge_attribute(th_judge *j, th_head_worth *worth, th_error *error) {
  size_t n = (size_t)th_head_count(j->model) + 1;
  attribution a = {.judge = j,
                   .heads = calloc(n, sizeof *a.heads),
                   .weights = calloc(n, sizeof *a.weights),
                   .direct = calloc(n, sizeof *a.direct),
                   .copied = calloc(n, sizeof *a.copied),
                   .direct_rows = calloc(n, sizeof *a.direct_rows),
                   .copied_rows = calloc(n, sizeof *a.copied_rows)};
  bool room = a.heads && a.weights && a.direct && a.copied && a.direct_rows && a.copied_rows;
  th_status status = room ? TH_OK : th_error_set(error, TH_ENOMEM, "head study: no memory for its heads");
  bool any = false;
  for (int i = 0; i < th_head_count(j->model); i++) any |= has_path(j->model, i);
  for (int64_t i = 0; i < j->data->count && any && !status; i++) {
    a.batch = &j->data->batches[i];
    status = attribute_batch(&a, error);
  }
  for (int i = 0; i < th_head_count(j->model) && !status; i++) {
    worth[i].attribution = a.direct_rows[i] ? a.direct[i] / (double)a.direct_rows[i] : NAN;
    worth[i].copying = a.copied_rows[i] ? a.copied[i] / (double)a.copied_rows[i] : NAN;
  }
  free(a.heads);
  free(a.weights);
  free(a.direct);
  free(a.copied);
  free(a.direct_rows);
  free(a.copied_rows);
  return status || th_judge_passed(j, error) ? status : TH_EINVAL;
}
