/* What the tests of the head study's likeness and rollout share: random models whose heads have opinions, ragged
 * batches, and every weight as a plain double. */
#ifndef TESTS_STUDY_TAPE_H
#define TESTS_STUDY_TAPE_H

#include "engine_desk.h"
#include "tapehead/study.h"

enum { LOOKING_VOCABULARY = 11, LOOKING_LAYERS = 3, LOOKING_HEADS = 3, LOOKING_BATCH = 4, LOOKING_MOST = 7 };

static const int32_t looking_source_length[LOOKING_BATCH] = {7, 2, 5, 1},
                     looking_input_length[LOOKING_BATCH] = {3, 6, 1, 4};

static inline th_transformer *looking_new(const th_transformer_config *config, th_dtype dtype) {
  th_transformer *model;
  th_error error;
  cr_assert_eq(th_transformer_new(&model, config, dtype, 5, &error), TH_OK, "%s", error.text);
  return model;
}

/* Of random weights, the attentions' projections larger, so that weights are far from equal. */
static inline th_transformer *looking_model(th_transformer_shape shape, th_dtype dtype) {
  bool reads = shape != TH_DECODER_ONLY, writes = shape != TH_ENCODER_ONLY;
  th_transformer *m = looking_new(&(th_transformer_config){.shape = shape,
                                                           .source_vocabulary = reads * LOOKING_VOCABULARY,
                                                           .target_vocabulary = writes * LOOKING_VOCABULARY,
                                                           .encoder_layers = reads * (LOOKING_LAYERS - 1),
                                                           .decoder_layers = writes * LOOKING_LAYERS,
                                                           .classes = writes ? 0 : 2,
                                                           .max_length = LOOKING_MOST + 1,
                                                           .layer = {.width = 12,
                                                                     .heads = LOOKING_HEADS,
                                                                     .feed_forward = 16,
                                                                     .dropout = 0.3,
                                                                     .norm_first = true},
                                                           .final_norm = true},
                                  dtype);
  for (int i = 0; i < th_params_count(m->params); i++) {
    const th_tensor *value = &th_params_at(m->params, i)->value;
    if (!strstr(th_params_at(m->params, i)->name, "in_proj_weight")) continue;
    for (int64_t j = 0; j < th_tensor_count(value); j++)
      th_tensor_set(value, j, 2.5 * th_tensor_get(value, j));
  }
  return m;
}

static inline th_study_batch looking_batch(desk *d) {
  th_study_batch b = {.source_length = looking_source_length, .input_length = looking_input_length};
  b.source = desk_zeros(d, TH_I32, SHAPE(LOOKING_BATCH, LOOKING_MOST));
  b.input = desk_zeros(d, TH_I32, SHAPE(LOOKING_BATCH, LOOKING_MOST - 1));
  const th_tensor *side[] = {&b.source, &b.input};
  for (uint64_t s = 0; s < 2; s++)
    for (int64_t i = 0; i < th_tensor_count(side[s]); i++)
      ((int32_t *)side[s]->data)[i] =
          (int32_t)th_random_below((th_random){3, s}, (uint64_t)i, LOOKING_VOCABULARY);
  return b;
}

/* Sequence `first` and those after it, `count` in all. */
static inline th_study_batch looking_part(const th_study_batch *b, int64_t first, int64_t count) {
  th_study_batch part = *b;
  th_view_slice(&part.source, &b->source, 0, first, first + count);
  th_view_slice(&part.input, &b->input, 0, first, first + count);
  part.source_length += first;
  part.input_length += first;
  return part;
}

/* All weights of a forward pass: at [head of the model], each [B,T,S]. */
typedef struct looked {
  const th_transformer *model;
  desk *desk;
  th_tensor at[64];
} looked;

static inline void looked_see(void *context, const th_nn_attention *layer, th_seen *seen) {
  looked *l = context;
  const th_tensor *w = &seen->weights->value;
  for (int i = 0; i < th_head_count(l->model); i++) {
    th_head head = th_head_at(l->model, i);
    if (head.kind != layer->kind || head.layer != layer->layer) continue;
    l->at[i] = desk_zeros(l->desk, TH_F64, SHAPE(w->shape[0], w->shape[2], w->shape[3]));
    int64_t one = w->shape[2] * w->shape[3];
    for (int64_t j = 0; j < w->shape[0] * one; j++)
      th_tensor_set(&l->at[i], j, th_tensor_get(w, (j / one * w->shape[1] + head.head) * one + j % one));
  }
}

static inline looked looked_at(desk *d, const th_transformer *m, const th_study_batch *b) {
  looked l = {.model = m, .desk = d};
  th_tape_reset(d->tape);
  th_study_forward(m, d->tape, b, &(th_tap){looked_see, &l});
  expect_no_error(d->tape);
  return l;
}

#endif
