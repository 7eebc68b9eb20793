/* What must hold whatever the numbers are, over random draws of shapes and numbers. What layers and models must do is
 * in test_nn.c. */
#include "engine_plain.h"
#include "tapehead/io.h"

#include <stdlib.h>
#include <unistd.h>

TestSuite(properties);

enum { DRAWS = 40 };

static desk draw_desk(int n) {
  desk d = desk_open();
  d.stream = 100 * (uint64_t)(n + 1);
  return d;
}

/* From 1 to `most`: number `which` of this desk. */
static int64_t draw(const desk *d, uint64_t which, int64_t most) {
  return 1 + th_random_below((th_random){23, d->stream / 100}, which, most);
}

static th_tensor normal(desk *d, int ndim, const int64_t *shape) {
  th_tensor made = desk_zeros(d, TH_F64, ndim, shape);
  th_fill_normal(&made, 0, 1, (th_random){17, d->stream++});
  return made;
}

/* ---- attention --------------------------------------------------------------------------------------- */

typedef struct heads {
  int64_t batch, count, queries, keys, depth, width;
  th_tensor q, k, v;
} heads;

static heads draw_heads(desk *d) {
  heads h = {.batch = draw(d, 0, 3),
             .count = draw(d, 1, 4),
             .queries = draw(d, 2, 6),
             .keys = draw(d, 3, 7),
             .depth = draw(d, 4, 5),
             .width = draw(d, 5, 5)};
  h.q = normal(d, SHAPE(h.batch, h.count, h.queries, h.depth));
  h.k = normal(d, SHAPE(h.batch, h.count, h.keys, h.depth));
  h.v = normal(d, SHAPE(h.batch, h.count, h.keys, h.width));
  return h;
}

/* Output and gradients of q, k and v, for an upstream gradient; copies on the desk. */
typedef struct outcome {
  th_tensor y, grad[3];
} outcome;

static outcome attend(desk *d, const th_tensor *q, const th_tensor *k, const th_tensor *v,
                      const th_mask *mask, const th_tensor *upstream) {
  outcome o;
  th_attention_options options = {.mask = mask ? *mask : (th_mask){0}};
  th_tape_reset(d->tape);
  th_var *y = th_attention(desk_leaf(d, q, &o.grad[0]), desk_leaf(d, k, &o.grad[1]),
                           desk_leaf(d, v, &o.grad[2]), &options);
  th_backward(y, upstream);
  expect_no_error(d->tape);
  o.y = desk_copy(d, TH_F64, &y->value);
  return o;
}

static th_tensor upstream_of(desk *d, const heads *h) {
  return normal(d, SHAPE(h->batch, h->count, h->queries, h->width));
}

/* A view of these rows of axis `axis`. */
static th_tensor part(const th_tensor *x, int axis, int64_t begin, int64_t end) {
  th_tensor view;
  cr_assert(th_view_slice(&view, x, axis, begin, end));
  return view;
}
static th_tensor part_of(desk *d, const th_tensor *x, int axis, int64_t begin, int64_t end) {
  th_tensor view = part(x, axis, begin, end);
  return desk_copy(d, TH_F64, &view);
}

/* x with row order[i] of axis 2 at place i. */
static th_tensor shuffled(desk *d, const th_tensor *x, const int64_t *order) {
  th_tensor made = desk_zeros(d, TH_F64, x->ndim, x->shape);
  for (int64_t i = 0; i < x->shape[2]; i++) {
    th_tensor to = part(&made, 2, i, i + 1), from = part(x, 2, order[i], order[i] + 1);
    cr_assert(th_tensor_copy(&to, &from, NULL) == TH_OK);
  }
  return made;
}

Test(properties, attention_does_not_mind_the_order_of_keys_that_move_with_their_values) {
  for (int n = 0; n < DRAWS; n++) {
    desk d = draw_desk(n);
    heads h = draw_heads(&d);
    int64_t order[7];
    for (int64_t i = 0; i < h.keys; i++) {
      int64_t j = draw(&d, 10 + (uint64_t)i, i + 1) - 1;
      order[i] = order[j], order[j] = i;
    }
    th_tensor up = upstream_of(&d, &h), k = shuffled(&d, &h.k, order), v = shuffled(&d, &h.v, order);
    outcome a = attend(&d, &h.q, &h.k, &h.v, NULL, &up), b = attend(&d, &h.q, &k, &v, NULL, &up);
    th_tensor dk = shuffled(&d, &a.grad[1], order), dv = shuffled(&d, &a.grad[2], order);
    expect_near(&b.y, &a.y, 1e-12, "output");
    expect_near(&b.grad[0], &a.grad[0], 1e-12, "gradient of the queries");
    expect_near(&b.grad[1], &dk, 1e-12, "gradient of the keys");
    expect_near(&b.grad[2], &dv, 1e-12, "gradient of the values");
    desk_close(&d);
  }
}

