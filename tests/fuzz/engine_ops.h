/* Of each op: how a step's bytes make one, and its plain version. */
#ifndef TESTS_FUZZ_ENGINE_OPS_H
#define TESTS_FUZZ_ENGINE_OPS_H

#include "../engine_plain.h"
#include "fuzz.h"

enum { LEAVES = 3 };

typedef struct step {
  feed feed;
  desk *desk;
  th_tape *tape;
  th_var *in[3], *y;
  /* For the plain version: what the op took, in double, and the settings that the bytes made. */
  th_tensor x[3];
  int64_t shape[TH_MAX_DIMS], begin, end;
  int axes[TH_MAX_DIMS], ndim, count;
  unsigned set;
  bool keep, masked;
  double number;
  th_tensor other; /* ids, targets, turns, what a mask allows */
  int32_t *ids, queries[4];
  th_mask mask;
} step;

typedef struct op_case {
  const char *name;
  void (*apply)(step *s);
  th_tensor (*plain)(step *s); /* NULL: moves no number that check_step could compare */
  bool any;                    /* compared whatever the numbers, not only where they are calm */
} op_case;

/* ---- element by element -------------------------------------------------------------------------- */

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double quotient(double a, double b) { return a / b; }
static double minus(double x) { return -x; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double relu(double x) { return x < 0 ? 0 : x; }
static double gelu_erf(double x) { return x / 2 * (1 + erf(x / sqrt(2))); }
static double gelu_tanh(double x) {
  return x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}
static double elu_plus_one(double x) { return x < 0 ? exp(x) : x + 1; }
static double quiet_gate(double x) {
  double wide = sigmoid(x) * (TH_CONCRETE_ZETA - TH_CONCRETE_GAMMA) + TH_CONCRETE_GAMMA;
  return wide < 0 ? 0 : wide > 1 ? 1 : wide;
}

#define PAIR(name, op, f) \
  static void apply_##name(step *s) { s->y = op(s->in[0], s->in[1]); } \
  static th_tensor plain_##name(step *s) { return plain_pair(s->desk, &s->x[0], &s->x[1], f); }
#define EACH(name, op, f) \
  static void apply_##name(step *s) { s->y = op(s->in[0]); } \
  static th_tensor plain_##name(step *s) { return plain_each(s->desk, &s->x[0], f); }
PAIR(add, th_add, add)
PAIR(sub, th_sub, sub)
PAIR(mul, th_mul, mul)
PAIR(div, th_div, quotient)
EACH(neg, th_neg, minus)
EACH(exp, th_exp, exp)
EACH(log, th_log, log)
EACH(sqrt, th_sqrt, sqrt)
EACH(tanh, th_tanh, tanh)
EACH(sigmoid, th_sigmoid, sigmoid)
EACH(relu, th_relu, relu)
EACH(gelu_tanh, th_gelu_tanh, gelu_tanh)
EACH(gelu_erf, th_gelu_erf, gelu_erf)
EACH(elu_plus_one, th_elu_plus_one, elu_plus_one)
EACH(hard_concrete, th_hard_concrete, quiet_gate)

static void apply_scale(step *s) {
  s->number = ((int)feed_byte(&s->feed) - 128) / 32.0;
  s->y = th_scale(s->in[0], s->number);
}
static th_tensor plain_scale(step *s) {
  th_tensor factor = th_tensor_of(&s->number, TH_F64, 0, NULL);
  return plain_pair(s->desk, &s->x[0], &factor, mul);
}

static void apply_dropout(step *s) { s->y = th_dropout(s->in[0], feed_below(&s->feed, 6) / 5.0); }

/* ---- products -------------------------------------------------------------------------------------- */

static void apply_matmul(step *s) {
  if (feed_byte(&s->feed) & 1) s->in[1] = th_transpose(s->in[1]);
  s->y = th_matmul(s->in[0], s->in[1]);
}
static th_tensor plain_product(step *s) { return plain_matmul(s->desk, &s->x[0], &s->x[1]); }

static void apply_linear(step *s) {
  bool bias = feed_byte(&s->feed) & 1;
  if (!bias) s->in[2] = NULL;
  s->y = th_linear(s->in[0], s->in[1], s->in[2]);
}
static th_tensor plain_linear(step *s) {
  th_tensor turned = plain_permute(s->desk, &s->x[1], (int[]){1, 0}), y, x = s->x[0];
  int64_t row[2] = {1, x.shape[0]};
  if (x.ndim == 1) x = plain_reshape(s->desk, &x, 2, row);
  y = plain_matmul(s->desk, &x, &turned);
  if (s->in[2]) y = plain_pair(s->desk, &y, &s->x[2], add);
  return plain_reshape(s->desk, &y, s->y->value.ndim, s->y->value.shape);
}

static void apply_linear_activated(step *s) {
  static th_var *(*const op[])(th_var *, th_var *, th_var *) = {th_linear_relu, th_linear_gelu_tanh,
                                                                th_linear_gelu_erf};
  uint8_t bits = feed_byte(&s->feed);
  if (!(bits & 1)) s->in[2] = NULL;
  s->set = (bits >> 1) % 3;
  s->y = op[s->set](s->in[0], s->in[1], s->in[2]);
}
static th_tensor plain_linear_activated(step *s) {
  static double (*const f[])(double) = {relu, gelu_tanh, gelu_erf};
  th_tensor y = plain_linear(s);
  return plain_each(s->desk, &y, f[s->set]);
}

/* ---- shapes ------------------------------------------------------------------------------------------ */

static void take_shape(step *s, int64_t least) {
  s->ndim = feed_below(&s->feed, 5);
  unsigned bits = feed_byte(&s->feed) | feed_byte(&s->feed) << 8;
  for (int i = 0; i < 4; i++) s->shape[i] = least + (bits >> 3 * i & 7);
}

static void apply_reshape(step *s) {
  take_shape(s, -1);
  s->y = th_reshape(s->in[0], s->ndim, s->shape);
}
static th_tensor plain_shaped(step *s) {
  return plain_reshape(s->desk, &s->x[0], s->y->value.ndim, s->y->value.shape);
}

static void apply_permute(step *s) {
  unsigned bits = feed_byte(&s->feed) | feed_byte(&s->feed) << 8;
  for (int i = 0; i < TH_MAX_DIMS; i++) s->axes[i] = bits >> 2 * i & 3;
  s->y = th_permute(s->in[0], s->axes);
}
static th_tensor plain_permuted(step *s) { return plain_permute(s->desk, &s->x[0], s->axes); }

static void apply_slice(step *s) {
  s->axes[0] = feed_below(&s->feed, 5) - 1 + (feed_byte(&s->feed) == 255 ? 100 : 0);
  s->begin = feed_below(&s->feed, 6) - 1, s->end = feed_below(&s->feed, 6);
  s->y = th_slice(s->in[0], s->axes[0], s->begin, s->end);
}
static th_tensor plain_sliced(step *s) {
  return plain_slice(s->desk, &s->x[0], s->axes[0], s->begin, s->end);
}

static void apply_broadcast(step *s) {
  take_shape(s, -1);
  s->y = th_broadcast(s->in[0], s->ndim, s->shape);
}
static th_tensor plain_broadcast(step *s) {
  th_tensor zero = desk_zeros(s->desk, TH_F64, s->y->value.ndim, s->y->value.shape);
  return plain_pair(s->desk, &s->x[0], &zero, add);
}

static void apply_concat(step *s) {
  s->count = 1 + feed_below(&s->feed, 3);
  s->axes[0] = feed_below(&s->feed, 6) - 1;
  s->y = th_concat(s->count, s->in, s->axes[0]);
}
static th_tensor plain_concat(step *s) { /* a row at a time of each part in turn */
  th_tensor y = desk_zeros(s->desk, TH_F64, s->y->value.ndim, s->y->value.shape);
  int64_t outer = 1, to = 0;
  for (int i = 0; i < s->axes[0]; i++) outer *= y.shape[i];
  for (int64_t row = 0; row < outer; row++)
    for (int k = 0; k < s->count; k++) {
      int64_t part = th_tensor_count(&s->x[k]) / outer;
      for (int64_t i = 0; i < part; i++) P(&y)[to++] = P(&s->x[k])[row * part + i];
    }
  return y;
}

static void apply_contiguous(step *s) { s->y = th_contiguous(s->in[0]); }

/* ---- reductions ---------------------------------------------------------------------------------------- */

static void take_axes(step *s) {
  s->set = feed_byte(&s->feed);
  s->keep = feed_byte(&s->feed) & 1;
  if (s->set > 200) s->set = TH_ALL_AXES;
}
#define REDUCE(name, op, what) \
  static void apply_##name(step *s) { \
    take_axes(s); \
    s->y = op(s->in[0], s->set, s->keep); \
  } \
  static th_tensor plain_##name(step *s) { return plain_reduce(s->desk, &s->x[0], s->set, s->keep, what); }
