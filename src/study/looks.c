/* What the heads of a model look at: the measures of look.h, over data. */
#include "look.h"
#include "pass.h"

#include <math.h>
#include <stdlib.h>

const char *th_look_name(th_look look) {
  static const char *const names[] = {"entropy",  "spread",        "confidence", "distance", "back",
                                      "diagonal", "anti_diagonal", "previous",   "next",     "first",
                                      "last",     "offset",        "same",       "prefix",   "end",
                                      "begin",    "padding"};
  _Static_assert(sizeof names / sizeof *names == TH_LOOKS, "one name each");
  return names[look];
}

/* ---- over sequences ---------------------------------------------------------------------------------------- */

/* Mean and squared deviations of what came so far (Welford 1962): no second pass, nothing lost to cancellation. */
typedef struct {
  double count, mean, squares;
} series;

static void series_add(series *s, double value) {
  double before = value - s->mean;
  s->count++;
  s->mean += before / s->count;
  s->squares += before * (value - s->mean);
}

static th_statistic statistic_of(const series *s) {
  if (s->count == 0) return (th_statistic){NAN, NAN};
  return (th_statistic){s->mean, sqrt(s->squares / s->count)};
}

/* Of one head; or, for each kind of attention, of a head that looks everywhere alike. */
typedef struct {
  series look[TH_LOOKS];
  series *offset;     /* [2 furthest + 1] */
  int64_t *rows_with; /* [2 furthest + 1]: rows that have a key there */
  int64_t rows;
} tally;

typedef struct {
  const th_transformer *model;
  th_tape *tape;
  const th_study_data *data;
  const th_batch *batch; /* at hand */
  int64_t furthest;      /* offset that any row can have */
  tally *tallies;        /* [heads + TH_CROSS + 1]: behind the heads, the uniform ones */
  int heads;
  series *series;
  int64_t *counts;
} looking;

static void join(tally *t, const th_look_sums *s) {
  for (int k = 0; k < TH_LOOKS; k++)
    if (s->rows[k]) series_add(&t->look[k], s->sum[k] / (double)s->rows[k]);
  for (int64_t d = 0; d <= 2 * s->furthest; d++) {
    if (s->offset_rows[d]) series_add(&t->offset[d], s->offset[d] / (double)s->offset_rows[d]);
    t->rows_with[d] += s->offset_rows[d];
  }
  t->rows += s->rows[TH_LOOK_ENTROPY];
}

/* ---- one batch in one attention ---------------------------------------------------------------------------- */

static const int32_t *tokens_of(const th_tensor *tokens, int64_t b) {
  return (const int32_t *)tokens->data + b * tokens->shape[1];
}

static th_sight sight_of(const looking *l, th_attention_kind kind, int64_t b) {
  const th_batch *batch = l->batch;
  const th_study_data *data = l->data;
  const th_tensor *query = th_study_queries(kind, batch), *key = th_study_keys(kind, batch);
  th_sight s = {.kind = kind, .padded = key->shape[1], .begin = data->begin, .end = data->end};
  s.rows = th_study_length(th_study_query_length(kind, batch), b, query->shape[1]);
  s.length = th_study_length(th_study_key_length(kind, batch), b, key->shape[1]);
  s.key = tokens_of(key, b);
  s.real = s.length - (data->end >= 0 && s.length > 0 && s.key[s.length - 1] == data->end);
  if (kind != TH_CROSS || data->one_vocabulary) {
    s.own = s.wanted = tokens_of(query, b);
    if (kind == TH_CROSS) s.wanted = batch->output.data ? tokens_of(&batch->output, b) : NULL;
  }
  return s;
}

/* A batch's tasks: each sequence and head; and, of the first attention of a kind, each sequence and the uniform head. */
typedef struct {
  const looking *l;
  const th_nn_attention *layer;
  const th_tensor *weights;
  th_look_sums *sums; /* [B,heads] */
  int64_t heads;      /* with the uniform one */
  double *rows;       /* [B,heads,S] */
} work;

