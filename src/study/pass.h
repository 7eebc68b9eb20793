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

/* One batch through the model on an emptied tape, which then holds the pass; what the tape met is the error. */
th_status th_study_pass(const th_transformer *model, th_tape *tape, const th_study_batch *batch,
                        const th_tap *tap, th_error *error);

#endif
