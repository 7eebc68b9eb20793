/* Every op of th_ops() against a plain reference in double: values, gradients, odd sizes, both types. */
#include "engine_plain.h"

#include <complex.h>

typedef struct op_case {
  const char *op, *what;
  int inputs;
  th_tensor shape[4]; /* only ndim and shape are read */
  th_var *(*compute)(th_tape *tape, th_var *const *in);
  th_tensor (*plain)(desk *d, const th_tensor *in);
  double low, high; /* of the inputs; 0, 0: -2 to 2 */
} op_case;

/* Defines compute_name and reference_name, the op and its reference; both call their inputs in[]. */
#define OP(name, op, reference) \
  static th_var *compute_##name(th_tape *tape, th_var *const *in) { \
    (void)tape; \
    return op; \
  } \
  static th_tensor reference_##name(desk *d, const th_tensor *in) { return reference; }

/* ---- element by element ---------------------------------------------------------------------- */

static double add2(double a, double b) { return a + b; }
static double sub2(double a, double b) { return a - b; }
static double mul2(double a, double b) { return a * b; }
static double div2(double a, double b) { return a / b; }
static double scale1(double x) { return -1.75 * x; }
static double neg1(double x) { return -x; }
static double elu_plus_one1(double x) { return x < 0 ? exp(x) : x + 1; }
static double sigmoid1(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double relu1(double x) { return x > 0 ? x : 0; }
static double gelu_tanh1(double x) {
  return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * pow(x, 3))));
}
static double gelu_erf1(double x) { return x / 2 * erfc(-x / sqrt(2)); }

OP(add, th_add(in[0], in[1]), plain_pair(d, &in[0], &in[1], add2))
OP(sub, th_sub(in[0], in[1]), plain_pair(d, &in[0], &in[1], sub2))
OP(mul, th_mul(in[0], in[1]), plain_pair(d, &in[0], &in[1], mul2))
OP(div, th_div(in[0], in[1]), plain_pair(d, &in[0], &in[1], div2))
OP(scale, th_scale(in[0], -1.75), plain_each(d, &in[0], scale1))
OP(neg, th_neg(in[0]), plain_each(d, &in[0], neg1))
OP(exp, th_exp(in[0]), plain_each(d, &in[0], exp))
OP(log, th_log(in[0]), plain_each(d, &in[0], log))
OP(sqrt, th_sqrt(in[0]), plain_each(d, &in[0], sqrt))
OP(tanh, th_tanh(in[0]), plain_each(d, &in[0], tanh))
OP(sigmoid, th_sigmoid(in[0]), plain_each(d, &in[0], sigmoid1))
OP(relu, th_relu(in[0]), plain_each(d, &in[0], relu1))
OP(elu_plus_one, th_elu_plus_one(in[0]), plain_each(d, &in[0], elu_plus_one1))
OP(gelu_tanh, th_gelu_tanh(in[0]), plain_each(d, &in[0], gelu_tanh1))
OP(gelu_erf, th_gelu_erf(in[0]), plain_each(d, &in[0], gelu_erf1))

