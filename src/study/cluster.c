/* Average linkage. */
#include "matrix.h"
#include "tapehead/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The clusters that there are. One lives in the slot of its first leaf; a slot whose cluster has joined another has
 * no leaves. */
typedef struct clusters {
  int n;
  double *apart; /* [n,n], between slots */
  int *number;   /* [n]: 0 .. n-1 a leaf, n + i what merge i made */
  int *leaves;   /* [n] */
} clusters;

/* The nearest two, in slots *a < *b; of equally near ones those whose slots come first. */
static void find_nearest(const clusters *c, int *a, int *b) {
  double nearest = INFINITY;
  for (int i = 0; i < c->n; i++)
    for (int j = i + 1; j < c->n && c->leaves[i]; j++)
      if (c->leaves[j] && c->apart[(int64_t)i * c->n + j] < nearest) {
        nearest = c->apart[(int64_t)i * c->n + j];
        *a = i, *b = j;
      }
}

/* b joins a. The distance to a third is the mean over pairs of leaves, so the mean of theirs by size (Lance &
 * Williams 1967). */
static void join(clusters *c, int a, int b, int number) {
  int n = c->n, both = c->leaves[a] + c->leaves[b];
  for (int k = 0; k < n; k++) {
    double *to_a = &c->apart[k < a ? (int64_t)k * n + a : (int64_t)a * n + k];
    double to_b = c->apart[k < b ? (int64_t)k * n + b : (int64_t)b * n + k];
    if (k != a && k != b) *to_a = (c->leaves[a] * *to_a + c->leaves[b] * to_b) / both;
  }
  c->number[a] = number;
  c->leaves[a] = both;
  c->leaves[b] = 0;
}

static void merge_all(clusters *c, th_merge *merges) {
  double height = 0;
  for (int i = 0; i < c->n; i++) c->number[i] = i, c->leaves[i] = 1;
  for (int i = 0; i < c->n - 1; i++) {
    int a = 0, b = 0;
    find_nearest(c, &a, &b);
    height = fmax(height, c->apart[(int64_t)a * c->n + b]); /* it cannot fall, but for rounding */
    int one = c->number[a], other = c->number[b];
    merges[i] =
        (th_merge){one < other ? one : other, one < other ? other : one, height, c->leaves[a] + c->leaves[b]};
    join(c, a, b, c->n + i);
  }
}

th_status th_study_cluster(int n, const double *distance, th_merge *merges, th_error *error) {
  th_status status = th_study_check_distances("cluster", n, distance, error);
  if (status) return status;
  clusters c = {n, reallocarray(NULL, (size_t)n, (size_t)n * sizeof *c.apart),
                reallocarray(NULL, (size_t)n, sizeof *c.number),
                reallocarray(NULL, (size_t)n, sizeof *c.leaves)};
  if (c.apart && c.number && c.leaves) {
    memcpy(c.apart, distance, (size_t)n * (size_t)n * sizeof *c.apart);
    merge_all(&c, merges);
  } else status = th_error_set(error, TH_ENOMEM, "cluster: no memory for %d points", n);
  free(c.apart);
  free(c.number);
  free(c.leaves);
  return status;
}
