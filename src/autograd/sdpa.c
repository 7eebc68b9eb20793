/* Scaled dot-product attention: the fused op, and the weights built from small ops. */
#include "ops.h"

#include <math.h>

typedef struct {
  th_mask mask;
  double scale, dropout;
  th_attention_way way;
} sdpa_settings;

#define TILES_FROM \
  (512 * 512) /* scores of a head: from here on tiles are faster, too, forward and backward together */
#define MADE_AGAIN_FROM \
  (1 << 18) /* weights of all heads, if by key: to keep so many takes as long as to make them again */
#define TASKS_MAX 16 /* pieces of the work, each with scratch of its own */

static bool divides(int64_t few, int64_t many) { return few == many || (few > 0 && many % few == 0); }

/* Scores' shape [B,H,Tq,Tk], or false after th_fail. */
static bool check_shapes(th_var *out, const th_tensor *q, const th_tensor *k, const th_tensor *v,
                         int64_t scores[4]) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT], c[TH_SHAPE_TEXT];
  bool fits = q->ndim == 4 && k->ndim == 4 && v->ndim == 4 && q->shape[3] == k->shape[3] &&
              k->shape[2] == v->shape[2] && q->shape[0] == k->shape[0] && q->shape[0] == v->shape[0];
  if (!fits)
    return th_fail(out, TH_ESHAPE, "q %s, k %s, v %s: want [B,H,Tq,D], [B,H,Tk,D], [B,H,Tk,V]",
                   th_shape_text(a, q), th_shape_text(b, k), th_shape_text(c, v));
  if (!divides(k->shape[1], q->shape[1]) || !divides(v->shape[1], q->shape[1]))
    return th_fail(out, TH_ESHAPE,
                   "q %s, k %s, v %s: the heads of keys and of values must divide those of queries",
                   th_shape_text(a, q), th_shape_text(b, k), th_shape_text(c, v));
  scores[0] = q->shape[0], scores[1] = q->shape[1], scores[2] = q->shape[2], scores[3] = k->shape[2];
  return true;
}

static bool uses_tiles(const th_var *out, const int64_t *scores) {
  const sdpa_settings *s = out->settings;
  return s->way == TH_ATTEND_TILES || (s->way == TH_ATTEND_AUTO && scores[2] * scores[3] >= TILES_FROM);
}

const int32_t *th_keep_lengths(th_tape *tape, const int32_t *length, int64_t batch, int64_t most) {
  int32_t *kept = length ? th_keep(tape, (size_t)batch * sizeof *kept) : NULL;
  for (int64_t b = 0; kept && b < batch; b++)
    kept[b] = length[b] < 0 ? 0 : length[b] < most ? length[b] : (int32_t)most;
  return kept;
}

/* Masks and lengths are the caller's: what tiles need of them in backward is copied. */
static bool keep_mask(th_tape *tape, th_mask *mask, const int64_t *scores) {
  mask->key_length = th_keep_lengths(tape, mask->key_length, scores[0], scores[3]);
  mask->query_length = th_keep_lengths(tape, mask->query_length, scores[0], scores[2]);
  if (th_tape_error(tape)) return false;
  if (!mask->allowed) return true;
  th_tensor *copy = th_keep(tape, sizeof *copy);
  if (!copy || !th_keep_tensor(tape, copy, TH_U8, mask->allowed->ndim, mask->allowed->shape)) return false;
  th_tensor_copy(copy, mask->allowed, NULL);
  mask->allowed = copy;
  return true;
}

static bool keep_scratch(th_tape *tape, th_attention_job *job, int64_t pieces) {
  int64_t tasks = pieces < TASKS_MAX ? pieces : TASKS_MAX;
  return th_keep_tensor(tape, &job->scratch, job->q.dtype, 2, (int64_t[]){tasks, th_attention_scratch()});
}

static bool fill_tiles(th_var *out, th_attention_job *job) {
  const sdpa_settings *s = out->settings;
  const int64_t *shape = job->weights.shape;
  if (s->dropout > 0 && th_tape_training(out->tape)) {
    job->random = th_tape_draw(out->tape);
    job->threshold = th_keep_threshold(s->dropout);
    job->before = th_tape_before(out->tape, th_tensor_count(&job->weights));
  }
  return th_keep_tensor(out->tape, &job->lse, job->q.dtype, 3, shape) &&
         keep_mask(out->tape, &job->mask, shape) &&
         keep_scratch(out->tape, job, shape[0] * shape[1] * ((shape[2] + 63) / 64));
}