static void measure(void *context, int64_t index) {
  const work *w = context;
  int64_t b = index / w->heads, h = index % w->heads;
  th_sight sight = sight_of(w->l, w->layer->kind, b);
  sight.any_sign = !th_attention_traits_of(w->layer->method.kind)->rows_sum_to_one;
  th_look_at_rows(&w->sums[index], &sight, h < w->layer->heads ? w->weights : NULL, b, h,
                  w->rows + index * w->weights->shape[3]);
}

/* Room for the tasks in the tape's memory, cleared. False: there is none, and the tape knows. */
static bool make_room(work *w, int64_t count) {
  th_tape *tape = w->l->tape;
  int64_t span = 2 * w->l->furthest + 1, keys = w->weights->shape[3];
  size_t n = (size_t)count;
  double *offset = th_keep(tape, n * (size_t)span * sizeof *offset);
  int64_t *rows = th_keep(tape, n * (size_t)span * sizeof *rows);
  w->rows = th_keep(tape, n * (size_t)keys * sizeof *w->rows);
  w->sums = th_keep(tape, n * sizeof *w->sums);
  if (!offset || !rows || !w->rows || !w->sums) return false;
  for (int64_t i = 0; i < count * span; i++) offset[i] = 0, rows[i] = 0;
  for (int64_t i = 0; i < count; i++)
    w->sums[i] = (th_look_sums){
        .furthest = w->l->furthest, .offset = offset + i * span, .offset_rows = rows + i * span};
  return true;
}

static void see(void *context, const th_nn_attention *layer, th_seen *seen) {
  looking *l = context;
  work w = {.l = l, .layer = layer, .weights = &seen->weights->value};
  int64_t batch = w.weights->shape[0];
  int first = th_study_first_head(l->model, layer);
  tally *heads = l->tallies + first, *uniform = l->tallies + l->heads + layer->kind;
  if (batch == 0 || layer->heads == 0) return;
  bool of_its_kind = first == 0 || th_head_at(l->model, first - 1).kind != layer->kind;
  w.heads = layer->heads + of_its_kind; /* the first of a kind measures the uniform head, too */
  if (!make_room(&w, batch * w.heads)) return;
  th_parallel(th_tape_pool(l->tape), batch * w.heads, measure, &w);
  for (int64_t i = 0; i < batch * w.heads; i++) /* by sequence, whatever batch it is in */
    join(i % w.heads < layer->heads ? heads + i % w.heads : uniform, &w.sums[i]);
}

/* ---- results ----------------------------------------------------------------------------------------------- */

static bool is_share(th_look look) { return look >= TH_LOOK_DIAGONAL; }

/* A further offset must be better by more than rounding, so that a tie goes to the nearest one. */
static const double better = 1e-9;

/* The offset that has the largest share, of those that half of the rows have: index into .offset, or -1. */
static int64_t best_offset(const tally *t, int64_t furthest) {
  int64_t best = -1;
  for (int64_t k = 0; k <= 2 * furthest; k++) {
    int64_t d = furthest + (k % 2 ? -(k + 1) / 2 : k / 2); /* 0, -1, 1, -2, 2 .. */
    if (t->rows == 0 || 2 * t->rows_with[d] < t->rows) continue;
    if (best < 0 || t->offset[d].mean > t->offset[best].mean + better) best = d;
  }
  return best;
}

static th_head_look look_of(const tally *t, const tally *uniform, int64_t furthest) {
  th_head_look look = {.offset = 0};
  for (int k = 0; k < TH_LOOKS; k++) {
    look.value[k] = statistic_of(&t->look[k]);
    look.chance[k] = is_share((th_look)k) ? statistic_of(&uniform->look[k]).mean : NAN;
  }
  int64_t best = best_offset(t, furthest);
  if (best < 0) return look;
  look.offset = best - furthest;
  look.value[TH_LOOK_OFFSET] = statistic_of(&t->offset[best]);
  look.chance[TH_LOOK_OFFSET] = statistic_of(&uniform->offset[best]).mean;
  return look;
}

/* ---- the data ---------------------------------------------------------------------------------------------- */

