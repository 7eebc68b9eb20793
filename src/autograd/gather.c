#include "ops.h"

#include <string.h>

const int32_t *th_keep_ids(th_var *out, const th_tensor *ids, int64_t least, int64_t n) {
  char text[TH_SHAPE_TEXT];
  if (ids->dtype != TH_I32) {
    th_fail(out, TH_EDTYPE, "ids %s are %s, not i32", th_shape_text(text, ids), th_dtype_name(ids->dtype));
    return NULL;
  }
  th_tensor copy;
  if (!th_keep_tensor(out->tape, &copy, TH_I32, ids->ndim, ids->shape)) return NULL;
  th_tensor_copy(&copy, ids, NULL);
  const int32_t *id = copy.data;
  int64_t count = th_tensor_count(ids);
  for (int64_t i = 0; i < count; i++) {
    if (id[i] >= least && id[i] < n) continue;
    if (id[i] < least) th_fail(out, TH_EINVAL, "id %d at element %lld is negative", (int)id[i], (long long)i);
    else
      th_fail(out, TH_EINVAL, "id %d at element %lld is not below %lld", (int)id[i], (long long)i,
              (long long)n);
    return NULL;
  }
  return id;
}

/* ---- y [..,width] = table [n,width] [ids] ------------------------------------------------------------------ */

static bool gather_forward(th_var *out) {
  const th_tensor *table = &out->in[0]->value, *ids = out->settings;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  if (table->ndim != 2 || ids->ndim >= TH_MAX_DIMS)
    return th_fail(out, TH_ESHAPE, "table %s by ids %s: want [n,width] and fewer axes",
                   th_shape_text(a, table), th_shape_text(b, ids));
  const int32_t *id = th_keep_ids(out, ids, 0, table->shape[0]);
  int64_t shape[TH_MAX_DIMS];
  memcpy(shape, ids->shape, sizeof shape);
  shape[ids->ndim] = table->shape[1];
  if (!id || !th_make(out, ids->ndim + 1, shape)) return false;
  out->saved = (void *)(uintptr_t)id;
  th_k_gather(table, id, &out->value);
  return true;
}

static void gather_backward(th_var *out) {
  const th_tensor *g = th_grad(out->in[0]);
  if (g) th_k_scatter_add(&out->grad, out->saved, g);
}

const th_op th_op_gather = {"gather", gather_forward, gather_backward, false};

th_var *th_gather(th_var *table, const th_tensor *ids) {
  table = th_contiguous(table);
  return th_apply(&th_op_gather, 1, &table, ids, sizeof *ids);
}

/* ---- y [..,width] = rows of x [..,width] by [ids], each at most once; -1: zeros --------------------------------- */

typedef struct {
  int64_t rows, taken; /* of x, and of y */
  const int32_t *from; /* [taken]: for each row of y the one of x, or -1 */
  int32_t *to;         /* [rows]: for each row of x the one of y, or -1 */
} taken_rows;

/* False after th_fail: a row is taken twice. */
static bool invert(th_var *out, taken_rows *t) {
  for (int64_t r = 0; r < t->rows; r++) t->to[r] = -1;
  for (int64_t i = 0; i < t->taken; i++) {
    if (t->from[i] < 0) continue;
    if (t->to[t->from[i]] >= 0) return th_fail(out, TH_EINVAL, "row %d is taken twice", (int)t->from[i]);
    t->to[t->from[i]] = (int32_t)i;
  }
  return true;
}

static bool take_rows_forward(th_var *out) {
  const th_tensor *x = &out->in[0]->value, *ids = out->settings;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  if (x->ndim < 1 || ids->ndim >= TH_MAX_DIMS)
    return th_fail(out, TH_ESHAPE, "%s by ids %s: want [..,width] and fewer axes", th_shape_text(a, x),
                   th_shape_text(b, ids));
  int64_t width = x->shape[x->ndim - 1], shape[TH_MAX_DIMS];
  memcpy(shape, ids->shape, sizeof shape);
  shape[ids->ndim] = width;
  taken_rows *t = out->saved = th_keep(out->tape, sizeof *t);
  if (!t) return false;
  *t = (taken_rows){.rows = th_shape_count(x->ndim - 1, x->shape), .taken = th_tensor_count(ids)};
  t->from = th_keep_ids(out, ids, -1, t->rows);
  t->to = th_keep(out->tape, (size_t)t->rows * sizeof *t->to);
  if (!t->from || !t->to || !invert(out, t) || !th_make(out, ids->ndim + 1, shape)) return false;
  th_k_take_rows(th_tape_pool(out->tape), t->taken, width, x, t->from, false, &out->value);
  return true;
}

static void take_rows_backward(th_var *out) {
  const taken_rows *t = out->saved;
  bool first;
  const th_tensor *g = th_grad_first(out->in[0], &first);
  if (g)
    th_k_take_rows(th_tape_pool(out->tape), t->rows, g->shape[g->ndim - 1], &out->grad, t->to, !first, g);
}

const th_op th_op_take_rows = {"take_rows", take_rows_forward, take_rows_backward, false};

th_var *th_take_rows(th_var *x, const th_tensor *ids) {
  x = th_contiguous(x);
  return th_apply(&th_op_take_rows, 1, &x, ids, sizeof *ids);
}
