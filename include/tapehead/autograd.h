/* The tape: ops that compute forward and remember how to go backward (reverse-mode differentiation).
 *
 *     th_tape *tape = th_tape_new(NULL);
 *     th_var *y = th_relu(th_linear(th_constant(tape, &x), th_leaf(tape, &w, &gw), NULL));
 *     th_backward(th_mean(y, TH_ALL_AXES, false), NULL);      // gw += d mean / d w
 *     if (th_tape_error(tape)) puts(th_tape_error(tape)->text);
 *     th_tape_reset(tape);                                    // every var is gone, the memory stays
 *
 * Ops always return a var, so that expressions nest. The first failure is kept on the tape with the
 * op, the shapes and the line where the op was called (inside a layer: the layer's); later ops on that tape
 * do nothing. */
#ifndef TAPEHEAD_AUTOGRAD_H
#define TAPEHEAD_AUTOGRAD_H

#include "tapehead/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct th_tape th_tape;
typedef struct th_var th_var;
typedef struct th_op th_op;
typedef struct th_profile th_profile;

/* A tensor on a tape. It and all its memory belong to the tape, until th_tape_reset. */
struct th_var {
  th_tensor value; /* contiguous, unless it is a view or a constant that is not */
  th_tensor grad;  /* same shape; of a leaf from the start, else data is NULL until th_backward reaches it */
  th_tape *tape;
  const th_op *op; /* what made it; NULL for a leaf */
  int inputs;
  th_var **in;
  const void *settings; /* the op's own numbers (a scale, an axis), copied */
  void *saved;          /* what forward keeps for backward */
  th_var *base;         /* a view shares the memory, and so the gradient, of this var */
  bool needs_grad;
  bool spent;       /* see th_spent */
  const char *file; /* where the op was called */
  int line;
  th_var *previous; /* recorded before this one */
  struct th_kept
      *kept; /* what forward took of the tape's memory, to be released; NULL: nothing, or nobody asked */
};

/* ---- the tape ---------------------------------------------------------------------------------- */

/* `pool` is borrowed and may be NULL. Returns NULL when there is no memory. OpenBLAS, which keeps
 * one thread count for the whole process, is set to one thread: the pool's threads share the work. */
th_tape *th_tape_new(th_pool *pool);
void th_tape_free(th_tape *tape);  /* NULL is fine */
void th_tape_reset(th_tape *tape); /* gives back every var and forgets the error; keeps the settings */
/* For a loop that computes from what stands before it, such as decoding token by token: rewinding gives
 * back every var made since the mark. One mark at a time; a reset removes it. */
void th_tape_mark(th_tape *tape);
void th_tape_rewind(th_tape *tape);

const th_error *th_tape_error(const th_tape *tape); /* the first failure since the last reset, or NULL */
th_pool *th_tape_pool(const th_tape *tape);
/* Memory used since the last reset; with th_recompute and th_reversible, the most that one branch took comes to it. */
size_t th_tape_bytes(const th_tape *tape);

void th_tape_record(th_tape *tape, bool on); /* off: compute only, nothing needs a gradient. Starts on */
bool th_tape_recording(const th_tape *tape);
void th_tape_train(th_tape *tape, bool on); /* off: dropout passes everything. Starts off */
bool th_tape_training(const th_tape *tape);
/* On: th_backward gives memory back as soon as it has passed a var: its value, what forward kept, its gradient; gradients of
 * earlier ones take their place. A step then needs half the memory or less. What is left afterwards are leaves and their
 * gradients, and values and gradients below TH_ARENA_PIECE bytes, such as a loss; a second th_backward is an error. Starts off. */
void th_tape_release(th_tape *tape, bool on);
/* x, of which the next op to take it is the last to read it: where the tape releases memory, th_add of one shape and th_dropout
 * then compute in x's place, if x's own backward does without its result. */
th_var *th_spent(th_var *x);
/* On: the first NaN or infinity is an error that names its op, and the input where a leaf brought it. */
void th_tape_anomaly(th_tape *tape, bool on);
/* What dropout draws from: the same seed, step and order of ops give the same masks. */
void th_tape_seed(th_tape *tape, uint64_t seed, uint64_t step);
/* Only rows [first, first + rows) of a batch stand on the tape: dropout treats each as it would in the whole batch, where
 * the sequences are padded alike and rows are the first axis. rows 0, as at the start: all do. */