static bool fill_whole(th_var *out, th_attention_job *job) {
  const sdpa_settings *s = out->settings;
  th_tape *tape = out->tape;
  if (!job->bias.data) { /* whose gradient wants them all */
    job->row_length =
        th_keep_lengths(tape, s->mask.query_length, job->weights.shape[0], job->weights.shape[2]);
    job->column_length =
        th_keep_lengths(tape, s->mask.key_length, job->weights.shape[0], job->weights.shape[3]);
    if (th_tape_error(tape)) return false;
  }
  job->by_key = th_attention_by_key(job);
  bool keeps = !job->by_key || th_tensor_count(&job->weights) < MADE_AGAIN_FROM;
  if (keeps && !th_keep_tensor(tape, &job->weights, job->q.dtype, 4, job->weights.shape)) return false;
  if (s->dropout == 0 || !th_tape_training(tape)) return true;
  job->keep = th_keep_mask(tape, s->dropout, th_tensor_count(&job->weights));
  return job->keep && (!keeps || th_keep_tensor(tape, &job->dropped, job->q.dtype, 4, job->weights.shape));
}

static bool fill_job(th_var *out, th_attention_job *job) {
  const sdpa_settings *s = out->settings;
  int64_t shape[4] = {0};
  *job = (th_attention_job){.q = out->in[0]->value,
                            .k = out->in[1]->value,
                            .v = out->in[2]->value,
                            .scale = s->scale,
                            .mask = s->mask};
  if (!check_shapes(out, &job->q, &job->k, &job->v, shape)) return false;
  job->weights = th_tensor_of(NULL, job->q.dtype, 4, shape);
  if (!th_mask_fits(out, &job->mask, &job->weights)) return false;
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  if (out->inputs > 3 && !th_view_broadcast(&job->bias, &out->in[3]->value, 4, shape))
    return th_fail(out, TH_ESHAPE, "bias %s does not broadcast to the scores %s",
                   th_shape_text(a, &out->in[3]->value), th_shape_text(b, &job->weights));
  if (!(s->dropout >= 0 && s->dropout < 1) && th_tape_training(out->tape))
    return th_fail(out, TH_EINVAL, "dropout %g is not in [0, 1)", s->dropout);
  job->keep_scale = 1 / (1 - s->dropout);
  return uses_tiles(out, shape) ? fill_tiles(out, job) : fill_whole(out, job);
}

/* q, k, v (and bias) to [B,Tq,H,V]: with the heads side by side, as the output projection reads them. */
static bool attention_forward(th_var *out) {
  th_attention_job *job = out->saved = th_keep(out->tape, sizeof *job);
  th_pool *pool = th_tape_pool(out->tape);
  th_tensor *allowed = th_keep(out->tape, sizeof *allowed);
  if (!job || !allowed || !fill_job(out, job)) return false;
  int64_t shape[] = {job->q.shape[0], job->q.shape[2], job->q.shape[1], job->v.shape[3]};
  if (!th_make(out, 4, shape)) return false;
  th_view_permute(&job->out, &out->value, (int[]){0, 2, 1, 3});
  if (job->mask.allowed && th_view_broadcast(allowed, job->mask.allowed, 4, job->weights.shape))
    job->mask.allowed = allowed;
  if (job->lse.data) {
    th_k_attention_tiles(pool, job);
    return true;
  }
  th_k_attention(pool, job);
  /* the rest is the caller's, and not needed again: in weights that are kept what is hidden has weight 0 */
  job->mask = (th_mask){.causal = job->mask.causal, .window = job->mask.window};
  return true;
}

static void tiles_backward(th_var *out, th_attention_job *job) {
  const int64_t *shape = job->weights.shape;
  if (th_keep_tensor(out->tape, &job->along, job->q.dtype, 3, shape) && shape[0] * shape[1] > 0 &&
      keep_scratch(out->tape, job, shape[0] * shape[1] / th_heads_together(job)))
    th_k_attention_tiles_backward(th_tape_pool(out->tape), job);
}

/* The columns of its base, seen as rows of the last axis, that x [B,H,T,D] is, heads side by side; none, where it is no such view. */
static bool columns_of(const th_var *x, int64_t *begin, int64_t *end) {
  const th_tensor *v = &x->value, *of = &x->base->value;
  int64_t n = of->shape[2]; /* where it has three axes */
  if (of->ndim != 3 || v->shape[0] != of->shape[0] || v->shape[2] != of->shape[1] ||
      !th_tensor_is_contiguous(of))
    return false;
  *begin = ((char *)v->data - (char *)of->data) / (int64_t)th_dtype_size(v->dtype);
  *end = *begin + v->shape[1] * v->shape[3];
  return *end <= n && (v->shape[3] == 1 || v->stride[3] == 1) &&
         (v->shape[1] == 1 || v->stride[1] == v->shape[3]) && (v->shape[2] == 1 || v->stride[2] == n) &&
         (v->shape[0] == 1 || v->stride[0] == n * v->shape[2]);
}

/* Whether inputs from..to are views of one var that together have each of its elements once, in this order. */
static bool have_all(th_var *const *in, int from, int to) {
  int64_t at = 0, begin = 0, end = 0;
  for (int i = from; i < to; i++, at = end)
    if (!in[i]->base || in[i]->base != in[from]->base || !columns_of(in[i], &begin, &end) || begin != at)
      return false;
  const th_tensor *whole = &in[from]->base->value;
  return at == whole->shape[whole->ndim - 1];
}

