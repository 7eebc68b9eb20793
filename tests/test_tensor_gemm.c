/* Matrix products against a triple loop, over every layout the kernel takes. */
#include "../src/tensor/kernels.h"
#include "engine_desk.h"

#include <criterion/redirect.h>

static const th_dtype types[] = {TH_F32, TH_F64};

static void empty_stderr(void) { cr_redirect_stderr(); }

TestSuite(gemm, .init = empty_stderr);

/* ---- the plain product ----------------------------------------------------------------------- */

/* Element (row, column) of matrix `batch` of x, by shape and strides alone. */
static void *element_at(const th_tensor *x, int64_t batch, int64_t row, int64_t column) {
  int last = x->ndim - 1;
  int64_t place = row * x->stride[last - 1] + column * x->stride[last];
  for (int i = last - 2; i >= 0; i--) {
    place += batch % x->shape[i] * x->stride[i];
    batch /= x->shape[i];
  }
  return (char *)x->data + place * (int64_t)th_dtype_size(x->dtype);
}

static double read_at(const th_tensor *x, int64_t batch, int64_t row, int64_t column) {
  const void *at = element_at(x, batch, row, column);
  return x->dtype == TH_F64 ? *(const double *)at : (double)*(const float *)at;
}

/* c = alpha a b + beta c in double, into `wanted` [batches, M, N]; a c without weight is not looked at. */
static void plain_product(double alpha, const th_tensor *a, const th_tensor *b, double beta,
                          const th_tensor *c, double *wanted) {
  int64_t m = c->shape[c->ndim - 2], n = c->shape[c->ndim - 1], k = a->shape[a->ndim - 1], batches = 1;
  for (int i = 0; i < c->ndim - 2; i++) batches *= c->shape[i];
  for (int64_t batch = 0; batch < batches; batch++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t l = 0; l < k; l++) sum += read_at(a, batch, i, l) * read_at(b, batch, l, j);
        *wanted++ = alpha * sum + (beta == 0 ? 0 : beta * read_at(c, batch, i, j));
      }
}

/* Runs the kernel and holds it against the plain product. Inputs lie in [-1, 1]. */
static void check_product(desk *d, double alpha, const th_tensor *a, const th_tensor *b, double beta,
                          const th_tensor *c, const char *what) {
  double *wanted = desk_bytes(d, (th_tensor_count(c) + 1) * (int64_t)sizeof *wanted);
  double rounding = (c->dtype == TH_F32 ? 1e-6 : 1e-15) * (4 + (double)a->shape[a->ndim - 1]);
  plain_product(alpha, a, b, beta, c, wanted);
  th_k_matmul(NULL, alpha, a, b, beta, c);
  expect_values(c, th_tensor_count(c), wanted, rounding, what);
}

/* A matrix, or batch of them, of random numbers; transposed, it lies column by column. */
static th_tensor matrix(desk *d, th_dtype dtype, bool transposed, int64_t batch, int64_t rows,
                        int64_t columns) {
  th_tensor made;
  if (!transposed) return desk_uniform(d, dtype, -1, 1, SHAPE(batch, rows, columns));
  th_tensor turned = desk_uniform(d, dtype, -1, 1, SHAPE(batch, columns, rows));
  th_view_permute(&made, &turned, (int[]){0, 2, 1});
  return made;
}

/* ---- layouts --------------------------------------------------------------------------------- */

Test(gemm, equals_the_triple_loop_in_every_transposition) {
  static const int64_t sizes[][3] = {{1, 1, 1},  {2, 3, 4},    {7, 5, 3},   {1, 9, 4},
                                     {9, 1, 4},  {4, 9, 1},    {1, 1, 9},   {64, 33, 17},
                                     {1, 65, 1}, {33, 255, 2}, {97, 80, 81} /* enough work for two pieces */};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int c = 0; c < 32; c++) {
      desk d = desk_open();
      th_dtype dtype = types[c >> 4];
      int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
      char what[64];
      snprintf(what, sizeof what, "%s [%d,%d] x [%d,%d], transposed a %d b %d c %d", th_dtype_name(dtype),
               (int)m, (int)k, (int)k, (int)n, c & 1, c >> 1 & 1, c >> 2 & 1);
      th_tensor a = matrix(&d, dtype, c & 1, 1, m, k), b = matrix(&d, dtype, c & 2, 1, k, n);
      th_tensor made = matrix(&d, dtype, c & 4, 1, m, n);
      check_product(&d, c & 8 ? 1 : -0.5, &a, &b, c & 8 ? 1 : 0, &made, what);
      desk_close(&d);
    }
}