REDUCE(sum, th_sum, 's')
REDUCE(mean, th_mean, 'm')
REDUCE(max, th_max, 'x')

/* ---- rows by ids ---------------------------------------------------------------------------------------- */

static void take_ids(step *s, int count, int least) {
  s->ids = desk_bytes(s->desk, (count + 1) * (int64_t)sizeof *s->ids);
  unsigned bits = feed_byte(&s->feed);
  for (int i = 0; i < count; i++) s->ids[i] = least + (int32_t)((bits >> i % 6) & 3);
}

/* Often a row twice, which is an error. */
static void apply_take_rows(step *s) {
  take_ids(s, s->count, -1);
  s->other = th_tensor_of(s->ids, TH_I32, 1, (int64_t[]){s->count});
  s->y = th_take_rows(s->in[0], &s->other);
}
static th_tensor plain_take_rows(step *s) {
  const th_tensor *x = &s->x[0];
  int64_t width = x->shape[x->ndim - 1];
  th_tensor y = desk_zeros(s->desk, TH_F64, SHAPE(s->count, width));
  for (int64_t i = 0; i < s->count; i++)
    if (s->ids[i] >= 0) memcpy(P(&y) + i * width, P(x) + s->ids[i] * width, (size_t)width * sizeof(double));
  return y;
}