void th_tape_rows(th_tape *tape, int64_t first, int64_t rows);

/* On: an event for each op, forward and backward, is added to the profile, which is borrowed; NULL: off. Two calls of the
 * clock an event are all it costs. See th_profile_new. */
void th_tape_profile(th_tape *tape, th_profile *profile);

/* A leaf without gradient over the caller's memory, which must live until the reset. */
th_var *th_constant(th_tape *tape, const th_tensor *value);
/* A leaf whose gradient is added to `grad` (same shape and type), or, if that is NULL, to memory of
 * the tape. Both contiguous. */
th_var *th_leaf(th_tape *tape, const th_tensor *value, const th_tensor *grad);
th_var *th_detach(th_var *x); /* the same numbers, no gradient past this point */

/* Adds to every leaf's gradient d root / d leaf, weighted by `seed` (root's shape and type; NULL: 1,
 * where root is a single element). Gradients of other vars are cleared first, so that it may be
 * called again on the same graph. */
th_status th_backward(th_var *root, const th_tensor *seed);
/* For who wants gradients before all are there: th_backward calls it after each var of the tape, from the last to the first
 * (th_var.previous). Through a leaf that was passed nothing adds any more; but other leaves may share its gradient,
 * and branches that are computed again (th_recompute, th_reversible) have leaves on a tape of their own. NULL: nobody. */
typedef void th_passed(void *context, const th_var *var);
void th_tape_watch(th_tape *tape, th_passed *passed, void *context);

/* ---- ops ------------------------------------------------------------------------------------------
 * Shapes: [...] stands for any leading axes. All inputs of one op have one type, TH_F32 or TH_F64. None is NULL unless it says
 * so here; what an op returns never is, failed or not. */

/* Element by element, broadcast as in NumPy: axes are matched from the right, size 1 repeats. */
th_var *th_add(th_var *a, th_var *b);
th_var *th_sub(th_var *a, th_var *b);
th_var *th_mul(th_var *a, th_var *b);
th_var *th_div(th_var *a, th_var *b);
th_var *th_scale(th_var *x, double factor);
th_var *th_neg(th_var *x);

th_var *th_exp(th_var *x);
th_var *th_log(th_var *x); /* natural */
th_var *th_sqrt(th_var *x);
th_var *th_tanh(th_var *x);
th_var *th_sigmoid(th_var *x);      /* 1 / (1 + exp(-x)) */
th_var *th_relu(th_var *x);         /* max(x, 0); slope 0 at 0 */
th_var *th_elu_plus_one(th_var *x); /* elu(x) + 1: exp(x) below 0, x + 1 from there on; always positive */
th_var *th_gelu_tanh(
    th_var *x); /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): Hendrycks & Gimpel 2016, section 2 */
th_var *th_gelu_erf(th_var *x); /* x/2 (1 + erf(x / sqrt 2)): the same, exact */

/* a [..,M,K] times b [..,K,N] gives [..,M,N]; leading axes broadcast. A transposed view costs nothing. */
th_var *th_matmul(th_var *a, th_var *b);
/* x [..,in], weight [out,in], bias [out] or NULL: x weight' + bias, [..,out]. */
th_var *th_linear(th_var *x, th_var *weight, th_var *bias);
/* The same, and then relu or gelu, in one pass. For the gradient a gelu keeps its derivative, of the result's size. */
th_var *th_linear_relu(th_var *x, th_var *weight, th_var *bias);
th_var *th_linear_gelu_tanh(th_var *x, th_var *weight, th_var *bias);
th_var *th_linear_gelu_erf(th_var *x, th_var *weight, th_var *bias);

/* Views: no memory moves (reshape copies where the layout leaves no other way). */
th_var *th_reshape(th_var *x, int ndim, const int64_t *shape); /* one size may be -1: whatever is left */
th_var *th_permute(th_var *x, const int *axes);                /* axis i of the result is axis axes[i] of x */
th_var *th_transpose(th_var *x);                               /* swaps the last two axes */
th_var *th_slice(th_var *x, int axis, int64_t begin, int64_t end);
th_var *th_broadcast(th_var *x, int ndim, const int64_t *shape); /* a copy, repeated as in element-wise ops */
/* At least one part. */
th_var *th_concat(int count, th_var *const *parts, int axis);
th_var *th_contiguous(th_var *x); /* x itself, or a row-major copy */

