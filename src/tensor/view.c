/* Views: the same memory under another shape and other strides. */
#include "kernels.h"

#include <string.h>

/* Splits and joins axes without moving memory, axis by axis from the right: a run of old axes that
 * lies evenly in memory can be cut anew; where a new axis would straddle an uneven seam, only a
 * copy could serve. */
bool th_view_reshape(th_tensor *view, const th_tensor *of, int ndim, const int64_t *shape) {
  if (ndim < 0 || ndim > TH_MAX_DIMS) return false;
  bool empty = false;
  int64_t count = 1;
  for (int i = 0; i < ndim; i++) { /* the strides are products too, also where a size is 0 */
    if (shape[i] < 0 || __builtin_mul_overflow(count, shape[i] ? shape[i] : 1, &count)) return false;
    if (shape[i] == 0) empty = true;
  }
  if (empty) count = 0;
  if (count != th_tensor_count(of)) return false;
  if (count == 0 || th_tensor_is_contiguous(of)) {
    th_tensor_lay_out(view, of->data, of->dtype, ndim, shape);
    return true;
  }
  th_tensor made = th_tensor_of(of->data, of->dtype, ndim, shape);
  int old = of->ndim - 1, new = ndim - 1;
  while (old >= 0) {
    int64_t run = of->shape[old], stride = of->stride[old];
    while (old > 0 && (of->shape[old - 1] == 1 || of->stride[old - 1] == run * stride))
      run *= of->shape[--old];
    old--;
    while (new >= 0 && (run > 1 || made.shape[new] == 1)) {
      if (run % made.shape[new]) return false;
      made.stride[new] = stride;
      stride *= made.shape[new];
      run /= made.shape[new --];
    }
    if (run != 1) return false;
  }
  *view = made;
  return true;
}

bool th_view_permute(th_tensor *view, const th_tensor *of, const int *axes) {
  th_tensor made = *of;
  unsigned seen = 0;
  for (int i = 0; i < of->ndim; i++) {
    if (axes[i] < 0 || axes[i] >= of->ndim || seen & 1u << axes[i]) return false;
    seen |= 1u << axes[i];
    made.shape[i] = of->shape[axes[i]];
    made.stride[i] = of->stride[axes[i]];
  }
  *view = made;
  return true;
}

bool th_view_slice(th_tensor *view, const th_tensor *of, int axis, int64_t begin, int64_t end) {
  if (axis < 0 || axis >= of->ndim || begin < 0 || begin > end || end > of->shape[axis]) return false;
  *view = *of;
  view->shape[axis] = end - begin;
  view->data = (char *)of->data + begin * of->stride[axis] * (int64_t)th_dtype_size(of->dtype);
  return true;
}

bool th_view_broadcast(th_tensor *view, const th_tensor *of, int ndim, const int64_t *shape) {
  int extra = ndim - of->ndim;
  if (extra < 0 || ndim > TH_MAX_DIMS) return false;
  th_tensor made = {.dtype = of->dtype, .ndim = ndim, .data = of->data};
  for (int i = 0; i < ndim; i++) {
    int64_t size = i < extra ? 1 : of->shape[i - extra];
    if (shape[i] < 0 || (size != shape[i] && size != 1)) return false;
    made.shape[i] = shape[i];
    made.stride[i] = size == shape[i] && i >= extra ? of->stride[i - extra] : 0;
  }
  *view = made;
  return true;
}
