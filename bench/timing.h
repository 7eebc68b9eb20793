/* What the benchmarks share: a clock and a median. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stdlib.h>
#include <time.h>

/* CLOCK_MONOTONIC: the time that passes. CLOCK_PROCESS_CPUTIME_ID: the processor's, to which other work on the
 * machine adds little. */
static inline double seconds_on(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static inline int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts them. */
static inline double median(double *values, int n) {
  qsort(values, (size_t)n, sizeof *values, by_size);
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

#endif
