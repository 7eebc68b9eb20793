/* N-grams that two texts share. One sort of all suffixes serves every n: those that begin with the same n symbols
 * stand together. */
#include "private.h"

#include <stdlib.h>

typedef struct suffix {
  const int32_t *at;
  int64_t left;  /* symbols from here to the end */
  int64_t owner; /* 0: the output; then the references */
} suffix;

double th_ngrams_count(const th_sequence *sequence, int n) {
  return sequence->length < n ? 0 : (double)(sequence->length - n + 1);
}

/* How many of the first `order` symbols are the same. */
static int64_t shared(const suffix *a, const suffix *b, int order) {
  int64_t n = 0, most = a->left < b->left ? a->left : b->left;
  while (n < most && n < order && a->at[n] == b->at[n]) n++;
  return n;
}

static int by_symbols(const void *a, const void *b, void *order) {
  const suffix *x = a, *y = b;
  int64_t n = shared(x, y, *(int *)order);
  if (n == *(int *)order) return 0;
  if (n == x->left || n == y->left) return (x->left > n) - (y->left > n);
  return x->at[n] < y->at[n] ? -1 : 1;
}

static int64_t put_suffixes(suffix *all, const th_sequence *s, int64_t owner) {
  for (int64_t i = 0; i < s->length; i++) all[i] = (suffix){s->at + i, s->length - i, owner};
  return s->length;
}

/* Closes a run of equal n-grams: what the output has of it, as far as one reference has as many. */
static int64_t close_run(int64_t *seen, int64_t references) {
  int64_t most = 0, mine = seen[0];
  for (int64_t i = 1; i <= references; i++) {
    if (seen[i] > most) most = seen[i];
    seen[i] = 0;
  }
  seen[0] = 0;
  return mine < most ? mine : most;
}

static double match_order(const suffix *all, int64_t total, int n, int64_t *seen, int64_t references) {
  int64_t matches = 0;
  for (int64_t i = 0; i < total; i++) {
    if (i && shared(&all[i - 1], &all[i], n) < n) matches += close_run(seen, references);
    seen[all[i].owner] += all[i].left >= n;
  }
  return (double)(matches + close_run(seen, references));
}

th_status th_ngrams_match(const th_sequence *output, const th_sequence *references, int64_t count, int order,
                          double *matches, th_error *error) {
  int64_t total = output->length;
  for (int64_t i = 0; i < count; i++) total += references[i].length;
  suffix *all = reallocarray(NULL, (size_t)total + 1, sizeof *all);
  int64_t *seen = calloc((size_t)count + 1, sizeof *seen);
  th_status status = all && seen ? TH_OK : th_measure_no_memory(error);
  if (!status) {
    int64_t at = put_suffixes(all, output, 0);
    for (int64_t i = 0; i < count; i++) at += put_suffixes(all + at, &references[i], i + 1);
    qsort_r(all, (size_t)total, sizeof *all, by_symbols, &order);
    for (int n = 1; n <= order; n++) matches[n - 1] = match_order(all, total, n, seen, count);
  }
  free(all);
  free(seen);
  return status;
}
