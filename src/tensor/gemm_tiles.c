/* Matrix products whose sums stay in registers (Goto & van de Geijn 2008, section 5), for those at which OpenBLAS is not at its
 * best: small ones, whose calls cost as much as they compute, and all where it has no kernels for the processor. */
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
/* Where it is worth the time, a is packed first: HEIGHT rows beside each other, in blocks of so many rows that the second cache
 * holds one while columns of b go by. */
#define PACKED_BYTES (1 << 18)
#define PACKED_MOST (PACKED_BYTES / (int)sizeof(REAL) / DEEP / HEIGHT * HEIGHT)
#define HEIGHT (2 * TILE_ROWS)
/* Worth it from so many rows, terms and columns on; less columns do where rows of a transposed a lie FAR elements apart. */
#define PACKED_ROWS 32
#define PACKED_TERMS 128
#define PACKED_COLUMNS 256
#define FAR 256
#define FAR_COLUMNS 128
/* Rows of b further apart than so many elements fall on few places of a cache, so that they are packed, too. */
#define NEAR 128

#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* to[p][i] = from[i][p], k by `columns` of them: those that lie in whole squares of vectors, whose side is the result, or
 * none, and the result 0. */
#ifdef __AVX512F__
static void turn_square(const float *from, int64_t ld, float *to, int64_t width) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_ps(from + i * ld);
  for (int i = 0; i < 16; i += 2)
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]), b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  for (int i = 0; i < 16; i += 4)
    for (int c = 0; c < 2; c++) { /* a[i + q]: of four rows the columns q, 4 + q, 8 + q, 12 + q */
      a[i + 2 * c] = (__m512)_mm512_unpacklo_pd((__m512d)b[i + c], (__m512d)b[i + c + 2]);
      a[i + 2 * c + 1] = (__m512)_mm512_unpackhi_pd((__m512d)b[i + c], (__m512d)b[i + c + 2]);
    }
  for (int q = 0; q < 4; q++) {
    __m512 even[2] = {_mm512_shuffle_f32x4(a[q], a[4 + q], 0x88),
                      _mm512_shuffle_f32x4(a[8 + q], a[12 + q], 0x88)};
    __m512 odd[2] = {_mm512_shuffle_f32x4(a[q], a[4 + q], 0xdd),
                     _mm512_shuffle_f32x4(a[8 + q], a[12 + q], 0xdd)};
    _mm512_storeu_ps(to + q * width, _mm512_shuffle_f32x4(even[0], even[1], 0x88));
    _mm512_storeu_ps(to + (4 + q) * width, _mm512_shuffle_f32x4(odd[0], odd[1], 0x88));
    _mm512_storeu_ps(to + (8 + q) * width, _mm512_shuffle_f32x4(even[0], even[1], 0xdd));
    _mm512_storeu_ps(to + (12 + q) * width, _mm512_shuffle_f32x4(odd[0], odd[1], 0xdd));
  }
}

static int64_t turned_f32(int64_t k, int64_t columns, const float *from, int64_t ld, float *to,
                          int64_t width) {
  for (int64_t p = 0; p + 16 <= k; p += 16)
    for (int64_t i = 0; i + 16 <= columns; i += 16)
      turn_square(from + i * ld + p, ld, to + p * width + i, width);
  return 16;
}
#else
static int64_t turned_f32(int64_t k, int64_t columns, const float *from, int64_t ld, float *to,
                          int64_t width) {
  (void)k, (void)columns, (void)from, (void)ld, (void)to, (void)width;
  return 0;
}
#endif
static int64_t turned_f64(int64_t k, int64_t columns, const double *from, int64_t ld, double *to,
                          int64_t width) {
  (void)k, (void)columns, (void)from, (void)ld, (void)to, (void)width;
  return 0;
}

#define TH_KERNELS "gemm_tiles.inc"
#include "each_real.h"

#define COLUMNS_MOST 512 /* of b: DEEP rows of them stay in the second cache while the rows of a go by */
#define FEW_ROWS 8       /* of a, for which a transposed b is not worth packing */

/* Few rows by a transposed b always; else with longer vectors than the BLAS's always, and with shorter ones, as in a build for any
 * processor, never. */
bool th_gemm_is_own(bool transpose_a, bool transpose_b, int64_t m, int64_t n) {
  if (transpose_b && m < FEW_ROWS) return !transpose_a;
  return TH_VECTOR_BYTES > th_blas_bytes() || (TH_VECTOR_BYTES == th_blas_bytes() && n <= COLUMNS_MOST);
}

void th_gemm_own(th_dtype dtype, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                 double alpha, const void *a, int64_t lda, const void *b, int64_t ldb, double beta, void *c,
                 int64_t ldc, const th_ending *ending) {
  if (transpose_b && m < FEW_ROWS) {
    th_gemm_rows(dtype, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, ending);
    return;
  }
  int64_t a_row = transpose_a ? 1 : lda, a_column = transpose_a ? lda : 1, b_row = transpose_b ? 1 : ldb,
          b_column = transpose_b ? ldb : 1;
  if (dtype == TH_F32)
    product_f32(m, n, k, (float)alpha, &(strided_f32){a, a_row, a_column}, &(strided_f32){b, b_row, b_column},
                (float)beta, c, ldc, ending);
  else
    product_f64(m, n, k, alpha, &(strided_f64){a, a_row, a_column}, &(strided_f64){b, b_row, b_column}, beta,
                c, ldc, ending);
}

void th_end_product(th_dtype dtype, int64_t m, int64_t n, void *c, int64_t ldc, const th_ending *ending) {
  TH_FOR(dtype, end_product, m, n, c, ldc, ending);
}
