/* Products of few rows with a transposed matrix, as a decoder's newest tokens with weights [out,in], or a query with keys: each
 * result is the product of two rows that lie in memory as vectors want them, so that nothing is packed.
 *
 * A result's sum is made in one order, whatever rows stand beside it: lane l of a vector adds terms l, l + LANES, l + 2 LANES and
 * so on, one after the other; then neighbouring lanes are added, then neighbouring pairs of them, until one is left. */
#include "kernels.h"
#include "vecmath.h"

/* Sums that are made together: as many as registers hold, 32 of them with AVX-512, else 16. */
#if TH_VECTOR_BYTES == 64
#define DOT_SUMS 16
#else
#define DOT_SUMS 8
#endif
#define DOT_ROWS 4 /* of a, at most, and so many of b beside them: with 8, m = 1 is slower */
#define DOT_COLUMNS(rows) ((rows)*4 <= DOT_SUMS ? 4 : 2)

#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define TH_KERNELS "gemm_rows.inc"
#include "each_real.h"

void th_gemm_rows(th_dtype dtype, int64_t m, int64_t n, int64_t k, double alpha, const void *a, int64_t lda,
                  const void *b, int64_t ldb, double beta, void *c, int64_t ldc, const th_ending *ending) {
  if (dtype == TH_F32)
    dots_f32(&(dot_work_f32){k, lda, ldb, ldc, (float)alpha, (float)beta, ending}, m, n, a, b, c);
  else dots_f64(&(dot_work_f64){k, lda, ldb, ldc, alpha, beta, ending}, m, n, a, b, c);
}
