#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t th_dtype_size(th_dtype dtype) {
  switch (dtype) {
  case TH_F64: return sizeof(double);
  case TH_F32: return sizeof(float);
  case TH_I32: return sizeof(int32_t);
  case TH_U8: return sizeof(uint8_t);
  }
  return 0;
}

const char *th_dtype_name(th_dtype dtype) {
  switch (dtype) {
  case TH_F64: return "f64";
  case TH_F32: return "f32";
  case TH_I32: return "i32";
  case TH_U8: return "u8";
  }
  return "?";
}

void th_tensor_lay_out(th_tensor *made, void *data, th_dtype dtype, int ndim, const int64_t *shape) {
  int64_t stride = 1;
  made->data = data, made->dtype = dtype, made->ndim = ndim;
  for (int i = TH_MAX_DIMS - 1; i >= 0; i--) {
    made->shape[i] = i < ndim ? shape[i] : 0;
    made->stride[i] = i < ndim ? stride : 0;
    if (i < ndim) stride *= shape[i];
  }
}

th_tensor th_tensor_of(void *data, th_dtype dtype, int ndim, const int64_t *shape) {
  th_tensor tensor;
  th_tensor_lay_out(&tensor, data, dtype, ndim, shape);
  return tensor;
}

int64_t th_shape_count(int ndim, const int64_t *shape) {
  if (ndim < 0 || ndim > TH_MAX_DIMS) return -1;
  bool empty = false;
  int64_t count = 1;
  for (int i = 0; i < ndim; i++) { /* the strides are products too, also where a size is 0 */
    if (shape[i] < 0 || shape[i] > TH_MAX_ELEMENTS) return -1;
    if (shape[i] == 0) empty = true;
    else count *= shape[i];
    if (count > TH_MAX_ELEMENTS) return -1;
  }
  return empty ? 0 : count;
}

th_status th_tensor_new(th_tensor *tensor, th_dtype dtype, int ndim, const int64_t *shape, th_error *error) {
  int64_t count = th_shape_count(ndim, shape);
  if (count < 0)
    return th_error_set(error, TH_ESHAPE, "tensor: %d axes, a negative size or too many elements", ndim);
  void *data = calloc(count ? (size_t)count : 1, th_dtype_size(dtype));
  if (!data) return th_error_set(error, TH_ENOMEM, "tensor: no memory for %lld elements", (long long)count);
  *tensor = th_tensor_of(data, dtype, ndim, shape);
  return TH_OK;
}

void th_tensor_free(th_tensor *tensor) {
  free(tensor->data);
  tensor->data = NULL;
}

int64_t th_tensor_count(const th_tensor *tensor) {
  int64_t count = 1;
  for (int i = 0; i < tensor->ndim; i++) count *= tensor->shape[i];
  return count;
}

bool th_tensor_is_contiguous(const th_tensor *tensor) {
  int64_t stride = 1;
  for (int i = tensor->ndim - 1; i >= 0; i--) {
    if (tensor->shape[i] != 1 && tensor->stride[i] != stride) return false;
    stride *= tensor->shape[i];
  }
  return true;
}

bool th_tensor_same_shape(const th_tensor *a, const th_tensor *b) {
  if (a->ndim != b->ndim) return false;
  for (int i = 0; i < a->ndim; i++)
    if (a->shape[i] != b->shape[i]) return false;
  return true;
}

/* Memory offset, in elements, of the element with this row-major index. */
static int64_t offset_of(const th_tensor *tensor, int64_t index) {
  int64_t offset = 0;
  for (int i = tensor->ndim - 1; i >= 0; i--) {
    offset += index % tensor->shape[i] * tensor->stride[i];
    index /= tensor->shape[i];
  }
  return offset;
}

double th_tensor_get(const th_tensor *tensor, int64_t index) {
  int64_t at = offset_of(tensor, index);
  switch (tensor->dtype) {
  case TH_F64: return ((const double *)tensor->data)[at];
  case TH_F32: return (double)((const float *)tensor->data)[at];
  case TH_I32: return ((const int32_t *)tensor->data)[at];
  case TH_U8: return ((const uint8_t *)tensor->data)[at];
  }
  return 0;
}

void th_tensor_set(const th_tensor *tensor, int64_t index, double value) {
  int64_t at = offset_of(tensor, index);
  switch (tensor->dtype) {
  case TH_F64: ((double *)tensor->data)[at] = value; break;
  case TH_F32: ((float *)tensor->data)[at] = (float)value; break;
  case TH_I32: ((int32_t *)tensor->data)[at] = (int32_t)value; break;
  case TH_U8: ((uint8_t *)tensor->data)[at] = (uint8_t)value; break;
  }
}

th_status th_tensor_copy(const th_tensor *to, const th_tensor *from, th_error *error) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  if (!th_tensor_same_shape(to, from))
    return th_error_set(error, TH_ESHAPE, "copy: shapes %s and %s differ", th_shape_text(a, to),
                        th_shape_text(b, from));
  int64_t count = th_tensor_count(to);
  if (to->dtype == from->dtype && th_tensor_is_contiguous(to) && th_tensor_is_contiguous(from)) {
    if (count) memmove(to->data, from->data, (size_t)count * th_dtype_size(to->dtype));
    return TH_OK;
  }
  for (int64_t i = 0; i < count; i++) th_tensor_set(to, i, th_tensor_get(from, i));
  return TH_OK;
}

void th_fill(const th_tensor *tensor, double value) {
  int64_t count = th_tensor_count(tensor);
  for (int64_t i = 0; i < count; i++) th_tensor_set(tensor, i, value);
}

char *th_shape_text(char text[TH_SHAPE_TEXT], const th_tensor *tensor) {
  int used = snprintf(text, TH_SHAPE_TEXT, "[");
  for (int i = 0; i < tensor->ndim; i++)
    used += snprintf(text + used, (size_t)(TH_SHAPE_TEXT - used), "%s%lld", i ? "," : "",
                     (long long)tensor->shape[i]);
  snprintf(text + used, (size_t)(TH_SHAPE_TEXT - used), "]");
  return text;
}
