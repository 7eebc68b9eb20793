#include "../tensor/random.h"
#include "ops.h"

/* Which elements stay: 1 with probability 1 - p. A step's masks depend on its seed and number alone. */
uint8_t *th_keep_mask(th_tape *tape, double p, int64_t count) {
  int64_t before = th_tape_before(tape, count), lead = before % 4;
  uint8_t *keep = th_keep(tape, (size_t)(count + lead));
  if (!keep) return NULL;
  th_random_keep(th_tape_draw(tape), before - lead, count + lead, th_keep_threshold(p), keep);
  return keep + lead;
}

uint32_t th_keep_threshold(double p) { return (uint32_t)(p * 4294967296.0); }

/* ---- dropout (Srivastava et al. 2014), scaled while training ------------------------------------------------- */

static bool dropout_forward(th_var *out) {
  double p = *(const double *)out->settings;
  const th_tensor *x = &out->in[0]->value;
  if (!(p >= 0 && p < 1)) return th_fail(out, TH_EINVAL, "probability %g is not in [0, 1)", p);
  if (!th_make_over(out, out->in[0]) && !th_make_like(out, x)) return false;
  if (!(out->saved = th_keep_mask(out->tape, p, th_tensor_count(x)))) return false;
  th_k_dropout(th_tape_pool(out->tape), 1 / (1 - p), x, out->saved, false, &out->value);
  return true;
}

static void dropout_backward(th_var *out) {
  double p = *(const double *)out->settings;
  bool first = th_grad_pass(out, out->in[0]);
  const th_tensor *g = first ? &out->grad : th_grad_first(out->in[0], &first);
  if (g) th_k_dropout(th_tape_pool(out->tape), 1 / (1 - p), &out->grad, out->saved, !first, g);
}

const th_op th_op_dropout = {"dropout", dropout_forward, dropout_backward, false};

th_var *th_dropout(th_var *x, double p) {
  if (p == 0 || (p > 0 && p < 1 && !th_tape_training(x->tape))) return x;
  x = th_contiguous(x);
  return th_apply(&th_op_dropout, 1, &x, &p, sizeof p);
}
