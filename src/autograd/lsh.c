/* LSH attention, and what it can be built of. */
#include "ops.h"

#include <math.h>

#define TASKS_MAX 16         /* pieces of the work, each with scratch of its own */
#define LENGTH_EPSILON 1e-12 /* under the root of a length: far below what counts, and no division by 0 */

th_var *th_unit_length(th_var *x) {
  th_tensor epsilon;
  if (th_tape_error(x->tape) || !th_keep_tensor(x->tape, &epsilon, x->value.dtype, 0, NULL)) return x;
  th_tensor_set(&epsilon, 0, LENGTH_EPSILON);
  th_var *squares = th_sum(th_mul(x, x), 1u << (x->value.ndim - 1), true);
  return th_div(x, th_sqrt(th_add(squares, th_constant(x->tape, &epsilon))));
}

static bool check_shapes(th_var *out, const th_tensor *q, const th_tensor *v, const th_lsh_options *o) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  bool fits = q->ndim == 4 && v->ndim == 4;
  for (int i = 0; fits && i < 3; i++) fits = q->shape[i] == v->shape[i];
  if (!fits)
    return th_fail(out, TH_ESHAPE, "qk %s, v %s: want [B,H,T,D], [B,H,T,V]", th_shape_text(a, q),
                   th_shape_text(b, v));
  if (o->rounds < 1 || o->rounds > TH_LSH_ROUNDS_MAX || o->chunk < 1)
    return th_fail(out, TH_EINVAL, "%lld rounds, chunks of %lld: want 1 to %d rounds, chunks of 1 or more",
                   (long long)o->rounds, (long long)o->chunk, TH_LSH_ROUNDS_MAX);
  if (o->buckets != 1 && (o->buckets < 2 || o->buckets % 2 || o->buckets > TH_LSH_BUCKETS_MAX))
    return th_fail(out, TH_EINVAL, "%lld buckets: want an even number, at most %d, or 1 for no hashing",
                   (long long)o->buckets, TH_LSH_BUCKETS_MAX);
  return true;
}

static bool keep_rounds(th_tape *tape, th_lsh_job *j) {
  const int64_t *s = j->q.shape;
  int64_t tokens = s[0] * s[1] * j->rounds * s[2], rotations[] = {s[1], j->rounds, j->buckets / 2, s[3]};
  j->slot = th_keep(tape, (size_t)tokens * sizeof *j->slot);
  j->order = th_keep(tape, (size_t)tokens * sizeof *j->order);
  return j->slot && j->order &&
         (j->buckets == 1 || th_keep_tensor(tape, &j->rotations, j->q.dtype, 4, rotations));
}

static bool keep_scratch(th_tape *tape, th_lsh_job *j, bool backward) {
  const int64_t *s = j->q.shape;
  int64_t tasks = s[0] * s[1] < TASKS_MAX ? s[0] * s[1] : TASKS_MAX;
  int64_t each = th_lsh_scratch(s[2], j->chunk, j->buckets, s[3], j->v.shape[3], backward);
  return th_keep_tensor(tape, &j->scratch, j->q.dtype, 2, (int64_t[]){tasks, each});
}

/* All but the result: the rounds are hashed and sorted. v may be q, where only what is seen is wanted. */
static bool prepare(th_var *out, th_lsh_job *j, const th_tensor *q, const th_tensor *k, const th_tensor *v,
                    const th_lsh_options *o) {
  th_tape *tape = out->tape;
  if (!check_shapes(out, q, v, o)) return false;
  *j = (th_lsh_job){.q = *q,
                    .k = *k,
                    .v = *v,
                    .rounds = o->rounds,
                    .buckets = o->buckets,
                    .chunk = o->chunk,
                    .head_number = o->head_number,
                    .causal = o->causal,
                    .length = o->length,
                    .scale = o->scale != 0 ? o->scale : 1 / sqrt((double)(q->shape[3] ? q->shape[3] : 1)),
                    .random = o->random};
  int64_t batch = q->shape[0];
  int32_t *length = o->length ? th_keep(tape, (size_t)batch * sizeof *length) : NULL;
  for (int64_t b = 0; length && b < batch; b++) length[b] = o->length[b];
  j->length = length; /* a copy: backward needs them, too */
  if ((o->length && !length) || !keep_rounds(tape, j) || !keep_scratch(tape, j, false)) return false;
  th_k_lsh_hash(th_tape_pool(tape), j);
  return true;
}

/* q, k and v to [B,T,H,V], with the heads side by side, as the output projection reads them. */
static bool lsh_attention_forward(th_var *out) {
  th_lsh_job *j = out->saved = th_keep(out->tape, sizeof *j);
  if (!j || !prepare(out, j, &out->in[0]->value, &out->in[1]->value, &out->in[2]->value, out->settings))
    return false;
  const int64_t *s = j->v.shape;
  if (!th_make(out, 4, (int64_t[]){s[0], s[2], s[1], s[3]}) ||
      !th_keep_tensor(out->tape, &j->top, j->q.dtype, 3, s) ||
      !th_keep_tensor(out->tape, &j->mass, j->q.dtype, 3, s))
    return false;
  th_view_permute(&j->out, &out->value, (int[]){0, 2, 1, 3});
  th_k_lsh_attention(th_tape_pool(out->tape), j);
  return true;
}

static void lsh_attention_backward(th_var *out) {
  th_lsh_job *j = out->saved;
  th_view_permute(&j->gout, &out->grad, (int[]){0, 2, 1, 3});
  j->gq = th_grad_or_none(out->in[0]), j->gk = th_grad_or_none(out->in[1]),
  j->gv = th_grad_or_none(out->in[2]);
  if (th_keep_tensor(out->tape, &j->along, j->q.dtype, 3, j->q.shape) && keep_scratch(out->tape, j, true))
    th_k_lsh_attention_backward(th_tape_pool(out->tape), j);
}

const th_op th_op_lsh_attention = {"lsh_attention", lsh_attention_forward, lsh_attention_backward, false};

th_var *th_lsh_attention(th_var *qk, th_var *v, const th_lsh_options *options) {
  th_var *in[] = {th_as_heads(qk), th_unit_length(qk), th_as_heads(v)};
  th_var *out = th_apply(&th_op_lsh_attention, 3, in, options, sizeof *options);
  return th_tape_error(out->tape) ? out : th_permute(out, (int[]){0, 2, 1, 3});
}

bool th_lsh_visible(th_var *qk, const th_lsh_options *options, th_tensor *visible) {
  th_lsh_job j;
  const int64_t *s = qk->value.shape;
  th_var *key = th_unit_length(qk), named = {.tape = qk->tape, .op = &th_op_lsh_attention};
  *visible = (th_tensor){0};
  if (th_tape_error(qk->tape) || !prepare(&named, &j, &key->value, &key->value, &key->value, options) ||
      !th_keep_tensor(qk->tape, visible, TH_U8, 4, (int64_t[]){s[0], s[1], s[2], s[2]}))
    return false;
  th_k_lsh_visible(&j, visible->data);
  return true;
}