/* Reductions over a set of axes: TH_AXIS(0) | TH_AXIS(2), or all. `keep` leaves them with size 1. */
#define TH_AXIS(i) (1u << (i))
#define TH_ALL_AXES (~0u)
th_var *th_sum(th_var *x, unsigned axes, bool keep);
th_var *th_mean(th_var *x, unsigned axes, bool keep);
th_var *th_max(th_var *x, unsigned axes, bool keep); /* equal maxima share the gradient equally */

/* Rows of table [n,width] by ids (TH_I32, any shape [..]): [..,width]. The ids are copied. */
th_var *th_gather(th_var *table, const th_tensor *ids);

/* Rows of x [..,width], counted over all leading axes, by ids (TH_I32, any shape [..]): [..,width]. No row more than once, so
 * that threads share the way back; -1 gives a row of zeros. The ids are copied. */
th_var *th_take_rows(th_var *x, const th_tensor *ids);

/* Over the last axis. What `mask` (NULL: nothing) hides has probability 0 and log-probability -inf; a row
 * with nothing to see is all hidden, not NaN. */
th_var *th_softmax(th_var *x, const th_mask *mask);
th_var *th_log_softmax(th_var *x, const th_mask *mask);

/* (x - mean) / sqrt(variance + epsilon) weight + bias over the last axis; weight, bias [n].
 * Ba, Kiros & Hinton 2016, equation 4; the variance is the biased one. */
th_var *th_layer_norm(th_var *x, th_var *weight, th_var *bias, double epsilon);

/* Zeroes each element with probability p and scales the rest by 1 / (1 - p), while the tape trains. */
th_var *th_dropout(th_var *x, double p);

/* Gates from 0 to 1 that can be shut for good: hard concrete (Louizos et al. 2018). While the tape trains each is
 *   min(1, max(0, sigmoid((log u - log(1 - u) + logit) / beta) (zeta - gamma) + gamma)),  u uniform in [0, 1)
 * (equations 10 and 11), drawn as dropout draws; else min(1, max(0, sigmoid(logit) (zeta - gamma) + gamma))
 * (equation 13). beta, gamma and zeta are those of their experiments. */
#define TH_CONCRETE_BETA (2.0 / 3)
#define TH_CONCRETE_GAMMA (-0.1)
#define TH_CONCRETE_ZETA 1.1
th_var *th_hard_concrete(th_var *logits);
double th_quiet_gate(double logit); /* equation 13 of one logit, without a tape */
/* How many of them are not 0, on the mean over u: sum of sigmoid(logit - beta log(-gamma / zeta)), equation 12,
 * from small ops. A scalar. */
th_var *th_expected_open(th_var *logits);

/* Mean over the targets that count of -sum_i t_i log softmax(logits)_i, with t = (1 - s) one-hot + s / n
 * (label smoothing: Szegedy et al. 2016, section 7). logits [..,n]; targets TH_I32 [..], copied; a
 * negative target is ignored; with none left the loss is 0. Gives a scalar. */
th_var *th_cross_entropy(th_var *logits, const th_tensor *targets, double smoothing);

/* Scaled dot-product attention (Vaswani et al. 2017, equation 1): softmax(scale q k' + bias) v.
 * q [B,H,Tq,D], k [B,K,Tk,D], v [B,W,Tk,V] give [B,H,Tq,V], a view of [B,Tq,H,V], so that joining the
 * heads is a reshape. K and W are H, or fewer that divide it: head h reads the heads numbered h K / H and h W / H
 * (Ainslie et al. 2023, section 2.2). The weights are not to be had from it: for those, see th_attention_weights. */