/* Rows from one to more than two tiles, columns about one and two vectors, sums about a block's length. */
Test(gemm, small_products_equal_the_triple_loop_at_every_edge_of_their_tiles) {
  static const int64_t columns[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 65},
                       deep[] = {1, 2, 255, 256, 257, 600};
  for (int t = 0; t < 2; t++)
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
      desk d = desk_open();
      int64_t n = columns[i], k = deep[i % 6];
      for (int64_t m = 1; m < 20; m++) {
        th_tensor a = matrix(&d, types[t], (m + (int64_t)i) % 2, 1, m, k),
                  b = matrix(&d, types[t], i % 4 == 1, 1, k, n), c = matrix(&d, types[t], false, 1, m, n);
        char what[64];
        snprintf(what, sizeof what, "%s [%d,%d] x [%d,%d]", th_dtype_name(types[t]), (int)m, (int)k, (int)k,
                 (int)n);
        check_product(&d, m % 3 ? 1 : 0.5, &a, &b, (double)(m % 4) / 2, &c, what);
      }
      desk_close(&d);
    }
}

/* Few rows by a transposed matrix: rows from one to a few more than are few, columns and terms about whole vectors. */
Test(gemm, few_rows_by_a_transposed_matrix_equal_the_triple_loop) {
  static const int64_t columns[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 48},
                       deep[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 100};
  for (int t = 0; t < 2; t++)
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
      for (size_t j = 0; j < sizeof deep / sizeof *deep; j++) {
        desk d = desk_open();
        int64_t m = 1 + (int64_t)(i + j) % 9, n = columns[i], k = deep[j];
        th_tensor a = matrix(&d, types[t], false, 1, m, k), b = matrix(&d, types[t], true, 1, k, n),
                  c = matrix(&d, types[t], false, 1, m, n);
        char what[64];
        snprintf(what, sizeof what, "%s [%d,%d] x [%d,%d]'", th_dtype_name(types[t]), (int)m, (int)k, (int)n,
                 (int)k);
        check_product(&d, j % 2 ? 1 : -0.5, &a, &b, (double)(i % 3) / 2, &c, what);
        desk_close(&d);
      }
}

/* A batch of one says what the same row says in a larger batch, to the last bit, while rows are few. */
Test(gemm, a_row_by_a_transposed_matrix_does_not_depend_on_the_rows_beside_it) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor a = matrix(&d, types[t], false, 1, 7, 75), b = matrix(&d, types[t], true, 1, 75, 37);
    th_tensor all = matrix(&d, types[t], false, 1, 7, 37);
    th_k_matmul(NULL, 1, &a, &b, 0, &all);
    for (int64_t first = 0; first < 7; first++)
      for (int64_t m = 1; first + m <= 7; m++) {
        th_tensor some, wanted, made = matrix(&d, types[t], false, 1, m, 37);
        cr_assert(th_view_slice(&some, &a, 1, first, first + m) &&
                  th_view_slice(&wanted, &all, 1, first, first + m));
        th_k_matmul(NULL, 1, &some, &b, 0, &made);
        expect_near(&made, &wanted, 0, "some rows");
      }
    desk_close(&d);
  }
}

static double ended(double y, const th_tensor *bias, int64_t column, bool relu) {
  if (bias) y += th_tensor_get(bias, column);
  return relu && y < 0 ? 0 : y;
}

