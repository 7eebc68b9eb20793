/* Functions of one element: exp, log, sqrt, tanh, sigmoid, relu, elu plus one and the two gelus. The formulas and their
 * derivatives stand side by side in src/tensor/elementwise.inc. */
#include "ops.h"

static bool forward(th_var *out, th_unary kind) {
  if (!th_make_like(out, &out->in[0]->value)) return false;
  th_k_unary(th_tape_pool(out->tape), kind, 0, &out->in[0]->value, &out->value);
  return true;
}

static void backward(th_var *out, th_unary kind) {
  bool first;
  const th_tensor *x = &out->in[0]->value, *g = th_grad_first(out->in[0], &first);
  if (g) th_k_unary_backward(th_tape_pool(out->tape), kind, x, &out->value, &out->grad, first, g);
}

/* Defines the op `name` and its function th_name. */
#define ELEMENTWISE(name, kind) \
  static bool name##_forward(th_var *out) { return forward(out, kind); } \
  static void name##_backward(th_var *out) { backward(out, kind); } \
  const th_op th_op_##name = {#name, name##_forward, name##_backward, false}; \
  th_var *th_##name(th_var *x) { \
    x = th_contiguous(x); \
    return th_apply(&th_op_##name, 1, &x, NULL, 0); \
  }

ELEMENTWISE(exp, TH_EXP)
ELEMENTWISE(log, TH_LOG)
ELEMENTWISE(sqrt, TH_SQRT)
ELEMENTWISE(tanh, TH_TANH)
ELEMENTWISE(sigmoid, TH_SIGMOID)
ELEMENTWISE(relu, TH_RELU)
ELEMENTWISE(elu_plus_one, TH_ELU_PLUS_ONE)
ELEMENTWISE(gelu_tanh, TH_GELU_TANH)
ELEMENTWISE(gelu_erf, TH_GELU_ERF)
