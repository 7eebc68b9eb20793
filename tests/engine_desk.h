/* What the engine's tests share: a desk with a tape, and memory that goes when the desk is closed. */
#ifndef TESTS_ENGINE_DESK_H
#define TESTS_ENGINE_DESK_H

#include "tapehead/autograd.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SHAPE(...) \
  (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
#define SCALAR 0, NULL

typedef struct desk {
  th_tape *tape;
  th_arena *memory;
  uint64_t stream; /* of the next random tensor */
} desk;

static inline desk desk_open(void) {
  desk d = {.tape = th_tape_new(NULL), .memory = th_arena_new(), .stream = 1};
  cr_assert(d.tape && d.memory);
  return d;
}

static inline void desk_close(desk *d) {
  th_tape_free(d->tape);
  th_arena_free(d->memory);
}

static inline void *desk_bytes(desk *d, int64_t bytes) {
  void *made = th_arena_alloc(d->memory, (size_t)bytes);
  cr_assert(made != NULL);
  memset(made, 0, (size_t)bytes);
  return made;
}

static inline th_tensor desk_zeros(desk *d, th_dtype dtype, int ndim, const int64_t *shape) {
  th_tensor made = th_tensor_of(NULL, dtype, ndim, shape);
  made.data = desk_bytes(d, th_tensor_count(&made) * (int64_t)th_dtype_size(dtype));
  return made;
}

static inline th_tensor desk_uniform(desk *d, th_dtype dtype, double low, double high, int ndim,
                                     const int64_t *shape) {
  th_tensor made = desk_zeros(d, dtype, ndim, shape);
  th_fill_uniform(&made, low, high, (th_random){17, d->stream++});
  return made;
}

/* 0, 1, 2, .. in row-major order */
static inline th_tensor desk_counted(desk *d, th_dtype dtype, int ndim, const int64_t *shape) {
  th_tensor made = desk_zeros(d, dtype, ndim, shape);
  for (int64_t i = 0, n = th_tensor_count(&made); i < n; i++) th_tensor_set(&made, i, (double)i);
  return made;
}

/* Token ids below `count`: TH_I32 [rows,columns]. */
static inline th_tensor desk_ids(desk *d, int64_t rows, int64_t columns, int64_t count) {
  th_tensor ids = desk_zeros(d, TH_I32, SHAPE(rows, columns));
  for (int64_t i = 0; i < rows * columns; i++)
    th_tensor_set(&ids, i, (double)th_random_below((th_random){5, d->stream}, (uint64_t)i, count));
  d->stream++;
  return ids;
}

static inline th_tensor desk_copy(desk *d, th_dtype dtype, const th_tensor *of) {
  th_tensor made = desk_zeros(d, dtype, of->ndim, of->shape);
  cr_assert(th_tensor_copy(&made, of, NULL) == TH_OK);
  return made;
}

/* A leaf over a tensor, with its gradient in `grad`. */
static inline th_var *desk_leaf(desk *d, const th_tensor *value, th_tensor *grad) {
  *grad = desk_zeros(d, value->dtype, value->ndim, value->shape);
  return th_leaf(d->tape, value, grad);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static inline double largest_size(const th_tensor *x) {
  double most = 0;
  for (int64_t i = 0, n = th_tensor_count(x); i < n; i++) most = fmax(most, fabs(th_tensor_get(x, i)));
  return most;
}

/* The first element that is further away than `limit`, or -1. Equal infinities and two NaNs agree. */
static inline int64_t first_difference(const th_tensor *a, const th_tensor *b, double limit) {
  for (int64_t i = 0, n = th_tensor_count(a); i < n; i++) {
    double u = th_tensor_get(a, i), v = th_tensor_get(b, i);
    if (u == v || (u != u && v != v)) continue;
    if (!(fabs(u - v) <= limit)) return i;
  }
  return -1;
}

static inline void expect_near(const th_tensor *got, const th_tensor *wanted, double limit,
                               const char *what) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  cr_assert(th_tensor_same_shape(got, wanted), "%s: %s, wanted %s", what, th_shape_text(a, got),
            th_shape_text(b, wanted));
  int64_t i = first_difference(got, wanted, limit);
  cr_assert(i < 0, "%s: element %ld of %s is %.17g, wanted %.17g (to %g)", what, (long)i,
            th_shape_text(a, got), th_tensor_get(got, i), th_tensor_get(wanted, i), limit);
}

static inline void expect_values(const th_tensor *got, int64_t count, const double *wanted, double limit,
                                 const char *what) {
  th_tensor flat;
  th_tensor list = th_tensor_of((void *)(uintptr_t)wanted, TH_F64, 1, &count);
  cr_assert(th_tensor_count(got) == count, "%s: %ld elements", what, (long)th_tensor_count(got));
  flat = *got;
  int64_t i = first_difference(&flat, &list, limit);
  cr_assert(i < 0, "%s: element %ld is %.17g, wanted %.17g", what, (long)i, th_tensor_get(got, i),
            wanted[i < 0 ? 0 : i]);
}
#define EXPECT_VALUES(got, limit, ...) \
  expect_values(got, (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__}, \
                limit, #got)

static inline void expect_no_error(const th_tape *tape) {
  const th_error *error = th_tape_error(tape);
  cr_assert(error == NULL, "%s", error->text);
}

/* The error is `text` and was met at this line of this file. */
static inline void expect_error_at(const th_tape *tape, th_status status, const char *text, const char *file,
                                   int line) {
  const th_error *error = th_tape_error(tape);
  char wanted[600];
  snprintf(wanted, sizeof wanted, "%s (%s:%d)", text, file, line);
  cr_assert(error != NULL, "no error; wanted: %s", wanted);
  cr_assert_str_eq(error->text, wanted);
  cr_assert(error->status == status, "status %d, wanted %d: %s", error->status, status, text);
}

#endif