static th_status check_ids(const th_tensor *ids, const char *what, int64_t batch, th_error *error) {
  char text[TH_SHAPE_TEXT];
  if (!ids->data) return th_error_set(error, TH_EINVAL, "batch %lld has no %s", (long long)batch, what);
  if (ids->dtype != TH_I32 || ids->ndim != 2 || !th_tensor_is_contiguous(ids))
    return th_error_set(error, TH_ESHAPE, "batch %lld: %s is %s %s, want a dense i32 [sequences,tokens]",
                        (long long)batch, what, th_dtype_name(ids->dtype), th_shape_text(text, ids));
  return TH_OK;
}

static th_status check_batch(const looking *l, int64_t i, th_error *error) {
  const th_batch *b = &l->data->batches[i];
  char input_text[TH_SHAPE_TEXT], output_text[TH_SHAPE_TEXT];
  bool source = l->model->config.shape != TH_DECODER_ONLY, input = l->model->config.shape != TH_ENCODER_ONLY;
  th_status status = source ? check_ids(&b->source, "source", i, error) : TH_OK;
  if (!status && input) status = check_ids(&b->input, "input", i, error);
  if (status || !source || !input) return status;
  if (b->source.shape[0] != b->input.shape[0])
    return th_error_set(error, TH_ESHAPE, "batch %lld has %lld sources and %lld inputs", (long long)i,
                        (long long)b->source.shape[0], (long long)b->input.shape[0]);
  if (!b->output.data) return TH_OK;
  status = check_ids(&b->output, "output", i, error);
  if (!status && !th_tensor_same_shape(&b->input, &b->output))
    return th_error_set(error, TH_ESHAPE, "batch %lld: input %s and output %s are of different shapes",
                        (long long)i, th_shape_text(input_text, &b->input),
                        th_shape_text(output_text, &b->output));
  return status;
}

/* Checks all batches; l->furthest becomes what the longest of them needs. */
static th_status look_over(looking *l, th_error *error) {
  th_status status = TH_OK;
  for (int64_t i = 0; i < l->data->count && !status; i++) {
    const th_batch *b = &l->data->batches[i];
    status = check_batch(l, i, error);
    if (status) break;
    if (b->source.data && b->source.shape[1] > l->furthest) l->furthest = b->source.shape[1];
    if (b->input.data && b->input.shape[1] > l->furthest) l->furthest = b->input.shape[1];
  }
  return status;
}

static th_status make_tallies(looking *l, th_error *error) {
  size_t count = (size_t)l->heads + TH_CROSS + 1, span = 2 * (size_t)l->furthest + 1;
  l->tallies = calloc(count, sizeof *l->tallies);
  l->series = calloc(count * span, sizeof *l->series);
  l->counts = calloc(count * span, sizeof *l->counts);
  if (!l->tallies || !l->series || !l->counts) return th_error_set(error, TH_ENOMEM, "looks: no memory");
  for (size_t i = 0; i < count; i++) {
    l->tallies[i].offset = l->series + i * span;
    l->tallies[i].rows_with = l->counts + i * span;
  }
  return TH_OK;
}

static th_status read_data(looking *l, th_error *error) {
  const th_study_data *data = l->data;
  th_status status = TH_OK;
  th_borrowed borrowed = th_borrow(l->tape);
  for (int64_t i = 0; i < data->count && !status; i++) {
    l->batch = &data->batches[i];
    status = th_study_pass(l->model, l->tape, l->batch, &(th_tap){see, l}, error);
    if (!status && data->progress && !data->progress(data->context, (double)(i + 1) / (double)data->count))
      status = th_error_set(error, TH_EINVAL, "stopped");
  }
  th_give_back(&borrowed);
  return status;
}

th_status th_study_looks(const th_transformer *model, th_tape *tape, const th_study_data *data,
                         th_head_look *looks, th_error *error) {
  looking l = {.model = model, .tape = tape, .data = data, .heads = th_head_count(model)};
  th_status status = look_over(&l, error);
  if (!status) status = make_tallies(&l, error);
  if (!status) status = read_data(&l, error);
  for (int i = 0; i < l.heads && !status; i++)
    looks[i] = look_of(&l.tallies[i], &l.tallies[l.heads + th_head_at(model, i).kind], l.furthest);
  free(l.tallies);
  free(l.series);
  free(l.counts);
  return status;
}
