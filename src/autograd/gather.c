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
