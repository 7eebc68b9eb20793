/* Transformers whose heads are known: their weights are set by hand, so that each head looks where it is told.
 *
 * A token at a place is a row of ones and zeros: a one for its place, a one for its token, and a third part, empty,
 * that a head may write a token to. The layers are pre-norm with feed-forwards of zeros; a head reads through the
 * norm as if it were not there (hand_ones says how many ones there are, which is all the norm depends on). */
#ifndef TESTS_STUDY_MODELS_H
#define TESTS_STUDY_MODELS_H

#include "tapehead/study.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum {
  HAND_COUNT = 12, /* places, and tokens */
  HAND_PLACE = 0,  /* the parts of a row */
  HAND_TOKEN = HAND_COUNT,
  HAND_BEFORE = 2 * HAND_COUNT,
  HAND_WIDTH = 3 * HAND_COUNT,
  HAND_KEY = 2 * HAND_COUNT /* a head's keys: place, and token (or what was written) */
};
enum { HAND_BEGIN = 1, HAND_END = 2 }; /* the marks; 0 pads */
#define HAND_HARD 60.0                 /* a score by which a key has all the weight: the others have e^-60 */

static inline void hand_set(const th_param *p, int64_t row, int64_t column, double value) {
  th_tensor_set(&p->value, row * (p->value.ndim > 1 ? p->value.shape[1] : 1) + column, value);
}

static inline void hand_add(const th_param *p, int64_t row, int64_t column, double value) {
  int64_t at = row * (p->value.ndim > 1 ? p->value.shape[1] : 1) + column;
  th_tensor_set(&p->value, at, th_tensor_get(&p->value, at) + value);
}

/* `layers` in each stack that the shape has. Every head is uniform and writes nothing, every logit is 0. */
static inline th_transformer *hand_model(th_transformer_shape shape, th_dtype dtype, int layers, int heads) {
  bool source = shape != TH_DECODER_ONLY, target = shape != TH_ENCODER_ONLY;
  th_transformer_config config = {.shape = shape,
                                  .source_vocabulary = source ? HAND_COUNT : 0,
                                  .target_vocabulary = target ? HAND_COUNT : 0,
                                  .encoder_layers = source ? layers : 0,
                                  .decoder_layers = target ? layers : 0,
                                  .classes = target ? 0 : HAND_COUNT,
                                  .max_length = HAND_COUNT,
                                  .positions = TH_POSITIONS_LEARNED,
                                  .layer = {.width = HAND_WIDTH,
                                            .heads = heads,
                                            .feed_forward = 1,
                                            .key_width = HAND_KEY,
                                            .value_width = HAND_COUNT,
                                            .norm_first = true}};
  th_transformer *model = NULL;
  th_error error = {0};
  cr_assert(th_transformer_new(&model, &config, dtype, 1, &error) == TH_OK, "%s", error.text);
  for (int i = 0; i < th_params_count(model->params); i++) {
    const th_param *p = th_params_at(model->params, i);
    bool norm = strstr(p->name, "norm") && strstr(p->name, "weight");
    th_fill(&p->value, norm ? 1 : 0);
  }
  for (int k = 0; k < HAND_COUNT; k++) {
    double one = 1 / sqrt(HAND_WIDTH); /* embeddings are multiplied by sqrt(width) */
    if (source) hand_set(model->source_embedding.weight, k, HAND_TOKEN + k, one);
    if (target) hand_set(model->target_embedding.weight, k, HAND_TOKEN + k, one);
    if (source) hand_set(model->source_positions.learned, k, HAND_PLACE + k, 1);
    if (target) hand_set(model->target_positions.learned, k, HAND_PLACE + k, 1);
  }
  return model;
}

/* What a norm makes of a row with so many ones. */
typedef struct {
  double zero, step; /* what 0 becomes; how much larger 1 is */
} hand_scale;

#define HAND_RAW 0 /* no norm in between: cross-attention's keys */
static inline hand_scale hand_ones(int ones) {
  if (ones == HAND_RAW) return (hand_scale){0, 1};
  double mean = (double)ones / HAND_WIDTH, deviation = sqrt(mean - mean * mean + TH_NORM_EPSILON);
  return (hand_scale){-mean / deviation, 1 / deviation};
}

/* Row `row` of an attention's projections gets `amount` times column `column`, as it was before the norm. */
static inline void hand_read(const th_nn_attention *a, int64_t row, int64_t column, int ones, double amount) {
  hand_scale s = hand_ones(ones);
  hand_add(a->in_weight, row, column, amount / s.step);
  hand_add(a->in_bias, row, 0, -amount * s.zero / s.step);
}

