#include "ops.h"

/* ---- layer norm ------------------------------------------------------------------------------------------------ */

typedef struct {
  th_tensor mean, rstd; /* [rows] */
} norm_saved;

static bool layer_norm_forward(th_var *out) {
  const th_tensor *x = &out->in[0]->value, *weight = &out->in[1]->value, *bias = &out->in[2]->value;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT], c[TH_SHAPE_TEXT];
  int last = x->ndim - 1;
  if (x->ndim < 1 || weight->ndim != 1 || bias->ndim != 1 || weight->shape[0] != x->shape[last] ||
      bias->shape[0] != x->shape[last])
    return th_fail(out, TH_ESHAPE, "%s with weight %s and bias %s: want [..,n], [n], [n]",
                   th_shape_text(a, x), th_shape_text(b, weight), th_shape_text(c, bias));
  norm_saved *saved = out->saved = th_keep(out->tape, sizeof *saved);
  if (!saved || !th_make_like(out, x) || !th_keep_tensor(out->tape, &saved->mean, x->dtype, last, x->shape) ||
      !th_keep_tensor(out->tape, &saved->rstd, x->dtype, last, x->shape))
    return false;
  th_k_layer_norm(th_tape_pool(out->tape), *(const double *)out->settings, x, weight, bias, &out->value,
                  &saved->mean, &saved->rstd);
  return true;
}

static void layer_norm_backward(th_var *out) {
  const norm_saved *saved = out->saved;
  const th_tensor *x = &out->in[0]->value;
  int64_t n = x->shape[x->ndim - 1], rows = n ? th_tensor_count(x) / n : 0;
  th_tensor partial;
  if (!th_keep_tensor(out->tape, &partial, x->dtype, 3, (int64_t[]){th_k_row_pieces(rows), 2, n})) return;
  bool first;
  const th_tensor *gx = th_grad_first(out->in[0], &first);
  th_k_layer_norm_backward(th_tape_pool(out->tape), x, &out->in[1]->value, &saved->mean, &saved->rstd,
                           &out->grad, &partial, first, gx, th_grad(out->in[1]), th_grad(out->in[2]));
}

const th_op th_op_layer_norm = {"layer_norm", layer_norm_forward, layer_norm_backward, false};

th_var *th_layer_norm(th_var *x, th_var *weight, th_var *bias, double epsilon) {
  th_var *in[] = {th_contiguous(x), th_contiguous(weight), th_contiguous(bias)};
  return th_apply(&th_op_layer_norm, 3, in, &epsilon, sizeof epsilon);
}
