/* Layers and the Transformer: what must be equal is equal, what must not be seen is not seen. */
#include "engine_desk.h"
#include "tapehead/nn.h"

#include <complex.h>
#include <stdlib.h>

/* ---- parameters ------------------------------------------------------------------------------ */

TestSuite(params);

static const th_init zeros = {.kind = TH_INIT_ZEROS}, xavier = {.kind = TH_INIT_XAVIER};

static th_params *set_of_two(th_dtype dtype, uint64_t seed) {
  th_params *set = th_params_new();
  th_params_add(set, "layer", "weight", xavier, SHAPE(3, 5));
  th_params_add(set, "", "scale", (th_init){.kind = TH_INIT_ONES}, SHAPE(4));
  cr_assert(th_params_make(set, dtype, seed, NULL) == TH_OK);
  return set;
}

Test(params, are_found_by_name_and_by_index) {
  th_params *set = set_of_two(TH_F32, 1);
  cr_assert(th_params_count(set) == 2 && th_params_elements(set) == 19);
  cr_expect_str_eq(th_params_at(set, 0)->name, "layer.weight");
  cr_expect_str_eq(th_params_at(set, 1)->name, "scale");
  cr_expect(th_params_find(set, "scale") == th_params_at(set, 1));
  cr_expect(th_params_find(set, "layer") == NULL);
  th_params_free(set);
}

Test(params, lie_in_one_vector_of_values_and_one_of_gradients_with_zeros_between) {
  th_params *set = set_of_two(TH_F64, 1);
  th_tensor values = th_params_values(set), grads = th_params_grads(set);
  const th_param *weight = th_params_at(set, 0), *scale = th_params_at(set, 1);
  cr_assert(values.ndim == 1 && values.shape[0] == grads.shape[0] && values.shape[0] >= 19);
  cr_expect(weight->value.data == values.data && weight->grad.data == grads.data);
  cr_expect((uintptr_t)scale->value.data % 64 == 0);
  double sum = 0;
  for (int64_t i = 0; i < values.shape[0]; i++) sum += fabs(th_tensor_get(&values, i));
  for (int64_t i = 0; i < 15; i++) sum -= fabs(th_tensor_get(&weight->value, i));
  cr_expect(fabs(sum - 4) < 1e-12, "four ones, and padding of 0: %g", sum);
  th_fill(&grads, 2);
  th_params_zero_grads(set);
  cr_expect(largest_size(&scale->grad) == 0 && largest_size(&weight->grad) == 0);
  th_params_free(set);
}

Test(params, pointers_stay_valid_while_more_are_declared) {
  th_params *set = th_params_new();
  th_param *first = th_params_add(set, NULL, "first", zeros, SHAPE(1));
  for (int i = 0; i < 200; i++) {
    char name[16];
    snprintf(name, sizeof name, "p%d", i);
    cr_assert(th_params_add(set, NULL, name, zeros, SHAPE(2)) != NULL);
  }
  cr_expect(th_params_at(set, 0) == first);
  cr_expect_str_eq(first->name, "first");
  cr_assert(th_params_make(set, TH_F32, 1, NULL) == TH_OK);
  cr_expect(first->value.data != NULL);
  th_params_free(set);
}

static void expect_make_fails(th_params *set, th_status status, const char *text) {
  th_error error = {0};
  cr_assert(th_params_make(set, TH_F32, 1, &error) == status, "%s", text);
  cr_expect_str_eq(error.text, text);
  th_params_free(set);
}

Test(params, a_name_declared_twice_is_refused) {
  th_params *set = th_params_new();
  th_params_add(set, "a", "b", zeros, SHAPE(1));
  cr_expect(th_params_add(set, NULL, "a.b", zeros, SHAPE(1)) == NULL);
  cr_expect(th_params_add(set, NULL, "fine", zeros, SHAPE(1)) == NULL, "after a failure nothing is declared");
  expect_make_fails(set, TH_EINVAL, "parameter a.b: declared twice");
}

Test(params, a_name_without_room_is_refused) {
  char longest[TH_NAME_MAX + 1], text[200], kept[TH_NAME_MAX];
  memset(longest, 'x', sizeof longest);
  longest[TH_NAME_MAX - 1] = 0;
  th_params *set = th_params_new();
  cr_expect(th_params_add(set, NULL, longest, zeros, SHAPE(1)) != NULL, "%d characters fit", TH_NAME_MAX - 1);
  cr_expect(th_params_add(set, "y", longest, zeros, SHAPE(1)) == NULL);
  snprintf(kept, sizeof kept, "y.%.93s", longest);
  snprintf(text, sizeof text, "parameter %s: the name is too long", kept);
  expect_make_fails(set, TH_EINVAL, text);
}

Test(params, a_shape_no_parameter_can_have_is_refused) {
  const char *sizes = "parameter w: every size must be at least 1, and their product must fit memory";
  const struct {
    int ndim;
    int64_t shape[7];
  } bad[] = {{2, {3, 0}}, {1, {-1}}, {3, {1 << 30, 1 << 30, 1 << 30}}, {7, {1, 1, 1, 1, 1, 1, 1}}, {-1, {0}}};
  for (int i = 0; i < 5; i++) {
    th_params *set = th_params_new();
    cr_expect(th_params_add(set, NULL, "w", zeros, bad[i].ndim, bad[i].shape) == NULL, "shape %d", i);
    expect_make_fails(set, TH_ESHAPE, i < 3 ? sizes : "parameter w: too many axes");
  }
}

Test(params, nothing_is_declared_after_they_are_made) {
  th_params *set = set_of_two(TH_F32, 1);
  cr_expect(th_params_add(set, NULL, "late", zeros, SHAPE(1)) == NULL);
  cr_expect(th_params_count(set) == 2);
  expect_make_fails(set, TH_EINVAL, "parameter late: declared after th_params_make");
}

