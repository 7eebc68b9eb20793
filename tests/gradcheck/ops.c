/* One or more gradcheck cases for each op. Fused ops also have their plain twins checked here. */
#include "cases.h"

#include <math.h>
#include <string.h>

#define SHAPE(...) \
  { \
    .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .shape = { __VA_ARGS__ } \
  }

#define FUNCTION(name, expression) \
  static int name(th_tape *tape, th_var *const *in, th_var **out, void *context) { \
    (void)tape, (void)context; \
    out[0] = expression; \
    return 1; \
  }

FUNCTION(add, th_add(in[0], in[1]))
FUNCTION(add_twice, th_add(th_add(in[0], in[0]), in[1]))
FUNCTION(sub, th_sub(in[0], in[1]))
FUNCTION(mul, th_mul(in[0], in[1]))
FUNCTION(square, th_mul(in[0], in[0]))
FUNCTION(divide, th_div(in[0], in[1]))
FUNCTION(scale, th_scale(in[0], -1.75))
FUNCTION(neg, th_neg(in[0]))
FUNCTION(exponential, th_exp(in[0]))
FUNCTION(logarithm, th_log(in[0]))
FUNCTION(root, th_sqrt(in[0]))
FUNCTION(tangent, th_tanh(in[0]))
FUNCTION(elu_plus_one, th_elu_plus_one(in[0]))
FUNCTION(sigmoid, th_sigmoid(in[0]))
FUNCTION(relu, th_relu(in[0]))
FUNCTION(gelu_tanh, th_gelu_tanh(in[0]))
FUNCTION(gelu_erf, th_gelu_erf(in[0]))
FUNCTION(matmul, th_matmul(in[0], in[1]))
FUNCTION(matmul_transposed, th_matmul(th_transpose(in[0]), th_transpose(in[1])))
FUNCTION(linear, th_linear(in[0], in[1], in[2]))
FUNCTION(linear_no_bias, th_linear(in[0], in[1], NULL))
FUNCTION(linear_relu, th_linear_relu(in[0], in[1], in[2]))
FUNCTION(linear_relu_no_bias, th_linear_relu(in[0], in[1], NULL))
FUNCTION(linear_gelu_tanh, th_linear_gelu_tanh(in[0], in[1], in[2]))
FUNCTION(linear_gelu_erf, th_linear_gelu_erf(in[0], in[1], in[2]))
FUNCTION(linear_gelu_erf_no_bias, th_linear_gelu_erf(in[0], in[1], NULL))
FUNCTION(linear_twin, th_add(th_matmul(in[0], th_transpose(in[1])), in[2]))
FUNCTION(reshape, th_mul(th_reshape(in[0], 2, (int64_t[]){-1, 6}), in[1]))
FUNCTION(reshape_copy, th_mul(th_reshape(th_transpose(in[0]), 1, (int64_t[]){-1}), in[1]))
FUNCTION(permute, th_mul(th_permute(in[0], (int[]){2, 0, 1}), in[1]))
FUNCTION(slice, th_mul(th_slice(in[0], 1, 1, 3), th_slice(in[0], 1, 0, 2)))
FUNCTION(broadcast, th_mul(th_broadcast(in[0], 3, (int64_t[]){2, 3, 4}), in[1]))
FUNCTION(concat, th_mul(th_concat(3, (th_var *[]){in[0], in[1], in[0]}, 1), in[2]))
FUNCTION(contiguous, th_mul(th_contiguous(th_transpose(in[0])), in[1]))
FUNCTION(sum, th_sum(in[0], TH_AXIS(0) | TH_AXIS(2), false))
FUNCTION(sum_all, th_sum(in[0], TH_ALL_AXES, true))
FUNCTION(mean, th_mean(in[0], TH_AXIS(1), true))
FUNCTION(max, th_max(in[0], TH_AXIS(1), false))
FUNCTION(max_view, th_max(th_transpose(in[0]), TH_AXIS(0) | TH_AXIS(1), false))
FUNCTION(softmax, th_softmax(in[0], NULL))
FUNCTION(softmax_view, th_softmax(th_transpose(in[0]), NULL))
FUNCTION(log_softmax, th_log_softmax(in[0], NULL))
FUNCTION(layer_norm, th_layer_norm(in[0], in[1], in[2], 1e-5))

