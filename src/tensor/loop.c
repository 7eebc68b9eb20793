/* Walking strided tensors together: broadcast, merge axes that lie evenly in memory, cut for threads. */
#include "kernels.h"

#define PIECE 4096 /* elements a thread takes at once; smaller work stays on the caller's thread */

#define TH_LOOP_MAX 3
typedef struct th_loop {
  int operands, ndim;
  int64_t shape[TH_MAX_DIMS];
  int64_t stride[TH_LOOP_MAX][TH_MAX_DIMS];
  char *data[TH_LOOP_MAX];
  int64_t element[TH_LOOP_MAX]; /* bytes */
} th_loop;

bool th_broadcast_shape(const th_tensor *a, const th_tensor *b, int *ndim, int64_t shape[TH_MAX_DIMS]) {
  *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
  for (int i = 0; i < *ndim; i++) {
    int in_a = i - (*ndim - a->ndim), in_b = i - (*ndim - b->ndim);
    int64_t size_a = in_a < 0 ? 1 : a->shape[in_a], size_b = in_b < 0 ? 1 : b->shape[in_b];
    if (size_a != size_b && size_a != 1 && size_b != 1) return false;
    shape[i] = size_a == 1 ? size_b : size_a;
  }
  return true;
}

/* Appends axis `from` of the full shape, joined to the axis before it where every operand allows. */
static void add_axis(th_loop *loop, int64_t size, const int64_t stride[TH_LOOP_MAX]) {
  if (size == 1) return;
  int last = loop->ndim - 1;
  bool joins = last >= 0;
  for (int k = 0; joins && k < loop->operands; k++) joins = loop->stride[k][last] == size * stride[k];
  if (joins) loop->shape[last] *= size;
  else loop->shape[last = loop->ndim++] = size;
  for (int k = 0; k < loop->operands; k++) loop->stride[k][last] = stride[k];
}

static th_loop loop_over(int operands, const th_tensor *const *tensors) {
  th_loop loop = {.operands = operands};
  int ndim = 0;
  for (int k = 0; k < operands; k++) {
    if (tensors[k]->ndim > ndim) ndim = tensors[k]->ndim;
    loop.data[k] = tensors[k]->data;
    loop.element[k] = (int64_t)th_dtype_size(tensors[k]->dtype);
  }
  for (int i = 0; i < ndim; i++) {
    int64_t size = 1, stride[TH_LOOP_MAX] = {0};
    for (int k = 0; k < operands; k++) {
      int axis = i - (ndim - tensors[k]->ndim);
      if (axis < 0 || tensors[k]->shape[axis] == 1) continue;
      size = tensors[k]->shape[axis];
      stride[k] = tensors[k]->stride[axis];
    }
    add_axis(&loop, size, stride);
  }
  return loop;
}

typedef struct {
  const th_loop *loop;
  th_loop_inner *inner;
  const void *settings;
  int64_t per_piece; /* steps of axis 0 */
} walk;

static void walk_axis(const walk *w, int axis, char *const *data, int64_t count) {
  const th_loop *loop = w->loop;
  char *at[TH_LOOP_MAX] = {0};
  int64_t stride[TH_LOOP_MAX] = {0};
  for (int k = 0; k < loop->operands; k++) {
    at[k] = data[k];
    stride[k] = loop->stride[k][axis];
  }
  if (axis == loop->ndim - 1) {
    w->inner(count, at, stride, w->settings);
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    walk_axis(w, axis + 1, at, loop->shape[axis + 1]);
    for (int k = 0; k < loop->operands; k++) at[k] += stride[k] * loop->element[k];
  }
}

static void walk_piece(void *context, int64_t piece) {
  const walk *w = context;
  const th_loop *loop = w->loop;
  int64_t begin = piece * w->per_piece, count = loop->shape[0] - begin;
  if (count > w->per_piece) count = w->per_piece;
  char *at[TH_LOOP_MAX];
  for (int k = 0; k < loop->operands; k++)
    at[k] = loop->data[k] + begin * loop->stride[k][0] * loop->element[k];
  walk_axis(w, 0, at, count);
}

void th_loop_run(th_pool *pool, int operands, const th_tensor *const *tensors, th_loop_inner *inner,
                 const void *settings) {
  th_loop loop = loop_over(operands, tensors);
  if (loop.ndim == 0) { /* a single element is a run of one */
    static const int64_t none[TH_LOOP_MAX] = {0};
    inner(1, loop.data, none, settings);
    return;
  }
  int64_t row = 1;
  for (int i = 1; i < loop.ndim; i++) row *= loop.shape[i];
  if (row == 0 || loop.shape[0] == 0) return;
  walk w = {.loop = &loop, .inner = inner, .settings = settings, .per_piece = (PIECE + row - 1) / row};
  if (loop.stride[operands - 1][0] == 0) w.per_piece = loop.shape[0]; /* a sum along axis 0 stays in order */
  th_parallel(pool, (loop.shape[0] + w.per_piece - 1) / w.per_piece, walk_piece, &w);
}
