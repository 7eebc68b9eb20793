/* The toy tasks: random sequences to copy, reverse or sort. A sequence is in training or held out by its
 * own hash, so that none is ever in both. */
#include "data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define HELD_OUT_SHARE 8             /* one sequence in so many is held out */
#define HELD_OUT_STREAM (1ull << 62) /* apart from each other and from the streams of the weights */
#define TRAIN_STREAM (1ull << 60)
#define ATTEMPTS 1000      /* before saying that there are too few sequences */
#define HASH_SEED 20170612 /* any fixed number: the split must not change with the run's seed */

/* With at most 62 symbols they are letters, so that a sequence reads as a word; else numbers. */
static th_status make_symbols(data *d, const settings *s, th_error *error) {
  bool letters = s->symbols <= (int64_t)strlen(LETTERS);
  th_status status = th_vocabulary_new(&d->source, letters ? TH_UNIT_CHARACTER : TH_UNIT_WORD, error);
  for (int64_t i = 0; i < s->symbols && !status; i++) {
    char word[24];
    if (letters) snprintf(word, sizeof word, "%c", LETTERS[i]);
    else snprintf(word, sizeof word, "%lld", (long long)i);
    status = th_vocabulary_add(d->source, word, strlen(word), error);
  }
  if (!status) status = th_vocabulary_finish(d->source, 1, error);
  d->target = d->source;
  return status;
}

static bool is_held_out(const int32_t *ids, int64_t length) {
  uint64_t hash = (uint64_t)length;
  for (int64_t i = 0; i < length; i++) hash = th_random_u64((th_random){HASH_SEED, hash}, (uint64_t)ids[i]);
  return hash % HELD_OUT_SHARE == 0;
}

static int by_id(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

static void solve(const char *task, example *e, int32_t *target) {
  int64_t n = e->source_length;
  for (int64_t i = 0; i < n; i++) target[i] = e->source[!strcmp(task, "reverse") ? n - 1 - i : i];
  if (!strcmp(task, "sort")) qsort(target, (size_t)n, sizeof *target, by_id);
  e->target = target;
  e->target_length = n;
}

/* Draws sequences from the stream until one lies on the wanted side, into ids [2 max_length]. */
static bool draw(const settings *s, uint64_t stream, bool held_out, int32_t *ids, example *e) {
  th_random random = {(uint64_t)s->seed, stream};
  uint64_t position = 0;
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    int64_t n = s->min_length + th_random_below(random, position++, s->max_length - s->min_length + 1);
    for (int64_t i = 0; i < n; i++)
      ids[i] = TH_SPECIALS + (int32_t)th_random_below(random, position++, s->symbols);
    if (is_held_out(ids, n) != held_out) continue;
    *e = (example){.source = ids, .source_length = n};
    solve(s->task, e, ids + s->max_length);
    return true;
  }
  return false;
}

static th_status too_few(th_error *error) {
  return th_error_set(
      error, TH_EINVAL,
      "the task has too few different sequences to hold some out: raise --symbols or --max-length");
}

th_status data_toy(data *d, const settings *s, th_error *error) {
  *d = (data){.settings = s, .longest = s->max_length, .epoch = -1};
  if (s->min_length > s->max_length)
    return th_error_set(error, TH_EINVAL, "--min-length %lld is above --max-length %lld",
                        (long long)s->min_length, (long long)s->max_length);
  th_status status = make_symbols(d, s, error);
  size_t room = 2 * (size_t)s->max_length;
  d->ids = calloc((size_t)(s->held_out + s->batch) * room, sizeof *d->ids);
  d->held_out = calloc((size_t)s->held_out, sizeof *d->held_out);
  d->picked = calloc((size_t)s->batch, sizeof *d->picked);
  if (!status && (!d->ids || !d->held_out || !d->picked))
    status = th_error_set(error, TH_ENOMEM, "no memory for the held-out sequences");
  for (int64_t i = 0; i < s->held_out && !status; i++)
    if (!draw(s, HELD_OUT_STREAM + (uint64_t)i, true, d->ids + (size_t)i * room, &d->held_out[i]))
      status = too_few(error);
  d->held_out_count = s->held_out;
  if (status) data_free(d);
  return status;
}

th_status toy_pick(data *d, int64_t step, th_error *error) {
  const settings *s = d->settings;
  int32_t *ids = d->ids + s->held_out * 2 * s->max_length;
  for (int64_t i = 0; i < s->batch; i++)
    if (!draw(s, TRAIN_STREAM + (uint64_t)(step * s->batch + i), false, ids + i * 2 * s->max_length,
              &d->picked[i]))
      return too_few(error);
  return TH_OK;
}
