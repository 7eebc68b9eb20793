/* Reversible stacks and chunks of the feed-forward: the same numbers as of what keeps everything, in less memory. */
#include "engine_desk.h"
#include "tapehead/nn.h"

TestSuite(reversible);

enum { BATCH = 2, SOURCE = 5, TARGET = 6, SOURCES = 11, TARGETS = 13 };
static const int32_t lengths[BATCH] = {5, 3};

typedef struct bench {
  desk d;
  th_transformer *model;
  th_tensor source, target, wanted;
} bench;

static bench bench_of(th_transformer_shape shape, bool reversible, int64_t chunks, double dropout,
                      int64_t layers) {
  bench b = {.d = desk_open()};
  th_error error = {0};
  th_transformer_config c = {.shape = shape,
                             .target_vocabulary = TARGETS,
                             .decoder_layers = layers,
                             .max_length = 8,
                             .reversible = reversible,
                             .final_norm = true,
                             .layer = {.width = 16,
                                       .heads = 2,
                                       .feed_forward = 32,
                                       .activation = TH_ACT_GELU,
                                       .dropout = dropout,
                                       .norm_first = true,
                                       .feed_forward_chunks = chunks}};
  if (shape == TH_ENCODER_DECODER) c.source_vocabulary = SOURCES, c.encoder_layers = layers;
  cr_assert(th_transformer_new(&b.model, &c, TH_F64, 1, &error) == TH_OK, "%s", error.text);
  b.source = desk_ids(&b.d, BATCH, SOURCE, SOURCES);
  b.target = desk_ids(&b.d, BATCH, TARGET, TARGETS), b.wanted = desk_ids(&b.d, BATCH, TARGET, TARGETS);
  return b;
}

static void close_bench(bench *b) {
  th_transformer_free(b->model);
  desk_close(&b->d);
}

static void see_nothing(void *context, const th_nn_attention *layer, th_seen *seen) {
  (void)context, (void)layer, (void)seen;
}
static const th_tap tap = {see_nothing, NULL}; /* under which all is kept */

static th_var *loss_of(bench *b, const th_tap *looking) {
  th_tape *tape = b->d.tape;
  th_tape_reset(tape);
  th_tape_train(tape, true);
  th_tape_seed(tape, 3, 7);
  /* an array that is gone before backward */
  int32_t short_lived[BATCH] = {lengths[0], lengths[1]};
  th_var *logits =
      b->model->config.shape == TH_DECODER_ONLY
          ? th_transformer_language(b->model, tape, &b->target, looking)
          : th_transformer_decode(b->model,
                                  th_transformer_encode(b->model, tape, &b->source, short_lived, looking),
                                  short_lived, &b->target, looking);
  short_lived[0] = short_lived[1] = 1;
  expect_no_error(tape);
  return th_cross_entropy(logits, &b->wanted, 0.1);
}

static th_tensor gradient_of(bench *b, const th_tap *looking, double *loss) {
  th_params_zero_grads(b->model->params);
  th_var *made = loss_of(b, looking);
  *loss = th_tensor_get(&made->value, 0);
  cr_assert(th_backward(made, NULL) == TH_OK, "%s", th_tape_error(b->d.tape)->text);
  th_tensor grads = th_params_grads(b->model->params);
  return desk_copy(&b->d, TH_F64, &grads);
}

Test(reversible, what_is_computed_again_has_the_gradients_of_what_is_kept) {
  for (int shape = 0; shape <= TH_DECODER_ONLY; shape++)
    for (int64_t chunks = 0; chunks <= 3; chunks += 3)
      for (int dropout = 0; dropout < 2; dropout++) {
        bench b = bench_of((th_transformer_shape)shape, true, chunks, 0.3 * dropout, 3);
        double loss[2];
        th_tensor again = gradient_of(&b, NULL, &loss[0]), kept = gradient_of(&b, &tap, &loss[1]);
        cr_expect(fabs(loss[0] - loss[1]) < 1e-12, "%.17g, kept %.17g", loss[0], loss[1]);
        cr_expect(largest_size(&kept) > 1e-3);
        expect_near(&again, &kept, 1e-11, "gradients");
        close_bench(&b);
      }
}

