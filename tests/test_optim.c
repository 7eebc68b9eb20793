/* Adam, clipping, averages and schedules against their formulas. */
#include "engine_desk.h"
#include "tapehead/optim.h"

/* ---- Adam ------------------------------------------------------------------------------------ */

TestSuite(adam);

#define MANY 20011 /* more than one thread takes at once */

/* Five parameters, two of them large, and where decay changes it does so in the middle of what a thread takes. */
static th_params *set_of(th_dtype dtype) {
  th_params *set = th_params_new();
  th_init normal = {.kind = TH_INIT_NORMAL, .scale = 0.5};
  th_params_add(set, NULL, "a", normal, SHAPE(3, 5));
  th_params_add(set, NULL, "b", normal, SHAPE(MANY));
  th_params_add(set, NULL, "c", normal, SHAPE(1));
  th_params_add(set, NULL, "d", normal, SHAPE(3, 6007));
  th_params_add(set, NULL, "e", normal, SHAPE(2, 3));
  cr_assert(th_params_make(set, dtype, 6, NULL) == TH_OK);
  return set;
}

static void draw_gradients(th_params *set, uint64_t step) {
  for (int i = 0; i < th_params_count(set); i++)
    th_fill_normal(&th_params_at(set, i)->grad, 0.1, 1, (th_random){step, (uint64_t)i});
}

/* Kingma & Ba 2015, algorithm 1, and Loshchilov & Hutter 2019, algorithm 2, for one number. */
typedef struct plain_adam {
  double value, m, v;
  bool decays;
} plain_adam;

static void plain_update(plain_adam *p, const th_adam_config *c, double gradient, double rate, int step) {
  double decay = p->decays || c->decay_all ? c->weight_decay : 0;
  double g = gradient + (c->decoupled ? 0 : decay * p->value);
  p->m = c->beta1 * p->m + (1 - c->beta1) * g;
  p->v = c->beta2 * p->v + (1 - c->beta2) * g * g;
  double m_hat = p->m / (1 - pow(c->beta1, step)), v_hat = p->v / (1 - pow(c->beta2, step));
  if (c->decoupled) p->value -= rate * decay * p->value;
  p->value -= rate * m_hat / (sqrt(v_hat) + c->epsilon);
}

/* Which elements of which parameter the plain loop follows. */
static const struct {
  const char *name;
  int64_t index;
} followed[] = {{"a", 0}, {"a", 14}, {"b", 0},     {"b", 16383}, {"b", 16384}, {"b", MANY - 1},
                {"c", 0}, {"d", 0},  {"d", 18020}, {"e", 0},     {"e", 5}};
enum { FOLLOWED = sizeof followed / sizeof *followed };

static void check_adam(th_dtype dtype, const th_adam_config *asked, const th_adam_config *meant) {
  th_params *set = set_of(dtype);
  th_adam adam;
  plain_adam plain[FOLLOWED];
  double limit = dtype == TH_F64 ? 1e-13 : 2e-6;
  cr_assert(th_adam_new(&adam, set, asked, NULL) == TH_OK);
  for (int f = 0; f < FOLLOWED; f++)
    plain[f] =
        (plain_adam){.value = th_tensor_get(&th_params_find(set, followed[f].name)->value, followed[f].index),
                     .decays = strchr("ade", followed[f].name[0]) != NULL};
  for (int step = 1; step <= 20; step++) {
    double rate = 0.01 / step;
    draw_gradients(set, (uint64_t)step);
    th_adam_update(&adam, rate, NULL);
    cr_assert(adam.step == step);
    for (int f = 0; f < FOLLOWED; f++) {
      const th_param *param = th_params_find(set, followed[f].name);
      th_tensor m, v;
      plain_update(&plain[f], meant, th_tensor_get(&param->grad, followed[f].index), rate, step);
      th_adam_moments(&adam, param, &m, &v);
      double value = th_tensor_get(&param->value, followed[f].index);
      cr_assert(fabs(value - plain[f].value) < limit, "%s[%ld] in step %d: %.12g, wanted %.12g", param->name,
                (long)followed[f].index, step, value, plain[f].value);
      cr_assert(fabs(th_tensor_get(&m, followed[f].index) - plain[f].m) < limit, "first moment");
      cr_assert(fabs(th_tensor_get(&v, followed[f].index) - plain[f].v) < limit, "second moment");
    }
  }
  th_adam_free(&adam);
  th_params_free(set);
}