static inline int64_t hand_block(int part) { return part == HAND_PLACE ? 0 : HAND_COUNT; }

/* Keys of a head: part `part` of the rows it reads, which have so many ones. Once for each of place and token. */
static inline void hand_keys(const th_nn_attention *a, int head, int part, int ones) {
  int64_t first = a->heads * a->key_width + head * a->key_width + hand_block(part);
  for (int k = 0; k < HAND_COUNT; k++) hand_read(a, first + k, part + k, ones, 1);
}

/* A query with number i in part `from` wants the key with number want[i] in part `part` (-1: none) by `score`. */
static inline void hand_query(const th_nn_attention *a, int head, int from, int ones, int part,
                              const int want[HAND_COUNT], double score) {
  int64_t first = head * a->key_width + hand_block(part);
  for (int i = 0; i < HAND_COUNT; i++)
    if (want[i] >= 0) hand_read(a, first + want[i], from + i, ones, score * sqrt((double)a->key_width));
}

/* Every query wants the key with this number. */
static inline void hand_always(const th_nn_attention *a, int head, int part, int number, double score) {
  hand_set(a->in_bias, head * a->key_width + hand_block(part) + number, 0,
           score * sqrt((double)a->key_width));
}

/* want[i] = slope i + add where that is a number from 0 to last, else -1. */
static inline void hand_line(int want[HAND_COUNT], int slope, int add, int last) {
  for (int i = 0; i < HAND_COUNT; i++) {
    int to = slope * i + add;
    want[i] = to < 0 || to > last ? -1 : to;
  }
}

/* A head that from place i looks at place slope i + add (up to `last`), its rows and keys with so many ones. */
static inline void hand_places(const th_nn_attention *a, int head, int slope, int add, int last, int ones,
                               int key_ones) {
  int want[HAND_COUNT];
  hand_line(want, slope, add, last);
  hand_keys(a, head, HAND_PLACE, key_ones);
  hand_query(a, head, HAND_PLACE, ones, HAND_PLACE, want, HAND_HARD);
}

/* A head that looks at keys which hold the query's own token, in part HAND_TOKEN or HAND_BEFORE. */
static inline void hand_tokens(const th_nn_attention *a, int head, int part, int ones, int key_ones) {
  int want[HAND_COUNT];
  hand_line(want, 1, 0, HAND_COUNT - 1);
  hand_keys(a, head, part, key_ones);
  hand_query(a, head, HAND_TOKEN, ones, part, want, HAND_HARD);
}

/* What a head reads in part `from` of its keys it adds to part `to` of the row, `amount` times. */
static inline void hand_write(const th_nn_attention *a, int head, int from, int ones, int to, double amount) {
  int64_t first = 2 * a->heads * a->key_width + head * a->value_width;
  for (int k = 0; k < HAND_COUNT; k++) {
    hand_read(a, first + k, from + k, ones, 1);
    hand_add(a->out.weight, to + k, head * a->value_width + k, amount);
  }
}

/* The logit of token k (of class k) is `amount` times number k of the part. */
static inline void hand_output(const th_transformer *model, int part, double amount) {
  for (int k = 0; k < HAND_COUNT; k++) hand_add(model->output.weight, k, part + k, amount);
}

/* Decoder-only, two layers of two heads:
 *   dec0.0 previous token, which it writes beside each token     dec0.1 the begin mark
 *   dec1.0 induction: with what dec0.0 wrote; it writes the token it finds there, which is predicted
 *   dec1.1 uniform */
static inline th_transformer *hand_induction(th_dtype dtype) {
  th_transformer *model = hand_model(TH_DECODER_ONLY, dtype, 2, 2);
  const th_nn_attention *first = th_head_attention(model, TH_DECODER_SELF, 0),
                        *second = th_head_attention(model, TH_DECODER_SELF, 1);
  hand_places(first, 0, 1, -1, HAND_COUNT - 1, 2, 2);
  hand_write(first, 0, HAND_TOKEN, 2, HAND_BEFORE, 1);
  hand_keys(first, 1, HAND_TOKEN, 2);
  hand_always(first, 1, HAND_TOKEN, HAND_BEGIN, HAND_HARD);
  hand_tokens(second, 0, HAND_BEFORE, 3, 3);
  hand_write(second, 0, HAND_TOKEN, 3, HAND_TOKEN, 10);
  hand_output(model, HAND_TOKEN, 1);
  return model;
}

#endif
