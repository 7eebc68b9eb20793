/* matmul and linear. */
#include "ops.h"

#include <string.h>

/* ---- y [..,M,N] = a [..,M,K] b [..,K,N] ---------------------------------------------------------------- */

/* x with the leading axes of `like`, repeated (stride 0) where x has them not. */
static th_tensor batched(const th_tensor *x, const th_tensor *like) {
  int64_t shape[TH_MAX_DIMS];
  memcpy(shape, like->shape, sizeof shape);
  shape[like->ndim - 2] = x->shape[x->ndim - 2];
  shape[like->ndim - 1] = x->shape[x->ndim - 1];
  th_tensor view = *x;
  th_view_broadcast(&view, x, like->ndim, shape);
  return view;
}

/* With one matrix b for all of a's rows, the batch is just more rows: one large product. False where the
 * rows do not lie as BLAS reads them (a batch that repeats one row). */
static bool flatten(const th_tensor *x, th_tensor *rows) {
  int64_t n = x->shape[x->ndim - 1];
  return th_view_reshape(rows, x, 2, (int64_t[]){n ? th_tensor_count(x) / n : 0, n}) && th_is_matrix(rows);
}

static void multiply(th_pool *pool, const th_tensor *a, const th_tensor *b, double beta, const th_tensor *c) {
  th_tensor flat_a, flat_c;
  if (b->ndim == 2 && flatten(a, &flat_a) && flatten(c, &flat_c)) {
    th_k_matmul(pool, 1, &flat_a, b, beta, &flat_c);
    return;
  }
  th_tensor full_a = batched(a, c), full_b = batched(b, c);
  th_k_matmul(pool, 1, &full_a, &full_b, beta, c);
}

static bool matmul_forward(th_var *out) {
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value;
  char ta[TH_SHAPE_TEXT], tb[TH_SHAPE_TEXT];
  if (a->ndim < 2 || b->ndim < 2)
    return th_fail(out, TH_ESHAPE, "%s x %s: both need at least two axes", th_shape_text(ta, a),
                   th_shape_text(tb, b));
  int64_t k = a->shape[a->ndim - 1], other = b->shape[b->ndim - 2];
  if (k != other)
    return th_fail(out, TH_ESHAPE, "%s x %s: inner sizes %lld and %lld differ", th_shape_text(ta, a),
                   th_shape_text(tb, b), (long long)k, (long long)other);
  th_tensor outer_a = *a, outer_b = *b;
  outer_a.ndim -= 2, outer_b.ndim -= 2;
  int ndim;
  int64_t shape[TH_MAX_DIMS + 2];
  if (!th_broadcast_shape(&outer_a, &outer_b, &ndim, shape))
    return th_fail(out, TH_ESHAPE, "%s x %s: leading sizes must be equal or 1", th_shape_text(ta, a),
                   th_shape_text(tb, b));
  shape[ndim] = a->shape[a->ndim - 2];
  shape[ndim + 1] = b->shape[b->ndim - 1];
  if (!th_make(out, ndim + 2, shape)) return false;
  if (k == 0) th_fill(&out->value, 0);
  multiply(th_tape_pool(out->tape), a, b, 0, &out->value);
  return true;
}

static th_tensor swapped(const th_tensor *x) {
  th_tensor view = *x;
  int i = x->ndim - 2, j = x->ndim - 1;
  view.shape[i] = x->shape[j], view.shape[j] = x->shape[i];
  view.stride[i] = x->stride[j], view.stride[j] = x->stride[i];
  return view;
}

static void matmul_backward(th_var *out) { /* ga += gy b'; gb += a' gy, summed over a broadcast batch */
  th_pool *pool = th_tape_pool(out->tape);
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value, *gy = &out->grad;
  const th_tensor *ga = th_grad(out->in[0]), *gb = th_grad(out->in[1]);
  th_tensor flat_a, flat_gy;
  if (ga) {
    th_tensor to = batched(ga, gy), bt = swapped(b);
    multiply(pool, gy, &bt, 1, &to);
  }
  if (!gb) return;
  if (b->ndim == 2 && flatten(a, &flat_a) && flatten(gy, &flat_gy)) {
    flat_a = swapped(&flat_a);
    th_k_matmul(pool, 1, &flat_a, &flat_gy, 1, gb);
    return;
  }
  th_tensor at = swapped(a), full_at = batched(&at, gy), to = batched(gb, gy);
  th_k_matmul(pool, 1, &full_at, gy, 1, &to);
}

const th_op th_op_matmul = {"matmul", matmul_forward, matmul_backward, false};

static th_var *as_matrix(th_var *x) {
  return x->value.ndim < 2 || th_is_matrix(&x->value) ? x : th_contiguous(x);
}

