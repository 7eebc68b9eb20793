/* Attention through all layers: rollout. */
#include "weights.h"

#include "../tensor/kernels.h"

#include <string.h>

/* One batch on its way through a model. What it makes lies on the tape, which knows where memory runs out. */
typedef struct passage {
  const th_transformer *model;
  th_tape *tape;
  const th_batch *batch;
  const th_tensor *weights; /* [heads] */
} passage;

/* x [B,rows,columns], cleared. */
static bool zeros(const passage *p, int64_t batch, int64_t rows, int64_t columns, th_tensor *x) {
  if (!th_keep_tensor(p->tape, x, TH_F64, 3, (int64_t[]){batch, rows, columns})) return false;
  memset(x->data, 0, (size_t)th_tensor_count(x) * sizeof(double));
  return true;
}

/* What each token of a stack is before the first layer: itself, and a token beyond the length nothing. */
static bool identity(const passage *p, const th_tensor *tokens, const int32_t *length, th_tensor *x) {
  int64_t batch = tokens->shape[0], n = tokens->shape[1];
  if (!zeros(p, batch, n, n, x)) return false;
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = 0; i < th_study_length(length, b, n); i++) ((double *)x->data)[(b * n + i) * n + i] = 1;
  return true;
}

/* ---- one attention ------------------------------------------------------------------------------------------- */

typedef struct mixing {
  th_tensor mean; /* [B,T,S]: the weights of its heads, averaged; rows beyond the length are 0 */
  th_tensor
      kept; /* [B,T,1]: what a row keeps of itself, 1 less half of its weights: 1/2, or 1 of a row without */
} mixing;

static void finish_rows(mixing *mix, const int32_t *length) {
  int64_t rows = mix->mean.shape[1], n = mix->mean.shape[2];
  for (int64_t r = 0; r < mix->mean.shape[0] * rows; r++) {
    double *row = (double *)mix->mean.data + r * n, sum = 0;
    if (r % rows >= th_study_length(length, r / rows, rows)) memset(row, 0, (size_t)n * sizeof *row);
    for (int64_t j = 0; j < n; j++) sum += row[j];
    ((double *)mix->kept.data)[r] = 1 - sum / 2;
  }
}

static bool average(const passage *p, th_attention_kind kind, int layer, mixing *mix) {
  const th_tensor *queries = th_study_queries(kind, p->batch), *keys = th_study_keys(kind, p->batch);
  const th_nn_attention *attention = th_head_attention(p->model, kind, layer);
  const th_tensor *weights = p->weights + th_study_first_head(p->model, attention);
  int64_t batch = queries->shape[0], rows = queries->shape[1];
  if (!zeros(p, batch, rows, keys->shape[1], &mix->mean) || !zeros(p, batch, rows, 1, &mix->kept))
    return false;
  for (int64_t h = 0; h < attention->heads; h++)
    th_k_axpy(th_tape_pool(p->tape), 1 / (double)attention->heads, &weights[h], &mix->mean);
  finish_rows(mix, th_study_query_length(kind, p->batch));
  return true;
}

/* The residual connection: x = kept x + mean / 2 from; `from` NULL: nothing. */
static bool mix_in(const passage *p, const mixing *mix, const th_tensor *from, th_tensor *x) {
  th_pool *pool = th_tape_pool(p->tape);
  th_tensor mixed;
  if (!th_keep_tensor(p->tape, &mixed, TH_F64, 3, x->shape)) return false;
  th_k_binary(pool, TH_MUL, x, &mix->kept, &mixed);
  if (from) th_k_matmul(pool, 0.5, &mix->mean, from, 1, &mixed);
  *x = mixed;
  return true;
}

/* ---- the stacks ---------------------------------------------------------------------------------------------- */

/* The residual stream, or the two of a reversible stack: x is changed next, by what is read of `other`. */
typedef struct streams {
  th_tensor x, other;
  bool two;
} streams;

static streams begin(const passage *p, const th_tensor *x) {
  return (streams){*x, *x, p->model->config.reversible};
}

static void change_places(streams *s) {
  th_tensor x = s->x;
  if (s->two) s->x = s->other, s->other = x;
}

/* An attention reads `from`, NULL: nothing. */
static bool attend(const passage *p, const mixing *mix, const th_tensor *from, streams *s) {
  bool fine = mix_in(p, mix, from, &s->x);
  change_places(s);
  return fine;
}

