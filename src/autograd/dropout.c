#include "../tensor/random.h"
#include "ops.h"

#include <string.h>

/* Which elements stay: 1 with probability 1 - p. A step's masks depend on its seed and number alone. */
uint8_t *th_keep_mask(th_tape *tape, double p, int64_t count) {
  int64_t before = th_tape_before(tape, count), lead = before % 4;
  uint8_t *keep = th_keep(tape, (size_t)(count + lead));
  if (!keep) return NULL;
  th_random_keep(th_tape_draw(tape), before - lead, count + lead, th_keep_threshold(p), keep);
  return keep + lead;
}

/* The same of rows: x's row i is row[i] of `all`. */
static uint8_t *keep_rows(th_tape *tape, double p, int64_t rows, int64_t width, const int32_t *row,
                          int64_t all) {
  int64_t before = th_tape_before(tape, all * width);
  uint8_t *keep = th_keep(tape, (size_t)(rows * width)), *drawn = th_keep(tape, (size_t)(width + 3));
  if (!keep || !drawn) return NULL;
  th_random random = th_tape_draw(tape);
  for (int64_t i = 0; i < rows; i++) {
    int64_t begin = before + row[i] * width, lead = begin % 4;
    th_random_keep(random, begin - lead, width + lead, th_keep_threshold(p), drawn);
    memcpy(keep + i * width, drawn + lead, (size_t)width);
  }
  return keep;
}

uint32_t th_keep_threshold(double p) { return (uint32_t)(p * 4294967296.0); }

/* ---- dropout (Srivastava et al. 2014), scaled while training ------------------------------------------------- */

typedef struct {
  double p;
  const int32_t *row; /* NULL: all rows are there */
  int64_t all;
} dropout_settings;

static bool dropout_forward(th_var *out) {
  const dropout_settings *s = out->settings;
  double p = s->p;
  const th_tensor *x = &out->in[0]->value;
  if (!(p >= 0 && p < 1)) return th_fail(out, TH_EINVAL, "probability %g is not in [0, 1)", p);
  if (!th_make_over(out, out->in[0]) && !th_make_like(out, x)) return false;
  int64_t width = x->ndim ? x->shape[x->ndim - 1] : 1, count = th_tensor_count(x);
  out->saved = s->row ? keep_rows(out->tape, p, width ? count / width : 0, width, s->row, s->all)
                      : th_keep_mask(out->tape, p, count);
  if (!out->saved) return false;
  th_k_dropout(th_tape_pool(out->tape), 1 / (1 - p), x, out->saved, false, &out->value);
  return true;
}

static void dropout_backward(th_var *out) {
  double p = ((const dropout_settings *)out->settings)->p;
  bool first = th_grad_pass(out, out->in[0]);
  const th_tensor *g = first ? &out->grad : th_grad_first(out->in[0], &first);
  if (g) th_k_dropout(th_tape_pool(out->tape), 1 / (1 - p), &out->grad, out->saved, !first, g);
}

const th_op th_op_dropout = {"dropout", dropout_forward, dropout_backward, false};

th_var *th_dropout_rows(th_var *x, double p, const int32_t *row, int64_t all) {
  if (p == 0 || (p > 0 && p < 1 && !th_tape_training(x->tape))) return x;
  x = th_contiguous(x);
  return th_apply(&th_op_dropout, 1, &x, &(dropout_settings){p, row, all}, sizeof(dropout_settings));
}

th_var *th_dropout(th_var *x, double p) { return th_dropout_rows(x, p, NULL, 0); }
