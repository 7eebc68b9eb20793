/* Averages of weights: over updates, and over checkpoints. */
#include "tapehead/optim.h"

#include "../tensor/kernels.h"

#include <math.h>
#include <string.h>

#define TH_KERNELS "../optim/average.inc" /* seen from each_real.h */
#include "../tensor/each_real.h"

#define PIECE 16384 /* parameters a thread takes at once */

/* ---- over updates ------------------------------------------------------------------------------------ */

th_status th_ema_new(th_ema *ema, th_params *params, double decay, th_error *error) {
  *ema = (th_ema){.params = params, .decay = decay};
  th_tensor values = th_params_values(params);
  if (!(decay >= 0 && decay < 1))
    return th_error_set(error, TH_EINVAL, "moving average: decay %g must lie in [0, 1)", decay);
  if (!values.data) return th_error_set(error, TH_EINVAL, "moving average: th_params_make comes first");
  th_status status = th_tensor_new(&ema->values, values.dtype, 1, values.shape, error);
  return status ? status : th_tensor_copy(&ema->values, &values, error);
}

void th_ema_free(th_ema *ema) { th_tensor_free(&ema->values); }

typedef struct {
  th_tensor value, average;
  double rest; /* 1 - d */
} ema_update;

static void ema_piece(void *context, int64_t piece) {
  const ema_update *u = context;
  int64_t begin = piece * PIECE, n = u->value.shape[0] - begin;
  if (n > PIECE) n = PIECE;
  TH_FOR(u->value.dtype, ema, n, u->rest, th_at(&u->value, begin), th_at(&u->average, begin));
}

void th_ema_update(th_ema *ema, th_pool *pool) {
  double t = (double)++ema->updates;
  ema_update u = {th_params_values(ema->params), ema->values, 1 - fmin(ema->decay, (1 + t) / (10 + t))};
  th_parallel(pool, (u.value.shape[0] + PIECE - 1) / PIECE, ema_piece, &u);
}

/* ---- over checkpoints --------------------------------------------------------------------------------- */

th_status th_average_new(th_average *average, th_params *params, int64_t count, th_error *error) {
  *average = (th_average){.params = params};
  th_tensor values = th_params_values(params);
  if (count < 1)
    return th_error_set(error, TH_EINVAL, "average: of %lld checkpoints: want at least 1", (long long)count);
  if (!values.data) return th_error_set(error, TH_EINVAL, "average: th_params_make comes first");
  return th_tensor_new(&average->ring, values.dtype, 2, (int64_t[]){count, values.shape[0]}, error);
}

void th_average_free(th_average *average) { th_tensor_free(&average->ring); }

void th_average_take(th_average *average) {
  int64_t count = average->ring.shape[0], n = average->ring.shape[1];
  th_tensor values = th_params_values(average->params);
  memcpy(th_at(&average->ring, average->taken++ % count * n), values.data,
         (size_t)n * th_dtype_size(values.dtype));
}

int64_t th_average_count(const th_average *average) {
  return average->taken < average->ring.shape[0] ? average->taken : average->ring.shape[0];
}

void th_average_mean(const th_average *average, const th_tensor *mean) {
  TH_FOR(mean->dtype, mean, mean->shape[0], th_average_count(average), average->ring.data, mean->data);
}