Test(adam, equals_a_plain_loop_over_twenty_steps) {
  const th_adam_config nothing = {0}, paper = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-9};
  const th_adam_config own = {.beta1 = 0.7, .beta2 = 0.999, .epsilon = 1e-3};
  for (int t = 0; t < 2; t++) {
    check_adam(t ? TH_F64 : TH_F32, &nothing, &paper);
    check_adam(t ? TH_F64 : TH_F32, &own, &own);
  }
}

Test(adam, decay_goes_through_the_moments_unless_decoupled_and_leaves_biases_and_norms_unless_told) {
  for (int kind = 0; kind < 4; kind++) {
    const th_adam_config config = {.beta1 = 0.9,
                                   .beta2 = 0.98,
                                   .epsilon = 1e-9,
                                   .weight_decay = 0.3,
                                   .decoupled = kind % 2,
                                   .decay_all = kind / 2};
    check_adam(TH_F32, &config, &config);
    check_adam(TH_F64, &config, &config);
  }
}

Test(adam, a_parameter_can_be_told_to_decay_or_not) {
  th_params *set = th_params_new();
  th_adam adam;
  th_param *matrix = th_params_add(set, NULL, "matrix", (th_init){.kind = TH_INIT_ONES}, SHAPE(2, 2));
  th_param *bias = th_params_add(set, NULL, "bias", (th_init){.kind = TH_INIT_ONES}, SHAPE(3));
  cr_expect(matrix->decays && !bias->decays);
  matrix->decays = false, bias->decays = true;
  cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
  cr_assert(th_adam_new(&adam, set, &(th_adam_config){.weight_decay = 0.5, .decoupled = true}, NULL) ==
            TH_OK);
  th_adam_update(&adam, 0.1, NULL); /* the gradient is 0 */
  cr_expect(th_tensor_get(&matrix->value, 3) == 1);
  cr_expect(fabs(th_tensor_get(&bias->value, 2) - 0.95) < 1e-15);
  th_adam_free(&adam);
  th_params_free(set);
}

Test(adam, the_first_step_is_the_rate_whatever_the_size_of_the_gradient) {
  th_params *set = set_of(TH_F64);
  th_adam adam;
  cr_assert(th_adam_new(&adam, set, &(th_adam_config){0}, NULL) == TH_OK);
  th_tensor *value = &th_params_find(set, "a")->value, *grad = &th_params_find(set, "a")->grad;
  th_fill(value, 1);
  th_tensor_set(grad, 0, 1e6), th_tensor_set(grad, 1, -1e-3);
  th_adam_update(&adam, 0.5, NULL);
  cr_expect(fabs(th_tensor_get(value, 0) - 0.5) < 1e-6);
  cr_expect(fabs(th_tensor_get(value, 1) - 1.5) < 1e-6);
  cr_expect(th_tensor_get(value, 2) == 1, "no gradient, no step");
  th_adam_free(&adam);
  th_params_free(set);
}

Test(adam, leaves_gradients_and_padding_as_they_are) {
  th_params *set = set_of(TH_F32);
  th_adam adam;
  cr_assert(th_adam_new(&adam, set, &(th_adam_config){.weight_decay = 0.1}, NULL) == TH_OK);
  draw_gradients(set, 1);
  th_tensor grads = th_params_grads(set), values = th_params_values(set), before;
  cr_assert(th_tensor_new(&before, TH_F32, 1, grads.shape, NULL) == TH_OK);
  th_tensor_copy(&before, &grads, NULL);
  th_adam_update(&adam, 0.1, NULL);
  expect_near(&grads, &before, 0, "gradients");
  for (int64_t i = 15; i < 16; i++) cr_expect(th_tensor_get(&values, i) == 0, "padding");
  th_tensor_free(&before);
  th_adam_free(&adam);
  th_params_free(set);
}

