/* reshape, permute, slice: views, whose gradient is a view of the gradient, so that backward has nothing
 * to do; broadcast, concat, contiguous: copies. */
#include "ops.h"

#include <string.h>

typedef struct {
  int ndim;
  int64_t shape[TH_MAX_DIMS];
} shape_settings;

static th_var *apply_shape(const th_op *op, th_var *x, int ndim, const int64_t *shape) {
  shape_settings s = {.ndim = ndim};
  if (ndim >= 0 && ndim <= TH_MAX_DIMS) memcpy(s.shape, shape, (size_t)ndim * sizeof *shape);
  return th_apply(op, 1, &x, &s, sizeof s);
}

/* For an error's text: sizes whose product may overflow, so without strides. */
static th_tensor asked_shape(const shape_settings *s) {
  th_tensor asked = {.ndim = s->ndim};
  if (s->ndim < 0 || s->ndim > TH_MAX_DIMS) asked.ndim = 0;
  memcpy(asked.shape, s->shape, sizeof asked.shape);
  return asked;
}

/* ---- contiguous: a row-major copy ------------------------------------------------------------------------ */

static bool contiguous_forward(th_var *out) {
  if (!th_make_like(out, &out->in[0]->value)) return false;
  th_k_copy(th_tape_pool(out->tape), &out->in[0]->value, &out->value);
  return true;
}

static void copy_backward(th_var *out) { /* also of broadcast: repeated elements are summed */
  const th_tensor *g = th_grad(out->in[0]);
  if (g) th_k_axpy(th_tape_pool(out->tape), 1, &out->grad, g);
}

const th_op th_op_contiguous = {"contiguous", contiguous_forward, copy_backward, true};

th_var *th_contiguous(th_var *x) {
  return th_tensor_is_contiguous(&x->value) ? x : th_apply(&th_op_contiguous, 1, &x, NULL, 0);
}

/* ---- reshape ------------------------------------------------------------------------------------------------ */

static bool reshape_forward(th_var *out) {
  const shape_settings *s = out->settings;
  const th_tensor *x = &out->in[0]->value;
  char from[TH_SHAPE_TEXT], to[TH_SHAPE_TEXT];
  th_tensor asked = asked_shape(s), view;
  if (!th_view_reshape(&view, x, s->ndim, s->shape))
    return th_fail(out, TH_ESHAPE, "%s has %lld elements, %s has not", th_shape_text(from, x),
                   (long long)th_tensor_count(x), th_shape_text(to, &asked));
  return th_make_view(out, out->in[0], &view);
}

const th_op th_op_reshape = {"reshape", reshape_forward, NULL, true};

/* Puts what is left of `count` elements in the place of one -1. */
static void fill_open_size(int64_t count, int ndim, int64_t *shape) {
  int64_t known = 1;
  int open = -1;
  for (int i = 0; i < ndim; i++) {
    if (shape[i] == -1 && open < 0) open = i;
    else if (shape[i] < 0 || __builtin_mul_overflow(known, shape[i], &known))
      return; /* no shape: the op says so */
  }
  if (open >= 0 && known > 0) shape[open] = count / known;
}

th_var *th_reshape(th_var *x, int ndim, const int64_t *asked) {
  int64_t shape[TH_MAX_DIMS] = {0};
  th_tensor view;
  if (ndim >= 0 && ndim <= TH_MAX_DIMS) {
    memcpy(shape, asked, (size_t)ndim * sizeof *shape);
    fill_open_size(th_tensor_count(&x->value), ndim, shape);
    if (!th_view_reshape(&view, &x->value, ndim, shape)) x = th_contiguous(x);
  }
  return apply_shape(&th_op_reshape, x, ndim, shape);
}

/* ---- permute -------------------------------------------------------------------------------------------------- */

static bool permute_forward(th_var *out) {
  const int *axes = out->settings;
  char text[TH_SHAPE_TEXT];
  th_tensor view;
  if (!th_view_permute(&view, &out->in[0]->value, axes))
    return th_fail(out, TH_EINVAL, "the axes for %s are not each named once",
                   th_shape_text(text, &out->in[0]->value));
  return th_make_view(out, out->in[0], &view);
}

const th_op th_op_permute = {"permute", permute_forward, NULL, true};

th_var *th_permute(th_var *x, const int *axes) {
  return th_apply(&th_op_permute, 1, &x, axes, (size_t)x->value.ndim * sizeof *axes);
}

