/* Trained heads made collaborative: as exact as the shared width allows. */
#include "engine_plain.h"
#include "tapehead/nn.h"

#include <stdlib.h>

TestSuite(collaborate);

enum {
  HEADS = 3,
  WIDTH = 12,
  D = 4,
  BATCH = 2,
  SOURCE = 5,
  TARGET = 4,
  SOURCES = 11,
  TARGETS = 13,
  ATTENTIONS = 3
};

static th_transformer_config config_of(void) {
  return (th_transformer_config){.source_vocabulary = SOURCES,
                                 .target_vocabulary = TARGETS,
                                 .encoder_layers = 1,
                                 .decoder_layers = 1,
                                 .max_length = 8,
                                 .layer = {.width = WIDTH, .heads = HEADS, .feed_forward = 24}};
}

static th_transformer *model_of(const th_transformer_config *config) {
  th_transformer *model = NULL;
  th_error error = {0};
  cr_assert(th_transformer_new(&model, config, TH_F64, 1, &error) == TH_OK, "%s", error.text);
  for (int i = 0; i < th_params_count(model->params); i++)
    th_fill_uniform(&th_params_at(model->params, i)->value, -0.6, 0.6, (th_random){9, (uint64_t)i});
  return model;
}

static th_transformer *made_of(const th_transformer *model, int64_t width, double errors[ATTENTIONS]) {
  th_transformer *made = NULL;
  th_error error = {0};
  cr_assert(th_transformer_collaborate(&made, model, width, errors, &error) == TH_OK, "%s", error.text);
  return made;
}

static th_tensor logits_of(desk *d, const th_transformer *m) {
  d->stream = 1; /* of the same tokens each time */
  th_tensor source = desk_ids(d, BATCH, SOURCE, SOURCES), target = desk_ids(d, BATCH, TARGET, TARGETS);
  th_tape_reset(d->tape);
  th_var *memory = th_transformer_encode(m, d->tape, &source, NULL, NULL);
  th_var *logits = th_transformer_decode(m, memory, NULL, &target, NULL);
  expect_no_error(d->tape);
  return desk_copy(d, TH_F64, &logits->value);
}

/* ---- the tensor, entry by entry --------------------------------------------------------------------------------- */

typedef double slices[HEADS][WIDTH][WIDTH];

static void slices_of_heads(const th_nn_attention *layer, slices m) {
  const double *w = layer->in_weight->value.data;
  memset(m, 0, sizeof(slices));
  for (int h = 0; h < HEADS; h++)
    for (int d = 0; d < D; d++)
      for (int i = 0; i < WIDTH * WIDTH; i++)
        m[h][i / WIDTH][i % WIDTH] +=
            w[(h * D + d) * WIDTH + i / WIDTH] * w[(HEADS * D + h * D + d) * WIDTH + i % WIDTH];
}

static void slices_of_shared(const th_nn_attention *layer, slices m) {
  const double *q = layer->shared.query->value.data, *k = layer->shared.key->value.data,
               *mixing = layer->shared.mixing->value.data;
  int64_t shared = layer->method.shared_width;
  memset(m, 0, sizeof(slices));
  for (int h = 0; h < HEADS; h++)
    for (int64_t r = 0; r < shared; r++)
      for (int i = 0; i < WIDTH * WIDTH; i++)
        m[h][i / WIDTH][i % WIDTH] +=
            mixing[h * shared + r] * q[r * WIDTH + i / WIDTH] * k[r * WIDTH + i % WIDTH];
}