Test(gemm, few_rows_end_with_a_bias_and_nothing_below_0) {
  for (int c = 0; c < 8; c++)
    for (int64_t m = 1; m < 10; m++) {
      desk d = desk_open();
      th_tensor a = desk_uniform(&d, types[c & 1], -1, 1, SHAPE(m, 20)),
                w = desk_uniform(&d, types[c & 1], -1, 1, SHAPE(21, 20));
      th_tensor bias = desk_uniform(&d, types[c & 1], -1, 1, SHAPE(21)),
                made = desk_zeros(&d, types[c & 1], SHAPE(m, 21)), b;
      double wanted[9 * 21];
      cr_assert(th_view_permute(&b, &w, (int[]){1, 0}));
      plain_product(1, &a, &b, 0, &made, wanted);
      for (int64_t i = 0; i < m * 21; i++) wanted[i] = ended(wanted[i], c & 2 ? &bias : NULL, i % 21, c & 4);
      th_k_linear(NULL, &a, &b, c & 2 ? &bias : NULL, c & 4 ? TH_RELU : TH_SCALE, NULL, &made);
      expect_values(&made, m * 21, wanted, c & 1 ? 1e-14 : 2e-5, "ended");
      desk_close(&d);
    }
}

/* Rows, columns and terms enough that both factors are packed, and more than a block of each, whichever the BLAS would be. */
Test(gemm, products_in_packed_tiles_equal_the_triple_loop) {
  static const int64_t sizes[][3] = {{33, 257, 300}, {279, 135, 131}, {530, 40, 140}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int c = 0; c < 8; c++) {
      desk d = desk_open();
      th_dtype dtype = types[c >> 2];
      int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
      char what[64];
      snprintf(what, sizeof what, "%s [%d,%d] x [%d,%d], transposed a %d b %d", th_dtype_name(dtype), (int)m,
               (int)k, (int)k, (int)n, c & 1, c >> 1 & 1);
      th_tensor a = matrix(&d, dtype, c & 1, 1, m, k), b = matrix(&d, dtype, c & 2, 1, k, n),
                made = matrix(&d, dtype, false, 1, m, n);
      double *wanted = desk_bytes(&d, m * n * (int64_t)sizeof *wanted);
      plain_product(0.5, &a, &b, 2, &made, wanted);
      th_gemm_own(dtype, c & 1, c & 2, m, n, k, 0.5, a.data, c & 1 ? m : k, b.data, c & 2 ? k : n, 2,
                  made.data, n, NULL);
      expect_values(&made, m * n, wanted, dtype == TH_F32 ? 3e-4 : 3e-13, what);
      desk_close(&d);
    }
}

Test(gemm, pieces_of_columns_end_with_their_part_of_the_bias) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor a = desk_uniform(&d, types[t], -1, 1, SHAPE(40, 300)),
              b = desk_uniform(&d, types[t], -1, 1, SHAPE(300, 310)),
              bias = desk_uniform(&d, types[t], -9, 9, SHAPE(310)),
              made = desk_zeros(&d, types[t], SHAPE(40, 310));
    double *wanted = desk_bytes(&d, 40 * 310 * (int64_t)sizeof *wanted);
    plain_product(1, &a, &b, 0, &made, wanted);
    for (int64_t i = 0; i < 40 * 310; i++) wanted[i] = ended(wanted[i], &bias, i % 310, true);
    th_k_linear(NULL, &a, &b, &bias, TH_RELU, NULL, &made);
    expect_values(&made, 40 * 310, wanted, t ? 1e-12 : 3e-4, "ended");
    desk_close(&d);
  }
}

Test(gemm, a_product_large_enough_for_eight_pieces_equals_the_triple_loop) {
  for (int t = 0; t < 2; t++) {
    desk d = desk_open();
    th_tensor a = matrix(&d, types[t], false, 1, 333, 130), b = matrix(&d, types[t], true, 1, 130, 131);
    th_tensor c = matrix(&d, types[t], false, 1, 333, 131), turned = matrix(&d, types[t], true, 1, 333, 131);
    check_product(&d, 1, &a, &b, 0, &c, "pieces");
    check_product(&d, 1, &a, &b, 1, &turned, "pieces, transposed");
    desk_close(&d);
  }
}

