/* The pictures of a head study. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "heads.h"

#define TEXT 64

typedef struct gallery {
  const head_study *study;
  const char *directory;
  th_plot *plot;
  th_arena *arena; /* of one picture */
} gallery;

static void *room(gallery *g, int count, size_t size) {
  void *made = th_arena_alloc(g->arena, (size_t)count * size);
  return made ? memset(made, 0, (size_t)count * size) : NULL;
}

static th_status no_memory(th_error *error) {
  return th_error_set(error, TH_ENOMEM, "no memory for the pictures");
}

/* "enc0.1 previous token" for each head. */
static const char **labels_with_jobs(gallery *g) {
  const head_study *h = g->study;
  const char **labels = room(g, h->count, sizeof *labels);
  char(*texts)[TEXT] = room(g, h->count, sizeof *texts);
  if (!labels || !texts) return NULL;
  for (int i = 0; i < h->count; i++) {
    snprintf(texts[i], TEXT, "%s %s", h->label[i], th_job_name(h->named[i].job));
    labels[i] = texts[i];
  }
  return labels;
}

/* ---- atlas ------------------------------------------------------------------------------------------------- */

/* Whether another attention begins with this head. */
static bool begins_row(const head_study *h, int head) {
  const th_head *here = &h->head[head];
  return head == 0 || here[-1].kind != here->kind || here[-1].layer != here->layer;
}

/* How the maps stand: a row for each attention, a column for each number of a head. */
static int widest(const head_study *h, int *rows) {
  int most = 0;
  *rows = 0;
  for (int i = 0; i < h->count; i++) {
    *rows += begins_row(h, i);
    if (h->head[i].head >= most) most = h->head[i].head + 1;
  }
  return most;
}

static void fill_atlas(const head_study *h, int columns, th_heatmap *maps, char (*texts)[2][TEXT],
                       double *gauges, const char **rows, char (*titles)[TEXT]) {
  static const char *const names[KINDS] = {"encoder", "decoder", "cross"};
  double most = 0;
  int row = -1;
  for (int i = 0; i < h->count; i++) most = fmax(most, h->rise[i]);
  for (int i = 0; i < h->count; i++) {
    const th_head *head = &h->head[i];
    if (begins_row(h, i)) {
      row++;
      snprintf(titles[row], TEXT, "%s, layer %d", names[head->kind], head->layer);
      rows[row] = titles[row];
    }
    gauges[i] = most > 0 ? fmax(h->rise[i], 0) / most : 0;
    snprintf(texts[i][0], TEXT, "%s %s", h->label[i], th_job_name(h->named[i].job));
    if (h->named[i].job == TH_JOB_UNUSED) snprintf(texts[i][1], TEXT, "loss %+.3f", h->rise[i]);
    else snprintf(texts[i][1], TEXT, "%.2f, loss %+.3f", h->named[i].score, h->rise[i]);
    maps[row * columns + head->head] = (th_heatmap){.weights = &h->sentence[0].weights[i],
                                                    .title = texts[i][0],
                                                    .note = texts[i][1],
                                                    .gauge = &gauges[i]};
  }
}

static th_status draw_atlas(gallery *g, th_error *error) {
  const head_study *h = g->study;
  char path[PATH_TEXT];
  int rows, columns = widest(h, &rows);
  th_heatmap *maps = room(g, rows * columns, sizeof *maps);
  char(*texts)[2][TEXT] = room(g, h->count, sizeof *texts), (*titles)[TEXT] = room(g, rows, sizeof *titles);
  double *gauges = room(g, h->count, sizeof *gauges);
  const char **row_titles = room(g, rows, sizeof *row_titles);
  if (!maps || !texts || !titles || !gauges || !row_titles) return no_memory(error);
  fill_atlas(h, columns, maps, texts, gauges, row_titles, titles);
  th_grid grid = {.maps = maps,
                  .count = rows * columns,
                  .columns = columns,
                  .title = "all heads on one held-out example: rows are queries, columns keys",
                  .query_axis = "",
                  .key_axis = "",
                  .row_titles = row_titles,
                  .gauge_name = "loss: its rise with the head off; the bar: beside the largest",
                  .bare = true};
  return th_plot_grid(g->plot, path_in(path, g->directory, "atlas.png"), &grid, error);
}

/* ---- worth --------------------------------------------------------------------------------------------------- */

