/* What every head looks at in one batch, in double; and the sequences' lengths. */
#ifndef TAPEHEAD_STUDY_WEIGHTS_H
#define TAPEHEAD_STUDY_WEIGHTS_H

#include "tapehead/study.h"

/* A forward pass over `batch`: the weights of each head, TH_F64 [B,T,S], in the order of heads and in the tape's
 * memory, which is reset first. NULL, and `error`: the batch is not one for this model, or what the tape met. */
th_tensor *th_study_weights(const th_transformer *model, th_tape *tape, const th_study_batch *batch,
                            th_error *error);

/* The lengths of a kind's queries and of its keys, of those that the batch has; NULL: all. */
const int32_t *th_study_query_length(th_attention_kind kind, const th_study_batch *batch);
const int32_t *th_study_key_length(th_attention_kind kind, const th_study_batch *batch);

/* How many of `most` tokens sequence b has. */
static inline int64_t th_study_length(const int32_t *length, int64_t b, int64_t most) {
  if (!length || length[b] > most) return most;
  return length[b] < 0 ? 0 : length[b];
}

#endif
