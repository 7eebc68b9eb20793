/* sum, mean, max over a set of axes. Summing is adding to a destination that stands still (stride 0) along
 * those axes, and its gradient is adding from a source that does. */
#include "ops.h"

#include <string.h>

typedef struct {
  unsigned axes;
  bool keep;
  double factor;  /* 1, or 1 / count for the mean */
  th_tensor kept; /* the result with its reduced axes at size 1 */
} reduction;

/* Makes out->value without the reduced axes, and `r->kept`, the same memory with them. */
static bool make_reduced(th_var *out, reduction *r) {
  const th_tensor *x = &out->in[0]->value;
  int64_t kept[TH_MAX_DIMS], given[TH_MAX_DIMS];
  int ndim = 0;
  if (r->axes != TH_ALL_AXES && r->axes >> x->ndim) {
    char text[TH_SHAPE_TEXT];
    return th_fail(out, TH_ESHAPE, "%s has only %d axes", th_shape_text(text, x), x->ndim);
  }
  for (int i = 0; i < x->ndim; i++) {
    bool reduced = r->axes >> i & 1;
    kept[i] = reduced ? 1 : x->shape[i];
    if (!reduced || r->keep) given[ndim++] = kept[i];
  }
  if (!th_make(out, ndim, given)) return false;
  r->kept = th_tensor_of(out->value.data, x->dtype, x->ndim, kept);
  reduction *saved = th_keep(out->tape, sizeof *saved);
  if (!saved) return false;
  *saved = *r;
  out->saved = saved;
  return true;
}

static th_tensor kept_grad(const th_var *out) {
  th_tensor g = ((const reduction *)out->saved)->kept;
  g.data = out->grad.data;
  return g;
}

static th_var *apply_reduction(const th_op *op, th_var *x, unsigned axes, bool keep) {
  reduction r = {.axes = axes, .keep = keep};
  return th_apply(op, 1, &x, &r, sizeof r);
}

/* ---- sum and mean ---------------------------------------------------------------------------------------- */

static bool sum_with(th_var *out, bool mean) {
  reduction r = *(const reduction *)out->settings;
  const th_tensor *x = &out->in[0]->value;
  r.factor = 1;
  for (int i = 0; mean && i < x->ndim; i++)
    if (r.axes >> i & 1) r.factor /= (double)(x->shape[i] ? x->shape[i] : 1);
  if (!make_reduced(out, &r)) return false;
  memset(out->value.data, 0, (size_t)th_tensor_count(&out->value) * th_dtype_size(x->dtype));
  th_k_axpy(th_tape_pool(out->tape), r.factor, x, &r.kept);
  return true;
}

static bool sum_forward(th_var *out) { return sum_with(out, false); }
static bool mean_forward(th_var *out) { return sum_with(out, true); }

static void sum_backward(th_var *out) {
  const th_tensor *gx = th_grad(out->in[0]), gy = kept_grad(out);
  if (gx) th_k_axpy(th_tape_pool(out->tape), ((const reduction *)out->saved)->factor, &gy, gx);
}

const th_op th_op_sum = {"sum", sum_forward, sum_backward, false};
const th_op th_op_mean = {"mean", mean_forward, sum_backward, false};
th_var *th_sum(th_var *x, unsigned axes, bool keep) { return apply_reduction(&th_op_sum, x, axes, keep); }
th_var *th_mean(th_var *x, unsigned axes, bool keep) { return apply_reduction(&th_op_mean, x, axes, keep); }

/* ---- max ---------------------------------------------------------------------------------------------------- */

static bool max_forward(th_var *out) {
  reduction r = *(const reduction *)out->settings;
  if (th_tensor_count(&out->in[0]->value) == 0)
    return th_fail(out, TH_ESHAPE, "nothing has no largest element");
  if (!make_reduced(out, &r)) return false;
  th_k_max(&out->in[0]->value, &r.kept);
  return true;
}

static void max_backward(th_var *out) {
  const th_tensor *x = &out->in[0]->value, *gx = th_grad(out->in[0]), gy = kept_grad(out);
  const reduction *r = out->saved;
  th_tensor ties, winner;
  if (gx && th_keep_tensor(out->tape, &ties, x->dtype, x->ndim, r->kept.shape) &&
      th_keep_tensor(out->tape, &winner, x->dtype, x->ndim, x->shape))
    th_k_max_backward(x, &r->kept, &gy, &ties, &winner, gx);
}

const th_op th_op_max = {"max", max_forward, max_backward, false};
th_var *th_max(th_var *x, unsigned axes, bool keep) { return apply_reduction(&th_op_max, x, axes, keep); }
