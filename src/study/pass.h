/* Passes of data through a model that is only looked at. Not public. */
#ifndef TAPEHEAD_STUDY_PASS_H
#define TAPEHEAD_STUDY_PASS_H

#include "tapehead/study.h"

/* What a tape was before a study borrowed it. */
typedef struct th_borrowed {
  th_tape *tape;
  bool recording, training;
} th_borrowed;

/* An empty tape that neither records nor trains, until th_give_back, which empties it again. */
th_borrowed th_borrow(th_tape *tape);
void th_give_back(const th_borrowed *borrowed);
/* The same without emptying it: for what lies on it. */
void th_give_back_full(const th_borrowed *borrowed);

/* One batch through the model on an emptied tape, which then holds the pass; what the tape met is the error. */
th_status th_study_pass(const th_transformer *model, th_tape *tape, const th_batch *batch, const th_tap *tap,
                        th_error *error);

/* The place of an attention's first head among all; its heads stand together. */
int th_study_first_head(const th_transformer *model, const th_nn_attention *layer);

/* The tokens of a kind's queries and of its keys, and the lengths of those sequences; NULL: all. */
const th_tensor *th_study_queries(th_attention_kind kind, const th_batch *batch);
const th_tensor *th_study_keys(th_attention_kind kind, const th_batch *batch);
const int32_t *th_study_query_length(th_attention_kind kind, const th_batch *batch);
const int32_t *th_study_key_length(th_attention_kind kind, const th_batch *batch);

/* How many of `most` tokens sequence b has. */
static inline int64_t th_study_length(const int32_t *length, int64_t b, int64_t most) {
  if (!length || length[b] > most) return most;
  return length[b] < 0 ? 0 : length[b];
}

#endif
