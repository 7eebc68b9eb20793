/* add, sub, mul, div, scale, neg. Where an input was broadcast, its gradient is the sum over the copies;
 * the strided loops do that by themselves. */
#include "ops.h"

static bool broadcast_forward(th_var *out, th_binary kind) {
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value;
  int ndim;
  int64_t shape[TH_MAX_DIMS];
  char ta[TH_SHAPE_TEXT], tb[TH_SHAPE_TEXT];
  if (!th_broadcast_shape(a, b, &ndim, shape))
    return th_fail(out, TH_ESHAPE, "%s and %s do not broadcast: sizes must be equal or 1",
                   th_shape_text(ta, a), th_shape_text(tb, b));
  bool over = kind == TH_ADD && th_tensor_same_shape(a, b) && th_make_over(out, out->in[1]);
  if (!over && !th_make(out, ndim, shape)) return false;
  th_k_binary(th_tape_pool(out->tape), kind, a, b, &out->value);
  return true;
}

static th_var *apply2(const th_op *op, th_var *a, th_var *b) {
  return th_apply(op, 2, (th_var *[]){a, b}, NULL, 0);
}

/* ---- y = a + b --------------------------------------------------------------------------------------- */

static bool add_forward(th_var *out) { return broadcast_forward(out, TH_ADD); }

/* The one has out's gradient itself, where that can be; the other a copy, which comes first. */
static void add_backward(th_var *out) {
  th_grad_add(out->in[1], &out->grad);
  if (!th_grad_pass(out, out->in[0])) th_grad_add(out->in[0], &out->grad);
}

const th_op th_op_add = {"add", add_forward, add_backward, false};
th_var *th_add(th_var *a, th_var *b) { return apply2(&th_op_add, a, b); }

/* ---- y = a - b --------------------------------------------------------------------------------------- */

static bool sub_forward(th_var *out) { return broadcast_forward(out, TH_SUB); }

static void sub_backward(th_var *out) {
  th_pool *pool = th_tape_pool(out->tape);
  const th_tensor *ga = th_grad(out->in[0]), *gb = th_grad(out->in[1]);
  if (ga) th_k_axpy(pool, 1, &out->grad, ga);
  if (gb) th_k_axpy(pool, -1, &out->grad, gb);
}

const th_op th_op_sub = {"sub", sub_forward, sub_backward, false};
th_var *th_sub(th_var *a, th_var *b) { return apply2(&th_op_sub, a, b); }

/* ---- y = a b ----------------------------------------------------------------------------------------- */

static bool mul_forward(th_var *out) { return broadcast_forward(out, TH_MUL); }

static void mul_backward(th_var *out) {
  th_pool *pool = th_tape_pool(out->tape);
  const th_tensor *ga = th_grad(out->in[0]), *gb = th_grad(out->in[1]);
  if (ga) th_k_add_product(pool, 1, &out->grad, &out->in[1]->value, ga);
  if (gb) th_k_add_product(pool, 1, &out->grad, &out->in[0]->value, gb);
}

const th_op th_op_mul = {"mul", mul_forward, mul_backward, false};
th_var *th_mul(th_var *a, th_var *b) { return apply2(&th_op_mul, a, b); }

/* ---- y = a / b --------------------------------------------------------------------------------------- */

static bool div_forward(th_var *out) { return broadcast_forward(out, TH_DIV); }

static void div_backward(th_var *out) { /* ga += g / b; gb -= g y / b */
  th_pool *pool = th_tape_pool(out->tape);
  const th_tensor *b = &out->in[1]->value, *ga = th_grad(out->in[0]), *gb = th_grad(out->in[1]);
  if (ga) th_k_add_quotient(pool, 1, &out->grad, b, ga);
  th_tensor gy;
  if (!gb || !th_keep_tensor(out->tape, &gy, out->value.dtype, out->value.ndim, out->value.shape)) return;
  th_k_binary(pool, TH_MUL, &out->grad, &out->value, &gy);
  th_k_add_quotient(pool, -1, &gy, b, gb);
}

const th_op th_op_div = {"div", div_forward, div_backward, false};
th_var *th_div(th_var *a, th_var *b) { return apply2(&th_op_div, a, b); }

/* ---- y = factor x; neg is factor -1 ------------------------------------------------------------------ */

static bool scale_forward(th_var *out) {
  if (!th_make_like(out, &out->in[0]->value)) return false;
  th_k_unary(th_tape_pool(out->tape), TH_SCALE, *(const double *)out->settings, &out->in[0]->value,
             &out->value);
  return true;
}

static void scale_backward(th_var *out) {
  th_pool *pool = th_tape_pool(out->tape);
  double factor = *(const double *)out->settings;
  bool first;
  const th_tensor *g = th_grad_first(out->in[0], &first);
  if (g && first) th_k_unary(pool, TH_SCALE, factor, &out->grad, g);
  else if (g) th_k_axpy(pool, factor, &out->grad, g);
}

static th_var *apply_scale(const th_op *op, th_var *x, double factor) {
  x = th_contiguous(x);
  return th_apply(op, 1, &x, &factor, sizeof factor);
}

const th_op th_op_scale = {"scale", scale_forward, scale_backward, false};
th_var *th_scale(th_var *x, double factor) { return apply_scale(&th_op_scale, x, factor); }

const th_op th_op_neg = {"neg", scale_forward, scale_backward, false};
th_var *th_neg(th_var *x) { return apply_scale(&th_op_neg, x, -1); }
