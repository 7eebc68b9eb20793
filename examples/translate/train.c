/* translate train: the training loop. */
#include "commands.h"
#include "share.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one update ------------------------------------------------------------------------------------- */

/* What an update is made of. */
typedef struct work {
  batch *batches; /* [accumulate] */
  int64_t tokens; /* in all of them */
  double *loss;   /* [parts]: of the tokens in each part of the batches, over `tokens` */
} work;

/* Forward and backward of part `b` of batch `number`: adds to the gradients its share of the update's, which is its
 * share of the update's tokens, and to `loss` likewise: that is the loss alone, whatever else the objective has. */
static th_status add_gradient(run *r, const batch *b, int64_t number, float share, double *loss,
                              th_error *error) {
  const settings *s = &r->settings;
  th_tensor weight = th_tensor_of(&share, TH_F32, 0, NULL);
  if (b->source.shape[0] == 0) return TH_OK;
  th_tape_reset(r->tape);
  th_tape_train(r->tape, true);
  th_tape_release(r->tape, true);
  th_tape_seed(r->tape, (uint64_t)s->seed, (uint64_t)number);
  th_tape_rows(r->tape, b->first, b->source.shape[0]);
  th_var *mean;
  th_backward(objective(r, b, &mean), &weight);
  const th_error *failed = th_tape_error(r->tape);
  if (failed)
    return th_error_set(error, failed->status, "step %lld: %s", (long long)r->step + 1, failed->text);
  *loss += (double)share * th_tensor_get(&mean->value, 0);
  return TH_OK;
}

/* The first parameter that is not finite; NULL: all are. */
static const char *wrong_parameter(const th_params *params) {
  for (int i = 0; i < th_params_count(params); i++) {
    const th_param *p = th_params_at(params, i);
    for (int64_t k = 0; k < th_tensor_count(&p->value); k++)
      if (!isfinite(th_tensor_get(&p->value, k))) return p->name;
  }
  return NULL;
}

/* Says where a step's numbers stop to be finite: each rank's parts of the batches go through the tape again, and under
 * its eyes. Such a step is not taken, and nothing is saved: the weights that led to it are hardly worth keeping. */
static th_status not_finite(run *r, const work *w, th_error *error) {
  static const char says[] = "step %lld: %s; the last checkpoint is kept: a lower --rate may help";
  const char *wrong = wrong_parameter(r->model->params);
  int64_t count = r->settings.accumulate, number = r->step * count + 1, first, end;
  double loss = 0;
  th_error why = {0};
  if (wrong) th_error_set(&why, TH_ENAN, "parameter %s is not finite", wrong);
  th_sharing_parts(r->sharing, &first, &end);
  th_tape_anomaly(r->tape, true);
  for (int64_t i = 0; i < count; i++)
    for (int64_t p = first; p < end && !why.status; p++) {
      batch part = batch_part(&w->batches[i], p, r->settings.parts);
      if (add_gradient(r, &part, number + i, 1, &loss, NULL)) why = *th_tape_error(r->tape);
    }
  th_tape_anomaly(r->tape, false);
  if (why.status) th_error_set(error, TH_ENAN, says, (long long)r->step + 1, why.text);
  th_status found = share_status(r->ranks, why.status ? TH_ENAN : TH_OK, error);
  if (found) return found;
  th_error_set(error, TH_ENAN, says, (long long)r->step + 1, "the norm of the gradient is not finite");
  return share_status(r->ranks, TH_ENAN, error);
}

/* The gradient of the mean over all tokens: this rank's parts, one after another, each over all batches. Batches, and
 * with them dropout, are numbered from 1 through the whole run. What fails is known to all ranks at the end of the
 * step, and not before: until then each waits for the others' gradients. */
static th_status add_gradients(run *r, work *w, th_error *error) {
  int64_t count = r->settings.accumulate, number = r->step * count + 1, first, end;
  th_status status = TH_OK, sent = TH_OK;
  th_sharing_parts(r->sharing, &first, &end);
  for (int64_t p = first; p < end && !sent; p++) {
    th_sharing_begin(r->sharing);
    for (int64_t i = 0; i < count && !status; i++) {
      batch part = batch_part(&w->batches[i], p, r->settings.parts);
      float share = (float)part.tokens / (float)w->tokens;
      if (p == end - 1 && i == count - 1) th_sharing_watch(r->sharing, r->tape);
      status = add_gradient(r, &part, number + i, share, &w->loss[p], error);
    }
    sent = th_sharing_end(r->sharing, status ? NULL : error);
  }
  return status ? status : sent;
}

static th_status fill_batches(run *r, work *w, th_error *error) {
  int64_t count = r->settings.accumulate;
  th_status status = TH_OK;
  memset(w->loss, 0, (size_t)r->settings.parts * sizeof *w->loss);
  w->tokens = 0;
  for (int64_t i = 0; i < count && !status; i++) {
    status = data_train_batch(&r->data, r->step * count + 1 + i, &w->batches[i], error);
    w->tokens += w->batches[i].tokens;
  }
  return status;
}

