#include "share.h"
#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- together ----------------------------------------------------------------------------------------------- */

/* mpirun sends a signal when a rank has died, and kills the others a second later: who still waits then waits in vain. When
 * it is a person's signal all ranks come to the end of the step, and stop there. */
#define STILL_WAIT 0.3

static bool keep_waiting(void) {
  static double asked;
  if (!stop_signal) return true;
  if (asked == 0) asked = seconds_now();
  return seconds_now() - asked < STILL_WAIT;
}

th_status share_join(th_ranks **ranks, th_error *error) {
  th_status status = th_ranks_join(ranks, error);
  if (status) return status;
  th_ranks_ask(*ranks, keep_waiting);
  if (th_ranks_rank(*ranks) && !freopen("/dev/null", "w", stdout))
    status = th_error_set(error, TH_EIO, "/dev/null: cannot write");
  return share_status(*ranks, status, error);
}

/* numbers [ranks]: the failures of all. */
static th_status first_failure(const th_ranks *ranks, const double *numbers, th_error *error) {
  for (int r = 0; r < th_ranks_count(ranks); r++) {
    if (numbers[r] == 0) continue;
    th_status status = (th_status)numbers[r];
    return r == th_ranks_rank(ranks) ? status : th_error_set(error, status, "%s", "");
  }
  return TH_OK;
}

/* numbers [count + ranks]: the sum of the first, then first_failure of all. */
static th_status add_up(th_ranks *ranks, double *numbers, int count, th_status mine, th_error *error) {
  th_error lost = {0};
  numbers[count + th_ranks_rank(ranks)] = mine;
  if (th_ranks_sum(ranks, numbers, count + th_ranks_count(ranks), &lost)) {
    if (!mine && error) *error = lost;
    return mine ? mine : lost.status;
  }
  return first_failure(ranks, numbers + count, error);
}

th_status share_status(th_ranks *ranks, th_status mine, th_error *error) {
  if (th_ranks_count(ranks) == 1) return mine;
  double *numbers = calloc((size_t)th_ranks_count(ranks), sizeof *numbers);
  if (!numbers) return th_error_set(error, TH_ENOMEM, "no memory to talk to other ranks");
  th_status status = add_up(ranks, numbers, 0, mine, error);
  free(numbers);
  return status;
}

bool share_is_split(const run *r) { return r->ranks && th_ranks_count(r->ranks) > 1; }
bool share_stops(const run *r) { return share_is_split(r) ? r->stop : stop_signal; }

bool share_leads(const run *r) { return !r->ranks || th_ranks_rank(r->ranks) == 0; }

/* ---- a run becomes shared ------------------------------------------------------------------------------------- */

th_status share_parts(settings *s, const th_ranks *ranks, th_error *error) {
  int count = th_ranks_count(ranks);
  int64_t most =
      s->batch_tokens ? INT64_MAX : s->batch; /* of batches by tokens some may have none for a rank */
  if (count > most)
    return th_error_set(error, TH_EINVAL,
                        "--batch %lld: fewer sequences than the %d ranks that are to share them",
                        (long long)s->batch, count);
  if (s->parts > most)
    return th_error_set(error, TH_EINVAL, "--parts %lld: more than the %lld sequences of a batch",
                        (long long)s->parts, (long long)s->batch);
  if (s->parts >= count) return TH_OK;
  printf("batches are cut into %d parts instead of %lld, one for each rank: results differ in rounding\n",
         count, (long long)s->parts);
  s->parts = count;
  return TH_OK;
}

static uint64_t add_bytes(uint64_t hash, const void *bytes, size_t size) { /* FNV-1a */
  for (const unsigned char *at = bytes, *end = at + size; size && at < end; at++)
    hash = (hash ^ *at) * 0x100000001B3ull;
  return hash;
}

/* Of all that ranks must have alike. */
static uint64_t sum_of(const run *r) {
  settings s = r->settings;
  const data *d = &r->data;
  th_tensor values = th_params_values(r->model->params);
  int64_t counts[] = {d->train_count, d->held_out_count, d->longest, r->step};
  s.threads = 0;
  uint64_t hash = add_bytes(0xCBF29CE484222325ull, &s, sizeof s);
  hash = add_bytes(hash, counts, sizeof counts);
  hash = add_bytes(hash, d->text, d->text_size);
  hash = add_bytes(hash, d->valid_text, d->valid_size);
  return add_bytes(hash, values.data, (size_t)values.shape[0] * th_dtype_size(values.dtype));
}

static th_status compare(const run *r, th_ranks *ranks, th_error *error) {
  if (th_ranks_count(ranks) == 1) return TH_OK;
  uint64_t mine = sum_of(r), first = mine;
  th_status status = th_ranks_tell(ranks, &first, sizeof first, error);
  if (!status && mine != first)
    status =
        th_error_set(error, TH_EINVAL,
                     "rank %d was given other settings, data or weights than rank 0: want the same for all",
                     th_ranks_rank(ranks));
  return status;
}