Test(adam, gives_the_same_bits_with_a_pool) {
  th_params *alone = set_of(TH_F32), *crew = set_of(TH_F32);
  th_pool *pool = th_pool_new(3);
  th_adam a, b;
  cr_assert(th_adam_new(&a, alone, &(th_adam_config){0}, NULL) == TH_OK);
  cr_assert(th_adam_new(&b, crew, &(th_adam_config){0}, NULL) == TH_OK);
  for (uint64_t step = 1; step < 5; step++) {
    draw_gradients(alone, step), draw_gradients(crew, step);
    th_adam_update(&a, 0.01, NULL), th_adam_update(&b, 0.01, pool);
  }
  th_tensor x = th_params_values(alone), y = th_params_values(crew);
  cr_expect(!memcmp(x.data, y.data, (size_t)x.shape[0] * sizeof(float)));
  th_adam_free(&a);
  th_adam_free(&b);
  th_params_free(alone);
  th_params_free(crew);
  th_pool_free(pool);
}

Test(adam, spans_are_updated_as_in_the_whole_and_nothing_else_is) {
  th_params *whole = set_of(TH_F32), *some = set_of(TH_F32);
  const th_span spans[] = {{16, 32}, {32, 32}, {48, 19200}, {20064, 38000 / 16 * 16}};
  const th_adam_config config = {.weight_decay = 0.1, .decoupled = true};
  th_pool *pool = th_pool_new(3);
  th_adam a, b;
  cr_assert(th_adam_new(&a, whole, &config, NULL) == TH_OK);
  cr_assert(th_adam_new_spans(&b, some, &config, spans, 4, NULL) == TH_OK);
  th_tensor x = th_params_values(whole), y = th_params_values(some);
  th_tensor first = {0};
  cr_assert(th_tensor_new(&first, TH_F32, 1, y.shape, NULL) == TH_OK && !th_tensor_copy(&first, &y, NULL));
  for (uint64_t step = 1; step < 4; step++) {
    draw_gradients(whole, step), draw_gradients(some, step);
    th_adam_update(&a, 0.01, NULL), th_adam_update(&b, 0.01, pool);
  }
  int64_t moment = 0;
  for (int64_t i = 0, s = 0; i < x.shape[0]; i++) {
    while (s < 4 && i >= spans[s].end) s++;
    bool in = s < 4 && i >= spans[s].begin;
    double wanted = th_tensor_get(in ? &x : &first, i);
    cr_assert(th_tensor_get(&y, i) == wanted, "element %d", (int)i);
    if (!in) continue;
    cr_assert(th_tensor_get(&b.moment1, moment) == th_tensor_get(&a.moment1, i), "moment of element %d",
              (int)i);
    cr_assert(th_tensor_get(&b.moment2, moment++) == th_tensor_get(&a.moment2, i));
  }
  cr_expect(moment == b.moment1.shape[0], "there are no moments but of the spans");
  th_tensor_free(&first);
  th_adam_free(&a), th_adam_free(&b);
  th_params_free(whole), th_params_free(some);
  th_pool_free(pool);
}

Test(adam, moments_have_the_shape_of_their_parameter_and_start_at_zero) {
  th_params *set = set_of(TH_F32);
  th_adam adam;
  th_tensor m, v;
  cr_assert(th_adam_new(&adam, set, &(th_adam_config){0}, NULL) == TH_OK);
  const th_param *a = th_params_find(set, "a");
  th_adam_moments(&adam, a, &m, &v);
  cr_expect(th_tensor_same_shape(&m, &a->value) && th_tensor_same_shape(&v, &a->value));
  cr_expect(largest_size(&m) == 0 && largest_size(&v) == 0 && m.data != v.data);
  cr_expect(adam.step == 0);
  th_adam_free(&adam);
  cr_expect(adam.moment1.data == NULL && adam.moment2.data == NULL);
  th_params_free(set);
}

static void expect_bad_config(th_adam_config config, const char *text) {
  th_params *set = set_of(TH_F32);
  th_adam adam;
  th_error error = {0};
  cr_expect(th_adam_new(&adam, set, &config, &error) == TH_EINVAL, "%s", text);
  cr_expect_str_eq(error.text, text);
  th_adam_free(&adam); /* is fine, and frees nothing */
  th_params_free(set);
}