static void apply_gather(step *s) {
  s->count = feed_below(&s->feed, 5);
  take_ids(s, s->count, feed_below(&s->feed, 5) ? 0 : -1);
  s->other = th_tensor_of(s->ids, TH_I32, 1, (int64_t[]){s->count});
  s->y = th_gather(s->in[0], &s->other);
}
static th_tensor plain_gather(step *s) {
  int64_t width = s->x[0].shape[1];
  th_tensor y = desk_zeros(s->desk, TH_F64, SHAPE(s->count, width));
  for (int64_t i = 0; i < s->count; i++)
    memcpy(P(&y) + i * width, P(&s->x[0]) + s->ids[i] * width, (size_t)width * sizeof(double));
  return y;
}

static void apply_cross_entropy(step *s) {
  const th_tensor *x = &s->in[0]->value;
  int ndim = x->ndim ? x->ndim - 1 : 0;
  s->number = feed_below(&s->feed, 4) / 8.0;
  take_ids(s, (int)th_shape_count(ndim, x->shape), -1);
  s->other = th_tensor_of(s->ids, TH_I32, ndim, x->shape);
  s->y = th_cross_entropy(s->in[0], &s->other, s->number);
}
static th_tensor plain_entropy(step *s) { return plain_cross_entropy(s->desk, &s->x[0], s->ids, s->number); }

/* ---- rows under a mask ------------------------------------------------------------------------------------- */

/* Over scores of these sizes; allowed is [queries,keys]. */
static void take_mask(step *s, int64_t batch, int64_t queries, int64_t keys) {
  unsigned bits = feed_byte(&s->feed);
  s->mask.causal = bits & 1;
  if (bits & 2) {
    take_ids(s, (int)batch, feed_below(&s->feed, 4) - 1);
    s->mask.key_length = s->ids;
  }
  if (bits & 8) {
    for (int64_t b = 0; b < batch && b < 4; b++) s->queries[b] = (int32_t)(bits >> (4 + b) & 3);
    s->mask.query_length = batch <= 4 ? s->queries : NULL;
  }
  if (!(bits & 4)) return;
  unsigned hidden = feed_byte(&s->feed);
  uint8_t *allowed = desk_bytes(s->desk, queries * keys + 1);
  for (int64_t i = 0; i < queries * keys; i++) allowed[i] = !(hidden >> i % 7 & 1);
  s->other = th_tensor_of(allowed, TH_U8, 2, (int64_t[]){queries, keys});
  s->mask.allowed = &s->other;
}

static void take_row_mask(step *s) {
  const th_tensor *x = &s->in[0]->value;
  int last = x->ndim - 1;
  if (x->ndim >= 2) take_mask(s, x->shape[0], x->shape[last - 1], x->shape[last]);
}
#define SOFTMAX(name, op, logarithm) \
  static void apply_##name(step *s) { \
    take_row_mask(s); \
    s->y = op(s->in[0], &s->mask); \
  } \
  static th_tensor plain_##name(step *s) { return plain_softmax(s->desk, &s->x[0], &s->mask, logarithm); }
SOFTMAX(soft, th_softmax, false)
SOFTMAX(log_soft, th_log_softmax, true)

