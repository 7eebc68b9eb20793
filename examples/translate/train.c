/* translate train: the training loop. */
#include "commands.h"
#include "lock.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stop_signal;
static void note_signal(int number) { stop_signal = number; }

/* ---- one update ------------------------------------------------------------------------------------- */

th_var *batch_loss(run *r, const batch *b, double smoothing) {
  th_var *memory = th_transformer_encode(r->model, r->tape, &b->source, b->source_length, NULL);
  th_var *logits = th_transformer_decode(r->model, memory, b->source_length, &b->input, NULL);
  return th_cross_entropy(logits, &b->output, smoothing);
}

/* Forward and backward of batch `number`: adds to the gradients its share of the update's, which is its share of
 * the update's tokens, and to `loss` likewise. */
static th_status add_gradient(run *r, const batch *b, int64_t number, float share, double *loss,
                              th_error *error) {
  const settings *s = &r->settings;
  th_tensor weight = th_tensor_of(&share, TH_F32, 0, NULL);
  th_tape_reset(r->tape);
  th_tape_train(r->tape, true);
  th_tape_seed(r->tape, (uint64_t)s->seed, (uint64_t)number);
  th_var *mean = batch_loss(r, b, s->label_smoothing);
  th_backward(mean, &weight);
  const th_error *failed = th_tape_error(r->tape);
  if (failed)
    return th_error_set(error, failed->status, "step %lld: %s", (long long)r->step + 1, failed->text);
  *loss += (double)share * th_tensor_get(&mean->value, 0);
  return TH_OK;
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
  for (int64_t i = 0; i < s->accumulate && !status; i++) {
    status = data_train_batch(&r->data, first + i, &batches[i], error);
    *tokens += batches[i].tokens;
  }
  th_params_zero_grads(r->model->params);
  for (int64_t i = 0; i < s->accumulate && !status; i++)
    status = add_gradient(r, &batches[i], first + i, (float)batches[i].tokens / (float)*tokens, &loss, error);
  if (status) return status;

  double norm = th_clip_grad_norm(r->model->params, s->clip);
  if (!isfinite(norm) || !isfinite(loss))
    return th_error_set(error, TH_ENAN,
                        "step %lld: the loss or its gradient is not finite; the weights before it are kept: "
                        "a lower --rate or a smaller --clip may help",
                        (long long)r->step + 1);
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
    status = train_step(r, batches, &tokens, error);
    if (status) break;
    progress_step(&p, r, tokens);
    kept = keep_up(r, metrics, &p, error);
  }
  progress_clear(&p);
  free_batches(r, batches);
  if (kept) return kept; /* the checkpoint before it stands: from there the same is done again, and whole */
  th_error ignored;
  th_status saved = run_save(
      r, status ? &ignored : error); /* also after a failed step: its weights are the last good ones */
  return status ? status : saved;
}

/* ---- around it ------------------------------------------------------------------------------------------ */

static void introduce(const run *r, bool resumed) {
  const data *d = &r->data;
  printf("%s: %lld parameters, %d thread%s, OpenBLAS with %s kernels\n", r->settings.task,
         (long long)th_params_elements(r->model->params), th_pool_threads(r->pool),
         th_pool_threads(r->pool) == 1 ? "" : "s", th_blas_kernels());
  if (d->train)
    printf("%lld pairs to train on, %lld held out, vocabularies of %d and %d tokens, at most %lld tokens a "
           "side\n",
           (long long)d->train_count, (long long)d->held_out_count, th_vocabulary_count(d->source),
           th_vocabulary_count(d->target), (long long)d->longest);
  if (d->too_long)
    printf("%lld pairs left out: a side has more than %lld tokens (--max-length)\n", (long long)d->too_long,
           (long long)r->settings.max_length);
  if (d->repeated)
    printf("%lld pairs left out: their sources stand in %s, too\n", (long long)d->repeated,
           r->settings.valid);
  if (resumed && !run_ended(r))
    printf("going on in %s from step %lld of %lld\n", r->directory, (long long)r->step,
           (long long)r->settings.steps);
  else if (resumed && run_ended_early(r))
    printf("the run in %s is complete: it ended early, at step %lld, after %lld validations without a lower "
           "loss; a "
           "higher --patience, or --patience 0, goes on\n",
           r->directory, (long long)r->step, (long long)r->history.worse);
  else if (resumed)
    printf("the run in %s is complete: all %lld steps are made; a higher --steps goes on\n", r->directory,
           (long long)r->step);
  fflush(stdout);
}