Test(adam, refuses_numbers_outside_their_range) {
  expect_bad_config((th_adam_config){.beta1 = 1, .beta2 = 0.9},
                    "adam: betas 1 and 0.9 must lie in [0, 1), epsilon 1e-09 above 0, decay 0 not below 0");
  expect_bad_config(
      (th_adam_config){.beta1 = 0.9, .beta2 = -0.5},
      "adam: betas 0.9 and -0.5 must lie in [0, 1), epsilon 1e-09 above 0, decay 0 not below 0");
  expect_bad_config((th_adam_config){.epsilon = -1},
                    "adam: betas 0.9 and 0.98 must lie in [0, 1), epsilon -1 above 0, decay 0 not below 0");
  expect_bad_config(
      (th_adam_config){.weight_decay = -2},
      "adam: betas 0.9 and 0.98 must lie in [0, 1), epsilon 1e-09 above 0, decay -2 not below 0");
  expect_bad_config((th_adam_config){.beta1 = (double)NAN},
                    "adam: betas nan and 0 must lie in [0, 1), epsilon 1e-09 above 0, decay 0 not below 0");
}

/* ---- clipping -------------------------------------------------------------------------------- */

TestSuite(clipping);

static double plain_norm(const th_params *set) {
  double sum = 0;
  for (int i = 0; i < th_params_count(set); i++)
    for (int64_t k = 0, n = th_tensor_count(&th_params_at(set, i)->grad); k < n; k++)
      sum += pow(th_tensor_get(&th_params_at(set, i)->grad, k), 2);
  return sqrt(sum);
}

Test(clipping, returns_the_norm_and_scales_to_the_limit) {
  for (int t = 0; t < 2; t++) {
    th_params *set = set_of(t ? TH_F64 : TH_F32);
    draw_gradients(set, 1);
    double norm = plain_norm(set), first = th_tensor_get(&th_params_at(set, 0)->grad, 0);
    double got = th_clip_grad_norm(set, 2);
    cr_expect(fabs(got / norm - 1) < 1e-13, "%.15g, wanted %.15g", got, norm);
    cr_expect(fabs(plain_norm(set) / 2 - 1) < (t ? 1e-14 : 1e-6), "%.9g", plain_norm(set));
    cr_expect(fabs(th_tensor_get(&th_params_at(set, 0)->grad, 0) / (first * 2 / norm) - 1) <
              (t ? 1e-14 : 1e-6));
    th_params_free(set);
  }
}

Test(clipping, changes_nothing_within_the_limit_or_without_one) {
  static const double limits[] = {1e9, 0, -1};
  th_params *set = set_of(TH_F32);
  draw_gradients(set, 1);
  double norm = plain_norm(set);
  for (int i = 0; i < 3; i++) {
    cr_expect(fabs(th_clip_grad_norm(set, limits[i]) / norm - 1) < 1e-13);
    cr_expect(plain_norm(set) == norm);
  }
  th_params_free(set);
}

Test(clipping, changes_nothing_where_the_norm_is_no_number) {
  static const double bad[] = {(double)NAN, (double)INFINITY};
  for (int i = 0; i < 2; i++) {
    th_params *set = set_of(TH_F32);
    draw_gradients(set, 1);
    th_tensor_set(&th_params_at(set, 1)->grad, 5, bad[i]);
    double first = th_tensor_get(&th_params_at(set, 0)->grad, 0), norm = th_clip_grad_norm(set, 1);
    cr_expect(!isfinite(norm));
    cr_expect(th_tensor_get(&th_params_at(set, 0)->grad, 0) == first);
    th_params_free(set);
  }
}

Test(clipping, a_gradient_of_zero_stays_zero) {
  th_params *set = set_of(TH_F32);
  cr_expect(th_clip_grad_norm(set, 1) == 0);
  cr_expect(plain_norm(set) == 0);
  th_params_free(set);
}

/* ---- averages of weights --------------------------------------------------------------------- */

TestSuite(averages);

