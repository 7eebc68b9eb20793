#include "ops.h"

/* ---- rotary: y = x turns, over pairs of neighbours that stand for complex numbers --------------------------- */

static bool rotary_forward(th_var *out) {
  const th_tensor *x = &out->in[0]->value, *turns = out->settings;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  int row = x->ndim - 2, last = x->ndim - 1;
  if (x->ndim < 2 || turns->ndim != 2 || turns->shape[0] != x->shape[row] ||
      turns->shape[1] != x->shape[last] || x->shape[last] % 2 || turns->stride[1] != 1)
    return th_fail(out, TH_ESHAPE, "%s by turns %s: want [..,T,D] and dense rows [T,D] with an even D",
                   th_shape_text(a, x), th_shape_text(b, turns));
  if (turns->dtype != x->dtype)
    return th_fail(out, TH_EDTYPE, "x is %s, the turns are %s", th_dtype_name(x->dtype),
                   th_dtype_name(turns->dtype));
  if (!th_make_like(out, x)) return false;
  th_k_turn(th_tape_pool(out->tape), false, x, turns, &out->value);
  return true;
}

static void rotary_backward(th_var *out) { /* gx += gy conj(turns): turned back */
  const th_tensor *g = th_grad(out->in[0]);
  if (g) th_k_turn(th_tape_pool(out->tape), true, &out->grad, out->settings, g);
}

const th_op th_op_rotary = {"rotary", rotary_forward, rotary_backward, false};

th_var *th_rotary(th_var *x, const th_tensor *turns) {
  int last = x->value.ndim - 1;
  if (last >= 0 && x->value.stride[last] != 1) x = th_contiguous(x);
  return th_apply(&th_op_rotary, 1, &x, turns, sizeof *turns);
}
