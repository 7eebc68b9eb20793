/* Held-out examples as batches of a head study: sorted by length, so that little of a batch is padding. */
#include "heads.h"

#include <stdlib.h>
#include <string.h>

#define AT_ONCE 100

typedef struct placed { /* an example, and where it stood */
  example pair;
  int64_t place;
} placed;

static int by_length(const void *a, const void *b) {
  const placed *x = a, *y = b;
  int64_t n = x->pair.source_length + x->pair.target_length,
          m = y->pair.source_length + y->pair.target_length;
  return n != m ? (n > m) - (n < m) : (x->place > y->place) - (x->place < y->place);
}

static example *sorted(const example *examples, int64_t count) {
  placed *list = calloc((size_t)count, sizeof *list);
  example *made = calloc((size_t)count, sizeof *made);
  for (int64_t i = 0; list && i < count; i++) list[i] = (placed){examples[i], i};
  if (list && made) {
    qsort(list, (size_t)count, sizeof *list, by_length);
    for (int64_t i = 0; i < count; i++) made[i] = list[i].pair;
  } else {
    free(made);
    made = NULL;
  }
  free(list);
  return made;
}

th_batch study_batch_of(const batch *b, int32_t *input_length) {
  batch_target_lengths(b, input_length);
  return (th_batch){.source = b->source,
                    .source_length = b->source_length,
                    .input = b->input,
                    .input_length = input_length,
                    .output = b->output};
}

static th_status fill(study_set *set, const example *examples, int64_t count, int64_t longest,
                      th_error *error) {
  th_status status = TH_OK;
  for (int64_t i = 0; i < count && !status; i += AT_ONCE) {
    int64_t n = count - i < AT_ONCE ? count - i : AT_ONCE;
    batch *b = &set->memory[set->data.count];
    if ((status = batch_new(b, n, longest, error))) break;
    batch_fill(b, examples + i, n);
    set->batches[set->data.count++] = study_batch_of(b, set->input_length + i);
    set->tokens += b->tokens;
  }
  return status;
}

th_status study_set_make(study_set *set, const run *r, int64_t count, stage *s, th_error *error) {
  const data *d = &r->data;
  if (count > d->held_out_count) count = d->held_out_count;
  size_t batches = (size_t)((count + AT_ONCE - 1) / AT_ONCE);
  *set = (study_set){.batches = calloc(batches, sizeof *set->batches),
                     .memory = calloc(batches, sizeof *set->memory),
                     .input_length = calloc((size_t)count, sizeof *set->input_length)};
  bool shared = d->source == d->target || !strcmp(r->settings.vocabulary, "joint");
  set->data = (th_study_data){.batches = set->batches,
                              .begin = TH_BOS,
                              .end = TH_EOS,
                              .one_vocabulary = shared,
                              .progress = stage_progress,
                              .context = s};
  example *list = sorted(d->held_out, count);
  th_status status = set->batches && set->memory && set->input_length && list
                         ? fill(set, list, count, d->longest, error)
                         : th_error_set(error, TH_ENOMEM, "no memory for %lld sequences", (long long)count);
  free(list);
  if (status) study_set_free(set);
  return status;
}

void study_set_free(study_set *set) {
  for (int64_t i = 0; i < set->data.count; i++) batch_free(&set->memory[i]);
  free(set->batches);
  free(set->memory);
  free(set->input_length);
  *set = (study_set){0};
}
