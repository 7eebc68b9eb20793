/* Matrix products that are too small for the BLAS to be at its best: its calls cost as much as they compute, and it is
 * built for other processors. Sums are kept in registers (Goto & van de Geijn 2008, section 5), and nothing is packed
 * that need not be. */
#include "kernels.h"
#include "vecmath.h"

#include <stdalign.h>

/* Rows of c whose sums, two vectors each, the processor's registers hold: 32 of them with AVX-512, else 16. */
#if TH_VECTOR_BYTES == 64
#define TILE_ROWS 8
#else
#define TILE_ROWS 6
#endif
#define DEEP 256 /* terms of a sum in one go: so much of b stays in the first cache */
#define GATHERED \
  64 /* rows of a transposed a that are laid side by side, where they are more than FAR apart */
#define FAR 512

#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define TH_KERNELS "gemm_small.inc"
#include "each_real.h"

#define COLUMNS_MOST 512 /* of b: DEEP rows of them stay in the second cache while the rows of a go by */
#define FEW_ROWS 8       /* of a, for which a transposed b is not worth packing */

bool th_gemm_is_small(bool transpose_b, int64_t m, int64_t n) {
  return n <= COLUMNS_MOST && !(transpose_b && m < FEW_ROWS);
}

void th_gemm_small(th_dtype dtype, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   double alpha, const void *a, int64_t lda, const void *b, int64_t ldb, double beta, void *c,
                   int64_t ldc) {
  int64_t a_row = transpose_a ? 1 : lda, a_column = transpose_a ? lda : 1, b_row = transpose_b ? 1 : ldb,
          b_column = transpose_b ? ldb : 1;
  if (dtype == TH_F32)
    product_f32(m, n, k, (float)alpha, (strided_f32){a, a_row, a_column}, (strided_f32){b, b_row, b_column},
                (float)beta, c, ldc);
  else
    product_f64(m, n, k, alpha, (strided_f64){a, a_row, a_column}, (strided_f64){b, b_row, b_column}, beta, c,
                ldc);
}
