/* What training says before its first update and after its last. */
#include "commands.h"
#include "methods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void introduce(const run *r, bool resumed) {
  const data *d = &r->data;
  char methods[METHODS_TEXT];
  printf("%s: %lld parameters, %d thread%s, OpenBLAS with %s kernels\n", r->settings.task,
         (long long)th_params_elements(r->model->params), th_pool_threads(r->pool),
         th_pool_threads(r->pool) == 1 ? "" : "s", th_blas_kernels());
  if (d->train)
    printf("%lld pairs to train on, %lld held out, vocabularies of %d and %d tokens, at most %lld tokens a "
           "side\n",
           (long long)d->train_count, (long long)d->held_out_count, th_vocabulary_count(d->source),
           th_vocabulary_count(d->target), (long long)d->longest);
  methods_text(&r->model->config.layer, methods);
  if (*methods) printf("heads attend: %s\n", methods);
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
    printf("the run in %s is complete: it ended early, at step %lld, after %lld validations without a "
           "lower loss; a higher --patience, or --patience 0, goes on\n",
           r->directory, (long long)r->step, (long long)r->history.worse);
  else if (resumed)
    printf("the run in %s is complete: all %lld steps are made; a higher --steps goes on\n", r->directory,
           (long long)r->step);
  fflush(stdout);
}

/* A word as a shell takes it. */
static void print_word(const char *word) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%";
  if (*word && !word[strspn(word, plain)]) {
    fputs(word, stdout);
    return;
  }
  putchar('\'');
  for (; *word; word++)
    if (*word == '\'') fputs("'\\''", stdout);
    else putchar(*word);
  putchar('\'');
}

/* This program on this run, to paste. */
static void print_command(const char *verb, const run *r) {
  print_word(program_invocation_name);
  printf(" %s ", verb);
  print_word(r->directory);
  putchar('\n');
}

/* With a held-out example, where echo takes it as it is. */
static void suggest(const run *r) {
  const example *e = &r->data.held_out[0];
  char *text = NULL;
  th_vocabulary_decode(r->data.source, e->source, (size_t)e->source_length, &text, NULL);
  printf("Try it: echo ");
  print_word(text && !strpbrk(text, "\\-") ? text : "TEXT");
  printf(" | ");
  print_command("decode", r);
  free(text);
}

static bool keeps(const run *r, run_weights which) {
  const bool there[RUN_WEIGHTS] = {true, r->history.best_step > 0, r->average.taken > 0,
                                   r->ema.values.data != NULL};
  return there[which];
}

/* The best weights are older than the state: once lost, they are not written again, and that is no failure of a
 * training that is done. */
static bool is_lost(const run *r, run_weights which) {
  char path[PATH_TEXT];
  return which == RUN_BEST && access(run_path(r, path, "best.safetensors"), F_OK) && errno == ENOENT;
}

static th_status compare_weights(run *r, const score *last, th_error *error) {
  th_status status = TH_OK;
  printf("  weights        loss   tokens right   exact match   character errors\n");
  for (int which = RUN_LAST; which < RUN_WEIGHTS && !status; which++) {
    score s = *last;
    if (!keeps(r, which)) continue;
    if (is_lost(r, which)) {
      printf("  %-8s lost: %s/best.safetensors is not there\n", run_weights_name(which), r->directory);
      continue;
    }
    if (which != RUN_LAST) status = run_use(r, which, error);
    if (!status && which != RUN_LAST)
      status = evaluate(r, r->data.held_out, r->data.held_out_count, &s, error);
    if (!status)
      printf("  %-8s %10.5f %12.2f %% %11.2f %% %16.2f %%\n", run_weights_name(which), s.loss,
             100 * s.token_accuracy, 100 * s.exact_match, 100 * s.character_errors);
  }
  return status ? status : run_use(r, RUN_LAST, error);
}

th_status summarise(run *r, double seconds, int64_t first_step, th_error *error) {
  score all;
  int pictures;
  if (run_ended_early(r) && r->step > first_step)
    printf("Ended early: the validation loss was lowest at step %lld, and not lower in the %lld validations "
           "since.\n",
           (long long)r->history.best_step, (long long)r->history.worse);
  th_status status = evaluate(r, r->data.held_out, r->data.held_out_count, &all, error);
  if (!status) status = draw_pictures(r, &pictures, error);
  if (status) return status;
  printf("\n%lld held-out sequences, none of which stood in training:\n", (long long)all.count);
  printf("  exact match           %6.2f %%  (%lld of %lld)\n", 100 * all.exact_match, (long long)all.exact,
         (long long)all.count);
  printf("  token accuracy        %6.2f %%\n", 100 * all.token_accuracy);
  printf("  character error rate  %6.2f %%\n", 100 * all.character_errors);
  printf("  loss                  %.5f\n", all.loss);
  if (r->model->config.layer.head_gates) printf("  open gates of heads   %6.2f\n", open_heads(r));
  if (keeps(r, RUN_BEST) || keeps(r, RUN_AVERAGE) || keeps(r, RUN_EMA))
    status = compare_weights(r, &all, error);
  if (status) return status;
  if (r->step > first_step) printf("%lld steps in %.1f s\n", (long long)(r->step - first_step), seconds);
  printf("%d pictures: %s/heatmaps, %s/curve.png\n", pictures, r->directory, r->directory);
  suggest(r);
  return TH_OK;
}

void summarise_stop(const run *r) {
  printf("Stopped at step %lld of %lld, all saved. To go on: ", (long long)r->step,
         (long long)r->settings.steps);
  print_command("train --out", r);
}
