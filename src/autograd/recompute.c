/* Parts of a graph of which nothing is kept: they are computed again, on a tape of their own, when their gradients are
 * wanted; and sums that go in the memory of one of their terms, from which backward takes the other off again. */
#include "ops.h"

#include <string.h>

typedef struct {
  th_branch *branch;
  const void *context;
} settings;

static th_var *as_leaf(th_tape *inner, th_var *x, bool backward) {
  const th_tensor *g = backward ? th_grad(x) : NULL;
  return g ? th_leaf(inner, &x->value, g) : th_constant(inner, &x->value);
}

/* What the branch makes of the inputs from `first` on, on the inner tape, which draws as it did in forward. NULL after
 * th_fail. */
static th_var *run(th_var *out, int first, uint64_t draws, bool backward) {
  const settings *s = out->settings;
  th_tape *inner = th_tape_inner(out->tape, draws, backward);
  th_var *in[1 + TH_BRANCH_MORE] = {0};
  if (!inner) return th_fail(out, TH_ENOMEM, "no memory for a tape"), NULL;
  for (int i = first; i < out->inputs; i++) in[i - first] = as_leaf(inner, out->in[i], backward);
  th_var *made = s->branch(in[0], in + 1, s->context);
  return th_tape_error(inner) ? (th_fail_as(out, inner), NULL) : made;
}

/* Forward's run: the outer tape goes on drawing where the inner one has come to. */
static th_var *run_forward(th_var *out, int first) {
  uint64_t *draws = out->saved = th_keep(out->tape, sizeof *draws);
  if (!draws) return NULL;
  *draws = th_tape_draws(out->tape);
  out->needs_grad = th_tape_recording(out->tape);
  th_var *made = run(out, first, *draws, false);
  if (made) th_tape_draws_from(out->tape, th_tape_draws(made->tape));
  return made;
}

/* The gradient of `made` is out's: what it is made of gets its part. Of constants alone there is nothing to give. */
static void run_backward(th_var *out, th_var *made) {
  if (made->needs_grad && th_backward(made, th_grad(out))) th_fail_as(out, made->tape);
}

static th_var *apply(const th_op *op, int first, th_var *const *x, int more, th_var *const *others,
                     th_branch *branch, const void *context, size_t bytes) {
  th_var *in[2 + TH_BRANCH_MORE];
  if (more < 0 || more > TH_BRANCH_MORE) {
    th_tape_fail(x[0]->tape, TH_EINVAL, op->name, "more inputs than a branch can take");
    more = 0;
  }
  int inputs = first + 1 + more;
  void *copy = th_keep(x[0]->tape, bytes);
  settings s = {branch, copy};
  for (int i = 0; i < inputs; i++) in[i] = i <= first ? x[i] : th_contiguous(others[i - first - 1]);
  if (copy && bytes) memcpy(copy, context, bytes);
  return th_apply(op, inputs, in, &s, sizeof s);
}

/* ---- computed again ------------------------------------------------------------------------------------------- */

static bool recompute_forward(th_var *out) {
  th_var *made = run_forward(out, 0);
  if (!made || !th_make_like(out, &made->value)) return false;
  th_k_copy(th_tape_pool(out->tape), &made->value, &out->value);
  return true;
}

static void recompute_backward(th_var *out) {
  th_var *made = run(out, 0, *(uint64_t *)out->saved, true);
  if (made) run_backward(out, made);
}

const th_op th_op_recompute = {"recompute", recompute_forward, recompute_backward, true};

th_var *th_recompute(th_var *x, int more, th_var *const *others, th_branch *branch, const void *context,
                     size_t bytes) {
  th_var *dense = th_contiguous(x);
  return apply(&th_op_recompute, 0, &dense, more, others, branch, context, bytes);
}

/* ---- reversible sums (Gomez et al. 2017, section 3.1) ----------------------------------------------------------- */