static void draw_values(th_params *set, uint64_t stream) {
  for (int i = 0; i < th_params_count(set); i++)
    th_fill_normal(&th_params_at(set, i)->value, 0, 1, (th_random){stream, (uint64_t)i});
}

/* The same sum in another form, element by element: average = d average + (1 - d) value. */
static void check_moving_average(th_dtype dtype, double decay, th_pool *pool) {
  th_params *set = set_of(dtype);
  th_tensor values = th_params_values(set);
  th_ema ema;
  double *plain = calloc((size_t)values.shape[0], sizeof *plain);
  cr_assert(th_ema_new(&ema, set, decay, NULL) == TH_OK);
  expect_near(&ema.values, &values, 0, "it begins with the values");
  for (int64_t i = 0; i < values.shape[0]; i++) plain[i] = th_tensor_get(&values, i);
  for (int t = 1; t <= 30; t++) {
    double d = fmin(decay, (1. + t) / (10. + t));
    draw_values(set, (uint64_t)t);
    th_ema_update(&ema, pool);
    for (int64_t i = 0; i < values.shape[0]; i++)
      plain[i] = d * plain[i] + (1 - d) * th_tensor_get(&values, i);
  }
  th_tensor wanted = th_tensor_of(plain, TH_F64, 1, values.shape);
  expect_near(&ema.values, &wanted, dtype == TH_F64 ? 1e-14 : 1e-5, "moving average");
  cr_expect(ema.updates == 30);
  free(plain);
  th_ema_free(&ema);
  th_params_free(set);
}

Test(averages, a_moving_average_equals_a_plain_loop_with_its_warm_up) {
  th_pool *pool = th_pool_new(2);
  for (int t = 0; t < 2; t++) {
    check_moving_average(t ? TH_F64 : TH_F32, 0.5, NULL); /* reached at t = 8 */
    check_moving_average(t ? TH_F64 : TH_F32, 0.999, pool);
  }
  th_pool_free(pool);
}

Test(averages, the_mean_is_that_of_the_last_checkpoints) {
  enum { COUNT = 3, TAKEN = 5 };
  for (int t = 0; t < 2; t++) {
    th_params *set = set_of(t ? TH_F64 : TH_F32);
    th_param *a = th_params_find(set, "a");
    th_average average;
    th_tensor mean;
    cr_assert(th_average_new(&average, set, COUNT, NULL) == TH_OK);
    cr_assert(th_tensor_new(&mean, a->value.dtype, 1, th_params_values(set).shape, NULL) == TH_OK);
    double first[TAKEN];
    for (int n = 0; n < TAKEN; n++) {
      draw_values(set, (uint64_t)n);
      first[n] = th_tensor_get(&a->value, 7);
      cr_expect(th_average_count(&average) == (n < COUNT ? n : COUNT));
      th_average_take(&average);
      th_average_mean(&average, &mean);
      double sum = 0;
      int from = n < COUNT ? 0 : n + 1 - COUNT;
      for (int k = from; k <= n; k++) sum += first[k];
      th_tensor part = th_params_part(set, a, &mean);
      cr_expect(th_tensor_same_shape(&part, &a->value));
      cr_expect(fabs(th_tensor_get(&part, 7) - sum / (n + 1 - from)) < (t ? 1e-15 : 1e-7), "after %d", n + 1);
    }
    th_tensor_free(&mean);
    th_average_free(&average);
    th_params_free(set);
  }
}

