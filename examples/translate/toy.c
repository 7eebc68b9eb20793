/* The toy tasks: random sequences to copy, reverse, sort or duplicate, and numbers to add. A sequence is in
 * training or held out by its own hash, so that none is ever in both. */
#include "data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define ADDITION "+0123456789"       /* by code point, as a vocabulary's ids are */
#define HELD_OUT_SHARE 8             /* one sequence in so many is held out */
#define HELD_OUT_STREAM (1ull << 62) /* apart from each other and from the streams of the weights */
#define TRAIN_STREAM (1ull << 60)
#define ATTEMPTS 1000      /* before saying that there are too few sequences */
#define HASH_SEED 20170612 /* any fixed number: the split must not change with the run's seed */

enum { PLUS = TH_SPECIALS, ZERO = TH_SPECIALS + 1 };

static bool is_held_out(const int32_t *ids, int64_t length) {
  uint64_t hash = (uint64_t)length;
  for (int64_t i = 0; i < length; i++) hash = th_random_u64((th_random){HASH_SEED, hash}, (uint64_t)ids[i]);
  return hash % HELD_OUT_SHARE == 0;
}

/* ---- sources ------------------------------------------------------------------------------------------- */

static int64_t draw_length(const settings *s, th_random random, uint64_t *position) {
  return s->min_length + th_random_below(random, (*position)++, s->max_length - s->min_length + 1);
}

static int64_t draw_sequence(const settings *s, th_random random, uint64_t *position, int32_t *ids) {
  int64_t n = draw_length(s, random, position);
  for (int64_t i = 0; i < n; i++)
    ids[i] = TH_SPECIALS + (int32_t)th_random_below(random, (*position)++, s->symbols);
  return n;
}

/* A number with as many digits as drawn: the first is no zero, unless it is the only one. */
static int64_t draw_number(const settings *s, th_random random, uint64_t *position, int32_t *ids) {
  int64_t n = draw_length(s, random, position);
  for (int64_t i = 0; i < n; i++) {
    int32_t least = i == 0 && n > 1;
    ids[i] = ZERO + least + (int32_t)th_random_below(random, (*position)++, 10 - least);
  }
  return n;
}

static int64_t draw_sum(const settings *s, th_random random, uint64_t *position, int32_t *ids) {
  int64_t n = draw_number(s, random, position, ids);
  ids[n++] = PLUS;
  return n + draw_number(s, random, position, ids + n);
}

/* ---- targets ------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

/* The sum of the numbers before and after the plus, as one adds by hand: from the last digits, with a carry. */
static int64_t add(const int32_t *source, int64_t n, int32_t *target) {
  int64_t plus = 0;
  while (source[plus] != PLUS) plus++;
  int64_t a = plus, b = n - plus - 1, length = a > b ? a : b;
  int32_t carry = 0;
  for (int64_t i = 0; i < length; i++) { /* the i-th digits from the end */
    int32_t sum = carry + (i < a ? source[plus - 1 - i] - ZERO : 0) + (i < b ? source[n - 1 - i] - ZERO : 0);
    target[length - i] = ZERO + sum % 10;
    carry = sum / 10;
  }
  target[0] = ZERO + carry;
  if (!carry) memmove(target, target + 1, (size_t)length * sizeof *target);
  return length + carry;
}

static int64_t copy(const int32_t *source, int64_t n, int32_t *target) {
  memcpy(target, source, (size_t)n * sizeof *target);
  return n;
}

static int64_t reverse(const int32_t *source, int64_t n, int32_t *target) {
  for (int64_t i = 0; i < n; i++) target[i] = source[n - 1 - i];
  return n;
}

static int64_t sort(const int32_t *source, int64_t n, int32_t *target) {
  copy(source, n, target);
  qsort(target, (size_t)n, sizeof *target, by_id);
  return n;
}

/* As in Kitaev, Kaiser & Levskaya 2020, section 2.1, but from one sequence, w, to another, w w. */
static int64_t duplicate(const int32_t *source, int64_t n, int32_t *target) {
  return copy(source, n, target) + copy(source, n, target + n);
}

/* ---- tasks --------------------------------------------------------------------------------------------- */

typedef struct task {
  const char *name; /* as in the choices of --task */
  int64_t (*draw)(const settings *s, th_random random, uint64_t *position,
                  int32_t *ids);                                       /* a source: its length */
  int64_t (*solve)(const int32_t *source, int64_t n, int32_t *target); /* the target's */
  int64_t sides, marks; /* the longer side is of sides * --max-length + marks tokens, at most */
} task;

static const task tasks[] = {
    {"copy", draw_sequence, copy, 1, 0}, {"reverse", draw_sequence, reverse, 1, 0},
    {"sort", draw_sequence, sort, 1, 0}, {"duplicate", draw_sequence, duplicate, 2, 0},
    {"addition", draw_sum, add, 2, 1}, /* the plus */
};

static const task *task_of(const settings *s) {
  const task *t = tasks;
  while (strcmp(t->name, s->task) != 0) t++; /* settings knows no others */
  return t;
}

