/* translate train --profile: where the time of a step goes, as a table and as a trace. */
#include "commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP "step" /* the event that is in no other */
#define WARM_UP \
  10 /* steps before the first that is profiled, if there are as many: memory comes, caches fill */

typedef struct row {
  const char *name;
  bool backward;
  int64_t calls;
  double seconds, flops, bytes;
} row;

th_status profile_begin(run *r, int64_t steps, th_error *error) {
  if (!steps) return TH_OK;
  int64_t left = r->settings.steps - r->step;
  r->profile.from = r->step + (left > WARM_UP ? WARM_UP : 0);
  r->profile.steps = steps;
  r->profile.all = th_profile_new();
  return r->profile.all ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory for a profile");
}

void profile_step(run *r) {
  int64_t step = r->step - r->profile.from;
  r->profile.now = step >= 0 && step < r->profile.steps ? r->profile.all : NULL;
  th_tape_profile(r->tape, r->profile.now);
  th_profile_begin(r->profile.now, STEP);
}

void profile_phase(run *r, const char *name) {
  if (r->profile.in_phase) th_profile_end(r->profile.now);
  r->profile.in_phase = name != NULL;
  if (name) th_profile_begin(r->profile.now, name);
}

void profile_step_end(run *r) {
  profile_phase(r, NULL);
  th_profile_end(r->profile.now);
  th_tape_profile(r->tape, r->profile.now = NULL);
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

static row *row_of(row *rows, int *count, const th_profile_event *e) {
  for (int i = 0; i < *count; i++)
    if (rows[i].backward == e->backward && !strcmp(rows[i].name, e->name)) return &rows[i];
  rows[*count] = (row){.name = e->name, .backward = e->backward};
  return &rows[(*count)++];
}

static int slower_first(const void *a, const void *b) {
  const row *x = a, *y = b;
  return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void print_rate(double amount, double seconds, double unit) {
  if (amount > 0 && seconds > 0) printf("%10.1f", amount / seconds / unit);
  else printf("%10s", "");
}

static void print_row(const row *w, int64_t steps, double all) {
  static const char *const way[] = {"", "backward"};
  char name[64];
  snprintf(name, sizeof name, "%s%s%s", strcmp(w->name, STEP) != 0 ? w->name : "the rest",
           w->backward ? " " : "", way[w->backward]);
  printf("%-28s%10.1f%11.3f%8.1f %%", name, (double)w->calls / (double)steps,
         1e3 * w->seconds / (double)steps, 100 * w->seconds / all);
  print_rate(w->flops, w->seconds, 1e9);
  print_rate(w->bytes, w->seconds, 1e9);
  printf("\n");
}

static void print_table(row *rows, int count, int64_t steps, double all) {
  row sum = {.name = "a step"};
  qsort(rows, (size_t)count, sizeof *rows, slower_first);
  printf("%-28s%10s%11s%10s%10s%10s\n", "where", "calls", "ms a step", "share", "GFLOP/s", "GB/s");
  for (int i = 0; i < count; i++) {
    print_row(&rows[i], steps, all);
    sum.seconds += rows[i].seconds, sum.flops += rows[i].flops, sum.bytes += rows[i].bytes;
    if (strcmp(rows[i].name, STEP) != 0) sum.calls += rows[i].calls;
  }
  print_row(&sum, steps, all);
}

/* ---- the trace: Google's Trace Event Format, complete events ------------------------------------------------------ */

static json_t *trace_event(const th_profile_event *e) {
  char shape[TH_SHAPE_TEXT];
  th_tensor like = {.ndim = e->ndim};
  memcpy(like.shape, e->shape, sizeof like.shape);
  json_t *args = json_object();
  if (e->ndim) json_object_set_new(args, "shape", json_string(th_shape_text(shape, &like)));
  if (e->flops > 0 && e->seconds > 0)
    json_object_set_new(args, "GFLOP/s", json_real(e->flops / e->seconds / 1e9));
  if (e->bytes > 0) json_object_set_new(args, "bytes", json_real(e->bytes));
  const char *kind = e->backward ? "backward" : e->bytes > 0 ? "forward" : "step";
  return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:o}", "name", e->name, "cat", kind, "ph", "X", "ts",
                   1e6 * e->begin, "dur", 1e6 * e->seconds, "pid", 1, "tid", 1, "args", args);
}

static th_status write_trace(const char *path, const th_profile_event *events, int64_t count,
                             th_error *error) {
  json_t *list = json_array();
  for (int64_t i = 0; i < count; i++)
    if (json_array_append_new(list, trace_event(&events[i]))) break;
  bool whole = list && (int64_t)json_array_size(list) == count;
  json_t *root = json_pack("{s:o, s:s}", "traceEvents", list, "displayTimeUnit", "ms");
  char *text = whole && root ? th_json_dump(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(root);
  if (!text) return th_error_set(error, TH_ENOMEM, "%s: no memory for %lld events", path, (long long)count);
  th_status status = th_file_write(path, text, strlen(text), error);
  free(text);
  return status;
}

th_status profile_report(run *r, th_error *error) {
  char path[PATH_TEXT];
  int64_t events, steps = 0;
  int count = 0;
  double all = 0;
  if (!r->profile.all) return TH_OK;
  const th_profile_event *e = th_profile_events(r->profile.all, &events);
  row *rows = calloc((size_t)events + 1, sizeof *rows);
  if (!rows) return th_error_set(error, TH_ENOMEM, "no memory for a profile");
  for (int64_t i = 0; i < events; i++) {
    row *w = row_of(rows, &count, &e[i]);
    w->calls++, w->seconds += e[i].self, w->flops += e[i].flops, w->bytes += e[i].bytes;
    if (!e[i].depth) steps++, all += e[i].seconds;
  }
  run_path(r, path, "profile.json");
  th_status status = steps ? write_trace(path, e, events, error) : TH_OK;
  if (steps && !status) {
    print_table(rows, count, steps, all);
    printf("%lld step%s profiled; a trace of each op, for ui.perfetto.dev or chrome://tracing: %s\n",
           (long long)steps, steps == 1 ? "" : "s", path);
  } else if (!status) printf("no step profiled: the run has none left\n");
  free(rows);
  return status;
}
