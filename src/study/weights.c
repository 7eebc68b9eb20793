/* The weights of every head, gathered by one tap. */
#include "weights.h"

#include <math.h>

static th_status check_tokens(const th_tensor *tokens, const char *name, th_error *error) {
  char text[TH_SHAPE_TEXT];
  if (tokens->data && tokens->dtype == TH_I32 && tokens->ndim == 2) return TH_OK;
  return th_error_set(error, TH_EINVAL, "study: %s %s: want token ids, i32 [sequences,tokens]", name,
                      tokens->data ? th_shape_text(text, tokens) : "is missing");
}

static th_status check_batch(const th_transformer *m, const th_batch *b, th_error *error) {
  th_status status = TH_OK;
  if (m->config.shape != TH_DECODER_ONLY) status = check_tokens(&b->source, "source", error);
  if (m->config.shape != TH_ENCODER_ONLY && !status) status = check_tokens(&b->input, "input", error);
  if (status || m->config.shape != TH_ENCODER_DECODER || b->source.shape[0] == b->input.shape[0])
    return status;
  return th_error_set(error, TH_ESHAPE, "study: %lld sources beside %lld inputs: want as many",
                      (long long)b->source.shape[0], (long long)b->input.shape[0]);
}

typedef struct gathering {
  const th_transformer *model;
  th_tensor *weights; /* [heads] */
} gathering;

/* Head `head` of weights [B,H,T,S], in double. */
static void widen(const th_tensor *weights, int64_t head, double *y) {
  int64_t heads = weights->shape[1], n = weights->shape[2] * weights->shape[3];
  for (int64_t b = 0; b < weights->shape[0]; b++)
    for (int64_t i = 0, from = (b * heads + head) * n; i < n; i++)
      *y++ = weights->dtype == TH_F32 ? (double)((const float *)weights->data)[from + i]
                                      : ((const double *)weights->data)[from + i];
}

void th_study_make_shares(double *row, int64_t keys) {
  double sum = 0;
  for (int64_t j = 0; j < keys; j++) sum += fabs(row[j]);
  for (int64_t j = 0; j < keys; j++) row[j] = sum > 0 ? fabs(row[j]) / sum : 0;
}

static void make_shares(const th_tensor *weights) {
  double *w = weights->data;
  int64_t keys = weights->shape[2], rows = weights->shape[0] * weights->shape[1];
  for (int64_t r = 0; r < rows; r++) th_study_make_shares(w + r * keys, keys);
}

static void gather(void *context, const th_nn_attention *layer, th_seen *seen) {
  const gathering *g = context;
  const th_tensor *all = &seen->weights->value; /* [B,H,T,S], contiguous */
  int64_t shape[] = {all->shape[0], all->shape[2], all->shape[3]};
  int first = th_study_first_head(g->model, layer);
  for (int64_t h = 0; h < layer->heads; h++) {
    th_tensor *weights = &g->weights[first + h];
    if (!th_keep_tensor(seen->weights->tape, weights, TH_F64, 3, shape)) return;
    widen(all, h, weights->data);
    if (!th_attention_traits_of(layer->method.kind)->rows_sum_to_one) make_shares(weights);
  }
}

th_tensor *th_study_weights(const th_transformer *m, th_tape *tape, const th_batch *batch, th_error *error) {
  if (check_batch(m, batch, error)) return NULL;
  th_borrowed borrowed = th_borrow(tape);
  gathering g = {m, th_keep(tape, (size_t)th_head_count(m) * sizeof *g.weights)};
  if (g.weights) th_study_forward(m, tape, batch, &(th_tap){gather, &g});
  th_give_back_full(&borrowed);
  const th_error *failed = th_tape_error(tape);
  if (failed) th_error_set(error, failed->status, "%s", failed->text);
  return failed ? NULL : g.weights;
}