static void apply_layer_norm(step *s) {
  s->number = 0.1;
  s->y = th_layer_norm(s->in[0], s->in[1], s->in[2], s->number);
}
static th_tensor plain_norm(step *s) {
  return plain_layer_norm(s->desk, &s->x[0], &s->x[1], &s->x[2], s->number);
}

/* Queries, keys and values of four axes, from what there is. */
static void take_heads(step *s) {
  for (int i = 0; i < 3; i++) {
    const th_tensor *x = &s->in[i]->value;
    int64_t shape[4] = {1, 1, 1, 1};
    if (x->ndim > 4) continue;
    memcpy(shape + 4 - x->ndim, x->shape, (size_t)x->ndim * sizeof *shape);
    s->in[i] = th_reshape(s->in[i], 4, shape);
  }
}
static bool are_heads(const step *s) {
  bool all = !th_tape_error(s->tape);
  for (int i = 0; i < 3; i++) all = all && s->in[i]->value.ndim == 4;
  if (!all) th_tape_fail(s->tape, TH_ESHAPE, "attention", "no four axes");
  return all;
}
static void apply_attention(step *s) {
  take_heads(s);
  const th_tensor *q = &s->in[0]->value, *k = &s->in[1]->value;
  if (!are_heads(s)) return;
  take_mask(s, q->shape[0], q->shape[2], k->shape[2]);
  th_attention_way way = feed_byte(&s->feed) & 1 ? TH_ATTEND_TILES : TH_ATTEND_WHOLE;
  s->y = th_attention(s->in[0], s->in[1], s->in[2], &(th_attention_options){.mask = s->mask, .way = way});
}
static th_tensor plain_heads(step *s) {
  double scale = 1 / sqrt((double)s->x[0].shape[3]);
  return plain_attention(s->desk, &s->x[0], &s->x[1], &s->x[2], NULL, &s->mask, scale, NULL);
}

static void apply_linear_attention(step *s) {
  take_heads(s);
  if (!are_heads(s)) return;
  s->mask.causal = feed_byte(&s->feed) & 1;
  take_ids(s, (int)s->in[0]->value.shape[0], 0);
  if (feed_byte(&s->feed) & 1) s->mask.key_length = s->ids;
  th_linear_attention_options options = {.causal = s->mask.causal, .key_length = s->mask.key_length};
  s->y = th_linear_attention(s->in[0], s->in[1], s->in[2], &options);
}
static double alike(const double *q, const double *k, int64_t depth) {
  double sum = 0;
  for (int64_t d = 0; d < depth; d++) sum += elu_plus_one(q[d]) * elu_plus_one(k[d]);
  return sum;
}
static th_tensor plain_linear_attention(step *s) {
  const int64_t *q = s->x[0].shape, *v = s->x[2].shape, depth = q[3], keys = v[2], width = v[3];
  th_tensor y = desk_zeros(s->desk, TH_F64, SHAPE(q[0], q[1], q[2], width));
  for (int64_t row = 0; row < q[0] * q[1] * q[2]; row++) {
    int64_t head = row / q[2], seen = s->mask.key_length ? s->mask.key_length[head / q[1]] : keys;
    if (s->mask.causal && seen > row % q[2] + 1) seen = row % q[2] + 1;
    double all = 0;
    for (int64_t j = 0; j < seen && j < keys; j++) {
      double w = alike(P(&s->x[0]) + row * depth, P(&s->x[1]) + (head * keys + j) * depth, depth);
      all += w;
      for (int64_t c = 0; c < width; c++)
        P(&y)[row * width + c] += w * P(&s->x[2])[(head * keys + j) * width + c];
    }
    for (int64_t c = 0; c < width && all > 0; c++) P(&y)[row * width + c] /= all;
  }
  return y;
}

/* Values are the queries' too; what is seen is asked of the library, and held against the paper in test_lsh.c. */
static void apply_lsh(step *s) {
  take_heads(s);
  if (!are_heads(s)) return;
  th_lsh_options options = {.rounds = 1 + feed_below(&s->feed, 3),
                            .buckets = 2 * feed_below(&s->feed, 4),
                            .chunk = 1 + feed_below(&s->feed, 3),
                            .causal = feed_byte(&s->feed) & 1};
  if (!options.buckets) options.buckets = 1;
  s->in[1] = s->in[2] = s->in[0];
  s->y = th_lsh_attention(s->in[0], s->in[0], &options);
  if (th_lsh_visible(s->in[0], &options, &s->other)) s->mask.allowed = &s->other;
}
static th_tensor plain_lsh(step *s) {
  int64_t depth = s->x[0].shape[3];
  for (int64_t row = 0; row < th_tensor_count(&s->x[1]) / depth; row++) {
    double *x = P(&s->x[1]) + row * depth, square = 1e-12;
    for (int64_t d = 0; d < depth; d++) square += x[d] * x[d];
    for (int64_t d = 0; d < depth; d++) x[d] /= sqrt(square);
  }
  return plain_heads(s);
}

