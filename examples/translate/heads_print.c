/* What a head study says on standard output: the live line, the table, and the rest in words. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "heads.h"

/* ---- the live line ---------------------------------------------------------------------------------------- */

#define REDRAW_SECONDS 0.1

void stage_begin(stage *s, const char *name) {
  s->name = name;
  s->shown = 0;
  stage_progress(s, 0);
}

bool stage_progress(void *context, double done) {
  stage *s = context;
  double now = s->live ? seconds_now() : 0;
  if (s->live && now - s->shown >= REDRAW_SECONDS) {
    s->shown = now;
    printf("\r\033[K%s: %s  %.0f %%", s->run, s->name, 100 * done);
    fflush(stdout);
  }
  return !stop_signal;
}

void stage_clear(const stage *s) {
  if (s->live) fputs("\r\033[K", stdout);
}

/* ---- the study --------------------------------------------------------------------------------------------- */

static void print_table(const head_study *h) {
  printf("%-10s  %-14s  %5s  %13s  %10s\n", "head", "job", "score", "loss when off", "importance");
  for (int i = 0; i < h->count; i++) {
    printf("%-10s  %-14s  ", h->label[i], th_job_name(h->named[i].job));
    if (h->named[i].job == TH_JOB_UNUSED) printf("%5s", "");
    else printf("%5.2f", h->named[i].score);
    printf("  %+13.4f  %10.2g\n", h->rise[i], h->worth[i].importance);
  }
}

static void print_agreement(const char *what, double agrees) {
  if (isnan(agrees)) printf("%s: no rank correlation, as heads do not differ in it\n", what);
  else printf("%s: rank correlation %.2f\n", what, agrees);
}

static void print_removal(const head_study *h) {
  int greedy = heads_to_spare(h, ORDER_GREEDY), single = heads_to_spare(h, ORDER_SINGLE),
      importance = heads_to_spare(h, ORDER_IMPORTANCE);
  printf(
      "%d of %d head%s can go in greedy order before exact match (%.1f %%) falls by more than one point; %d "
      "by the\nrise of the loss that each alone brings, %d by importance\n",
      greedy, h->count, h->count == 1 ? "" : "s", 100 * h->whole.exact_match, single, importance);
}

static void print_moments(const head_study *h) {
  if (!h->snapshots)
    puts(
        "no weights of earlier steps: train --snapshot-every N keeps them, and shows when each head took its "
        "job");
  else if (h->snapshots > h->moments - 1)
    printf("looked at %d of %d snapshots\n", h->moments - 1, h->snapshots);
}

void print_heads(const head_study *h, const char *place) {
  printf("%s: %d head%s, step %lld, over %lld %s: loss %.4f, exact match %.1f %%\n\n", h->directory, h->count,
         h->count == 1 ? "" : "s", (long long)h->step, (long long)h->sequences,
         h->pairs ? "pairs" : "held-out sequences", h->whole.loss, 100 * h->whole.exact_match);
  print_table(h);
  puts("\nbeside the loss when off:");
  print_agreement("  what the gate's gradient foretells", h->gradient_agrees);
  print_agreement("  importance, the gradient's mean size", h->importance_agrees);
  print_removal(h);
  print_moments(h);
  printf("report.html, heads.csv, pictures and arrays: %s\n", place);
}