Test(params, are_made_once) {
  th_params *set = set_of_two(TH_F32, 1);
  void *values = th_params_values(set).data;
  th_error error = {0};
  cr_expect(th_params_make(set, TH_F32, 2, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "parameters: made before");
  cr_expect(th_params_values(set).data == values && th_params_elements(set) == 19);
  th_params_free(set);
}

Test(params, an_empty_set_is_no_error) {
  th_params *set = th_params_new();
  cr_expect(th_params_make(set, TH_F32, 1, NULL) == TH_OK);
  cr_expect(th_params_elements(set) == 0 && th_params_values(set).shape[0] == 0);
  th_params_free(set);
  th_params_free(NULL);
}

Test(params, copy_goes_by_name_from_float_to_double) {
  th_params *from = set_of_two(TH_F32, 1), *to = th_params_new();
  th_params_add(to, NULL, "scale", zeros, SHAPE(4)); /* the other order */
  th_params_add(to, "layer", "weight", zeros, SHAPE(3, 5));
  cr_assert(th_params_make(to, TH_F64, 9, NULL) == TH_OK);
  cr_assert(th_params_copy(to, from, NULL) == TH_OK);
  expect_near(&th_params_find(to, "scale")->value, &th_params_find(from, "scale")->value, 0, "scale");
  expect_near(&th_params_find(to, "layer.weight")->value, &th_params_find(from, "layer.weight")->value, 0,
              "weight");
  th_params_free(from);
  th_params_free(to);
}

Test(params, copy_says_what_is_missing_or_of_another_shape) {
  th_params *from = set_of_two(TH_F32, 1), *to = th_params_new(), *other = th_params_new();
  th_error error = {0};
  th_params_add(to, NULL, "bias", zeros, SHAPE(4));
  th_params_add(other, NULL, "scale", zeros, SHAPE(2, 2));
  cr_assert(th_params_make(to, TH_F32, 1, NULL) == TH_OK && th_params_make(other, TH_F32, 1, NULL) == TH_OK);
  cr_expect(th_params_copy(to, from, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "parameter bias: the other set has none");
  cr_expect(th_params_copy(other, from, &error) == TH_ESHAPE);
  cr_expect_str_eq(error.text, "copy: shapes [2,2] and [4] differ");
  th_params_free(from);
  th_params_free(to);
  th_params_free(other);
}

/* ---- first values ---------------------------------------------------------------------------- */

TestSuite(init);

/* Mean, variance and largest size of one parameter. */
static void spread_of(const th_tensor *x, double *mean, double *variance) {
  int64_t n = th_tensor_count(x);
  *mean = *variance = 0;
  for (int64_t i = 0; i < n; i++) *mean += th_tensor_get(x, i) / (double)n;
  for (int64_t i = 0; i < n; i++) *variance += pow(th_tensor_get(x, i) - *mean, 2) / (double)n;
}

static void expect_xavier(const th_tensor *x, double fans, const char *what) {
  double mean, variance, bound = sqrt(6 / fans), n = (double)th_tensor_count(x);
  spread_of(x, &mean, &variance);
  cr_expect(largest_size(x) <= bound && largest_size(x) > 0.99 * bound, "%s: %g, bound %g", what,
            largest_size(x), bound);
  cr_expect(fabs(mean) < 5 * bound / sqrt(3 * n), "%s: mean %g", what, mean);
  cr_expect(fabs(variance / (2 / fans) - 1) < 5 * sqrt(0.8 / n), "%s: variance %g, wanted %g", what, variance,
            2 / fans);
}

Test(init, xavier_is_uniform_within_its_bound) {
  th_params *set = th_params_new();
  th_nn_linear layer = th_nn_linear_make(set, "layer", 200, 100, true);
  cr_assert(th_params_make(set, TH_F32, 3, NULL) == TH_OK);
  expect_xavier(&layer.weight->value, 300, "weight");
  cr_expect(largest_size(&layer.bias->value) == 0);
  th_params_free(set);
}

Test(init, joined_projections_have_the_fans_of_each) {
  th_params *set = th_params_new();
  th_nn_attention layer =
      th_nn_attention_make(set, "attention", &(th_nn_attention_config){.width = 64, .heads = 4});
  cr_assert(th_params_make(set, TH_F32, 3, NULL) == TH_OK);
  cr_expect(layer.in_weight->value.shape[0] == 192 && layer.in_weight->value.shape[1] == 64);
  expect_xavier(&layer.in_weight->value, 128, "query, key and value");
  expect_xavier(&layer.out.weight->value, 128, "output");
  cr_expect(largest_size(&layer.in_bias->value) == 0);
  th_params_free(set);
}

Test(init, norms_start_as_the_identity) {
  th_params *set = th_params_new();
  th_nn_norm norm = th_nn_norm_make(set, "norm", 3);
  cr_assert(th_params_make(set, TH_F32, 3, NULL) == TH_OK);
  EXPECT_VALUES(&norm.weight->value, 0, 1, 1, 1);
  EXPECT_VALUES(&norm.bias->value, 0, 0, 0, 0);
  th_params_free(set);
}

/* A Transformer with everything small; change what matters. */
static th_transformer_config small_config(void) {
  return (th_transformer_config){.source_vocabulary = 11,
                                 .target_vocabulary = 13,
                                 .encoder_layers = 2,
                                 .decoder_layers = 2,
                                 .max_length = 10,
                                 .layer = {.width = 16, .heads = 4, .feed_forward = 24}};
}

static th_transformer *model_of(const th_transformer_config *config, th_dtype dtype, uint64_t seed) {
  th_transformer *model = NULL;
  th_error error = {0};
  cr_assert(th_transformer_new(&model, config, dtype, seed, &error) == TH_OK, "%s", error.text);
  return model;
}

static void expect_deviation(const th_tensor *x, double deviation) {
  double mean, variance, n = (double)th_tensor_count(x);
  spread_of(x, &mean, &variance);
  cr_expect(fabs(mean) < 5 * deviation / sqrt(n), "mean %g", mean);
  cr_expect(fabs(variance / pow(deviation, 2) - 1) < 5 * sqrt(2 / n), "deviation %g, wanted %g",
            sqrt(variance), deviation);
  cr_expect(largest_size(x) > 3 * deviation, "normal numbers have tails");
}

Test(init, embeddings_have_the_deviation_that_section_3_4_scales_to_one) {
  th_transformer_config config = small_config();
  config.source_vocabulary = config.target_vocabulary = 1000;
  config.max_length = 400;
  config.positions = TH_POSITIONS_LEARNED;
  th_transformer *model = model_of(&config, TH_F32, 1);
  expect_deviation(&model->source_embedding.weight->value, 0.25);
  expect_deviation(&model->target_embedding.weight->value, 0.25);
  expect_deviation(&model->source_positions.learned->value, 0.02);
  th_transformer_free(model);
  config.weights = TH_WEIGHTS_XAVIER;
  model = model_of(&config, TH_F32, 1);
  expect_xavier(&model->source_embedding.weight->value, 1016, "embedding");
  th_transformer_free(model);
}

static bool same_bits(const th_tensor *a, const th_tensor *b) {
  return !memcmp(a->data, b->data, (size_t)th_tensor_count(a) * th_dtype_size(a->dtype));
}

Test(init, the_same_seed_gives_the_same_bits_and_another_seed_others) {
  th_transformer_config config = small_config();
  th_transformer *first = model_of(&config, TH_F32, 1), *again = model_of(&config, TH_F32, 1),
                 *other = model_of(&config, TH_F32, 2);
  th_tensor a = th_params_values(first->params), b = th_params_values(again->params),
            c = th_params_values(other->params);
  cr_expect(same_bits(&a, &b));
  cr_expect(!same_bits(&a, &c));
  const th_param *weight = th_params_find(first->params, "output.weight"),
                 *elsewhere = th_params_find(other->params, "output.weight");
  cr_expect(!same_bits(&weight->value, &elsewhere->value));
  th_transformer_free(first);
  th_transformer_free(again);
  th_transformer_free(other);
}

Test(init, no_two_parameters_start_alike) {
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  const th_tensor *a = &model->encoder[0].self.in_weight->value,
                  *b = &model->encoder[1].self.in_weight->value;
  cr_expect(!same_bits(a, b));
  th_transformer_free(model);
}

Test(init, double_starts_where_float_does) {
  th_transformer_config config = small_config();
  th_transformer *narrow = model_of(&config, TH_F32, 1), *wide = model_of(&config, TH_F64, 1);
  th_tensor a = th_params_values(narrow->params), b = th_params_values(wide->params);
  expect_near(&a, &b, 1e-6, "values");
  th_transformer_free(narrow);
  th_transformer_free(wide);
}

/* ---- positions ------------------------------------------------------------------------------- */

TestSuite(positions);

Test(positions, sinusoids_follow_section_3_5) {
  for (int64_t width = 5; width <= 8; width++) {
    desk d = desk_open();
    th_tensor table = desk_zeros(&d, TH_F64, SHAPE(50, width));
    th_sinusoids(&table, 0);
    for (int64_t p = 0; p < 50; p++)
      for (int64_t i = 0; 2 * i < width; i++) {
        double angle = (double)p / pow(10000, 2 * (double)i / (double)width),
               *row = (double *)table.data + p * width;
        cr_assert(fabs(row[2 * i] - sin(angle)) < 1e-14);
        if (2 * i + 1 < width) cr_assert(fabs(row[2 * i + 1] - cos(angle)) < 1e-14);
      }
    desk_close(&d);
  }
}

static th_tensor ids_of(desk *d, int64_t rows, int64_t columns, int32_t below) {
  th_tensor ids = desk_zeros(d, TH_I32, SHAPE(rows, columns));
  for (int64_t i = 0; i < rows * columns; i++)
    th_tensor_set(&ids, i, (double)th_random_below((th_random){5, d->stream}, (uint64_t)i, below));
  d->stream++;
  return ids;
}

Test(positions, learned_ones_are_added_and_get_gradients_as_far_as_the_sequence_goes) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  config.positions = TH_POSITIONS_LEARNED;
  th_transformer *model = model_of(&config, TH_F64, 1);
  cr_expect(model->position_table.data == NULL);
  cr_assert(model->source_positions.learned->value.shape[0] == 10 &&
            model->source_positions.learned->value.shape[1] == 16);
  th_tensor source = ids_of(&d, 2, 4, 11), seed = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 4, 16)), kept,
            used, rest;
  kept = desk_copy(&d, TH_F64, &th_transformer_encode(model, d.tape, &source, NULL, NULL)->value);
  th_tensor_set(&model->source_positions.learned->value, 3 * 16, 5); /* position 3, the last */
  th_var *y = th_transformer_encode(model, d.tape, &source, NULL, NULL);
  cr_expect(first_difference(&kept, &y->value, 1e-6) >= 0, "they are used");
  th_backward(y, &seed);
  th_view_slice(&used, &model->source_positions.learned->grad, 0, 0, 4);
  th_view_slice(&rest, &model->source_positions.learned->grad, 0, 4, 10);
  for (int64_t p = 0; p < 4; p++) {
    th_tensor row;
    th_view_slice(&row, &used, 0, p, p + 1);
    cr_expect(largest_size(&row) > 1e-6, "position %ld", (long)p);
  }
  cr_expect(largest_size(&rest) == 0);
  cr_expect(largest_size(&model->target_positions.learned->grad) == 0);
  th_transformer_free(model);
  desk_close(&d);
}

static const th_positions every_kind[] = {TH_POSITIONS_SINUSOIDAL, TH_POSITIONS_LEARNED,  TH_POSITIONS_ROTARY,
                                          TH_POSITIONS_ALIBI,      TH_POSITIONS_RELATIVE, TH_POSITIONS_NONE};
enum { KINDS = sizeof every_kind / sizeof *every_kind };

Test(positions, turns_are_the_roots_of_unity_of_roformer) {
  desk d = desk_open();
  th_tensor turns = desk_zeros(&d, TH_F64, SHAPE(40, 6));
  th_turns(&turns, 100);
  for (int64_t m = 0; m < 40; m++)
    for (int64_t i = 1; i <= 3; i++) { /* theta_i = 10000^(-2 (i - 1) / d), i from 1 */
      double complex turn = cexp(I * (double)(100 + m) * pow(10000, -2 * (double)(i - 1) / 6));
      const double *pair = (double *)turns.data + m * 6 + 2 * (i - 1);
      cr_assert(fabs(pair[0] - creal(turn)) < 1e-12 && fabs(pair[1] - cimag(turn)) < 1e-12);
    }
  desk_close(&d);
}

Test(positions, rotary_scores_depend_on_the_distance_alone) {
  desk d = desk_open();
  th_nn_positions rotary = {.kind = TH_POSITIONS_ROTARY};
  th_tensor table = desk_zeros(&d, TH_F64, SHAPE(4, 8)); /* most of the places are past its end */
  th_turns(&table, 0);
  rotary.table = &table;
  th_tensor q = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 1, 1, 8)),
            k = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 1, 1, 8));
  for (int64_t distance = 0; distance < 5; distance++) {
    double first = 0;
    for (int64_t at = 0; at < 50; at++) {
      th_tape_reset(d.tape);
      th_var *turned_q = th_nn_positions_turn(&rotary, th_constant(d.tape, &q), at + distance);
      th_var *turned_k = th_nn_positions_turn(&rotary, th_constant(d.tape, &k), at);
      double score = th_tensor_get(&th_matmul(turned_q, th_transpose(turned_k))->value, 0);
      if (at == 0) first = score;
      cr_assert(fabs(score - first) < 1e-13, "distance %ld at %ld: %g, wanted %g", (long)distance, (long)at,
                score, first);
    }
    double plain = 0;
    for (int64_t i = 0; i < 8; i++) plain += th_tensor_get(&q, i) * th_tensor_get(&k, i);
    cr_expect(distance == 0 ? fabs(first - plain) < 1e-13 : fabs(first - plain) > 1e-3);
  }
  desk_close(&d);
}

Test(positions, alibi_slopes_are_those_published) {
  for (int64_t h = 0; h < 8; h++)
    cr_expect(th_alibi_slope(h, 8) == 1 / (double)(2 << h), "head %ld", (long)h);
  for (int64_t h = 0; h < 16; h++)
    cr_expect(fabs(th_alibi_slope(h, 16) - pow(2, -0.5 * (double)(h + 1))) < 1e-15);
  const double of_12[] = {0.5,       0.25,       0.125,      0.0625,     0.03125,    0.015625,
                          0.0078125, 0.00390625, 0.70710678, 0.35355339, 0.17677670, 0.08838835};
  for (int64_t h = 0; h < 12; h++)
    cr_expect(fabs(th_alibi_slope(h, 12) - of_12[h]) < 1e-8, "head %ld", (long)h);
  cr_expect(th_alibi_slope(0, 1) == 1. / 256);
}