th_status share_ready(run *r, th_ranks *ranks, th_error *error) {
  th_status status = compare(r, ranks, error);
  return status ? status : th_sharing_new(&r->sharing, ranks, r->model->params, r->settings.parts, error);
}

/* Its pieces of the moments, in place of all of them. */
static th_status shard(run *r, th_error *error) {
  int count;
  const th_span *spans = th_sharing_spans(r->sharing, &count);
  th_adam own;
  th_status status = th_adam_new_spans(&own, r->model->params, &r->adam.config, spans, count, error);
  if (status) return status;
  th_sharing_pieces(r->sharing, &r->adam.moment1, &own.moment1);
  th_sharing_pieces(r->sharing, &r->adam.moment2, &own.moment2);
  own.step = r->adam.step;
  th_adam_free(&r->adam);
  r->adam = own;
  return TH_OK;
}

th_status share_run(run *r, th_ranks *ranks, th_error *error) {
  r->ranks = ranks;
  if (!share_leads(r)) { /* averages are for files alone */
    th_ema_free(&r->ema);
    th_average_free(&r->average);
  }
  return share_is_split(r) ? shard(r, error) : TH_OK;
}

/* ---- moments ------------------------------------------------------------------------------------------------------ */

th_status share_moments(const run *r, th_tensor moment[2], th_error *error) {
  const th_tensor own[2] = {r->adam.moment1, r->adam.moment2};
  th_tensor values = th_params_values(r->model->params);
  th_status status = TH_OK;
  moment[0] = own[0], moment[1] = own[1];
  if (!share_is_split(r)) return TH_OK;
  moment[0].data = moment[1].data = NULL;
  for (int i = 0; i < 2 && !status; i++)
    status = th_tensor_new(&moment[i], values.dtype, 1, values.shape, error);
  status = share_status(r->ranks, status, error);
  for (int i = 0; i < 2 && !status; i++) status = th_sharing_whole(r->sharing, &own[i], &moment[i], error);
  if (status) share_moments_free(r, moment);
  return status;
}

void share_moments_free(const run *r, th_tensor moment[2]) {
  for (int i = 0; i < 2 && share_is_split(r); i++) th_tensor_free(&moment[i]);
}

/* ---- as it goes ------------------------------------------------------------------------------------------------- */

th_status share_step(run *r, double *loss, th_status mine, th_error *error) {
  int parts = (int)r->settings.parts, ranks = th_ranks_count(r->ranks);
  double *numbers = calloc((size_t)parts + 2 + (size_t)ranks, sizeof *numbers);
  if (!numbers) return mine ? mine : th_error_set(error, TH_ENOMEM, "no memory to add up");
  memcpy(numbers, loss, (size_t)parts * sizeof *loss);
  numbers[parts] = stop_signal, numbers[parts + 1] = stop_signal != 0;
  th_status status = add_up(r->ranks, numbers, parts + 2, mine, error);
  memcpy(loss, numbers, (size_t)parts * sizeof *loss);
  if (numbers[parts + 1] > 0) r->stop = (int)(numbers[parts] / numbers[parts + 1]);
  free(numbers);
  return status;
}

th_status share_history(run *r, th_status mine, th_error *error) {
  struct {
    history history;
    th_status status;
  } told = {r->history, mine};
  if (!share_is_split(r)) return mine;
  th_error lost = {0};
  if (th_ranks_tell(r->ranks, &told, sizeof told, &lost)) {
    if (!mine && error) *error = lost;
    return mine ? mine : lost.status;
  }
  if (share_leads(r)) return mine;
  r->history = told.history;
  return told.status ? th_error_set(error, told.status, "%s", "") : TH_OK;
}

th_status share_lost(const run *r, th_status status, th_error *error) {
  th_error why = *error;
  if (!status || !th_ranks_lost(r->ranks)) return status;
  if (!share_leads(r)) return th_error_set(error, TH_EIO, "%s", "");
  return th_error_set(error, TH_EIO, "%s; the last checkpoint is kept: train --out %s goes on from it",
                      why.text, r->directory);
}

void share_report(const run *r, int64_t steps, double seconds) {
  th_ranks_meter m = th_ranks_read_meter(r->ranks);
  if (!share_is_split(r) || !steps) return;
  printf("%d ranks: rank 0 sent %.0f kB in %.0f messages a step, and waited %.2f ms of %.2f for the others; "
         "%.0f %% of the "
         "gradients had come when backward ended\n",
         th_ranks_count(r->ranks), (double)m.bytes / (double)steps / 1000, (double)m.messages / (double)steps,
         1000 * m.waited / (double)steps, 1000 * seconds / (double)steps, 100 * th_sharing_early(r->sharing));
}
