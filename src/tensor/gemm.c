/* Matrix products: batched, strided, cut for threads by size alone; large ones through OpenBLAS. */
#include "kernels.h"

#include <cblas.h>
#include <string.h>

#define PIECE_WORK (1 << 17) /* multiply-adds worth a thread of their own: a microsecond or two */
#define READING_ROWS \
  16 /* of a: with fewer, a product takes as long as with so many, which is what it takes to read b */
#define PIECES_MAX 8  /* more would pack the factors too often */
#define PIECE_SIDE 16 /* a piece is whole register tiles of the BLAS kernels */

void th_gemm(th_dtype dtype, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
             double alpha, const void *a, int64_t lda, const void *b, int64_t ldb, double beta, void *c,
             int64_t ldc) {
  if (th_gemm_is_own(transpose_a, transpose_b, m, n)) {
    th_gemm_own(dtype, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, NULL);
    return;
  }
  enum CBLAS_TRANSPOSE ta = transpose_a ? CblasTrans : CblasNoTrans,
                       tb = transpose_b ? CblasTrans : CblasNoTrans;
  if (dtype == TH_F32)
    cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, (float)alpha, a, (int)lda, b, (int)ldb,
                (float)beta, c, (int)ldc);
  else
    cblas_dgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
                (int)ldc);
}

static void gemm_ended(th_dtype dtype, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                       const void *a, int64_t lda, const void *b, int64_t ldb, void *c, int64_t ldc,
                       const th_ending *ending) {
  if (th_gemm_is_own(transpose_a, transpose_b, m, n)) {
    th_gemm_own(dtype, transpose_a, transpose_b, m, n, k, 1, a, lda, b, ldb, 0, c, ldc, ending);
    return;
  }
  if (k) th_gemm(dtype, transpose_a, transpose_b, m, n, k, 1, a, lda, b, ldb, 0, c, ldc);
  else memset(c, 0, (size_t)(m * ldc) * th_dtype_size(dtype)); /* its rows are dense */
  th_end_product(dtype, m, n, c, ldc, ending);
}

/* How BLAS sees the last two axes: row-major with a leading dimension, or its transpose. */
typedef struct {
  bool transposed;
  int64_t ld;
} layout;

static bool layout_of(const th_tensor *x, layout *made) {
  int64_t rows = x->shape[x->ndim - 2], columns = x->shape[x->ndim - 1];
  int64_t row_stride = x->stride[x->ndim - 2], column_stride = x->stride[x->ndim - 1];
  if (column_stride == 1 || columns == 1) {
    *made = (layout){false, rows == 1 ? columns : row_stride};
    if (made->ld >= columns) return true;
  }
  if (row_stride == 1 || rows == 1) {
    *made = (layout){true, columns == 1 ? rows : column_stride};
    if (made->ld >= rows) return true;
  }
  return false;
}

bool th_is_matrix(const th_tensor *x) {
  layout ignored;
  return x->ndim >= 2 && layout_of(x, &ignored);
}

typedef struct {
  const th_tensor *a, *b, *c;
  layout la, lb, lc;
  double alpha, beta;
  int64_t first_batch, down, across, rows, columns; /* pieces of a matrix, and of c in each */
  const th_ending *ending;                          /* or NULL; c is not transposed */
  th_unary f;                                       /* with an ending: see th_k_linear */
  const th_tensor *slope;
} product;

static char *batch_data(const th_tensor *x, int64_t batch) {
  int64_t offset = 0;
  for (int i = x->ndim - 3; i >= 0; i--) {
    offset += batch % x->shape[i] * x->stride[i];
    batch /= x->shape[i];
  }
  return (char *)x->data + offset * (int64_t)th_dtype_size(x->dtype);
}

/* m rows of n elements of c, from its element `at` on. */
static void apply_gelu(const product *p, int64_t m, int64_t n, int64_t at) {
  for (int64_t i = 0; i < m; i++, at += p->lc.ld)
    th_gelu_in_place(p->c->dtype, p->f, n, th_at(p->c, at), p->slope ? th_at(p->slope, at) : NULL);
}