Test(averages, refuse_what_makes_none) {
  th_params *set = set_of(TH_F32), *bare = th_params_new();
  th_ema ema;
  th_average average;
  th_error error;
  cr_expect(th_ema_new(&ema, set, 1, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "moving average: decay 1 must lie in [0, 1)");
  cr_expect(th_ema_new(&ema, set, (double)NAN, &error) == TH_EINVAL);
  cr_expect(th_ema_new(&ema, bare, 0.9, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "moving average: th_params_make comes first");
  cr_expect(th_average_new(&average, set, 0, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "average: of 0 checkpoints: want at least 1");
  cr_expect(th_average_new(&average, bare, 1, &error) == TH_EINVAL);
  th_ema_free(&ema), th_average_free(&average); /* is fine, and frees nothing */
  th_params_free(set);
  th_params_free(bare);
}

/* ---- schedules ------------------------------------------------------------------------------- */

TestSuite(schedule);

static const th_schedule constant = {.kind = TH_RATE_CONSTANT, .base = 0.3, .warmup = 10};
static const th_schedule warmup = {.kind = TH_RATE_WARMUP, .base = 1, .warmup = 4000, .width = 512};
static const th_schedule cosine = {
    .kind = TH_RATE_COSINE, .base = 0.8, .floor = 0.1, .warmup = 100, .total = 1100};

static void expect_rate(const th_schedule *s, int64_t step, double rate) {
  double got = th_schedule_rate(s, step);
  cr_expect(fabs(got - rate) <= 1e-12 * fabs(rate), "step %ld: %.12g, wanted %.12g", (long)step, got, rate);
}

/* Rises up to step `top` and falls, or stays, after it, to the last of `steps`. */
static void expect_one_peak(const th_schedule *s, int64_t top, int64_t steps, bool falls) {
  for (int64_t step = 1; step < steps; step++) {
    double here = th_schedule_rate(s, step), next = th_schedule_rate(s, step + 1);
    cr_assert(here > 0);
    if (step < top) cr_assert(next > here, "step %ld: %g, then %g", (long)step, here, next);
    else cr_assert(falls ? next < here : next == here, "step %ld: %g, then %g", (long)step, here, next);
  }
}

Test(schedule, constant_is_its_base_after_a_linear_warm_up) {
  expect_rate(&constant, 1, 0.03);
  expect_rate(&constant, 5, 0.15);
  expect_rate(&constant, 10, 0.3);
  expect_rate(&constant, 1000000, 0.3);
  expect_one_peak(&constant, 10, 100, false);
  th_schedule plain = {.kind = TH_RATE_CONSTANT, .base = 0.3};
  expect_rate(&plain, 1, 0.3);
}

Test(schedule, warm_up_is_equation_3_of_the_paper) {
  expect_rate(&warmup, 1, pow(512, -0.5) * pow(4000, -1.5));
  expect_rate(&warmup, 1000, pow(512, -0.5) * 1000 * pow(4000, -1.5));
  expect_rate(&warmup, 4000, pow(512, -0.5) * pow(4000, -0.5));
  expect_rate(&warmup, 16000, pow(512, -0.5) * pow(16000, -0.5));
  expect_one_peak(&warmup, 4000, 20000, true);
  th_schedule twice = warmup;
  twice.base = 2;
  expect_rate(&twice, 16000, 2 * pow(512, -0.5) * pow(16000, -0.5));
}

Test(schedule, cosine_falls_from_base_to_floor_and_stays_there) {
  expect_rate(&cosine, 1, 0.008);
  expect_rate(&cosine, 50, 0.4);
  expect_rate(&cosine, 100, 0.8);
  expect_rate(&cosine, 350, 0.1 + 0.7 * (1 + cos(acos(-1) / 4)) / 2);
  expect_rate(&cosine, 600, 0.45);
  expect_rate(&cosine, 1100, 0.1);
  expect_rate(&cosine, 5000, 0.1);
  expect_one_peak(&cosine, 100, 1100, true);
}

Test(schedule, steps_before_the_first_count_as_the_first) {
  const th_schedule *all[] = {&constant, &warmup, &cosine};
  for (int i = 0; i < 3; i++)
    for (int64_t step = -3; step < 1; step++)
      cr_expect(th_schedule_rate(all[i], step) == th_schedule_rate(all[i], 1));
}

Test(schedule, cosine_without_room_after_its_warm_up_is_at_its_floor) {
  th_schedule none = cosine;
  none.total = 100;
  expect_rate(&none, 99, 0.8 * 0.99);
  expect_rate(&none, 100, 0.1);
}

Test(adam, before_the_parameters_are_made_is_refused) {
  th_params *set = th_params_new();
  th_adam adam;
  th_error error;
  th_params_add(set, NULL, "w", (th_init){.kind = TH_INIT_ONES}, 1, (int64_t[]){3});
  cr_expect_eq(th_adam_new(&adam, set, NULL, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "adam: th_params_make comes first");
  th_params_free(set);
}