Test(positions, alibi_is_a_penalty_by_distance_that_starts_at_the_last_queries) {
  desk d = desk_open();
  th_nn_positions positions = {.kind = TH_POSITIONS_ALIBI};
  th_tensor q = desk_zeros(&d, TH_F64, SHAPE(3, 2, 2, 4));
  th_var *bias =
      th_nn_positions_bias(&positions, NULL, th_constant(d.tape, &q), 4); /* queries at places 2 and 3 */
  EXPECT_VALUES(&bias->value, 0, -2. / 16, -1. / 16, 0, -1. / 16, -3. / 16, -2. / 16, -1. / 16, 0, -2. / 256,
                -1. / 256, 0, -1. / 256, -3. / 256, -2. / 256, -1. / 256, 0);
  desk_close(&d);
}

/* _relative_position_bucket of T5's code, in its words. */
static int64_t t5_bucket(int64_t relative_position, bool bidirectional) {
  int64_t num_buckets = 32, bucket = 0;
  if (bidirectional) {
    num_buckets /= 2;
    if (relative_position > 0) bucket += num_buckets;
    relative_position = relative_position < 0 ? -relative_position : relative_position;
  } else relative_position = relative_position < 0 ? -relative_position : 0;
  int64_t max_exact = num_buckets / 2;
  if (relative_position < max_exact) return bucket + relative_position;
  double large = log((double)relative_position / (double)max_exact) / log(128. / (double)max_exact);
  int64_t if_large =
      max_exact + (int64_t)(large * (double)(num_buckets - max_exact) + 1e-9); /* log 8 / log 16 is 3/4 */
  return bucket + (if_large < num_buckets - 1 ? if_large : num_buckets - 1);
}

Test(positions, relative_buckets_are_those_of_t5) {
  for (int64_t distance = -300; distance <= 300; distance++)
    for (int causal = 0; causal < 2; causal++)
      cr_assert(th_relative_bucket(distance, causal) == t5_bucket(distance, !causal), "%ld: %d, wanted %ld",
                (long)distance, th_relative_bucket(distance, causal), (long)t5_bucket(distance, !causal));
  /* read off the definition: 8 exact, then steps of 2^(1/2); causal 16 exact, then steps of 8^(1/16) */
  const int64_t both[][2] = {{0, 0},    {-7, 7},   {-8, 8},    {-11, 8},    {-12, 9}, {-16, 10}, {-64, 14},
                             {-90, 14}, {-91, 15}, {-128, 15}, {-5000, 15}, {1, 17},  {8, 24},   {500, 31}};
  for (size_t i = 0; i < sizeof both / sizeof *both; i++)
    cr_expect(th_relative_bucket(both[i][0], false) == both[i][1], "%ld", (long)both[i][0]);
  const int64_t behind[][2] = {{3, 0},    {-15, 15},  {-16, 16},  {-18, 16},
                               {-19, 17}, {-112, 30}, {-113, 31}, {-999, 31}};
  for (size_t i = 0; i < sizeof behind / sizeof *behind; i++)
    cr_expect(th_relative_bucket(behind[i][0], true) == behind[i][1], "%ld", (long)behind[i][0]);
}

Test(positions, one_relative_table_serves_every_layer_of_a_stack) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  config.positions = TH_POSITIONS_RELATIVE;
  th_transformer *model = model_of(&config, TH_F64, 1);
  const th_tensor *table = &model->source_positions.learned->value;
  cr_assert(table->shape[0] == 32 && table->shape[1] == 4);
  th_tensor q = desk_zeros(&d, TH_F64, SHAPE(2, 4, 3, 4)), seed = desk_zeros(&d, TH_F64, SHAPE(4, 3, 3));
  th_var *bias = th_nn_positions_bias(&model->source_positions, NULL, th_constant(d.tape, &q), 3);
  for (int64_t h = 0; h < 4; h++)
    for (int64_t i = 0; i < 3; i++)
      for (int64_t j = 0; j < 3; j++)
        cr_assert(th_tensor_get(&bias->value, (h * 3 + i) * 3 + j) ==
                  th_tensor_get(table, (j > i ? 16 + j - i : i - j) * 4 + h));
  th_fill(&seed, 1);
  th_backward(bias, &seed);
  const double counts[] = {3, 2, 1}; /* how often each distance stands in a square of three */
  for (int64_t distance = 0; distance < 3; distance++)
    cr_expect(th_tensor_get(&model->source_positions.learned->grad, distance * 4 + 1) == counts[distance]);
  for (int i = 0; i < 2; i++) {
    cr_expect(model->encoder[i].self.positions == &model->source_positions);
    cr_expect(model->decoder[i].self.positions == &model->target_positions);
    cr_expect(model->decoder[i].cross.positions == NULL);
  }
  th_transformer_free(model);
  desk_close(&d);
}

/* ---- attention ------------------------------------------------------------------------------- */

TestSuite(multi_head);

typedef struct subject {
  desk d;
  th_params *set;
  th_nn_attention attention;
  th_tensor x, memory, gx, gmemory, seed;
} subject;

static const int32_t memory_length[] = {5, 3};

static subject subject_open(th_nn_attention_config config, bool gate) {
  subject l = {.d = desk_open(), .set = th_params_new()};
  config.width = 12, config.heads = 3;
  l.attention = th_nn_attention_make(l.set, "attention", &config);
  if (gate)
    l.attention.gate = th_params_add(l.set, "attention", "gate", (th_init){.kind = TH_INIT_ONES}, SHAPE(3));
  cr_assert(th_params_make(l.set, TH_F64, 1, NULL) == TH_OK);
  th_tensor values = th_params_values(l.set);
  for (int i = 0; i < th_params_count(l.set); i++)
    if (th_params_at(l.set, i) != l.attention.gate)
      th_fill_uniform(&th_params_at(l.set, i)->value, -0.7, 0.7, (th_random){2, (uint64_t)i});
  cr_assert(values.data != NULL);
  l.x = desk_uniform(&l.d, TH_F64, -1, 1, SHAPE(2, 4, 12));
  l.memory = desk_uniform(&l.d, TH_F64, -1, 1, SHAPE(2, 5, 12));
  l.seed = desk_uniform(&l.d, TH_F64, -1, 1, SHAPE(2, 4, 12));
  return l;
}

static void subject_close(subject *l) {
  th_params_free(l->set);
  desk_close(&l->d);
}

/* Result and gradients of one run: self-attention, or to the memory. */
typedef struct outcome {
  th_tensor y, gx, gmemory, gparams;
} outcome;

static outcome attend(subject *l, bool cross, const th_mask *mask, const th_tap *tap) {
  outcome o;
  th_tape_reset(l->d.tape);
  th_params_zero_grads(l->set);
  th_var *x = desk_leaf(&l->d, &l->x, &o.gx), *memory = desk_leaf(&l->d, &l->memory, &o.gmemory);
  th_var *y = th_nn_attention_forward(&l->attention, x, cross ? memory : NULL, mask, tap);
  cr_assert(th_backward(y, &l->seed) == TH_OK, "%s", th_tape_error(l->d.tape)->text);
  th_tensor grads = th_params_grads(l->set);
  o.y = desk_copy(&l->d, TH_F64, &y->value), o.gparams = desk_copy(&l->d, TH_F64, &grads);
  return o;
}

static void expect_same_outcome(const outcome *a, const outcome *b, double limit) {
  cr_assert(largest_size(&a->y) > 0.01 && largest_size(&a->gx) > 0.01);
  expect_near(&a->y, &b->y, limit, "result");
  expect_near(&a->gx, &b->gx, limit, "gradient of x");
  expect_near(&a->gmemory, &b->gmemory, limit, "gradient of the memory");
  expect_near(&a->gparams, &b->gparams, limit, "gradients of the parameters");
}

static const th_mask padded = {.key_length = memory_length}, causal = {.causal = true};
static const th_nn_attention_config widths[] = {{0}, {.key_width = 3, .value_width = 5}};

Test(multi_head, separate_projections_give_the_same_as_one_product) {
  for (int c = 0; c < 4; c++) {
    subject l = subject_open(widths[c / 2], false);
    bool cross = c % 2;
    outcome fused = attend(&l, cross, cross ? &padded : &causal, NULL);
    l.attention.separate = true;
    outcome separate = attend(&l, cross, cross ? &padded : &causal, NULL);
    expect_same_outcome(&fused, &separate, 1e-12);
    subject_close(&l);
  }
}

static void look(void *context, const th_nn_attention *attention, th_seen *seen) {
  (void)attention;
  *(th_seen *)context = *seen;
}

Test(multi_head, a_tap_changes_nothing) {
  for (int c = 0; c < 4; c++) {
    subject l = subject_open(widths[c / 2], c & 1);
    th_seen seen;
    bool cross = c % 2;
    outcome plain = attend(&l, cross, cross ? &padded : &causal, NULL);
    outcome tapped = attend(&l, cross, cross ? &padded : &causal, &(th_tap){look, &seen});
    expect_same_outcome(&plain, &tapped, 1e-12);
    subject_close(&l);
  }
}

Test(multi_head, a_tap_changes_no_dropout_either) {
  subject l = subject_open((th_nn_attention_config){.dropout = 0.4}, false);
  th_seen seen;
  th_tape_train(l.d.tape, true);
  outcome plain = attend(&l, false, NULL, NULL), tapped = attend(&l, false, NULL, &(th_tap){look, &seen});
  th_tape_train(l.d.tape, false);
  outcome whole = attend(&l, false, NULL, NULL);
  expect_same_outcome(&plain, &tapped, 1e-12);
  cr_expect(first_difference(&plain.y, &whole.y, 0.01) >= 0, "dropout was at work");
  subject_close(&l);
}

static void silence_second_head(void *context, const th_nn_attention *attention, th_seen *seen) {
  static double keep[] = {1, 0, 1};
  (void)context, (void)attention;
  th_tensor gate = th_tensor_of(keep, TH_F64, 4, (int64_t[]){1, 3, 1, 1});
  seen->heads = th_mul(seen->heads, th_constant(seen->heads->tape, &gate));
}

