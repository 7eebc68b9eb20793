/* Several runs' heads side by side: which jobs come back in every run, and which are chance. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "heads.h"

#define TEXT 64

/* One job in one layer of one kind of attention. Numbers are over the heads that have it, in all runs. */
typedef struct job_row {
  th_attention_kind kind;
  int layer;
  th_job job;
  int runs, heads;
  int least, most;          /* heads in a run that has any */
  int64_t earliest, latest; /* first step with the job, of the runs with snapshots; -1: there are none */
  double rise, least_rise, most_rise; /* of the loss with one of them off: mean, and between */
  double fall;                        /* of exact match, mean */
  double *per_run;                    /* [runs]: heads of each */
} job_row;

typedef struct comparison {
  const head_study *studies;
  int count, rows;
  job_row *row;
  double *per_run; /* [rows,count], what the rows point into */
} comparison;

/* ---- counting ------------------------------------------------------------------------------------------- */

static bool is_of(const job_row *row, const head_study *h, int head) {
  return h->head[head].kind == row->kind && h->head[head].layer == row->layer &&
         h->named[head].job == row->job;
}

static void add_head(job_row *row, const head_study *h, int head) {
  double rise = h->rise[head];
  if (!row->heads) row->least_rise = row->most_rise = rise;
  row->heads++;
  row->rise += rise;
  row->fall += h->whole.exact_match - h->worth[head].off.exact_match;
  row->least_rise = fmin(row->least_rise, rise), row->most_rise = fmax(row->most_rise, rise);
  if (!h->snapshots) return;
  int64_t step = h->moment[first_moment(h, head)].step;
  if (row->earliest < 0 || step < row->earliest) row->earliest = step;
  if (step > row->latest) row->latest = step;
}

static void count_row(const comparison *c, job_row *row) {
  row->earliest = row->latest = -1;
  for (int i = 0; i < c->count; i++) {
    const head_study *h = &c->studies[i];
    int here = 0;
    for (int head = 0; head < h->count; head++)
      if (is_of(row, h, head)) add_head(row, h, head), here++;
    row->per_run[i] = here;
    if (!here) continue;
    if (!row->runs++) row->least = here;
    if (here < row->least) row->least = here;
    if (here > row->most) row->most = here;
  }
  row->rise /= row->heads, row->fall /= row->heads;
}

/* Within a layer the job that most runs have comes first, of these the one that most heads have. */
static int by_place(const void *a, const void *b) {
  const job_row *x = a, *y = b;
  if (x->kind != y->kind) return (int)x->kind - (int)y->kind;
  if (x->layer != y->layer) return x->layer - y->layer;
  if (x->runs != y->runs) return y->runs - x->runs;
  return x->heads != y->heads ? y->heads - x->heads : (int)x->job - (int)y->job;
}

static bool has_row(const comparison *c, const head_study *h, int head) {
  for (int i = 0; i < c->rows; i++)
    if (is_of(&c->row[i], h, head)) return true;
  return false;
}

static th_status count_jobs(comparison *c, th_error *error) {
  size_t most = 1; /* so that there is room to speak of */
  for (int i = 0; i < c->count; i++) most += (size_t)c->studies[i].count;
  c->row = calloc(most, sizeof *c->row);
  c->per_run = calloc(most * (size_t)c->count, sizeof *c->per_run);
  if (!c->row || !c->per_run) return th_error_set(error, TH_ENOMEM, "no memory for the comparison");
  for (int i = 0; i < c->count; i++)
    for (int head = 0; head < c->studies[i].count; head++) {
      const head_study *h = &c->studies[i];
      if (has_row(c, h, head)) continue;
      c->row[c->rows++] =
          (job_row){.kind = h->head[head].kind, .layer = h->head[head].layer, .job = h->named[head].job};
    }
  for (int i = 0; i < c->rows; i++) {
    c->row[i].per_run = c->per_run + i * c->count;
    count_row(c, &c->row[i]);
  }
  qsort(c->row, (size_t)c->rows, sizeof *c->row, by_place);
  return TH_OK;
}

/* ---- the table -------------------------------------------------------------------------------------------- */

static void put_row(FILE *file, const job_row *row) {
  fprintf(file, "%s,%d,%s,%d,%d,%d,%d", th_attention_kind_name(row->kind), row->layer, th_job_name(row->job),
          row->runs, row->heads, row->least, row->most);
  if (row->earliest < 0) fputs(",,", file);
  else fprintf(file, ",%lld,%lld", (long long)row->earliest, (long long)row->latest);
  fprintf(file, ",%.10g,%.10g,%.10g,%.10g\n", row->rise, row->least_rise, row->most_rise, row->fall);
}