/* ---- with constants of their own ----------------------------------------------------------------------- */

static th_tensor ids_of(int32_t *ids, int64_t rows, int64_t columns) {
  return th_tensor_of(ids, TH_I32, 2, (int64_t[]){rows, columns});
}

static int take_rows(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  static int32_t rows[] = {4, -1, 0, 1, -1};
  th_tensor ids = th_tensor_of(rows, TH_I32, 1, (int64_t[]){5});
  (void)tape, (void)context;
  out[0] = th_take_rows(in[0], &ids);
  return 1;
}

static int gather(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  int32_t ids[] = {1, 4, 1, 0, 1, 3}; /* row 1 three times, row 2 never */
  th_tensor t = ids_of(ids, 2, 3);
  out[0] = th_gather(in[0], &t);
  return 1;
}

/* in[0] [2,3,4]: as it is, and as the heads of a transposed view. */
static int rotary(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  static double t[3 * 4], u[2 * 4];
  for (int i = 0; i < 6; i++) t[2 * i] = cos(0.9 * i), t[2 * i + 1] = sin(0.9 * i);
  memcpy(u, t, sizeof u);
  th_tensor turns = th_tensor_of(t, TH_F64, 2, (int64_t[]){3, 4}), fewer = turns;
  fewer.shape[0] = 2, fewer.data = u;
  out[0] = th_rotary(in[0], &turns);
  out[1] = th_mul(th_rotary(th_permute(in[0], (int[]){1, 0, 2}), &fewer), in[1]);
  return 2;
}

static const int32_t key_length[] = {3, 5};
static uint8_t allowed_bytes[] = {1, 0, 1, 1, 1, /**/ 0, 0, 0, 0, 0, /**/ 1, 1, 0, 1, 1, /**/ 1, 1, 1, 1, 0};

/* Causal, padded, and a row of the boolean mask without any key. */
static th_mask hard_mask(th_tensor *allowed) {
  *allowed = th_tensor_of(allowed_bytes, TH_U8, 2, (int64_t[]){4, 5});
  return (th_mask){.causal = true, .key_length = key_length, .allowed = allowed};
}

static int softmax_masked(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  th_tensor allowed;
  th_mask mask = hard_mask(&allowed);
  out[0] = th_softmax(in[0], &mask);
  return 1;
}

static int log_softmax_masked(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  const int32_t length[] = {3, 3};
  th_mask mask = {.key_length = length};
  out[0] =
      th_slice(th_log_softmax(in[0], &mask), 2, 0, 3); /* the hidden columns are -inf, whatever the input */
  return 1;
}

static int dropout(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 7, 3);
  out[0] = th_dropout(in[0], 0.4);
  return 1;
}

static int hard_concrete(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 7, 3);
  out[0] = th_hard_concrete(in[0]);
  return 1;
}

FUNCTION(hard_concrete_quiet, th_hard_concrete(th_transpose(in[0])))
FUNCTION(expected_open, th_expected_open(in[0]))

static int32_t target_ids[] = {2, -1, 0, 3, 3, -1};

static int cross_entropy(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  th_tensor targets = ids_of(target_ids, 2, 3);
  out[0] = th_cross_entropy(in[0], &targets, 0.1);
  return 1;
}

/* -mean over counted rows of sum_i t_i log softmax(x)_i, from small ops. */
static int cross_entropy_twin(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  static double t[6 * 4];
  for (int r = 0; r < 6; r++)
    for (int i = 0; i < 4; i++)
      t[r * 4 + i] = target_ids[r] < 0 ? 0 : (0.9 * (target_ids[r] == i) + 0.1 / 4) / 4; /* four rows count */
  th_tensor weights = th_tensor_of(t, TH_F64, 3, (int64_t[]){2, 3, 4});
  out[0] =
      th_neg(th_sum(th_mul(th_log_softmax(in[0], NULL), th_constant(tape, &weights)), TH_ALL_AXES, false));
  return 1;
}

/* exp(x) / sum exp(x), and (x - mean) / sqrt(var + eps) w + b, from small ops. */
static int softmax_twin(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  th_var *e = th_exp(in[0]);
  out[0] = th_div(e, th_sum(e, TH_AXIS(1), true));
  return 1;
}