Test(multi_head, a_head_that_a_tap_silences_is_a_head_whose_gate_is_shut) {
  subject l = subject_open((th_nn_attention_config){.value_width = 5, .key_width = 2}, true);
  outcome open = attend(&l, true, &padded, NULL);
  outcome silenced = attend(&l, true, &padded, &(th_tap){silence_second_head, NULL});
  th_tensor_set(&l.attention.gate->value, 1, 0);
  outcome shut = attend(&l, true, &padded, NULL);
  cr_expect(first_difference(&silenced.y, &shut.y, 1e-12) < 0);
  cr_expect(first_difference(&silenced.y, &open.y, 1e-3) >= 0, "the head said something");
  subject_close(&l);
}

static int taps;
static const th_nn_attention *tapped_layer;
static void count_taps(void *context, const th_nn_attention *attention, th_seen *seen) {
  (void)context, (void)seen;
  taps++;
  tapped_layer = attention;
}

Test(multi_head, a_tap_sees_weights_whose_rows_sum_to_one_and_what_they_are_made_from) {
  subject l = subject_open((th_nn_attention_config){.value_width = 5, .key_width = 2}, true);
  th_tensor_set(&l.attention.gate->value, 1, 3);
  th_seen seen = {0};
  attend(&l, true, &padded, &(th_tap){look, &seen});
  const int64_t shapes[][4] = {{2, 3, 4, 2}, {2, 3, 5, 2}, {2, 3, 5, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}};
  const th_var *vars[] = {seen.query, seen.key, seen.value, seen.weights, seen.heads};
  for (int i = 0; i < 5; i++)
    for (int k = 0; k < 4; k++)
      cr_assert(vars[i]->value.ndim == 4 && vars[i]->value.shape[k] == shapes[i][k], "%d", i);
  for (int64_t row = 0; row < 24; row++) {
    double sum = 0;
    for (int64_t k = 0; k < 5; k++) {
      double w = th_tensor_get(&seen.weights->value, row * 5 + k);
      cr_assert(w >= 0 && (k < memory_length[row / 12] ? w > 0 : w == 0), "row %ld, key %ld: %g", (long)row,
                (long)k, w);
      sum += w;
    }
    cr_assert(fabs(sum - 1) < 1e-14);
  }
  for (int64_t i = 0; i < 2 * 3 * 4 * 5; i++) { /* heads = gate weights value */
    double sum = 0;
    int64_t row = i / 5, head = row / 4;
    for (int64_t k = 0; k < 5; k++)
      sum += th_tensor_get(&seen.weights->value, row * 5 + k) *
             th_tensor_get(&seen.value->value, (head * 5 + k) * 5 + i % 5);
    cr_assert(fabs(th_tensor_get(&seen.heads->value, i) - (head % 3 == 1 ? 3 : 1) * sum) < 1e-13);
  }
  subject_close(&l);
}

/* Columns of the output projection [E, H*V] that head 1 writes to. */
static th_tensor columns_of_head_1(const th_nn_attention *attention) {
  th_tensor columns;
  int64_t width = attention->value_width;
  cr_assert(th_view_slice(&columns, &attention->out.weight->value, 1, width, 2 * width));
  return columns;
}

Test(multi_head, a_gate_of_0_removes_a_head) {
  subject l = subject_open((th_nn_attention_config){0}, true);
  outcome whole = attend(&l, true, &padded, NULL);
  th_tensor_set(&l.attention.gate->value, 1, 0);
  outcome gated = attend(&l, true, &padded, NULL);
  th_tensor columns = columns_of_head_1(&l.attention);
  th_tensor_set(&l.attention.gate->value, 1, 1);
  th_fill(&columns, 0);
  outcome cut = attend(&l, true, &padded, NULL);
  expect_near(&gated.y, &cut.y, 1e-14, "result");
  expect_near(&gated.gx, &cut.gx, 1e-14, "gradient of x");
  cr_expect(first_difference(&whole.y, &cut.y, 0.01) >= 0, "the head did something");
  subject_close(&l);
}

Test(multi_head, gates_of_1_change_nothing_and_their_gradient_is_the_heads_part) {
  subject l = subject_open((th_nn_attention_config){0}, true);
  th_param *gate = l.attention.gate;
  outcome gated = attend(&l, false, &causal, NULL);
  th_tensor gradient = desk_copy(&l.d, TH_F64, &gate->grad);
  l.attention.gate = NULL;
  outcome plain = attend(&l, false, &causal, NULL);
  expect_near(&gated.y, &plain.y, 0, "result");
  th_tensor columns =
      columns_of_head_1(&l.attention); /* <seed, y> falls by the head's part, which is linear in its gate */
  th_fill(&columns, 0);
  outcome cut = attend(&l, false, &causal, NULL);
  double part = 0;
  for (int64_t i = 0; i < 2 * 4 * 12; i++)
    part += th_tensor_get(&l.seed, i) * (th_tensor_get(&plain.y, i) - th_tensor_get(&cut.y, i));
  cr_expect(fabs(th_tensor_get(&gradient, 1) - part) < 1e-12, "%g, wanted %g", th_tensor_get(&gradient, 1),
            part);
  subject_close(&l);
}

Test(multi_head, kinds_have_names) {
  cr_expect_str_eq(th_attention_kind_name(TH_ENCODER_SELF), "encoder_self");
  cr_expect_str_eq(th_attention_kind_name(TH_DECODER_SELF), "decoder_self");
  cr_expect_str_eq(th_attention_kind_name(TH_CROSS), "cross");
}

/* ---- the Transformer: what it may see -------------------------------------------------------- */

TestSuite(transformer);

/* Logits [B,T,n] on the desk. */
static th_tensor logits_of(desk *d, const th_transformer *model, const th_tensor *source,
                           const int32_t *length, const th_tensor *target, const th_tap *tap) {
  th_tape_reset(d->tape);
  th_var *memory = th_transformer_encode(model, d->tape, source, length, tap);
  th_var *logits = th_transformer_decode(model, memory, length, target, tap);
  expect_no_error(d->tape);
  return desk_copy(d, logits->value.dtype, &logits->value);
}

static th_transformer_config config_number(int i) {
  th_transformer_config config = small_config();
  config.layer.norm_first = config.final_norm = i & 1;
  config.layer.activation = (th_activation)(i % 3);
  config.positions = every_kind[i % KINDS];
  return config;
}

Test(transformer, knows_places_by_every_kind_of_positions_but_none) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 1, 5, 11), target = ids_of(&d, 1, 4, 13);
    th_tensor moved = desk_copy(&d, TH_I32, &source), mirrored = desk_copy(&d, TH_I32, &source);
    for (int64_t k = 0; k < 5; k++) {
      th_tensor_set(&moved, k, th_tensor_get(&source, (k + 1) % 5));
      th_tensor_set(&mirrored, k, th_tensor_get(&source, 4 - k));
    }
    th_tensor logits = logits_of(&d, model, &source, NULL, &target, NULL),
              of_moved = logits_of(&d, model, &moved, NULL, &target, NULL),
              of_mirrored = logits_of(&d, model, &mirrored, NULL, &target, NULL);
    if (config.positions == TH_POSITIONS_NONE) expect_near(&of_moved, &logits, 1e-12, "a bag of tokens");
    else cr_expect(first_difference(&logits, &of_moved, 1e-5) >= 0, "kind %d", i);
    if (config.positions == TH_POSITIONS_ALIBI)
      expect_near(&of_mirrored, &logits, 1e-12, "the same distances, ahead or behind");
    th_transformer_free(model);
    desk_close(&d);
  }
}

Test(transformer, a_tap_changes_nothing_with_any_kind_of_positions) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 2, 5, 11), target = ids_of(&d, 2, 4, 13);
    th_tensor plain = logits_of(&d, model, &source, memory_length, &target, NULL);
    th_tensor tapped = logits_of(&d, model, &source, memory_length, &target, &(th_tap){count_taps, NULL});
    expect_near(&tapped, &plain, 1e-12, "logits");
    th_transformer_free(model);
    desk_close(&d);
  }
}

Test(transformer, without_a_learned_table_sequences_may_be_longer_than_the_longest) {
  for (int i = 0; i < KINDS; i++) {
    if (every_kind[i] == TH_POSITIONS_LEARNED) continue;
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *roomy = model_of(&config, TH_F64, 1), *model;
    config.max_length = 3;
    model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 2, 9, 11), target = ids_of(&d, 2, 8, 13);
    th_tensor wanted = logits_of(&d, roomy, &source, NULL, &target, NULL);
    th_tensor got = logits_of(&d, model, &source, NULL, &target, NULL);
    expect_near(&got, &wanted, 1e-13, "logits");
    th_transformer_free(model);
    th_transformer_free(roomy);
    desk_close(&d);
  }
}

Test(transformer, padding_changes_nothing) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 2, 5, 11), longer = ids_of(&d, 2, 9, 11), target = ids_of(&d, 2, 4, 13),
              part;
    const int32_t length[] = {5, 3};
    th_view_slice(&part, &longer, 1, 0, 5);
    cr_assert(th_tensor_copy(&part, &source, NULL) == TH_OK);
    th_tensor a = logits_of(&d, model, &source, length, &target, NULL);
    th_tensor b = logits_of(&d, model, &longer, length, &target, NULL);
    cr_expect(largest_size(&a) > 0.1);
    expect_near(&b, &a, 1e-12, "padded source");
    for (int64_t k = 3; k < 5; k++) th_tensor_set(&source, 5 + k, 0); /* what stands in the padding */
    b = logits_of(&d, model, &source, length, &target, NULL);
    expect_near(&b, &a, 1e-12, "other padding");
    th_transformer_free(model);
    desk_close(&d);
  }
}