static th_status draw_worth(gallery *g, th_error *error) {
  enum { WAYS = 4 };
  const head_study *h = g->study;
  char path[PATH_TEXT];
  double *rise = room(g, WAYS * h->count, sizeof *rise);
  const char **labels = labels_with_jobs(g);
  if (!rise || !labels) return no_memory(error);
  th_bar_series series[WAYS] = {{.name = "off"},
                                {.name = "mean output"},
                                {.name = "uniform weights"},
                                {.name = "off, by gradient alone"}};
  for (int i = 0; i < h->count; i++) {
    const th_head_worth *w = &h->worth[i];
    const double values[WAYS] = {h->rise[i], w->mean.loss - h->whole.loss, w->uniform.loss - h->whole.loss,
                                 -w->gradient};
    for (int k = 0; k < WAYS; k++) rise[k * h->count + i] = values[k];
  }
  for (int k = 0; k < WAYS; k++) series[k].value = rise + k * h->count;
  th_bars bars = {.labels = labels,
                  .count = h->count,
                  .series = series,
                  .series_count = WAYS,
                  .title = "what the loss rises by without each head",
                  .value = {.name = "rise of the loss (nats per token)"}};
  return th_plot_bars(g->plot, path_in(path, g->directory, "worth.png"), &bars, error);
}

/* ---- pruning ------------------------------------------------------------------------------------------------- */

static th_status draw_pruning(gallery *g, th_error *error) {
  static const char *const names[ORDERS] = {"by rise of the loss, each alone", "by importance", "greedy"};
  const head_study *h = g->study;
  char path[PATH_TEXT];
  th_series series[ORDERS];
  for (int i = 0; i < ORDERS; i++) {
    double *exact = room(g, h->count + 1, sizeof *exact);
    if (!exact) return no_memory(error);
    exact[0] = h->whole.exact_match;
    for (int k = 0; k < h->count; k++) exact[k + 1] = h->removal[i].after[k].exact_match;
    series[i] = (th_series){.name = names[i], .y = exact, .count = h->count + 1};
  }
  th_curve curve = {.series = series,
                    .count = ORDERS,
                    .title = "exact match as heads are removed",
                    .x = {.name = "heads removed"},
                    .left = {.name = "exact match", .range = {TH_RANGE_FIXED, 0, 1}}};
  return th_plot_curve(g->plot, path_in(path, g->directory, "pruning.png"), &curve, error);
}

/* ---- emergence ------------------------------------------------------------------------------------------------ */

/* One kind's heads by step, under a row of exact match. */
static bool fill_growth(gallery *g, const head_kind *k, const char **labels, const char **steps,
                        th_heatmap *map) {
  const head_study *h = g->study;
  int rows = k->count + 1;
  double *values = room(g, rows * h->moments, sizeof *values);
  th_tensor *weights = room(g, 1, sizeof *weights);
  const char **names = room(g, rows, sizeof *names);
  if (!values || !weights || !names) return false;
  names[0] = "exact match";
  for (int m = 0; m < h->moments; m++) values[m] = h->moment[m].outcome.exact_match;
  for (int i = 0; i < k->count; i++) {
    int head = k->first + i;
    names[i + 1] = labels[head];
    for (int m = 0; m < h->moments; m++)
      values[(i + 1) * h->moments + m] = th_job_score(h->pattern[head], &h->moment[m].looks[head]);
  }
  *weights = th_tensor_of(values, TH_F64, 2, (int64_t[]){rows, h->moments});
  *map = (th_heatmap){
      .weights = weights, .query_labels = names, .key_labels = steps, .title = kind_title(k->kind)};
  return true;
}

static th_status draw_emergence(gallery *g, th_error *error) {
  const head_study *h = g->study;
  char path[PATH_TEXT];
  th_heatmap maps[KINDS];
  const char **labels = labels_with_jobs(g), **steps = room(g, h->moments, sizeof *steps);
  char(*texts)[TEXT] = room(g, h->moments, sizeof *texts);
  if (!labels || !steps || !texts) return no_memory(error);
  for (int m = 0; m < h->moments; m++) {
    snprintf(texts[m], TEXT, "%lld", (long long)h->moment[m].step);
    steps[m] = texts[m];
  }
  for (int i = 0; i < h->kinds; i++)
    if (!fill_growth(g, &h->kind[i], labels, steps, &maps[i])) return no_memory(error);
  th_grid grid = {.maps = maps,
                  .count = h->kinds,
                  .columns = 1,
                  .title = "how far each head is on the way to the job it has in the end",
                  .query_axis = "",
                  .key_axis = "step of training"};
  return th_plot_grid(g->plot, path_in(path, g->directory, "emergence.png"), &grid, error);
}

/* ---- map ---------------------------------------------------------------------------------------------------- */

