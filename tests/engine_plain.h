/* Plain references of the ops: loops in double over row-major arrays, written from the definitions. */
#ifndef TESTS_ENGINE_PLAIN_H
#define TESTS_ENGINE_PLAIN_H

#include "engine_desk.h"

/* All tensors here are TH_F64 and contiguous; a function makes its result on the desk. */
#define P(x) ((double *)(x)->data)

/* The element of x, broadcast from the right, that stands at `index` of a tensor of `ndim` axes. */
static inline double plain_at(const th_tensor *x, int ndim, const int64_t *index) {
  int64_t place = 0;
  for (int i = 0; i < x->ndim; i++)
    place = place * x->shape[i] + (x->shape[i] == 1 ? 0 : index[ndim - x->ndim + i]);
  return P(x)[place];
}

/* The next index in row-major order; false after the last. */
static inline bool plain_next(const th_tensor *x, int64_t *index) {
  for (int i = x->ndim - 1; i >= 0; i--) {
    if (++index[i] < x->shape[i]) return true;
    index[i] = 0;
  }
  return false;
}

static inline th_tensor plain_each(desk *d, const th_tensor *x, double (*f)(double)) {
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, x->shape);
  for (int64_t i = 0, n = th_tensor_count(x); i < n; i++) P(&y)[i] = f(P(x)[i]);
  return y;
}

static inline th_tensor plain_pair(desk *d, const th_tensor *a, const th_tensor *b,
                                   double (*f)(double, double)) {
  int64_t shape[TH_MAX_DIMS], index[TH_MAX_DIMS] = {0}, n = 0;
  int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
  for (int i = 0; i < ndim; i++) {
    int64_t in_a = i < ndim - a->ndim ? 1 : a->shape[i - (ndim - a->ndim)];
    int64_t in_b = i < ndim - b->ndim ? 1 : b->shape[i - (ndim - b->ndim)];
    shape[i] = in_a > in_b ? in_a : in_b;
  }
  th_tensor y = desk_zeros(d, TH_F64, ndim, shape);
  do P(&y)[n++] = f(plain_at(a, ndim, index), plain_at(b, ndim, index));
  while (plain_next(&y, index));
  return y;
}

/* a [..,M,K] b [..,K,N] */
static inline th_tensor plain_matmul(desk *d, const th_tensor *a, const th_tensor *b) {
  int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
  int64_t shape[TH_MAX_DIMS], index[TH_MAX_DIMS] = {0}, n = 0, inner = a->shape[a->ndim - 1];
  for (int i = 0; i < ndim - 2; i++) {
    int64_t in_a = i < ndim - a->ndim ? 1 : a->shape[i - (ndim - a->ndim)];
    int64_t in_b = i < ndim - b->ndim ? 1 : b->shape[i - (ndim - b->ndim)];
    shape[i] = in_a > in_b ? in_a : in_b;
  }
  shape[ndim - 2] = a->shape[a->ndim - 2], shape[ndim - 1] = b->shape[b->ndim - 1];
  th_tensor y = desk_zeros(d, TH_F64, ndim, shape);
  do {
    int64_t of_a[TH_MAX_DIMS], of_b[TH_MAX_DIMS];
    double sum = 0;
    memcpy(of_a, index, sizeof of_a), memcpy(of_b, index, sizeof of_b);
    /* row and column are not broadcast, so an axis of size 1 has index 0 there anyway */
    for (int64_t k = 0; k < inner; k++) {
      of_a[ndim - 1] = k, of_b[ndim - 2] = k;
      sum += plain_at(a, ndim, of_a) * plain_at(b, ndim, of_b);
    }
    P(&y)[n++] = sum;
  } while (plain_next(&y, index));
  return y;
}

static inline th_tensor plain_permute(desk *d, const th_tensor *x, const int *axes) {
  int64_t shape[TH_MAX_DIMS], index[TH_MAX_DIMS] = {0}, old[TH_MAX_DIMS], n = 0;
  for (int i = 0; i < x->ndim; i++) shape[i] = x->shape[axes[i]];
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, shape);
  do {
    for (int i = 0; i < x->ndim; i++) old[axes[i]] = index[i];
    P(&y)[n++] = plain_at(x, x->ndim, old);
  } while (plain_next(&y, index));
  return y;
}