Test(gemm, each_batch_has_its_own_matrices) {
  desk d = desk_open();
  th_tensor a = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3, 4, 5)),
            b = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3, 5, 2));
  th_tensor c = desk_zeros(&d, TH_F64, SHAPE(2, 3, 4, 2));
  check_product(&d, 1, &a, &b, 0, &c, "batches");
  desk_close(&d);
}

Test(gemm, a_batch_axis_of_stride_0_repeats_an_input) {
  desk d = desk_open();
  th_tensor few = desk_uniform(&d, TH_F32, -1, 1, SHAPE(3, 4, 5)),
            one = desk_uniform(&d, TH_F32, -1, 1, SHAPE(2, 1, 5, 2));
  th_tensor a, b, c = desk_zeros(&d, TH_F32, SHAPE(2, 3, 4, 2));
  cr_assert(th_view_broadcast(&a, &few, SHAPE(2, 3, 4, 5)) && th_view_broadcast(&b, &one, SHAPE(2, 3, 5, 2)));
  check_product(&d, 1, &a, &b, 0, &c, "a repeats along the first axis, b along the second");
  check_product(&d, 1, &a, &b, 1, &c, "again, added");
  desk_close(&d);
}

Test(gemm, batches_that_fall_on_one_matrix_are_summed) {
  desk d = desk_open();
  th_tensor a = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3, 4, 5)),
            b = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3, 5, 2));
  th_tensor sums = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 1, 4, 2)), c;
  double wanted[16];
  cr_assert(th_view_broadcast(&c, &sums, SHAPE(2, 3, 4, 2)));
  for (int64_t n = 0; n < 16; n++) {
    wanted[n] = th_tensor_get(&sums, n);
    for (int64_t batch = n / 8 * 3; batch < n / 8 * 3 + 3; batch++)
      for (int64_t l = 0; l < 5; l++)
        wanted[n] += read_at(&a, batch, n / 2 % 4, l) * read_at(&b, batch, l, n % 2);
  }
  th_k_matmul(NULL, 1, &a, &b, 1, &c);
  expect_values(&sums, 16, wanted, 1e-14, "sums");
  desk_close(&d);
}

/* A matrix inside a larger one: rows further apart than they are long. */
static th_tensor inside(desk *d, th_dtype dtype, bool transposed, int64_t rows, int64_t columns,
                        th_tensor *whole) {
  th_tensor x = *whole = matrix(d, dtype, transposed, 3, rows + 5, columns + 3);
  cr_assert(th_view_slice(&x, &x, 0, 1, 3) && th_view_slice(&x, &x, 1, 2, 2 + rows));
  cr_assert(th_view_slice(&x, &x, 2, 1, 1 + columns));
  return x;
}

Test(gemm, reads_and_writes_matrices_inside_larger_ones) {
  for (int c = 0; c < 32; c++) {
    desk d = desk_open();
    th_tensor whole, a = inside(&d, types[c >> 4], c & 1, 6, 5, &whole),
                     b = inside(&d, types[c >> 4], c & 2, 5, 4, &whole);
    th_tensor made = inside(&d, types[c >> 4], c & 4, 6, 4, &whole);
    check_product(&d, 2, &a, &b, c & 8 ? 1 : 0, &made, "inside");
    desk_close(&d);
  }
}

Test(gemm, writes_nothing_beside_its_destination) {
  for (int transposed = 0; transposed < 2; transposed++) {
    desk d = desk_open();
    th_tensor whole, ignored, c = inside(&d, TH_F32, transposed, 6, 4, &whole);
    th_tensor a = inside(&d, TH_F32, false, 6, 5, &ignored), b = inside(&d, TH_F32, false, 5, 4, &ignored);
    th_fill(&c, 0);
    th_tensor before = desk_copy(&d, TH_F32, &whole);
    th_k_matmul(NULL, 1, &a, &b, 0, &c);
    th_fill(&c, 0);
    expect_near(&whole, &before, 0, "what lies around");
    desk_close(&d);
  }
}

Test(gemm, rows_far_apart_are_read_where_they_lie) {
  desk d = desk_open();
  th_tensor tall = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 12, 5)), a = tall,
            b = matrix(&d, TH_F64, false, 1, 5, 3);
  th_tensor c = matrix(&d, TH_F64, false, 1, 6, 3);
  a.shape[1] = 6, a.stride[1] = 10; /* every second row */
  check_product(&d, 1, &a, &b, 0, &c, "every second row");
  desk_close(&d);
}

