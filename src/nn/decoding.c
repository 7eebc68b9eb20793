/* Greedy decoding. */
#include "tapehead/nn.h"

#include <stdlib.h>
#include <string.h>

/* The id with the largest logit in row (b, t) of logits [B,T,n]; the first of equals. */
static int32_t best_token(const th_tensor *logits, int64_t b, int64_t t) {
  int64_t n = logits->shape[2], row = (b * logits->shape[1] + t) * n, best = 0;
  for (int64_t i = 1; i < n; i++)
    if (th_tensor_get(logits, row + i) > th_tensor_get(logits, row + best)) best = i;
  return (int32_t)best;
}

/* One more column of `target` [B,limit + 1] from the t + 1 that stand; true while some sequence goes on. */
static bool extend(const th_transformer *model, th_var *memory, const int32_t *source_length, const th_tensor *target,
                   int64_t t, int32_t end) {
  th_tensor prefix;
  th_view_slice(&prefix, target, 1, 0, t + 1);
  th_var *logits = th_transformer_decode(model, memory, source_length, &prefix, NULL);
  if (th_tape_error(memory->tape)) return false;
  bool open = false;
  for (int64_t b = 0; b < target->shape[0]; b++) {
    int32_t *row = (int32_t *)target->data + b * target->stride[0];
    row[t + 1] = t > 0 && row[t] == end ? end : best_token(&logits->value, b, t);
    if (row[t + 1] != end) open = true;
  }
  return open;
}

th_status th_transformer_greedy(const th_transformer *model, th_tape *tape, const th_tensor *source,
                                const int32_t *source_length, int32_t begin, int32_t end, const th_tensor *out,
                                th_error *error) {
  int64_t batch = out->shape[0], limit = out->shape[1];
  bool recording = th_tape_recording(tape);
  th_tensor target;
  th_status status = th_tensor_new(&target, TH_I32, 2, (int64_t[]){batch, limit + 1}, error);
  if (status) return status;
  th_fill(&target, end);
  for (int64_t b = 0; b < batch; b++) th_tensor_set(&target, b * (limit + 1), begin);
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_var *memory = th_transformer_encode(model, tape, source, source_length, NULL);
  for (int64_t t = 0; t < limit && extend(model, memory, source_length, &target, t, end); t++) {}
  const th_error *failed = th_tape_error(tape);
  if (failed) status = th_error_set(error, failed->status, "%s", failed->text);
  th_tensor made;
  th_view_slice(&made, &target, 1, 1, limit + 1);
  if (!status) status = th_tensor_copy(out, &made, error);
  th_tape_record(tape, recording);
  th_tape_reset(tape);
  th_tensor_free(&target);
  return status;
}
