/* translate train: the training loop. */
#include "commands.h"
#include "lock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one update ------------------------------------------------------------------------------------- */

/* Forward and backward of batch `number`: adds to the gradients its share of the update's, which is its share of
 * the update's tokens, and to `loss` likewise: that
 * is the loss alone, whatever else the objective has. */
static th_status add_gradient(run *r, const batch *b, int64_t number, float share, double *loss,
                              th_error *error) {
  const settings *s = &r->settings;
  th_tensor weight = th_tensor_of(&share, TH_F32, 0, NULL);
  th_tape_reset(r->tape);
  th_tape_train(r->tape, true);
  th_tape_seed(r->tape, (uint64_t)s->seed, (uint64_t)number);
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

/* Says where a step's numbers stop to be finite: its batches go through the tape again, and under its eyes. Such a
 * step is not taken, and nothing is saved: the weights that led to it are hardly worth keeping. */
static th_status not_finite(run *r, const batch *batches, th_error *error) {
  const settings *s = &r->settings;
  const char *wrong = wrong_parameter(r->model->params);
  double loss = 0;
  th_error why = {0};
  if (wrong) th_error_set(&why, TH_ENAN, "parameter %s is not finite", wrong);
  th_tape_anomaly(r->tape, true);
  for (int64_t i = 0; i < s->accumulate && !why.status; i++)
    if (add_gradient(r, &batches[i], r->step * s->accumulate + 1 + i, 1, &loss, NULL))
      why = *th_tape_error(r->tape);
  th_tape_anomaly(r->tape, false);
  if (!why.status) th_error_set(&why, TH_ENAN, "the norm of the gradient is not finite");
  return th_error_set(error, TH_ENAN, "step %lld: %s; the last checkpoint is kept: a lower --rate may help",
                      (long long)r->step + 1, why.text);
}

/* The gradient of the mean over all tokens of --accumulate batches, clip, Adam, moving average: everything that
 * training is. Batches, and with them dropout, are numbered from 1 through the whole run. */
static th_status train_step(run *r, batch *batches, int64_t *tokens, th_error *error) {
  const settings *s = &r->settings;
  th_schedule schedule = settings_schedule(s);
  int64_t first = r->step * s->accumulate + 1;
  double loss = 0;
  th_status status = TH_OK;
  *tokens = 0;
  profile_phase(r, "batches");
  for (int64_t i = 0; i < s->accumulate && !status; i++) {
    status = data_train_batch(&r->data, first + i, &batches[i], error);
    *tokens += batches[i].tokens;
  }
  profile_phase(r, "forward and backward");
  th_params_zero_grads(r->model->params);
  for (int64_t i = 0; i < s->accumulate && !status; i++)
    status = add_gradient(r, &batches[i], first + i, (float)batches[i].tokens / (float)*tokens, &loss, error);
  if (status) return status;

  profile_phase(r, "clip");
  double norm = th_clip_grad_norm(r->model->params, s->clip);
  if (!isfinite(norm) || !isfinite(loss)) return not_finite(r, batches, error);
  profile_phase(r, "Adam");
  th_adam_update(&r->adam, th_schedule_rate(&schedule, r->step + 1), r->pool);
  if (r->ema.values.data) th_ema_update(&r->ema, r->pool);
  r->step++;
  r->history.loss += loss, r->history.norm += norm, r->history.updates++;
  return TH_OK;
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

static th_status make_batches(const run *r, batch **batches, th_error *error) {
  int64_t count = r->settings.accumulate;
  th_status status = TH_OK;
  *batches = calloc((size_t)count, sizeof **batches);
  if (!*batches) return th_error_set(error, TH_ENOMEM, "no memory for %lld batches", (long long)count);
  for (int64_t i = 0; i < count && !status; i++) status = batch_new_training(&(*batches)[i], &r->data, error);
  return status;
}

static void free_batches(const run *r, batch *batches) {
  for (int64_t i = 0; batches && i < r->settings.accumulate; i++) batch_free(&batches[i]);
  free(batches);
}

static th_status train(run *r, th_metrics *metrics, th_error *error) {
  progress p;
  batch *batches;
  int64_t tokens;
  th_status status = make_batches(r, &batches, error), kept = TH_OK;
  progress_start(&p, r);
  while (!status && !kept && !run_ended(r) && !stop_signal) {
    profile_step(r);
    if ((status = train_step(r, batches, &tokens, error))) break;
    profile_step_end(r);
    progress_step(&p, r, tokens);
    kept = keep_up(r, metrics, &p, error);
  }
  profile_step_end(r);
  progress_clear(&p);
  free_batches(r, batches);
  if (kept) return kept; /* the checkpoint before it stands: from there the same is done again, and whole */
  if (status == TH_ENAN) return status;
  th_error ignored; /* another failed step is saved, too: its weights are the last good ones */
  th_status saved = run_save(r, status ? &ignored : error);
  return status ? status : saved;
}

/* ---- around it ------------------------------------------------------------------------------------------ */

static th_status train_run(run *r, bool resumed, th_error *error) {
  char path[PATH_TEXT];
  th_metrics *metrics;
  th_status status = resumed ? run_save_weights(r, error) : TH_OK;
  if (!status) status = snapshots_begin(r, error);
  if (!status)
    status = th_metrics_open(&metrics, run_path(r, path, "metrics.jsonl"),
                             resumed ? r->step : TH_METRICS_FRESH, error);
  if (status) return status;
  introduce(r, resumed);
  double started = seconds_now();
  int64_t first_step = r->step;
  status = train(r, metrics, error);
  th_metrics_close(metrics);
  if (!status) status = profile_report(r, error);
  if (status) return status;
  if (run_ended(r)) return summarise(r, seconds_now() - started, first_step, error);
  summarise_stop(r);
  return TH_OK;
}

/* The run in `out`, with the settings that may change taken over for good: what goes on with it later finds them. */
static th_status go_on(run *r, const char *out, const settings *asked, const given *flags, th_error *error) {
  char path[PATH_TEXT];
  th_status status = run_open(r, out, asked, flags, RUN_TRAIN, error);
  if (status) return status;
  if (r->step > r->settings.steps)
    status = th_error_set(error, TH_EINVAL, "--steps %lld: the run in %s has made %lld already",
                          (long long)r->settings.steps, out, (long long)r->step);
  if (!status) status = settings_save(&r->settings, run_path(r, path, "config.json"), error);
  if (status) run_free(r);
  return status;
}

th_status train_command(int argc, const char **argv, th_error *error) {
  settings asked;
  given flags;
  run r;
  char out[PATH_TEXT];
  th_status status = settings_parse(argc, argv, &asked, &flags, out, error);
  if (status) return status;
  bool resumed = run_exists(out);
  if (resumed) status = lock_take(out, error); /* a new one is locked where it is made */
  if (status) return status;
  leftovers_remove(out);
  if (resumed) status = go_on(&r, out, &asked, &flags, error);
  else {
    settings_defaults(&asked, &flags);
    status = run_new(&r, &asked, out, error);
  }
  if (status) return status;
  stop_on_signals();
  if (!resumed) status = run_begin(&r, error);
  if (!status) status = profile_begin(&r, asked.profile, error);
  if (!status) status = train_run(&r, resumed, error);
  bool stopped = !status && !run_ended(&r);
  run_free(&r);
  if (stopped) exit(STOPPED_BY_SIGNAL + stop_signal);
  return status;
}