static int layer_norm_twin(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  static double epsilon = 1e-5;
  th_tensor eps = th_tensor_of(&epsilon, TH_F64, 0, NULL);
  th_var *centred = th_sub(in[0], th_mean(in[0], TH_AXIS(1), true));
  th_var *variance = th_mean(th_mul(centred, centred), TH_AXIS(1), true);
  th_var *normal = th_div(centred, th_sqrt(th_add(variance, th_constant(tape, &eps))));
  out[0] = th_add(th_mul(normal, in[1]), in[2]);
  return 1;
}

/* ---- attention: plain, masked, biased, dropped out, on views, and its twin ----------------------------------- */

static int attend(th_var *const *in, th_var **out, th_attention_options options) {
  th_tensor allowed;
  options.mask = hard_mask(&allowed);
  out[0] = th_attention(in[0], in[1], in[2], &options);
  return 1;
}

FUNCTION(attention, th_attention(in[0], in[1], in[2], NULL))

static int attention_masked(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  return attend(in, out, (th_attention_options){.bias = in[3], .scale = 0.7});
}

static int attention_near(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  out[0] = th_attention(in[0], in[1], in[2], &(th_attention_options){.mask.window = 2});
  return 1;
}

static int attention_tiles(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 11, 0);
  return attend(in, out, (th_attention_options){.dropout = 0.3, .way = TH_ATTEND_TILES});
}

/* Weights that lie by key. */
static int attention_by_key(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  static const int32_t keys[] = {9, 4}, queries[] = {7, 9};
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 3, 1);
  th_mask mask = {.causal = true, .key_length = keys, .query_length = queries, .window = 6};
  out[0] = th_attention(in[0], in[1], in[2], &(th_attention_options){.dropout = 0.3, .mask = mask});
  return 1;
}

static int attention_tiles_biased(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  return attend(in, out, (th_attention_options){.bias = in[3], .way = TH_ATTEND_TILES});
}

static int attention_dropped(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 11, 0);
  return attend(in, out, (th_attention_options){.dropout = 0.3, .bias = in[3]});
}

static int attention_twin(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  th_tensor allowed;
  th_attention_options options = {.bias = in[3], .scale = 0.7, .mask = hard_mask(&allowed)};
  out[0] = th_matmul(th_attention_weights(in[0], in[1], &options), in[2]);
  return 1;
}

FUNCTION(linear_attention, th_linear_attention(in[0], in[1], in[2], NULL))

static int linear_causal(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  static const int32_t length[] = {3, 67};
  (void)tape, (void)context;
  out[0] = th_linear_attention(in[0], in[1], in[2],
                               &(th_linear_attention_options){.causal = true, .key_length = length});
  return 1;
}

static int linear_weights(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  out[0] = th_linear_attention_weights(in[0], in[1], &(th_mask){.causal = true});
  return 1;
}

/* The step of a finite difference changes no bucket here, where tokens are far from the borders between them. */
static int lsh_attention(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  static const int32_t length[] = {9, 6};
  const th_lsh_options options = {
      .rounds = 2, .buckets = 4, .chunk = 2, .length = length, .random = {.seed = 4, .stream = 2}};
  (void)tape, (void)context;
  out[0] = th_lsh_attention(in[0], in[1], &options);
  return 1;
}

static int lsh_causal(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  const th_lsh_options options = {
      .rounds = 3, .buckets = 4, .chunk = 3, .causal = true, .random = {.seed = 4, .stream = 2}};
  (void)tape, (void)context;
  out[0] = th_lsh_attention(in[0], in[1], &options);
  return 1;
}

FUNCTION(unit_length, th_unit_length(in[0]))

static th_var *branch(th_var *x, th_var *const *others, const void *context) {
  (void)context;
  return th_dropout(th_mul(th_tanh(x), others[0]), 0.3);
}

static int recompute(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 11, 0);
  out[0] = th_recompute(in[0], 1, &in[1], branch, NULL, 0);
  return 1;
}

