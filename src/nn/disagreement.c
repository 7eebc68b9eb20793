/* How far the heads of an attention differ: Li et al. 2018. */
#include "tapehead/nn.h"

#define TINY 1e-12 /* added to squared lengths: what a shut gate left of a head is no direction */

static th_var *number(th_tape *tape, th_dtype dtype, double value) {
  th_tensor t;
  bool made = th_keep_tensor(tape, &t, dtype, 0, NULL);
  if (made) th_fill(&t, value);
  return th_constant(tape, made ? &t : &(th_tensor){0});
}

/* x with each row (last axis) at length 1. */
static th_var *directions(th_var *x) {
  th_var *squares = th_sum(th_mul(x, x), TH_AXIS(3), true);
  return th_div(x, th_sqrt(th_add(squares, number(x->tape, x->value.dtype, TINY))));
}

/* What each row of [B,1,T,1] weighs in a mean over the rows within `length` (NULL: all). */
static th_var *row_weights(th_var *x, const int32_t *length) {
  th_tensor weights;
  int64_t batch = x->value.shape[0], rows = x->value.shape[2], count = 0, shape[] = {batch, 1, rows, 1};
  if (!th_keep_tensor(x->tape, &weights, x->value.dtype, 4, shape)) return x;
  for (int64_t b = 0; b < batch; b++) count += length && length[b] < rows ? length[b] : rows;
  for (int64_t i = 0; i < batch * rows; i++)
    th_tensor_set(&weights, i, !length || i % rows < length[i / rows] ? 1 / (double)count : 0);
  return th_constant(x->tape, &weights);
}

/* The mean, over the rows t that count and over pairs of heads i and j, not the same, of the dot product of rows
 * x_it and x_jt: x [B,H,T,N]. All pairs at once: |sum_i x_i|^2 - sum_i |x_i|^2. */
static th_var *likeness(th_var *x, const int32_t *length) {
  int64_t heads = x->value.shape[1];
  th_var *all = th_sum(x, TH_AXIS(1), true);
  th_var *pairs = th_sub(th_mul(all, all), th_sum(th_mul(x, x), TH_AXIS(1), true));
  th_var *sum = th_sum(th_mul(pairs, row_weights(x, length)), TH_ALL_AXES, false);
  return th_scale(sum, 1 / (double)(heads * (heads - 1)));
}

th_var *th_nn_disagreement(const th_seen *seen, th_disagreement of, const int32_t *query_length,
                           const int32_t *key_length) {
  if (th_tape_error(seen->heads->tape) || seen->heads->value.shape[1] < 2) return NULL;
  switch (of) {
  case TH_DISAGREE_SUBSPACE: return th_neg(likeness(directions(seen->value), key_length));
  case TH_DISAGREE_POSITIONS: return th_neg(likeness(seen->weights, query_length));
  case TH_DISAGREE_OUTPUTS: return th_neg(likeness(directions(seen->heads), query_length));
  }
  return NULL;
}