th_var *th_transpose(th_var *x) {
  int axes[TH_MAX_DIMS], ndim = x->value.ndim;
  for (int i = 0; i < ndim; i++) axes[i] = i;
  if (ndim >= 2) axes[ndim - 2] = ndim - 1, axes[ndim - 1] = ndim - 2;
  else if (ndim == 1) axes[0] = -1; /* no such axis: permute says so */
  return th_permute(x, axes);
}

/* ---- slice ------------------------------------------------------------------------------------------------------ */

typedef struct {
  int axis;
  int64_t begin, end;
} slice_settings;

static bool slice_forward(th_var *out) {
  const slice_settings *s = out->settings;
  char text[TH_SHAPE_TEXT];
  th_tensor view;
  if (!th_view_slice(&view, &out->in[0]->value, s->axis, s->begin, s->end))
    return th_fail(out, TH_ESHAPE, "%s has no %lld to %lld on axis %d",
                   th_shape_text(text, &out->in[0]->value), (long long)s->begin, (long long)s->end, s->axis);
  return th_make_view(out, out->in[0], &view);
}

const th_op th_op_slice = {"slice", slice_forward, NULL, true};

th_var *th_slice(th_var *x, int axis, int64_t begin, int64_t end) {
  if (axis >= 0 && axis < x->value.ndim && begin == 0 && end == x->value.shape[axis]) return x;
  slice_settings s = {axis, begin, end};
  return th_apply(&th_op_slice, 1, &x, &s, sizeof s);
}

/* ---- broadcast ---------------------------------------------------------------------------------------------------- */

static bool broadcast_forward(th_var *out) {
  const shape_settings *s = out->settings;
  char from[TH_SHAPE_TEXT], to[TH_SHAPE_TEXT];
  th_tensor asked = asked_shape(s), view;
  if (!th_view_broadcast(&view, &out->in[0]->value, s->ndim, s->shape))
    return th_fail(out, TH_ESHAPE, "%s to %s: sizes must be equal or 1",
                   th_shape_text(from, &out->in[0]->value), th_shape_text(to, &asked));
  if (!th_make(out, s->ndim, s->shape)) return false;
  th_k_copy(th_tape_pool(out->tape), &view, &out->value);
  return true;
}

const th_op th_op_broadcast = {"broadcast", broadcast_forward, copy_backward, true};

th_var *th_broadcast(th_var *x, int ndim, const int64_t *shape) {
  return apply_shape(&th_op_broadcast, x, ndim, shape);
}

/* ---- concat ------------------------------------------------------------------------------------------------------- */

static bool concat_forward(th_var *out) {
  int axis = *(const int *)out->settings;
  th_tensor whole = out->in[0]->value;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  if (axis < 0 || axis >= whole.ndim)
    return th_fail(out, TH_ESHAPE, "%s has no axis %d", th_shape_text(a, &whole), axis);
  for (int i = 1; i < out->inputs; i++) {
    th_tensor part = out->in[i]->value;
    int64_t size = part.ndim == whole.ndim ? part.shape[axis] : 0;
    part.shape[axis] = whole.shape[axis];
    if (!th_tensor_same_shape(&part, &whole))
      return th_fail(out, TH_ESHAPE, "%s and %s differ beside axis %d", th_shape_text(a, &out->in[0]->value),
                     th_shape_text(b, &out->in[i]->value), axis);
    whole.shape[axis] += size;
  }
  if (!th_make_like(out, &whole)) return false;
  int64_t begin = 0;
  for (int i = 0; i < out->inputs; i++) {
    const th_tensor *part = &out->in[i]->value;
    th_tensor to;
    th_view_slice(&to, &out->value, axis, begin, begin + part->shape[axis]);
    th_k_copy(th_tape_pool(out->tape), part, &to);
    begin += part->shape[axis];
  }
  return true;
}

static void concat_backward(th_var *out) {
  int axis = *(const int *)out->settings;
  int64_t begin = 0;
  for (int i = 0; i < out->inputs; i++) {
    const th_tensor *g = th_grad(out->in[i]);
    int64_t size = out->in[i]->value.shape[axis];
    th_tensor from;
    th_view_slice(&from, &out->grad, axis, begin, begin + size);
    if (g) th_k_axpy(th_tape_pool(out->tape), 1, &from, g);
    begin += size;
  }
}

const th_op th_op_concat = {"concat", concat_forward, concat_backward, true};

th_var *th_concat(int count, th_var *const *parts, int axis) {
  return th_apply(&th_op_concat, count, parts, &axis, sizeof axis);
}
