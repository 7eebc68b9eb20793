#include "data.h"

#include <stdlib.h>
#include <string.h>

static th_status make_room(batch *b, int64_t ids, th_error *error) {
  *b = (batch){.memory = calloc((size_t)ids, sizeof *b->memory)};
  return b->memory ? TH_OK
                   : th_error_set(error, TH_ENOMEM, "no memory for a batch of %lld ids", (long long)ids);
}

th_status batch_new(batch *b, int64_t capacity, int64_t longest, th_error *error) {
  return make_room(b, capacity * (3 * (longest + 1) + 1), error);
}

th_status batch_new_training(batch *b, const data *d, th_error *error) {
  int64_t tokens = d->settings->batch_tokens, lone = 3 * (d->longest + 1) + 1;
  if (!tokens) return batch_new(b, d->settings->batch, d->longest, error);
  int64_t full =
      2 * tokens; /* targets stand there twice, and a length beside each source of at least two ids */
  return make_room(b, full > lone ? full : lone, error);
}

void batch_free(batch *b) {
  free(b->memory);
  b->memory = NULL;
}

static void put(const th_tensor *to, int64_t row, int32_t before, const int32_t *ids, int64_t length,
                int32_t after, int32_t padding) {
  int32_t *at = (int32_t *)to->data + row * to->shape[1], *end = at + to->shape[1];
  if (before != TH_PAD) *at++ = before;
  if (length) memcpy(at, ids, (size_t)length * sizeof *ids); /* of no target there is no pointer either */
  at += length;
  if (after != TH_PAD) *at++ = after;
  while (at < end) *at++ = padding;
}

void batch_fill(batch *b, const example *examples, int64_t count) {
  int64_t source = 0, target = 0;
  b->tokens = b->first = 0;
  for (int64_t i = 0; i < count; i++) {
    if (examples[i].source_length > source) source = examples[i].source_length;
    if (examples[i].target_length > target) target = examples[i].target_length;
    b->tokens += examples[i].target_length + 1;
  }
  int32_t *input = b->memory + count * (source + 1), *output = input + count * (target + 1);
  b->source = th_tensor_of(b->memory, TH_I32, 2, (int64_t[]){count, source + 1});
  b->input = th_tensor_of(input, TH_I32, 2, (int64_t[]){count, target + 1});
  b->output = th_tensor_of(output, TH_I32, 2, (int64_t[]){count, target + 1});
  b->source_length = output + count * (target + 1);
  for (int64_t i = 0; i < count; i++) {
    const example *e = &examples[i];
    put(&b->source, i, TH_PAD, e->source, e->source_length, TH_EOS, TH_PAD);
    put(&b->input, i, TH_BOS, e->target, e->target_length, TH_PAD, TH_PAD);
    put(&b->output, i, TH_PAD, e->target, e->target_length, TH_EOS, -1);
    b->source_length[i] = (int32_t)e->source_length + 1;
  }
}

batch batch_part(const batch *b, int64_t part, int64_t parts) {
  int64_t count = b->source.shape[0], begin = count * part / parts, end = count * (part + 1) / parts;
  batch made = {.source_length = b->source_length + begin, .first = begin};
  th_view_slice(&made.source, &b->source, 0, begin, end);
  th_view_slice(&made.input, &b->input, 0, begin, end);
  th_view_slice(&made.output, &b->output, 0, begin, end);
  const int32_t *wanted = made.output.data;
  for (int64_t i = 0, ids = th_tensor_count(&made.output); i < ids; i++) made.tokens += wanted[i] >= 0;
  return made;
}

void batch_target_lengths(const batch *b, int32_t *length) {
  const int32_t *wanted = b->output.data;
  int64_t count = b->output.shape[0], longest = b->output.shape[1];
  for (int64_t i = 0; i < count; i++)
    for (length[i] = 0; length[i] < longest && wanted[i * longest + length[i]] >= 0;) length[i]++;
}