#define UNARY(name, low, high) \
  { #name, "", 1, {{0 } }, compute_##name, reference_##name, low, high }
#define BINARY(name, low, high) \
  { #name, "", 2, {{0 } }, compute_##name, reference_##name, low, high }
static const op_case elementwise[] = {
    BINARY(add, -2, 2),         BINARY(sub, -2, 2),      BINARY(mul, -2, 2),    BINARY(div, 0.5, 3),
    UNARY(scale, -2, 2),        UNARY(neg, -2, 2),       UNARY(exp, -5, 3),     UNARY(log, 0.2, 9),
    UNARY(sqrt, 0.2, 9),        UNARY(tanh, -4, 4),      UNARY(sigmoid, -6, 6), UNARY(relu, -2, 2),
    UNARY(elu_plus_one, -6, 3), UNARY(gelu_tanh, -4, 4), UNARY(gelu_erf, -4, 4)};
#define ELEMENTWISE (sizeof elementwise / sizeof *elementwise)

/* ---- products and shapes --------------------------------------------------------------------- */

static th_tensor plain_transpose(desk *d, const th_tensor *x) {
  int axes[TH_MAX_DIMS];
  for (int i = 0; i < x->ndim; i++) axes[i] = i;
  axes[x->ndim - 2] = x->ndim - 1, axes[x->ndim - 1] = x->ndim - 2;
  return plain_permute(d, x, axes);
}

static th_tensor plain_product_of_transposed(desk *d, const th_tensor *a, const th_tensor *b) {
  th_tensor at = plain_transpose(d, a), bt = plain_transpose(d, b);
  return plain_matmul(d, &at, &bt);
}

static th_tensor plain_affine(desk *d, const th_tensor *x, const th_tensor *weight, const th_tensor *bias) {
  th_tensor turned = plain_transpose(d, weight);
  th_tensor rows = plain_reshape(d, x, SHAPE(th_tensor_count(x) / weight->shape[1], weight->shape[1]));
  th_tensor y = plain_matmul(d, &rows, &turned), shaped = *x;
  if (bias) y = plain_pair(d, &y, bias, add2);
  shaped.shape[x->ndim - 1] = weight->shape[0];
  return plain_reshape(d, &y, x->ndim, shaped.shape);
}

static th_tensor plain_activated(desk *d, const th_tensor *in, bool bias, double (*f)(double)) {
  th_tensor y = plain_affine(d, &in[0], &in[1], bias ? &in[2] : NULL);
  return plain_each(d, &y, f);
}

static th_tensor plain_repeat(desk *d, const th_tensor *x, int ndim, const int64_t *shape) {
  th_tensor zeros = desk_zeros(d, TH_F64, ndim, shape);
  return plain_pair(d, x, &zeros, add2);
}

static th_tensor plain_join(desk *d, const th_tensor *a, const th_tensor *b,
                            const th_tensor *c) { /* along axis 1 of 3 */
  const th_tensor *part[] = {a, b, c};
  int64_t width = a->shape[1] + b->shape[1] + c->shape[1], begin = 0, inner = a->shape[2];
  th_tensor y = desk_zeros(d, TH_F64, SHAPE(a->shape[0], width, inner));
  for (int p = 0; p < 3; begin += part[p++]->shape[1])
    for (int64_t i = 0; i < a->shape[0]; i++)
      for (int64_t j = 0; j < part[p]->shape[1]; j++)
        for (int64_t k = 0; k < inner; k++)
          P(&y)[(i * width + begin + j) * inner + k] = P(part[p])[(i * part[p]->shape[1] + j) * inner + k];
  return y;
}

static th_tensor plain_turned_reshape(desk *d, const th_tensor *x, int64_t count) {
  th_tensor turned = plain_transpose(d, x);
  return plain_reshape(d, &turned, 1, &count);
}

OP(matmul, th_matmul(in[0], in[1]), plain_matmul(d, &in[0], &in[1]))
OP(matmul_turned, th_matmul(th_transpose(in[0]), th_transpose(in[1])),
   plain_product_of_transposed(d, &in[0], &in[1]))
OP(linear, th_linear(in[0], in[1], in[2]), plain_affine(d, &in[0], &in[1], &in[2]))
OP(linear_relu, th_linear_relu(in[0], in[1], in[2]), plain_activated(d, in, true, relu1))
OP(linear_relu_no_bias, th_linear_relu(in[0], in[1], NULL), plain_activated(d, in, false, relu1))
OP(linear_gelu_tanh, th_linear_gelu_tanh(in[0], in[1], in[2]), plain_activated(d, in, true, gelu_tanh1))
OP(linear_gelu_erf, th_linear_gelu_erf(in[0], in[1], in[2]), plain_activated(d, in, true, gelu_erf1))
OP(linear_gelu_erf_no_bias, th_linear_gelu_erf(in[0], in[1], NULL), plain_activated(d, in, false, gelu_erf1))
OP(linear_no_bias, th_linear(in[0], in[1], NULL), plain_affine(d, &in[0], &in[1], NULL))
OP(reshape, th_reshape(in[0], 2, (int64_t[]){6, -1}), plain_reshape(d, &in[0], SHAPE(6, 4)))
OP(reshape_copy, th_reshape(th_transpose(in[0]), 1, (int64_t[]){-1}), plain_turned_reshape(d, &in[0], 18860))
OP(permute, th_permute(in[0], (int[]){2, 0, 1}), plain_permute(d, &in[0], (int[]){2, 0, 1}))
OP(slice, th_slice(in[0], 1, 1, 3), plain_slice(d, &in[0], 1, 1, 3))
OP(broadcast, th_broadcast(in[0], SHAPE(2, 3, 4)), plain_repeat(d, &in[0], SHAPE(2, 3, 4)))
OP(broadcast_large, th_broadcast(in[0], SHAPE(70, 257)), plain_repeat(d, &in[0], SHAPE(70, 257)))
OP(concat, th_concat(3, (th_var *[]){in[0], in[1], in[0]}, 1), plain_join(d, &in[0], &in[1], &in[0]))
OP(contiguous, th_contiguous(th_transpose(in[0])), plain_transpose(d, &in[0]))

/* ---- sums ------------------------------------------------------------------------------------ */

OP(sum_0, th_sum(in[0], TH_AXIS(0), false), plain_reduce(d, &in[0], TH_AXIS(0), false, 's'))
OP(sum_1, th_sum(in[0], TH_AXIS(1), true), plain_reduce(d, &in[0], TH_AXIS(1), true, 's'))
OP(sum_02, th_sum(in[0], TH_AXIS(0) | TH_AXIS(2), false),
   plain_reduce(d, &in[0], TH_AXIS(0) | TH_AXIS(2), false, 's'))
OP(sum_all, th_sum(in[0], TH_ALL_AXES, false), plain_reduce(d, &in[0], TH_ALL_AXES, false, 's'))
OP(mean_0, th_mean(in[0], TH_AXIS(0), true), plain_reduce(d, &in[0], TH_AXIS(0), true, 'm'))
OP(mean_1, th_mean(in[0], TH_AXIS(1), false), plain_reduce(d, &in[0], TH_AXIS(1), false, 'm'))
OP(mean_all, th_mean(in[0], TH_ALL_AXES, true), plain_reduce(d, &in[0], TH_ALL_AXES, true, 'm'))
OP(max_0, th_max(in[0], TH_AXIS(0), false), plain_reduce(d, &in[0], TH_AXIS(0), false, 'x'))
OP(max_1, th_max(in[0], TH_AXIS(1), true), plain_reduce(d, &in[0], TH_AXIS(1), true, 'x'))
OP(max_all, th_max(in[0], TH_ALL_AXES, false), plain_reduce(d, &in[0], TH_ALL_AXES, false, 'x'))

/* ---- rows ------------------------------------------------------------------------------------ */

#define MANY_IDS 1000
static int32_t many_ids[MANY_IDS];

static th_tensor ids_below(int32_t n) {
  for (int i = 0; i < MANY_IDS; i++) many_ids[i] = (int32_t)(i * i % 31) % n;
  return th_tensor_of(many_ids, TH_I32, SHAPE(8, 125));
}

static th_var *gather_many(th_var *table) {
  th_tensor ids = ids_below((int32_t)table->value.shape[0]);
  return th_gather(table, &ids);
}

static th_tensor plain_gather_many(desk *d, const th_tensor *table) {
  th_tensor ids = ids_below((int32_t)table->shape[0]),
            y = desk_zeros(d, TH_F64, SHAPE(8, 125, table->shape[1]));
  for (int64_t i = 0, n = 0; i < MANY_IDS; i++)
    for (int64_t j = 0; j < table->shape[1]; j++)
      P(&y)[n++] = P(table)[((const int32_t *)ids.data)[i] * table->shape[1] + j];
  return y;
}

static const int32_t key_length[] = {3, 5}, none_and_some[] = {0, 4}, query_length[] = {4, 2};
static uint8_t allowed_bytes[] = {1, 0, 1, 1, 1, /**/ 0, 0, 0, 0, 0, /**/ 1, 1, 0, 1, 1, /**/ 1, 1, 1, 1, 0};
static th_tensor allowed_pairs = {
    .dtype = TH_U8, .ndim = 2, .shape = {4, 5}, .stride = {5, 1}, .data = allowed_bytes};
static th_tensor allowed_keys = {
    .dtype = TH_U8, .ndim = 4, .shape = {2, 1, 1, 5}, .stride = {5, 5, 5, 1}, .data = allowed_bytes};
static th_tensor allowed_heads = {
    .dtype = TH_U8, .ndim = 3, .shape = {2, 4, 1}, .stride = {4, 1, 1}, .data = allowed_bytes};
static const th_mask causal = {.causal = true}, padded = {.key_length = key_length},
                     empty = {.key_length = none_and_some}, pairs = {.allowed = &allowed_pairs},
                     keys = {.allowed = &allowed_keys}, heads = {.allowed = &allowed_heads},
                     all_masks = {.causal = true, .key_length = key_length, .allowed = &allowed_pairs},
                     near = {.window = 2}, short_queries = {.query_length = none_and_some},
                     both_short = {.causal = true,
                                   .window = 2,
                                   .key_length = key_length,
                                   .query_length = query_length},
                     near_before = {
                         .causal = true, .window = 3, .key_length = key_length, .allowed = &allowed_pairs};

static const int32_t rows_taken[] = {4, -1, 0, 2, -1, 1};
static th_var *take_six(th_var *x) {
  th_tensor ids = th_tensor_of((void *)(uintptr_t)rows_taken, TH_I32, 2, (int64_t[]){2, 3});
  return th_take_rows(x, &ids);
}
static th_tensor plain_take_six(desk *d, const th_tensor *x) {
  int64_t width = x->shape[x->ndim - 1];
  th_tensor y = desk_zeros(d, TH_F64, SHAPE(2, 3, width));
  for (int64_t i = 0; i < 6; i++)
    for (int64_t k = 0; k < width && rows_taken[i] >= 0; k++)
      P(&y)[i * width + k] = P(x)[rows_taken[i] * width + k];
  return y;
}
OP(take_rows, take_six(in[0]), plain_take_six(d, &in[0]))

OP(gather, gather_many(in[0]), plain_gather_many(d, &in[0]))
OP(softmax, th_softmax(in[0], NULL), plain_softmax(d, &in[0], NULL, false))
OP(softmax_causal, th_softmax(in[0], &causal), plain_softmax(d, &in[0], &causal, false))
OP(softmax_padded, th_softmax(in[0], &padded), plain_softmax(d, &in[0], &padded, false))
OP(softmax_empty, th_softmax(in[0], &empty), plain_softmax(d, &in[0], &empty, false))
OP(softmax_pairs, th_softmax(in[0], &pairs), plain_softmax(d, &in[0], &pairs, false))
OP(softmax_keys, th_softmax(in[0], &keys), plain_softmax(d, &in[0], &keys, false))
OP(softmax_heads, th_softmax(in[0], &heads), plain_softmax(d, &in[0], &heads, false))
OP(softmax_all, th_softmax(in[0], &all_masks), plain_softmax(d, &in[0], &all_masks, false))
OP(softmax_near, th_softmax(in[0], &near), plain_softmax(d, &in[0], &near, false))
OP(softmax_short, th_softmax(in[0], &short_queries), plain_softmax(d, &in[0], &short_queries, false))
OP(softmax_both_short, th_softmax(in[0], &both_short), plain_softmax(d, &in[0], &both_short, false))
OP(softmax_near_before, th_softmax(in[0], &near_before), plain_softmax(d, &in[0], &near_before, false))
OP(log_softmax_near, th_log_softmax(in[0], &near), plain_softmax(d, &in[0], &near, true))
OP(log_softmax, th_log_softmax(in[0], NULL), plain_softmax(d, &in[0], NULL, true))
OP(log_softmax_causal, th_log_softmax(in[0], &causal), plain_softmax(d, &in[0], &causal, true))
OP(log_softmax_all, th_log_softmax(in[0], &all_masks), plain_softmax(d, &in[0], &all_masks, true))
OP(layer_norm, th_layer_norm(in[0], in[1], in[2], 1e-5), plain_layer_norm(d, &in[0], &in[1], &in[2], 1e-5))

/* Every third target is ignored. */
static th_tensor targets_for(const th_tensor *logits) {
  int last = logits->ndim - 1;
  th_tensor ids = th_tensor_of(many_ids, TH_I32, last, logits->shape);
  for (int64_t i = 0; i < th_tensor_count(&ids); i++)
    many_ids[i] = i % 3 == 1 ? -1 : (int32_t)(i * 37 % logits->shape[last]);
  return ids;
}

static th_var *cross_entropy(th_var *logits, double smoothing) {
  th_tensor targets = targets_for(&logits->value);
  return th_cross_entropy(logits, &targets, smoothing);
}

OP(cross_entropy, cross_entropy(in[0], 0), plain_cross_entropy(d, &in[0], targets_for(&in[0]).data, 0))
OP(cross_entropy_smooth, cross_entropy(in[0], 0.1),
   plain_cross_entropy(d, &in[0], targets_for(&in[0]).data, 0.1))
OP(cross_entropy_even, cross_entropy(in[0], 1), plain_cross_entropy(d, &in[0], targets_for(&in[0]).data, 1))

/* ---- dropout: what it keeps is read off it, as it treats ones -------------------------------- */

static th_tape *training(th_tape *tape, uint64_t step) {
  th_tape_train(tape, true);
  th_tape_seed(tape, 5, step);
  return tape;
}

/* What dropout multiplies each of `count` elements by. */
static double *kept_of(desk *d, double p, int64_t count) {
  th_tensor ones = desk_zeros(d, TH_F64, SHAPE(count)), kept;
  th_tape *tape = training(th_tape_new(NULL), 9);
  th_fill(&ones, 1);
  kept = desk_copy(d, TH_F64, &th_dropout(th_constant(tape, &ones), p)->value);
  th_tape_free(tape);
  return kept.data;
}

static th_tensor plain_kept(desk *d, const th_tensor *x, double p) {
  th_tensor kept = th_tensor_of(kept_of(d, p, th_tensor_count(x)), TH_F64, x->ndim, x->shape);
  return plain_pair(d, x, &kept, mul2);
}

OP(dropout, th_dropout((training(tape, 9), in[0]), 0.3), plain_kept(d, &in[0], 0.3))

/* ---- gates: the noise is that of dropout's first stream ---------------------------------------- */

static th_tensor plain_gates(desk *d, const th_tensor *x, bool noisy) {
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, x->shape);
  for (int64_t i = 0, n = th_tensor_count(x); i < n; i++) {
    double u = th_random_uniform((th_random){5, 1ull << 63 | 9ull << 20}, (uint64_t)i);
    double at = noisy ? 1.5 * (log(u / (1 - u)) + P(x)[i]) : P(x)[i];
    P(&y)[i] = fmin(1, fmax(0, 1.2 / (1 + exp(-at)) - 0.1));
  }
  return y;
}

OP(gates_noisy, th_hard_concrete((training(tape, 9), in[0])), plain_gates(d, &in[0], true))
OP(gates_quiet, th_hard_concrete(in[0]), plain_gates(d, &in[0], false))

/* ---- attention ------------------------------------------------------------------------------- */

#define ATTEND(...) th_attention(in[0], in[1], in[2], &(th_attention_options){__VA_ARGS__})
#define PLAIN_ATTEND(bias, mask, scale) plain_attention(d, &in[0], &in[1], &in[2], bias, mask, scale, NULL)
#define ROOT(in) (1 / sqrt((double)(in)[0].shape[3]))

static th_tensor plain_attention_kept(desk *d, const th_tensor *in, double p) {
  const double *kept = kept_of(d, p, in[0].shape[0] * in[0].shape[1] * in[0].shape[2] * in[1].shape[2]);
  return plain_attention(d, &in[0], &in[1], &in[2], NULL, &causal, ROOT(in), kept);
}

/* Two heads in the columns from `begin` on of one tensor [B,T,..], as from a fused projection: [B,2,T,width]. */
static th_var *heads_in(th_var *x, int64_t begin, int64_t width) {
  th_var *columns = th_slice(x, 2, begin, begin + 2 * width);
  th_var *split = th_reshape(columns, 4, (int64_t[]){x->value.shape[0], x->value.shape[1], 2, width});
  return th_permute(split, (int[]){0, 2, 1, 3});
}

static th_tensor plain_heads_in(desk *d, const th_tensor *x, int64_t begin, int64_t width) {
  th_tensor columns = plain_slice(d, x, 2, begin, begin + 2 * width);
  th_tensor split = plain_reshape(d, &columns, SHAPE(x->shape[0], x->shape[1], 2, width));
  return plain_permute(d, &split, (int[]){0, 2, 1, 3});
}

static th_tensor plain_attention_on_views(desk *d, const th_tensor *x) {
  th_tensor part[3];
  for (int i = 0; i < 3; i++) part[i] = plain_heads_in(d, x, 6 * i, 3);
  return plain_attention(d, &part[0], &part[1], &part[2], NULL, &causal, 1 / sqrt(3), NULL);
}

OP(attention, th_attention(in[0], in[1], in[2], NULL), PLAIN_ATTEND(NULL, NULL, ROOT(in)))
OP(attention_causal, ATTEND(.mask = causal), PLAIN_ATTEND(NULL, &causal, ROOT(in)))
OP(attention_empty, ATTEND(.mask = empty), PLAIN_ATTEND(NULL, &empty, ROOT(in)))
OP(attention_keys, ATTEND(.mask = keys), PLAIN_ATTEND(NULL, &keys, ROOT(in)))
OP(attention_all, ATTEND(.mask = all_masks, .scale = 0.7, .bias = in[3]),
   PLAIN_ATTEND(&in[3], &all_masks, 0.7))
OP(attention_short, ATTEND(.mask = short_queries), PLAIN_ATTEND(NULL, &short_queries, ROOT(in)))
OP(attention_both_short, ATTEND(.mask = both_short), PLAIN_ATTEND(NULL, &both_short, ROOT(in)))
OP(attention_both_short_biased, ATTEND(.mask = both_short, .bias = in[3]),
   PLAIN_ATTEND(&in[3], &both_short, ROOT(in)))
OP(attention_near, ATTEND(.mask = near), PLAIN_ATTEND(NULL, &near, ROOT(in)))
OP(attention_near_before, ATTEND(.mask = near_before, .bias = in[3]),
   PLAIN_ATTEND(&in[3], &near_before, ROOT(in)))
#define TILES(...) ATTEND(.way = TH_ATTEND_TILES, __VA_ARGS__)
OP(tiles, TILES(.scale = 0), PLAIN_ATTEND(NULL, NULL, ROOT(in)))
OP(tiles_causal, TILES(.mask = causal), PLAIN_ATTEND(NULL, &causal, ROOT(in)))
OP(tiles_empty, TILES(.mask = empty), PLAIN_ATTEND(NULL, &empty, ROOT(in)))
OP(tiles_near, TILES(.mask = near), PLAIN_ATTEND(NULL, &near, ROOT(in)))
OP(tiles_all, TILES(.mask = near_before, .scale = 0.7), PLAIN_ATTEND(NULL, &near_before, 0.7))
OP(tiles_both_short, TILES(.mask = both_short), PLAIN_ATTEND(NULL, &both_short, ROOT(in)))
OP(tiles_keys, TILES(.mask = keys), PLAIN_ATTEND(NULL, &keys, ROOT(in)))
OP(tiles_kept, (training(tape, 9), TILES(.mask = causal, .dropout = 0.4)), plain_attention_kept(d, in, 0.4))
OP(attention_same, th_attention(in[0], in[0], in[0], NULL),
   plain_attention(d, &in[0], &in[0], &in[0], NULL, NULL, ROOT(in), NULL))
OP(attention_kept, (training(tape, 9), ATTEND(.mask = causal, .dropout = 0.4)),
   plain_attention_kept(d, in, 0.4))
OP(attention_views,
   th_attention(heads_in(in[0], 0, 3), heads_in(in[0], 6, 3), heads_in(in[0], 12, 3),
                &(th_attention_options){.mask = causal}),
   plain_attention_on_views(d, &in[0]))

/* ---- linear attention: sums over keys, one query after the other ------------------------------- */

static th_tensor plain_linear(desk *d, const th_tensor *in, const th_mask *mask) {
  const int64_t *q = in[0].shape, *v = in[2].shape;
  th_tensor scores = th_tensor_of(NULL, TH_F64, SHAPE(q[0], q[1], q[2], v[2]));
  th_tensor y = desk_zeros(d, TH_F64, SHAPE(q[0], q[1], q[2], v[3]));
  int64_t index[4] = {0};
  for (int64_t row = 0; row < q[0] * q[1] * q[2]; row++) {
    double *out = P(&y) + row * v[3], all = 0;
    for (int64_t j = 0; j < v[2]; j++, plain_next(&scores, index)) {
      int64_t key = row / q[2] * v[2] + j;
      double weight = 0;
      for (int64_t c = 0; c < q[3]; c++)
        weight += elu_plus_one1(P(&in[0])[row * q[3] + c]) * elu_plus_one1(P(&in[1])[key * q[3] + c]);
      if (!plain_sees(mask, &scores, index)) continue;
      all += weight;
      for (int64_t c = 0; c < v[3]; c++) out[c] += weight * P(&in[2])[key * v[3] + c];
    }
    for (int64_t c = 0; c < v[3] && all > 0; c++) out[c] /= all;
  }
  return y;
}

#define LINEAR_ATTEND(...) \
  th_linear_attention(in[0], in[1], in[2], &(th_linear_attention_options){__VA_ARGS__})
static const th_mask padded_causal = {.causal = true, .key_length = key_length};
OP(linear_attention, th_linear_attention(in[0], in[1], in[2], NULL), plain_linear(d, in, NULL))
OP(linear_attention_causal, LINEAR_ATTEND(.causal = true), plain_linear(d, in, &causal))
OP(linear_attention_padded, LINEAR_ATTEND(.key_length = key_length), plain_linear(d, in, &padded))
OP(linear_attention_both, LINEAR_ATTEND(.causal = true, .key_length = key_length),
   plain_linear(d, in, &padded_causal))
OP(linear_attention_empty, LINEAR_ATTEND(.key_length = none_and_some), plain_linear(d, in, &empty))
OP(linear_attention_open, th_matmul(th_linear_attention_weights(in[0], in[1], &padded_causal), in[2]),
   plain_linear(d, in, &padded_causal))

/* ---- LSH attention in one bucket: all keys but a query's own; tests/test_lsh.c has the others ---- */

static th_tensor plain_one_bucket(desk *d, const th_tensor *qk, const th_tensor *v) {
  int64_t n = qk->shape[2], depth = qk->shape[3];
  th_tensor key = desk_copy(d, TH_F64, qk), others = desk_zeros(d, TH_U8, SHAPE(n, n));
  for (int64_t i = 0; i < n * n; i++) ((uint8_t *)others.data)[i] = i / n != i % n;
  for (int64_t row = 0; row < th_tensor_count(qk) / depth; row++) {
    double squares = 0;
    for (int64_t c = 0; c < depth; c++) squares += pow(P(qk)[row * depth + c], 2);
    for (int64_t c = 0; c < depth; c++) P(&key)[row * depth + c] /= sqrt(squares);
  }
  return plain_attention(d, qk, &key, v, NULL, &(th_mask){.allowed = &others}, 1 / sqrt((double)depth), NULL);
}

OP(lsh_attention, th_lsh_attention(in[0], in[1], &(th_lsh_options){.rounds = 1, .buckets = 1, .chunk = 20}),
   plain_one_bucket(d, &in[0], &in[1]))

/* ---- what is computed again: on its tape the same ------------------------------------------------- */

static th_var *square_and_more(th_var *x, th_var *const *others, const void *context) {
  th_var *scaled = th_scale(th_tanh(x), *(const double *)context);
  return th_dropout(th_mul(scaled, others[0]), 0.25);
}

static double tanh_scaled(double x) { return 1.5 * tanh(x); }

static th_tensor plain_branch(desk *d, const th_tensor *x, const th_tensor *other, bool training) {
  th_tensor t = plain_each(d, x, tanh_scaled), y = plain_pair(d, &t, other, mul2);
  return training ? plain_kept(d, &y, 0.25) : y;
}

static th_tensor plain_streams(desk *d, const th_tensor *in) {
  th_tensor f = plain_branch(d, &in[1], &in[2], false), a = plain_pair(d, &in[0], &f, add2);
  th_tensor g = plain_branch(d, &a, &in[2], false), b = plain_pair(d, &in[1], &g, add2);
  th_tensor sum = plain_pair(d, &a, &b, add2), half = desk_zeros(d, TH_F64, SHAPE(1));
  P(&half)[0] = 0.5;
  return plain_pair(d, &sum, &half, mul2);
}

static th_var *two_streams(th_var *const *in) {
  double factor = 1.5;
  th_var *a = th_stream(in[0]), *b = th_stream(in[1]), *more[] = {in[2]};
  a = th_reversible(a, b, 1, more, square_and_more, &factor, sizeof factor);
  b = th_reversible(b, a, 1, more, square_and_more, &factor, sizeof factor);
  return th_streams_end(a, b);
}

OP(recompute,
   th_recompute((training(tape, 9), in[0]), 1, &in[1], square_and_more, &(double){1.5}, sizeof(double)),
   plain_branch(d, &in[0], &in[1], true))
OP(stream, th_stream(in[0]), plain_reshape(d, &in[0], in[0].ndim, in[0].shape))
OP(streams, two_streams(in), plain_streams(d, in))
/* ---- rotary ---------------------------------------------------------------------------------- */

static double angle_at(int64_t row, int64_t pair) { return 0.7 * (double)row - 0.3 * (double)pair + 0.2; }

static th_var *rotated(th_tape *tape, th_var *x) {
  int64_t rows = x->value.shape[x->value.ndim - 2], width = x->value.shape[x->value.ndim - 1];
  th_tensor turns;
  cr_assert(th_keep_tensor(tape, &turns, x->value.dtype, SHAPE(rows, width)));
  for (int64_t i = 0; i < rows * width; i++) {
    double angle = angle_at(i / width, i % width / 2);
    th_tensor_set(&turns, i, i % 2 ? sin(angle) : cos(angle));
  }
  return th_rotary(x, &turns);
}

static th_tensor plain_rotated(desk *d, const th_tensor *x) {
  int64_t rows = x->shape[x->ndim - 2], width = x->shape[x->ndim - 1];
  th_tensor y = desk_zeros(d, TH_F64, x->ndim, x->shape);
  for (int64_t i = 0; i < th_tensor_count(x); i += 2) {
    double complex z = P(x)[i] + I * P(x)[i + 1];
    z *= cexp(I * angle_at(i / width % rows, i % width / 2));
    P(&y)[i] = creal(z), P(&y)[i + 1] = cimag(z);
  }
  return y;
}

static th_tensor plain_rotated_columns(desk *d, const th_tensor *x) {
  th_tensor turned = plain_transpose(d, x);
  return plain_rotated(d, &turned);
}

static th_tensor plain_rotated_heads(desk *d, const th_tensor *x) {
  th_tensor split = plain_heads_in(d, x, 6, 6);
  return plain_rotated(d, &split);
}

OP(rotary, rotated(tape, in[0]), plain_rotated(d, &in[0]))
OP(rotary_columns, rotated(tape, th_transpose(in[0])), plain_rotated_columns(d, &in[0]))
OP(rotary_heads, rotated(tape, heads_in(in[0], 6, 6)), plain_rotated_heads(d, &in[0]))

/* ---- the table ------------------------------------------------------------------------------- */

#define OF(...) \
  { \
    .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .shape = { __VA_ARGS__ } \
  }
#define CASE(op, what, inputs, name, ...) \
  { op, what, inputs, {__VA_ARGS__}, compute_##name, reference_##name, 0, 0 }
#define QKV OF(2, 2, 4, 3), OF(2, 2, 5, 3), OF(2, 2, 5, 2)

static const op_case shaped[] = {
    CASE("add", "scalar", 2, add, OF(257), {0}),
    CASE("add", "row and column", 2, add, OF(130, 1), OF(1, 150)),
    CASE("add", "inner axis", 2, add, OF(2, 3, 4), OF(3, 1)),
    CASE("add", "bias over many rows", 2, add, OF(70, 257), OF(257)),
    CASE("sub", "outer axis", 2, sub, OF(4), OF(7, 3, 1)),
    CASE("mul", "both broadcast", 2, mul, OF(2, 1, 255), OF(3, 1)),
    CASE("mul", "per head", 2, mul, OF(2, 8, 33, 65), OF(8, 1, 1)),
    {"div", "rows", 2, {OF(70, 257), OF(70, 1)}, compute_div, reference_div, 0.5, 3},
    CASE("matmul", "one by one", 2, matmul, OF(1, 1), OF(1, 1)),
    CASE("matmul", "odd", 2, matmul, OF(7, 255), OF(255, 1)),
    CASE("matmul", "one matrix for a batch", 2, matmul, OF(2, 3, 4), OF(4, 5)),
    CASE("matmul", "a matrix on the left of a batch", 2, matmul, OF(3, 4), OF(2, 4, 2)),
    CASE("matmul", "both batches broadcast", 2, matmul, OF(2, 1, 3, 4), OF(3, 4, 2)),
    CASE("matmul", "pieces", 2, matmul, OF(130, 97), OF(97, 101)),
    CASE("matmul", "a batch of pieces", 2, matmul, OF(6, 33, 65), OF(6, 65, 66)),
    CASE("matmul", "transposed", 2, matmul_turned, OF(2, 4, 3), OF(2, 5, 4)),
    CASE("matmul", "transposed, pieces", 2, matmul_turned, OF(97, 130), OF(101, 97)),
    CASE("linear", "", 3, linear, OF(2, 3, 4), OF(5, 4), OF(5)),
    CASE("linear", "one row", 3, linear, OF(7), OF(1, 7), OF(1)),
    CASE("linear", "pieces", 3, linear, OF(5, 67, 70), OF(71, 70), OF(71)),
    CASE("linear_relu", "", 3, linear_relu, OF(2, 3, 4), OF(5, 4), OF(5)),
    CASE("linear_relu", "one row", 3, linear_relu, OF(7), OF(1, 7), OF(1)),
    CASE("linear_relu", "pieces", 3, linear_relu, OF(5, 67, 70), OF(71, 70), OF(71)),
    CASE("linear_relu", "no bias", 2, linear_relu_no_bias, OF(3, 255), OF(257, 255)),
    CASE("linear_relu", "long sums", 3, linear_relu, OF(3, 600), OF(33, 600), OF(33)),
    CASE("linear_gelu_tanh", "", 3, linear_gelu_tanh, OF(2, 3, 4), OF(5, 4), OF(5)),
    CASE("linear_gelu_tanh", "pieces", 3, linear_gelu_tanh, OF(5, 67, 70), OF(71, 70), OF(71)),
    CASE("linear_gelu_erf", "one row", 3, linear_gelu_erf, OF(7), OF(1, 7), OF(1)),
    CASE("linear_gelu_erf", "pieces", 3, linear_gelu_erf, OF(5, 67, 70), OF(71, 70), OF(71)),
    CASE("linear_gelu_erf", "no bias", 2, linear_gelu_erf_no_bias, OF(3, 255), OF(257, 255)),
    CASE("linear", "no bias", 2, linear_no_bias, OF(3, 255), OF(257, 255)),
    CASE("reshape", "view", 1, reshape, OF(2, 3, 4)),
    CASE("reshape", "copy", 1, reshape_copy, OF(82, 230)),
    CASE("permute", "", 1, permute, OF(2, 3, 5)),
    CASE("slice", "", 1, slice, OF(2, 4, 3)),
    CASE("broadcast", "", 1, broadcast, OF(3, 1)),
    CASE("broadcast", "large", 1, broadcast_large, OF(70, 1)),
    CASE("concat", "", 2, concat, OF(2, 1, 3), OF(2, 4, 3)),
    CASE("concat", "large", 2, concat, OF(5, 33, 64), OF(5, 17, 64)),
    CASE("contiguous", "", 1, contiguous, OF(3, 4)),
    CASE("contiguous", "large", 1, contiguous, OF(82, 230)),
    CASE("sum", "axis 0", 1, sum_0, OF(255, 70)),
    CASE("sum", "axis 1", 1, sum_1, OF(70, 257)),
    CASE("sum", "axes 0 and 2", 1, sum_02, OF(9, 33, 65)),
    CASE("sum", "all", 1, sum_all, OF(20011)),
    CASE("sum", "one", 1, sum_all, OF(1)),
    CASE("sum", "scalar", 1, sum_all, {0}),
    CASE("mean", "axis 0", 1, mean_0, OF(70, 257)),
    CASE("mean", "axis 1", 1, mean_1, OF(7, 1000)),
    CASE("mean", "all", 1, mean_all, OF(3, 67, 101)),
    CASE("max", "axis 0", 1, max_0, OF(7, 33)),
    CASE("max", "axis 1", 1, max_1, OF(7, 255, 3)),
    CASE("max", "all", 1, max_all, OF(1000)),
    CASE("gather", "", 1, gather, OF(11, 7)),
    CASE("gather", "one column", 1, gather, OF(40, 1)),
    CASE("softmax", "one column", 1, softmax, OF(3, 1)),
    CASE("softmax", "one row", 1, softmax, OF(7)),
    CASE("softmax", "255 columns", 1, softmax, OF(3, 255)),
    CASE("softmax", "257 columns", 1, softmax, OF(3, 257)),
    CASE("softmax", "pieces", 1, softmax, OF(5, 33, 130)),
    CASE("softmax", "causal", 1, softmax_causal, OF(2, 4, 4)),
    CASE("softmax", "causal, fewer queries than keys", 1, softmax_causal, OF(2, 5)),
    CASE("softmax", "causal, more queries than keys", 1, softmax_causal, OF(5, 2)),
    CASE("softmax", "padded", 1, softmax_padded, OF(2, 3, 4, 5)),
    CASE("softmax", "short queries", 1, softmax_short, OF(2, 3, 4, 5)),
    CASE("softmax", "both short", 1, softmax_both_short, OF(2, 3, 4, 5)),
    CASE("softmax", "padded, without heads", 1, softmax_padded, OF(2, 5)),
    CASE("softmax", "no key at all", 1, softmax_empty, OF(2, 3, 4, 5)),
    CASE("softmax", "mask of queries and keys", 1, softmax_pairs, OF(2, 3, 4, 5)),
    CASE("softmax", "mask of keys", 1, softmax_keys, OF(2, 3, 4, 5)),
    CASE("softmax", "mask of heads and queries", 1, softmax_heads, OF(2, 2, 4, 5)),
    CASE("softmax", "all masks", 1, softmax_all, OF(2, 2, 4, 5)),
    CASE("softmax", "window", 1, softmax_near, OF(2, 7, 7)),
    CASE("softmax", "window, fewer queries than keys", 1, softmax_near, OF(2, 3, 9)),
    CASE("softmax", "window, more queries than keys", 1, softmax_near, OF(9, 3)),
    CASE("softmax", "window, and all other masks", 1, softmax_near_before, OF(2, 2, 4, 5)),
    CASE("log_softmax", "window", 1, log_softmax_near, OF(6, 8)),
    CASE("log_softmax", "one column", 1, log_softmax, OF(3, 1)),
    CASE("log_softmax", "257 columns", 1, log_softmax, OF(7, 257)),
    CASE("log_softmax", "pieces", 1, log_softmax, OF(33, 1000)),
    CASE("log_softmax", "causal", 1, log_softmax_causal, OF(4, 6)),
    CASE("log_softmax", "all masks", 1, log_softmax_all, OF(2, 2, 4, 5)),
    CASE("layer_norm", "", 3, layer_norm, OF(3, 5), OF(5), OF(5)),
    CASE("layer_norm", "one row of 255", 3, layer_norm, OF(255), OF(255), OF(255)),
    CASE("layer_norm", "pieces", 3, layer_norm, OF(5, 67, 65), OF(65), OF(65)),
    CASE("layer_norm", "more rows than pieces hold", 3, layer_norm, OF(1100, 17), OF(17), OF(17)),
    CASE("take_rows", "", 1, take_rows, OF(5, 4)),
    CASE("take_rows", "of several axes", 1, take_rows, OF(2, 3, 7)),
    CASE("take_rows", "pieces", 1, take_rows, OF(6, 20011)),
    CASE("dropout", "", 1, dropout, OF(7)),
    CASE("dropout", "pieces", 1, dropout, OF(20011)),
    CASE("cross_entropy", "", 1, cross_entropy, OF(2, 3, 4)),
    CASE("cross_entropy", "one class", 1, cross_entropy, OF(3, 1)),
    CASE("cross_entropy", "one row", 1, cross_entropy, OF(7)),
    CASE("cross_entropy", "257 classes, smoothed", 1, cross_entropy_smooth, OF(7, 257)),
    CASE("cross_entropy", "pieces, smoothed", 1, cross_entropy_smooth, OF(40, 1000)),
    CASE("cross_entropy", "nothing but smoothing", 1, cross_entropy_even, OF(5, 7)),
    CASE("attention", "", 3, attention, QKV),
    CASE("attention", "one key", 3, attention, OF(1, 1, 1, 1), OF(1, 1, 1, 1), OF(1, 1, 1, 1)),
    CASE("attention", "one query", 3, attention, OF(2, 3, 1, 4), OF(2, 3, 7, 4), OF(2, 3, 7, 5)),
    CASE("attention", "pieces", 3, attention_causal, OF(2, 4, 33, 16), OF(2, 4, 65, 16), OF(2, 4, 65, 17)),
    CASE("attention", "causal, fewer queries than keys", 3, attention_causal, QKV),
    CASE("attention", "by key", 3, attention, OF(2, 4, 10, 8), OF(2, 4, 10, 8), OF(2, 4, 10, 8)),
    CASE("attention", "by key, causal", 3, attention_causal, OF(2, 4, 17, 16), OF(2, 2, 17, 16),
         OF(2, 4, 17, 5)),
    CASE("attention", "by key, both short", 3, attention_both_short, OF(2, 2, 20, 4), OF(2, 2, 12, 4),
         OF(2, 2, 12, 4)),
    CASE("attention", "by key, window", 3, attention_near, OF(2, 3, 19, 4), OF(2, 3, 19, 4), OF(2, 3, 19, 5)),
    CASE("attention", "no key at all", 3, attention_empty, QKV),
    CASE("attention", "mask of keys", 3, attention_keys, QKV),
    CASE("attention", "all masks, a bias per head", 4, attention_all, QKV, OF(2, 1, 5)),
    CASE("attention", "window", 3, attention_near, OF(2, 3, 7, 4), OF(2, 3, 7, 4), OF(2, 3, 7, 5)),
    CASE("attention", "window, and all other masks", 4, attention_near_before, QKV, OF(2, 1, 5)),
    CASE("attention", "half as many heads of keys and values", 3, attention_causal, OF(2, 4, 5, 3),
         OF(2, 2, 6, 3), OF(2, 2, 6, 4)),
    CASE("attention", "one head of keys, three of values", 3, attention_causal, OF(2, 6, 5, 3),
         OF(2, 1, 6, 3), OF(2, 3, 6, 4)),
    CASE("attention", "two heads of keys, three of values, bias", 4, attention_all, OF(2, 6, 4, 3),
         OF(2, 2, 5, 3), OF(2, 3, 5, 4), OF(6, 1, 5)),
    CASE("attention", "short queries", 3, attention_short, QKV),
    CASE("attention", "both short", 3, attention_both_short, QKV),
    CASE("attention", "both short, shared keys", 3, attention_both_short, OF(2, 6, 5, 3), OF(2, 1, 6, 3),
         OF(2, 3, 6, 4)),
    CASE("attention", "both short, a bias", 4, attention_both_short_biased, QKV, OF(2, 2, 4, 5)),
    CASE("attention", "tiles, both short", 3, tiles_both_short, QKV),
    CASE("attention", "tiles, a part of one", 3, tiles, OF(2, 3, 5, 4), OF(2, 3, 7, 4), OF(2, 3, 7, 5)),
    CASE("attention", "tiles, several", 3, tiles, OF(1, 2, 131, 8), OF(1, 2, 515, 8), OF(1, 2, 515, 7)),
    CASE("attention", "tiles, whole ones", 3, tiles, OF(1, 1, 128, 4), OF(1, 1, 512, 4), OF(1, 1, 512, 4)),
    CASE("attention", "tiles, causal", 3, tiles_causal, OF(1, 2, 300, 4), OF(1, 2, 300, 4), OF(1, 2, 300, 4)),
    CASE("attention", "tiles, causal, fewer queries", 3, tiles_causal, OF(2, 4, 33, 8), OF(2, 2, 265, 8),
         OF(2, 1, 265, 8)),
    CASE("attention", "tiles, no key at all", 3, tiles_empty, QKV),
    CASE("attention", "tiles, window", 3, tiles_near, OF(1, 2, 300, 4), OF(1, 2, 300, 4), OF(1, 2, 300, 4)),
    CASE("attention", "tiles, all masks", 3, tiles_all, QKV),
    CASE("attention", "tiles, mask of keys", 3, tiles_keys, QKV),
    CASE("attention", "tiles, with dropout", 3, tiles_kept, OF(2, 2, 67, 4), OF(2, 2, 261, 4),
         OF(2, 2, 261, 4)),
    CASE("attention", "one tensor for all three", 1, attention_same, OF(2, 3, 5, 4)),
    CASE("hard_concrete", "with noise", 1, gates_noisy, OF(3, 70)),
    CASE("hard_concrete", "without", 1, gates_quiet, OF(7)),
    CASE("linear_attention", "", 3, linear_attention, QKV),
    CASE("linear_attention", "padded", 3, linear_attention_padded, QKV),
    CASE("linear_attention", "no key at all", 3, linear_attention_empty, QKV),
    CASE("linear_attention", "many", 3, linear_attention, OF(2, 3, 70, 16), OF(2, 3, 90, 16),
         OF(2, 3, 90, 9)),
    CASE("linear_attention", "causal", 3, linear_attention_causal, OF(2, 3, 5, 4), OF(2, 3, 5, 4),
         OF(2, 3, 5, 2)),
    CASE("linear_attention", "causal, a chunk", 3, linear_attention_causal, OF(1, 2, 64, 4), OF(1, 2, 64, 4),
         OF(1, 2, 64, 3)),
    CASE("linear_attention", "causal, three chunks", 3, linear_attention_causal, OF(2, 2, 131, 8),
         OF(2, 2, 131, 8), OF(2, 2, 131, 9)),
    CASE("linear_attention", "causal, padded", 3, linear_attention_both, OF(2, 3, 5, 4), OF(2, 3, 5, 4),
         OF(2, 3, 5, 2)),
    CASE("matmul", "weights of linear attention", 3, linear_attention_open, OF(2, 3, 5, 4), OF(2, 3, 5, 4),
         OF(2, 3, 5, 2)),
    CASE("recompute", "with dropout", 2, recompute, OF(3, 5), OF(3, 5)),
    CASE("stream", "", 1, stream, OF(3, 5)),
    CASE("reversible", "two sums", 3, streams, OF(3, 5), OF(3, 5), OF(3, 5)),
    CASE("streams_end", "after two sums", 3, streams, OF(3, 5), OF(3, 5), OF(3, 5)),
    CASE("lsh_attention", "one bucket", 2, lsh_attention, OF(2, 3, 17, 4), OF(2, 3, 17, 5)),
    CASE("attention", "with dropout", 3, attention_kept, QKV),
    CASE("attention", "heads as views", 1, attention_views, OF(2, 5, 18)),
    CASE("rotary", "", 1, rotary, OF(2, 3, 5, 6)),
    CASE("rotary", "one pair", 1, rotary, OF(7, 2)),
    CASE("rotary", "pieces", 1, rotary, OF(6, 4, 33, 64)),
    CASE("rotary", "of columns", 1, rotary_columns, OF(2, 6, 5)),
    CASE("rotary", "heads as views", 1, rotary_heads, OF(2, 5, 18)),
};
#define SHAPED (sizeof shaped / sizeof *shaped)

/* ---- checking a case ------------------------------------------------------------------------- */

typedef struct work {
  const op_case *c;
  char name[128];
  th_tensor x[4], y;       /* in double; x holds numbers that float has too */
  th_tensor seed, grad[4]; /* the gradient given, and the gradients that came back */
} work;

static void prepare(desk *d, work *w, const op_case *c, const th_tensor *shape) {
  bool ranged = c->low != 0 || c->high != 0;
  *w = (work){.c = c};
  for (int i = 0; i < c->inputs; i++) {
    th_tensor narrow =
        desk_uniform(d, TH_F32, ranged ? c->low : -2, ranged ? c->high : 2, shape[i].ndim, shape[i].shape);
    w->x[i] = desk_copy(d, TH_F64, &narrow);
  }
  w->y = c->plain(d, w->x);
  char text[TH_SHAPE_TEXT];
  snprintf(w->name, sizeof w->name, "%s (%s) %s", c->op, c->what, th_shape_text(text, &w->x[0]));
  th_tensor narrow = desk_uniform(d, TH_F32, -1, 1, w->y.ndim, w->y.shape);
  w->seed = desk_copy(d, TH_F64, &narrow);
}

/* The op's result and gradients in one type; the gradients as double. Where the tape releases memory, the inputs are an op's. */
static th_tensor run(desk *d, work *w, th_dtype dtype, bool release, th_tensor grad[4]) {
  th_var *in[4];
  th_tensor x[4], seed = desk_copy(d, dtype, &w->seed);
  th_tape_reset(d->tape);
  th_tape_release(d->tape, release);
  for (int i = 0; i < w->c->inputs; i++) {
    x[i] = desk_copy(d, dtype, &w->x[i]);
    in[i] = desk_leaf(d, &x[i], &grad[i]);
    if (release) in[i] = th_scale(in[i], 1);
  }
  th_var *y = w->c->compute(d->tape, in);
  th_tensor made = desk_copy(d, TH_F64, &y->value); /* before it is released */
  cr_assert(y->value.dtype == dtype && th_backward(y, &seed) == TH_OK, "%s: %s", w->name,
            th_tape_error(d->tape)->text);
  return made;
}

static double finite_dot(const th_tensor *a, const th_tensor *b) {
  double sum = 0;
  for (int64_t i = 0; i < th_tensor_count(a); i++)
    if (isfinite(P(a)[i]) && isfinite(P(b)[i])) sum += P(a)[i] * P(b)[i];
  return sum;
}

static void step_inputs(work *w, const th_tensor direction[4], double step) {
  for (int i = 0; i < w->c->inputs; i++)
    for (int64_t k = 0; k < th_tensor_count(&w->x[i]); k++) P(&w->x[i])[k] += step * P(&direction[i])[k];
}

/* The gradients against a central difference of the reference, along a random direction of all inputs. */
static void check_slope(desk *d, work *w) {
  const double step = 1e-5;
  th_tensor direction[4];
  double analytical = 0, size = 0;
  for (int i = 0; i < w->c->inputs; i++) {
    direction[i] = desk_uniform(d, TH_F64, -1, 1, w->x[i].ndim, w->x[i].shape);
    analytical += finite_dot(&w->grad[i], &direction[i]);
    size += finite_dot(&w->grad[i], &w->grad[i]);
  }
  step_inputs(w, direction, step);
  th_tensor above = w->c->plain(d, w->x);
  step_inputs(w, direction, -2 * step);
  th_tensor below = w->c->plain(d, w->x);
  double numerical = (finite_dot(&w->seed, &above) - finite_dot(&w->seed, &below)) / (2 * step);
  cr_assert(fabs(numerical - analytical) <= 1e-7 * (1 + sqrt(size)), "%s: slope %.12g, wanted %.12g", w->name,
            analytical, numerical);
}

static void check_case(const op_case *c, const th_tensor *shape) {
  desk d = desk_open();
  work w;
  char what[160];
  th_tensor narrow[4];
  prepare(&d, &w, c, shape);
  double most = 0;
  for (int64_t i = 0; i < th_tensor_count(&w.y); i++)
    most = isfinite(P(&w.y)[i]) ? fmax(most, fabs(P(&w.y)[i])) : most;
  th_tensor y = run(&d, &w, TH_F64, true, narrow);
  y = run(&d, &w, TH_F64, false, w.grad);
  for (int i = 0; i < c->inputs; i++)
    cr_assert(first_difference(&narrow[i], &w.grad[i], 0) < 0, "%s: gradient %d with memory released", w.name,
              i);
  expect_near(&y, &w.y, 2e-13 * (1 + most), w.name);
  y = run(&d, &w, TH_F32, false, narrow);
  snprintf(what, sizeof what, "%s in f32", w.name);
  expect_near(&y, &w.y, 5e-6 * (1 + most), what);
  for (int i = 0; i < c->inputs; i++) {
    snprintf(what, sizeof what, "%s: f32 gradient %d", w.name, i);
    cr_assert(first_difference(&w.grad[i], &w.grad[i], 0) < 0 && isfinite(largest_size(&w.grad[i])));
    expect_near(&narrow[i], &w.grad[i], 5e-6 * (1 + largest_size(&w.grad[i])), what);
  }
  check_slope(&d, &w);
  desk_close(&d);
}

Test(ops, elementwise_ops_equal_their_references_at_odd_sizes) {
  static const int64_t sizes[] = {1, 7, 255, 257, 1000, 20011};
  for (size_t c = 0; c < ELEMENTWISE; c++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      th_tensor shape = {.ndim = 1, .shape = {sizes[s]}};
      check_case(&elementwise[c], (th_tensor[]){shape, shape});
    }
}

Test(ops, elementwise_ops_take_scalars_and_views) {
  for (size_t c = 0; c < ELEMENTWISE; c++) {
    check_case(&elementwise[c], (th_tensor[]){{0}, {0}});
    desk d = desk_open();
    th_tensor x = desk_uniform(&d, TH_F64, elementwise[c].low, elementwise[c].high, SHAPE(5, 7)), gx, flat;
    th_var *turned = th_transpose(desk_leaf(&d, &x, &gx));
    th_var *y = elementwise[c].compute(d.tape, (th_var *[]){turned, turned});
    flat = desk_copy(&d, TH_F64, &turned->value);
    th_tensor wanted = elementwise[c].plain(&d, (th_tensor[]){flat, flat});
    expect_near(&y->value, &wanted, 1e-13, elementwise[c].op);
    desk_close(&d);
  }
}

Test(ops, shaped_ops_equal_their_references) {
  for (size_t c = 0; c < SHAPED; c++) check_case(&shaped[c], shaped[c].shape);
}

Test(ops, every_op_of_the_library_has_a_reference_here) {
  int count;
  const th_op *const *ops = th_ops(&count);
  cr_assert(count > 0);
  for (int i = 0; i < count; i++) {
    bool found = false;
    for (size_t c = 0; c < ELEMENTWISE; c++) found |= !strcmp(elementwise[c].op, ops[i]->name);
    for (size_t c = 0; c < SHAPED; c++) found |= !strcmp(shaped[c].op, ops[i]->name);
    cr_expect(found, "%s has no reference in test_ops.c", ops[i]->name);
  }
}

/* Does this var stand on the op, somewhere among what it was made from? */
static bool made_by(const th_var *v, const char *op) {
  if (v->op && !strcmp(v->op->name, op)) return true;
  for (int i = 0; i < v->inputs; i++)
    if (made_by(v->in[i], op)) return true;
  return false;
}

Test(ops, each_case_runs_the_op_it_is_named_after) {
  for (size_t c = 0; c < SHAPED; c++) {
    desk d = desk_open();
    th_var *in[4];
    for (int i = 0; i < shaped[c].inputs; i++) {
      th_tensor x = desk_uniform(&d, TH_F32, 1, 2, shaped[c].shape[i].ndim, shaped[c].shape[i].shape);
      in[i] = th_constant(d.tape, &x);
    }
    cr_expect(made_by(shaped[c].compute(d.tape, in), shaped[c].op), "%s (%s)", shaped[c].op, shaped[c].what);
    desk_close(&d);
  }
}

/* ---- extremes -------------------------------------------------------------------------------- */

static const th_dtype types[] = {TH_F32, TH_F64};
static double rounding(th_dtype dtype) { return dtype == TH_F32 ? 2e-6 : 1e-15; }

static th_var *leaf_of(desk *d, th_dtype dtype, int ndim, const int64_t *shape, const double *values,
                       th_tensor *grad) {
  th_tensor x = desk_zeros(d, dtype, ndim, shape);
  for (int64_t i = 0, n = th_tensor_count(&x); i < n; i++) th_tensor_set(&x, i, values[i]);
  return desk_leaf(d, &x, grad);
}

Test(ops, softmax_of_very_large_and_small_logits_is_exact) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor gx;
    th_var *x = leaf_of(&d, types[t], SHAPE(3, 4),
                        (double[]){1e4, -1e4, 0, 1e4, -1e4, -1e4, -1e4, -1e4, 1e4, 9999, -1e4, 0}, &gx);
    th_var *p = th_softmax(x, NULL), *l = th_log_softmax(x, NULL);
    double far = log1p(exp(-1));
    EXPECT_VALUES(&p->value, rounding(types[t]), 0.5, 0, 0, 0.5, 0.25, 0.25, 0.25, 0.25, 1 / (1 + exp(-1)),
                  1 - 1 / (1 + exp(-1)), 0, 0);
    EXPECT_VALUES(&l->value, 1000 * rounding(types[t]), -log(2), -2e4 - log(2), -1e4 - log(2), -log(2),
                  -log(4), -log(4), -log(4), -log(4), -far, -1 - far, -2e4 - far, -1e4 - far);
    cr_expect(fabs(th_tensor_get(&l->value, 0) + log(2)) <= rounding(types[t]),
              "the likely ones keep all their digits");
    th_backward(th_sum(th_mul(p, p), TH_ALL_AXES, false), NULL);
    cr_expect(isfinite(largest_size(&gx)));
    desk_close(&d);
  }
}