Test(transformer, padding_gets_no_gradient) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F64, 1);
  th_tensor source = ids_of(&d, 1, 4, 5), target = ids_of(&d, 1, 3, 13), wanted = ids_of(&d, 1, 3, 13), row;
  const int32_t length[] = {3};
  th_tensor_set(&source, 3, 7); /* a token that stands only in the padding */
  th_var *memory = th_transformer_encode(model, d.tape, &source, length, NULL);
  th_backward(th_cross_entropy(th_transformer_decode(model, memory, length, &target, NULL), &wanted, 0),
              NULL);
  expect_no_error(d.tape);
  th_view_slice(&row, &model->source_embedding.weight->grad, 0, 7, 8);
  cr_expect(largest_size(&row) == 0);
  cr_expect(largest_size(&model->source_embedding.weight->grad) > 1e-6);
  th_transformer_free(model);
  desk_close(&d);
}

Test(transformer, a_batch_of_one_equals_its_row_in_a_batch) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 3, 5, 11), target = ids_of(&d, 3, 4, 13), one_source, one_target, row;
    const int32_t length[] = {5, 3, 4};
    th_tensor all = logits_of(&d, model, &source, length, &target, NULL);
    for (int64_t b = 0; b < 3; b++) {
      th_view_slice(&one_source, &source, 0, b, b + 1), th_view_slice(&one_target, &target, 0, b, b + 1);
      th_tensor one = logits_of(&d, model, &one_source, &length[b], &one_target, NULL);
      th_view_slice(&row, &all, 0, b, b + 1);
      expect_near(&one, &row, 1e-12, "row");
    }
    th_transformer_free(model);
    desk_close(&d);
  }
}

Test(transformer, a_later_target_token_changes_no_earlier_logits) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 1, 5, 11), target = ids_of(&d, 1, 6, 13), head, head_before, tail,
              tail_before;
    th_tensor before = logits_of(&d, model, &source, NULL, &target, NULL);
    th_tensor_set(&target, 4, (double)(((int)th_tensor_get(&target, 4) + 1) % 13));
    th_tensor after = logits_of(&d, model, &source, NULL, &target, NULL);
    th_view_slice(&head, &after, 1, 0, 4), th_view_slice(&head_before, &before, 1, 0, 4);
    th_view_slice(&tail, &after, 1, 4, 6), th_view_slice(&tail_before, &before, 1, 4, 6);
    expect_near(&head, &head_before, 1e-13, "earlier logits");
    cr_expect(first_difference(&tail, &tail_before, 0.001) >= 0, "later ones change");
    th_transformer_free(model);
    desk_close(&d);
  }
}

Test(transformer, a_source_token_changes_every_logit) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F64, 1);
  th_tensor source = ids_of(&d, 1, 5, 11), target = ids_of(&d, 1, 4, 13);
  th_tensor before = logits_of(&d, model, &source, NULL, &target, NULL);
  th_tensor_set(&source, 4, (double)(((int)th_tensor_get(&source, 4) + 1) % 11));
  th_tensor after = logits_of(&d, model, &source, NULL, &target, NULL);
  for (int64_t i = 0; i < th_tensor_count(&before); i++)
    cr_assert(th_tensor_get(&before, i) != th_tensor_get(&after, i), "logit %ld", (long)i);
  th_transformer_free(model);
  desk_close(&d);
}

Test(transformer, a_tap_is_called_by_each_attention_and_changes_nothing) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F64, 1);
  th_tensor source = ids_of(&d, 2, 5, 11), target = ids_of(&d, 2, 4, 13);
  const int32_t length[] = {5, 3};
  th_tensor plain = logits_of(&d, model, &source, length, &target, NULL);
  th_tensor tapped = logits_of(&d, model, &source, length, &target, &(th_tap){count_taps, NULL});
  cr_expect(taps == 2 + 2 * 2);
  cr_expect(tapped_layer == &model->decoder[1].cross);
  cr_expect(tapped_layer->kind == TH_CROSS && tapped_layer->layer == 1);
  expect_near(&tapped, &plain, 1e-12, "logits");
  th_transformer_free(model);
  desk_close(&d);
}

Test(transformer, float_and_double_agree_to_rounding) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    th_transformer *narrow = model_of(&config, TH_F32, 1), *wide = model_of(&config, TH_F64, 2);
    cr_assert(th_params_copy(wide->params, narrow->params, NULL) == TH_OK);
    th_tensor source = ids_of(&d, 2, 5, 11), target = ids_of(&d, 2, 4, 13);
    th_tensor a = logits_of(&d, narrow, &source, NULL, &target, NULL),
              b = logits_of(&d, wide, &source, NULL, &target, NULL);
    expect_near(&a, &b, 2e-5, "logits");
    th_transformer_free(narrow);
    th_transformer_free(wide);
    desk_close(&d);
  }
}

Test(transformer, a_sequence_longer_than_the_longest_is_an_error_with_learned_positions) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  config.positions = TH_POSITIONS_LEARNED;
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor longest = ids_of(&d, 1, 10, 11), longer = ids_of(&d, 1, 11, 11);
  th_transformer_encode(model, d.tape, &longest, NULL, NULL);
  expect_no_error(d.tape);
  th_var *memory = th_transformer_encode(model, d.tape, &longer, NULL, NULL);
  const char *text = "slice: [10,16] has no 0 to 11 on axis 0 (";
  cr_assert(th_tape_error(d.tape) != NULL);
  cr_expect(!strncmp(th_tape_error(d.tape)->text, text, strlen(text)), "%s", th_tape_error(d.tape)->text);
  cr_expect(th_tape_error(d.tape)->status == TH_ESHAPE);
  th_transformer_decode(model, memory, NULL, &longest, NULL);
  cr_expect(!strncmp(th_tape_error(d.tape)->text, text, strlen(text)), "the first error stays");
  th_transformer_free(model);
  desk_close(&d);
}

Test(transformer, an_unknown_token_is_an_error_on_the_tape) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 1, 3, 11);
  th_tensor_set(&source, 2, 11);
  th_transformer_encode(model, d.tape, &source, NULL, NULL);
  cr_assert(th_tape_error(d.tape) != NULL);
  cr_expect(!strncmp(th_tape_error(d.tape)->text, "gather: id 11 at element 2 is not below 11 (", 44), "%s",
            th_tape_error(d.tape)->text);
  th_transformer_free(model);
  desk_close(&d);
}

Test(transformer, token_by_token_past_the_limit_is_an_error_on_the_tape) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 5, 11), token = ids_of(&d, 2, 1, 13);
  const char *text = "slice: [2,4,3,4] has no 3 to 4 on axis 2 (";
  th_tape_record(d.tape, false);
  th_var *memory = th_transformer_encode(model, d.tape, &source, NULL, NULL);
  th_decoding decoding = th_decoding_begin(model, memory, NULL, 3);
  for (int t = 0; t < 3; t++) th_decoding_step(&decoding, d.tape, &token, NULL);
  expect_no_error(d.tape);
  cr_expect(decoding.length == 3);
  th_decoding_step(&decoding, d.tape, &token, NULL);
  cr_assert(th_tape_error(d.tape) != NULL);
  cr_expect(!strncmp(th_tape_error(d.tape)->text, text, strlen(text)), "%s", th_tape_error(d.tape)->text);
  th_transformer_free(model);
  desk_close(&d);
}

/* ---- tied matrices --------------------------------------------------------------------------- */

TestSuite(tied);

static th_transformer_config tied_config(bool source, bool output) {
  th_transformer_config config = small_config();
  config.source_vocabulary = config.target_vocabulary;
  config.tie_source = source, config.tie_output = output;
  return config;
}

Test(tied, a_shared_matrix_stands_once_in_the_set_under_the_target_embeddings_name) {
  for (int i = 0; i < 4; i++) {
    bool source = i & 1, output = i & 2;
    th_transformer_config config = tied_config(source, output), none = tied_config(false, false);
    th_transformer *model = model_of(&config, TH_F32, 1), *free = model_of(&none, TH_F32, 1);
    const th_param *shared = th_params_find(model->params, "target_embedding.weight");
    cr_assert(shared && shared == model->target_embedding.weight);
    cr_expect((model->source_embedding.weight == shared) == source);
    cr_expect((model->output.weight == shared) == output);
    cr_expect((th_params_find(model->params, "source_embedding.weight") == NULL) == source);
    cr_expect((th_params_find(model->params, "output.weight") == NULL) == output);
    cr_expect(model->output.bias == th_params_find(model->params, "output.bias") && model->output.bias);
    cr_expect(th_params_elements(free->params) - th_params_elements(model->params) ==
              (source + output) * 13 * 16);
    th_transformer_free(model);
    th_transformer_free(free);
  }
}

/* Logits, with the loss's gradients in the parameters. */
static th_tensor learn(desk *d, const th_transformer *model, const th_tensor *source, const th_tensor *target,
                       const th_tensor *wanted) {
  th_tape_reset(d->tape);
  th_params_zero_grads(model->params);
  th_var *memory = th_transformer_encode(model, d->tape, source, NULL, NULL);
  th_var *logits = th_transformer_decode(model, memory, NULL, target, NULL);
  cr_assert(th_backward(th_cross_entropy(logits, wanted, 0), NULL) == TH_OK);
  return desk_copy(d, TH_F64, &logits->value);
}

static th_tensor gradient_of(desk *d, const th_transformer *model, const char *name) {
  return desk_copy(d, TH_F64, &th_params_find(model->params, name)->grad);
}

Test(tied, one_matrix_computes_what_three_equal_ones_do_and_its_gradient_is_their_sum) {
  desk d = desk_open();
  th_transformer_config config = tied_config(true, true), none = tied_config(false, false);
  th_transformer *one = model_of(&config, TH_F64, 1), *three = model_of(&none, TH_F64, 2);
  for (int i = 0; i < th_params_count(three->params); i++) {
    th_param *param = th_params_at(three->params, i), *from = th_params_find(one->params, param->name);
    cr_assert(th_tensor_copy(&param->value, from ? &from->value : &one->target_embedding.weight->value,
                             NULL) == TH_OK);
  }
  th_tensor source = ids_of(&d, 2, 5, 13), target = ids_of(&d, 2, 4, 13), wanted = ids_of(&d, 2, 4, 13);
  th_tensor a = learn(&d, one, &source, &target, &wanted), b = learn(&d, three, &source, &target, &wanted);
  expect_near(&a, &b, 0, "logits");
  static const char *const parts[] = {"source_embedding.weight", "target_embedding.weight", "output.weight"};
  th_tensor sum = desk_zeros(&d, TH_F64, SHAPE(13, 16));
  for (int p = 0; p < 3; p++) {
    th_tensor part = gradient_of(&d, three, parts[p]);
    cr_assert(largest_size(&part) > 1e-3);
    for (int64_t i = 0; i < 13 * 16; i++)
      th_tensor_set(&sum, i, th_tensor_get(&sum, i) + th_tensor_get(&part, i));
  }
  th_tensor whole = gradient_of(&d, one, "target_embedding.weight");
  expect_near(&whole, &sum, 1e-14, "gradient");
  a = gradient_of(&d, one, "encoder.layers.0.linear1.weight");
  b = gradient_of(&d, three, "encoder.layers.0.linear1.weight");
  expect_near(&a, &b, 0, "other gradients");
  th_transformer_free(one);
  th_transformer_free(three);
  desk_close(&d);
}

