/* Bootstrap intervals and the paired bootstrap. */
#include "private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STREAM (3ull << 60) /* apart from those of weights, data and dropout */
#define PIECES 16           /* the resamples are cut into, whatever the number of threads */

static th_bootstrap settled(const th_bootstrap *b) {
  th_bootstrap s = b ? *b : (th_bootstrap){0};
  if (!s.resamples) s.resamples = 1000;
  if (s.level == 0) s.level = 0.95;
  return s;
}

/* ---- resamples ------------------------------------------------------------------------------- */

typedef struct job {
  const th_bootstrap *b;
  const th_counts *counts;
  int64_t count, items;
  double *times;  /* [PIECES, items]: how often an item was drawn */
  double *scores; /* [count, resamples] */
} job;

static void draw(const job *j, int64_t resample, double *times) {
  th_random random = {j->b->seed, STREAM};
  uint64_t position = (uint64_t)resample * (uint64_t)j->items;
  memset(times, 0, (size_t)j->items * sizeof *times);
  for (int64_t i = 0; i < j->items; i++) times[th_random_below(random, position++, j->items)]++;
}

static double score_drawn(const th_counts *c, const double *times) {
  double sum[TH_COUNTS_MAX] = {0};
  for (int64_t i = 0; i < c->items; i++) {
    const double *item = c->at + i * c->width;
    if (times[i] > 0)
      for (int k = 0; k < c->width; k++) sum[k] += times[i] * item[k];
  }
  return th_measure_score(&c->measure, sum);
}

static void score_piece(void *context, int64_t piece) {
  const job *j = context;
  int64_t resamples = j->b->resamples;
  double *times = j->times + piece * j->items;
  for (int64_t r = piece; r < resamples; r += PIECES) {
    draw(j, r, times);
    for (int64_t i = 0; i < j->count; i++) j->scores[i * resamples + r] = score_drawn(&j->counts[i], times);
  }
}

static th_status check(const th_bootstrap *b, const th_counts *counts, int64_t count, int64_t items,
                       th_error *error) {
  if (b->resamples < 1 || !(b->level > 0 && b->level < 1))
    return th_error_set(error, TH_EINVAL,
                        "bootstrap: %lld resamples, level %g: want at least 1, and between 0 and 1",
                        (long long)b->resamples, b->level);
  for (int64_t i = 0; i < count; i++)
    if (counts[i].items != items || items < 1)
      return th_error_set(error, TH_EINVAL,
                          "bootstrap: counts of %lld and of %lld items: want as many, and one at least",
                          (long long)items, (long long)counts[i].items);
  return TH_OK;
}

/* *scores [count, resamples] is the caller's to free(). */
static th_status resample(const th_bootstrap *b, const th_counts *counts, int64_t count, int64_t items,
                          double **scores, th_error *error) {
  *scores = NULL;
  th_status status = check(b, counts, count, items, error);
  if (status) return status;
  job j = {b,
           counts,
           count,
           items,
           reallocarray(NULL, (size_t)items, PIECES * sizeof *j.times),
           reallocarray(NULL, (size_t)b->resamples, (size_t)(count + 1) * sizeof *j.scores)};
  if (j.times && j.scores) th_parallel(b->pool, PIECES, score_piece, &j);
  else status = th_measure_no_memory(error);
  free(j.times);
  if (status) free(j.scores);
  else *scores = j.scores;
  return status;
}

/* ---- what they say --------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts the scores. */
static th_interval percentiles(const th_bootstrap *b, double value, double *scores) {
  int64_t n = b->resamples;
  int64_t k = (int64_t)floor((double)(n + 1) * (1 - b->level) / 2 + 1e-9); /* which 1 - 0.95 falls short of */
  if (k < 1) k = 1;
  qsort(scores, (size_t)n, sizeof *scores, by_value);
  return (th_interval){value, scores[k - 1], scores[n - k]};
}

th_status th_bootstrap_intervals(const th_bootstrap *bootstrap, const th_counts *counts, int64_t count,
                                 th_interval *intervals, th_error *error) {
  th_bootstrap b = settled(bootstrap);
  double *scores;
  th_status status = resample(&b, counts, count, count ? counts[0].items : 1, &scores, error);
  for (int64_t i = 0; i < count && !status; i++)
    intervals[i] = percentiles(&b, th_counts_score(&counts[i]), scores + i * b.resamples);
  free(scores);
  return status;
}

static th_comparison compare(const th_bootstrap *b, double difference, const double *one, double *other) {
  int64_t as_large = 0;
  for (int64_t r = 0; r < b->resamples; r++) {
    other[r] -= one[r];
    as_large += fabs(other[r] - difference) >= fabs(difference);
  }
  return (th_comparison){percentiles(b, difference, other),
                         (double)(1 + as_large) / (double)(1 + b->resamples)};
}

th_status th_bootstrap_compare(const th_bootstrap *bootstrap, const th_counts *a, const th_counts *b,
                               int64_t count, th_comparison *comparisons, th_error *error) {
  th_bootstrap settings = settled(bootstrap);
  int64_t items = count ? a[0].items : 1;
  double *one, *other = NULL;
  th_status status = resample(&settings, a, count, items, &one, error);
  if (!status) status = resample(&settings, b, count, items, &other, error); /* the same draws */
  for (int64_t i = 0; i < count && !status; i++)
    comparisons[i] = compare(&settings, th_counts_score(&b[i]) - th_counts_score(&a[i]),
                             one + i * settings.resamples, other + i * settings.resamples);
  free(one);
  free(other);
  return status;
}