Test(ops, cross_entropy_of_very_large_logits_over_many_classes_is_exact) {
  enum { CLASSES = 300 };
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor x = desk_zeros(&d, types[t], SHAPE(2, CLASSES)), gx;
    int32_t targets[] = {290, 5};
    th_tensor ids = th_tensor_of(targets, TH_I32, SHAPE(2));
    th_fill(&x, -1e4);
    th_tensor_set(&x, 290, 1e4), th_tensor_set(&x, 7, 1e4); /* two classes share row 0 */
    th_tensor_set(&x, CLASSES + 5, 1e4);                    /* row 1 is certain, and right */
    th_var *y = th_cross_entropy(desk_leaf(&d, &x, &gx), &ids, 0);
    EXPECT_VALUES(&y->value, rounding(types[t]), log(2) / 2);
    th_backward(y, NULL);
    for (int64_t i = 0; i < 2 * CLASSES; i++) {
      double wanted = i == 290 ? -0.25 : i == 7 ? 0.25 : 0;
      cr_assert(fabs(th_tensor_get(&gx, i) - wanted) <= rounding(types[t]), "gradient %ld is %g", (long)i,
                th_tensor_get(&gx, i));
    }
    y = th_cross_entropy(th_leaf(d.tape, &x, NULL), &ids, 0.1); /* even part: 0.1 (log sum - mean) */
    double even = 2 * (log(2) + 2e4 * 298 / 300) / 4 + 2e4 * 299 / 300 / 2, mine = log(2) / 2;
    cr_expect(fabs(th_tensor_get(&y->value, 0) - 0.9 * mine - 0.1 * (even - log(2) / 2 + mine)) <
                  1e4 * rounding(types[t]),
              "%.12g", th_tensor_get(&y->value, 0));
    desk_close(&d);
  }
}