static inline th_tensor plain_slice(desk *d, const th_tensor *x, int axis, int64_t begin, int64_t end) {
  int64_t shape[TH_MAX_DIMS], index[TH_MAX_DIMS] = {0}, old[TH_MAX_DIMS], n = 0;
  memcpy(shape, x->shape, sizeof shape);
  shape[axis] = end - begin;
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, shape);
  do {
    memcpy(old, index, sizeof old);
    old[axis] += begin;
    P(&y)[n++] = plain_at(x, x->ndim, old);
  } while (plain_next(&y, index));
  return y;
}

static inline th_tensor plain_reshape(desk *d, const th_tensor *x, int ndim, const int64_t *shape) {
  th_tensor y = desk_zeros(d, TH_F64, ndim, shape);
  memcpy(y.data, x->data, (size_t)th_tensor_count(x) * sizeof(double));
  return y;
}

/* 's'um, 'm'ean or ma'x' over a set of axes. */
static inline th_tensor plain_reduce(desk *d, const th_tensor *x, unsigned axes, bool keep, char what) {
  int64_t kept[TH_MAX_DIMS], given[TH_MAX_DIMS], index[TH_MAX_DIMS] = {0}, n = 0;
  int ndim = 0;
  for (int i = 0; i < x->ndim; i++) {
    kept[i] = axes >> i & 1 ? 1 : x->shape[i];
    if (keep || !(axes >> i & 1)) given[ndim++] = x->shape[i] == kept[i] ? kept[i] : 1;
  }
  th_tensor y = desk_zeros(d, TH_F64, ndim, given), shaped = th_tensor_of(y.data, TH_F64, x->ndim, kept);
  double count = (double)th_tensor_count(x) / (double)th_tensor_count(&y);
  for (int64_t i = 0, m = th_tensor_count(&y); what == 'x' && i < m; i++) P(&y)[i] = -INFINITY;
  do {
    int64_t place = 0;
    for (int i = 0; i < x->ndim; i++) place = place * shaped.shape[i] + (shaped.shape[i] == 1 ? 0 : index[i]);
    if (what == 'x') P(&y)[place] = fmax(P(&y)[place], P(x)[n++]);
    else P(&y)[place] += P(x)[n++] / (what == 'm' ? count : 1);
  } while (plain_next(x, index));
  return y;
}

/* May query `index`[ndim - 2] see key `index`[ndim - 1]? */
static inline bool plain_sees(const th_mask *mask, const th_tensor *scores, const int64_t *index) {
  int last = scores->ndim - 1;
  if (!mask) return true;
  if (mask->causal && index[last] > index[last - 1] + scores->shape[last] - scores->shape[last - 1])
    return false;
  int64_t ahead =
      !mask->window ? 0 : index[last] - index[last - 1] - (scores->shape[last] - scores->shape[last - 1]);
  if (mask->window && (ahead >= mask->window || -ahead >= mask->window))
    return false; /* a single row has none */
  if (mask->key_length && index[last] >= mask->key_length[index[0]]) return false;
  if (mask->query_length && index[last - 1] >= mask->query_length[index[0]]) return false;
  if (!mask->allowed) return true;
  int64_t place = 0;
  const th_tensor *allowed = mask->allowed;
  for (int i = 0; i < allowed->ndim; i++)
    place = place * allowed->shape[i] + (allowed->shape[i] == 1 ? 0 : index[last + 1 - allowed->ndim + i]);
  return ((const uint8_t *)allowed->data)[place];
}

/* exp(x) over its sum, row by row, in three plain passes. */
static inline th_tensor plain_softmax(desk *d, const th_tensor *x, const th_mask *mask, bool logarithm) {
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, x->shape);
  int64_t n = x->shape[x->ndim - 1], index[TH_MAX_DIMS] = {0};
  bool *seen = desk_bytes(d, n + 1);
  for (int64_t row = 0, rows = n ? th_tensor_count(x) / n : 0; row < rows; row++) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
      seen[i] = plain_sees(mask, x, index);
      plain_next(x, index);
      if (seen[i]) top = fmax(top, P(x)[row * n + i]);
    }
    for (int64_t i = 0; i < n; i++) sum += seen[i] ? exp(P(x)[row * n + i] - top) : 0;
    for (int64_t i = 0; i < n; i++) {
      double over = P(x)[row * n + i] - top;
      if (logarithm) P(&y)[row * n + i] = seen[i] ? over - log(sum) : -INFINITY;
      else P(&y)[row * n + i] = seen[i] ? exp(over) / sum : 0;
    }
  }
  return y;
}

