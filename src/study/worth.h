/* What the judges of heads share: gates to shut, and a model's outcome with them. Not public. */
#ifndef TAPEHEAD_STUDY_WORTH_H
#define TAPEHEAD_STUDY_WORTH_H

#include "pass.h"

/* A gate for each head, hung on a model's attentions; the gates that were there give their first values. And what
 * the encoders said, so that heads of the decoder cost a decoder. */
typedef struct th_judge {
  const th_transformer *model;
  const th_study_data *data;
  th_borrowed borrowed;
  th_params *gates;
  th_param **had;    /* [attentions]: the gates that were there */
  double *first;     /* [heads]: their values, or ones */
  th_tensor *memory; /* [batches]; data NULL: not encoded, or not to be */
  int64_t done, all; /* passes over the data */
} th_judge;

/* passes: how many th_judge_outcome there will be. th_judge_close in any case, and after it the model is as it was. */
th_status th_judge_open(th_judge *j, const th_transformer *model, th_tape *tape, const th_study_data *data,
                        int64_t passes, th_error *error);
void th_judge_close(th_judge *j);
void th_judge_gate(const th_judge *j, int head, double open); /* of its first value, this part */
/* Encodes every batch with the gates as they are; to be called again when an encoder's gate has changed. */
th_status th_judge_encode(th_judge *j, th_error *error);
/* With `encoded`, from what th_judge_encode kept. */
th_status th_judge_outcome(th_judge *j, bool encoded, const th_tap *tap, th_outcome *outcome,
                           th_error *error);
bool th_judge_may_use_memory(const th_judge *j, int head); /* a head of the decoder of an encoder-decoder */
/* One more of the passes is done; false: somebody said stop, and the error says so. */
bool th_judge_passed(th_judge *j, th_error *error);
/* Fills attribution and copying: attribution.c. */
th_status th_judge_attribute(th_judge *j, th_head_worth *worth, th_error *error);

#endif