/* The op at one point: its value and slope. */
static void expect_at(th_dtype dtype, th_var *(*op)(th_var *), double x, double value, double slope,
                      const char *name) {
  desk d = desk_open();
  th_tensor gx;
  th_var *y = op(leaf_of(&d, dtype, SHAPE(1), &x, &gx));
  double limit = rounding(dtype) * fmax(1, fabs(value));
  th_backward(y, NULL);
  double got = th_tensor_get(&y->value, 0), gradient = th_tensor_get(&gx, 0);
  cr_expect(got == value || fabs(got - value) <= limit, "%s(%g) is %g in %s, wanted %g", name, x, got,
            th_dtype_name(dtype), value);
  cr_expect(fabs(gradient - slope) <= limit, "%s'(%g) is %g in %s, wanted %g", name, x, gradient,
            th_dtype_name(dtype), slope);
  desk_close(&d);
}
#define EXPECT_AT(op, x, value, slope) \
  do { \
    expect_at(TH_F32, (op), x, value, slope, #op); \
    expect_at(TH_F64, (op), x, value, slope, #op); \
  } while (0)

Test(ops, activations_far_out_are_flat_and_finite) {
  static const double far[] = {50, 88.8, 1000, 1e6};
  for (int i = 0; i < 4; i++) {
    EXPECT_AT(th_tanh, far[i], 1, 0);
    EXPECT_AT(th_tanh, -far[i], -1, 0);
    EXPECT_AT(th_sigmoid, far[i], 1, 0);
    EXPECT_AT(th_sigmoid, -far[i], 0, 0);
    EXPECT_AT(th_gelu_tanh, far[i], far[i], 1);
    EXPECT_AT(th_gelu_tanh, -far[i], 0, 0);
    EXPECT_AT(th_gelu_erf, far[i], far[i], 1);
    EXPECT_AT(th_gelu_erf, -far[i], 0, 0);
    EXPECT_AT(th_elu_plus_one, far[i], far[i] + 1, 1);
    EXPECT_AT(th_relu, far[i], far[i], 1);
    EXPECT_AT(th_relu, -far[i], 0, 0);
  }
}

Test(ops, small_tails_keep_their_digits) {
  desk d = desk_open();
  th_tensor gx;
  for (int t = 0; t < 2; t++) {
    th_var *y = th_sigmoid(leaf_of(&d, types[t], SHAPE(1), (double[]){-50}, &gx));
    cr_expect(fabs(th_tensor_get(&y->value, 0) / exp(-50) - 1) <= 2 * rounding(types[t]), "sigmoid(-50)");
    th_backward(y, NULL);
    cr_expect(fabs(th_tensor_get(&gx, 0) / exp(-50) - 1) <= 4 * rounding(types[t]), "and its slope");
  }
  desk_close(&d);
}

static th_var *negative(th_var *x) { return th_scale(x, -1.5); }
static th_var *causal_softmax(th_var *x) { return th_softmax(x, &causal); }
static th_var *causal_log_softmax(th_var *x) { return th_exp(th_log_softmax(x, &causal)); }
static th_var *loss_but_one(th_var *x) {
  static int32_t target[] = {2, -1, 0};
  th_tensor targets = th_tensor_of(target, TH_I32, SHAPE(3));
  return th_cross_entropy(x, &targets, 0.1);
}
static th_var *loss_of_none(th_var *x) {
  static int32_t target[] = {-1, -1, -1};
  th_tensor targets = th_tensor_of(target, TH_I32, SHAPE(3));
  return th_cross_entropy(x, &targets, 0.1);
}

/* What an op makes gets its first gradient written and the second added; a leaf gets both added. */
Test(ops, a_gradient_that_is_written_is_the_one_that_is_added) {
  th_var *(*const functions[])(th_var *) = {
      th_exp,       th_log,      th_sqrt,  th_tanh,        th_sigmoid,         th_relu,      th_elu_plus_one,
      th_gelu_tanh, th_gelu_erf, negative, causal_softmax, causal_log_softmax, loss_but_one, loss_of_none};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    for (int t = 0; t < 2; t++) {
      desk d = desk_open();
      bool positive = functions[i] == th_log || functions[i] == th_sqrt;
      th_tensor x = desk_uniform(&d, types[t], positive ? 1 : -2, 2, SHAPE(3, 21)), added, written;
      th_var *leaf = desk_leaf(&d, &x, &added), *made = th_scale(desk_leaf(&d, &x, &written), 1);
      for (int k = 0; k < 2; k++) {
        th_var *v = k ? made : leaf, *y = th_mul(functions[i](v), functions[i](v));
        th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
      }
      expect_no_error(d.tape);
      expect_near(&written, &added, t ? 1e-15 : 1e-6, "gradient");
      desk_close(&d);
    }
}

Test(ops, relu_and_activations_at_zero) {
  EXPECT_AT(th_relu, 0, 0, 0);
  EXPECT_AT(th_elu_plus_one, 0, 1, 1);
  EXPECT_AT(th_tanh, 0, 0, 1);
  EXPECT_AT(th_sigmoid, 0, 0.5, 0.25);
  EXPECT_AT(th_gelu_tanh, 0, 0, 0.5);
  EXPECT_AT(th_gelu_erf, 0, 0, 0.5);
  EXPECT_AT(th_exp, 0, 1, 1);
}

Test(ops, layer_norm_of_a_row_without_spread_is_its_bias) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor gx, gw, gb;
    th_var *x = leaf_of(&d, types[t], SHAPE(1, 3), (double[]){7, 7, 7}, &gx);
    th_var *y = th_layer_norm(x, leaf_of(&d, types[t], SHAPE(3), (double[]){1, 2, 3}, &gw),
                              leaf_of(&d, types[t], SHAPE(3), (double[]){4, 5, 6}, &gb), 1e-5);
    th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
    EXPECT_VALUES(&y->value, 0, 4, 5, 6);
    EXPECT_VALUES(&gb, 0, 1, 1, 1);
    EXPECT_VALUES(&gw, 0, 0, 0, 0);
    cr_expect(isfinite(largest_size(&gx)));
    desk_close(&d);
  }
}