Test(reversible, backward_may_be_called_again) {
  bench b = bench_of(TH_ENCODER_DECODER, true, 0, 0.2, 2);
  double loss;
  th_tensor once = gradient_of(&b, NULL, &loss), grads;
  th_params_zero_grads(b.model->params);
  th_var *made = loss_of(&b, NULL);
  cr_assert(th_backward(made, NULL) == TH_OK);
  th_params_zero_grads(b.model->params);
  cr_assert(th_backward(made, NULL) == TH_OK);
  grads = th_params_grads(b.model->params);
  expect_near(&grads, &once, 1e-12, "gradients");
  close_bench(&b);
}

Test(reversible, chunks_of_the_feed_forward_change_nothing_but_rounding) {
  bench whole = bench_of(TH_ENCODER_DECODER, false, 0, 0, 2);
  double loss, other_loss;
  th_tensor wanted = gradient_of(&whole, NULL, &loss);
  for (int64_t chunks = 1; chunks < 100; chunks = 3 * chunks + 1) { /* in the end more than there are rows */
    bench b = bench_of(TH_ENCODER_DECODER, false, chunks, 0, 2);
    th_tensor got = gradient_of(&b, NULL, &other_loss);
    cr_expect(fabs(loss - other_loss) < 1e-13);
    expect_near(&got, &wanted, 1e-13, "gradients");
    close_bench(&b);
  }
  close_bench(&whole);
}

static size_t bytes_of(bool reversible, int64_t layers) {
  bench b = bench_of(TH_ENCODER_DECODER, reversible, 0, 0.1, layers);
  double loss;
  gradient_of(&b, NULL, &loss);
  size_t bytes = th_tape_bytes(b.d.tape);
  close_bench(&b);
  return bytes;
}

Test(reversible, memory_does_not_grow_with_depth) {
  size_t two = bytes_of(true, 2), many = bytes_of(true, 32), stream = BATCH * TARGET * 16 * sizeof(double);
  /* a sum leaves a var and what it was made with: some hundred bytes, of which this tiny model has more than numbers */
  cr_expect(many - two < 30 * 5 * stream, "%zu bytes, then %zu", two, many);
  size_t ordinary = bytes_of(false, 32) - bytes_of(false, 2);
  cr_expect(many - two < ordinary / 8, "%zu bytes more, %zu where all is kept", many - two, ordinary);
}

/* What a layer leaves behind is bookkeeping, of a size that knows nothing of the tokens. */
static size_t growth_of(bool reversible, bool train, int64_t tokens) {
  size_t bytes[2];
  for (int i = 0; i < 2; i++) {
    bench b = bench_of(TH_DECODER_ONLY, reversible, 0, 0.1, i ? 32 : 2);
    b.target = desk_ids(&b.d, BATCH, tokens, TARGETS), b.wanted = desk_ids(&b.d, BATCH, tokens, TARGETS);
    double loss;
    if (train) gradient_of(&b, NULL, &loss);
    else loss_of(&b, NULL);
    bytes[i] = th_tape_bytes(b.d.tape);
    close_bench(&b);
  }
  return bytes[1] - bytes[0];
}

Test(reversible, what_grows_with_depth_is_the_same_for_any_number_of_tokens) {
  for (int train = 0; train < 2; train++) {
    cr_expect_eq(growth_of(true, train, 2), growth_of(true, train, 8));
    cr_expect_gt(growth_of(false, train, 8), growth_of(false, train, 2));
  }
}

/* ---- as ops ----------------------------------------------------------------------------------------- */

static th_var *dropped_tanh(th_var *x, th_var *const *others, const void *context) {
  (void)others, (void)context;
  return th_dropout(th_tanh(x), 0.3);
}

