/* Raw kernels, for the rooms above; not public. They check nothing: the op that calls them did.
 * All real tensors of one call have one type, TH_F32 or TH_F64. "Adds" means +=, so that gradients
 * accumulate; everything else overwrites. */
#ifndef TAPEHEAD_TENSOR_KERNELS_H
#define TAPEHEAD_TENSOR_KERNELS_H

#include "tapehead/tensor.h"

/* Where the element with this index lies, in contiguous memory. */
static inline void *th_at(const th_tensor *tensor, int64_t index) {
  return (char *)tensor->data + index * (int64_t)th_dtype_size(tensor->dtype);
}

/* th_tensor_of where it is wanted: a struct that was just written in pieces is slow to copy as a whole. */
void th_tensor_lay_out(th_tensor *made, void *data, th_dtype dtype, int ndim, const int64_t *shape);

/* ---- strided loops --------------------------------------------------------------------------- */

/* One innermost run: n elements of each operand, with strides in elements. */
typedef void th_loop_inner(int64_t n, char *const *data, const int64_t *stride, const void *settings);

/* Walks two or three tensors at once, broadcast to the shape of the largest. The last one is the
 * destination; where its stride is 0 the elements that fall together are summed in a fixed order. */
void th_loop_run(th_pool *pool, int operands, const th_tensor *const *tensors, th_loop_inner *inner,
                 const void *settings);

/* The common shape of two tensors under broadcasting; false where they do not fit. */
bool th_broadcast_shape(const th_tensor *a, const th_tensor *b, int *ndim, int64_t shape[TH_MAX_DIMS]);

/* ---- element by element ---------------------------------------------------------------------- */

typedef enum { TH_ADD, TH_SUB, TH_MUL, TH_DIV } th_binary;
void th_k_binary(th_pool *pool, th_binary kind, const th_tensor *a, const th_tensor *b, const th_tensor *y);

void th_k_copy(th_pool *pool, const th_tensor *x, const th_tensor *y);               /* y = x, any strides */
void th_k_axpy(th_pool *pool, double alpha, const th_tensor *x, const th_tensor *y); /* y += alpha x */
void th_k_add_product(th_pool *pool, double alpha, const th_tensor *a, const th_tensor *b,
                      const th_tensor *y);
void th_k_add_quotient(th_pool *pool, double alpha, const th_tensor *a, const th_tensor *b,
                       const th_tensor *y);

/* Two neighbours in a row are the parts of a complex number: y = x turns, or y += x conj(turns). The last
 * axis is even and dense; turns is broadcast. */
void th_k_turn(th_pool *pool, bool back, const th_tensor *x, const th_tensor *turns, const th_tensor *y);

typedef enum {
  TH_SCALE,
  TH_EXP,
  TH_LOG,
  TH_SQRT,
  TH_TANH,
  TH_SIGMOID,
  TH_RELU,
  TH_ELU_PLUS_ONE,
  TH_GELU_TANH,
  TH_GELU_ERF
} th_unary;
static inline bool th_is_gelu(th_unary f) { return f == TH_GELU_TANH || f == TH_GELU_ERF; }
/* y = f(x) over contiguous memory; `alpha` is TH_SCALE's factor. */
void th_k_unary(th_pool *pool, th_unary kind, double alpha, const th_tensor *x, const th_tensor *y);
/* Of n elements: x = gelu(x), and slope, unless NULL, is its derivative where x was. On the caller's thread. */
void th_gelu_in_place(th_dtype dtype, th_unary kind, int64_t n, void *x, void *slope);
/* gx += gy f'(x), or where it is the first gradient =; contiguous, y = f(x); not for TH_SCALE. gx may be gy, if first; of relu,
 * x is not read. */
void th_k_unary_backward(th_pool *pool, th_unary kind, const th_tensor *x, const th_tensor *y,
                         const th_tensor *gy, bool first, const th_tensor *gx);

/* y = largest of x over the axes where y's size is 1 (y has x's number of axes). */
void th_k_max(const th_tensor *x, const th_tensor *y);
/* gx += gy / ties where x equals y, so that equal maxima share the gradient. Scratch: ties [y's shape],
 * winner [x's shape]. */
void th_k_max_backward(const th_tensor *x, const th_tensor *y, const th_tensor *gy, const th_tensor *ties,
                       const th_tensor *winner, const th_tensor *gx);

