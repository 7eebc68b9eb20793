#include "pass.h"

th_borrowed th_borrow(th_tape *tape) {
  th_borrowed borrowed = {tape, th_tape_recording(tape), th_tape_training(tape)};
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_tape_train(tape, false);
  return borrowed;
}

void th_give_back(const th_borrowed *borrowed) {
  th_tape_reset(borrowed->tape);
  th_tape_record(borrowed->tape, borrowed->recording);
  th_tape_train(borrowed->tape, borrowed->training);
}

th_status th_study_pass(const th_transformer *model, th_tape *tape, const th_study_batch *batch,
                        const th_tap *tap, th_error *error) {
  th_tape_reset(tape);
  th_study_forward(model, tape, batch, tap);
  const th_error *failed = th_tape_error(tape);
  return failed ? th_error_set(error, failed->status, "%s", failed->text) : TH_OK;
}
