#include "ops.h"

/* ---- cross-entropy with label smoothing and ignored targets ----------------------------------------------- */

typedef struct {
  th_tensor targets;
  double smoothing;
} loss_settings;

typedef struct {
  const int32_t *targets;
  int64_t counted;
  th_tensor log_sum; /* [rows] */
} loss_saved;

static bool cross_entropy_forward(th_var *out) {
  const loss_settings *s = out->settings;
  const th_tensor *x = &out->in[0]->value;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  th_tensor rows = *x, losses;
  rows.ndim--;
  if (x->ndim < 1 || !th_tensor_same_shape(&rows, &s->targets))
    return th_fail(out, TH_ESHAPE, "logits %s with targets %s: want [..,n] and [..]", th_shape_text(a, x),
                   th_shape_text(b, &s->targets));
  if (!(s->smoothing >= 0 && s->smoothing <= 1))
    return th_fail(out, TH_EINVAL, "label smoothing %g is not in 0..1", s->smoothing);
  loss_saved *saved = out->saved = th_keep(out->tape, sizeof *saved);
  if (!saved || !(saved->targets = th_keep_ids(out, &s->targets, INT32_MIN, x->shape[x->ndim - 1])) ||
      !th_make(out, 0, NULL) ||
      !th_keep_tensor(out->tape, &saved->log_sum, x->dtype, rows.ndim, rows.shape) ||
      !th_keep_tensor(out->tape, &losses, x->dtype, rows.ndim, rows.shape))
    return false;
  th_k_cross_entropy(th_tape_pool(out->tape), s->smoothing, x, saved->targets, &losses, &saved->log_sum);
  double sum = 0;
  saved->counted = 0;
  for (int64_t i = 0, count = th_tensor_count(&losses); i < count; i++) {
    sum += th_tensor_get(&losses, i);
    saved->counted += saved->targets[i] >= 0;
  }
  th_tensor_set(&out->value, 0, saved->counted ? sum / (double)saved->counted : 0);
  return true;
}

static void cross_entropy_backward(th_var *out) {
  const loss_settings *s = out->settings;
  const loss_saved *saved = out->saved;
  bool first;
  const th_tensor *g = th_grad_first(out->in[0], &first);
  if (g && first && !saved->counted) th_fill(g, 0);
  if (!g || !saved->counted) return;
  double scale = th_tensor_get(&out->grad, 0) / (double)saved->counted;
  th_k_cross_entropy_backward(th_tape_pool(out->tape), s->smoothing, scale, &out->in[0]->value,
                              saved->targets, &saved->log_sum, first, g);
}

const th_op th_op_cross_entropy = {"cross_entropy", cross_entropy_forward, cross_entropy_backward, false};

th_var *th_cross_entropy(th_var *logits, const th_tensor *targets, double smoothing) {
  loss_settings s = {*targets, smoothing};
  logits = th_contiguous(logits);
  return th_apply(&th_op_cross_entropy, 1, &logits, &s, sizeof s);
}