Test(ops, layer_norm_of_large_numbers_close_together_keeps_its_digits) {
  desk d = desk_open();
  th_tensor gx, gw, gb;
  th_var *x = leaf_of(&d, TH_F32, SHAPE(1, 4), (double[]){10000, 10001, 10002, 10003}, &gx);
  th_var *y = th_layer_norm(x, leaf_of(&d, TH_F32, SHAPE(4), (double[]){1, 1, 1, 1}, &gw),
                            leaf_of(&d, TH_F32, SHAPE(4), (double[]){0, 0, 0, 0}, &gb), 0);
  EXPECT_VALUES(&y->value, 1e-6, -1.5 / sqrt(1.25), -0.5 / sqrt(1.25), 0.5 / sqrt(1.25), 1.5 / sqrt(1.25));
  desk_close(&d);
}

Test(ops, equal_maxima_share_the_gradient_equally) {
  desk d = desk_open();
  th_tensor gx;
  th_var *x = leaf_of(&d, TH_F64, SHAPE(2, 3), (double[]){5, 1, 5, 2, 2, 2}, &gx);
  th_backward(th_sum(th_max(x, TH_AXIS(1), false), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 0.5, 0, 0.5, 1.0 / 3, 1.0 / 3, 1.0 / 3);
  desk_close(&d);
}

Test(ops, max_passes_nan_on) {
  desk d = desk_open();
  th_tensor gx;
  th_var *x = leaf_of(&d, TH_F64, SHAPE(2, 3), (double[]){5, NAN, 7, 2, 2, 2}, &gx);
  EXPECT_VALUES(&th_max(x, TH_AXIS(1), false)->value, 0, NAN, 2);
  desk_close(&d);
}

Test(ops, a_row_gathered_often_gathers_all_its_gradients) {
  desk d = desk_open();
  th_tensor gx;
  int32_t rows[] = {2, 0, 2, 2};
  th_tensor ids = th_tensor_of(rows, TH_I32, SHAPE(4));
  th_var *x = leaf_of(&d, TH_F32, SHAPE(3, 1), (double[]){5, 6, 7}, &gx), *y = th_gather(x, &ids);
  rows[0] = 1; /* the ids were copied */
  th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&y->value, 0, 7, 5, 7, 7);
  EXPECT_VALUES(&gx, 0, 1, 0, 3);
  desk_close(&d);
}