static bool reversible_forward(th_var *out) { /* a becomes a + f(b) */
  th_var *a = out->in[0];
  char ta[TH_SHAPE_TEXT], tf[TH_SHAPE_TEXT];
  if (a->op != &th_op_stream && a->op != &th_op_reversible)
    return th_fail(out, TH_EINVAL, "what is written over is no stream: want th_stream's result");
  if (a == out->in[1]) return th_fail(out, TH_EINVAL, "a stream is added to itself: want two");
  th_var *made = run_forward(out, 1);
  if (!made) return false;
  if (!th_tensor_same_shape(&a->value, &made->value))
    return th_fail(out, TH_ESHAPE, "a stream %s and what is added %s: want one shape",
                   th_shape_text(ta, &a->value), th_shape_text(tf, &made->value));
  th_k_axpy(th_tape_pool(out->tape), 1, &made->value, &a->value);
  return th_make_view(out, a, &a->value);
}

static void
reversible_backward(th_var *out) { /* a is itself again, and shares its gradient; b gets that of f */
  th_var *made = run(out, 1, *(uint64_t *)out->saved, true);
  if (!made) return;
  th_k_axpy(th_tape_pool(out->tape), -1, &made->value, &out->value);
  run_backward(out, made);
}

const th_op th_op_reversible = {"reversible", reversible_forward, reversible_backward, true};

th_var *th_reversible(th_var *a, th_var *b, int more, th_var *const *others, th_branch *branch,
                      const void *context, size_t bytes) {
  return apply(&th_op_reversible, 1, (th_var *[]){a, b}, more, others, branch, context, bytes);
}

/* A copy, which the sums may overwrite; of parameters they want gradients even where x wants none. */
static bool stream_forward(th_var *out) {
  out->needs_grad = th_tape_recording(out->tape);
  if (!th_make_like(out, &out->in[0]->value)) return false;
  th_k_copy(th_tape_pool(out->tape), &out->in[0]->value, &out->value);
  return true;
}

static void stream_backward(th_var *out) {
  const th_tensor *g = th_grad(out->in[0]);
  if (g) th_k_axpy(th_tape_pool(out->tape), 1, &out->grad, g);
}

const th_op th_op_stream = {"stream", stream_forward, stream_backward, true};

th_var *th_stream(th_var *x) { return th_apply(&th_op_stream, 1, &x, NULL, 0); }

/* ---- the end of two streams ---------------------------------------------------------------------------------------- */

static bool streams_end_forward(th_var *out) { /* (a + b) / 2; what they were is kept, for another backward */
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value;
  th_pool *pool = th_tape_pool(out->tape);
  char ta[TH_SHAPE_TEXT], tb[TH_SHAPE_TEXT];
  if (!th_tensor_same_shape(a, b))
    return th_fail(out, TH_ESHAPE, "streams %s and %s: want one shape", th_shape_text(ta, a),
                   th_shape_text(tb, b));
  if (!th_make_like(out, a)) return false;
  th_fill(&out->value, 0);
  th_k_axpy(pool, 0.5, a, &out->value);
  th_k_axpy(pool, 0.5, b, &out->value);
  if (!th_tape_recording(out->tape)) return true;
  th_tensor *kept = out->saved = th_keep(out->tape, 2 * sizeof *kept);
  for (int i = 0; i < 2; i++) {
    const th_tensor *stream = &out->in[i]->value;
    if (!kept || !th_keep_tensor(out->tape, &kept[i], stream->dtype, stream->ndim, stream->shape))
      return false;
    th_k_copy(pool, stream, &kept[i]);
  }
  return true;
}

static void streams_end_backward(th_var *out) {
  th_pool *pool = th_tape_pool(out->tape);
  for (int i = 0; i < 2; i++) {
    const th_tensor *g = th_grad(out->in[i]);
    th_k_copy(pool, &((const th_tensor *)out->saved)[i], &out->in[i]->value);
    if (g) th_k_axpy(pool, 0.5, &out->grad, g);
  }
}

const th_op th_op_streams_end = {"streams_end", streams_end_forward, streams_end_backward, true};

th_var *th_streams_end(th_var *a, th_var *b) {
  return th_apply(&th_op_streams_end, 2, (th_var *[]){a, b}, NULL, 0);
}
