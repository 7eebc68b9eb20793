/* Training's batches, one after another: a function of the settings and the batch's number alone, so that a run
 * that goes on takes the same ones. */
#include "data.h"

#include <stdlib.h>

#define ORDER_STREAM (1ull << 61)
#define POOL_BATCHES 32 /* so many batches' worth of pairs are sorted by length together, to save padding */

/* ---- an epoch of pairs -------------------------------------------------------------------------------- */

/* With --batch-tokens, what a pair takes by itself: the marks are the source's <eos> and the one that the target
 * begins or ends with. A batch takes as much as its longest source and its longest target for each pair. */
static int64_t tokens_of(int64_t source, int64_t target) { return source + 1 + target + 1; }

/* So many pairs may be in a batch. */
static int64_t most_pairs(const data *d) {
  int64_t most = d->settings->batch_tokens ? d->settings->batch_tokens / tokens_of(1, 1) : d->settings->batch;
  return most < 1 ? 1 : most < d->train_count ? most : d->train_count;
}

th_status data_make_order(data *d, th_error *error) {
  size_t n = (size_t)d->train_count;
  d->order = calloc(3 * n + 1, sizeof *d->order);
  d->picked = calloc((size_t)most_pairs(d), sizeof *d->picked);
  if (!d->order || !d->picked)
    return th_error_set(error, TH_ENOMEM, "no memory for the order of %zu pairs", n);
  d->batch_order = d->order + n;
  d->first = d->order + 2 * n;
  return TH_OK;
}

static void shuffle(int32_t *items, int64_t count, th_random random, uint64_t position) { /* Fisher & Yates */
  for (int64_t i = count - 1; i > 0; i--) {
    int64_t j = th_random_below(random, position++, i + 1);
    int32_t kept = items[i];
    items[i] = items[j];
    items[j] = kept;
  }
}

/* By length; those of one length stay as they were shuffled. */
static int by_length(const void *a, const void *b, void *context) {
  const data *d = context;
  int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
  const example *x = &d->train[i], *y = &d->train[j];
  const int32_t *place = d->batch_order;
  int64_t longer = x->source_length + x->target_length - y->source_length - y->target_length;
  return longer ? (longer > 0) - (longer < 0) : (place[i] > place[j]) - (place[i] < place[j]);
}

static void sort_pool(data *d, int64_t begin, int64_t end) {
  qsort_r(d->order + begin, (size_t)(end - begin), sizeof *d->order, by_length, d);
}

/* Batches of equally many pairs. What makes no whole batch is left over by chance, not by its length, and has its
 * turn in another epoch. */
static void cut_by_count(data *d) {
  int64_t size = most_pairs(d), used = d->train_count / size * size, pool = POOL_BATCHES * size;
  for (int64_t i = 0; i < used; i += pool) sort_pool(d, i, used - i < pool ? used : i + pool);
  for (int64_t i = 0; i <= used; i += size) d->first[i / size] = (int32_t)i;
  d->batches = used / size;
}

/* Where the batch ends that begins with pair `i` of the pool: as many as --batch-tokens holds, and at least one. */
static int64_t end_of_batch(const data *d, int64_t i, int64_t pool_end) {
  int64_t source = 0, target = 0, begin = i;
  for (; i < pool_end; i++) {
    const example *e = &d->train[d->order[i]];
    if (e->source_length > source) source = e->source_length;
    if (e->target_length > target) target = e->target_length;
    if (i > begin && (i + 1 - begin) * tokens_of(source, target) > d->settings->batch_tokens) break;
  }
  return i;
}

/* Batches of about equally many tokens; every pair is in one. */
static void cut_by_tokens(data *d) {
  int64_t end;
  d->batches = 0;
  for (int64_t begin = 0; begin < d->train_count; begin = end) {
    int64_t tokens = 0;
    for (end = begin; end < d->train_count && tokens < POOL_BATCHES * d->settings->batch_tokens; end++)
      tokens += tokens_of(d->train[d->order[end]].source_length, d->train[d->order[end]].target_length);
    sort_pool(d, begin, end);
    for (int64_t i = begin; i < end; i = end_of_batch(d, i, end)) d->first[d->batches++] = (int32_t)i;
  }
  d->first[d->batches] = (int32_t)d->train_count;
}

/* Sets order, batches, first and batch_order, which while sorting holds each pair's place. */
static void begin_epoch(data *d, int64_t epoch, int64_t first) {
  th_random random = {(uint64_t)d->settings->seed, ORDER_STREAM + (uint64_t)epoch};
  int64_t n = d->train_count;
  for (int64_t i = 0; i < n; i++) d->order[i] = (int32_t)i;
  shuffle(d->order, n, random, 0);
  for (int64_t i = 0; i < n; i++) d->batch_order[d->order[i]] = (int32_t)i;
  if (d->settings->batch_tokens) cut_by_tokens(d);
  else cut_by_count(d);
  for (int64_t i = 0; i < d->batches; i++) d->batch_order[i] = (int32_t)i;
  shuffle(d->batch_order, d->batches, random, (uint64_t)n);
  d->epoch = epoch;
  d->epoch_first = first;
}

/* Epochs of equally many pairs have equally many batches. Those of tokens are counted from the first on, which a
 * run that goes on does once: 20 ms for each epoch of 100,000 pairs. */
static void seek_epoch(data *d, int64_t number) {
  if (!d->settings->batch_tokens) {
    int64_t batches = d->train_count / most_pairs(d), epoch = (number - 1) / batches;
    if (epoch != d->epoch) begin_epoch(d, epoch, epoch * batches + 1);
    return;
  }
  if (d->epoch < 0 || number < d->epoch_first) begin_epoch(d, 0, 1);
  while (number >= d->epoch_first + d->batches) begin_epoch(d, d->epoch + 1, d->epoch_first + d->batches);
}

int64_t pairs_pick(data *d, int64_t number) {
  seek_epoch(d, number);
  int32_t which = d->batch_order[number - d->epoch_first];
  int64_t begin = d->first[which], count = d->first[which + 1] - begin;
  for (int64_t i = 0; i < count; i++) d->picked[i] = d->train[d->order[begin + i]];
  return count;
}

/* ---- batches ------------------------------------------------------------------------------------------- */

th_status data_train_batch(data *d, int64_t number, batch *b, th_error *error) {
  int64_t count = d->settings->batch;
  th_status status = TH_OK;
  if (d->train) count = pairs_pick(d, number);
  else status = toy_pick(d, number, error);
  if (!status) batch_fill(b, d->picked, count);
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

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
