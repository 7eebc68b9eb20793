/* Rank correlation. */
#include "tapehead/measure.h"

#include <math.h>

/* Twice the rank of value i less its mean: how many are below it, less how many are above. */
static double centred_rank(int64_t n, const double *values, int64_t i) {
  int64_t rank = 0;
  for (int64_t k = 0; k < n; k++) rank += (values[k] < values[i]) - (values[k] > values[i]);
  return (double)rank;
}

double th_rank_correlation(int64_t n, const double *a, const double *b) {
  double aa = 0, bb = 0, ab = 0;
  for (int64_t i = 0; i < n; i++) {
    if (isnan(a[i]) || isnan(b[i])) return NAN;
    double x = centred_rank(n, a, i), y = centred_rank(n, b, i);
    aa += x * x, bb += y * y, ab += x * y;
  }
  return ab / sqrt(aa * bb);
}