static void product_piece(void *context, int64_t index) {
  const product *p = context;
  int64_t batch = p->first_batch + index / (p->down * p->across), row = index / p->across % p->down * p->rows,
          column = index % p->across * p->columns;
  int64_t m = p->c->shape[p->c->ndim - 2] - row, n = p->c->shape[p->c->ndim - 1] - column,
          k = p->a->shape[p->a->ndim - 1];
  if (m > p->rows) m = p->rows;
  if (n > p->columns) n = p->columns;
  int64_t size = (int64_t)th_dtype_size(p->c->dtype);
  char *a = batch_data(p->a, batch) + row * (p->la.transposed ? 1 : p->la.ld) * size;
  char *b = batch_data(p->b, batch) + column * (p->lb.transposed ? p->lb.ld : 1) * size;
  char *c =
      batch_data(p->c, batch) + (p->lc.transposed ? row + column * p->lc.ld : row * p->lc.ld + column) * size;
  if (p->ending) {
    th_ending ending = *p->ending;
    if (ending.bias) ending.bias = (const char *)ending.bias + column * size;
    gemm_ended(p->c->dtype, p->la.transposed, p->lb.transposed, m, n, k, a, p->la.ld, b, p->lb.ld, c,
               p->lc.ld, &ending);
    if (th_is_gelu(p->f)) apply_gelu(p, m, n, row * p->lc.ld + column);
  } else if (p->lc.transposed) /* c' = b' a' */
    th_gemm(p->c->dtype, !p->lb.transposed, !p->la.transposed, n, m, k, p->alpha, b, p->lb.ld, a, p->la.ld,
            p->beta, c, p->lc.ld);
  else
    th_gemm(p->c->dtype, p->la.transposed, p->lb.transposed, m, n, k, p->alpha, a, p->la.ld, b, p->lb.ld,
            p->beta, c, p->lc.ld);
}

static int64_t side(int64_t size, int64_t pieces) {
  int64_t rounded = (size + pieces - 1) / pieces;
  return pieces == 1 ? size : (rounded + PIECE_SIDE - 1) / PIECE_SIDE * PIECE_SIDE;
}

/* Halves of the longer side, and halves of those. */
static void cut(product *p, int64_t m, int64_t n, int64_t k) {
  int64_t down = 1, across = 1, work = (m < READING_ROWS ? READING_ROWS : m) * n * k;
  while (down * across < PIECES_MAX && work / (2 * down * across) >= PIECE_WORK)
    if (m / down >= n / across) down *= 2;
    else across *= 2;
  p->rows = side(m, down), p->columns = side(n, across);
  p->down = (m + p->rows - 1) / p->rows, p->across = (n + p->columns - 1) / p->columns;
}

/* c = alpha a b + beta c, over the batch; or with an ending, c = f(a b + bias), of one matrix. */
static void multiply(th_pool *pool, product p) {
  const th_tensor *a = p.a, *b = p.b, *c = p.c;
  int64_t m = c->shape[c->ndim - 2], n = c->shape[c->ndim - 1], k = a->shape[a->ndim - 1], batches = 1;
  bool sums = false; /* do several batches fall on one matrix of c? */
  for (int i = 0; i < c->ndim - 2; i++) {
    batches *= c->shape[i];
    if (c->shape[i] > 1 && c->stride[i] == 0) sums = true;
  }
  if (batches == 0 || m == 0 || n == 0) return;
  if (!layout_of(a, &p.la) || !layout_of(b, &p.lb) || !layout_of(c, &p.lc)) return; /* see th_is_matrix */
  th_blas_one_thread();
  cut(&p, m, n, k);
  int64_t pieces = p.down * p.across;
  if (!sums) {
    bool small = pieces == 1 && batches * m * n * k < PIECE_WORK;
    th_parallel(small ? NULL : pool, batches * pieces, product_piece, &p);
    return;
  }
  for (; p.first_batch < batches; p.first_batch++)
    th_parallel(pieces > 1 ? pool : NULL, pieces, product_piece, &p);
}

void th_k_matmul(th_pool *pool, double alpha, const th_tensor *a, const th_tensor *b, double beta,
                 const th_tensor *c) {
  multiply(pool, (product){.a = a, .b = b, .c = c, .alpha = alpha, .beta = beta});
}

void th_k_matmul_here(const th_tensor *a, const th_tensor *b, double beta, const th_tensor *c) {
  product p = {.a = a, .b = b, .c = c, .alpha = 1, .beta = beta, .down = 1, .across = 1};
  p.rows = c->shape[0], p.columns = c->shape[1];
  if (p.rows && p.columns && layout_of(a, &p.la) && layout_of(b, &p.lb) && layout_of(c, &p.lc))
    product_piece(&p, 0);
}

void th_k_linear(th_pool *pool, const th_tensor *a, const th_tensor *b, const th_tensor *bias, th_unary f,
                 const th_tensor *slope, const th_tensor *c) {
  th_ending ending = {bias ? bias->data : NULL, f == TH_RELU};
  multiply(pool, (product){.a = a, .b = b, .c = c, .alpha = 1, .ending = &ending, .f = f, .slope = slope});
}
