/* How unlike two heads look at the same things: Jensen-Shannon distances. */
#include "weights.h"

#include "../tensor/kernels.h"
#include "../tensor/vecmath.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The heads of one kind in one batch: the rows that count, packed. */
typedef struct rows {
  int64_t heads, count, keys;
  double *weights; /* [heads,count,keys] */
  double *entropy; /* [heads,count] */
  int64_t stride;  /* of `sum` */
  double *sum;     /* [heads,heads], rows `stride` apart: distances added up; above the diagonal only */
} rows;

/* ---- entropies ----------------------------------------------------------------------------------------------- */

#define CHUNK 128 /* weights whose logarithms are taken at once */

/* Entropy of (p + q) / 2 in nats: of p itself where q is p, to the last bit. */
static double entropy_of_mean(int64_t n, const double *p, const double *q) {
  double mean[CHUNK], logarithm[CHUNK], sum = 0;
  for (int64_t done = 0; done < n; done += CHUNK) {
    int64_t here = n - done < CHUNK ? n - done : CHUNK;
    for (int64_t j = 0; j < here; j++) {
      mean[j] = 0.5 * (p[done + j] + q[done + j]);
      logarithm[j] = mean[j] > DBL_MIN ? mean[j] : DBL_MIN; /* so that 0 log 0 is 0 */
    }
    th_vlog_f64(here, logarithm, logarithm);
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < here; j++) sum += mean[j] * logarithm[j];
  }
  return -sum;
}

static void take_entropies(void *context, int64_t head) {
  const rows *r = context;
  for (int64_t i = head * r->count; i < (head + 1) * r->count; i++)
    r->entropy[i] = entropy_of_mean(r->keys, r->weights + i * r->keys, r->weights + i * r->keys);
}

/* ---- pairs --------------------------------------------------------------------------------------------------- */

/* One pair of heads is one piece of work, its rows in order: so the bits do not depend on threads. */
static void compare_pair(void *context, int64_t pair) {
  const rows *r = context;
  int64_t a = pair / r->heads, b = pair % r->heads;
  if (a >= b) return;
  const double *p = r->weights + a * r->count * r->keys, *q = r->weights + b * r->count * r->keys;
  double *sum = r->sum + a * r->stride + b;
  for (int64_t i = 0; i < r->count; i++) {
    double apart = 0.5 * (r->entropy[a * r->count + i] + r->entropy[b * r->count + i]);
    double bits = (entropy_of_mean(r->keys, p + i * r->keys, q + i * r->keys) - apart) / M_LN2;
    *sum += bits < 0 ? 0 : bits > 1 ? 1 : sqrt(bits); /* rounding alone can lead out of 0 .. 1 */
  }
}

/* The rows of sequence b that count: within its length, and with a key to look at. */
static int64_t rows_of(th_attention_kind kind, const th_batch *batch, const th_tensor *weights, int64_t b) {
  if (th_study_length(th_study_key_length(kind, batch), b, weights->shape[2]) == 0) return 0;
  return th_study_length(th_study_query_length(kind, batch), b, weights->shape[1]);
}

/* Packs the rows of `heads` heads. False: no memory, and the tape knows. */
static bool pack(rows *r, th_tape *tape, th_attention_kind kind, const th_batch *batch,
                 const th_tensor *weights) {
  int64_t sequences = weights->shape[0], keys = weights->shape[2], all = weights->shape[1] * keys;
  for (int64_t b = 0; b < sequences; b++) r->count += rows_of(kind, batch, weights, b);
  r->keys = keys;
  r->weights = th_keep(tape, (size_t)(r->heads * r->count * keys) * sizeof *r->weights);
  r->entropy = th_keep(tape, (size_t)(r->heads * r->count) * sizeof *r->entropy);
  if (!r->weights || !r->entropy) return false;
  double *to = r->weights;
  for (int64_t h = 0; h < r->heads; h++)
    for (int64_t b = 0; b < sequences; b++) {
      int64_t n = rows_of(kind, batch, weights, b) * keys;
      memcpy(to, (const double *)weights[h].data + b * all, (size_t)n * sizeof *to);
      to += n;
    }
  return true;
}

/* ---- over the data ------------------------------------------------------------------------------------------- */

/* The heads of a kind are `count` from `first` on. */
typedef struct kind_range {
  int first, count;
  int64_t rows; /* that counted so far */
} kind_range;

static void find_kinds(const th_transformer *m, kind_range kinds[TH_CROSS + 1]) {
  for (int i = 0; i < th_head_count(m); i++) {
    kind_range *k = &kinds[th_head_at(m, i).kind];
    if (!k->count++) k->first = i;
  }
}

static th_status add_batch(const th_transformer *m, th_tape *tape, const th_batch *batch,
                           kind_range kinds[TH_CROSS + 1], double *distance, th_error *error) {
  int heads = th_head_count(m);
  const th_tensor *weights = th_study_weights(m, tape, batch, error);
  if (!weights) return error->status;
  for (int kind = 0; kind <= TH_CROSS; kind++) {
    kind_range *k = &kinds[kind];
    rows r = {.heads = k->count, .stride = heads, .sum = distance + k->first * (heads + 1)};
    if (!k->count) continue;
    if (!pack(&r, tape, (th_attention_kind)kind, batch, weights + k->first))
      return th_error_set(error, TH_ENOMEM, "%s", th_tape_error(tape)->text);
    th_parallel(th_tape_pool(tape), r.heads, take_entropies, &r);
    th_parallel(th_tape_pool(tape), r.heads * r.heads, compare_pair, &r);
    k->rows += r.count;
  }
  return TH_OK;
}

/* Sums above the diagonal become means on both sides of it. */
static void finish(const kind_range *k, int heads, double *distance) {
  for (int a = k->first; a < k->first + k->count; a++)
    for (int b = a; b < k->first + k->count; b++) {
      double mean = distance[a * heads + b] / (double)k->rows; /* of no rows: NAN */
      distance[a * heads + b] = distance[b * heads + a] = mean;
    }
}

th_status th_study_distances(const th_transformer *m, th_tape *tape, const th_study_data *data,
                             double *distance, th_error *error) {
  th_error unwanted;
  kind_range kinds[TH_CROSS + 1] = {0};
  int heads = th_head_count(m);
  if (!error) error = &unwanted;
  for (int i = 0; i < heads * heads; i++)
    distance[i] = th_head_at(m, i / heads).kind == th_head_at(m, i % heads).kind ? 0 : NAN;
  find_kinds(m, kinds);
  for (int64_t i = 0; i < data->count; i++) {
    th_status status = add_batch(m, tape, &data->batches[i], kinds, distance, error);
    if (status) return status;
    if (data->progress && !data->progress(data->context, (double)(i + 1) / (double)data->count))
      return th_error_set(error, TH_EINVAL, "stopped");
  }
  for (int kind = 0; kind <= TH_CROSS; kind++) finish(&kinds[kind], heads, distance);
  return TH_OK;
}

double th_study_redundancy(const th_transformer *m, const double *distance, th_attention_kind kind,
                           int layer) {
  int heads = th_head_count(m), pairs = 0;
  double sum = 0;
  for (int a = 0; a < heads; a++)
    for (int b = a + 1; b < heads; b++) {
      th_head one = th_head_at(m, a), other = th_head_at(m, b);
      if (one.kind != kind || other.kind != kind || one.layer != layer || other.layer != layer) continue;
      sum += distance[a * heads + b];
      pairs++;
    }
  return pairs ? 1 - sum / pairs : NAN;
}