/* The row-major index of the first element that is NaN or infinite, or -1. x is contiguous. */
int64_t th_k_first_not_finite(const th_tensor *x);

/* ---- matrix products ------------------------------------------------------------------------- */

/* c = alpha a b + beta c over the last two axes, batched over the others. All three have the same
 * number of axes; a batch axis may have stride 0 (broadcast), and where c's has, beta must be 1: the
 * products are summed one after the other. Each matrix needs unit stride along one of its two axes: see
 * th_is_matrix. Threads share batches and rows. */
void th_k_matmul(th_pool *pool, double alpha, const th_tensor *a, const th_tensor *b, double beta,
                 const th_tensor *c);
/* c = f(a b + bias), one matrix each, in one pass; bias may be NULL. f is TH_RELU, a gelu, or for none TH_SCALE. Of a gelu, slope
 * gets its derivative there, laid out as c; NULL: it is not wanted. */
void th_k_linear(th_pool *pool, const th_tensor *a, const th_tensor *b, const th_tensor *bias, th_unary f,
                 const th_tensor *slope, const th_tensor *c);
/* c = a b + beta c of one matrix each, on the caller's thread, not cut. */
void th_k_matmul_here(const th_tensor *a, const th_tensor *b, double beta, const th_tensor *c);
/* gx += gy w (`first`: =), gw += gy' x and gb += column sums of gy, of y = x w' + b with w [out,in]; where gx, gw or gb has no data it
 * is not wanted. x, w, gx and gw may lie as th_is_matrix wants, all else is contiguous. */
typedef struct th_linear_backward_job {
  th_tensor gy, x, w, gx, gw, gb;
  bool first;
  th_unary f;            /* as in th_k_linear; unless none, gy is filled from gout, the gradient of f(y) */
  th_tensor gout, slope; /* slope: f' at y, or relu's result; without f, no data. gout may be gy */
  th_tensor scratch;
} th_linear_backward_job;
void th_k_linear_backward(th_pool *pool, const th_linear_backward_job *job);
/* How large its scratch must be: of gy's type, [shape[0],shape[1]]. */
void th_k_linear_backward_scratch(const th_linear_backward_job *job, int64_t *shape);
bool th_is_matrix(const th_tensor *x); /* can BLAS read the last two axes where they lie? */

/* What a product ends with: c = f(a b + bias). NULL: nothing. */
typedef struct th_ending {
  const void *bias; /* [n], or NULL */
  bool relu;
} th_ending;

/* Whether th_gemm is th_gemm_own or the BLAS's. */
bool th_gemm_is_own(bool transpose_a, bool transpose_b, int64_t m, int64_t n);
void th_gemm_own(th_dtype dtype, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                 double alpha, const void *a, int64_t lda, const void *b, int64_t ldb, double beta, void *c,
                 int64_t ldc, const th_ending *ending);
/* c = f(alpha a b' + beta c) of few rows: th_gemm_own where b is transposed and a is not. */
void th_gemm_rows(th_dtype dtype, int64_t m, int64_t n, int64_t k, double alpha, const void *a, int64_t lda,
                  const void *b, int64_t ldb, double beta, void *c, int64_t ldc, const th_ending *ending);
/* c [m,n] is ended so, after a product. */
void th_end_product(th_dtype dtype, int64_t m, int64_t n, void *c, int64_t ldc, const th_ending *ending);
/* c = alpha op(a) op(b) + beta c: one plain call on the caller's thread. [m,k] x [k,n] */
void th_gemm(th_dtype dtype, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
             double alpha, const void *a, int64_t lda, const void *b, int64_t ldb, double beta, void *c,
             int64_t ldc);
void th_blas_one_thread(void); /* before the first th_gemm of a parallel part */
int th_blas_bytes(void);       /* of the vectors of OpenBLAS's kernels */

/* ---- rows: softmax, normalisation, losses; contiguous [rows, n] unless said -------------------- */

/* y = softmax of x over its last axis; hidden columns are 0; a row with no column is all 0.
 * x is contiguous [..., rows, n]; `x` and `y` may be the same memory. */
void th_k_softmax(th_pool *pool, bool logarithm, const th_mask *mask, const th_tensor *x, const th_tensor *y);
void th_k_softmax_backward(th_pool *pool, bool logarithm, const th_tensor *y, const th_tensor *gy, bool first,
                           const th_tensor *gx); /* first: gx is written, not added to */

