/* A small Transformer and all that trains it, for tests of whole steps. */
#ifndef TESTS_ENGINE_TRAINING_H
#define TESTS_ENGINE_TRAINING_H

#include "tapehead/optim.h"

#include <criterion/criterion.h>
#include <stdlib.h>

typedef struct trainer_config {
  int64_t width, batch, length;
  double dropout;
  uint64_t seed;
} trainer_config;

typedef struct trainer {
  th_transformer *model;
  th_tape *tape;
  th_pool *pool;
  th_adam adam;
  th_ema ema;
  th_tensor source, begin, wanted;
  int32_t *source_length;
  int64_t step;
  uint64_t seed;
} trainer;

enum { TRAINER_VOCABULARY = 20 };

static inline th_tensor trainer_ids(int64_t batch, int64_t length, uint64_t seed) {
  th_tensor ids;
  cr_assert(th_tensor_new(&ids, TH_I32, 2, (int64_t[]){batch, length}, NULL) == TH_OK);
  for (int64_t i = 0; i < batch * length; i++)
    ((int32_t *)ids.data)[i] =
        (int32_t)th_random_below((th_random){seed, 77}, (uint64_t)i, TRAINER_VOCABULARY);
  return ids;
}

/* threads 0: no pool at all. */
static inline trainer trainer_open(const trainer_config *config, int threads) {
  trainer t = {.seed = config->seed};
  th_transformer_config shape = {.source_vocabulary = TRAINER_VOCABULARY,
                                 .target_vocabulary = TRAINER_VOCABULARY,
                                 .encoder_layers = 2,
                                 .decoder_layers = 2,
                                 .max_length = config->length,
                                 .layer = {.width = config->width,
                                           .heads = 4,
                                           .feed_forward = 2 * config->width,
                                           .activation = TH_ACT_GELU,
                                           .dropout = config->dropout},
                                 .positions = TH_POSITIONS_LEARNED};
  th_adam_config adam = {.weight_decay = 0.01, .decoupled = true};
  t.pool = threads ? th_pool_new(threads) : NULL;
  t.tape = th_tape_new(t.pool);
  cr_assert(t.tape != NULL && (!threads || t.pool != NULL));
  cr_assert(th_transformer_new(&t.model, &shape, TH_F32, config->seed, NULL) == TH_OK);
  cr_assert(th_adam_new(&t.adam, t.model->params, &adam, NULL) == TH_OK);
  cr_assert(th_ema_new(&t.ema, t.model->params, 0.99, NULL) == TH_OK);
  t.source = trainer_ids(config->batch, config->length, config->seed);
  t.begin = trainer_ids(config->batch, config->length, config->seed + 1);
  t.wanted = trainer_ids(config->batch, config->length, config->seed + 2);
  t.source_length = malloc((size_t)config->batch * sizeof *t.source_length);
  for (int64_t i = 0; i < config->batch; i++) t.source_length[i] = (int32_t)(config->length - i % 3);
  return t;
}

static inline void trainer_close(trainer *t) {
  th_tape_free(t->tape);
  th_adam_free(&t->adam);
  th_ema_free(&t->ema);
  th_transformer_free(t->model);
  th_pool_free(t->pool);
  th_tensor_free(&t->source);
  th_tensor_free(&t->begin);
  th_tensor_free(&t->wanted);
  free(t->source_length);
}

/* Forward and backward: the loss; the gradients are in the parameters. The tape still stands. */
static inline float trainer_gradients(trainer *t) {
  th_params_zero_grads(t->model->params);
  th_tape_train(t->tape, true);
  th_tape_seed(t->tape, t->seed, (uint64_t)++t->step);
  th_var *memory = th_transformer_encode(t->model, t->tape, &t->source, t->source_length, NULL);
  th_var *logits = th_transformer_decode(t->model, memory, t->source_length, &t->begin, NULL);
  th_var *loss = th_cross_entropy(logits, &t->wanted, 0.1);
  if (th_backward(loss, NULL) != TH_OK) return -1; /* not from a thread of the test: no assertion here */
  return *(const float *)loss->value.data;
}

/* A whole step: forward, backward, clip, update, moving average, reset. */
static inline float trainer_step(trainer *t) {
  float loss = trainer_gradients(t);
  th_clip_grad_norm(t->model->params, 1);
  th_adam_update(&t->adam, 1e-3, t->pool);
  th_ema_update(&t->ema, t->pool);
  th_tape_reset(t->tape);
  return loss;
}

#endif