static void put_rows(FILE *file, const void *table) {
  const comparison *c = table;
  fputs("kind,layer,job,runs,heads,fewest,most,first_step_earliest,first_step_latest,loss_rise_mean,"
        "loss_rise_least,loss_rise_most,exact_match_fall_mean\n",
        file);
  for (int i = 0; i < c->rows; i++) put_row(file, &c->row[i]);
}

static json_t *rows_json(const comparison *c) {
  json_t *list = json_array();
  for (int i = 0; i < c->rows; i++) {
    const job_row *row = &c->row[i];
    json_t *per_run = json_array();
    for (int k = 0; k < c->count; k++)
      json_array_append_new(per_run, json_integer((json_int_t)row->per_run[k]));
    json_array_append_new(
        list, json_pack("{s:s, s:i, s:s, s:i, s:o, s:o, s:o, s:f, s:f, s:f, s:f}", "kind",
                        th_attention_kind_name(row->kind), "layer", row->layer, "job", th_job_name(row->job),
                        "runs", row->runs, "heads", per_run, "first_step_earliest",
                        row->earliest < 0 ? json_null() : json_integer(row->earliest), "first_step_latest",
                        row->latest < 0 ? json_null() : json_integer(row->latest), "loss_rise_mean",
                        row->rise, "loss_rise_least", row->least_rise, "loss_rise_most", row->most_rise,
                        "exact_match_fall_mean", row->fall));
  }
  return list;
}

/* ---- the picture ------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

/* Rows: jobs by layer; columns: runs; a job's colour in a run: how many heads have it. */
static th_status draw_table(const comparison *c, const char *path, th_plot *plot, double *counts,
                            const char **names, char (*texts)[TEXT], const char **runs, th_error *error) {
  th_heatmap maps[KINDS];
  th_tensor weights[KINDS];
  int kinds = 0;
  for (int i = 0, first = 0; i < c->rows; i++) {
    const job_row *row = &c->row[i];
    snprintf(texts[i], TEXT, "layer %d, %s", row->layer, th_job_name(row->job));
    names[i] = texts[i];
    memcpy(counts + i * c->count, row->per_run, (size_t)c->count * sizeof *counts);
    if (i + 1 < c->rows && c->row[i + 1].kind == row->kind) continue;
    weights[kinds] = th_tensor_of(counts + first * c->count, TH_F64, 2, (int64_t[]){i + 1 - first, c->count});
    maps[kinds] = (th_heatmap){.weights = &weights[kinds],
                               .query_labels = names + first,
                               .key_labels = runs,
                               .title = kind_title(row->kind)};
    kinds++, first = i + 1;
  }
  th_grid grid = {.maps = maps,
                  .count = kinds,
                  .columns = 1,
                  .title = "how many heads have each job, run by run",
                  .query_axis = "",
                  .key_axis = "run",
                  .range = {.kind = TH_RANGE_DATA}};
  return th_plot_grid(plot, path, &grid, error);
}

static th_status draw_jobs(const comparison *c, const char *out, th_error *error) {
  char path[PATH_TEXT];
  double *counts = calloc((size_t)c->rows * (size_t)c->count, sizeof *counts);
  const char **names = calloc((size_t)c->rows, sizeof *names),
             **runs = calloc((size_t)c->count, sizeof *runs);
  char(*texts)[TEXT] = calloc((size_t)c->rows, sizeof *texts);
  th_plot *plot = NULL;
  th_status status = counts && names && runs && texts
                         ? th_plot_new(&plot, TH_PLOT_SYSTEM_FONTS, error)
                         : th_error_set(error, TH_ENOMEM, "no memory for jobs.png");
  for (int i = 0; i < c->count && !status; i++) runs[i] = base_name(c->studies[i].directory);
  if (!status)
    status = draw_table(c, path_in(path, out, "jobs.png"), plot, counts, names, texts, runs, error);
  th_plot_free(plot);
  free(counts);
  free(names);
  free(runs);
  free(texts);
  return status;
}

/* ---- in words ------------------------------------------------------------------------------------------------ */

