/* Linear attention (Katharopoulos et al. 2020, sections 3.2 to 3.4), one head of one sequence at a time. With a 1 behind
 * each value the sums of keys times values and the sums of keys are one matrix, and so are numerators and
 * denominators. A causal head goes by chunks: within a chunk by its square of products, before it by the sums. */
#include "kernels.h"

#include <string.h>

#define TH_KERNELS "linear_kernel.inc"
#include "each_real.h"

#define SMALL_WORK (1 << 15) /* multiply-adds below which waking other threads costs more than it brings */

/* One head's matrices, as BLAS takes them: rows of q and k are dense, those of v and out `ld` apart. */
typedef struct {
  th_dtype dtype;
  int64_t queries, keys, depth, width, seen; /* seen: keys that count */
  char *q, *k, *v, *out, *extended, *sums, *state, *square, *gsquare;
  char *gq, *gk, *gv, *gout, *gsums, *gextended;
  int64_t ld_v, ld_out, ld_gv, ld_gout;
} one_head;

static one_head head_at(const th_linear_job *j, int64_t head) {
  const int32_t *length = j->key_length;
  int64_t heads = j->q.shape[1];
  one_head o = {.dtype = j->q.dtype,
                .queries = j->q.shape[2],
                .keys = j->k.shape[2],
                .depth = j->q.shape[3],
                .width = j->v.shape[3],
                .seen = j->k.shape[2],
                .q = th_head_of(&j->q, head, heads),
                .k = th_head_of(&j->k, head, heads),
                .v = th_head_of(&j->v, head, heads),
                .out = th_head_of(&j->out, head, heads),
                .extended = th_head_of(&j->extended, head, heads),
                .sums = th_head_of(&j->sums, head, heads),
                .state = th_head_of(&j->state, head, heads),
                .square = th_head_of(&j->squares, 2 * head, 2 * heads),
                .gsquare = th_head_of(&j->squares, 2 * head + 1, 2 * heads),
                .gq = th_head_of(&j->gq, head, heads),
                .gk = th_head_of(&j->gk, head, heads),
                .gv = th_head_of(&j->gv, head, heads),
                .gout = th_head_of(&j->gout, head, heads),
                .gsums = th_head_of(&j->gsums, head, heads),
                .gextended = th_head_of(&j->gextended, head, heads),
                .ld_v = th_head_ld(&j->v),
                .ld_out = th_head_ld(&j->out),
                .ld_gv = th_head_ld(&j->gv),
                .ld_gout = th_head_ld(&j->gout)};
  if (length && length[head / heads] < o.seen) o.seen = length[head / heads];
  return o;
}

static char *row(const one_head *o, char *x, int64_t index, int64_t columns) {
  return x ? x + index * columns * (int64_t)th_dtype_size(o->dtype) : NULL;
}

static int64_t chunk_at(const one_head *o, int64_t begin) {
  return o->queries - begin < TH_LINEAR_CHUNK ? o->queries - begin : TH_LINEAR_CHUNK;
}

static void clear_state(const one_head *o) {
  memset(o->state, 0, (size_t)(o->depth * (o->width + 1)) * th_dtype_size(o->dtype));
}

/* state [depth,width+1] += x' y, over `rows` of x [..,depth] and y [..,width+1] */
static void add_to_state(const one_head *o, int64_t rows, const char *x, const char *y) {
  th_gemm(o->dtype, true, false, o->depth, o->width + 1, rows, 1, x, o->depth, y, o->width + 1, 1, o->state,
          o->width + 1);
}

/* square [rows,rows] = a b' below and on the diagonal, of a and b [rows,inner] */
static void fill_square(const one_head *o, int64_t rows, int64_t inner, const char *a, const char *b,
                        char *square) {
  th_gemm(o->dtype, false, true, rows, rows, inner, 1, a, inner, b, inner, 0, square, rows);
  TH_FOR(o->dtype, lower, rows, (void *)square, rows);
}

/* ---- forward --------------------------------------------------------------------------------------------- */

static void forward_chunks(const one_head *o) {
  int64_t wide = o->width + 1;
  for (int64_t at = 0; at < o->queries; at += TH_LINEAR_CHUNK) {
    int64_t rows = chunk_at(o, at);
    char *q = row(o, o->q, at, o->depth), *k = row(o, o->k, at, o->depth),
         *values = row(o, o->extended, at, wide), *sums = row(o, o->sums, at, wide);
    fill_square(o, rows, o->depth, q, k, o->square);
    th_gemm(o->dtype, false, false, rows, wide, o->depth, 1, q, o->depth, o->state, wide, 0, sums, wide);
    th_gemm(o->dtype, false, false, rows, wide, rows, 1, o->square, rows, values, wide, 1, sums, wide);
    add_to_state(o, rows, k, values);
  }
}