Test(properties, heads_side_by_side_are_heads_alone) {
  for (int n = 0; n < DRAWS; n++) {
    desk d = draw_desk(n);
    heads h = draw_heads(&d);
    th_mask mask = {.causal = n % 2};
    th_tensor up = upstream_of(&d, &h);
    outcome all = attend(&d, &h.q, &h.k, &h.v, &mask, &up);
    for (int64_t i = 0; i < h.count; i++) {
      th_tensor q = part_of(&d, &h.q, 1, i, i + 1), k = part_of(&d, &h.k, 1, i, i + 1);
      th_tensor v = part_of(&d, &h.v, 1, i, i + 1), u = part_of(&d, &up, 1, i, i + 1);
      th_tensor y = part(&all.y, 1, i, i + 1);
      outcome one = attend(&d, &q, &k, &v, &mask, &u);
      expect_near(&one.y, &y, 1e-12, "output");
      for (int x = 0; x < 3; x++) {
        th_tensor grad = part(&all.grad[x], 1, i, i + 1);
        expect_near(&one.grad[x], &grad, 1e-12, "gradient");
      }
    }
    desk_close(&d);
  }
}

Test(properties, keys_behind_the_length_are_keys_that_are_not_there) {
  for (int n = 0; n < DRAWS; n++) {
    desk d = draw_desk(n);
    heads h = draw_heads(&d);
    int64_t length = draw(&d, 20, h.keys);
    int32_t lengths[3] = {(int32_t)length, (int32_t)length, (int32_t)length};
    th_mask mask = {.key_length = lengths};
    th_tensor up = upstream_of(&d, &h);
    th_tensor k = part_of(&d, &h.k, 2, 0, length), v = part_of(&d, &h.v, 2, 0, length);
    outcome padded = attend(&d, &h.q, &h.k, &h.v, &mask, &up), cut = attend(&d, &h.q, &k, &v, NULL, &up);
    expect_near(&padded.y, &cut.y, 1e-12, "output");
    expect_near(&padded.grad[0], &cut.grad[0], 1e-12, "gradient of the queries");
    th_tensor seen = part(&padded.grad[1], 2, 0, length), behind = part(&padded.grad[1], 2, length, h.keys);
    expect_near(&seen, &cut.grad[1], 1e-12, "gradient of the keys");
    cr_assert(largest_size(&behind) == 0);
    desk_close(&d);
  }
}

Test(properties, one_key_gives_its_value_and_no_gradient_to_keys_or_queries) {
  for (int n = 0; n < DRAWS; n++) {
    desk d = draw_desk(n);
    heads h = draw_heads(&d);
    th_tensor k = part_of(&d, &h.k, 2, 0, 1), v = part_of(&d, &h.v, 2, 0, 1), up = upstream_of(&d, &h);
    outcome o = attend(&d, &h.q, &k, &v, NULL, &up);
    th_tensor wanted = desk_zeros(&d, TH_F64, o.y.ndim, o.y.shape), wide;
    cr_assert(th_view_broadcast(&wide, &v, 4, o.y.shape) && !th_tensor_copy(&wanted, &wide, NULL));
    expect_near(&o.y, &wanted, 0, "output");
    cr_assert(largest_size(&o.grad[0]) < 1e-13 && largest_size(&o.grad[1]) < 1e-13);
    desk_close(&d);
  }
}

Test(properties, scores_of_ten_thousand_choose_one_key) {
  desk d = desk_open();
  th_tensor q = desk_zeros(&d, TH_F32, SHAPE(1, 1, 2, 1)), k = desk_zeros(&d, TH_F32, SHAPE(1, 1, 3, 1));
  th_tensor v = desk_counted(&d, TH_F32, SHAPE(1, 1, 3, 1)), gq, gk, gv;
  th_tensor_set(&q, 0, 100), th_tensor_set(&q, 1, -100);
  th_tensor_set(&k, 0, 100), th_tensor_set(&k, 2, -100);
  th_var *y = th_attention(desk_leaf(&d, &q, &gq), desk_leaf(&d, &k, &gk), desk_leaf(&d, &v, &gv),
                           &(th_attention_options){0});
  th_tape_anomaly(d.tape, true);
  cr_assert(th_backward(th_sum(y, TH_ALL_AXES, false), NULL) == TH_OK);
  EXPECT_VALUES(&y->value, 0, 0, 2);
  EXPECT_VALUES(&gv, 0, 1, 0, 1);
  cr_assert(largest_size(&gq) == 0 && largest_size(&gk) == 0);
  desk_close(&d);
}

