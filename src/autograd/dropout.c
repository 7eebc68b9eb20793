#include "../tensor/random.h"
#include "ops.h"

#include <string.h>

#define PIECE 4096 /* draws that are worth a thread; a multiple of those of one block */

/* Draws that threads share. */
typedef struct {
  th_random random;
  uint32_t threshold;
  int64_t before; /* draws of the stream that come first */
  int64_t count;  /* of draws, or of rows */
  uint8_t *keep;
  /* of rows alone */
  int64_t width, per_piece;
  const int32_t *row; /* their numbers */
  uint8_t *drawn;     /* scratch [pieces,width + 3]: a block has four draws, and a row may begin within one */
} drawing;

static void draw_piece(void *context, int64_t piece) {
  const drawing *d = context;
  int64_t begin = piece * PIECE, count = d->count - begin < PIECE ? d->count - begin : PIECE;
  th_random_keep(d->random, d->before + begin, count, d->threshold, d->keep + begin);
}

static void draw_rows(void *context, int64_t piece) {
  const drawing *d = context;
  uint8_t *drawn = d->drawn + piece * (d->width + 3);
  int64_t end = (piece + 1) * d->per_piece < d->count ? (piece + 1) * d->per_piece : d->count;
  for (int64_t i = piece * d->per_piece; i < end; i++) {
    int64_t begin = d->before + d->row[i] * d->width, lead = begin % 4;
    th_random_keep(d->random, begin - lead, d->width + lead, d->threshold, drawn);
    memcpy(d->keep + i * d->width, drawn + lead, (size_t)d->width);
  }
}

/* Which elements stay: 1 with probability 1 - p. A step's masks depend on its seed and number alone. */
uint8_t *th_keep_mask(th_tape *tape, double p, int64_t count) {
  int64_t before = th_tape_before(tape, count), lead = before % 4;
  drawing d = {.threshold = th_keep_threshold(p), .before = before - lead, .count = count + lead};
  d.keep = th_keep(tape, (size_t)d.count);
  if (!d.keep) return NULL;
  d.random = th_tape_draw(tape);
  th_parallel(th_tape_pool(tape), (d.count + PIECE - 1) / PIECE, draw_piece, &d);
  return d.keep + lead;
}

/* The same of rows: x's row i is row[i] of `all`. */
static uint8_t *keep_rows(th_tape *tape, double p, int64_t rows, int64_t width, const int32_t *row,
                          int64_t all) {
  drawing d = {.threshold = th_keep_threshold(p), .count = rows, .width = width, .row = row};
  d.before = th_tape_before(tape, all * width);
  d.per_piece = width && width < PIECE ? PIECE / width : 1;
  int64_t pieces = (rows + d.per_piece - 1) / d.per_piece;
  d.keep = th_keep(tape, (size_t)(rows * width)), d.drawn = th_keep(tape, (size_t)(pieces * (width + 3)));
  if (!d.keep || !d.drawn) return NULL;
  d.random = th_tape_draw(tape);
  th_parallel(th_tape_pool(tape), pieces, draw_rows, &d);
  return d.keep;
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
