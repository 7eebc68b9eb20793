/* A file of tests/data (its README says what is in there), and what has been compared with it. */
#ifndef TESTS_REFERENCE_FILE_H
#define TESTS_REFERENCE_FILE_H

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tapehead/io.h"

typedef struct reference {
  char path[256];
  th_dtype dtype;   /* of our side: what is taken from the file is converted to it */
  double tolerance; /* on |ours - theirs| / (1 + |theirs|) */
  th_safetensors *file;
  bool *used;      /* per tensor of the file: taken or compared */
  th_arena *arena; /* what was taken lives here */
  double worst;    /* the largest difference so far, and where */
  char worst_name[160];
} reference;

static inline void reference_open(reference *r, const char *folder, const char *name, th_dtype dtype) {
  th_error error;
  *r = (reference){.dtype = dtype, .tolerance = dtype == TH_F64 ? 1e-10 : 1e-5};
  snprintf(r->path, sizeof r->path, "%s/%s.safetensors", folder, name);
  cr_assert_eq(th_safetensors_load(&r->file, r->path, &error), TH_OK, "%s", error.text);
  cr_assert_not_null(r->used = calloc(th_safetensors_count(r->file), sizeof *r->used));
  cr_assert_not_null(r->arena = th_arena_new());
}

static inline void reference_close(reference *r) {
  th_safetensors_free(r->file);
  free(r->used);
  th_arena_free(r->arena);
}

/* For the last word on a file: nothing in it was passed over. */
static inline void assert_all_used(const reference *r) {
  for (size_t i = 0; i < th_safetensors_count(r->file); i++)
    cr_assert(r->used[i], "%s: %s was compared with nothing", r->path, th_safetensors_name(r->file, i));
  cr_log_info("%s, %s: worst difference %.1e, in %s", r->path, th_dtype_name(r->dtype), r->worst,
              r->worst_name);
}

/* ---- taking ------------------------------------------------------------------------------------------ */

static inline const th_tensor *reference_find(reference *r, const char *name) {
  for (size_t i = 0; i < th_safetensors_count(r->file); i++) {
    if (strcmp(th_safetensors_name(r->file, i), name)) continue;
    r->used[i] = true;
    return th_safetensors_tensor(r->file, i);
  }
  cr_assert_fail("%s has no %s", r->path, name);
  return NULL;
}

/* The numbers in our type. They must be exact in it, so that both sides start from the same. */
static inline th_tensor reference_take(reference *r, const char *name) {
  const th_tensor *theirs = reference_find(r, name);
  size_t bytes = (size_t)th_tensor_count(theirs) * th_dtype_size(r->dtype);
  th_tensor ours = th_tensor_of(th_arena_alloc(r->arena, bytes), r->dtype, theirs->ndim, theirs->shape);
  cr_assert_not_null(ours.data);
  cr_assert_eq(th_tensor_copy(&ours, theirs, NULL), TH_OK);
  for (int64_t i = 0; i < th_tensor_count(theirs); i++)
    cr_assert_eq(th_tensor_get(&ours, i), th_tensor_get(theirs, i), "%s: %s[%ld] is no float", r->path, name,
                 (long)i);
  return ours;
}

/* A vector of ids or lengths. */
static inline const int32_t *reference_ids(reference *r, const char *name) {
  const th_tensor *ids = reference_find(r, name);
  cr_assert_eq(ids->dtype, TH_I32);
  return ids->data;
}

/* Token ids with -1, which our cross-entropy ignores, in the place of `ignored`. */
static inline th_tensor reference_targets(reference *r, const char *name, double ignored) {
  th_tensor targets = *reference_find(r, name);
  int64_t count = th_tensor_count(&targets);
  const int32_t *theirs = reference_ids(r, name);
  int32_t *ours = targets.data = th_arena_alloc(r->arena, (size_t)count * sizeof *ours);
  cr_assert_not_null(ours);
  for (int64_t i = 0; i < count; i++) ours[i] = theirs[i] == (int32_t)ignored ? -1 : theirs[i];
  return targets;
}

/* ---- settings, from the metadata --------------------------------------------------------------------- */

static inline const char *reference_word(const reference *r, const char *key) {
  const char *text = th_safetensors_metadata(r->file, key);
  cr_assert_not_null(text, "%s does not say %s", r->path, key);
  return text;
}

static inline bool reference_flag(const reference *r, const char *key) {
  return !strcmp(reference_word(r, key), "true");
}

static inline double reference_number(const reference *r, const char *key) {
  char *end;
  const char *text = reference_word(r, key);
  double number = strtod(text, &end);
  cr_assert(end != text && *end == '\0', "%s: %s is %s, not a number", r->path, key, text);
  return number;
}

/* ---- comparing --------------------------------------------------------------------------------------- */

/* Elements begin..end, in row-major order. */
static inline void compare_range(reference *r, const th_tensor *ours, const char *name, int64_t begin,
                                 int64_t end, double tolerance) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  const th_tensor *theirs = reference_find(r, name);
  cr_assert(ours->data && th_tensor_same_shape(ours, theirs), "%s: %s is %s there and %s here", r->path, name,
            th_shape_text(b, theirs), ours->data ? th_shape_text(a, ours) : "nothing");
  for (int64_t i = begin; i < end; i++) {
    double here = th_tensor_get(ours, i), there = th_tensor_get(theirs, i);
    double difference = fabs(here - there) / (1 + fabs(there));
    cr_assert(difference <= tolerance, "%s, %s: %s[%ld] is %.17g, PyTorch says %.17g", r->path,
              th_dtype_name(r->dtype), name, (long)i, here, there);
    if (difference <= r->worst) continue;
    r->worst = difference;
    snprintf(r->worst_name, sizeof r->worst_name, "%s[%ld]", name, (long)i);
  }
}

TH_PRINTF(3, 4)
static inline void compare(reference *r, const th_tensor *ours, const char *name_format, ...) {
  char name[128];
  va_list arguments;
  va_start(arguments, name_format);
  vsnprintf(name, sizeof name, name_format, arguments);
  va_end(arguments);
  compare_range(r, ours, name, 0, th_tensor_count(ours), r->tolerance);
}

/* Only the positions before each sequence's end; what stands at the others means nothing. [B,T,..] */
static inline void compare_unpadded(reference *r, const th_tensor *ours, const char *name,
                                    const int32_t *lengths) {
  int64_t time = ours->shape[1], batch = ours->shape[0], row = th_tensor_count(ours) / (batch * time);
  for (int64_t b = 0; b < batch; b++)
    compare_range(r, ours, name, b * time * row, (b * time + lengths[b]) * row, r->tolerance);
}

#endif