/* A command to paste, with a held-out example where a shell takes it as it is. */
static void suggest(const run *r) {
  const example *e = &r->data.held_out[0];
  char *text = NULL;
  th_vocabulary_decode(r->data.source, e->source, (size_t)e->source_length, &text, NULL);
  bool plain = text && !strpbrk(text, "'\\-");
  printf("Try it: echo '%s' | %s decode %s\n", plain ? text : "TEXT", program_invocation_name, r->directory);
  free(text);
}

static bool keeps(const run *r, run_weights which) {
  const bool there[RUN_WEIGHTS] = {true, r->history.best_step > 0, r->average.taken > 0,
                                   r->ema.values.data != NULL};
  return there[which];
}

static th_status compare_weights(run *r, const score *last, th_error *error) {
  th_status status = TH_OK;
  printf("  weights        loss   tokens right   exact match   character errors\n");
  for (int which = RUN_LAST; which < RUN_WEIGHTS && !status; which++) {
    score s = *last;
    if (!keeps(r, which)) continue;
    if (which != RUN_LAST) status = run_use(r, which, error);
    if (!status && which != RUN_LAST)
      status = evaluate(r, r->data.held_out, r->data.held_out_count, &s, error);
    if (!status)
      printf("  %-8s %10.5f %12.2f %% %11.2f %% %16.2f %%\n", run_weights_name(which), s.loss,
             100 * s.token_accuracy, 100 * s.exact_match, 100 * s.character_errors);
  }
  return status ? status : run_use(r, RUN_LAST, error);
}

static th_status summarise(run *r, double seconds, int64_t first_step, th_error *error) {
  score all;
  int pictures;
  th_status status = evaluate(r, r->data.held_out, r->data.held_out_count, &all, error);
  if (!status) status = draw_pictures(r, &pictures, error);
  if (status) return status;
  printf("\n%lld held-out sequences, none of which stood in training:\n", (long long)all.count);
  printf("  exact match           %6.2f %%  (%lld of %lld)\n", 100 * all.exact_match, (long long)all.exact,
         (long long)all.count);
  printf("  token accuracy        %6.2f %%\n", 100 * all.token_accuracy);
  printf("  character error rate  %6.2f %%\n", 100 * all.character_errors);
  printf("  loss                  %.5f\n", all.loss);
  if (keeps(r, RUN_BEST) || keeps(r, RUN_AVERAGE) || keeps(r, RUN_EMA))
    status = compare_weights(r, &all, error);
  if (status) return status;
  if (r->step > first_step) printf("%lld steps in %.1f s\n", (long long)(r->step - first_step), seconds);
  printf("%d pictures: %s/heatmaps, %s/curve.png\n", pictures, r->directory, r->directory);
  suggest(r);
  return TH_OK;
}

static th_status train_run(run *r, bool resumed, th_error *error) {
  char path[PATH_TEXT];
  th_metrics *metrics;
  th_status status = resumed ? run_save_weights(r, error) : TH_OK;
  if (!status)
    status = th_metrics_open(&metrics, run_path(r, path, "metrics.jsonl"),
                             resumed ? r->step : TH_METRICS_FRESH, error);
  if (status) return status;
  introduce(r, resumed);
  double started = seconds_now();
  int64_t first_step = r->step;
  status = train(r, metrics, error);
  th_metrics_close(metrics);
  if (status) return status;
  if (run_ended_early(r) && r->step > first_step)
    printf("Ended early: the validation loss was lowest at step %lld, and not lower in the %lld validations "
           "since.\n",
           (long long)r->history.best_step, (long long)r->history.worse);
  if (run_ended(r)) return summarise(r, seconds_now() - started, first_step, error);
  printf("Stopped at step %lld of %lld, all saved. To go on: %s train --out %s\n", (long long)r->step,
         (long long)r->settings.steps, program_invocation_name, r->directory);
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
  struct sigaction action = {.sa_handler = note_signal,
                             .sa_flags = SA_RESETHAND | SA_RESTART}; /* a second Ctrl-C ends it at once */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  signal(SIGPIPE,
         SIG_IGN); /* a closed pipe takes the progress lines, not the run; main says that output failed */
  if (!resumed) status = run_begin(&r, error);
  if (!status) status = train_run(&r, resumed, error);
  bool stopped = !status && !run_ended(&r);
  run_free(&r);
  if (stopped) exit(STOPPED_BY_SIGNAL + stop_signal);
  return status;
}