/* ---- masks ----------------------------------------------------------------------------------- */

TestSuite(attention);

Test(attention, the_last_of_fewer_queries_sees_every_key) {
  desk d = desk_open();
  th_tensor x = desk_zeros(&d, TH_F64, SHAPE(2, 4));
  th_var *p = th_softmax(th_constant(d.tape, &x), &causal);
  double third = 1.0 / 3;
  EXPECT_VALUES(&p->value, 1e-15, third, third, third, 0, 0.25, 0.25, 0.25, 0.25);
  desk_close(&d);
}

Test(attention, a_causal_query_before_the_first_key_sees_none) {
  desk d = desk_open();
  th_tensor x = desk_zeros(&d, TH_F64, SHAPE(3, 2));
  EXPECT_VALUES(&th_softmax(th_constant(d.tape, &x), &causal)->value, 1e-15, 0, 0, 1, 0, 0.5, 0.5);
  desk_close(&d);
}

/* Queries 1 of sequence 1, and all of sequence 0, have nothing to look at. */
static const int32_t one_empty[] = {0, 3};
static uint8_t second_query_blind[] = {1, 1, 1, 0, 0, 0};
static th_tensor blind = {
    .dtype = TH_U8, .ndim = 2, .shape = {2, 3}, .stride = {3, 1}, .data = second_query_blind};
static const th_mask blinding = {.key_length = one_empty, .allowed = &blind};

static void expect_only_row_2(const th_tensor *x, const char *what) {
  int64_t row = th_tensor_count(x) / 4;
  double seen = 0;
  for (int64_t i = 0; i < th_tensor_count(x); i++) {
    if (i / row == 2) seen += fabs(th_tensor_get(x, i));
    else cr_assert(th_tensor_get(x, i) == 0, "%s: element %ld is %g", what, (long)i, th_tensor_get(x, i));
  }
  cr_assert(isfinite(seen) && seen > 0, "%s", what);
}

Test(attention, a_fully_masked_row_gives_zeros_and_a_zero_gradient) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor q = desk_uniform(&d, types[t], -1, 1, SHAPE(2, 1, 2, 4)),
              k = desk_uniform(&d, types[t], -1, 1, SHAPE(2, 1, 3, 4)), gq, gk, gv;
    th_tensor v = desk_uniform(&d, types[t], 1, 2, SHAPE(2, 1, 3, 5)),
              seed = desk_uniform(&d, types[t], 1, 2, SHAPE(2, 1, 2, 5));
    th_var *y = th_attention(desk_leaf(&d, &q, &gq), desk_leaf(&d, &k, &gk), desk_leaf(&d, &v, &gv),
                             &(th_attention_options){.mask = blinding});
    cr_assert(th_backward(y, &seed) == TH_OK);
    expect_only_row_2(&y->value, "result");
    expect_only_row_2(&gq, "gradient of q");
    for (int64_t i = 0; i < 12; i++)
      cr_assert(th_tensor_get(&gk, i) == 0 && th_tensor_get(&gv, i) == 0, "sequence 0");
    cr_expect(isfinite(largest_size(&gk)) && isfinite(largest_size(&gv)));
    desk_close(&d);
  }
}

Test(attention, a_fully_masked_row_of_softmax_gives_zeros_and_a_zero_gradient) {
  for (int logarithm = 0; logarithm < 2; logarithm++) {
    desk d = desk_open();
    th_tensor x = desk_uniform(&d, TH_F32, -1, 1, SHAPE(2, 2, 3)),
              seed = desk_uniform(&d, TH_F32, 1, 2, SHAPE(2, 2, 3)), gx;
    th_var *v = desk_leaf(&d, &x, &gx),
           *y = logarithm ? th_log_softmax(v, &blinding) : th_softmax(v, &blinding);
    cr_assert(th_backward(y, &seed) == TH_OK);
    for (int64_t i = 0; i < 12; i++)
      cr_assert(i / 3 == 2 || th_tensor_get(&y->value, i) == (logarithm ? -INFINITY : 0));
    expect_only_row_2(&gx, "gradient");
    desk_close(&d);
  }
}

Test(attention, hidden_keys_get_no_gradient_whatever_they_hold) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 4)),
            seed = desk_uniform(&d, TH_F64, 1, 2, SHAPE(1, 4)), gx;
  const int32_t two[] = {2};
  th_tensor_set(&x, 2, NAN), th_tensor_set(&x, 3, INFINITY);
  th_var *y = th_softmax(desk_leaf(&d, &x, &gx), &(th_mask){.key_length = two});
  th_backward(y, &seed);
  cr_expect(th_tensor_get(&y->value, 2) == 0 && th_tensor_get(&y->value, 3) == 0);
  cr_expect(th_tensor_get(&gx, 2) == 0 && th_tensor_get(&gx, 3) == 0);
  cr_expect(fabs(th_tensor_get(&y->value, 0) + th_tensor_get(&y->value, 1) - 1) < 1e-15);
  desk_close(&d);
}

Test(attention, what_a_mask_names_is_read_during_the_call_only) {
  desk d = desk_open();
  th_tensor q = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 1, 3, 2)), gq, first;
  int32_t length[] = {2, 3};
  uint8_t bytes[] = {1, 0, 1};
  th_tensor allowed = th_tensor_of(bytes, TH_U8, SHAPE(3));
  th_var *v = desk_leaf(&d, &q, &gq);
  th_var *y = th_sum(
      th_attention(v, v, v, &(th_attention_options){.mask = {.key_length = length, .allowed = &allowed}}),
      TH_ALL_AXES, false);
  th_backward(y, NULL);
  first = desk_copy(&d, TH_F64, &gq);
  th_fill(&gq, 0);
  memset(length, 0, sizeof length), memset(bytes, 0, sizeof bytes), memset(&allowed, 0, sizeof allowed);
  th_backward(y, NULL);
  expect_near(&gq, &first, 0, "gradient");
  desk_close(&d);
}

Test(attention, weights_are_rows_that_sum_to_one_and_know_no_dropout) {
  desk d = desk_open();
  th_tensor q = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3, 4, 5)),
            k = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3, 6, 5));
  training(d.tape, 1);
  th_var *w = th_attention_weights(th_constant(d.tape, &q), th_constant(d.tape, &k),
                                   &(th_attention_options){.dropout = 0.5});
  cr_assert(w->value.shape[2] == 4 && w->value.shape[3] == 6);
  th_var *sums = th_sum(w, TH_AXIS(3), false);
  for (int64_t i = 0; i < 24; i++) cr_assert(fabs(th_tensor_get(&sums->value, i) - 1) < 1e-15);
  desk_close(&d);
}

/* ---- dropout --------------------------------------------------------------------------------- */

TestSuite(dropout);

Test(dropout, zeroes_the_part_asked_and_scales_the_rest) {
  static const double rates[] = {0.1, 0.5, 0.9};
  enum { COUNT = 40000 };
  for (int r = 0; r < 3; r++) {
    desk d = desk_open();
    double p = rates[r], deviation = sqrt(p * (1 - p) / COUNT);
    const double *kept = kept_of(&d, p, COUNT);
    int64_t dropped = 0;
    for (int64_t i = 0; i < COUNT; i++) {
      cr_assert(kept[i] == 0 || kept[i] == 1 / (1 - p));
      dropped += kept[i] == 0;
    }
    cr_expect(fabs((double)dropped / COUNT - p) < 5 * deviation, "%g of %g", (double)dropped / COUNT, p);
    desk_close(&d);
  }
}

/* A mask as dropout makes it: first draw, or second, of this seed and step. */
static th_tensor mask_of(desk *d, uint64_t seed, uint64_t step, int draw) {
  th_tensor ones = desk_zeros(d, TH_F32, SHAPE(1000));
  th_fill(&ones, 1);
  th_tape_reset(d->tape);
  th_tape_train(d->tape, true);
  th_tape_seed(d->tape, seed, step);
  th_var *y = NULL;
  for (int i = 0; i <= draw; i++) y = th_dropout(th_constant(d->tape, &ones), 0.5);
  return desk_copy(d, TH_F32, &y->value);
}