static int streams(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)context;
  th_tape_train(tape, true);
  th_tape_seed(tape, 11, 0);
  th_var *stream[] = {th_stream(in[0]), th_stream(in[1])};
  for (int i = 0; i < 5; i++)
    stream[i & 1] = th_reversible(stream[i & 1], stream[1 - (i & 1)], 1, &in[2], branch, NULL, 0);
  out[0] = th_streams_end(stream[0], stream[1]);
  return 1;
}

static int one_stream(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  out[0] = th_stream(in[0]);
  return 1;
}

/* q, k and v as column slices of one [B,T,3*H*D], split into heads: what a fused projection gives. */
static int attention_on_views(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  th_var *part[3];
  for (int i = 0; i < 3; i++) {
    th_var *columns = th_slice(in[0], 2, 4 * i, 4 * i + 4);
    part[i] = th_permute(th_reshape(columns, 4, (int64_t[]){2, 3, 2, 2}), (int[]){0, 2, 1, 3});
  }
  out[0] = th_attention(part[0], part[1], part[2], &(th_attention_options){.mask.causal = true});
  return 1;
}

#define SAME_AS_LINEAR \
  { SHAPE(2, 3, 4), SHAPE(5, 4), SHAPE(5) }
#define SAME_AS_NORM \
  { SHAPE(3, 5), SHAPE(5), SHAPE(5) }
#define QKV SHAPE(2, 2, 4, 3), SHAPE(2, 2, 5, 3), SHAPE(2, 2, 5, 2)
#define MANY_ROWS \
  { SHAPE(2, 130, 3), SHAPE(2, 3), SHAPE(2) }