static bool attend_self(const passage *p, const mixing *mix, streams *s) {
  return attend(p, mix, s->two ? &s->other : &s->x, s);
}

/* (x + other) / 2 in x's place. */
static bool halve_sum(const passage *p, streams *s) {
  th_tensor sum;
  if (!zeros(p, s->x.shape[0], s->x.shape[1], s->x.shape[2], &sum)) return false;
  th_k_axpy(th_tape_pool(p->tape), 0.5, &s->x, &sum);
  th_k_axpy(th_tape_pool(p->tape), 0.5, &s->other, &sum);
  s->x = sum;
  return true;
}

/* The feed-forward adds to a row what it makes of the same row, which only of two streams is another. */
static bool feed(const passage *p, streams *s) {
  bool fine = !s->two || halve_sum(p, s);
  change_places(s);
  return fine;
}

static bool end(const passage *p, streams *s, th_tensor *x) {
  bool fine = !s->two || halve_sum(p, s);
  *x = s->x;
  return fine;
}

static bool through_encoder(const passage *p, th_tensor *x) {
  mixing mix;
  if (!identity(p, &p->batch->source, p->batch->source_length, x)) return false;
  streams s = begin(p, x);
  bool fine = true;
  for (int l = 0; fine && th_head_attention(p->model, TH_ENCODER_SELF, l); l++)
    fine = average(p, TH_ENCODER_SELF, l, &mix) && attend_self(p, &mix, &s) && feed(p, &s);
  return fine && end(p, &s, x);
}

static bool decoder_layer(const passage *p, int l, const th_tensor *memory, streams *target,
                          streams *source) {
  mixing mix;
  bool fine = average(p, TH_DECODER_SELF, l, &mix) && attend_self(p, &mix, target);
  if (!memory) return fine && feed(p, target);
  fine = fine && attend_self(p, &mix, source) && average(p, TH_CROSS, l, &mix);
  fine = fine && attend(p, &mix, NULL, target) && attend(p, &mix, memory, source);
  return fine && feed(p, target) && feed(p, source);
}

/* `memory` NULL: nothing is attended to across, and `source` is left alone. */
static bool through_decoder(const passage *p, const th_tensor *memory, th_tensor *target, th_tensor *source) {
  bool fine = identity(p, &p->batch->input, p->batch->input_length, target);
  if (fine && memory) fine = zeros(p, memory->shape[0], target->shape[1], memory->shape[2], source);
  streams to = begin(p, target), from = begin(p, source);
  for (int l = 0; fine && th_head_attention(p->model, TH_DECODER_SELF, l); l++)
    fine = decoder_layer(p, l, memory, &to, &from);
  return fine && end(p, &to, target) && (!memory || end(p, &from, source));
}

/* Off the tape. x without data: nothing. */
static th_status keep(th_tensor *to, const th_tensor *x, th_error *error) {
  if (!x->data) return TH_OK;
  th_status status = th_tensor_new(to, TH_F64, x->ndim, x->shape, error);
  return status ? status : th_tensor_copy(to, x, error);
}

th_status th_study_rollout(const th_transformer *m, th_tape *tape, const th_batch *batch, th_rollout *made,
                           th_error *error) {
  th_error unwanted;
  passage p = {m, tape, batch, NULL};
  th_tensor encoder = {0}, target = {0}, source = {0};
  *made = (th_rollout){0};
  if (!error) error = &unwanted;
  if (!(p.weights = th_study_weights(m, tape, batch, error))) return error->status;
  bool reads = m->config.shape != TH_DECODER_ONLY, writes = m->config.shape != TH_ENCODER_ONLY;
  bool fine = !reads || through_encoder(&p, &encoder);
  if (fine && writes) fine = through_decoder(&p, reads ? &encoder : NULL, &target, &source);
  if (!fine) return th_error_set(error, TH_ENOMEM, "%s", th_tape_error(tape)->text);
  th_status status = keep(&made->encoder, &encoder, error);
  if (!status) status = keep(&made->target, &target, error);
  if (!status) status = keep(&made->source, &source, error);
  if (status) th_rollout_free(made);
  return status;
}

void th_rollout_free(th_rollout *rollout) {
  th_tensor_free(&rollout->encoder);
  th_tensor_free(&rollout->target);
  th_tensor_free(&rollout->source);
  *rollout = (th_rollout){0};
}
