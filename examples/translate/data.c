#include "data.h"

#include <stdlib.h>

th_status data_train_batch(data *d, int64_t step, batch *b, th_error *error) {
  int64_t count = d->settings->batch;
  th_status status = TH_OK;
  if (d->train) count = pairs_pick(d, step);
  else status = toy_pick(d, step, error);
  if (!status) batch_fill(b, d->picked, count);
  return status;
}

void free_example(const example *e) {
  free((void *)(uintptr_t)e->source);
  free((void *)(uintptr_t)e->target);
}

void free_examples(example *examples, int64_t count) {
  for (int64_t i = 0; examples && i < count; i++) free_example(&examples[i]);
  free(examples);
}

void data_free(data *d) {
  if (!d->ids) { /* pairs own each example's ids, toys one block */
    free_examples(d->train, d->train_count);
    free_examples(d->held_out, d->held_out_count);
  } else free(d->held_out);
  if (d->target != d->source) th_vocabulary_free(d->target);
  th_vocabulary_free(d->source);
  free(d->text);
  free(d->valid_text);
  free(d->ids);
  free(d->drawn);
  free(d->picked);
  free(d->order);
  *d = (data){0};
}