th_var *th_matmul(th_var *a, th_var *b) {
  return th_apply(&th_op_matmul, 2, (th_var *[]){as_matrix(a), as_matrix(b)}, NULL, 0);
}

/* ---- f(x [..,in] weight' + bias), weight [out,in], f none (TH_SCALE), relu or a gelu: [..,out] ------------ */

static bool linear(th_var *out, th_unary f) {
  const th_tensor *x = &out->in[0]->value, *w = &out->in[1]->value,
                  *b = out->inputs > 2 ? &out->in[2]->value : NULL;
  char tx[TH_SHAPE_TEXT], tw[TH_SHAPE_TEXT], tb[TH_SHAPE_TEXT];
  if (x->ndim < 1 || w->ndim != 2)
    return th_fail(out, TH_ESHAPE, "%s with weight %s: want [..,in] and [out,in]", th_shape_text(tx, x),
                   th_shape_text(tw, w));
  int last = x->ndim - 1;
  if (x->shape[last] != w->shape[1])
    return th_fail(out, TH_ESHAPE, "%s with weight %s: input sizes %lld and %lld differ",
                   th_shape_text(tx, x), th_shape_text(tw, w), (long long)x->shape[last],
                   (long long)w->shape[1]);
  if (b && (b->ndim != 1 || b->shape[0] != w->shape[0]))
    return th_fail(out, TH_ESHAPE, "bias %s with weight %s: want [%lld]", th_shape_text(tb, b),
                   th_shape_text(tw, w), (long long)w->shape[0]);
  int64_t shape[TH_MAX_DIMS];
  memcpy(shape, x->shape, sizeof shape);
  shape[last] = w->shape[0];
  if (!th_make(out, x->ndim, shape)) return false;
  th_tensor rows_x, rows_y, wt = swapped(w), slope;
  flatten(x, &rows_x), flatten(&out->value, &rows_y);
  bool keeps = th_is_gelu(f) && out->needs_grad;
  if (keeps && !th_keep_tensor(out->tape, &slope, rows_y.dtype, 2, rows_y.shape)) return false;
  if (keeps) out->saved = slope.data;
  th_k_linear(th_tape_pool(out->tape), &rows_x, &wt, b, f, keeps ? &slope : NULL, &rows_y);
  return true;
}

/* With gy the gradient before f, gx += gy w; gw += gy' x; gb += column sums of gy. */
static void linear_back(th_var *out, th_unary f) {
  th_linear_backward_job j = {.w = out->in[1]->value, .f = f};
  th_tensor *gx = th_grad_first(out->in[0], &j.first);
  flatten(&out->in[0]->value, &j.x), flatten(&out->grad, &j.gy);
  if (f != TH_SCALE) {
    flatten(&out->value, &j.slope), j.gout = j.gy;
    if (th_is_gelu(f)) j.slope.data = out->saved;
    if (!th_tape_releases(out->tape) && !th_keep_tensor(out->tape, &j.gy, j.gy.dtype, 2, j.gy.shape)) return;
  }
  if (gx && j.first && j.gy.shape[1] == 0) th_fill(gx, 0);
  if (gx) flatten(gx, &j.gx);
  j.gw = th_grad_or_none(out->in[1]);
  if (out->inputs > 2) j.gb = th_grad_or_none(out->in[2]);
  int64_t scratch[2];
  th_k_linear_backward_scratch(&j, scratch);
  if (th_keep_tensor(out->tape, &j.scratch, j.gy.dtype, 2, scratch))
    th_k_linear_backward(th_tape_pool(out->tape), &j);
}

static th_var *apply_linear(const th_op *op, th_var *x, th_var *weight, th_var *bias) {
  th_tensor rows;
  if (x->value.ndim > 0 && !flatten(&x->value, &rows)) x = th_contiguous(x);
  return th_apply(op, bias ? 3 : 2, (th_var *[]){x, as_matrix(weight), bias ? th_contiguous(bias) : bias},
                  NULL, 0);
}

/* Defines the op `name` and its function th_name. */
#define LINEAR(name, f) \
  static bool name##_forward(th_var *out) { return linear(out, f); } \
  static void name##_backward(th_var *out) { linear_back(out, f); } \
  const th_op th_op_##name = {#name, name##_forward, name##_backward, false}; \
  th_var *th_##name(th_var *x, th_var *weight, th_var *bias) { \
    return apply_linear(&th_op_##name, x, weight, bias); \
  }

LINEAR(linear, TH_SCALE)
LINEAR(linear_relu, TH_RELU)
LINEAR(linear_gelu_tanh, TH_GELU_TANH)
LINEAR(linear_gelu_erf, TH_GELU_ERF)

bool th_is_linear(const th_op *op) {
  return op == &th_op_linear || op == &th_op_linear_relu || op == &th_op_linear_gelu_tanh ||
         op == &th_op_linear_gelu_erf;
}
