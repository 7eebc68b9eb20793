/* What every head looks at in one batch, in double. */
#ifndef TAPEHEAD_STUDY_WEIGHTS_H
#define TAPEHEAD_STUDY_WEIGHTS_H

#include "pass.h"

/* A forward pass over `batch`: the weights of each head, TH_F64 [B,T,S], in the order of heads and in the tape's
 * memory, which is reset first. NULL, and `error`: the batch is not one for this model, or what the tape met. */
th_tensor *th_study_weights(const th_transformer *model, th_tape *tape, const th_batch *batch,
                            th_error *error);

/* Weights of any sign (rows_sum_to_one of th_attention_traits is false): a row's sizes, over their sum, say where it
 * looks. A row of zeros stays one. */
void th_study_make_shares(double *row, int64_t keys);

#endif