typedef enum {
  TH_ATTEND_AUTO, /* by the number of scores */
  TH_ATTEND_WHOLE, /* all weights of a head at once, kept for backward; made again, if many short heads have them */
  TH_ATTEND_TILES /* nothing of size Tq x Tk is kept, and what is hidden costs nothing */
} th_attention_way;
typedef struct th_attention_options {
  th_mask mask;
  double scale;         /* 0: 1 / sqrt(D) */
  double dropout;       /* of the weights */
  th_var *bias;         /* broadcast to [B,H,Tq,Tk], or NULL */
  th_attention_way way; /* of th_attention; the result is the same to rounding, with the same dropout */
} th_attention_options;
th_var *th_attention(th_var *q, th_var *k, th_var *v, const th_attention_options *options);

/* The weights [B,H,Tq,Tk] themselves (row: query, column: key, rows sum to 1), before dropout, built
 * from small ops: th_matmul(th_dropout(weights, p), v) is the same attention, more slowly. */
th_var *th_attention_weights(th_var *q, th_var *k, const th_attention_options *options);

/* Linear attention (Katharopoulos et al. 2020, section 3.2), with f(x) = elu(x) + 1 (equation 7) in the softmax's place:
 *   out_i = sum_j (f(q_i) . f(k_j)) v_j / sum_j f(q_i) . f(k_j),  over the keys j that i may see; of none it is 0.
 * q [B,H,Tq,D], k [B,H,Tk,D], v [B,H,Tk,V] give [B,H,Tq,V], a view of [B,Tq,H,V]. Time and memory are linear in Tq + Tk. */
typedef struct th_linear_attention_options {
  bool causal; /* query i sees keys up to i: Tq = Tk, and section 3.3 */
  const int32_t
      *key_length; /* [B]: keys from here on are padding; NULL: none are. Read during the call only */
  /* [B,H,D,V+1], contiguous, the caller's, or NULL: sums of f(k_j)' [v_j, 1] over keys that came before, which queries see
   * too; those of these keys are added (section 3.4). Only on a tape that does not record. Tq or Tk may be 0, to
   * remember keys alone, or to ask alone. */
  const th_tensor *state;
} th_linear_attention_options;
th_var *th_linear_attention(th_var *q, th_var *k, th_var *v, const th_linear_attention_options *options);
/* Its weights [B,H,Tq,Tk], from small ops, under any mask; rows sum to 1, or see nothing and are 0. */
th_var *th_linear_attention_weights(th_var *q, th_var *k, const th_mask *mask);

/* LSH attention (Kitaev, Kaiser & Levskaya 2020, section 2): softmax over what falls into the same bucket. qk [B,H,T,D] are
 * queries and, each over its length, keys; v [B,H,T,V]: gives [B,H,T,V], a view of [B,T,H,V].
 *
 * In each round a key's bucket is the place of the largest of [x R; -x R], R [D, buckets / 2] normal and a head's own. Tokens
 * are sorted by bucket, then place, and each bucket is cut into chunks. A query sees the keys of its chunk and the one
 * before, in any round, once; itself only if it sees nothing else. Time and memory grow with T rounds, not T T. Which keys
 * a query sees has no gradient. (The paper cuts all buckets together: there a later token moves the borders before it.) */
#define TH_LSH_ROUNDS_MAX (1 << 10)
#define TH_LSH_BUCKETS_MAX (1 << 20)
typedef struct th_lsh_options {
  int64_t rounds;  /* 1 to TH_LSH_ROUNDS_MAX */
  int64_t buckets; /* even, at most TH_LSH_BUCKETS_MAX, or 1: no hashing */
  int64_t chunk;   /* at least 1 */
  bool causal;     /* query i sees keys up to i */
  const int32_t *
      length; /* [B]: tokens from here on are padding, whose rows are 0; NULL: none. Read during the call only */
  double scale;               /* 0: 1 / sqrt(D) */
  th_random random;           /* of R: the same stream gives the same buckets */
  const int32_t *head_number; /* [H]: whose R each head has; NULL: 0, 1, .. */
} th_lsh_options;
th_var *th_lsh_attention(th_var *qk, th_var *v, const th_lsh_options *options);
/* Its two ingredients, to build it from small ops: rows of x [..,D] over their lengths (and a trace, so that 0 stays 0) ... */
th_var *th_unit_length(th_var *x);
/* ... and which keys queries see, TH_U8 [B,H,T,T] in the tape's memory: *visible stays empty after an error. */
bool th_lsh_visible(th_var *qk, const th_lsh_options *options, th_tensor *visible);