Test(properties, rows_of_denormal_numbers_are_rows_of_equal_ones) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_tensor x = desk_zeros(&d, TH_F32, SHAPE(2, 4)), g, one = desk_zeros(&d, TH_F32, SHAPE(4)),
            none = desk_zeros(&d, TH_F32, SHAPE(4));
  th_fill(&one, 1);
  for (int64_t i = 0; i < 8; i++) th_tensor_set(&x, i, 1e-40 * (double)(i + 1));
  th_var *leaf = desk_leaf(&d, &x, &g), *soft = th_softmax(leaf, NULL);
  th_var *norm = th_layer_norm(leaf, th_constant(d.tape, &one), th_constant(d.tape, &none), 1e-5);
  cr_assert(th_backward(th_sum(th_add(soft, norm), TH_ALL_AXES, false), NULL) == TH_OK);
  EXPECT_VALUES(&soft->value, 0, .25, .25, .25, .25, .25, .25, .25, .25);
  cr_assert(largest_size(&norm->value) < 1e-36 && isfinite(largest_size(&g)));
  desk_close(&d);
}

/* ---- gradients ------------------------------------------------------------------------------------------ */

static void gradient(desk *d, const th_tensor *x, const th_tensor *w, const th_tensor *upstream,
                     th_tensor grad[2]) {
  th_tape_reset(d->tape);
  th_var *a = desk_leaf(d, x, &grad[0]), *b = desk_leaf(d, w, &grad[1]);
  th_var *y = th_softmax(th_gelu_tanh(th_linear(a, b, NULL)), NULL);
  th_backward(th_mul(y, th_tanh(th_linear(a, b, NULL))), upstream);
  expect_no_error(d->tape);
}

/* 2 a - 3 b */
static double combine(double a, double b) { return 2 * a - 3 * b; }

Test(properties, gradients_are_linear_in_what_comes_from_above) {
  for (int n = 0; n < DRAWS; n++) {
    desk d = draw_desk(n);
    int64_t rows = draw(&d, 0, 5), in = draw(&d, 1, 6), out = draw(&d, 2, 6);
    th_tensor x = normal(&d, SHAPE(rows, in)), w = normal(&d, SHAPE(out, in));
    th_tensor u1 = normal(&d, SHAPE(rows, out)), u2 = normal(&d, SHAPE(rows, out)), g1[2], g2[2], g[2];
    th_tensor both = plain_pair(&d, &u1, &u2, combine);
    gradient(&d, &x, &w, &u1, g1), gradient(&d, &x, &w, &u2, g2), gradient(&d, &x, &w, &both, g);
    for (int i = 0; i < 2; i++) {
      th_tensor wanted = plain_pair(&d, &g1[i], &g2[i], combine);
      expect_near(&g[i], &wanted, 1e-11, "gradient of the combination");
    }
    desk_close(&d);
  }
}

/* ---- models ------------------------------------------------------------------------------------------------ */

static th_transformer_config draw_config(desk *d) {
  int64_t count = draw(d, 0, 3);
  return (th_transformer_config){.source_vocabulary = 4 + draw(d, 1, 6),
                                 .target_vocabulary = 4 + draw(d, 2, 6),
                                 .encoder_layers = draw(d, 3, 2),
                                 .decoder_layers = draw(d, 4, 2),
                                 .max_length = 8,
                                 .layer = {.width = 4 * count,
                                           .heads = count,
                                           .feed_forward = 4 * draw(d, 5, 4),
                                           .norm_first = draw(d, 6, 2) == 1},
                                 .positions = (th_positions)(draw(d, 7, 5) - 1)};
}

/* Logits of one fixed batch of two, on the desk. */
static th_tensor logits_of(desk *d, th_transformer *model) {
  int32_t source[] = {4, 2, 3, 1, 0, 3, 4, 4}, target[] = {1, 4, 2, 1, 0, 4}, length[] = {3, 4};
  th_tensor s = th_tensor_of(source, TH_I32, SHAPE(2, 4)), t = th_tensor_of(target, TH_I32, SHAPE(2, 3));
  th_tape_reset(d->tape);
  th_var *memory = th_transformer_encode(model, d->tape, &s, length, NULL);
  th_var *logits = th_transformer_decode(model, memory, length, &t, NULL);
  expect_no_error(d->tape);
  return desk_copy(d, TH_F32, &logits->value);
}

