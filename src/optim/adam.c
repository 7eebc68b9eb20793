#include "tapehead/optim.h"

#include "../tensor/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  double beta1, beta2, epsilon;
  double decay; /* joins the gradient */
  double keep;  /* what decoupled decay leaves of a weight: 1 - rate decay */
  double rate;  /* over the bias correction of the first moment */
  double root;  /* 1 over the square root of that of the second */
} adam_numbers;

#define TH_KERNELS "../optim/adam.inc" /* seen from each_real.h */
#include "../tensor/each_real.h"

#define PIECE 16384 /* parameters a thread takes at once */

/* So that the loop over elements asks nothing of them: where all are treated alike there is a single run. */
static th_status find_runs(th_adam *adam, int64_t elements, th_error *error) {
  const th_params *set = adam->params;
  const char *values = th_params_values(set).data;
  int count = th_params_count(set);
  th_adam_run *run = adam->runs = calloc((size_t)count + 1, sizeof *run);
  if (!run) return th_error_set(error, TH_ENOMEM, "adam: no memory");
  for (int i = 0; i < count; i++) {
    const th_param *param = th_params_at(set, i);
    bool decays = adam->config.decay_all || adam->config.weight_decay == 0 || param->decays;
    if (i && (run->decays != decays || run->rate != param->rate)) {
      run->end = ((const char *)param->value.data - values) / (int64_t)th_dtype_size(param->value.dtype);
      run++;
    }
    run->decays = decays;
    run->rate = param->rate;
  }
  run->end = elements;
  return TH_OK;
}

/* Memory that comes as zeros is written all the same: what is read first is a page of zeros that all share, and writing it then,
 * with threads about, costs several times as much. */
static th_status new_moment(th_tensor *moment, th_dtype dtype, int64_t elements, th_error *error) {
  th_status status = th_tensor_new(moment, dtype, 1, &elements, error);
  if (!status) memset(moment->data, 0, (size_t)elements * th_dtype_size(dtype));
  return status;
}

/* The spans and, one after another, their moments. */
static th_status make_moments(th_adam *adam, const th_span *spans, int count, th_error *error) {
  th_dtype dtype = th_params_values(adam->params).dtype;
  int64_t elements = 0;
  adam->spans = calloc((size_t)count + 1, sizeof *adam->spans);
  if (!adam->spans) return th_error_set(error, TH_ENOMEM, "adam: no memory");
  for (int i = 0; i < count; i++) {
    adam->spans[i] = spans[i];
    elements += spans[i].end - spans[i].begin;
  }
  adam->span_count = count;
  th_status status = new_moment(&adam->moment1, dtype, elements, error);
  return status ? status : new_moment(&adam->moment2, dtype, elements, error);
}

th_status th_adam_new(th_adam *adam, th_params *params, const th_adam_config *config, th_error *error) {
  th_span all = {0, th_params_values(params).shape[0]};
  return th_adam_new_spans(adam, params, config, &all, 1, error);
}

th_status th_adam_new_spans(th_adam *adam, th_params *params, const th_adam_config *config,
                            const th_span *spans, int count, th_error *error) {
  *adam = (th_adam){.params = params};
  if (config) adam->config = *config;
  th_adam_config *c = &adam->config;
  if (c->beta1 == 0 && c->beta2 == 0) c->beta1 = 0.9, c->beta2 = 0.98;
  if (c->epsilon == 0) c->epsilon = 1e-9;
  if (!(c->beta1 >= 0 && c->beta1 < 1 && c->beta2 >= 0 && c->beta2 < 1 && c->epsilon > 0 &&
        c->weight_decay >= 0))
    return th_error_set(error, TH_EINVAL,
                        "adam: betas %g and %g must lie in [0, 1), epsilon %g above 0, decay %g not below 0",
                        c->beta1, c->beta2, c->epsilon, c->weight_decay);
  th_tensor values = th_params_values(params);
  if (!values.data) return th_error_set(error, TH_EINVAL, "adam: th_params_make comes first");
  th_status status = make_moments(adam, spans, count, error);
  if (!status) status = find_runs(adam, values.shape[0], error);
  if (status) th_adam_free(adam);
  return status;
}

void th_adam_free(th_adam *adam) {
  th_tensor_free(&adam->moment1);
  th_tensor_free(&adam->moment2);
  free(adam->runs);
  free(adam->spans);
  adam->runs = NULL, adam->spans = NULL;
}

void th_adam_moments(const th_adam *adam, const th_param *param, th_tensor *moment1, th_tensor *moment2) {
  *moment1 = th_params_part(adam->params, param, &adam->moment1);
  *moment2 = th_params_part(adam->params, param, &adam->moment2);
}

typedef struct {
  adam_numbers plain, decaying; /* for what does not decay, and what does */
  double shrink;                /* what decoupled decay takes of a weight */
  th_tensor value, grad;
  const th_adam *adam;
} update;

/* Elements [at, end) of the vector, whose moments begin at `moment`. */
static void update_run(const update *u, int64_t at, int64_t end, int64_t moment) {
  const th_adam_run *run = u->adam->runs;
  while (run->end <= at) run++;
  for (; at < end; run++) {
    int64_t n = (run->end < end ? run->end : end) - at;
    adam_numbers numbers = run->decays ? u->decaying : u->plain;
    numbers.rate *= run->rate;
    if (run->decays) numbers.keep = 1 - run->rate * u->shrink;
    TH_FOR(u->value.dtype, adam, n, &numbers, th_at(&u->grad, at), th_at(&u->value, at),
           th_at(&u->adam->moment1, moment), th_at(&u->adam->moment2, moment));
    at += n, moment += n;
  }
}

static void update_piece(void *context, int64_t piece) {
  const update *u = context;
  int64_t moment = piece * PIECE, end = u->adam->moment1.shape[0], first = 0; /* of this span's moments */
  if (end > moment + PIECE) end = moment + PIECE;
  for (const th_span *span = u->adam->spans; moment < end; span++) {
    int64_t next = first + span->end - span->begin, stop = next < end ? next : end;
    if (moment < stop) update_run(u, span->begin + moment - first, span->begin + stop - first, moment);
    if (moment < stop) moment = stop;
    first = next;
  }
}

void th_adam_update(th_adam *adam, double rate, th_pool *pool) {
  const th_adam_config *c = &adam->config;
  double step = (double)++adam->step;
  update u = {.value = th_params_values(adam->params), .grad = th_params_grads(adam->params), .adam = adam};
  u.plain = (adam_numbers){.beta1 = c->beta1,
                           .beta2 = c->beta2,
                           .epsilon = c->epsilon,
                           .keep = 1,
                           .rate = rate / (1 - pow(c->beta1, step)),
                           .root = 1 / sqrt(1 - pow(c->beta2, step))};
  u.decaying = u.plain;
  if (c->decoupled) u.shrink = rate * c->weight_decay;
  else u.decaying.decay = c->weight_decay;
  th_parallel(pool, (adam->moment1.shape[0] + PIECE - 1) / PIECE, update_piece, &u);
}

double th_clip_grad_norm(th_params *params, double limit) {
  th_tensor grads = th_params_grads(params);
  double norm = sqrt(th_k_sum_of_squares(&grads));
  if (limit <= 0 || !isfinite(norm) || norm <= limit) return norm;
  TH_FOR(grads.dtype, scale, grads.shape[0], limit / norm, grads.data);
  return norm;
}
