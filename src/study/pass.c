#include "pass.h"

th_borrowed th_borrow(th_tape *tape) {
  th_borrowed borrowed = {tape, th_tape_recording(tape), th_tape_training(tape)};
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_tape_train(tape, false);
  return borrowed;
}

void th_give_back_full(const th_borrowed *borrowed) {
  th_tape_record(borrowed->tape, borrowed->recording);
  th_tape_train(borrowed->tape, borrowed->training);
}

void th_give_back(const th_borrowed *borrowed) {
  th_tape_reset(borrowed->tape);
  th_give_back_full(borrowed);
}

th_status th_study_pass(const th_transformer *model, th_tape *tape, const th_batch *batch, const th_tap *tap,
                        th_error *error) {
  th_tape_reset(tape);
  th_study_forward(model, tape, batch, tap);
  const th_error *failed = th_tape_error(tape);
  return failed ? th_error_set(error, failed->status, "%s", failed->text) : TH_OK;
}

int th_study_first_head(const th_transformer *m, const th_nn_attention *layer) {
  int64_t first = 0;
  for (int i = 0; th_transformer_attention(m, i) != layer; i++)
    first += th_transformer_attention(m, i)->heads;
  return (int)first;
}

const th_tensor *th_study_queries(th_attention_kind kind, const th_batch *b) {
  return kind == TH_ENCODER_SELF ? &b->source : &b->input;
}

const th_tensor *th_study_keys(th_attention_kind kind, const th_batch *b) {
  return kind == TH_DECODER_SELF ? &b->input : &b->source;
}

const int32_t *th_study_query_length(th_attention_kind kind, const th_batch *b) {
  return kind == TH_ENCODER_SELF ? b->source_length : b->input_length;
}

const int32_t *th_study_key_length(th_attention_kind kind, const th_batch *b) {
  return kind == TH_DECODER_SELF ? b->input_length : b->source_length;
}