/* The gradient of --accumulate batches, clip, Adam, moving average: everything that training is. */
static th_status train_step(run *r, work *w, th_error *error) {
  th_schedule schedule = settings_schedule(&r->settings);
  th_tensor values = th_params_values(r->model->params);
  double norm = 0, loss = 0;
  profile_phase(r, "batches");
  th_status status = fill_batches(r, w, error);
  profile_phase(r, "forward and backward");
  if (!status) status = add_gradients(r, w, error);
  profile_phase(r, "clip");
  status = share_step(r, w->loss, status, error);
  if (!status) status = th_sharing_clip(r->sharing, r->settings.clip, &norm, error);
  if (status) return status;

  for (int64_t p = 0; p < r->settings.parts; p++) loss += w->loss[p];
  if (!isfinite(norm) || !isfinite(loss)) return not_finite(r, w, error);
  profile_phase(r, "Adam");
  th_adam_update(&r->adam, th_schedule_rate(&schedule, r->step + 1), r->pool);
  if ((status = th_sharing_spread(r->sharing, &values, error))) return status;
  if (r->ema.values.data) th_ema_update(&r->ema, r->pool);
  r->step++;
  r->history.loss += loss, r->history.norm += norm, r->history.updates++;
  return TH_OK;
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

static th_status work_new(work *w, const run *r, th_error *error) {
  int64_t count = r->settings.accumulate;
  th_status status = TH_OK;
  *w = (work){.batches = calloc((size_t)count, sizeof *w->batches),
              .loss = calloc((size_t)r->settings.parts, sizeof *w->loss)};
  if (!w->batches || !w->loss)
    status = th_error_set(error, TH_ENOMEM, "no memory for %lld batches", (long long)count);
  for (int64_t i = 0; i < count && !status; i++) status = batch_new_training(&w->batches[i], &r->data, error);
  return share_status(r->ranks, status, error);
}

static void work_free(work *w, const run *r) {
  for (int64_t i = 0; w->batches && i < r->settings.accumulate; i++) batch_free(&w->batches[i]);
  free(w->batches);
  free(w->loss);
}

static th_status train(run *r, th_metrics *metrics, th_error *error) {
  progress p;
  work w;
  th_status status = work_new(&w, r, error), kept = TH_OK;
  progress_start(&p, r);
  while (!status && !kept && !run_ended(r) && !share_stops(r)) {
    profile_step(r);
    if ((status = train_step(r, &w, error))) break;
    profile_step_end(r);
    progress_step(&p, r, w.tokens);
    kept = keep_up(r, metrics, &p, error);
  }
  profile_step_end(r);
  progress_clear(&p);
  work_free(&w, r);
  if (kept) return kept; /* the checkpoint before it stands: from there the same is done again, and whole */
  if (status == TH_ENAN || th_ranks_lost(r->ranks)) return status;
  th_error ignored; /* another failed step is saved, too: its weights are the last good ones */
  th_status saved = run_save(r, status ? &ignored : error);
  return status ? status : saved;
}

/* ---- around it ------------------------------------------------------------------------------------------ */

/* Rank 0's files, before the first step. */
static th_status open_files(run *r, bool resumed, th_metrics **metrics, th_error *error) {
  char path[PATH_TEXT];
  *metrics = NULL;
  if (!share_leads(r)) return TH_OK;
  th_status status = resumed ? run_save_weights(r, error) : TH_OK;
  if (!status) status = snapshots_begin(r, error);
  return status ? status
                : th_metrics_open(metrics, run_path(r, path, "metrics.jsonl"),
                                  resumed ? r->step : TH_METRICS_FRESH, error);
}

static th_status train_run(run *r, bool resumed, th_error *error) {
  th_metrics *metrics;
  th_status status = share_status(r->ranks, open_files(r, resumed, &metrics, error), error);
  if (status) {
    if (metrics) th_metrics_close(metrics);
    return status;
  }
  introduce(r, resumed);
  double started = seconds_now();
  int64_t first_step = r->step;
  status = share_lost(r, train(r, metrics, error), error);
  if (metrics) th_metrics_close(metrics);
  if (status || !share_leads(r)) return status;
  if ((status = profile_report(r, error))) return status;
  share_report(r, r->step - first_step, seconds_now() - started);
  if (run_ended(r)) return summarise(r, seconds_now() - started, first_step, error);
  summarise_stop(r);
  return TH_OK;
}

th_status train_command(int argc, const char **argv, th_error *error) {
  settings asked;
  given flags;
  run r = {0};
  th_ranks *ranks;
  char out[PATH_TEXT];
  bool resumed;
  th_status status = settings_parse(argc, argv, &asked, &flags, out, error);
  th_status joined = share_join(&ranks, status ? NULL : error);
  if (joined) return status ? status : joined;
  status = share_status(ranks, status, error);
  if (!status && !(status = share_begin(&r, out, &asked, &flags, ranks, &resumed, error))) {
    status = share_leads(&r) ? profile_begin(&r, asked.profile, error) : TH_OK;
    status = share_status(ranks, status, error);
    if (!status) status = train_run(&r, resumed, error);
    bool stopped = !status && !run_ended(&r);
    run_free(&r);
    if (stopped) {
      th_ranks_leave(ranks, true);
      exit(STOPPED_BY_SIGNAL + (r.stop ? r.stop : stop_signal));
    }
  }
  bool another_says = status && th_ranks_count(ranks) > 1 && !th_ranks_lost(ranks) && !*error->text;
  th_ranks_leave(ranks, true);
  return another_says ? TH_OK
                      : status; /* mpirun ends all at the first that fails: let that be who says why */
}