static void say_row(const comparison *c, const job_row *row) {
  printf("  %s, layer %d: %s: ", kind_title(row->kind), row->layer, th_job_name(row->job));
  if (row->least == row->most) printf("%d head%s", row->most, row->most == 1 ? "" : "s");
  else printf("%d to %d heads", row->least, row->most);
  if (row->runs < c->count) printf(" in %d of %d runs", row->runs, c->count);
  if (row->earliest >= 0 && row->earliest == row->latest)
    printf(", first at step %lld", (long long)row->earliest);
  else if (row->earliest >= 0)
    printf(", first at step %lld to %lld", (long long)row->earliest, (long long)row->latest);
  printf("; without one the loss rises by %.3g (%.3g to %.3g), exact match falls by %.1f points\n", row->rise,
         row->least_rise, row->most_rise, 100 * row->fall);
}

static void say_rows(const comparison *c, const char *title, bool repeats) {
  bool any = false;
  for (int i = 0; i < c->rows; i++) {
    if ((c->row[i].runs == c->count) != repeats) continue;
    if (!any) puts(title);
    any = true;
    say_row(c, &c->row[i]);
  }
}

/* ---- estimates beside the truth ------------------------------------------------------------------------------ */

/* -1: there is no head. */
static int most_costly(const head_study *h) {
  int most = h->count ? 0 : -1;
  for (int i = 1; i < h->count; i++)
    if (h->rise[i] > h->rise[most]) most = i;
  return most;
}

static int most_important(const head_study *h) {
  int most = 0;
  for (int i = 1; i < h->count; i++)
    if (h->worth[i].importance > h->worth[most].importance) most = i;
  return most;
}

static void put_estimates(FILE *file, const void *table) {
  const comparison *c = table;
  fputs(
      "run,importance_rank_correlation,gradient_rank_correlation,most_costly,loss_rise,foretold_by_gradient,"
      "importance,most_important\n",
      file);
  for (int i = 0; i < c->count; i++) {
    const head_study *h = &c->studies[i];
    int most = most_costly(h);
    if (most < 0) continue;
    fprintf(file, "%s,%.10g,%.10g,%s,%.10g,%.10g,%.10g,%s\n", base_name(h->directory), h->importance_agrees,
            h->gradient_agrees, h->label[most], h->rise[most], -h->worth[most].gradient,
            h->worth[most].importance, h->label[most_important(h)]);
  }
}

static void say_estimates(const comparison *c) {
  double importance = 0, gradient = 0;
  int named = 0, known = 0;
  printf("\n%-16s  %-11s  %9s  %9s  %10s  %-14s  %10s  %8s\n", "run", "most costly", "loss rise", "foretold",
         "importance", "most important", "its ranks", "gradient's");
  for (int i = 0; i < c->count; i++) {
    const head_study *h = &c->studies[i];
    int most = most_costly(h), guess = most_important(h);
    if (most < 0 || isnan(h->importance_agrees) || isnan(h->gradient_agrees)) continue;
    printf("%-16s  %-11s  %9.4f  %9.4f  %10.4f  %-14s  %10.2f  %8.2f\n", base_name(h->directory),
           h->label[most], h->rise[most], -h->worth[most].gradient, h->worth[most].importance,
           h->label[guess], h->importance_agrees, h->gradient_agrees);
    importance += h->importance_agrees, gradient += h->gradient_agrees;
    named += most == guess, known++;
  }
  if (!known) return;
  printf("the last two: rank correlation over all heads with the loss rise; means %.2f and %.2f\n"
         "importance names the most costly head in %d of %d runs\n",
         importance / known, gradient / known, named, known);
}

static void say_all(const comparison *c, const char *out) {
  char title[TEXT];
  snprintf(title, sizeof title, "\nwhat repeats, in all %d runs:", c->count);
  say_rows(c, title, true);
  say_rows(c, "\nwhat is chance, in some runs only:", false);
  say_estimates(c);
  printf("\n%s/jobs.csv, %s/jobs.png, %s/estimates.csv\n", out, out, out);
}

th_status compare_heads(const head_study *studies, int count, const char *out, json_t **json,
                        th_error *error) {
  comparison c = {.studies = studies, .count = count};
  th_status status = count_jobs(&c, error);
  if (!status) status = th_directory_make(out, error);
  if (!status) status = write_table(out, "jobs.csv", put_rows, &c, error);
  if (!status) status = write_table(out, "estimates.csv", put_estimates, &c, error);
  if (!status) status = draw_jobs(&c, out, error);
  if (!status && json) *json = rows_json(&c);
  else if (!status) say_all(&c, out);
  free(c.row);
  free(c.per_run);
  return status;
}
