/* The backward of f(x w' + b). Where w is small beside the rows: one pass over pieces of rows, in which all three gradients are
 * computed while the piece is in the cache. Else one large product after the other. */
#include "kernels.h"

#include <string.h>

#define PIECE_ROWS 128 /* at least; with less, sums of w's gradient would cost as much as its products */
#define PIECES_MAX 8
#define JOINED (1 << 12)     /* elements of the gradient of w that are worth a thread */
#define SMALL_WORK (1 << 17) /* multiply-adds below which waking other threads costs more than it brings */

/* In how many fixed pieces; 0: w is too large beside the rows for it. */
static int64_t pieces_of(const th_linear_backward_job *j) {
  int64_t rows = j->gy.shape[0], out = j->w.shape[0], in = j->w.shape[1],
          pieces = rows / PIECE_ROWS < PIECES_MAX ? rows / PIECE_ROWS : PIECES_MAX;
  if (pieces < 1) pieces = 1;
  if (j->gw.data && !th_tensor_is_contiguous(&j->gw)) return 0;
  return 2 * pieces * out * in <= rows * (out + in) ? pieces : 0;
}

void th_k_linear_backward_scratch(const th_linear_backward_job *j, int64_t *shape) {
  int64_t pieces = pieces_of(j), out = j->w.shape[0];
  shape[0] = pieces ? pieces : j->gb.data ? th_k_row_pieces(j->gy.shape[0]) : 0;
  shape[1] = pieces ? out * (j->w.shape[1] + 1) : out;
}

static void take_through_f(th_pool *pool, th_unary f, const th_tensor *slope, const th_tensor *gout,
                           const th_tensor *gy) {
  if (f == TH_RELU) th_k_unary_backward(pool, f, slope, slope, gout, true, gy);
  else th_k_binary(pool, TH_MUL, gout, slope, gy);
}

/* Of the piece's gradients of w and b. */
static void *partial_of(const th_linear_backward_job *j, int64_t piece) {
  return th_at(&j->scratch, piece * j->scratch.shape[1]);
}

static void rows_piece(void *context, int64_t piece) {
  const th_linear_backward_job *j = context;
  int64_t pieces = j->scratch.shape[0], rows = j->gy.shape[0], begin = rows * piece / pieces,
          end = rows * (piece + 1) / pieces;
  th_tensor gy, gyt, x, gx, gw, slope, gout;
  th_view_slice(&gy, &j->gy, 0, begin, end), th_view_slice(&x, &j->x, 0, begin, end);
  if (j->gout.data && th_view_slice(&slope, &j->slope, 0, begin, end) &&
      th_view_slice(&gout, &j->gout, 0, begin, end))
    take_through_f(NULL, j->f, &slope, &gout, &gy);
  if (j->gx.data && th_view_slice(&gx, &j->gx, 0, begin, end)) th_k_matmul_here(&gy, &j->w, !j->first, &gx);
  th_tensor_lay_out(&gw, partial_of(j, piece), gy.dtype, 2, j->w.shape);
  th_view_permute(&gyt, &gy, (int[]){1, 0});
  if (j->gw.data) th_k_matmul_here(&gyt, &x, 0, &gw);
  if (!j->gb.data) return;
  void *gb = th_at(&gw, th_tensor_count(&gw));
  memset(gb, 0, (size_t)gy.shape[1] * th_dtype_size(gy.dtype));
  th_add_rows(gy.dtype, end - begin, gy.shape[1], gy.data, gb);
}

/* to[begin..] += the partials from `at + begin` on */
static void join_range(const th_linear_backward_job *j, int64_t begin, int64_t end, const th_tensor *to,
                       int64_t at) {
  size_t offset = (size_t)(at + begin) * th_dtype_size(to->dtype);
  for (int64_t p = 0; p < j->scratch.shape[0]; p++)
    th_add_rows(to->dtype, 1, end - begin, (char *)partial_of(j, p) + offset, th_at(to, begin));
}

static void join_piece(void *context, int64_t piece) {
  const th_linear_backward_job *j = context;
  int64_t begin = piece * JOINED, all = th_tensor_count(&j->gw);
  join_range(j, begin, all - begin < JOINED ? all : begin + JOINED, &j->gw, 0);
}

static void one_by_one(th_pool *pool, const th_linear_backward_job *j) {
  th_tensor gyt;
  th_view_permute(&gyt, &j->gy, (int[]){1, 0});
  if (j->gout.data) take_through_f(pool, j->f, &j->slope, &j->gout, &j->gy);
  if (j->gx.data) th_k_matmul(pool, 1, &j->gy, &j->w, !j->first, &j->gx);
  if (j->gw.data) th_k_matmul(pool, 1, &gyt, &j->x, 1, &j->gw);
  if (j->gb.data) th_k_add_column_sums(pool, &j->gy, &j->scratch, &j->gb);
}

void th_k_linear_backward(th_pool *pool, const th_linear_backward_job *j) {
  int64_t pieces = pieces_of(j), weights = th_tensor_count(&j->w);
  void *context = (void *)(uintptr_t)j;
  if (!pieces) {
    one_by_one(pool, j);
    return;
  }
  th_blas_one_thread();
  th_parallel(j->gy.shape[0] * weights < SMALL_WORK ? NULL : pool, pieces, rows_piece, context);
  if (j->gw.data) th_parallel(pool, (weights + JOINED - 1) / JOINED, join_piece, context);
  if (j->gb.data) join_range(j, 0, j->gb.shape[0], &j->gb, weights);
}
