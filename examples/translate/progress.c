#include "commands.h"
#include "share.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_start(progress *p, const run *r) {
  /* To several ranks mpirun shows a terminal where there is none. */
  *p = (progress){.live = isatty(STDOUT_FILENO) && !share_is_split(r),
                  .begin = r->step,
                  .steps = r->settings.steps,
                  .started = seconds_now(),
                  .exact_match = NAN};
}

static double elapsed(const progress *p) {
  double seconds = seconds_now() - p->started;
  return seconds > 1e-6 ? seconds : 1e-6;
}

void progress_step(progress *p, const run *r, int64_t tokens) {
  double now = seconds_now();
  p->tokens += tokens;
  if (!p->live || now - p->shown < REDRAW_SECONDS) return;
  p->shown = now;
  double seconds = elapsed(p), loss = r->history.loss / (double)r->history.updates;
  int64_t left = (int64_t)(seconds / (double)(r->step - p->begin) * (double)(p->steps - r->step) + 0.5);
  char exact[32] = "";
  if (!isnan(p->exact_match)) snprintf(exact, sizeof exact, "  exact match %.1f %%", 100 * p->exact_match);
  printf("\r\033[Kstep %lld of %lld  loss %.4f%s  %.0fk tokens/s  %lld:%02lld left", (long long)r->step,
         (long long)p->steps, loss, exact, (double)p->tokens / seconds / 1000, (long long)left / 60,
         (long long)left % 60);
  fflush(stdout);
}

void progress_report(progress *p, const run *r, double loss, const score *s) {
  p->exact_match = s->exact_match;
  progress_clear(p);
  printf(
      "step %6lld  loss %.4f  held out: loss %.4f  tokens %6.2f %%  exact match %5.1f %%  %.0fk tokens/s\n",
      (long long)r->step, loss, s->loss, 100 * s->token_accuracy, 100 * s->exact_match,
      (double)p->tokens / elapsed(p) / 1000);
  fflush(stdout);
}

void progress_validation(const progress *p, const run *r, double loss) {
  progress_clear(p);
  printf("step %6lld  validation loss %.4f", (long long)r->step, loss);
  if (r->history.best_step == r->step) puts(", the lowest so far");
  else printf(" (lowest: %.4f at step %lld)\n", r->history.best_loss, (long long)r->history.best_step);
  fflush(stdout);
}

void progress_clear(const progress *p) {
  if (p->live) fputs("\r\033[K", stdout);
}