/* ---- other shapes ---------------------------------------------------------------------------- */

TestSuite(shapes);

static th_transformer_config language_config(int i) {
  th_transformer_config config = config_number(i);
  config.shape = TH_DECODER_ONLY;
  config.source_vocabulary = config.encoder_layers = 0;
  config.tie_output = i & 1;
  return config;
}

static th_transformer_config classes_config(int i) {
  th_transformer_config config = config_number(i);
  config.shape = TH_ENCODER_ONLY;
  config.target_vocabulary = config.decoder_layers = 0;
  config.classes = 3;
  return config;
}

Test(shapes, a_language_model_is_encoder_layers_under_a_causal_mask) {
  desk d = desk_open();
  th_transformer_config config = language_config(0);
  th_transformer *model = model_of(&config, TH_F64, 1);
  th_tensor tokens = ids_of(&d, 2, 5, 13), places;
  cr_expect(model->decoder == NULL && model->source_embedding.weight == NULL);
  cr_expect(th_params_find(model->params, "decoder.layers.1.self_attn.in_proj_weight") != NULL);
  cr_expect(th_params_find(model->params, "decoder.layers.0.multihead_attn.in_proj_weight") == NULL);
  th_view_slice(&places, &model->position_table, 0, 0, 5);
  th_var *x = th_add(th_nn_embedding_forward(&model->target_embedding, d.tape, &tokens),
                     th_constant(d.tape, &places));
  for (int i = 0; i < 2; i++) x = th_nn_encoder_layer_forward(&model->encoder[i], x, &causal, NULL);
  th_var *wanted = th_nn_linear_forward(&model->output, x),
         *logits = th_transformer_language(model, d.tape, &tokens, &(th_tap){count_taps, NULL});
  expect_near(&logits->value, &wanted->value, 1e-13, "logits");
  cr_expect(taps == 2 && tapped_layer->kind == TH_DECODER_SELF);
  th_transformer_free(model);
  desk_close(&d);
}

static th_tensor language_of(desk *d, const th_transformer *model, const th_tensor *tokens) {
  th_tape_reset(d->tape);
  th_var *logits = th_transformer_language(model, d->tape, tokens, NULL);
  expect_no_error(d->tape);
  return desk_copy(d, logits->value.dtype, &logits->value);
}

Test(shapes, a_later_token_changes_nothing_a_language_model_said_before) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = language_config(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor tokens = ids_of(&d, 1, 6, 13), head, head_before, tail, tail_before;
    th_tensor before = language_of(&d, model, &tokens);
    th_tensor_set(&tokens, 4, (double)(((int)th_tensor_get(&tokens, 4) + 1) % 13));
    th_tensor after = language_of(&d, model, &tokens);
    th_view_slice(&head, &after, 1, 0, 4), th_view_slice(&head_before, &before, 1, 0, 4);
    th_view_slice(&tail, &after, 1, 4, 6), th_view_slice(&tail_before, &before, 1, 4, 6);
    expect_near(&head, &head_before, 1e-13, "earlier logits");
    cr_expect(first_difference(&tail, &tail_before, 0.001) >= 0, "later ones change");
    th_transformer_free(model);
    desk_close(&d);
  }
}

/* Reads pieces of these lengths, one after the other, and compares with reading everything. */
static void expect_same_in_pieces(desk *d, const th_transformer *model, const th_tensor *tokens,
                                  const int64_t *piece) {
  th_tensor all = language_of(d, model, tokens), part, rows;
  th_tape_reset(d->tape);
  th_tape_record(d->tape, false);
  th_decoding decoding = th_decoding_begin_language(model, d->tape, tokens->shape[0], tokens->shape[1]);
  th_tape_mark(d->tape);
  for (int64_t at = 0; at < tokens->shape[1]; at += *piece++) {
    th_tape_rewind(d->tape);
    cr_assert(decoding.length == at);
    cr_assert(th_view_slice(&part, tokens, 1, at, at + *piece) &&
              th_view_slice(&rows, &all, 1, at, at + *piece));
    th_var *logits = th_decoding_step(&decoding, d->tape, &part, NULL);
    expect_no_error(d->tape);
    expect_near(&logits->value, &rows, 1e-12, "logits");
  }
}

Test(shapes, a_language_model_says_the_same_token_by_token_after_a_prompt_and_at_once) {
  for (int i = 0; i < 2 * KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = language_config(i);
    if (i >= KINDS) config.layer.heads = 3, config.layer.key_width = 6, config.layer.value_width = 7;
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor tokens = ids_of(&d, 3, 6, 13);
    expect_same_in_pieces(&d, model, &tokens, (int64_t[]){1, 1, 1, 1, 1, 1});
    expect_same_in_pieces(&d, model, &tokens, (int64_t[]){3, 1, 2});
    th_transformer_free(model);
    desk_close(&d);
  }
}

static th_tensor classes_of(desk *d, const th_transformer *model, const th_tensor *tokens,
                            const int32_t *length) {
  th_tape_reset(d->tape);
  th_var *logits = th_transformer_classify(model, d->tape, tokens, length, NULL);
  expect_no_error(d->tape);
  return desk_copy(d, logits->value.dtype, &logits->value);
}

Test(shapes, a_classifier_sees_the_mean_over_the_tokens_that_count) {
  desk d = desk_open();
  th_transformer_config config = classes_config(0);
  th_transformer *model = model_of(&config, TH_F64, 1);
  th_fill_uniform(&model->output.bias->value, -1, 1, (th_random){4, 4});
  th_tensor tokens = ids_of(&d, 3, 5, 11);
  const int32_t length[] = {5, 3, 0};
  th_tensor got = classes_of(&d, model, &tokens, length);
  th_tape_reset(d.tape);
  th_tensor x = th_transformer_encode(model, d.tape, &tokens, length, NULL)->value;
  cr_assert(got.ndim == 2 && got.shape[0] == 3 && got.shape[1] == 3);
  for (int64_t b = 0; b < 3; b++)
    for (int64_t c = 0; c < 3; c++) {
      double wanted = th_tensor_get(&model->output.bias->value, c);
      for (int64_t t = 0; t < length[b]; t++)
        for (int64_t e = 0; e < 16; e++)
          wanted += th_tensor_get(&model->output.weight->value, c * 16 + e) *
                    th_tensor_get(&x, (b * 5 + t) * 16 + e) / length[b];
      cr_assert(fabs(th_tensor_get(&got, b * 3 + c) - wanted) < 1e-13);
    }
  th_tensor beyond = classes_of(&d, model, &tokens, (const int32_t[]){9, 3, 0});
  expect_near(&beyond, &got, 1e-13, "there are no tokens past the last");
  th_tensor row, all;
  th_view_slice(&row, &tokens, 0, 0, 1), th_view_slice(&all, &got, 0, 0, 1);
  got = classes_of(&d, model, &row, NULL);
  expect_near(&got, &all, 1e-13, "without lengths every token counts");
  th_transformer_free(model);
  desk_close(&d);
}

Test(shapes, padding_changes_no_class) {
  for (int i = 0; i < KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = classes_config(i);
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor tokens = ids_of(&d, 2, 5, 11), part;
    const int32_t length[] = {3, 2};
    th_view_slice(&part, &tokens, 1, 0, 3);
    th_tensor a = classes_of(&d, model, &part, length), b = classes_of(&d, model, &tokens, length);
    expect_near(&b, &a, 1e-12, "classes");
    cr_expect(largest_size(&a) > 0.01);
    th_transformer_free(model);
    desk_close(&d);
  }
}

static void expect_misuse(desk *d, th_var *made, const char *text) {
  char wanted[200];
  snprintf(wanted, sizeof wanted, "transformer: %s", text);
  cr_assert(made->tape == d->tape && th_tape_error(d->tape), "%s", text);
  cr_expect_str_eq(th_tape_error(d->tape)->text, wanted);
  cr_expect(th_tape_error(d->tape)->status == TH_EINVAL);
  th_tape_reset(d->tape);
}

Test(shapes, what_a_shape_has_not_is_an_error_on_the_tape) {
  desk d = desk_open();
  th_transformer_config config[] = {small_config(), language_config(0), classes_config(0)};
  th_transformer *both = model_of(&config[0], TH_F32, 1), *decoder = model_of(&config[1], TH_F32, 1),
                 *encoder = model_of(&config[2], TH_F32, 1);
  th_tensor ids = ids_of(&d, 2, 3, 11), x = desk_zeros(&d, TH_F32, SHAPE(2, 3, 16));
  const char *no_memory = "only an encoder-decoder model has a memory to decode",
             *no_language = "only a decoder-only model is a language model",
             *no_class = "only an encoder-only model classifies";
  expect_misuse(&d, th_transformer_encode(decoder, d.tape, &ids, NULL, NULL),
                "a decoder-only model encodes nothing");
  expect_misuse(&d, th_transformer_decode(decoder, th_constant(d.tape, &x), NULL, &ids, NULL), no_memory);
  expect_misuse(&d, th_transformer_decode(encoder, th_constant(d.tape, &x), NULL, &ids, NULL), no_memory);
  expect_misuse(&d, th_transformer_language(both, d.tape, &ids, NULL), no_language);
  expect_misuse(&d, th_transformer_language(encoder, d.tape, &ids, NULL), no_language);
  expect_misuse(&d, th_transformer_classify(both, d.tape, &ids, NULL, NULL), no_class);
  expect_misuse(&d, th_transformer_classify(decoder, d.tape, &ids, NULL, NULL), no_class);
  th_decoding none = th_decoding_begin(decoder, th_constant(d.tape, &x), NULL, 3);
  expect_misuse(&d, th_constant(d.tape, &x), no_memory);
  none = th_decoding_begin_language(both, d.tape, 2, 3);
  expect_misuse(&d, th_constant(d.tape, &x), no_language);
  none = th_decoding_begin(encoder, th_constant(d.tape, &x), NULL, 3);
  expect_misuse(&d, th_decoding_step(&none, d.tape, &ids, NULL), no_memory);
  cr_expect(none.length == 0);
  th_transformer_free(both);
  th_transformer_free(decoder);
  th_transformer_free(encoder);
  desk_close(&d);
}