static int64_t differing(const th_tensor *a, const th_tensor *b) {
  int64_t count = 0;
  for (int64_t i = 0; i < 1000; i++) count += th_tensor_get(a, i) != th_tensor_get(b, i);
  return count;
}

Test(dropout, the_same_seed_and_step_give_the_same_mask_and_any_other_another) {
  desk d = desk_open();
  th_tensor first = mask_of(&d, 3, 7, 0), again = mask_of(&d, 3, 7, 0);
  th_tensor other[] = {mask_of(&d, 3, 8, 0), mask_of(&d, 4, 7, 0), mask_of(&d, 3, 7, 1),
                       mask_of(&d, 3, 0, 0)};
  cr_expect(differing(&first, &again) == 0);
  for (int i = 0; i < 4; i++)
    cr_expect(differing(&first, &other[i]) > 400 && differing(&first, &other[i]) < 600,
              "mask %d: %ld of 1000 differ", i, (long)differing(&first, &other[i]));
  desk_close(&d);
}

Test(dropout, is_the_same_mask_after_a_reset_of_the_tape) {
  desk d = desk_open();
  th_tensor ones = desk_zeros(&d, TH_F32, SHAPE(1000)), mask[2];
  th_fill(&ones, 1);
  training(d.tape, 2);
  for (int i = 0; i < 2; i++) {
    mask[i] = desk_copy(&d, TH_F32, &th_dropout(th_constant(d.tape, &ones), 0.5)->value);
    th_tape_reset(d.tape);
  }
  cr_expect(differing(&mask[0], &mask[1]) == 0);
  desk_close(&d);
}

Test(dropout, passes_everything_while_the_tape_does_not_train) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F32, SHAPE(100));
  th_var *v = th_constant(d.tape, &x);
  cr_expect(th_dropout(v, 0.5) == v);
  th_tape_train(d.tape, true);
  cr_expect(th_dropout(v, 0) == v);
  cr_expect(th_dropout(v, 0.5) != v);
  th_tape_train(d.tape, false);
  cr_expect(th_dropout(v, 0.5) == v);
  desk_close(&d);
}

Test(dropout, drops_the_gradient_of_what_it_dropped) {
  desk d = desk_open();
  th_tensor x = desk_zeros(&d, TH_F64, SHAPE(100)), gx;
  th_fill(&x, 1);
  th_var *y = th_dropout(desk_leaf(&d, &x, &gx), (training(d.tape, 9), 0.25));
  th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
  expect_near(&gx, &y->value, 0, "gradient");
  desk_close(&d);
}

/* ---- losses ---------------------------------------------------------------------------------- */

TestSuite(cross_entropy);

Test(cross_entropy, with_every_target_ignored_is_0_with_a_zero_gradient) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor x = desk_uniform(&d, types[t], -1, 1, SHAPE(3, 4)), gx;
    int32_t targets[] = {-1, -100, INT32_MIN};
    th_tensor ids = th_tensor_of(targets, TH_I32, SHAPE(3));
    th_var *y = th_cross_entropy(desk_leaf(&d, &x, &gx), &ids, 0.1);
    EXPECT_VALUES(&y->value, 0, 0);
    cr_assert(th_backward(y, NULL) == TH_OK);
    cr_expect(largest_size(&gx) == 0);
    desk_close(&d);
  }
}

Test(cross_entropy, is_the_mean_over_the_targets_that_count) {
  desk d = desk_open();
  th_tensor gx;
  int32_t targets[] = {0, -1};
  th_tensor ids = th_tensor_of(targets, TH_I32, SHAPE(2));
  th_var *y = th_cross_entropy(leaf_of(&d, TH_F64, SHAPE(2, 2), (double[]){0, 0, 90, -90}, &gx), &ids, 0);
  targets[0] = 1; /* they were copied */
  th_backward(y, NULL);
  EXPECT_VALUES(&y->value, 1e-15, log(2));
  EXPECT_VALUES(&gx, 1e-15, -0.5, 0.5, 0, 0);
  desk_close(&d);
}

Test(cross_entropy, smoothing_moves_part_of_the_target_to_all_classes) {
  desk d = desk_open();
  th_tensor gx;
  int32_t target = 0;
  th_tensor ids = th_tensor_of(&target, TH_I32, SHAPE(1));
  th_var *y = th_cross_entropy(leaf_of(&d, TH_F64, SHAPE(1, 4), (double[]){0, 0, 0, 0}, &gx), &ids, 0.2);
  th_backward(y, NULL);
  EXPECT_VALUES(&y->value, 1e-15, log(4));
  EXPECT_VALUES(&gx, 1e-15, 0.25 - 0.85, 0.25 - 0.05, 0.25 - 0.05, 0.25 - 0.05);
  desk_close(&d);
}

/* ---- fused ops and their plain twins --------------------------------------------------------- */

TestSuite(twins);

typedef struct twin {
  const char *name;
  th_var *(*fused)(th_tape *tape, th_var *const *in), *(*plain)(th_tape *tape, th_var *const *in);
  int inputs;
  th_tensor shape[4];
} twin;

#define TWIN(name, fused, plain) \
  static th_var *fused_##name(th_tape *tape, th_var *const *in) { return (void)tape, fused; } \
  static th_var *twin_##name(th_tape *tape, th_var *const *in) { return (void)tape, plain; }

static th_var *number(th_tape *tape, const th_var *like, double value) {
  th_tensor one = th_tensor_of(th_keep(tape, sizeof(double)), like->value.dtype, SCALAR);
  th_tensor_set(&one, 0, value);
  return th_constant(tape, &one);
}

static unsigned last_axis(const th_var *x) { return TH_AXIS(x->value.ndim - 1); }

static th_var *softmax_from_exp(th_var *x) {
  th_var *e = th_exp(th_sub(x, th_detach(th_max(x, last_axis(x), true))));
  return th_div(e, th_sum(e, last_axis(x), true));
}

static th_var *norm_from_means(th_tape *tape, th_var *x, th_var *weight, th_var *bias) {
  th_var *centred = th_sub(x, th_mean(x, last_axis(x), true));
  th_var *variance = th_mean(th_mul(centred, centred), last_axis(x), true);
  th_var *normal = th_div(centred, th_sqrt(th_add(variance, number(tape, x, 1e-5))));
  return th_add(th_mul(normal, weight), bias);
}

/* Target distributions as numbers, times log-probabilities, averaged over the rows that count. */
static th_var *entropy_from_logs(th_tape *tape, th_var *x, double smoothing) {
  th_tensor targets = targets_for(&x->value), t = x->value;
  int64_t n = x->value.shape[x->value.ndim - 1], counted = 0;
  t.data = th_keep(tape, (size_t)th_tensor_count(&t) * th_dtype_size(t.dtype));
  for (int64_t row = 0; row < th_tensor_count(&targets); row++) counted += many_ids[row] >= 0;
  for (int64_t i = 0; i < th_tensor_count(&t); i++) {
    int32_t target = many_ids[i / n];
    double share = (target == i % n ? 1 - smoothing : 0) + smoothing / (double)n;
    th_tensor_set(&t, i, target < 0 ? 0 : -share / (double)counted);
  }
  return th_sum(th_mul(th_log_softmax(x, NULL), th_constant(tape, &t)), TH_ALL_AXES, false);
}

static const th_attention_options masked_options = {.mask = {.causal = true, .key_length = key_length},
                                                    .scale = 0.6};
static th_attention_options biased(th_var *bias) {
  th_attention_options options = masked_options;
  options.bias = bias;
  return options;
}
static th_var *attend(th_var *const *in, th_attention_options options) {
  return th_attention(in[0], in[1], in[2], &options);
}
static th_var *attend_plainly(th_var *const *in, th_attention_options options) {
  return th_matmul(th_dropout(th_attention_weights(in[0], in[1], &options), options.dropout), in[2]);
}

TWIN(linear, th_linear(in[0], in[1], in[2]), th_add(th_matmul(in[0], th_transpose(in[1])), in[2]))
TWIN(linear_relu, th_linear_relu(in[0], in[1], in[2]), th_relu(th_linear(in[0], in[1], in[2])))
TWIN(linear_gelu_tanh, th_linear_gelu_tanh(in[0], in[1], in[2]), th_gelu_tanh(th_linear(in[0], in[1], in[2])))
TWIN(linear_gelu_erf, th_linear_gelu_erf(in[0], in[1], in[2]), th_gelu_erf(th_linear(in[0], in[1], in[2])))
TWIN(softmax, th_softmax(in[0], NULL), softmax_from_exp(in[0]))
TWIN(log_softmax, th_log_softmax(in[0], NULL), th_log(softmax_from_exp(in[0])))
TWIN(layer_norm, th_layer_norm(in[0], in[1], in[2], 1e-5), norm_from_means(tape, in[0], in[1], in[2]))
TWIN(cross_entropy, cross_entropy(in[0], 0.1), entropy_from_logs(tape, in[0], 0.1))
TWIN(attention, attend(in, (th_attention_options){0}), attend_plainly(in, (th_attention_options){0}))
TWIN(attention_masked, attend(in, biased(in[3])), attend_plainly(in, biased(in[3])))
TWIN(attention_dropped, (training(tape, 3), attend(in, (th_attention_options){.dropout = 0.3})),
     (training(tape, 3), attend_plainly(in, (th_attention_options){.dropout = 0.3})))
TWIN(gelu_tanh, th_gelu_tanh(in[0]),
     th_mul(th_scale(in[0], 0.5),
            th_add(th_tanh(th_scale(th_add(in[0], th_scale(th_mul(in[0], th_mul(in[0], in[0])), 0.044715)),
                                    sqrt(2 / acos(-1)))),
                   number(tape, in[0], 1))))
TWIN(sub, th_sub(in[0], in[1]), th_add(in[0], th_neg(in[1])))
TWIN(mean, th_mean(in[0], TH_ALL_AXES, false),
     th_scale(th_sum(in[0], TH_ALL_AXES, false), 1 / (double)th_tensor_count(&in[0]->value)))

#define PAIR(name, inputs, ...) \
  { \
#name, fused_##name, twin_##name, inputs, { __VA_ARGS__ } \
  }
static const twin twins[] = {
    PAIR(linear, 3, OF(2, 3, 4), OF(5, 4), OF(5)),
    PAIR(linear, 3, OF(5, 40, 70), OF(71, 70), OF(71)),
    PAIR(linear_relu, 3, OF(2, 3, 4), OF(5, 4), OF(5)),
    PAIR(linear_relu, 3, OF(5, 40, 70), OF(71, 70), OF(71)),
    PAIR(linear_gelu_tanh, 3, OF(2, 3, 4), OF(5, 4), OF(5)),
    PAIR(linear_gelu_tanh, 3, OF(5, 40, 70), OF(71, 70), OF(71)),
    PAIR(linear_gelu_erf, 3, OF(2, 3, 4), OF(5, 4), OF(5)),
    PAIR(linear_gelu_erf, 3, OF(2, 700, 7), OF(9, 7), OF(9)),
    PAIR(softmax, 1, OF(3, 257)),
    PAIR(log_softmax, 1, OF(7, 65)),
    PAIR(layer_norm, 3, OF(33, 65), OF(65), OF(65)),
    PAIR(cross_entropy, 1, OF(2, 7, 257)),
    PAIR(attention, 3, QKV),
    PAIR(attention, 3, OF(2, 4, 33, 16), OF(2, 4, 65, 16), OF(2, 4, 65, 17)),
    PAIR(attention_masked, 4, QKV, OF(2, 4, 5)),
    PAIR(attention_masked, 4, OF(2, 4, 33, 16), OF(2, 4, 65, 16), OF(2, 4, 65, 17), OF(33, 65)),
    PAIR(attention_dropped, 3, QKV),
    PAIR(gelu_tanh, 1, OF(257)),
    PAIR(sub, 2, OF(7, 255), OF(255)),
    PAIR(mean, 1, OF(33, 257)),
};