/* Rotary position embedding (Su et al. 2021, "RoFormer", equation 34): neighbours x_2i, x_2i+1 in row t of x
 * [..,T,D], D even, are turned by the angle whose cosine and sine are turns_2i, turns_2i+1 in row t of turns
 * [T,D]: a product of complex numbers. `turns` is of x's type, its rows dense, gets no gradient, and its memory
 * must live until the reset; th_turns in nn.h fills it. */
th_var *th_rotary(th_var *x, const th_tensor *turns);

/* ---- without keeping ------------------------------------------------------------------------------------
 * A branch makes a result from x and others on x's tape, which is not the caller's: it may use them, parameters, constants
 * and its context, of which the tape has a copy. What it makes on the way is gone when it returns, and made again, with the
 * same draws, when gradients are wanted: that is one forward pass more. */
#define TH_BRANCH_MORE 4 /* most others; more are TH_EINVAL */
typedef th_var *th_branch(th_var *x, th_var *const *others, const void *context);

/* branch(x, others): Chen et al. 2016, section 3. Pointers in the context must hold until backward. */
th_var *th_recompute(th_var *x, int more, th_var *const *others, th_branch *branch, const void *context,
                     size_t bytes);

/* Reversible sums (Gomez et al. 2017, section 3.1; Kitaev et al. 2020, section 3): two streams, each in the memory of its
 * th_stream, are changed in turn,
 *   a = th_reversible(a, b, ..)          a + branch(b, others), in a's place; the old a is gone
 *   b = th_reversible(b, a, ..)
 * and joined, (a + b) / 2, by th_streams_end, which every chain must have. Backward takes what was added off again, to
 * rounding. So a chain of any length keeps two streams and their gradients, and nothing else of this size. `a` must be a
 * stream, and another than b: TH_EINVAL. */
th_var *th_stream(th_var *x); /* a copy of x, as a stream begins */
th_var *th_reversible(th_var *a, th_var *b, int more, th_var *const *others, th_branch *branch,
                      const void *context, size_t bytes);
th_var *th_streams_end(th_var *a, th_var *b);

/* ---- where the time goes ----------------------------------------------------------------------------- */

typedef struct th_profile_event {
  const char *name; /* of the op, or what th_profile_begin said */
  bool backward;
  int depth;             /* how many events it is in */
  double begin, seconds; /* since th_profile_new */
  double self;           /* seconds without those of the events in it */
  double flops; /* of the matrix products of linear, matmul and attention, masks not counted; 0: none */
  double bytes; /* an op's inputs and result, and in backward their gradients; 0: a view, or no op */
  int ndim;     /* the result's shape */
  int64_t shape[TH_MAX_DIMS];
} th_profile_event;
/* Of one thread, like a tape. NULL: no memory. An event that finds no memory is left out. */
th_profile *th_profile_new(void);
void th_profile_free(th_profile *profile); /* NULL is fine; no tape may have it any more */
/* Around anything else: begin and end nest. `name` must live as long as the profile. NULL is fine. */
void th_profile_begin(th_profile *profile, const char *name);
void th_profile_end(th_profile *profile);
/* In order of their beginnings; until the profile changes. */
const th_profile_event *th_profile_events(const th_profile *profile, int64_t *count);

/* ---- an op of your own ------------------------------------------------------------------------------
 * See examples/own_op.c. */
struct th_op {
  const char *name;
  /* Checks out->in, makes out->value, computes. False after th_fail. */
  bool (*forward)(th_var *out);
  /* Adds to th_grad(out->in[i]), from out->grad. NULL: a view, or nothing to differentiate. */
  void (*backward)(th_var *out);
  bool may_be_infinite; /* anomaly mode then only minds NaN */
};

