/* softmax and log-softmax over the last axis, under a mask. */
#include "ops.h"

bool th_mask_fits(th_var *out, const th_mask *mask, const th_tensor *scores) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  th_tensor view;
  if ((mask->causal || mask->window) && scores->ndim < 2)
    return th_fail(out, TH_ESHAPE, "a %s mask needs queries and keys, not %s",
                   mask->causal ? "causal" : "window's", th_shape_text(a, scores));
  if (mask->window < 0)
    return th_fail(out, TH_EINVAL, "a window of %lld keys: want 1 or more, or 0 for none",
                   (long long)mask->window);
  if (!mask->allowed) return true;
  if (mask->allowed->dtype != TH_U8)
    return th_fail(out, TH_EDTYPE, "the mask is %s, not u8", th_dtype_name(mask->allowed->dtype));
  if (!th_view_broadcast(&view, mask->allowed, scores->ndim, scores->shape))
    return th_fail(out, TH_ESHAPE, "mask %s does not broadcast to the scores %s",
                   th_shape_text(a, mask->allowed), th_shape_text(b, scores));
  return true;
}

static bool forward(th_var *out, bool logarithm) {
  th_mask mask = *(const th_mask *)out->settings;
  const th_tensor *x = &out->in[0]->value;
  th_tensor allowed;
  if (x->ndim < 1) return th_fail(out, TH_ESHAPE, "a single element has no row");
  if (!th_mask_fits(out, &mask, x) || !th_make_like(out, x)) return false;
  if (mask.allowed && th_view_broadcast(&allowed, mask.allowed, x->ndim, x->shape)) mask.allowed = &allowed;
  th_k_softmax(th_tape_pool(out->tape), logarithm, &mask, x, &out->value);
  return true;
}

static void backward(th_var *out, bool logarithm) {
  bool first;
  const th_tensor *g = th_grad_first(out->in[0], &first);
  if (g) th_k_softmax_backward(th_tape_pool(out->tape), logarithm, &out->value, &out->grad, first, g);
}

static th_var *apply(const th_op *op, th_var *x, const th_mask *mask) {
  th_mask none = {0};
  x = th_contiguous(x);
  return th_apply(op, 1, &x, mask ? mask : &none, sizeof none);
}

/* ---- softmax ------------------------------------------------------------------------------------------------ */

static bool softmax_forward(th_var *out) { return forward(out, false); }
static void softmax_backward(th_var *out) { backward(out, false); }
const th_op th_op_softmax = {"softmax", softmax_forward, softmax_backward, false};
th_var *th_softmax(th_var *x, const th_mask *mask) { return apply(&th_op_softmax, x, mask); }

/* ---- log-softmax --------------------------------------------------------------------------------------------- */

static bool log_softmax_forward(th_var *out) { return forward(out, true); }
static void log_softmax_backward(th_var *out) { backward(out, true); }
const th_op th_op_log_softmax = {"log_softmax", log_softmax_forward, log_softmax_backward, true};
th_var *th_log_softmax(th_var *x, const th_mask *mask) { return apply(&th_op_log_softmax, x, mask); }
