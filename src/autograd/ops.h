/* What the op families share; not public. */
#ifndef TAPEHEAD_AUTOGRAD_OPS_H
#define TAPEHEAD_AUTOGRAD_OPS_H

#define TH_NO_LOCATION /* the location wanted is the caller's, not ours */
#include "../tensor/kernels.h"
#include "tapehead/autograd.h"

/* The tape on which branches of this one are computed, reset, and as it in all but whether it records; it draws from number
 * `draws` on. Its memory stays until th_tape_free. NULL: no memory. */
th_tape *th_tape_inner(th_tape *tape, uint64_t draws, bool recording);
uint64_t th_tape_draws(const th_tape *tape); /* how many masks were drawn since the reset */
void th_tape_draws_from(th_tape *tape, uint64_t draws);

/* out fails as a branch has failed on the inner tape, and where. Always false. */
bool th_fail_as(th_var *out, const th_tape *inner);

/* Around an op's forward or backward; without a profile nothing. */
void th_profile_begin_op(th_profile *profile, const th_var *v, bool backward);
void th_profile_end_op(th_profile *profile, const th_var *v);

/* Of a stream that gives each row of a batch equally many numbers, `count` to those on the tape: how many come before them. */
int64_t th_tape_before(const th_tape *tape, int64_t count);
th_random th_tape_draw(th_tape *tape); /* a fresh stream: the same for the same seed, step and order of ops */

/* A copy of integer ids [..] in the tape's memory, each from least to n - 1. NULL after th_fail. */
const int32_t *th_keep_ids(th_var *out, const th_tensor *ids, int64_t least, int64_t n);

/* A copy of lengths [batch] in the tape's memory, each from 0 to `most`; NULL of NULL, or after an error. */
const int32_t *th_keep_lengths(th_tape *tape, const int32_t *length, int64_t batch, int64_t most);

uint32_t th_keep_threshold(double p); /* what th_random_keep wants for a probability */
/* Bytes [count] in the tape's memory: 1 with probability 1 - p. NULL: no memory, and the tape knows. */
uint8_t *th_keep_mask(th_tape *tape, double p, int64_t count);

/* th_grad for who writes every element of it next: `first` says that there is nothing to add to. It is not cleared then. */
th_tensor *th_grad_first(th_var *x, bool *first);
/* Adds g, summed where x was broadcast to its shape. False: x wants no gradient, or there is no memory. */
bool th_grad_add(th_var *x, const th_tensor *g);
/* Where the tape releases memory: gives out's gradient, which must be needed no more, to its input x, which has none yet.
 * False: it cannot be, and all is as it was. */
bool th_grad_pass(th_var *out, th_var *x);
/* Where x is spent and nothing of it is needed but its gradient: out's value is to be computed in its place. False: it is not. */
bool th_make_over(th_var *out, th_var *x);
bool th_tape_releases(const th_tape *tape);

bool th_is_linear(const th_op *op); /* with an activation or without */

th_tensor th_grad_or_none(th_var *x); /* its gradient; data NULL where none is wanted */

/* th_dropout of x [n,width], whose rows are those numbered row[i] of `all`, rising: it drops of each what it drops of it among all.
 * row stays the caller's and lives as long as the tape has x. */
th_var *th_dropout_rows(th_var *x, double p, const int32_t *row, int64_t all);

/* x [B,H,T,D] as the kernels of attention take it: rows dense, each in a place of its own (no repeated axes). */
th_var *th_as_heads(th_var *x);
/* x [B,K,S,D], each head as often as H / K: [B,H,S,D]. As it is, if K does not divide H. */
th_var *th_repeat_heads(th_var *x, int64_t heads);

bool th_mask_fits(th_var *out, const th_mask *mask, const th_tensor *scores); /* false after th_fail */

/* Every op, by the name in its function and its th_op_: X(name) */
/* clang-format off */
#define TH_EACH_OP(X) \
  X(add) X(sub) X(mul) X(div) X(scale) X(neg) \
  X(exp) X(log) X(sqrt) X(tanh) X(sigmoid) X(relu) X(elu_plus_one) X(gelu_tanh) X(gelu_erf) \
  X(matmul) X(linear) X(linear_relu) X(linear_gelu_tanh) X(linear_gelu_erf) \
  X(reshape) X(permute) X(slice) X(broadcast) X(concat) X(contiguous) \
  X(sum) X(mean) X(max) \
  X(gather) X(take_rows) X(softmax) X(log_softmax) X(layer_norm) X(dropout) X(hard_concrete) X(cross_entropy) X(attention) X(linear_attention) X(lsh_attention) X(rotary) \
  X(recompute) X(stream) X(reversible) X(streams_end)
/* clang-format on */

#define TH_DECLARE_OP(name) extern const th_op th_op_##name;
TH_EACH_OP(TH_DECLARE_OP)
#undef TH_DECLARE_OP

#endif
