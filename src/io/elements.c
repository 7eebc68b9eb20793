/* A tensor's elements as the bytes of a file. */
#include "private.h"

#include <string.h>

/* Elements are written as they lie in memory, and the formats want them little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files are written for little-endian machines only");

#define PIECE 16384 /* bytes gathered on the stack before a write; a multiple of every element size */

bool th_elements_bytes(int64_t *bytes, th_dtype dtype, int ndim, const int64_t *shape) {
  int64_t count = 1, span = (int64_t)th_dtype_size(dtype);
  for (int i = 0; i < ndim; i++) {
    /* An empty tensor counts no elements, yet its strides are products of its other sizes. */
    if (shape[i] < 0 || __builtin_mul_overflow(span, shape[i] > 0 ? shape[i] : 1, &span)) return false;
    if (shape[i] == 0) count = 0;
  }
  *bytes = count ? span : 0;
  return true;
}

/* Moves `index` to the next element in row-major order and returns its place in memory. */
static int64_t next_place(const th_tensor *tensor, int64_t index[TH_MAX_DIMS], int64_t place) {
  for (int axis = tensor->ndim - 1; axis >= 0; axis--) {
    place += tensor->stride[axis];
    if (++index[axis] < tensor->shape[axis]) break;
    place -= tensor->stride[axis] * tensor->shape[axis];
    index[axis] = 0;
  }
  return place;
}

static th_status write_strided(th_file_out *out, const th_tensor *tensor, th_error *error) {
  char piece[PIECE];
  size_t used = 0, size = th_dtype_size(tensor->dtype);
  int64_t index[TH_MAX_DIMS] = {0}, place = 0, count = th_tensor_count(tensor);
  for (int64_t i = 0; i < count; i++) {
    memcpy(piece + used, (const char *)tensor->data + place * (int64_t)size, size);
    used += size;
    place = next_place(tensor, index, place);
    if (used < sizeof piece && i + 1 < count) continue;
    th_status status = th_file_out_write(out, piece, used, error);
    if (status != TH_OK) return status;
    used = 0;
  }
  return TH_OK;
}

th_status th_elements_write(th_file_out *out, const th_tensor *tensor, th_error *error) {
  if (!th_tensor_is_contiguous(tensor)) return write_strided(out, tensor, error);
  return th_file_out_write(out, tensor->data, (size_t)th_tensor_count(tensor) * th_dtype_size(tensor->dtype),
                           error);
}
