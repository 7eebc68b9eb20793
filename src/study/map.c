/* Heads as points in the plane: classical multidimensional scaling. */
#include "matrix.h"

#include "../tensor/lapack.h"
#include "tapehead/study.h"

#include "../tensor/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

th_status th_study_check_distances(const char *who, int n, const double *distance, th_error *error) {
  if (n < 1) return th_error_set(error, TH_EINVAL, "%s: %d points: want at least 1", who, n);
  for (int64_t i = 0; i < (int64_t)n * n; i++)
    if (!isfinite(distance[i]) || distance[i] < 0)
      return th_error_set(error, TH_EINVAL, "%s: distance %g between points %d and %d: want 0 or more", who,
                          distance[i], (int)(i / n), (int)(i % n));
  return TH_OK;
}

/* b [n,n] = -1/2 J d^2 J with J = I - 1/n: the points' inner products about their centre. Behind it n numbers more
 * are scratch. */
static void centre(int n, const double *distance, double *b) {
  double total = 0, *mean = b + (int64_t)n * n; /* [n] */
  for (int i = 0; i < n; i++) {
    mean[i] = 0;
    for (int j = 0; j < n; j++) {
      double d = distance[i < j ? (int64_t)i * n + j : (int64_t)j * n + i];
      b[(int64_t)i * n + j] = i == j ? 0 : d * d;
      mean[i] += b[(int64_t)i * n + j] / n;
    }
    total += mean[i] / n;
  }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      b[(int64_t)i * n + j] = -0.5 * (b[(int64_t)i * n + j] - mean[i] - mean[j] + total);
}

/* 1 or -1: makes the vector's largest element positive; of equally large ones the first. */
static double sign_of(int n, const double *vector) {
  double largest = 0;
  for (int i = 0; i < n; i++) largest = fmax(largest, fabs(vector[i]));
  for (int i = 0; i < n; i++)
    if (fabs(vector[i]) > (1 - 1e-9) * largest) return vector[i] < 0 ? -1 : 1;
  return 1;
}

/* From eigenvalues [n], rising, and their vectors. */
static void place_points(int n, const double *value, const double *vectors, double *place, double *kept) {
  double positive = 0, taken = 0;
  double rounding = n * DBL_EPSILON * fmax(fabs(value[0]), fabs(value[n - 1])); /* up to here it is 0 */
  for (int k = 0; k < n; k++) positive += value[k] > rounding ? value[k] : 0;
  for (int axis = 0; axis < 2; axis++) {
    int k = n - 1 - axis;
    for (int i = 0; i < n; i++) place[2 * i + axis] = 0;
    if (k < 0 || value[k] <= rounding) continue;
    const double *vector = vectors + (int64_t)k * n;
    double scale = sign_of(n, vector) * sqrt(value[k]);
    for (int i = 0; i < n; i++) place[2 * i + axis] = scale * vector[i];
    taken += value[k];
  }
  if (kept) *kept = positive > 0 ? taken / positive : 1;
}

th_status th_study_map(int n, const double *distance, double *place, double *kept, th_error *error) {
  th_status status = th_study_check_distances("map", n, distance, error);
  if (status) return status;
  double *b = reallocarray(NULL, (size_t)n + 4, (size_t)n * sizeof *b); /* b, eigenvalues, LAPACK's work */
  int info, work_size = 3 * n;
  if (!b) return th_error_set(error, TH_ENOMEM, "map: no memory for %d points", n);
  double *value = b + (int64_t)n * n, *work = value + n;
  centre(n, distance, b);
  th_blas_one_thread();
  dsyev_("V", "U", &n, b, &n, value, work, &work_size, &info, 1, 1);
  if (info) status = th_error_set(error, TH_EINVAL, "map: its eigenvalues do not converge");
  else place_points(n, value, b, place, kept);
  free(b);
  return status;
}