static void forward_head(void *context, int64_t head) {
  const th_linear_job *j = context;
  one_head o = head_at(j, head);
  int64_t wide = o.width + 1;
  if (!j->keep_state) clear_state(&o);
  TH_FOR(o.dtype, extend, o.keys, o.width, o.seen, (void *)o.v, o.ld_v, (void *)o.extended);
  if (j->causal) forward_chunks(&o);
  else {
    add_to_state(&o, o.keys, o.k, o.extended);
    th_gemm(o.dtype, false, false, o.queries, wide, o.depth, 1, o.q, o.depth, o.state, wide, 0, o.sums, wide);
  }
  TH_FOR(o.dtype, divide, o.queries, o.width, (void *)o.sums, (void *)o.out, o.ld_out);
}

/* ---- backward ---------------------------------------------------------------------------------------------- */

/* From the first chunk on, with the sums before each: what queries get. */
static void queries_backward(const one_head *o) {
  int64_t wide = o->width + 1;
  clear_state(o);
  for (int64_t at = 0; at < o->queries; at += TH_LINEAR_CHUNK) {
    int64_t rows = chunk_at(o, at);
    char *k = row(o, o->k, at, o->depth), *gq = row(o, o->gq, at, o->depth),
         *values = row(o, o->extended, at, wide), *gsums = row(o, o->gsums, at, wide);
    fill_square(o, rows, wide, gsums, values, o->gsquare);
    th_gemm(o->dtype, false, true, rows, o->depth, wide, 1, gsums, wide, o->state, wide, 1, gq, o->depth);
    th_gemm(o->dtype, false, false, rows, o->depth, rows, 1, o->gsquare, rows, k, o->depth, 1, gq, o->depth);
    add_to_state(o, rows, k, values);
  }
}

/* From the last chunk back, with the gradient of the sums after each: what keys and values get. */
static void keys_backward(const one_head *o) {
  int64_t wide = o->width + 1, chunks = (o->queries + TH_LINEAR_CHUNK - 1) / TH_LINEAR_CHUNK;
  clear_state(o);
  for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
    int64_t at = chunk * TH_LINEAR_CHUNK, rows = chunk_at(o, at);
    char *q = row(o, o->q, at, o->depth), *k = row(o, o->k, at, o->depth), *gk = row(o, o->gk, at, o->depth),
         *values = row(o, o->extended, at, wide), *gsums = row(o, o->gsums, at, wide),
         *gvalues = row(o, o->gextended, at, wide);
    if (gk) {
      fill_square(o, rows, wide, gsums, values, o->gsquare);
      th_gemm(o->dtype, false, true, rows, o->depth, wide, 1, values, wide, o->state, wide, 1, gk, o->depth);
      th_gemm(o->dtype, true, false, rows, o->depth, rows, 1, o->gsquare, rows, q, o->depth, 1, gk, o->depth);
    }
    if (gvalues) {
      fill_square(o, rows, o->depth, q, k, o->square);
      th_gemm(o->dtype, false, false, rows, wide, o->depth, 1, k, o->depth, o->state, wide, 0, gvalues, wide);
      th_gemm(o->dtype, true, false, rows, wide, rows, 1, o->square, rows, gsums, wide, 1, gvalues, wide);
    }
    add_to_state(o, rows, q, gsums);
  }
}

static void all_backward(const one_head *o) {
  int64_t wide = o->width + 1;
  if (o->gq) {
    clear_state(o);
    add_to_state(o, o->keys, o->k, o->extended);
    th_gemm(o->dtype, false, true, o->queries, o->depth, wide, 1, o->gsums, wide, o->state, wide, 1, o->gq,
            o->depth);
  }
  clear_state(o);
  add_to_state(o, o->queries, o->q, o->gsums);
  if (o->gk)
    th_gemm(o->dtype, false, true, o->keys, o->depth, wide, 1, o->extended, wide, o->state, wide, 1, o->gk,
            o->depth);
  if (o->gextended)
    th_gemm(o->dtype, false, false, o->keys, wide, o->depth, 1, o->k, o->depth, o->state, wide, 0,
            o->gextended, wide);
}

static void backward_head(void *context, int64_t head) {
  const th_linear_job *j = context;
  one_head o = head_at(j, head);
  TH_FOR(o.dtype, divide_backward, o.queries, o.width, (void *)o.sums, (void *)o.out, o.ld_out,
         (void *)o.gout, o.ld_gout, (void *)o.gsums);
  if (!j->causal) all_backward(&o);
  else {
    if (o.gq) queries_backward(&o);
    if (o.gk || o.gv) keys_backward(&o);
  }
  if (o.gv && o.gextended) /* there with gv */
    TH_FOR(o.dtype, add_values, o.keys, o.width, (void *)o.extended, (void *)o.gextended, (void *)o.gv,
           o.ld_gv);
}

static void run(th_pool *pool, th_task *task, const th_linear_job *j) {
  int64_t heads = j->q.shape[0] * j->q.shape[1];
  if (heads * (j->q.shape[2] + j->k.shape[2]) * j->q.shape[3] * j->v.shape[3] < SMALL_WORK) pool = NULL;
  th_blas_one_thread();
  th_parallel(pool, heads, task, (void *)(uintptr_t)j);
}

void th_k_linear_attention(th_pool *pool, const th_linear_job *j) { run(pool, forward_head, j); }
void th_k_linear_attention_backward(th_pool *pool, const th_linear_job *j) { run(pool, backward_head, j); }
