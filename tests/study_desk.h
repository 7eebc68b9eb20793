/* What the tests of the head study's likeness and rollout share: random models whose heads have opinions, ragged
 * batches, and every weight as a plain double. */
#ifndef TESTS_STUDY_DESK_H
#define TESTS_STUDY_DESK_H

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

/* Makes the attentions' projections larger, so that weights are far from equal. */
static inline void looking_sharpen(const th_params *params) {
  for (int i = 0; i < th_params_count(params); i++) {
    const th_tensor *value = &th_params_at(params, i)->value;
    if (!strstr(th_params_at(params, i)->name, "in_proj_weight")) continue;
    for (int64_t j = 0; j < th_tensor_count(value); j++)
      th_tensor_set(value, j, 2.5 * th_tensor_get(value, j));
  }
}

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
  looking_sharpen(m->params);
  return m;
}

static inline th_batch looking_batch(desk *d) {
  th_batch b = {.source_length = looking_source_length, .input_length = looking_input_length};
  b.source = desk_zeros(d, TH_I32, SHAPE(LOOKING_BATCH, LOOKING_MOST));
  b.input = desk_zeros(d, TH_I32, SHAPE(LOOKING_BATCH, LOOKING_MOST - 1));
  const th_tensor *side[] = {&b.source, &b.input};
  for (uint64_t s = 0; s < 2; s++)
    for (int64_t i = 0; i < th_tensor_count(side[s]); i++)
      ((int32_t *)side[s]->data)[i] =
          (int32_t)th_random_below((th_random){3, s}, (uint64_t)i, LOOKING_VOCABULARY);
  return b;
}

/* A desk with a random model and a ragged batch on it. */
typedef struct study_desk {
  desk d;
  th_tape *tape; /* the desk's */
  th_transformer *model;
  th_batch batch;
  int heads;
  th_params *fewer; /* of layers that have fewer heads */
} study_desk;

static inline study_desk study_desk_open(th_transformer_shape shape, th_dtype dtype) {
  study_desk s = {.d = desk_open(), .model = looking_model(shape, dtype)};
  s.tape = s.d.tape;
  s.batch = looking_batch(&s.d);
  s.heads = th_head_count(s.model);
  return s;
}

/* Layer 1 of each stack loses a head. */
static inline void study_desk_prune(study_desk *s) {
  s->fewer = th_params_new();
  for (int kind = 0; kind <= TH_CROSS; kind++) {
    th_nn_attention *old = th_head_attention(s->model, (th_attention_kind)kind, 1);
    if (!old) continue;
    th_nn_attention_config config = {.width = old->width,
                                     .heads = LOOKING_HEADS - 1,
                                     .key_width = old->key_width,
                                     .value_width = old->value_width,
                                     .kind = old->kind,
                                     .layer = 1};
    const th_nn_positions *positions = old->positions;
    *old = th_nn_attention_make(s->fewer, th_attention_kind_name(old->kind), &config);
    old->positions = positions;
  }
  cr_assert_eq(th_params_make(s->fewer, th_params_values(s->model->params).dtype, 9, NULL), TH_OK);
  looking_sharpen(s->fewer);
  s->heads = th_head_count(s->model);
}

static inline void study_desk_close(study_desk *s) {
  th_transformer_free(s->model);
  th_params_free(s->fewer);
  desk_close(&s->d);
}

/* Sequence `first` and those after it, `count` in all. */
static inline th_batch looking_part(const th_batch *b, int64_t first, int64_t count) {
  th_batch part = *b;
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

static inline looked looked_at(study_desk *s) {
  looked l = {.model = s->model, .desk = &s->d};
  th_tape_reset(s->tape);
  th_study_forward(s->model, s->tape, &s->batch, &(th_tap){looked_see, &l});
  expect_no_error(s->tape);
  return l;
}

#endif