/* ---- computed again in backward -------------------------------------------------------------------------------- */

static th_var *bend(th_var *x, th_var *const *others, const void *context) {
  (void)context;
  return th_mul(th_tanh(x), others[0]);
}
static void apply_recompute(step *s) { s->y = th_recompute(s->in[0], 1, &s->in[1], bend, NULL, 0); }
static th_tensor plain_bend(step *s, const th_tensor *x) {
  th_tensor bent = plain_each(s->desk, x, tanh);
  return plain_pair(s->desk, &bent, &s->x[1], mul);
}
static th_tensor plain_recompute(step *s) { return plain_bend(s, &s->x[0]); }

static void apply_reversible(step *s) {
  th_var *a = th_stream(s->in[0]), *b = th_stream(s->in[0]);
  a = th_reversible(a, b, 1, &s->in[1], bend, NULL, 0);
  b = th_reversible(b, a, 1, &s->in[1], bend, NULL, 0);
  s->y = th_streams_end(a, b);
}
static double middle(double a, double b) { return (a + b) / 2; }
static th_tensor plain_reversible(step *s) {
  th_tensor part = plain_bend(s, &s->x[0]), a = plain_pair(s->desk, &s->x[0], &part, add);
  part = plain_bend(s, &a);
  th_tensor b = plain_pair(s->desk, &s->x[0], &part, add);
  return plain_pair(s->desk, &a, &b, middle);
}

/* ---- positions ------------------------------------------------------------------------------------------------ */

static void apply_rotary(step *s) {
  const th_tensor *x = &s->in[0]->value;
  if (x->ndim < 2) {
    th_tape_fail(s->tape, TH_ESHAPE, "rotary", "no rows");
    return;
  }
  s->desk->stream = 99; /* the same each time the program runs */
  s->other = desk_uniform(s->desk, x->dtype, -1, 1, 2, x->shape + x->ndim - 2);
  s->y = th_rotary(s->in[0], &s->other);
}
static th_tensor plain_rotary(step *s) {
  th_tensor y = desk_zeros(s->desk, TH_F64, s->x[0].ndim, s->x[0].shape);
  th_tensor turns = desk_copy(s->desk, TH_F64, &s->other);
  int64_t table = th_tensor_count(&turns);
  for (int64_t i = 0; i < th_tensor_count(&y); i += 2) {
    double a = P(&s->x[0])[i], b = P(&s->x[0])[i + 1], c = P(&turns)[i % table], d = P(&turns)[i % table + 1];
    P(&y)[i] = a * c - b * d, P(&y)[i + 1] = a * d + b * c;
  }
  return y;
}

/* ---- all of them -------------------------------------------------------------------------------------------- */