th_var *th_apply(const th_op *op, int inputs, th_var *const *in, const void *settings, size_t settings_bytes);
bool th_make(th_var *out, int ndim, const int64_t *shape); /* out->value, of in[0]'s type, not cleared */
bool th_make_like(th_var *out, const th_tensor *like);     /* ... and of this shape */
bool th_make_view(th_var *out, th_var *of, const th_tensor *view);
void *th_keep(th_tape *tape, size_t bytes); /* memory until the reset; NULL: none left, and the tape knows */
/* A contiguous tensor in the tape's memory, not cleared. False: the shape is none or memory is out; the tape knows. */
bool th_keep_tensor(th_tape *tape, th_tensor *made, th_dtype dtype, int ndim, const int64_t *shape);
bool th_fail(th_var *out, th_status status, const char *format, ...) TH_PRINTF(3, 4); /* always false */
void th_tape_fail(th_tape *tape, th_status status, const char *what,
                  const char *why); /* for what is no op: "what: why" */
th_tensor *th_grad(th_var *x);      /* where to add x's gradient; NULL where none is wanted */

const th_op *const *th_ops(int *count); /* every op of the library */

/* ---- gradcheck ------------------------------------------------------------------------------------- */

#define TH_GRADCHECK_OUTPUTS 8

/* Any function of tensors: fills out[] and returns how many (at most TH_GRADCHECK_OUTPUTS). It must
 * compute the same each time. */
typedef int th_function(th_tape *tape, th_var *const *in, th_var **out, void *context);

typedef struct th_gradcheck_options {
  double eps; /* step of the central difference; 0: 1e-5 */
  double atol,
      rtol;      /* |numerical - analytical| <= atol + rtol max(|numerical|, |analytical|); 0: 1e-8, 1e-6 */
  bool fast;     /* one random direction per pair of input and output, not every element */
  uint64_t seed; /* of those directions */
  const char *const *input_names; /* NULL: "input 0" */
  /* Where the function makes leaves of its own over an input's memory (a layer's parameters): the
   * gradient they add to, per input; NULL, or NULL entries: the function uses in[i]. */
  const th_tensor *const *grads;
  th_pool *pool; /* borrowed; may be NULL */
} th_gradcheck_options;

/* The worst element found. Without a failure, `ok`, and the numbers say how close it was. */
typedef struct th_gradcheck_report {
  bool ok;
  int input, output;                 /* which */
  int64_t input_index, output_index; /* row-major; -1 where the fast mode saw a whole direction */
  double numerical, analytical;
  /* The worst, over pairs of input and output, of |difference| as a part of the largest entry of that
   * part of the Jacobian. */
  double relative_error;
  int64_t compared; /* how many derivatives */
  char text[512];   /* the same in one line */
} th_gradcheck_report;

/* Holds the backward of `function` against central differences at `inputs` (TH_F64, contiguous; they
 * are changed during the call and put back), for every input, and against a second backward run.
 * Returns TH_OK where the check could be made, whatever it found; else fills `error`. */
th_status th_gradcheck(th_function *function, void *context, int inputs, th_tensor *const *input,
                       const th_gradcheck_options *options, th_gradcheck_report *report, th_error *error);

/* ---- where an op was called ------------------------------------------------------------------------- */

th_var *th_here(th_var *made, const char *file, int line);