int64_t toy_longest(const settings *s) { return task_of(s)->sides * s->max_length + task_of(s)->marks; }

/* With at most 62 symbols they are letters, so that a sequence reads as a word; else numbers. */
static th_status make_symbols(data *d, const settings *s, th_error *error) {
  bool digits = task_of(s)->draw == draw_sum;
  const char *letters = digits ? ADDITION : LETTERS;
  int64_t count = digits ? (int64_t)strlen(ADDITION) : s->symbols;
  bool numbers = count > (int64_t)strlen(letters);
  th_status status = th_vocabulary_new(&d->source, numbers ? TH_UNIT_WORD : TH_UNIT_CHARACTER, error);
  for (int64_t i = 0; i < count && !status; i++) {
    char word[24];
    if (numbers) snprintf(word, sizeof word, "%lld", (long long)i);
    else snprintf(word, sizeof word, "%c", letters[i]);
    status = th_vocabulary_add(d->source, word, strlen(word), error);
  }
  if (!status) status = th_vocabulary_finish(d->source, 1, error);
  d->target = d->source;
  return status;
}

/* ---- examples ------------------------------------------------------------------------------------------ */

/* Tokens of one example's source and target. */
static int64_t example_room(const settings *s) { return 2 * toy_longest(s); }

/* Draws sequences from the stream until one lies on the wanted side, into ids [example_room]. */
static bool draw(const settings *s, uint64_t stream, bool held_out, int32_t *ids, example *e) {
  th_random random = {(uint64_t)s->seed, stream};
  uint64_t position = 0;
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    int64_t n = task_of(s)->draw(s, random, &position, ids);
    if (is_held_out(ids, n) != held_out) continue;
    int32_t *target = ids + toy_longest(s);
    *e = (example){.source = ids,
                   .source_length = n,
                   .target = target,
                   .target_length = task_of(s)->solve(ids, n, target)};
    return true;
  }
  return false;
}

static th_status too_few(th_error *error) {
  return th_error_set(
      error, TH_EINVAL,
      "the task has too few different sequences to hold some out: raise --symbols or --max-length");
}

/* The held-out sequences into d->ids and d->held_out, which are none yet. */
static th_status hold_out(data *d, const settings *s, th_error *error) {
  int64_t room = example_room(s);
  if (s->min_length > s->max_length)
    return th_error_set(error, TH_EINVAL, "--min-length %lld is above --max-length %lld",
                        (long long)s->min_length, (long long)s->max_length);
  d->ids = calloc((size_t)(s->held_out * room), sizeof *d->ids);
  d->held_out = calloc((size_t)s->held_out, sizeof *d->held_out);
  if (!d->ids || !d->held_out) return th_error_set(error, TH_ENOMEM, "no memory for the held-out sequences");
  for (int64_t i = 0; i < s->held_out; i++)
    if (!draw(s, HELD_OUT_STREAM + (uint64_t)i, true, d->ids + i * room, &d->held_out[i]))
      return too_few(error);
  d->held_out_count = s->held_out;
  d->longest = toy_longest(s);
  return TH_OK;
}

th_status data_toy(data *d, const settings *s, th_error *error) {
  *d = (data){.settings = s, .epoch = -1};
  th_status status = hold_out(d, s, error);
  if (!status) status = make_symbols(d, s, error);
  d->drawn = calloc((size_t)(s->batch * example_room(s)), sizeof *d->drawn);
  d->picked = calloc((size_t)s->batch, sizeof *d->picked);
  if (!status && (!d->drawn || !d->picked))
    status = th_error_set(error, TH_ENOMEM, "no memory for a batch of %lld sequences", (long long)s->batch);
  if (status) data_free(d);
  return status;
}

th_status toy_replace(data *d, int64_t min_length, int64_t max_length, int64_t room, th_error *error) {
  settings others = *d->settings;
  data made = {0};
  others.min_length = min_length, others.max_length = max_length;
  if (toy_longest(&others) > room)
    return th_error_set(
        error, TH_EINVAL,
        "--max-length %lld: sequences of up to %lld tokens, and the model takes %lld: train it "
        "with --room %lld",
        (long long)max_length, (long long)toy_longest(&others), (long long)room,
        (long long)toy_longest(&others));
  th_status status = hold_out(&made, &others, error);
  if (status) {
    free(made.ids);
    free(made.held_out);
    return status;
  }
  free(d->ids);
  free(d->held_out);
  d->ids = made.ids, d->held_out = made.held_out;
  if (made.longest > d->longest) d->longest = made.longest;
  return TH_OK;
}

th_status toy_pick(data *d, int64_t step, th_error *error) {
  const settings *s = d->settings;
  for (int64_t i = 0; i < s->batch; i++)
    if (!draw(s, TRAIN_STREAM + (uint64_t)(step * s->batch + i), false, d->drawn + i * example_room(s),
              &d->picked[i]))
      return too_few(error);
  return TH_OK;
}
