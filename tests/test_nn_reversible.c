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