Test(reversible, forward_bits_are_those_of_ordinary_sums) {
  desk d = desk_open();
  th_tape_train(d.tape, true);
  th_tensor x = desk_uniform(&d, TH_F32, -1, 1, SHAPE(5, 7)),
            y = desk_uniform(&d, TH_F32, -1, 1, SHAPE(5, 7));
  th_var *made[2];
  for (int plain = 0; plain < 2; plain++) {
    th_tape_seed(d.tape, 3, 1);
    th_var *s[2] = {th_constant(d.tape, &x), th_constant(d.tape, &y)};
    if (!plain) s[0] = th_stream(s[0]), s[1] = th_stream(s[1]);
    for (int i = 0; i < 6; i++)
      s[i % 2] = plain ? th_add(s[i % 2], dropped_tanh(s[1 - i % 2], NULL, NULL))
                       : th_reversible(s[i % 2], s[1 - i % 2], 0, NULL, dropped_tanh, NULL, 0);
    made[plain] = plain ? th_scale(th_add(s[0], s[1]), 0.5) : th_streams_end(s[0], s[1]);
  }
  expect_no_error(d.tape);
  cr_expect_arr_eq(made[0]->value.data, made[1]->value.data, 35 * sizeof(float));
  desk_close(&d);
}

Test(reversible, a_branch_of_constants_gives_nothing_and_stops_nothing) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(3)), g = desk_zeros(&d, TH_F64, SHAPE(3));
  th_var *leaf = th_leaf(d.tape, &x, &g);
  th_var *fixed = th_recompute(th_constant(d.tape, &x), 0, NULL, dropped_tanh, NULL, 0);
  cr_expect_eq(th_backward(th_sum(th_mul(leaf, fixed), TH_ALL_AXES, false), NULL), TH_OK);
  expect_no_error(d.tape);
  expect_near(&g, &fixed->value, 0, "gradient");
  desk_close(&d);
}

Test(reversible, a_reset_tape_holds_nothing_and_a_used_one_its_most) {
  desk d = desk_open();
  th_tensor large = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1000)),
            small = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2));
  th_recompute(th_constant(d.tape, &large), 0, NULL, dropped_tanh, NULL, 0);
  size_t bytes = th_tape_bytes(d.tape);
  th_recompute(th_constant(d.tape, &small), 0, NULL, dropped_tanh, NULL, 0);
  cr_expect_geq(th_tape_bytes(d.tape), bytes);
  th_tape_reset(d.tape);
  cr_expect_eq(th_tape_bytes(d.tape), 0);
  desk_close(&d);
}

Test(reversible, wants_norms_first) {
  th_error error = {0};
  th_transformer_config c = {.shape = TH_DECODER_ONLY,
                             .target_vocabulary = TARGETS,
                             .decoder_layers = 1,
                             .max_length = 8,
                             .reversible = true,
                             .layer = {.width = 16, .heads = 2, .feed_forward = 32}};
  cr_expect(th_transformer_check(&c, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "reversible layers are pre-norm: a norm of the sum could not be undone");
  c.layer.norm_first = true, c.layer.feed_forward_chunks = -1;
  cr_expect(th_transformer_check(&c, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "-1 chunks of the feed-forward: want 0 to 16777216");
}

Test(reversible, errors_in_a_layer_come_out_with_their_words) {
  bench b = bench_of(TH_DECODER_ONLY, true, 0, 0, 2);
  b.model->encoder[1].feed_forward.first.weight->value.shape[1] = 15;
  th_transformer_language(b.model, b.d.tape, &b.target, NULL);
  const th_error *error = th_tape_error(b.d.tape);
  cr_assert_not_null(error);
  const char *text =
      "reversible: leaf: value and gradient must be contiguous, of one shape and type (src/nn/layers.c:";
  cr_expect(!strncmp(error->text, text, strlen(text)), "%s", error->text);
  cr_expect_null(strstr(strchr(error->text, '(') + 1, "("), "%s", error->text);
  b.model->encoder[1].feed_forward.first.weight->value.shape[1] = 16;
  close_bench(&b);
}