/* ---- alpha and beta -------------------------------------------------------------------------- */

Test(gemm, beta_0_overwrites_even_nan) {
  for (int c = 0; c < 4; c++) {
    desk d = desk_open();
    th_tensor a = matrix(&d, types[c & 1], false, 2, 5, 4), b = matrix(&d, types[c & 1], false, 2, 4, 3);
    th_tensor made = matrix(&d, types[c & 1], c & 2, 2, 5, 3);
    th_fill(&made, NAN);
    check_product(&d, 1, &a, &b, 0, &made, "over NaN");
    desk_close(&d);
  }
}

Test(gemm, alpha_and_beta_weigh_the_product_and_what_was_there) {
  static const double weights[][2] = {{1, 0}, {1, 1}, {-1, 1}, {0.25, 1}, {2, -0.5}, {0, 1}, {0, 0}};
  for (size_t w = 0; w < sizeof weights / sizeof *weights; w++)
    for (int t = 0; t < 2; t++) {
      desk d = desk_open();
      th_tensor a = matrix(&d, types[t], false, 2, 5, 4), b = matrix(&d, types[t], false, 2, 4, 3);
      th_tensor c = matrix(&d, types[t], false, 2, 5, 3);
      check_product(&d, weights[w][0], &a, &b, weights[w][1], &c, "weights");
      desk_close(&d);
    }
}

/* ---- nothing --------------------------------------------------------------------------------- */

Test(gemm, a_sum_over_nothing_is_zero_or_leaves_what_was_there) {
  for (int c = 0; c < 32; c++) {
    desk d = desk_open();
    th_tensor a = matrix(&d, types[c >> 4], c & 1, 2, 5, 0), b = matrix(&d, types[c >> 4], c & 2, 2, 0, 3);
    th_tensor made = matrix(&d, types[c >> 4], c & 4, 2, 5, 3);
    if (!(c & 8)) th_fill(&made, NAN);
    check_product(&d, 1, &a, &b, c & 8 ? 1 : 0, &made, "K = 0");
    desk_close(&d);
  }
  fflush(stderr);
  cr_assert_stderr_eq_str("", "and BLAS has nothing to complain of");
}

Test(gemm, a_result_without_rows_or_columns_or_batches_is_left_alone) {
  static const int64_t sizes[][3] = {{1, 0, 3}, {1, 5, 0}, {0, 5, 3}, {1, 0, 0}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    desk d = desk_open();
    th_tensor a = matrix(&d, TH_F32, false, sizes[s][0], sizes[s][1], 4);
    th_tensor b = matrix(&d, TH_F32, false, sizes[s][0], 4, sizes[s][2]);
    float around = 7;
    th_tensor c = th_tensor_of(&around, TH_F32, SHAPE(sizes[s][0], sizes[s][1], sizes[s][2]));
    th_k_matmul(NULL, 1, &a, &b, 0, &c);
    cr_expect(around == 7);
    desk_close(&d);
  }
  fflush(stderr);
  cr_assert_stderr_eq_str("");
}

/* ---- which layouts BLAS can read ------------------------------------------------------------- */

static bool is_matrix(int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride) {
  th_tensor x = {.dtype = TH_F32, .ndim = 2, .shape = {rows, columns}, .stride = {row_stride, column_stride}};
  return th_is_matrix(&x);
}

Test(gemm, a_matrix_is_dense_along_one_axis_and_does_not_overlap_itself) {
  cr_expect(is_matrix(3, 4, 4, 1));
  cr_expect(is_matrix(3, 4, 9, 1));
  cr_expect(is_matrix(3, 4, 1, 3), "its transpose");
  cr_expect(is_matrix(3, 4, 1, 9));
  cr_expect(is_matrix(1, 4, 0, 1), "one row: the distance to the next says nothing");
  cr_expect(is_matrix(3, 1, 1, 0), "one column");
  cr_expect(is_matrix(3, 1, 5, 7), "one column of a wider matrix");
  cr_expect(is_matrix(1, 4, 7, 5), "one row of a transposed one");
  cr_expect(!is_matrix(3, 4, 8, 2), "gaps in the rows");
  cr_expect(!is_matrix(3, 4, 0, 1), "one row three times");
  cr_expect(!is_matrix(3, 4, 1, 0));
  cr_expect(!is_matrix(3, 4, 2, 1), "rows that overlap");
  th_tensor vector = th_tensor_of(NULL, TH_F32, SHAPE(4));
  cr_expect(!th_is_matrix(&vector));
}

