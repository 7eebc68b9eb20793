/* Which directions of the residual stream heads read: principal angles between their projections. */
#include "../tensor/lapack.h"
#include "tapehead/study.h"

#include "../tensor/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Orthonormal rows that span what a projection reads. */
typedef struct basis {
  double *rows; /* [rank,width] */
  int rank;
} basis;

typedef struct bases {
  int heads, width;
  basis *query, *key;    /* [heads] */
  double *matrix, *work; /* scratch: a projection, or the product of two bases; LAPACK's */
  int work_size;
} bases;

static int most_rows(const th_transformer *m) {
  int64_t most = 1;
  for (int i = 0; i < th_head_count(m); i++) {
    th_head head = th_head_at(m, i);
    int64_t rows = th_nn_read_rows(th_head_attention(m, head.kind, head.layer));
    most = rows > most ? rows : most;
  }
  return (int)most;
}

static void free_bases(bases *b) {
  for (int i = 0; i < b->heads; i++) {
    if (b->query) free(b->query[i].rows);
    if (b->key) free(b->key[i].rows);
  }
  free(b->query);
  free(b->key);
  free(b->matrix);
  free(b->work);
}

/* False: no memory. */
static bool new_bases(bases *b, const th_transformer *m) {
  int rows = most_rows(m), width = (int)m->config.layer.width, larger = rows > width ? rows : width;
  *b = (bases){.heads = th_head_count(m), .width = width, .work_size = 8 * (larger + 1)};
  b->query = calloc((size_t)b->heads, sizeof *b->query);
  b->key = calloc((size_t)b->heads, sizeof *b->key);
  b->matrix = reallocarray(NULL, (size_t)rows, (size_t)larger * sizeof *b->matrix);
  b->work = reallocarray(NULL, (size_t)b->work_size + (size_t)rows, sizeof *b->work);
  return b->query && b->key && b->matrix && b->work;
}

/* What a head reads, [count,width], is a matrix of columns to LAPACK: its left singular vectors, as many as it has
 * rank, are the basis. */
static th_status span(bases *b, const th_nn_attention *layer, int64_t place, bool key, basis *made,
                      th_error *error) {
  int count = (int)th_nn_read_rows(layer);
  int width = b->width, least = count < width ? count : width, one = 1, info;
  double *size = b->work + b->work_size; /* the singular values */
  made->rows = reallocarray(NULL, (size_t)least, (size_t)width * sizeof *made->rows);
  if (!made->rows) return th_error_set(error, TH_ENOMEM, "subspaces: out of memory");
  th_nn_read_matrix(layer, place, key, b->matrix);
  for (int64_t i = 0; i < (int64_t)count * width; i++)
    if (!isfinite(b->matrix[i]))
      return th_error_set(error, TH_ENAN, "subspaces: a weight of a projection is %g", b->matrix[i]);
  dgesvd_("S", "N", &width, &count, b->matrix, &width, size, made->rows, &width, NULL, &one, b->work,
          &b->work_size, &info, 1, 1);
  if (info) return th_error_set(error, TH_EINVAL, "subspaces: singular values do not converge");
  double epsilon = layer->out.bias->value.dtype == TH_F32 ? (double)FLT_EPSILON : DBL_EPSILON;
  double rounding = (count > width ? count : width) * epsilon * size[0]; /* as NumPy's matrix_rank */
  while (made->rank < least && size[made->rank] > rounding) made->rank++;
  return TH_OK;
}

static th_status span_all(bases *b, const th_transformer *m, th_error *error) {
  th_status status = TH_OK;
  for (int i = 0; i < b->heads && !status; i++) {
    th_head head = th_head_at(m, i);
    const th_nn_attention *layer = th_head_attention(m, head.kind, head.layer);
    int64_t place = th_head_place(m, head);
    status = span(b, layer, place, false, &b->query[i], error);
    if (!status) status = span(b, layer, place, true, &b->key[i], error);
  }
  return status;
}

/* The cosines of the principal angles are the singular values of one basis times the other (Bjorck & Golub 1973,
 * theorem 1), so that the sum of their squares is that of the product's elements. */
static double likeness(const bases *b, const basis *one, const basis *other) {
  int angles = one->rank < other->rank ? one->rank : other->rank;
  double sum = 0;
  if (!angles) return NAN;
  th_gemm(TH_F64, false, true, one->rank, other->rank, b->width, 1, one->rows, b->width, other->rows,
          b->width, 0, b->matrix, other->rank);
  for (int64_t i = 0; i < (int64_t)one->rank * other->rank; i++) sum += b->matrix[i] * b->matrix[i];
  return fmin(sum / angles, 1);
}

/* Whose residual stream is read: the encoder's or the decoder's. */
static bool query_from_encoder(th_head head) { return head.kind == TH_ENCODER_SELF; }
static bool key_from_encoder(th_head head) { return head.kind != TH_DECODER_SELF; }

static void compare(const bases *b, const th_transformer *m, double *query, double *key, double *own) {
  for (int i = 0; i < b->heads; i++) {
    th_head one = th_head_at(m, i);
    own[i] = one.kind == TH_CROSS ? NAN : likeness(b, &b->query[i], &b->key[i]);
    for (int j = i; j < b->heads; j++) {
      th_head other = th_head_at(m, j);
      bool same_query = query_from_encoder(one) == query_from_encoder(other);
      bool same_key = key_from_encoder(one) == key_from_encoder(other);
      query[i * b->heads + j] = query[j * b->heads + i] =
          same_query ? likeness(b, &b->query[i], &b->query[j]) : NAN;
      key[i * b->heads + j] = key[j * b->heads + i] = same_key ? likeness(b, &b->key[i], &b->key[j]) : NAN;
    }
  }
}

th_status th_study_subspaces(const th_transformer *m, double *query, double *key, double *own,
                             th_error *error) {
  bases b;
  th_status status = TH_OK;
  th_blas_one_thread();
  if (!new_bases(&b, m)) status = th_error_set(error, TH_ENOMEM, "subspaces: out of memory");
  else status = span_all(&b, m, error);
  if (!status) compare(&b, m, query, key, own);
  free_bases(&b);
  return status;
}