const gradcheck_case op_cases[] = {
    {"add", "broadcast", add, 2, {SHAPE(2, 3, 4), SHAPE(3, 1)}, 0, 0, NULL},
    {"add", "a var used twice", add_twice, 2, {SHAPE(3, 2), SHAPE(2)}, 0, 0, NULL},
    {"sub", "broadcast", sub, 2, {SHAPE(4), SHAPE(2, 3, 1)}, 0, 0, NULL},
    {"mul", "broadcast", mul, 2, {SHAPE(2, 1, 4), SHAPE(3, 1)}, 0, 0, NULL},
    {"mul", "square", square, 1, {SHAPE(3, 4)}, 0, 0, NULL},
    {"div", "broadcast", divide, 2, {SHAPE(2, 3), SHAPE(2, 1)}, 0.5, 2, NULL},
    {"scale", "", scale, 1, {SHAPE(7)}, 0, 0, NULL},
    {"neg", "", neg, 1, {SHAPE(7)}, 0, 0, NULL},
    {"exp", "", exponential, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"log", "", logarithm, 1, {SHAPE(3, 5)}, 0.3, 3, NULL},
    {"sqrt", "", root, 1, {SHAPE(3, 5)}, 0.3, 3, NULL},
    {"tanh", "", tangent, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"sigmoid", "", sigmoid, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"relu", "", relu, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"elu_plus_one", "", elu_plus_one, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"gelu_tanh", "", gelu_tanh, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"gelu_erf", "", gelu_erf, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"matmul", "one matrix for a batch", matmul, 2, {SHAPE(2, 3, 4), SHAPE(4, 5)}, 0, 0, NULL},
    {"matmul", "batch", matmul, 2, {SHAPE(2, 1, 3, 4), SHAPE(3, 4, 2)}, 0, 0, NULL},
    {"matmul", "broadcast left", matmul, 2, {SHAPE(3, 4), SHAPE(2, 4, 2)}, 0, 0, NULL},
    {"matmul", "transposed", matmul_transposed, 2, {SHAPE(2, 4, 3), SHAPE(2, 5, 4)}, 0, 0, NULL},
    {"linear", "", linear, 3, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear", "pieces of rows", linear, 3, MANY_ROWS, 0, 0, NULL},
    {"linear", "no bias", linear_no_bias, 2, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear_relu", "", linear_relu, 3, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear_relu", "pieces of rows", linear_relu, 3, MANY_ROWS, 0, 0, NULL},
    {"linear_relu", "no bias", linear_relu_no_bias, 2, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear_gelu_tanh", "", linear_gelu_tanh, 3, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear_gelu_tanh", "pieces of rows", linear_gelu_tanh, 3, MANY_ROWS, 0, 0, NULL},
    {"linear_gelu_erf", "", linear_gelu_erf, 3, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear_gelu_erf", "pieces of rows", linear_gelu_erf, 3, MANY_ROWS, 0, 0, NULL},
    {"linear_gelu_erf", "no bias", linear_gelu_erf_no_bias, 2, SAME_AS_LINEAR, 0, 0, NULL},
    {"linear", "plain twin", linear_twin, 3, SAME_AS_LINEAR, 0, 0, NULL},
    {"reshape", "view", reshape, 2, {SHAPE(2, 3, 4), SHAPE(4, 6)}, 0, 0, NULL},
    {"reshape", "copy", reshape_copy, 2, {SHAPE(3, 4), SHAPE(12)}, 0, 0, NULL},
    {"permute", "", permute, 2, {SHAPE(2, 3, 4), SHAPE(4, 2, 3)}, 0, 0, NULL},
    {"slice", "overlapping", slice, 1, {SHAPE(2, 4, 3)}, 0, 0, NULL},
    {"broadcast", "", broadcast, 2, {SHAPE(3, 1), SHAPE(2, 3, 4)}, 0, 0, NULL},
    {"concat", "one part twice", concat, 3, {SHAPE(2, 1, 3), SHAPE(2, 2, 3), SHAPE(2, 4, 3)}, 0, 0, NULL},
    {"contiguous", "", contiguous, 2, {SHAPE(3, 4), SHAPE(4, 3)}, 0, 0, NULL},
    {"sum", "two axes", sum, 1, {SHAPE(2, 3, 4)}, 0, 0, NULL},
    {"sum", "all", sum_all, 1, {SHAPE(2, 3)}, 0, 0, NULL},
    {"mean", "", mean, 1, {SHAPE(2, 3, 4)}, 0, 0, NULL},
    {"max", "", max, 1, {SHAPE(3, 4, 2)}, 0, 0, NULL},
    {"max", "of a view", max_view, 1, {SHAPE(3, 4)}, 0, 0, NULL},
    {"take_rows", "and two of zeros", take_rows, 1, {SHAPE(2, 3, 2)}, 0, 0, NULL},
    {"gather", "a row thrice", gather, 1, {SHAPE(5, 3)}, 0, 0, NULL},
    {"softmax", "", softmax, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"softmax", "of a view", softmax_view, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"softmax", "masked", softmax_masked, 1, {SHAPE(2, 2, 4, 5)}, 0, 0, NULL},
    {"softmax", "plain twin", softmax_twin, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"log_softmax", "", log_softmax, 1, {SHAPE(3, 5)}, 0, 0, NULL},
    {"log_softmax", "masked", log_softmax_masked, 1, {SHAPE(2, 2, 5)}, 0, 0, NULL},
    {"layer_norm", "", layer_norm, 3, SAME_AS_NORM, 0, 0, NULL},
    {"layer_norm", "plain twin", layer_norm_twin, 3, SAME_AS_NORM, 0, 0, NULL},
    {"dropout", "", dropout, 1, {SHAPE(4, 6)}, 0, 0, NULL},
    {"hard_concrete", "with noise", hard_concrete, 1, {SHAPE(4, 6)}, 0, 0, NULL},
    {"hard_concrete", "without, of a view", hard_concrete_quiet, 1, {SHAPE(4, 6)}, 0, 0, NULL},
    {"hard_concrete", "how many are open", expected_open, 1, {SHAPE(4, 6)}, 0, 0, NULL},
    {"cross_entropy", "smoothed, ignored", cross_entropy, 1, {SHAPE(2, 3, 4)}, 0, 0, NULL},
    {"cross_entropy", "plain twin", cross_entropy_twin, 1, {SHAPE(2, 3, 4)}, 0, 0, NULL},
    {"attention", "", attention, 3, {QKV}, 0, 0, NULL},
    {"attention", "masked, biased", attention_masked, 4, {QKV, SHAPE(2, 4, 5)}, 0, 0, NULL},
    {"attention", "with dropout", attention_dropped, 4, {QKV, SHAPE(1, 5)}, 0, 0, NULL},
    {"attention",
     "fewer heads of keys and values",
     attention_masked,
     4,
     {SHAPE(2, 4, 4, 3), SHAPE(2, 2, 5, 3), SHAPE(2, 1, 5, 2), SHAPE(4, 4, 5)},
     0,
     0,
     NULL},
    {"attention", "tiles, masked, with dropout", attention_tiles, 3, {QKV}, 0, 0, NULL},
    {"attention",
     "tiles, fewer heads of keys and values",
     attention_tiles,
     3,
     {SHAPE(2, 4, 4, 3), SHAPE(2, 2, 5, 3), SHAPE(2, 1, 5, 2)},
     0,
     0,
     NULL},
    {"attention", "window", attention_near, 3, {QKV}, 0, 0, NULL},
    {"attention",
     "by key",
     attention_by_key,
     3,
     {SHAPE(2, 2, 9, 3), SHAPE(2, 1, 9, 3), SHAPE(2, 2, 9, 2)},
     0,
     0,
     NULL},
    {"attention", "tiles, with a bias", attention_tiles_biased, 4, {QKV, SHAPE(2, 1, 1, 5)}, 0, 0, NULL},
    {"attention", "plain twin", attention_twin, 4, {QKV, SHAPE(2, 4, 5)}, 0, 0, NULL},
    {"linear_attention", "", linear_attention, 3, {QKV}, 0, 0, NULL},
    {"linear_attention",
     "causal, padded, two chunks",
     linear_causal,
     3,
     {SHAPE(2, 1, 70, 2), SHAPE(2, 1, 70, 2), SHAPE(2, 1, 70, 2)},
     0,
     0,
     NULL},
    {"linear_attention",
     "its weights",
     linear_weights,
     2,
     {SHAPE(2, 2, 4, 3), SHAPE(2, 2, 4, 3)},
     0,
     0,
     NULL},
    {"lsh_attention", "", lsh_attention, 2, {SHAPE(2, 2, 9, 4), SHAPE(2, 2, 9, 3)}, 0, 0, NULL},
    {"lsh_attention", "causal", lsh_causal, 2, {SHAPE(1, 2, 11, 4), SHAPE(1, 2, 11, 2)}, 0, 0, NULL},
    {"div", "unit length", unit_length, 1, {SHAPE(2, 3, 4)}, 0, 0, NULL},
    {"recompute", "with dropout", recompute, 2, {SHAPE(3, 4), SHAPE(3, 4)}, 0, 0, NULL},
    {"stream", "", one_stream, 1, {SHAPE(3, 4)}, 0, 0, NULL},
    {"reversible",
     "five sums, with dropout",
     streams,
     3,
     {SHAPE(3, 4), SHAPE(3, 4), SHAPE(3, 4)},
     0,
     0,
     NULL},
    {"streams_end",
     "five sums, with dropout",
     streams,
     3,
     {SHAPE(2, 3), SHAPE(2, 3), SHAPE(2, 3)},
     0,
     0,
     NULL},
    {"attention", "heads as views", attention_on_views, 1, {SHAPE(2, 3, 12)}, 0, 0, NULL},
    {"rotary", "and of a view", rotary, 2, {SHAPE(2, 3, 4), SHAPE(3, 2, 4)}, 0, 0, NULL},
    {NULL, NULL, NULL, 0, {{0}}, 0, 0, NULL}};

th_status run_case(const gradcheck_case *c, bool fast, th_gradcheck_report *report, th_error *error) {
  if (c->layer) return c->layer(error, report, fast);
  th_tensor inputs[CASE_INPUTS], *input[CASE_INPUTS];
  th_status status = TH_OK;
  memset(inputs, 0, sizeof inputs);
  for (int i = 0; i < c->inputs && !status; i++) {
    input[i] = &inputs[i];
    status = th_tensor_new(&inputs[i], TH_F64, c->shape[i].ndim, c->shape[i].shape, error);
    bool ranged = c->low != 0 || c->high != 0;
    if (!status)
      th_fill_uniform(&inputs[i], ranged ? c->low : -2, ranged ? c->high : 2, (th_random){42, (uint64_t)i});
  }
  th_gradcheck_options options = {.fast = fast, .seed = 5};
  if (!status) status = th_gradcheck(c->function, NULL, c->inputs, input, &options, report, error);
  for (int i = 0; i < c->inputs; i++) th_tensor_free(&inputs[i]);
  return status;
}