/* y = (x - mean) rstd weight + bias; mean and rstd [rows] are kept for backward. */
void th_k_layer_norm(th_pool *pool, double epsilon, const th_tensor *x, const th_tensor *weight,
                     const th_tensor *bias, const th_tensor *y, const th_tensor *mean, const th_tensor *rstd);
/* gx, gweight and gbias may be NULL; `first`: gx is written, not added to. `partial` [pieces, 2, n] with pieces from th_k_row_pieces(rows). */
void th_k_layer_norm_backward(th_pool *pool, const th_tensor *x, const th_tensor *weight,
                              const th_tensor *mean, const th_tensor *rstd, const th_tensor *gy,
                              const th_tensor *partial, bool first, const th_tensor *gx,
                              const th_tensor *gweight, const th_tensor *gbias);
int64_t th_k_row_pieces(int64_t rows); /* in how many fixed pieces rows are summed */

void th_add_rows(th_dtype dtype, int64_t rows, int64_t n, const void *x, void *sum); /* sum[n] += each row */
/* gb[n] += the sum of g [rows, n] over its rows; partial [pieces, n]. */
void th_k_add_column_sums(th_pool *pool, const th_tensor *g, const th_tensor *partial, const th_tensor *gb);

/* Cross-entropy of logits [rows, n] with targets [rows] (negative: ignored) under label smoothing.
 * loss_rows [rows] and log_sum [rows] are filled. */
void th_k_cross_entropy(th_pool *pool, double smoothing, const th_tensor *logits, const int32_t *targets,
                        const th_tensor *loss_rows, const th_tensor *log_sum);
/* glogits += scale (softmax - target distribution) on rows that count; `first`: it is written, with zeros on others. */
void th_k_cross_entropy_backward(th_pool *pool, double smoothing, double scale, const th_tensor *logits,
                                 const int32_t *targets, const th_tensor *log_sum, bool first,
                                 const th_tensor *glogits);

/* y [ids, width] = table[ids]; and table_gradient[ids] += gy. */
void th_k_gather(const th_tensor *table, const int32_t *ids, const th_tensor *y);
void th_k_scatter_add(const th_tensor *gy, const int32_t *ids, const th_tensor *gtable);

/* Row i of y, of `rows`, = (add: +=) row from[i] of x, or where that is -1 zeros; all of `width`, contiguous. */
void th_k_take_rows(th_pool *pool, int64_t rows, int64_t width, const th_tensor *x, const int32_t *from,
                    bool add, const th_tensor *y);

/* y (+)= x keep / (1 - p): contiguous. */
void th_k_dropout(th_pool *pool, double scale, const th_tensor *x, const uint8_t *keep, bool add,
                  const th_tensor *y);

/* ---- scaled dot-product attention --------------------------------------------------------------- */

/* The matrix of x [B,K,..] that head `head` of all sequences' `heads` each reads, number h K / heads for the h-th of a
 * sequence; NULL where x has no data. */
char *th_head_of(const th_tensor *x, int64_t head, int64_t heads);
int64_t
th_head_ld(const th_tensor *x); /* from one row of it to the next; a single row's stride may be anything */

/* q [B,H,Tq,D], k [B,K,Tk,D], v [B,W,Tk,V], any strides with unit stride last; weights [B,H,Tq,Tk]
 * contiguous. K and W divide H, and head h reads those numbered h K / H and h W / H. */