static double plain_error(const th_nn_attention *from, const th_nn_attention *layer) {
  static slices wanted, found;
  double off = 0, all = 0;
  slices_of_heads(from, wanted);
  slices_of_shared(layer, found);
  for (int i = 0; i < HEADS * WIDTH * WIDTH; i++) {
    double w = (&wanted[0][0][0])[i], f = (&found[0][0][0])[i];
    off += (w - f) * (w - f);
    all += w * w;
  }
  return sqrt(off / all);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

Test(collaborate, the_error_is_that_of_the_tensor_and_falls_with_the_width) {
  th_transformer_config config = config_of();
  th_transformer *model = model_of(&config);
  double before[ATTENTIONS] = {1, 1, 1}, errors[ATTENTIONS];
  for (int64_t width = 1; width <= HEADS * D + 1; width++) {
    th_transformer *made = made_of(model, width, errors);
    for (int a = 0; a < ATTENTIONS; a++) {
      double plain = plain_error(th_transformer_attention(model, a), th_transformer_attention(made, a));
      cr_expect(fabs(plain - errors[a]) < 1e-6, "width %ld: %g, and entry by entry %g", (long)width,
                errors[a], plain);
      cr_expect(errors[a] <= before[a] + 1e-6, "width %ld: %g, before %g", (long)width, errors[a], before[a]);
      before[a] = errors[a];
    }
    th_transformer_free(made);
  }
  for (int a = 0; a < ATTENTIONS; a++) cr_expect(errors[a] == 0);
  th_transformer_free(model);
}

Test(collaborate, with_full_width_or_more_the_model_says_the_same) {
  desk d = desk_open();
  th_transformer_config config = config_of();
  th_transformer *model = model_of(&config);
  th_tensor wanted = logits_of(&d, model);
  for (int64_t width = HEADS * D; width <= HEADS * D + 3; width += 3) {
    double errors[ATTENTIONS];
    th_transformer *made = made_of(model, width, errors);
    th_tensor got = logits_of(&d, made);
    expect_near(&got, &wanted, 1e-12, "logits");
    th_transformer_free(made);
  }
  th_transformer_free(model);
  desk_close(&d);
}

/* Heads that mix three shared dimensions already, so that their tensor has three terms. */
static void share_three(const th_transformer *model) {
  for (int a = 0; a < ATTENTIONS; a++) {
    double *w = th_transformer_attention((th_transformer *)(uintptr_t)model, a)->in_weight->value.data;
    for (int i = 0; i < HEADS * D * WIDTH; i++) {
      int h = i / WIDTH / D, d = i / WIDTH % D, e = i % WIDTH;
      th_random r = {8, (uint64_t)(a + 1)};
      double q = th_random_normal(r, (uint64_t)(d * WIDTH + e)),
             k = th_random_normal(r, (uint64_t)(900 + d * WIDTH + e));
      w[i] = d < 3 ? q * th_random_normal(r, (uint64_t)(2000 + h * D + d)) : 0;
      w[HEADS * D * WIDTH + i] = d < 3 ? k : 0;
    }
  }
}

Test(collaborate, a_tensor_of_few_terms_is_found_whole) {
  desk d = desk_open();
  th_transformer_config config = config_of();
  th_transformer *model = model_of(&config);
  share_three(model);
  double errors[ATTENTIONS];
  th_transformer *made = made_of(model, 3, errors);
  th_tensor wanted = logits_of(&d, model), got = logits_of(&d, made);
  for (int a = 0; a < ATTENTIONS; a++)
    cr_expect(plain_error(th_transformer_attention(model, a), th_transformer_attention(made, a)) < 1e-4);
  expect_near(&got, &wanted, 1e-3, "logits");
  th_transformer_free(made);
  th_transformer_free(model);
  desk_close(&d);
}

Test(collaborate, it_is_the_same_each_time_and_goes_with_heads_that_are_gone) {
  bool removed[ATTENTIONS * HEADS] = {[0] = true, [3] = true, [4] = true, [5] = true};
  th_transformer_config config = config_of();
  config.removed = removed;
  th_transformer *model = model_of(&config);
  double errors[2][ATTENTIONS];
  th_transformer *made[2] = {made_of(model, 5, errors[0]), made_of(model, 5, errors[1])};
  th_tensor a = th_params_values(made[0]->params), b = th_params_values(made[1]->params);
  expect_near(&a, &b, 0, "weights");
  cr_expect(made[0]->encoder[0].self.heads == 2 && made[0]->decoder[0].self.heads == 0);
  for (int i = 0; i < 2; i++) th_transformer_free(made[i]);
  th_transformer_free(model);
}

static void expect_refused(th_transformer_config config, int64_t width, const char *text) {
  th_transformer *model = model_of(&config), *made = model;
  double errors[ATTENTIONS];
  th_error error = {0};
  cr_expect(th_transformer_collaborate(&made, model, width, errors, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, text);
  cr_expect_null(made);
  th_transformer_free(model);
}

Test(collaborate, what_cannot_be_is_refused) {
  th_transformer_config config = config_of();
  expect_refused(config, 0, "self-attention: the shared width: 0: want 1 to 16777216");
  config.positions = TH_POSITIONS_ROTARY;
  expect_refused(config, 4,
                 "self-attention: collaborative attention has no queries and keys for rotary positions");
  config = config_of();
  config.layer.attention = (th_nn_method){.kind = TH_ATTENTION_LINEAR};
  expect_refused(config, 4, "self-attention is linear: only full attention can be made collaborative");
  config = config_of();
  config.layer.cross_attention = (th_nn_method){.kind = TH_ATTENTION_TALKING};
  expect_refused(config, 4, "cross-attention is talking: only full attention can be made collaborative");
}