/* Of so many sequences the weights of attention are not kept, but made again by backward. */
enum { MANY = 64, SHORT = 32 };
static int32_t many_lengths[2][MANY];

static th_attention_options many_options(double dropout) {
  for (int b = 0; b < MANY; b++) many_lengths[0][b] = 1 + b % SHORT, many_lengths[1][b] = 1 + 5 * b % SHORT;
  th_mask mask = {.causal = true, .key_length = many_lengths[0], .query_length = many_lengths[1]};
  return (th_attention_options){.dropout = dropout, .mask = mask};
}

/* <upstream, attention>, and gradients of q, k and v [MANY,4,SHORT,3]. */
static double through_many(desk *d, th_tensor *in, const th_tensor *upstream, th_tensor grad[3]) {
  th_attention_options options = many_options(0.3);
  th_tape_reset(d->tape);
  th_tape_train(d->tape, true);
  th_tape_seed(d->tape, 3, 1);
  th_var *y = th_attention(desk_leaf(d, &in[0], &grad[0]), desk_leaf(d, &in[1], &grad[1]),
                           desk_leaf(d, &in[2], &grad[2]), &options);
  th_var *said = th_sum(th_mul(y, th_constant(d->tape, upstream)), TH_ALL_AXES, false);
  th_backward(said, NULL);
  expect_no_error(d->tape);
  return th_tensor_get(&said->value, 0);
}

Test(properties, attention_of_many_sequences_with_dropout_has_the_gradients_of_finite_differences) {
  desk d = draw_desk(1);
  th_tensor in[3], grad[3], unused[3], upstream = normal(&d, SHAPE(MANY, 4, SHORT, 3));
  for (int i = 0; i < 3; i++) in[i] = normal(&d, SHAPE(MANY, 4, SHORT, 3));
  through_many(&d, in, &upstream, grad);
  for (int i = 0; i < 3; i++)
    for (int64_t n = 0; n < 5; n++) {
      int64_t at = 12 * SHORT * (13 * n + 6) + 7 * n; /* of sequences with some keys */
      double step = 1e-4, x = th_tensor_get(&in[i], at), y[2];
      for (int side = 0; side < 2; side++) {
        th_tensor_set(&in[i], at, side ? x + step : x - step);
        y[side] = through_many(&d, in, &upstream, unused);
      }
      th_tensor_set(&in[i], at, x);
      double wanted = (y[1] - y[0]) / (2 * step), made = th_tensor_get(&grad[i], at);
      cr_assert(fabs(made - wanted) < 1e-6 * (1 + fabs(wanted)), "input %d, element %ld: %g, wanted %g", i,
                (long)at, made, wanted);
    }
  desk_close(&d);
}

Test(properties, attention_of_many_sequences_is_that_of_each_half) {
  desk d = draw_desk(2);
  th_tensor in[3], upstream = normal(&d, SHAPE(MANY, 4, SHORT, 3));
  for (int i = 0; i < 3; i++) in[i] = normal(&d, SHAPE(MANY, 4, SHORT, 3));
  th_mask mask = many_options(0).mask;
  outcome all = attend(&d, &in[0], &in[1], &in[2], &mask, &upstream);
  for (int half = 0; half < 2; half++) {
    int64_t begin = half * MANY / 2, end = begin + MANY / 2;
    th_tensor of[3], up = part_of(&d, &upstream, 0, begin, end);
    for (int i = 0; i < 3; i++) of[i] = part_of(&d, &in[i], 0, begin, end);
    mask.key_length = many_lengths[0] + begin, mask.query_length = many_lengths[1] + begin;
    outcome some = attend(&d, &of[0], &of[1], &of[2], &mask, &up);
    th_tensor wanted = part(&all.y, 0, begin, end);
    expect_near(&some.y, &wanted, 0, "output");
    for (int i = 0; i < 3; i++) {
      wanted = part(&all.grad[i], 0, begin, end);
      expect_near(&some.grad[i], &wanted, 0, "gradient");
    }
  }
  desk_close(&d);
}

/* Columns of x [2,10,..] as two heads of four numbers. */
static th_var *two_heads(th_var *x, int64_t from) {
  th_var *split = th_reshape(th_slice(x, 2, from, from + 8), 4, (int64_t[]){2, 10, 2, 4});
  return th_permute(split, (int[]){0, 2, 1, 3});
}

enum { WAYS = 8 };
/* The gradient of x [2,10,24] through attention whose inputs hang together in one of some ways. What is `disturbed` has a gradient
 * of zeros before attention gets to it. */
