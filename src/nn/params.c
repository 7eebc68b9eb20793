#include "name.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN_ELEMENTS 16 /* each parameter starts on a 64-byte line in float */

struct th_params {
  th_param **items; /* each on its own, so that pointers stay valid */
  int count, capacity;
  th_error error;
  th_dtype dtype;
  int64_t elements; /* with the padding */
  void *values, *grads;
};

th_params *th_params_new(void) { return calloc(1, sizeof(th_params)); }

void th_params_free(th_params *set) {
  if (!set) return;
  for (int i = 0; i < set->count; i++) free(set->items[i]);
  free(set->items);
  free(set->values);
  free(set->grads);
  free(set);
}

static bool has_room(th_params *set) {
  if (set->count < set->capacity) return true;
  int capacity = set->capacity ? 2 * set->capacity : 32;
  th_param **items = realloc(set->items, (size_t)capacity * sizeof *items);
  if (!items) return false;
  set->items = items;
  set->capacity = capacity;
  return true;
}

void th_params_refuse(th_params *set, th_status status, const char *name, const char *why) {
  if (!set->error.status) th_error_set(&set->error, status, "%s: %s", name, why);
}

static th_param *refuse(th_params *set, th_status status, const char *name, const char *why) {
  char text[TH_NAME_MAX + 16];
  snprintf(text, sizeof text, "parameter %s", name);
  th_params_refuse(set, status, text, why);
  return NULL;
}

th_param *th_params_add(th_params *set, const char *prefix, const char *suffix, th_init init, int ndim,
                        const int64_t *shape) {
  char name[TH_NAME_MAX];
  int length = th_name_under(name, prefix, suffix);
  if (set->error.status) return NULL;
  if (length >= TH_NAME_MAX) return refuse(set, TH_EINVAL, name, "the name is too long");
  if (set->values) return refuse(set, TH_EINVAL, name, "declared after th_params_make");
  if (th_params_find(set, name)) return refuse(set, TH_EINVAL, name, "declared twice");
  if (ndim < 0 || ndim > TH_MAX_DIMS) return refuse(set, TH_ESHAPE, name, "too many axes");
  int64_t count = 1;
  for (int i = 0; i < ndim; i++)
    if (shape[i] < 1 || __builtin_mul_overflow(count, shape[i], &count) || count > INT64_MAX / 64)
      return refuse(set, TH_ESHAPE, name, "every size must be at least 1, and their product must fit memory");
  th_param *param = has_room(set) ? calloc(1, sizeof *param) : NULL;
  if (!param) return refuse(set, TH_ENOMEM, name, "no memory");
  memcpy(param->name, name, sizeof name);
  param->init = init;
  param->decays = ndim > 1;
  param->rate = 1;
  param->value = param->grad = th_tensor_of(NULL, TH_F32, ndim, shape);
  return set->items[set->count++] = param;
}

/* With fewer columns than rows several rows have a one in the same column. */
static void fill_blocks(const th_tensor *value) {
  int64_t n = value->shape[0], columns = value->shape[1];
  for (int64_t i = 0; i < n; i++) {
    int64_t begin = i * columns / n, end = (i + 1) * columns / n;
    for (int64_t j = begin; j < (end > begin ? end : begin + 1); j++)
      th_tensor_set(value, i * columns + j, 1);
  }
}

static void fill_first_values(const th_param *param, th_random random) {
  const th_tensor *value = &param->value;
  int64_t rows = value->ndim ? value->shape[0] : 1, columns = th_tensor_count(value) / rows;
  int64_t fan_out = param->init.fan_out ? param->init.fan_out : rows;
  double bound = sqrt(6 / (double)(fan_out + columns));
  switch (param->init.kind) {
  case TH_INIT_ZEROS: break; /* the memory came cleared */
  case TH_INIT_ONES: th_fill(value, 1); break;
  case TH_INIT_CONSTANT: th_fill(value, param->init.scale); break;
  case TH_INIT_BLOCKS: fill_blocks(value); break;
  case TH_INIT_NORMAL: th_fill_normal(value, 0, param->init.scale, random); break;
  case TH_INIT_XAVIER: th_fill_uniform(value, -bound, bound, random); break;
  }
}

static int64_t padded(const th_param *param) {
  return (th_tensor_count(&param->value) + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
}

static void *cleared(size_t bytes) {
  void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (memory) memset(memory, 0, bytes);
  return memory;
}

th_status th_params_make(th_params *set, th_dtype dtype, uint64_t seed, th_error *error) {
  if (set->error.status) return th_error_set(error, set->error.status, "%s", set->error.text);
  if (set->values) return th_error_set(error, TH_EINVAL, "parameters: made before");
  size_t size = th_dtype_size(dtype), at = 0;
  for (int i = 0; i < set->count; i++) set->elements += padded(set->items[i]);
  set->dtype = dtype;
  set->values = cleared((size_t)set->elements * size + 64);
  set->grads = cleared((size_t)set->elements * size + 64);
  if (!set->values || !set->grads)
    return th_error_set(error, TH_ENOMEM, "parameters: no memory for %lld numbers", (long long)set->elements);
  for (int i = 0; i < set->count; i++) {
    th_param *param = set->items[i];
    param->value = th_tensor_of((char *)set->values + at, dtype, param->value.ndim, param->value.shape);
    param->grad = th_tensor_of((char *)set->grads + at, dtype, param->value.ndim, param->value.shape);
    fill_first_values(param, (th_random){seed, (uint64_t)i});
    at += (size_t)padded(param) * size;
  }
  return TH_OK;
}

int th_params_count(const th_params *set) { return set->count; }
th_param *th_params_at(const th_params *set, int index) { return set->items[index]; }

th_param *th_params_find(const th_params *set, const char *name) {
  for (int i = 0; i < set->count; i++)
    if (!strcmp(set->items[i]->name, name)) return set->items[i];
  return NULL;
}

int64_t th_params_elements(const th_params *set) {
  int64_t sum = 0;
  for (int i = 0; i < set->count; i++) sum += th_tensor_count(&set->items[i]->value);
  return sum;
}

th_tensor th_params_values(const th_params *set) {
  return th_tensor_of(set->values, set->dtype, 1, &set->elements);
}
th_tensor th_params_grads(const th_params *set) {
  return th_tensor_of(set->grads, set->dtype, 1, &set->elements);
}

th_tensor th_params_part(const th_params *set, const th_param *param, const th_tensor *vector) {
  th_tensor part = param->value;
  part.data = (char *)vector->data + ((char *)param->value.data - (char *)set->values);
  return part;
}

void th_params_zero_grads(th_params *set) {
  memset(set->grads, 0, (size_t)set->elements * th_dtype_size(set->dtype));
}

th_status th_params_copy(th_params *to, const th_params *from, th_error *error) {
  for (int i = 0; i < to->count; i++) {
    const th_param *source = th_params_find(from, to->items[i]->name);
    if (!source)
      return th_error_set(error, TH_EINVAL, "parameter %s: the other set has none", to->items[i]->name);
    th_status status = th_tensor_copy(&to->items[i]->value, &source->value, error);
    if (status) return status;
  }
  return TH_OK;
}

th_var *th_use(th_tape *tape, const th_param *param) { return th_leaf(tape, &param->value, &param->grad); }