/* Colours: the jobs that there are; where those are too many the last colour is for the rest of them. */
static int group_by_job(const head_study *h, int *group, const char **names) {
  int of_job[TH_JOBS], groups = 0;
  for (int job = 0; job < TH_JOBS; job++) {
    bool there = false;
    for (int i = 0; i < h->count; i++) there |= (int)h->named[i].job == job;
    if (!there) continue;
    if (groups < TH_CURVE_MAX_SERIES) names[groups++] = th_job_name((th_job)job);
    else names[groups - 1] = "other jobs";
    of_job[job] = groups - 1;
  }
  for (int i = 0; i < h->count; i++) group[i] = of_job[h->named[i].job];
  return groups;
}

static th_status draw_map(gallery *g, th_error *error) {
  const head_study *h = g->study;
  char path[PATH_TEXT];
  th_likeness panels[KINDS];
  const char *names[TH_CURVE_MAX_SERIES], **labels = labels_with_jobs(g);
  int *group = room(g, h->count, sizeof *group);
  th_join *joins = room(g, h->count, sizeof *joins);
  if (!labels || !group || !joins) return no_memory(error);
  int groups = group_by_job(h, group, names);
  for (int i = 0; i < h->kinds; i++) {
    const head_kind *k = &h->kind[i];
    th_join *own = joins + k->first;
    for (int n = 0; n < k->count - 1; n++)
      own[n] = (th_join){k->merges[n].first, k->merges[n].second, k->merges[n].height};
    panels[i] = (th_likeness){.count = k->count,
                              .labels = labels + k->first,
                              .group = group + k->first,
                              .place = k->place,
                              .joins = own,
                              .title = kind_title(k->kind),
                              .height_axis = "Jensen-Shannon distance"};
  }
  return th_plot_likeness(g->plot, path_in(path, g->directory, "map.png"), panels, h->kinds, names, groups,
                          "which heads look at the same", error);
}

/* ---- mixing -------------------------------------------------------------------------------------------------- */

/* One kind's heads by shared dimension, each beside the one it uses most. */
static bool fill_mixing(gallery *g, const head_kind *k, const char **labels, th_heatmap *map) {
  const head_study *h = g->study;
  double *values = room(g, k->count * (int)h->shared, sizeof *values);
  th_tensor *weights = room(g, 1, sizeof *weights);
  if (!values || !weights) return false;
  for (int i = 0; i < k->count; i++) {
    const double *own = h->mixing + (k->first + i) * h->shared;
    double most = 0;
    for (int64_t r = 0; r < h->shared; r++) most = fmax(most, own[r]);
    for (int64_t r = 0; r < h->shared; r++) values[i * h->shared + r] = most > 0 ? own[r] / most : 0;
  }
  *weights = th_tensor_of(values, TH_F64, 2, (int64_t[]){k->count, h->shared});
  *map = (th_heatmap){.weights = weights, .query_labels = labels + k->first, .title = kind_title(k->kind)};
  return true;
}

static th_status draw_mixing(gallery *g, th_error *error) {
  const head_study *h = g->study;
  char path[PATH_TEXT];
  th_heatmap maps[KINDS];
  const char **labels = labels_with_jobs(g);
  if (!h->shared) return TH_OK;
  for (int i = 0; i < h->kinds; i++)
    if (!labels || !fill_mixing(g, &h->kind[i], labels, &maps[i])) return no_memory(error);
  th_grid grid = {.maps = maps,
                  .count = h->kinds,
                  .columns = 1,
                  .title = "how much each head uses each shared dimension, beside the one it uses most",
                  .query_axis = "",
                  .key_axis = "shared dimension"};
  return th_plot_grid(g->plot, path_in(path, g->directory, "mixing.png"), &grid, error);
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

typedef th_status picture(gallery *g, th_error *error);

th_status draw_heads(const head_study *h, const char *directory, stage *s, th_error *error) {
  static picture *const pictures[] = {draw_atlas, draw_worth,  draw_pruning,
                                      draw_map,   draw_mixing, draw_emergence};
  int count = sizeof pictures / sizeof *pictures;
  gallery g = {.study = h, .directory = directory, .arena = th_arena_new()};
  if (!g.arena) return no_memory(error);
  th_status status = th_plot_new(&g.plot, TH_PLOT_SYSTEM_FONTS, error);
  stage_begin(s, "pictures");
  if (h->moments == 1) count--; /* of one step there is nothing to see */
  for (int i = 0; i < count && !status; i++) {
    if (!stage_progress(s, (double)i / count)) status = th_error_set(error, TH_EINVAL, "stopped");
    else status = pictures[i](&g, error);
    th_arena_reset(g.arena);
  }
  th_plot_free(g.plot);
  th_arena_free(g.arena);
  return status;
}
