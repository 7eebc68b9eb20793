/* Gates that learn to shut: the hard concrete distribution (Louizos, Welling & Kingma 2018, section 2.2). */
#include "ops.h"

#include <math.h>

#define BETA TH_CONCRETE_BETA
#define GAMMA TH_CONCRETE_GAMMA
#define ZETA TH_CONCRETE_ZETA

static double logistic(double x) { return 1 / (1 + exp(-x)); }

/* ---- the gates ------------------------------------------------------------------------------------------------ */

/* One gate of log alpha `logit` and its slope: equations 10 and 11, and without noise 13. */
static double gate_of(double logit, bool noisy, double u, double *slope) {
  double sharp = noisy ? 1 / BETA : 1, noise = noisy ? log(u) - log(1 - u) : 0; /* u = 0: shut */
  double s = logistic((noise + logit) * sharp), stretched = s * (ZETA - GAMMA) + GAMMA;
  bool between = stretched > 0 && stretched < 1;
  *slope = between ? (ZETA - GAMMA) * sharp * s * (1 - s) : 0;
  return between ? stretched : stretched >= 1;
}

double th_quiet_gate(double logit) { return gate_of(logit, false, 0.5, &(double){0}); }

static bool hard_concrete_forward(th_var *out) {
  const th_tensor *logits = &out->in[0]->value;
  bool noisy = th_tape_training(out->tape);
  int64_t count = th_tensor_count(logits);
  double *slope = th_keep(out->tape, (size_t)count * sizeof *slope);
  if (!slope || !th_make_like(out, logits)) return false;
  th_random draw = noisy ? th_tape_draw(out->tape) : (th_random){0};
  for (int64_t i = 0; i < count; i++) {
    double u = noisy ? th_random_uniform(draw, (uint64_t)i) : 0;
    th_tensor_set(&out->value, i, gate_of(th_tensor_get(logits, i), noisy, u, &slope[i]));
  }
  out->saved = slope;
  return true;
}

static void hard_concrete_backward(th_var *out) {
  const double *slope = out->saved;
  const th_tensor *g = th_grad(out->in[0]);
  for (int64_t i = 0, n = g ? th_tensor_count(g) : 0; i < n; i++)
    th_tensor_set(g, i, th_tensor_get(g, i) + slope[i] * th_tensor_get(&out->grad, i));
}

const th_op th_op_hard_concrete = {"hard_concrete", hard_concrete_forward, hard_concrete_backward, false};

th_var *th_hard_concrete(th_var *logits) {
  logits = th_contiguous(logits);
  return th_apply(&th_op_hard_concrete, 1, &logits, NULL, 0);
}

/* ---- how many are open, from small ops ------------------------------------------------------------------------- */

th_var *th_expected_open(th_var *logits) {
  th_tensor shift;
  if (!th_keep_tensor(logits->tape, &shift, logits->value.dtype, 0, NULL)) return logits;
  th_fill(&shift, -BETA * log(-GAMMA / ZETA));
  return th_sum(th_sigmoid(th_add(logits, th_constant(logits->tape, &shift))), TH_ALL_AXES, false);
}