#ifndef TH_NO_LOCATION
#define th_add(...) th_here(th_add(__VA_ARGS__), __FILE__, __LINE__)
#define th_sub(...) th_here(th_sub(__VA_ARGS__), __FILE__, __LINE__)
#define th_mul(...) th_here(th_mul(__VA_ARGS__), __FILE__, __LINE__)
#define th_div(...) th_here(th_div(__VA_ARGS__), __FILE__, __LINE__)
#define th_scale(...) th_here(th_scale(__VA_ARGS__), __FILE__, __LINE__)
#define th_neg(...) th_here(th_neg(__VA_ARGS__), __FILE__, __LINE__)
#define th_exp(...) th_here(th_exp(__VA_ARGS__), __FILE__, __LINE__)
#define th_log(...) th_here(th_log(__VA_ARGS__), __FILE__, __LINE__)
#define th_sqrt(...) th_here(th_sqrt(__VA_ARGS__), __FILE__, __LINE__)
#define th_tanh(...) th_here(th_tanh(__VA_ARGS__), __FILE__, __LINE__)
#define th_sigmoid(...) th_here(th_sigmoid(__VA_ARGS__), __FILE__, __LINE__)
#define th_relu(...) th_here(th_relu(__VA_ARGS__), __FILE__, __LINE__)
#define th_gelu_tanh(...) th_here(th_gelu_tanh(__VA_ARGS__), __FILE__, __LINE__)
#define th_gelu_erf(...) th_here(th_gelu_erf(__VA_ARGS__), __FILE__, __LINE__)
#define th_matmul(...) th_here(th_matmul(__VA_ARGS__), __FILE__, __LINE__)
#define th_linear(...) th_here(th_linear(__VA_ARGS__), __FILE__, __LINE__)
#define th_linear_relu(...) th_here(th_linear_relu(__VA_ARGS__), __FILE__, __LINE__)
#define th_linear_gelu_tanh(...) th_here(th_linear_gelu_tanh(__VA_ARGS__), __FILE__, __LINE__)
#define th_linear_gelu_erf(...) th_here(th_linear_gelu_erf(__VA_ARGS__), __FILE__, __LINE__)
#define th_reshape(...) th_here(th_reshape(__VA_ARGS__), __FILE__, __LINE__)
#define th_permute(...) th_here(th_permute(__VA_ARGS__), __FILE__, __LINE__)
#define th_transpose(...) th_here(th_transpose(__VA_ARGS__), __FILE__, __LINE__)
#define th_slice(...) th_here(th_slice(__VA_ARGS__), __FILE__, __LINE__)
#define th_broadcast(...) th_here(th_broadcast(__VA_ARGS__), __FILE__, __LINE__)
#define th_concat(...) th_here(th_concat(__VA_ARGS__), __FILE__, __LINE__)
#define th_contiguous(...) th_here(th_contiguous(__VA_ARGS__), __FILE__, __LINE__)
#define th_sum(...) th_here(th_sum(__VA_ARGS__), __FILE__, __LINE__)
#define th_mean(...) th_here(th_mean(__VA_ARGS__), __FILE__, __LINE__)
#define th_max(...) th_here(th_max(__VA_ARGS__), __FILE__, __LINE__)
#define th_gather(...) th_here(th_gather(__VA_ARGS__), __FILE__, __LINE__)
#define th_take_rows(...) th_here(th_take_rows(__VA_ARGS__), __FILE__, __LINE__)
#define th_softmax(...) th_here(th_softmax(__VA_ARGS__), __FILE__, __LINE__)
#define th_log_softmax(...) th_here(th_log_softmax(__VA_ARGS__), __FILE__, __LINE__)
#define th_layer_norm(...) th_here(th_layer_norm(__VA_ARGS__), __FILE__, __LINE__)
#define th_dropout(...) th_here(th_dropout(__VA_ARGS__), __FILE__, __LINE__)
#define th_hard_concrete(...) th_here(th_hard_concrete(__VA_ARGS__), __FILE__, __LINE__)
#define th_expected_open(...) th_here(th_expected_open(__VA_ARGS__), __FILE__, __LINE__)
#define th_cross_entropy(...) th_here(th_cross_entropy(__VA_ARGS__), __FILE__, __LINE__)
#define th_elu_plus_one(...) th_here(th_elu_plus_one(__VA_ARGS__), __FILE__, __LINE__)
#define th_recompute(...) th_here(th_recompute(__VA_ARGS__), __FILE__, __LINE__)
#define th_stream(...) th_here(th_stream(__VA_ARGS__), __FILE__, __LINE__)
#define th_reversible(...) th_here(th_reversible(__VA_ARGS__), __FILE__, __LINE__)
#define th_streams_end(...) th_here(th_streams_end(__VA_ARGS__), __FILE__, __LINE__)
#define th_lsh_attention(...) th_here(th_lsh_attention(__VA_ARGS__), __FILE__, __LINE__)
#define th_linear_attention(...) th_here(th_linear_attention(__VA_ARGS__), __FILE__, __LINE__)
#define th_linear_attention_weights(...) th_here(th_linear_attention_weights(__VA_ARGS__), __FILE__, __LINE__)
#define th_attention(...) th_here(th_attention(__VA_ARGS__), __FILE__, __LINE__)
#define th_attention_weights(...) th_here(th_attention_weights(__VA_ARGS__), __FILE__, __LINE__)
#define th_rotary(...) th_here(th_rotary(__VA_ARGS__), __FILE__, __LINE__)
#define th_apply(...) th_here(th_apply(__VA_ARGS__), __FILE__, __LINE__)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