static th_tensor through_attention(desk *d, int way, bool disturbed, const th_tensor *x,
                                   const th_tensor *upstream) {
  static const int32_t keys[] = {10, 4}, queries[] = {7, 10};
  th_tensor grad;
  th_tape_reset(d->tape);
  th_var *all = th_scale(desk_leaf(d, x, &grad), 0.7), *pair = th_scale(th_slice(all, 2, 0, 16), 1.5),
         *single = th_scale(th_slice(all, 2, 16, 24), -0.6);
  th_var *one = two_heads(all, 0), *two = two_heads(all, 8), *three = two_heads(all, 16),
         *left = two_heads(pair, 0), *right = two_heads(pair, 8), *own = two_heads(single, 0);
  th_var *in[WAYS][3] = {{one, two, three}, {own, left, right}, {one, own, left}, {own, right, left},
                         {one, one, one},   {own, own, left},   {own, left, own}, {three, two, one}};
  th_attention_options options = {.mask = {.causal = true, .key_length = keys, .query_length = queries}};
  th_var *y = th_attention(in[way][0], in[way][1], in[way][2], &options);
  th_var *sums = th_add(th_sum(all, TH_AXIS(2), true), th_sum(pair, TH_AXIS(2), true));
  th_var *quiet = th_scale(th_add(sums, th_sum(single, TH_AXIS(2), true)), 0);
  th_var *spread = th_reshape(th_permute(y, (int[]){0, 2, 1, 3}), 3, (int64_t[]){2, 10, 8});
  th_backward(disturbed ? th_add(spread, quiet) : spread, upstream);
  expect_no_error(d->tape);
  return grad;
}

/* Some are written where others are added to; none may hold what lay in the memory before. */
Test(properties, gradients_of_attention_do_not_depend_on_how_its_inputs_hang_together) {
  for (int way = 0; way < WAYS; way++) {
    desk d = draw_desk(way);
    th_tensor x = normal(&d, SHAPE(2, 10, 24)), upstream = normal(&d, SHAPE(2, 10, 8));
    th_tensor plain = through_attention(&d, way, true, &x, &upstream);
    for (int i = 0; i < 3; i++) {
      th_tensor made = through_attention(&d, way, false, &x, &upstream);
      expect_near(&made, &plain, 0, "gradient");
    }
    desk_close(&d);
  }
}

Test(properties, a_model_saved_and_loaded_says_the_same_to_the_bit) {
  char path[] = "/tmp/tapehead-model-XXXXXX";
  close(mkstemp(path));
  for (int n = 0; n < 12; n++) {
    desk d = draw_desk(n);
    th_transformer_config config = draw_config(&d);
    th_transformer *saved, *loaded;
    th_error error = {0};
    cr_assert(!th_transformer_new(&saved, &config, TH_F32, 1, &error), "%s", error.text);
    cr_assert(!th_transformer_new(&loaded, &config, TH_F32, 2, &error), "%s", error.text);
    cr_assert(!th_params_save(saved->params, path, NULL, 0, &error), "%s", error.text);
    th_tensor wanted = logits_of(&d, saved), other = logits_of(&d, loaded);
    cr_assert(first_difference(&other, &wanted, 0) >= 0, "another seed, the same model");
    cr_assert(!th_params_load(loaded->params, path, &error), "%s", error.text);
    th_tensor got = logits_of(&d, loaded);
    expect_near(&got, &wanted, 0, "logits");
    th_transformer_free(saved);
    th_transformer_free(loaded);
    desk_close(&d);
  }
  unlink(path);
}

Test(properties, an_empty_batch_gives_no_logits) {
  desk d = draw_desk(0);
  th_transformer_config config = draw_config(&d);
  th_transformer *model;
  cr_assert(!th_transformer_new(&model, &config, TH_F32, 1, NULL));
  int32_t none[1] = {0};
  th_tensor s = th_tensor_of(none, TH_I32, SHAPE(0, 4)), t = th_tensor_of(none, TH_I32, SHAPE(0, 3));
  th_var *memory = th_transformer_encode(model, d.tape, &s, none, NULL);
  th_var *logits = th_transformer_decode(model, memory, none, &t, NULL);
  th_var *loss = th_cross_entropy(logits, &t, 0);
  cr_assert(th_backward(loss, NULL) == TH_OK, "%s", th_tape_error(d.tape)->text);
  cr_assert(logits->value.shape[0] == 0 && logits->value.ndim == 3);
  EXPECT_VALUES(&loss->value, 0, 0);
  th_tensor grads = th_params_grads(model->params);
  cr_assert(largest_size(&grads) == 0);
  th_transformer_free(model);
  desk_close(&d);
}
