/* A tree of joins over its leaves. */
#include <math.h>
#include <stdlib.h>

#include "colour.h"
#include "likeness.h"
#include "stroke.h"

#define LINE 2       /* thickness of the tree's lines */
#define LABEL_AIR 8  /* between level labels */
#define LEAF_ROOM 16 /* for the dots under the field */

/* A leaf or what a join made. */
typedef struct cluster {
  int leaves, start; /* its leaves stand side by side from place `start` on */
  double at;         /* place of its line, in leaves */
} cluster;

th_status th_dendrogram_check(const th_likeness *things, const char *whose, th_error *error) {
  int n = things->count;
  bool *joined = calloc((size_t)n * 2, sizeof *joined);
  if (!joined) return th_error_set(error, TH_ENOMEM, "%s: no memory for %d things", whose, n);
  th_status status = TH_OK;
  for (int i = 0; i < n - 1 && status == TH_OK; i++) {
    th_join join = things->joins[i];
    int limit = n + i; /* clusters made before */
    if (join.first < 0 || join.first >= limit || join.second < 0 || join.second >= limit ||
        join.first == join.second || joined[join.first] || joined[join.second]) {
      status = th_error_set(error, TH_EINVAL,
                            "%s: join %d is of %d and %d, not two of 0 to %d that are still single", whose, i,
                            join.first, join.second, limit - 1);
    } else if (!isfinite(join.height) || join.height < 0) {
      status = th_error_set(error, TH_EINVAL, "%s: join %d is at height %g, not a finite number from 0 on",
                            whose, i, join.height);
    } else {
      joined[join.first] = joined[join.second] = true;
    }
  }
  free(joined);
  return status;
}

/* Gives every cluster its place, so that no lines cross. clusters [2 n - 1], the last is all of the tree. */
static void arrange(const th_likeness *things, cluster *clusters) {
  int n = things->count;
  for (int i = 0; i < n; i++) clusters[i].leaves = 1;
  for (int i = 0; i < n - 1; i++)
    clusters[n + i].leaves =
        clusters[things->joins[i].first].leaves + clusters[things->joins[i].second].leaves;
  for (int i = n - 2; i >= 0; i--) {
    cluster *first = &clusters[things->joins[i].first], *second = &clusters[things->joins[i].second];
    first->start = clusters[n + i].start;
    second->start = first->start + first->leaves;
  }
  for (int i = 0; i < n; i++) clusters[i].at = clusters[i].start + 0.5;
  for (int i = 0; i < n - 1; i++)
    clusters[n + i].at = (clusters[things->joins[i].first].at + clusters[things->joins[i].second].at) / 2;
}

static int column_of(const th_likeness *things, th_field field, const cluster *of) {
  return field.x + (int)(of->at * field.width / things->count);
}

static int row_of(const th_scaled_axis *heights, th_field field, double height) {
  return field.y + field.height - 1 - th_axis_pixel(heights, height, field.height);
}

static double height_of(const th_likeness *things, int i) {
  return i < things->count ? 0 : things->joins[i - things->count].height;
}

static void draw_joins(th_canvas *canvas, const th_likeness *things, const th_scaled_axis *heights,
                       th_field field, const cluster *clusters) {
  for (int i = 0; i < things->count - 1; i++) {
    const int part[] = {things->joins[i].first, things->joins[i].second};
    int top = row_of(heights, field, things->joins[i].height), column[2];
    for (int k = 0; k < 2; k++) {
      int foot = row_of(heights, field, height_of(things, part[k]));
      column[k] = column_of(things, field, &clusters[part[k]]);
      th_canvas_fill(canvas, column[k] - LINE / 2, top, LINE, foot - top + 1, TH_FRAME);
    }
    th_canvas_fill(canvas, column[0] - LINE / 2, top, column[1] - column[0] + LINE, LINE, TH_FRAME);
  }
}

static bool labels_upright(th_plot *plot, const th_likeness *things, int width) {
  return th_labels_width(plot, things->labels, things->count) + LABEL_AIR > width / things->count;
}

int th_dendrogram_room_below(th_plot *plot, const th_likeness *things, int width) {
  int label = labels_upright(plot, things, width) ? th_labels_width(plot, things->labels, things->count)
                                                  : th_text_height(plot, TH_LABEL_SIZE);
  return LEAF_ROOM + label;
}

static void draw_leaves(th_plot *plot, th_canvas *canvas, th_stroke *dot, const th_likeness *things,
                        th_field field, const cluster *clusters) {
  int bottom = field.y + field.height;
  bool upright = labels_upright(plot, things, field.width);
  for (int i = 0; i < things->count; i++) {
    int x = column_of(things, field, &clusters[i]), y = bottom + LEAF_ROOM;
    th_stroke_dot(dot, canvas, x, bottom + LEAF_ROOM / 2.0, TH_DOT, th_thing_colour(things, i));
    th_text label;
    th_label_set(plot, &label, things->labels, i);
    if (upright) th_text_draw_up(plot, canvas, &label, x, y, TH_RIGHT);
    else th_text_draw(plot, canvas, &label, x, y + th_text_height(plot, TH_LABEL_SIZE) / 2, TH_CENTRE);
  }
}

th_status th_dendrogram_draw(th_plot *plot, th_canvas *canvas, const th_likeness *things,
                             const th_scaled_axis *heights, th_field field, th_error *error) {
  const char *name = things->height_axis ? things->height_axis : "distance";
  th_stroke dot = {0};
  cluster *clusters = calloc((size_t)things->count * 2, sizeof *clusters);
  th_status status = clusters
                         ? th_stroke_new(&dot, TH_DOT_FIELD, TH_DOT_FIELD, error)
                         : th_error_set(error, TH_ENOMEM, "likeness: no memory for %d things", things->count);
  if (status == TH_OK) {
    arrange(things, clusters);
    th_axis_rules_up(canvas, heights, field.x, field.y, field.width, field.height);
    th_canvas_frame(canvas, field.x, field.y, field.width, field.height, TH_FRAME);
    th_axis_draw_beside(plot, canvas, heights, name, field.x, field.y, field.height, -1);
    draw_joins(canvas, things, heights, field, clusters);
    draw_leaves(plot, canvas, &dot, things, field, clusters);
  }
  th_stroke_free(&dot);
  free(clusters);
  return status;
}
