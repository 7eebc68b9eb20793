/* Greedy decoding, with the keys and values of earlier tokens kept. */
#include "tapehead/nn.h"

/* The id with the largest logit in row b of logits [B,1,n]; the first of equals. */
static int32_t best_token(const th_tensor *logits, int64_t b) {
  int64_t n = logits->shape[2], best = 0;
  double top = th_tensor_get(logits, b * n);
  for (int64_t i = 1; i < n; i++) {
    double value = th_tensor_get(logits, b * n + i);
    if (value > top) top = value, best = i;
  }
  return (int32_t)best;
}

/* Fills column t of out from the tokens of the column before it; false when every sequence has ended. */
static bool extend(th_decoding *d, th_tape *tape, const th_tensor *tokens, const th_tensor *out, int64_t t,
                   int32_t end) {
  th_tape_rewind(tape);
  th_var *logits = th_decoding_step(d, tape, tokens, NULL);
  if (th_tape_error(tape)) return false;
  bool open = false;
  for (int64_t b = 0; b < out->shape[0]; b++) {
    bool ended = t > 0 && (int32_t)th_tensor_get(tokens, b) == end;
    int32_t next = ended ? end : best_token(&logits->value, b);
    th_tensor_set(tokens, b, next);
    th_tensor_set(out, b * out->shape[1] + t, next);
    if (next != end) open = true;
  }
  return open;
}

th_status th_transformer_greedy(const th_transformer *model, th_tape *tape, const th_tensor *source,
                                const int32_t *source_length, int32_t begin, int32_t end,
                                const th_tensor *out, th_error *error) {
  bool recording = th_tape_recording(tape), training = th_tape_training(tape);
  th_tensor tokens;
  th_status status = th_tensor_new(&tokens, TH_I32, 2, (int64_t[]){out->shape[0], 1}, error);
  if (status) return status;
  th_fill(&tokens, begin);
  th_fill(out, end);
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_tape_train(tape, false);
  th_var *memory = th_transformer_encode(model, tape, source, source_length, NULL);
  th_decoding decoding = th_decoding_begin(model, memory, source_length, out->shape[1]);
  th_tape_mark(tape);
  for (int64_t t = 0; t < out->shape[1] && extend(&decoding, tape, &tokens, out, t, end); t++) {}
  const th_error *failed = th_tape_error(tape);
  if (failed) status = th_error_set(error, failed->status, "%s", failed->text);
  th_tape_reset(tape);
  th_tape_record(tape, recording);
  th_tape_train(tape, training);
  th_tensor_free(&tokens);
  return status;
}