static const op_case cases[] = {
    {"add", apply_add, plain_add, true},
    {"sub", apply_sub, plain_sub, true},
    {"mul", apply_mul, plain_mul, true},
    {"div", apply_div, plain_div, true},
    {"scale", apply_scale, plain_scale, true},
    {"neg", apply_neg, plain_neg, true},
    {"exp", apply_exp, plain_exp, true},
    {"log", apply_log, plain_log, true},
    {"sqrt", apply_sqrt, plain_sqrt, true},
    {"tanh", apply_tanh, plain_tanh, true},
    {"sigmoid", apply_sigmoid, plain_sigmoid, true},
    {"relu", apply_relu, plain_relu, false},
    {"gelu_tanh", apply_gelu_tanh, plain_gelu_tanh, false},
    {"gelu_erf", apply_gelu_erf, plain_gelu_erf, false},
    {"hard_concrete", apply_hard_concrete, plain_hard_concrete, false},
    {"dropout", apply_dropout, NULL, false},
    {"matmul", apply_matmul, plain_product, true},
    {"linear", apply_linear, plain_linear, true},
    {"linear_relu", apply_linear_activated, plain_linear_activated, false}, /* or a gelu */
    {"reshape", apply_reshape, plain_shaped, true},
    {"permute", apply_permute, plain_permuted, true},
    {"slice", apply_slice, plain_sliced, true},
    {"broadcast", apply_broadcast, plain_broadcast, true},
    {"concat", apply_concat, plain_concat, true},
    {"contiguous", apply_contiguous, plain_shaped, true},
    {"sum", apply_sum, plain_sum, true},
    {"mean", apply_mean, plain_mean, true},
    {"max", apply_max, plain_max, false},
    {"gather", apply_gather, plain_gather, true},
    {"take_rows", apply_take_rows, plain_take_rows, true},
    {"softmax", apply_soft, plain_soft, false},
    {"log_softmax", apply_log_soft, plain_log_soft, false},
    {"layer_norm", apply_layer_norm, plain_norm, false},
    {"cross_entropy", apply_cross_entropy, plain_entropy, false},
    {"attention", apply_attention, plain_heads, false},
    {"rotary", apply_rotary, plain_rotary, true},
    {"elu_plus_one", apply_elu_plus_one, plain_elu_plus_one, true},
    {"linear_attention", apply_linear_attention, plain_linear_attention, false},
    {"lsh_attention", apply_lsh, plain_lsh, false},
    {"recompute", apply_recompute, plain_recompute, true},
    {"reversible", apply_reversible, plain_reversible, true}, /* with stream and streams_end */
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- comparing ------------------------------------------------------------------------------------------------- */

#define GRADCHECK_MOST 50 /* the largest number that finite differences are trusted with */

/* The largest of what the op took, in double into s->x; infinity where something is not finite, and *empty where
 * something has no elements. */
static double take_inputs(step *s, bool *empty) {
  double most = 0;
  *empty = th_tensor_count(&s->y->value) == 0;
  for (int i = 0; i < 3; i++) {
    if (!s->in[i]) continue;
    s->x[i] = desk_copy(s->desk, TH_F64, &s->in[i]->value);
    *empty = *empty || !th_tensor_count(&s->x[i]);
    for (int64_t k = 0; k < th_tensor_count(&s->x[i]); k++)
      most = isfinite(P(&s->x[i])[k]) ? fmax(most, fabs(P(&s->x[i])[k])) : INFINITY;
  }
  return most;
}

/* Whether a slope there is steep: 1/x, log x and the root of x near 0, and buckets, whose borders are cliffs. */
static bool is_steep(const op_case *op, const step *s) {
  if (op->apply == apply_lsh) return true;
  int of = !strcmp(op->name, "div") ? 1 : !strcmp(op->name, "log") || !strcmp(op->name, "sqrt") ? 0 : -1;
  for (int64_t i = 0; of >= 0 && i < th_tensor_count(&s->x[of]); i++)
    if (!(fabs(P(&s->x[of])[i]) > 0.2)) return true;
  return false;
}

/* Each element to `limit` of itself and of products of what the op took, the largest of which is `size`. */
static void claim_near(const op_case *op, const th_tensor *got, const th_tensor *plain, double limit,
                       double size) {
  cr_assert(th_tensor_same_shape(got, plain), "%s: not the shape of its plain version", op->name);
  for (int64_t i = 0, n = th_tensor_count(got); i < n; i++) {
    double u = th_tensor_get(got, i), v = th_tensor_get(plain, i);
    bool same = u == v || (u != u && v != v) || fabs(u - v) <= limit * (size * size + fabs(v));
    cr_assert(same, "%s: element %lld is %.17g, wanted %.17g", op->name, (long long)i, u, v);
  }
}

/* Holds what the op made against its plain version. True: numbers that finite differences can deal with. */
static bool check_step(const op_case *op, step *s) {
  bool empty, is_float = s->y->value.dtype == TH_F32;
  double most = take_inputs(s, &empty);
  if (empty) return false;
  bool quiet = strcmp(op->name, "hard_concrete") != 0 || !th_tape_training(s->tape);
  if (op->plain && quiet && (op->any || most < 1e3)) {
    th_tensor plain = op->plain(s);
    if (is_float) plain = desk_copy(s->desk, TH_F32, &plain);
    claim_near(op, &s->y->value, &plain, is_float ? 1e-4 : 1e-9, isfinite(most) ? 1 + most : 1);
  }
  bool finite = true;
  for (int64_t i = 0, n = th_tensor_count(&s->y->value); i < n; i++)
    finite = finite && fabs(th_tensor_get(&s->y->value, i)) < GRADCHECK_MOST;
  return finite && most < GRADCHECK_MOST && !is_steep(op, s);
}

#endif