/* ---- dropout: section 5.4, and inside attention and feed-forward as the authors' code has it ---------- */

TestSuite(dropped);

/* The places of a model where dropout stands, each with its probability. */
static int places_of(th_transformer *m, double *place[16]) {
  int count = 0;
  place[count++] = &m->config.layer.dropout; /* sums of embeddings and positions */
  for (int i = 0; i < (m->config.encoder_layers ? m->config.encoder_layers : m->config.decoder_layers); i++) {
    place[count++] = &m->encoder[i].dropout;
    place[count++] = &m->encoder[i].self.dropout;
    place[count++] = &m->encoder[i].feed_forward.dropout;
  }
  for (int i = 0; m->decoder && i < m->config.decoder_layers; i++) {
    place[count++] = &m->decoder[i].dropout;
    place[count++] = &m->decoder[i].self.dropout;
    place[count++] = &m->decoder[i].cross.dropout;
    place[count++] = &m->decoder[i].feed_forward.dropout;
  }
  return count;
}

static th_tensor anything_of(desk *d, const th_transformer *m, const th_tensor *ids, bool training) {
  th_tape_train(d->tape, training);
  th_tape_seed(d->tape, 3, 1);
  if (m->config.shape == TH_DECODER_ONLY) return language_of(d, m, ids);
  if (m->config.shape == TH_ENCODER_ONLY) return classes_of(d, m, ids, NULL);
  return logits_of(d, m, ids, NULL, ids, NULL);
}

Test(dropped, every_place_drops_while_the_tape_trains_and_only_then) {
  th_transformer_config config[] = {config_number(0), config_number(1), language_config(2),
                                    classes_config(3)};
  for (int c = 0; c < 4; c++) {
    desk d = desk_open();
    double *place[16];
    config[c].layer.dropout = 0.25;
    th_transformer *model = model_of(&config[c], TH_F64, 1);
    th_tensor ids = ids_of(&d, 2, 4, 11);
    int count = places_of(model, place);
    cr_assert(count == (config[c].shape == TH_ENCODER_DECODER ? 15 : 7));
    for (int i = 0; i < count; i++) {
      cr_expect(*place[i] == 0.25, "the configuration's, at place %d", i);
      *place[i] = 0;
    }
    th_tensor whole = anything_of(&d, model, &ids, true);
    for (int i = 0; i < count; i++) {
      *place[i] = 0.5;
      th_tensor dropped = anything_of(&d, model, &ids, true), calm = anything_of(&d, model, &ids, false);
      cr_expect(first_difference(&dropped, &whole, 1e-4) >= 0, "configuration %d, place %d", c, i);
      expect_near(&calm, &whole, 0, "not training");
      *place[i] = 0;
    }
    th_transformer_free(model);
    desk_close(&d);
  }
}

/* ---- configurations -------------------------------------------------------------------------- */

static void expect_config_refused(th_transformer_config config, const char *text) {
  th_error error = {0};
  th_transformer *model = NULL;
  cr_expect(th_transformer_check(&config, &error) == TH_EINVAL, "%s", text);
  cr_expect_str_eq(error.text, text);
  error.text[0] = 0;
  cr_expect(th_transformer_new(&model, &config, TH_F32, 1, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, text);
  cr_expect(model == NULL);
}

#define REFUSED(member, wrong, text) \
  do { \
    th_transformer_config config = small_config(); \
    config.member = wrong; \
    expect_config_refused(config, text); \
  } while (0)

Test(transformer, check_says_what_is_wrong_in_words_of_the_configuration) {
  th_transformer_config fine = small_config();
  cr_assert(th_transformer_check(&fine, NULL) == TH_OK);
  REFUSED(source_vocabulary, 0, "source vocabulary is 0: want 1 to 16777216");
  REFUSED(target_vocabulary, -3, "target vocabulary is -3: want 1 to 16777216");
  REFUSED(encoder_layers, 0, "encoder layers is 0: want 1 to 16777216");
  REFUSED(decoder_layers, 0, "decoder layers is 0: want 1 to 16777216");
  REFUSED(max_length, 16777217, "maximum length is 16777217: want 1 to 16777216");
  REFUSED(layer.width, 0, "width is 0: want 1 to 16777216");
  REFUSED(layer.heads, 0, "heads is 0: want 1 to 16777216");
  REFUSED(layer.feed_forward, 0, "feed-forward width is 0: want 1 to 16777216");
  REFUSED(layer.heads, 3, "3 heads do not divide a width of 16");
  REFUSED(layer.key_width, -1, "a head's key or value width is outside 0 to 16777216");
  REFUSED(layer.value_width, 16777217, "a head's key or value width is outside 0 to 16777216");
  REFUSED(positions, TH_POSITIONS_NONE + 1, "positions are of no kind that there is");
  REFUSED(shape, TH_ENCODER_ONLY + 1, "the shape is none that there is");
  REFUSED(shape, TH_DECODER_ONLY, "source vocabulary is 11: want 0, a decoder-only model has none");
  REFUSED(shape, TH_ENCODER_ONLY, "target vocabulary is 13: want 0, an encoder-only model has none");
  REFUSED(classes, 3, "classes is 3: want 0, an encoder-decoder model has none");
  REFUSED(tie_source, true, "tied source: vocabularies of 11 and 13 tokens are not the same");
  fine.positions = TH_POSITIONS_ROTARY, fine.layer.key_width = 3, fine.layer.value_width = 2;
  expect_config_refused(fine, "rotary positions turn pairs: a head's key width is 3, want an even one");
  REFUSED(layer.dropout, 1, "dropout is 1: want at least 0 and below 1");
  REFUSED(layer.dropout, -0.1, "dropout is -0.1: want at least 0 and below 1");
  REFUSED(layer.dropout, (double)NAN, "dropout is nan: want at least 0 and below 1");
}

Test(shapes, check_says_what_a_shape_wants) {
  th_transformer_config language = language_config(0), classes = classes_config(0), wrong = language;
  cr_assert(th_transformer_check(&language, NULL) == TH_OK && th_transformer_check(&classes, NULL) == TH_OK);
  wrong.encoder_layers = 2;
  expect_config_refused(wrong, "encoder layers is 2: want 0, a decoder-only model has none");
  wrong = language, wrong.decoder_layers = 0;
  expect_config_refused(wrong, "decoder layers is 0: want 1 to 16777216");
  wrong = language, wrong.tie_source = true;
  expect_config_refused(wrong, "tied source: a decoder-only model has one embedding");
  wrong = classes, wrong.classes = 0;
  expect_config_refused(wrong, "classes is 0: want 1 to 16777216");
  wrong = classes, wrong.decoder_layers = 1;
  expect_config_refused(wrong, "decoder layers is 1: want 0, an encoder-only model has none");
  wrong = classes, wrong.tie_output = true;
  expect_config_refused(wrong, "tied output: an encoder-only model has no target embedding");
}

Test(transformer, heads_of_a_width_of_their_own_need_not_divide) {
  th_transformer_config config = small_config();
  config.layer.heads = 3, config.layer.key_width = 5, config.layer.value_width = 7;
  cr_assert(th_transformer_check(&config, NULL) == TH_OK);
  desk d = desk_open();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 5, 11), target = ids_of(&d, 2, 4, 13);
  cr_expect(logits_of(&d, model, &source, NULL, &target, NULL).shape[2] == 13);
  th_transformer_free(model);
  desk_close(&d);
}

Test(transformer, freeing_none_does_nothing) { th_transformer_free(NULL); }

/* ---- token by token -------------------------------------------------------------------------- */

static void look_at_weights(void *context, const th_nn_attention *attention, th_seen *seen) {
  th_tensor **row = context;
  if (attention->kind == TH_DECODER_SELF && attention->layer == 1) **row = seen->weights->value;
}

Test(transformer, token_by_token_gives_the_logits_of_all_at_once) {
  for (int i = 0; i < 2 * KINDS; i++) {
    desk d = desk_open();
    th_transformer_config config = config_number(i);
    if (i >= KINDS) config.layer.heads = 3, config.layer.key_width = 6, config.layer.value_width = 7;
    th_transformer *model = model_of(&config, TH_F64, 1);
    th_tensor source = ids_of(&d, 3, 5, 11), target = ids_of(&d, 3, 6, 13), token, row, weights,
              *seen = &weights;
    const int32_t length[] = {5, 3, 1};
    th_tensor all = logits_of(&d, model, &source, length, &target, NULL);
    th_tape_reset(d.tape);
    th_tape_record(d.tape, false);
    th_var *memory = th_transformer_encode(model, d.tape, &source, length, NULL);
    th_decoding decoding = th_decoding_begin(model, memory, length, 6);
    th_tape_mark(d.tape);
    for (int64_t t = 0; t < 6; t++) {
      th_tape_rewind(d.tape);
      cr_assert(th_view_slice(&token, &target, 1, t, t + 1) && th_view_slice(&row, &all, 1, t, t + 1));
      th_var *logits = th_decoding_step(&decoding, d.tape, &token, &(th_tap){look_at_weights, &seen});
      expect_no_error(d.tape);
      expect_near(&logits->value, &row, 1e-12, "logits");
      cr_assert(weights.shape[2] == 1 && weights.shape[3] == t + 1,
                "one query, and a key for each token so far");
    }
    th_transformer_free(model);
    desk_close(&d);
  }
}

/* ---- greedy decoding ------------------------------------------------------------------------- */

TestSuite(greedy);

enum { BEGIN = 1, END = 2 };