static inline th_tensor plain_layer_norm(desk *d, const th_tensor *x, const th_tensor *weight,
                                         const th_tensor *bias, double epsilon) {
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, x->shape);
  int64_t n = x->shape[x->ndim - 1];
  for (int64_t row = 0; row < th_tensor_count(x) / n; row++) {
    const double *from = P(x) + row * n;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += from[i] / (double)n;
    for (int64_t i = 0; i < n; i++) variance += pow(from[i] - mean, 2) / (double)n;
    for (int64_t i = 0; i < n; i++)
      P(&y)[row * n + i] = (from[i] - mean) / sqrt(variance + epsilon) * P(weight)[i] + P(bias)[i];
  }
  return y;
}

static inline th_tensor plain_cross_entropy(desk *d, const th_tensor *logits, const int32_t *targets,
                                            double smoothing) {
  th_tensor logs = plain_softmax(d, logits, NULL, true), y = desk_zeros(d, TH_F64, SCALAR);
  int64_t n = logits->shape[logits->ndim - 1], counted = 0;
  double sum = 0;
  for (int64_t row = 0; row < th_tensor_count(logits) / n; row++) {
    if (targets[row] < 0) continue;
    counted++;
    for (int64_t i = 0; i < n; i++)
      sum -= ((targets[row] == i ? 1 - smoothing : 0) + smoothing / (double)n) * P(&logs)[row * n + i];
  }
  P(&y)[0] = counted ? sum / (double)counted : 0;
  return y;
}

/* The place among [B,K] of what head `head` of [B,H] reads. */
static inline int64_t plain_shared(int64_t head, int64_t heads, const th_tensor *x) {
  return head / heads * x->shape[1] + head % heads / (heads / x->shape[1]);
}

/* softmax(scale q k' + bias) v, of keys and values with as many heads as q or fewer; bias may be NULL. `keep`
 * [B,H,Tq,Tk] multiplies the weights, or is NULL. */
static inline th_tensor plain_attention(desk *d, const th_tensor *q, const th_tensor *k, const th_tensor *v,
                                        const th_tensor *bias, const th_mask *mask, double scale,
                                        const double *keep) {
  int64_t depth = q->shape[3], width = v->shape[3], rows = q->shape[2], columns = k->shape[2],
          heads = q->shape[0] * q->shape[1];
  th_tensor scores = desk_zeros(d, TH_F64, SHAPE(q->shape[0], q->shape[1], rows, columns));
  th_tensor y = desk_zeros(d, TH_F64, SHAPE(q->shape[0], q->shape[1], rows, width));
  int64_t index[TH_MAX_DIMS] = {0}, n = 0;
  for (int64_t h = 0; h < heads; h++)
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++, n++, plain_next(&scores, index)) {
        double sum = 0;
        for (int64_t c = 0; c < depth; c++)
          sum += P(q)[(h * rows + i) * depth + c] *
                 P(k)[(plain_shared(h, q->shape[1], k) * columns + j) * depth + c];
        P(&scores)[n] = scale * sum + (bias ? plain_at(bias, 4, index) : 0);
      }
  th_tensor weights = plain_softmax(d, &scores, mask, false);
  for (int64_t h = 0; h < heads; h++)
    for (int64_t i = 0; i < rows; i++)
      for (int64_t c = 0; c < width; c++)
        for (int64_t j = 0; j < columns; j++) {
          int64_t w = (h * rows + i) * columns + j;
          P(&y)
          [(h * rows + i) * width + c] += P(&weights)[w] * (keep ? keep[w] : 1) *
                                          P(v)[(plain_shared(h, q->shape[1], v) * columns + j) * width + c];
        }
  return y;
}

#endif