typedef struct th_attention_job {
  th_tensor q, k, v, out; /* out [B,H,Tq,V] */
  th_tensor bias;         /* added to the scores, broadcast to [B,H,Tq,Tk]; data NULL: none */
  th_mask mask;
  double scale;
  /* [B], the job's own: of a head's weights only these rows and columns can be other than 0, and are made. NULL: all. */
  const int32_t *row_length, *column_length;
  /* Softmax of the scores; of each head the rows made, one behind the other, at its beginning. By key, without data: they are
   * made again by backward. */
  th_tensor weights;
  bool
      by_key; /* th_attention_by_key: weights, dropped and gscores are [B,H,Tk,Tq], and forward turns keep so */
  th_tensor dropped;          /* weights after dropout, if weights are kept and some are dropped */
  uint8_t *keep;              /* [B,H,Tq,Tk], or NULL: no dropout */
  double keep_scale;          /* 1 / (1 - p) */
  th_tensor gout, gq, gk, gv; /* backward; data NULL where no gradient is wanted */
  /* Which are written, not added to; not by the tiled kernels, and not of keys or values that several heads read. */
  bool first_q, first_k, first_v;
  th_tensor
      gscores; /* [B,H,Tq,Tk]: backward fills it with the gradient of the scores, so of the bias; by key, none */
  /* Of the tiled kernels alone: weights is a shape without data; dropped, keep and gscores are not used. */
  th_tensor lse; /* [B,H,Tq]: logarithm of a row's sum of exponentials; filled by forward, read by backward */
  th_tensor along;   /* [B,H,Tq]: scratch of backward */
  th_tensor scratch; /* [tasks, th_attention_scratch()] */
  th_tensor gbias;   /* broadcast like bias; what a bias is shared by is added in turn */
  th_random random;  /* of dropout, and the threshold: th_random_keep; 0: none */
  uint32_t threshold;
  int64_t before; /* draws of the stream that belong to sequences before these */
} th_attention_job;
int64_t
th_heads_together(const th_attention_job *job); /* neighbouring heads that add to the same gradients */
int64_t th_attention_scratch(void);
void th_k_attention_tiles(th_pool *pool, const th_attention_job *job);
void th_k_attention_tiles_backward(th_pool *pool, const th_attention_job *job);
bool th_attention_by_key(const th_attention_job *job); /* its own choice, to be kept in it */
void th_k_attention(th_pool *pool, const th_attention_job *job);
void th_k_attention_backward(th_pool *pool, const th_attention_job *job);

/* Linear attention. q [B,H,Tq,D], k [B,H,Tk,D], already mapped and contiguous; v [B,H,Tk,V], unit stride last. */
#define TH_LINEAR_CHUNK 64 /* rows that a causal head takes at once */
typedef struct th_linear_job {
  th_tensor q, k, v, out;    /* out [B,H,Tq,V] */
  bool causal;               /* Tq = Tk */
  const int32_t *key_length; /* [B] or NULL */
  bool keep_state;           /* forward adds to what the state has */
  th_tensor state;           /* [B,H,D,V+1]: sums over keys of k' [v,1]; backward needs it as scratch */
  th_tensor extended, sums;  /* [B,H,Tk,V+1], [B,H,Tq,V+1]: filled by forward, read by backward */
  th_tensor squares;         /* scratch of causal heads: [B,2H,C,C] */
  th_tensor gout, gq, gk, gv;
  th_tensor gsums, gextended; /* scratch of backward, like sums and extended; gextended with gv */
} th_linear_job;
void th_k_linear_attention(th_pool *pool, const th_linear_job *job);
void th_k_linear_attention_backward(th_pool *pool, const th_linear_job *job);

/* LSH attention. q, k [B,H,T,D], k of length 1, v and out [B,H,T,V]: unit stride last. */
typedef struct th_lsh_job {
  th_tensor q, k, v, out;
  int64_t rounds, buckets, chunk;
  const int32_t *head_number; /* [H] or NULL for 0, 1, ..: whose rotations each head has */
  bool causal;
  const int32_t *length; /* [B] or NULL; rows from here on are 0 */
  double scale;
  th_random random;
  th_tensor rotations; /* scratch [H,rounds,buckets / 2,D]; data NULL: one bucket */
  th_tensor top, mass; /* [B,H,T]: log of the sum of exponentials; 0 where no key was seen */
  th_tensor along;     /* scratch of backward, likewise */
  int32_t *slot,
      *order;        /* [B,H,rounds,T]: a token's bucket and chunk in one number; tokens in sorted order */
  th_tensor scratch; /* [tasks, th_lsh_scratch] */
  th_tensor gout, gq, gk, gv;
} th_lsh_job;
int64_t th_lsh_chunk(int64_t chunk, int64_t length); /* no longer than the sequence */
int64_t th_lsh_scratch(int64_t length, int64_t chunk, int64_t buckets, int64_t depth, int64_t width,
                       bool backward);
void th_k_lsh_hash(th_pool *pool, const th_lsh_job *job); /* first: fills slot and order */
void th_k_lsh_attention(th_pool *pool, const th_lsh_job *job);
void th_k_lsh_attention_backward(th_pool *pool, const th_lsh_job *job);
void th_k_lsh_visible(const th_lsh_job *job, uint8_t *visible); /* [B,H,T,T] */

/* ---- over whole parameter blocks ---------------------------------------------------------------- */

double th_k_sum_of_squares(const th_tensor *x); /* contiguous; in double, fixed order */

#endif