/* ---- backward of a linear layer ---------------------------------------------------------------- */

static void expect_product(desk *d, const th_tensor *a, const th_tensor *b, double beta,
                           const th_tensor *before, const th_tensor *made, const char *what) {
  double *wanted = desk_bytes(d, th_tensor_count(made) * (int64_t)sizeof *wanted);
  plain_product(1, a, b, beta, before, wanted);
  expect_values(made, th_tensor_count(made), wanted, made->dtype == TH_F32 ? 3e-4 : 3e-13, what);
}

Test(gemm, the_backward_of_linear_is_three_products_whether_in_pieces_of_rows_or_not) {
  static const th_unary functions[] = {TH_SCALE, TH_RELU, TH_GELU_ERF};
  for (int c = 0; c < 24; c++) {
    desk d = desk_open();
    th_dtype dtype = types[c & 1];
    th_unary f = functions[c / 8];
    bool first = c & 2, many = c & 4;
    int64_t rows = many ? 1300 : 20, in = 17, out = 33, scratch[2];
    th_tensor gout = desk_uniform(&d, dtype, -1, 1, SHAPE(rows, out)), gyt, ones,
              slope = desk_uniform(&d, dtype, -1, 1, SHAPE(rows, out)), gy = desk_copy(&d, dtype, &gout);
    for (int64_t i = 0; i < rows * out && f != TH_SCALE; i++) {
      double at = th_tensor_get(&slope, i), g = th_tensor_get(&gout, i);
      th_tensor_set(&gy, i, f == TH_RELU ? (at > 0 ? g : 0) : g * at);
    }
    th_linear_backward_job j = {.gy = f == TH_SCALE ? gy : desk_zeros(&d, dtype, SHAPE(rows, out)),
                                .x = desk_uniform(&d, dtype, -1, 1, SHAPE(rows, in)),
                                .w = desk_uniform(&d, dtype, -1, 1, SHAPE(out, in)),
                                .gx = desk_uniform(&d, dtype, -1, 1, SHAPE(rows, in)),
                                .gw = desk_uniform(&d, dtype, -1, 1, SHAPE(out, in)),
                                .gb = desk_uniform(&d, dtype, -1, 1, SHAPE(out)),
                                .first = first,
                                .f = f};
    if (f != TH_SCALE) j.slope = slope, j.gout = gout;
    th_k_linear_backward_scratch(&j, scratch);
    cr_assert(!many || scratch[0] > 1);
    cr_expect_eq(scratch[1], many ? out * (in + 1) : out, "only many rows are cut into pieces");
    j.scratch = desk_zeros(&d, dtype, 2, scratch);
    th_tensor gx = desk_copy(&d, dtype, &j.gx), gw = desk_copy(&d, dtype, &j.gw),
              gb = desk_copy(&d, dtype, &j.gb), row, made;
    th_k_linear_backward(NULL, &j);
    cr_assert(th_view_permute(&gyt, &gy, (int[]){1, 0}));
    ones = desk_zeros(&d, dtype, SHAPE(1, rows)), th_fill(&ones, 1);
    cr_assert(th_view_reshape(&row, &gb, 2, (int64_t[]){1, out}));
    cr_assert(th_view_reshape(&made, &j.gb, 2, (int64_t[]){1, out}));
    expect_product(&d, &gy, &j.w, !first, &gx, &j.gx, "gx");
    expect_product(&d, &gyt, &j.x, 1, &gw, &j.gw, "gw");
    expect_product(&d, &ones, &gy, 1, &row, &made, "gb");
    desk_close(&d);
  }
}
