/* translate train: the training loop. */
#include "commands.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lock.h"

#define GLANCE 256 /* held-out sequences in a progress report; the summary takes all */

static volatile sig_atomic_t stop_signal;
static void note_signal(int number) { stop_signal = number; }

/* ---- one update ------------------------------------------------------------------------------------- */

/* Forward, loss, backward, clip, Adam: everything that training is. */
static th_status train_step(run *r, const batch *b, double *loss, double *norm, th_error *error) {
  const settings *s = &r->settings;
  th_schedule schedule = settings_schedule(s);
  th_tape_reset(r->tape);
  th_tape_train(r->tape, true);
  th_tape_seed(r->tape, (uint64_t)s->seed, (uint64_t)r->step + 1);

  th_var *memory = th_transformer_encode(r->model, r->tape, &b->source, b->source_length, NULL);
  th_var *logits = th_transformer_decode(r->model, memory, b->source_length, &b->input, NULL);
  th_var *mean = th_cross_entropy(logits, &b->output, s->label_smoothing);
  th_params_zero_grads(r->model->params);
  th_backward(mean, NULL);
  const th_error *failed = th_tape_error(r->tape);
  if (failed)
    return th_error_set(error, failed->status, "step %lld: %s", (long long)r->step + 1, failed->text);

  *loss = th_tensor_get(&mean->value, 0);
  *norm = th_clip_grad_norm(r->model->params, s->clip);
  if (!isfinite(*norm) || !isfinite(*loss))
    return th_error_set(error, TH_ENAN,
                        "step %lld: the loss or its gradient is not finite; the weights before it are kept: "
                        "a lower --rate or a smaller --clip may help",
                        (long long)r->step + 1);
  th_adam_update(&r->adam, th_schedule_rate(&schedule, r->step + 1), r->pool);
  r->step++;
  return TH_OK;
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

typedef struct interval { /* since the last report */
  double loss, norm;
  int64_t steps;
} interval;

static th_status report(run *r, th_metrics *metrics, progress *p, interval *since, score *latest,
                        th_error *error) {
  th_schedule schedule = settings_schedule(&r->settings);
  int64_t count = r->data.held_out_count < GLANCE ? r->data.held_out_count : GLANCE;
  th_status status = evaluate(r, r->data.held_out, count, latest, error);
  if (status) return status;
  double loss = since->loss / (double)since->steps;
  th_metric values[] = {{"loss", loss},
                        {"gradient_norm", since->norm / (double)since->steps},
                        {"rate", th_schedule_rate(&schedule, r->step)},
                        {"held_out_loss", latest->loss},
                        {"token_accuracy", latest->token_accuracy},
                        {"exact_match", latest->exact_match},
                        {"character_errors", latest->character_errors}};
  progress_line(p, r, loss, latest);
  *since = (interval){0};
  return th_metrics_append(metrics, r->step, values, sizeof values / sizeof *values, error);
}

static th_status train(run *r, th_metrics *metrics, th_error *error) {
  const settings *s = &r->settings;
  progress p;
  batch b;
  interval since = {0};
  score latest = {.exact_match = NAN};
  double loss = 0, norm = 0;
  th_status status = batch_new(&b, s->batch, r->data.longest, error);
  progress_start(&p, r);
  while (!status && r->step < s->steps && !stop_signal) {
    status = data_train_batch(&r->data, r->step + 1, &b, error);
    if (!status) status = train_step(r, &b, &loss, &norm, error);
    if (status) break;
    since.loss += loss, since.norm += norm, since.steps++;
    p.tokens += b.tokens;
    progress_step(&p, r, since.loss / (double)since.steps, latest.exact_match);
    if (r->step % s->report_every == 0 || r->step == s->steps)
      status = report(r, metrics, &p, &since, &latest, error);
    if (!status && r->step % s->save_every == 0) status = run_save(r, error);
  }
  progress_clear(&p);
  batch_free(&b);
  /* What could not be reported or saved is done again from the last checkpoint, so that no line is missing. */
  if (status && status != TH_ENAN) return status;
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
  if (resumed && r->step < r->settings.steps)
    printf("going on in %s from step %lld of %lld\n", r->directory, (long long)r->step,
           (long long)r->settings.steps);
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
  if (r->step > first_step) printf("%lld steps in %.1f s\n", (long long)(r->step - first_step), seconds);
  printf("%d pictures: %s/heatmaps, %s/curve.png\n", pictures, r->directory, r->directory);
  suggest(r);
  return TH_OK;
}

static th_status train_run(run *r, bool resumed, th_error *error) {
  char path[PATH_TEXT];
  th_metrics *metrics;
  th_status status = th_metrics_open(&metrics, run_path(r, path, "metrics.jsonl"),
                                     resumed ? r->step : TH_METRICS_FRESH, error);
  if (status) return status;
  introduce(r, resumed);
  double started = seconds_now();
  int64_t first_step = r->step;
  status = train(r, metrics, error);
  th_metrics_close(metrics);
  if (status) return status;
  if (r->step == r->settings.steps) return summarise(r, seconds_now() - started, first_step, error);
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
  bool stopped = !status && r.step < r.settings.steps;
  run_free(&r);
  if (stopped) exit(STOPPED_BY_SIGNAL + stop_signal);
  return status;
}