/* The most likely token after each of `count` that stand, decided without th_transformer_greedy. */
static int32_t best_after(desk *d, const th_transformer *model, const th_tensor *source,
                          const int32_t *length, const int32_t *tokens, int64_t count) {
  th_tensor target = th_tensor_of((void *)(uintptr_t)tokens, TH_I32, SHAPE(1, count));
  th_tensor logits = logits_of(d, model, source, length, &target, NULL);
  int32_t best = 0;
  for (int32_t i = 1; i < 13; i++)
    if (th_tensor_get(&logits, (count - 1) * 13 + i) > th_tensor_get(&logits, (count - 1) * 13 + best))
      best = i;
  return best;
}

static th_tensor greedy(desk *d, const th_transformer *model, const th_tensor *source, const int32_t *length,
                        int64_t limit) {
  th_error error = {0};
  th_tensor out = desk_zeros(d, TH_I32, SHAPE(source->shape[0], limit));
  th_fill(&out, -7);
  th_status status = th_transformer_greedy(model, d->tape, source, length, BEGIN, END, &out, &error);
  cr_assert(status == TH_OK, "%s", error.text);
  return out;
}

/* END is likely but not certain: sequences end at different lengths. */
static th_transformer *model_that_ends(th_dtype dtype) {
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, dtype, 3);
  th_tensor values = th_params_values(model->params);
  for (int64_t i = 0; i < values.shape[0]; i++) th_tensor_set(&values, i, 1.5 * th_tensor_get(&values, i));
  th_tensor_set(&model->output.bias->value, END, 1.2);
  return model;
}

Test(greedy, takes_the_most_likely_token_each_time_until_the_end) {
  desk d = desk_open();
  th_transformer *model = model_that_ends(TH_F64);
  th_tensor source = ids_of(&d, 6, 5, 11);
  const int32_t length[] = {5, 4, 3, 5, 2, 1};
  th_tensor out = greedy(&d, model, &source, length, 8);
  int ended = 0, open = 0;
  for (int64_t b = 0; b < 6; b++) {
    int32_t tokens[9] = {BEGIN};
    th_tensor row;
    th_view_slice(&row, &source, 0, b, b + 1);
    for (int64_t t = 0; t < 8; t++) {
      tokens[t + 1] = t && tokens[t] == END ? END : best_after(&d, model, &row, &length[b], tokens, t + 1);
      cr_assert((int32_t)th_tensor_get(&out, b * 8 + t) == tokens[t + 1], "sequence %ld, token %ld", (long)b,
                (long)t);
    }
    if (tokens[8] == END) ended++;
    else open++;
  }
  cr_expect(ended > 0 && open > 0, "the test wants both: %d ended, %d open", ended, open);
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, fills_with_the_end_after_the_end) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 3, 11);
  th_tensor_set(&model->output.bias->value, END, 100);
  th_tensor out = greedy(&d, model, &source, NULL, 4);
  for (int64_t i = 0; i < 8; i++) cr_assert(th_tensor_get(&out, i) == END);
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, an_output_for_each_source_or_an_error) {
  desk d = desk_open();
  th_transformer *model = model_that_ends(TH_F32);
  th_tensor source = ids_of(&d, 3, 5, 11), out = desk_zeros(&d, TH_I32, SHAPE(2, 4));
  th_error error = {0};
  cr_assert(th_transformer_greedy(model, d.tape, &source, NULL, BEGIN, END, &out, &error) == TH_ESHAPE);
  cr_expect_str_eq(error.text, "greedy: room for 2 outputs, sources are [3,5]");
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, stops_at_the_limit) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 3, 11);
  th_tensor_set(&model->output.bias->value, 5, 100); /* never the end */
  for (int64_t limit = 1; limit <= 10; limit += 9) {
    th_tensor out = greedy(&d, model, &source, NULL, limit);
    for (int64_t i = 0; i < 2 * limit; i++) cr_assert(th_tensor_get(&out, i) == 5);
  }
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, writes_into_a_view) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 3, 11), whole = desk_zeros(&d, TH_I32, SHAPE(2, 3)), out;
  th_tensor_set(&model->output.bias->value, 5, 100);
  th_view_slice(&out, &whole, 1, 1, 3);
  cr_assert(th_transformer_greedy(model, d.tape, &source, NULL, BEGIN, END, &out, NULL) == TH_OK);
  EXPECT_VALUES(&whole, 0, 0, 5, 5, 0, 5, 5);
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, drops_nothing_while_the_tape_trains) {
  desk d = desk_open();
  th_transformer *model = model_that_ends(TH_F64);
  th_tensor source = ids_of(&d, 6, 5, 11), calm = greedy(&d, model, &source, NULL, 8);
  th_transformer_config *config = &model->config;
  config->layer.dropout = 0.9;
  for (int i = 0; i < 2; i++) {
    model->encoder[i].dropout = model->encoder[i].self.dropout = model->encoder[i].feed_forward.dropout = 0.9;
    model->decoder[i].dropout = model->decoder[i].self.dropout = model->decoder[i].cross.dropout = 0.9;
  }
  th_tape_train(d.tape, true);
  th_tensor training = greedy(&d, model, &source, NULL, 8);
  expect_near(&training, &calm, 0, "tokens");
  cr_expect(th_tape_training(d.tape));
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, leaves_the_tape_reset_and_recording_as_it_was) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 3, 11);
  for (int on = 0; on < 2; on++) {
    th_tape_record(d.tape, on);
    greedy(&d, model, &source, NULL, 4);
    cr_expect(th_tape_recording(d.tape) == on);
    cr_expect(th_tape_bytes(d.tape) == 0 && th_tape_error(d.tape) == NULL);
  }
  th_transformer_free(model);
  desk_close(&d);
}

Test(greedy, past_the_longest_sequence_is_an_error_and_leaves_the_tape_usable) {
  desk d = desk_open();
  th_transformer_config config = small_config();
  config.positions = TH_POSITIONS_LEARNED;
  th_transformer *model = model_of(&config, TH_F32, 1);
  th_tensor source = ids_of(&d, 2, 3, 11), out = desk_zeros(&d, TH_I32, SHAPE(2, 12));
  th_error error = {0};
  const char *text = "slice: [10,16] has no 10 to 11 on axis 0 (";
  th_tensor_set(&model->output.bias->value, 5, 100);
  cr_assert(th_transformer_greedy(model, d.tape, &source, NULL, BEGIN, END, &out, &error) == TH_ESHAPE);
  cr_expect(!strncmp(error.text, text, strlen(text)), "%s", error.text);
  cr_expect(th_tape_error(d.tape) == NULL && th_tape_recording(d.tape));
  greedy(&d, model, &source, NULL, 4);
  th_transformer_free(model);
  desk_close(&d);
}

/* ---- small layers ---------------------------------------------------------------------------- */

TestSuite(layers);

Test(layers, embeddings_are_rows_times_the_root_of_the_width) {
  desk d = desk_open();
  th_params *set = th_params_new();
  th_nn_embedding table = th_nn_embedding_make(set, "table", 5, 4, xavier);
  cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
  th_tensor ids = ids_of(&d, 2, 3, 5);
  th_var *y = th_nn_embedding_forward(&table, d.tape, &ids);
  cr_assert(y->value.ndim == 3 && y->value.shape[2] == 4);
  for (int64_t i = 0; i < 24; i++)
    cr_assert(th_tensor_get(&y->value, i) ==
              2 * th_tensor_get(&table.weight->value, (int64_t)th_tensor_get(&ids, i / 4) * 4 + i % 4));
  th_params_free(set);
  desk_close(&d);
}

Test(layers, feed_forward_is_two_products_around_its_activation) {
  const char *const ops[] = {"linear_relu", "linear_gelu_erf", "linear_gelu_tanh"};
  for (int a = 0; a < 3; a++) {
    desk d = desk_open();
    th_params *set = th_params_new();
    th_nn_feed_forward layer = th_nn_feed_forward_make(set, "ff", 4, 6, (th_activation)a, 0.5);
    cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
    th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(3, 4));
    th_var *y = th_nn_feed_forward_forward(&layer, th_constant(d.tape, &x)), *act = y->in[0];
    cr_expect_str_eq(act->op->name, ops[a]);
    cr_expect(act->value.shape[1] == 6 && act->in[0]->value.data == x.data);
    cr_expect(th_params_find(set, "ff.linear1.weight") == layer.first.weight);
    cr_expect(th_params_find(set, "ff.linear2.bias") == layer.second.bias);
    th_params_free(set);
    desk_close(&d);
  }
}

Test(layers, pre_norm_normalises_what_goes_in_and_post_norm_what_comes_out) {
  for (int pre = 0; pre < 2; pre++) {
    desk d = desk_open();
    th_params *set = th_params_new();
    th_nn_layer_config config = {.width = 8, .heads = 2, .feed_forward = 12, .norm_first = pre};
    th_nn_encoder_layer layer = th_nn_encoder_layer_make(set, "layer", &config, 0);
    cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
    th_tensor x = desk_uniform(&d, TH_F64, 3, 5, SHAPE(1, 3, 8));
    th_var *in = th_constant(d.tape, &x), *y = th_nn_encoder_layer_forward(&layer, in, NULL, NULL);
    th_var *sum, *wanted;
    if (pre) {
      sum = th_add(
          in, th_nn_attention_forward(&layer.self, th_nn_norm_forward(&layer.norm1, in), NULL, NULL, NULL));
      wanted =
          th_add(sum, th_nn_feed_forward_forward(&layer.feed_forward, th_nn_norm_forward(&layer.norm2, sum)));
    } else {
      sum = th_nn_norm_forward(&layer.norm1,
                               th_add(in, th_nn_attention_forward(&layer.self, in, NULL, NULL, NULL)));
      wanted =
          th_nn_norm_forward(&layer.norm2, th_add(sum, th_nn_feed_forward_forward(&layer.feed_forward, sum)));
    }
    expect_near(&y->value, &wanted->value, 0, pre ? "pre-norm" : "post-norm");
    double mean = 0;
    for (int64_t i = 0; i < 8; i++) mean += th_tensor_get(&y->value, i) / 8;
    cr_expect(pre ? fabs(mean) > 0.1 : fabs(mean) < 1e-12, "mean %g", mean);
    th_params_free(set);
    desk_close(&d);
  }
}