/* From which input on all are one var, being all of it; 3: none are. */
static int together_from(th_var *const *in) {
  if (have_all(in, 0, 3)) return 0;
  return have_all(in, 1, 3) ? 1 : 3;
}

/* Whether each of the inputs before `to` has memory of its own. */
static bool are_apart(th_var *const *in, int to) {
  for (int i = 0; i < to; i++)
    for (int j = i + 1; j < 3; j++)
      if ((in[i]->base ? in[i]->base : in[i]) == (in[j]->base ? in[j]->base : in[j])) return false;
  return true;
}

/* Gradients of q, k and v, and which of them are written, not cleared and added to: also where one product made several of them,
 * so that they are views of one var. */
static void take_gradients(th_var *out, th_attention_job *job) {
  th_tensor *to[] = {&job->gq, &job->gk, &job->gv};
  bool *first[] = {&job->first_q, &job->first_k, &job->first_v}, whole = false;
  int64_t heads = job->q.shape[1];
  int from = together_from(out->in);
  bool write =
      !job->lse.data && job->k.shape[1] == heads && job->v.shape[1] == heads && are_apart(out->in, from);
  if (write && from < 3) th_grad_first(out->in[from]->base, &whole);
  for (int i = 0; i < 3; i++) {
    const th_tensor *g = write ? th_grad_first(out->in[i], first[i]) : th_grad(out->in[i]);
    if (g) *to[i] = *g;
    *first[i] = *first[i] || (whole && i >= from);
  }
}

static void attention_backward(th_var *out) {
  th_attention_job *job = out->saved;
  th_view_permute(&job->gout, &out->grad, (int[]){0, 2, 1, 3});
  take_gradients(out, job);
  const th_tensor *gbias = out->inputs > 3 ? th_grad(out->in[3]) : NULL;
  if (job->lse.data) {
    if (gbias) th_view_broadcast(&job->gbias, gbias, 4, job->weights.shape);
    tiles_backward(out, job);
    return;
  }
  if (!job->by_key && !th_keep_tensor(out->tape, &job->gscores, job->q.dtype, 4, job->weights.shape)) return;
  th_k_attention_backward(th_tape_pool(out->tape), job);
  if (gbias) th_k_axpy(th_tape_pool(out->tape), 1, &job->gscores, gbias);
}

const th_op th_op_attention = {"attention", attention_forward, attention_backward, false};

th_var *th_as_heads(th_var *x) {
  const th_tensor *v = &x->value;
  bool fits = v->ndim != 4 || (v->stride[3] == 1 && (v->shape[2] == 1 || v->stride[2] >= v->shape[3]));
  for (int i = 0; fits && v->ndim == 4 && i < 2; i++) fits = v->shape[i] == 1 || v->stride[i] > 0;
  return fits ? x : th_contiguous(x);
}

static double scale_of(const th_var *q, const th_attention_options *options) {
  int64_t depth = q->value.ndim ? q->value.shape[q->value.ndim - 1] : 1;
  return options->scale != 0 ? options->scale : 1 / sqrt((double)(depth ? depth : 1));
}

th_var *th_attention(th_var *q, th_var *k, th_var *v, const th_attention_options *options) {
  th_attention_options none = {0};
  if (!options) options = &none;
  sdpa_settings s = {options->mask, scale_of(q, options), options->dropout, options->way};
  th_var *in[] = {th_as_heads(q), th_as_heads(k), th_as_heads(v), options->bias};
  th_var *out = th_apply(&th_op_attention, options->bias ? 4 : 3, in, &s, sizeof s);
  return th_tape_error(out->tape) ? out : th_permute(out, (int[]){0, 2, 1, 3});
}

th_var *th_repeat_heads(th_var *x, int64_t heads) {
  const int64_t *s = x->value.shape;
  if (th_tape_error(x->tape) || x->value.ndim != 4 || s[1] == heads || !divides(s[1], heads)) return x;
  th_var *apart = th_reshape(x, 5, (int64_t[]){s[0], s[1], 1, s[2], s[3]});
  th_var *repeated = th_broadcast(apart, 5, (int64_t[]){s[0], s[1], heads / s[1], s[2], s[3]});
  return th_reshape(repeated, 4, (int64_t[]){s[0], heads, s[2], s[3]});
}

th_var *th_attention_weights(th_var *q, th_var *k, const th_attention_options *options) {
  th_attention_options none = {0};
  if (!options) options = &none;
  if (q->value.ndim == 4) k = th_repeat_heads(k, q->value.shape[1]);
  th_var *scores = th_scale(th_matmul(q, th_transpose(k)), scale_of(q, options));
  if (options->bias) scores = th_add(scores, options->bias);
  return th_softmax(scores, &options->mask);
}
