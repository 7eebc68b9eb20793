/* Linear attention, and its weights built from small ops. */
#include "ops.h"

typedef struct {
  bool causal;
  const int32_t *key_length;
  const th_tensor *state;
} settings;

static bool check_shapes(th_var *out, const th_tensor *q, const th_tensor *k, const th_tensor *v) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT], c[TH_SHAPE_TEXT];
  const settings *s = out->settings;
  bool fits = q->ndim == 4 && k->ndim == 4 && v->ndim == 4 && q->shape[3] == k->shape[3] &&
              k->shape[2] == v->shape[2];
  for (int i = 0; fits && i < 2; i++) fits = q->shape[i] == k->shape[i] && k->shape[i] == v->shape[i];
  if (!fits)
    return th_fail(out, TH_ESHAPE, "q %s, k %s, v %s: want [B,H,Tq,D], [B,H,Tk,D], [B,H,Tk,V]",
                   th_shape_text(a, q), th_shape_text(b, k), th_shape_text(c, v));
  if (s->causal && q->shape[2] != k->shape[2])
    return th_fail(out, TH_ESHAPE, "q %s, k %s: causal, it wants as many queries as keys",
                   th_shape_text(a, q), th_shape_text(b, k));
  int64_t wanted[] = {q->shape[0], q->shape[1], q->shape[3], v->shape[3] + 1};
  th_tensor like = th_tensor_of(NULL, q->dtype, 4, wanted);
  if (!s->state) return true;
  if (th_tape_recording(out->tape))
    return th_fail(out, TH_EINVAL, "a state has no gradient: want a tape that does not record");
  if (s->state->dtype != q->dtype || !th_tensor_same_shape(s->state, &like) ||
      !th_tensor_is_contiguous(s->state))
    return th_fail(out, TH_ESHAPE, "state %s of %s: want %s of %s, contiguous", th_shape_text(a, s->state),
                   th_dtype_name(s->state->dtype), th_shape_text(b, &like), th_dtype_name(q->dtype));
  return true;
}

static bool keep_scratch(th_tape *tape, th_linear_job *j) {
  const int64_t *q = j->q.shape, *v = j->v.shape;
  int64_t state[] = {q[0], q[1], q[3], v[3] + 1},
          squares[] = {q[0], 2 * q[1], TH_LINEAR_CHUNK, TH_LINEAR_CHUNK};
  return (j->state.data || th_keep_tensor(tape, &j->state, j->q.dtype, 4, state)) &&
         th_keep_tensor(tape, &j->extended, j->q.dtype, 4, (int64_t[]){v[0], v[1], v[2], v[3] + 1}) &&
         th_keep_tensor(tape, &j->sums, j->q.dtype, 4, (int64_t[]){q[0], q[1], q[2], v[3] + 1}) &&
         (!j->causal || th_keep_tensor(tape, &j->squares, j->q.dtype, 4, squares));
}

/* f(q), f(k) and v to [B,Tq,H,V], with the heads side by side, as the output projection reads them. */
static bool linear_attention_forward(th_var *out) {
  const settings *s = out->settings;
  th_linear_job *j = out->saved = th_keep(out->tape, sizeof *j);
  if (!j) return false;
  *j = (th_linear_job){.q = out->in[0]->value,
                       .k = out->in[1]->value,
                       .v = out->in[2]->value,
                       .causal = s->causal,
                       .key_length = s->key_length};
  if (!check_shapes(out, &j->q, &j->k, &j->v)) return false;
  if (s->state) j->state = *s->state, j->keep_state = true;
  int64_t shape[] = {j->q.shape[0], j->q.shape[2], j->q.shape[1], j->v.shape[3]};
  if (!th_make(out, 4, shape) || !keep_scratch(out->tape, j)) return false;
  th_view_permute(&j->out, &out->value, (int[]){0, 2, 1, 3});
  th_k_linear_attention(th_tape_pool(out->tape), j);
  j->key_length = NULL; /* the caller's; padding's values are 0 by now */
  return true;
}

static void linear_attention_backward(th_var *out) {
  th_linear_job *j = out->saved;
  th_view_permute(&j->gout, &out->grad, (int[]){0, 2, 1, 3});
  j->gq = th_grad_or_none(out->in[0]), j->gk = th_grad_or_none(out->in[1]),
  j->gv = th_grad_or_none(out->in[2]);
  if (!th_keep_tensor(out->tape, &j->gsums, j->q.dtype, 4, j->sums.shape)) return;
  if (j->gv.data && !th_keep_tensor(out->tape, &j->gextended, j->q.dtype, 4, j->extended.shape)) return;
  th_k_linear_attention_backward(th_tape_pool(out->tape), j);
}

const th_op th_op_linear_attention = {"linear_attention", linear_attention_forward, linear_attention_backward,
                                      false};

th_var *th_linear_attention(th_var *q, th_var *k, th_var *v, const th_linear_attention_options *options) {
  settings s = {0};
  if (options) s = (settings){options->causal, options->key_length, options->state};
  th_var *in[] = {th_elu_plus_one(q), th_elu_plus_one(k), th_as_heads(v)};
  th_var *out = th_apply(&th_op_linear_attention, 3, in, &s, sizeof s);
  return th_tape_error(out->tape) ? out : th_permute(out, (int[]){0, 2, 1, 3});
}

/* The softmax of logarithms divides by their sum, and knows what is hidden. */
th_var *th_linear_attention_weights(th_var *q, th_var *k, const th_mask *mask) {
  return th_softmax(th_log(th_matmul(th_elu_plus_one(q), th_transpose(th_elu_plus_one(k)))), mask);
}