static void check_twin(const twin *t, th_dtype dtype) {
  desk d = desk_open();
  th_tensor x[4], value[2], seed = {0}, grad[2][4];
  for (int i = 0; i < t->inputs; i++)
    x[i] = desk_uniform(&d, dtype, -1.5, 1.5, t->shape[i].ndim, t->shape[i].shape);
  for (int which = 0; which < 2; which++) {
    th_var *in[4];
    th_tape_reset(d.tape);
    for (int i = 0; i < t->inputs; i++) in[i] = desk_leaf(&d, &x[i], &grad[which][i]);
    th_var *y = which ? t->plain(d.tape, in) : t->fused(d.tape, in);
    expect_no_error(d.tape);
    if (!which) seed = desk_uniform(&d, dtype, -1, 1, y->value.ndim, y->value.shape);
    value[which] = desk_copy(&d, dtype, &y->value);
    cr_assert(th_backward(y, &seed) == TH_OK, "%s", th_tape_error(d.tape)->text);
  }
  double unit = dtype == TH_F32 ? 3e-6 : 1e-14;
  expect_near(&value[0], &value[1], unit * (1 + largest_size(&value[1])), t->name);
  for (int i = 0; i < t->inputs; i++)
    expect_near(&grad[0][i], &grad[1][i], unit * (1 + largest_size(&grad[1][i])), t->name);
  desk_close(&d);
}

Test(twins, fused_ops_equal_small_ops_forward_and_backward) {
  for (size_t i = 0; i < sizeof twins / sizeof *twins; i++) {
    check_twin(&twins[i], TH_F64);
    check_twin(&twins[i], TH_F32);
  }
}

/* ---- attention in tiles ---------------------------------------------------------------------------- */

static size_t attention_bytes(int64_t length, th_attention_way way) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F32, -1, 1, SHAPE(1, 2, length, 4)), g;
  th_var *leaf = desk_leaf(&d, &x, &g);
  th_backward(th_sum(th_attention(leaf, leaf, leaf, &(th_attention_options){.way = way}), TH_ALL_AXES, false),
              NULL);
  expect_no_error(d.tape);
  size_t bytes = th_tape_bytes(d.tape);
  desk_close(&d);
  return bytes;
}

Test(attention, long_sequences_take_memory_by_their_length_not_its_square) {
  cr_expect_eq(attention_bytes(256, TH_ATTEND_AUTO), attention_bytes(256, TH_ATTEND_WHOLE));
  cr_expect_eq(attention_bytes(1024, TH_ATTEND_AUTO), attention_bytes(1024, TH_ATTEND_TILES));
  cr_expect_lt(attention_bytes(4096, TH_ATTEND_AUTO), 4 * attention_bytes(1024, TH_ATTEND_AUTO));
  cr_expect_gt(attention_bytes(1024, TH_ATTEND_WHOLE), 4 * attention_bytes(1024, TH_ATTEND_TILES));
}

/* The output and its sum of squares' gradients, of q, k, v and a bias (data NULL: none), by one way. */
typedef struct {
  th_tensor out, grad[4];
} attended;

static attended attend_by(desk *d, th_attention_way way, const th_tensor in[4],
                          th_attention_options options) {
  attended a = {0};
  th_var *x[4] = {0};
  th_tape_reset(d->tape);
  training(d->tape, 5);
  for (int i = 0; i < 4 && in[i].data; i++) x[i] = desk_leaf(d, &in[i], &a.grad[i]);
  options.way = way, options.bias = x[3];
  th_var *y = th_attention(x[0], x[1], x[2], &options);
  th_backward(th_sum(th_mul(y, y), TH_ALL_AXES, false), NULL);
  expect_no_error(d->tape);
  a.out = desk_copy(d, y->value.dtype, &y->value);
  return a;
}

static void expect_ways_agree(const char *what, const int64_t shape[4], int64_t key_count, int64_t key_heads,
                              int64_t value_heads, const int64_t bias[4], th_attention_options options) {
  desk d = desk_open();
  th_tensor in[4] = {desk_uniform(&d, TH_F64, -1, 1, 4, shape),
                     desk_uniform(&d, TH_F64, -1, 1, SHAPE(shape[0], key_heads, key_count, shape[3])),
                     desk_uniform(&d, TH_F64, -1, 1, SHAPE(shape[0], value_heads, key_count, 3))};
  if (bias) in[3] = desk_uniform(&d, TH_F64, -1, 1, 4, bias);
  attended whole = attend_by(&d, TH_ATTEND_WHOLE, in, options),
           tiles = attend_by(&d, TH_ATTEND_TILES, in, options);
  expect_near(&tiles.out, &whole.out, 1e-13, what);
  for (int i = 0; i < 4 && in[i].data; i++)
    expect_near(&tiles.grad[i], &whole.grad[i], 1e-12 * (1 + largest_size(&whole.grad[i])), what);
  desk_close(&d);
}

static const int32_t some_of_512[] = {0, 301}, some_of_64[] = {1000, 50};

/* 64 queries and 256 keys make a tile: lengths are about those. */
Test(attention, tiles_have_the_gradients_of_whole_weights_about_their_edges) {
  const int64_t lengths[][2] = {{63, 255}, {64, 256}, {65, 257}, {1, 513}, {129, 1}, {130, 511}};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    int64_t shape[] = {2, 6, lengths[i][0], 4}, key_count = lengths[i][1];
    expect_ways_agree("all seen", shape, key_count, 6, 6, NULL, (th_attention_options){0});
    expect_ways_agree("causal", shape, key_count, 6, 6, NULL, (th_attention_options){.mask.causal = true});
    expect_ways_agree("padded", shape, key_count, 1, 1, NULL,
                      (th_attention_options){.mask.key_length = some_of_512});
    expect_ways_agree("both padded, dropped", shape, key_count, 6, 2, NULL,
                      (th_attention_options){.mask = {.key_length = some_of_512, .query_length = some_of_64},
                                             .dropout = 0.3});
    expect_ways_agree("window", shape, key_count, 2, 3, NULL, (th_attention_options){.mask.window = 40});
    expect_ways_agree("window back, dropped", shape, key_count, 3, 6, NULL,
                      (th_attention_options){.mask = {.causal = true, .window = 200}, .dropout = 0.3});
  }
}

static const int32_t some_of_9[] = {5, 1000}, some_of_8[] = {1000, 3};

/* Weights lie by key from 8 queries on, unless there are more than 128 keys or 4096 scores. */
Test(attention, weights_by_key_have_the_gradients_of_tiles) {
  const int64_t lengths[][2] = {{7, 9},   {8, 8},   {10, 10}, {17, 17},  {16, 33}, {33, 16},
                                {64, 64}, {65, 64}, {9, 129}, {31, 128}, {300, 1}, {24, 5}};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    int64_t shape[] = {2, 6, lengths[i][0], 4}, key_count = lengths[i][1];
    expect_ways_agree("all seen", shape, key_count, 6, 6, NULL, (th_attention_options){0});
    expect_ways_agree("causal", shape, key_count, 3, 2, NULL, (th_attention_options){.mask.causal = true});
    expect_ways_agree("window, dropped", shape, key_count, 6, 6, NULL,
                      (th_attention_options){.mask.window = 4, .dropout = 0.3});
    expect_ways_agree("window of all", shape, key_count, 6, 6, NULL,
                      (th_attention_options){.mask.window = INT64_MAX});
    expect_ways_agree(
        "all of them", shape, key_count, 6, 1, NULL,
        (th_attention_options){
            .mask = {.causal = true, .window = 6, .key_length = some_of_9, .query_length = some_of_8},
            .dropout = 0.2});
  }
}

Test(attention, tiles_give_a_bias_its_gradient_however_it_is_broadcast) {
  const int64_t shape[] = {2, 4, 70, 4}, key_count = 300;
  const int64_t biases[][4] = {{2, 4, 70, 300}, {1, 4, 70, 300}, {2, 1, 70, 300}, {1, 1, 70, 300},
                               {2, 1, 1, 300},  {1, 4, 1, 1},    {1, 1, 70, 1},   {1, 1, 1, 1}};
  for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
    expect_ways_agree("a head of its own", shape, key_count, 4, 4, biases[i], (th_attention_options){0});
    expect_ways_agree("shared, masked, dropped", shape, key_count, 2, 1, biases[i],
                      (th_attention_options){.mask = {.causal = true, .window = 50}, .dropout = 0.2});
  }
}

Test(attention, a_single_row_may_have_any_stride) {
  for (int way = TH_ATTEND_WHOLE; way <= TH_ATTEND_TILES; way++) {
    desk d = desk_open();
    th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 2, 4, 1)), g, other;
    th_var *column = desk_leaf(&d, &x, &g),
           *row = th_transpose(column); /* [1,2,1,4], whose rows are 1 apart */
    th_var *same = th_reshape(desk_leaf(&d, &x, &other), 4, (int64_t[]){1, 2, 1, 4});
    th_attention_options options = {.way = (th_attention_way)way};
    th_var *found = th_attention(row, row, row, &options), *wanted = th_attention(same, same, same, &options);
    th_backward(th_sum(th_add(th_mul(found, found), th_mul(wanted, wanted)), TH_ALL_AXES, false), NULL);
    expect_no_error(d.tape);
    expect_near(&found->value, &wanted->value, 0, "output");
    expect_near(&g, &other, 0, "gradient");
    desk_close(&d);
  }
}

/* The first query is NaN, the second has scores of -infinity alone; the others are like any. */
static void expect_special_rows(th_attention_way way, int64_t queries) {
  desk d = desk_open();
  th_tensor q = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 1, queries, 4)), g;
  th_tensor_set(&q, 0, NAN), th_tensor_set(&q, 4, -INFINITY);
  th_tensor k = desk_uniform(&d, TH_F64, 0.1, 1, SHAPE(1, 1, 9, 4));
  th_var *key = th_constant(d.tape, &k);
  th_var *y = th_attention(desk_leaf(&d, &q, &g), key, key, &(th_attention_options){.way = way});
  th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
  for (int i = 0; i < 4 * queries; i++) {
    double value = th_tensor_get(&y->value, i), slope = th_tensor_get(&g, i);
    cr_expect(i < 4 ? isnan(value) && isnan(slope) : isfinite(value) && isfinite(slope));
    cr_expect(i / 4 == 1 ? value == 0 && slope == 0 : value != 0);
  }
  desk_close(&d);
}

Test(attention, a_row_of_nan_is_not_taken_for_one_that_sees_nothing) {
  for (int way = TH_ATTEND_WHOLE; way <= TH_ATTEND_TILES; way++) {
    expect_special_rows((th_attention_way)way, 2);
    expect_special_rows((th_attention_way)way, 19); /* weights by key */
  }
}

Test(attention, softmax_of_nan_is_nan_and_a_row_of_minus_infinity_is_hidden) {
  desk d = desk_open();
  th_tensor x = desk_zeros(&d, TH_F32, SHAPE(2, 40)), g;
  for (int i = 0; i < 80; i++) th_tensor_set(&x, i, i < 40 ? (double)NAN : (double)-INFINITY);
  th_var *v = desk_leaf(&d, &x, &g), *y = th_softmax(v, NULL), *logs = th_log_softmax(v, NULL);
  for (int i = 0; i < 80; i++) {
    cr_expect(i < 40 ? isnan(th_tensor_get(&y->value, i)) : th_tensor_get(&y->value, i) == 0);
    cr_expect(i < 40 ? isnan(th_tensor_get(&logs->value, i)) : th_tensor_get(&logs->value, i) == -INFINITY);
  }
  desk_close(&d);
}

Test(attention, a_window_of_any_size_is_a_window) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(5, 3)), g;
  th_var *v = desk_leaf(&d, &x, &g);
  expect_near(&th_softmax(v, &(th_mask){.window = INT64_MAX})->value, &th_softmax(v, NULL)->value, 0, "");
  desk_close(&d);
}

Test(attention, tiles_and_whole_weights_drop_the_same_and_threads_change_no_bit) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F32, -2, 2, SHAPE(2, 3, 300, 8)), g[3], out[3];
  th_pool *pool = th_pool_new(3);
  const th_attention_way ways[] = {TH_ATTEND_WHOLE, TH_ATTEND_TILES, TH_ATTEND_TILES};
  for (int i = 0; i < 3; i++) {
    th_tape *tape = th_tape_new(i == 2 ? pool : NULL), *old = d.tape;
    d.tape = tape;
    th_tape_train(tape, true);
    th_tape_seed(tape, 5, 9);
    th_var *leaf = desk_leaf(&d, &x, &g[i]);
    th_var *y = th_attention(leaf, leaf, leaf,
                             &(th_attention_options){.mask.causal = true, .dropout = 0.3, .way = ways[i]});
    th_backward(th_sum(th_mul(y, y), TH_ALL_AXES, false), NULL);
    expect_no_error(tape);
    out[i] = desk_copy(&d, TH_F32, &y->value);
    d.tape = old;
    th_tape_free(tape);
  }
  expect_near(&out[1], &out[0], 1e-5, "in tiles");
  expect_near(&g[1], &g[0], 1e-4, "the gradient in tiles");
  expect_near(&out[2], &out[1], 0, "on three threads");
  expect_near(&g[2], &g[1], 0, "the gradient on three threads");
  th_pool_free(pool);
  desk_close(&d);
}
