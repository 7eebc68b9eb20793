/* Series of numbers as lines over a field with one or two axes. */
#include <math.h>

#include "axis.h"
#include "colour.h"
#include "legend.h"
#include "panel.h"
#include "stroke.h"

#define PICTURE_WIDTH 920
#define PICTURE_HEIGHT 520
#define LINE_THICKNESS 2.0
#define OVERHANG 2 /* a line along an edge of the field shows in its whole thickness */
#define X_PARTS 10
#define Y_PARTS 8
#define PLAIN_MARGIN 28 /* right of the field, where half of the last number of the x axis hangs over */

typedef struct field {
  const th_curve *curve;
  th_scaled_axis x, left, right;
  bool has_right;
  int at_x, at_y, width, height;
  th_legend legend;
} field;

static th_status check(const th_curve *curve, th_error *error) {
  if (curve->count < 0 || curve->count > TH_CURVE_MAX_SERIES)
    return th_error_set(error, TH_EINVAL, "curve: %d series, at most %d can be told apart", curve->count,
                        TH_CURVE_MAX_SERIES);
  for (int s = 0; s < curve->count; s++)
    if (curve->series[s].count < 0 || (curve->series[s].count > 0 && !curve->series[s].y))
      return th_error_set(error, TH_EINVAL, "curve: series %d has no values", s);
  return TH_OK;
}

typedef enum { AXIS_X, AXIS_LEFT, AXIS_RIGHT } side;

static double x_of(const th_series *series, int64_t i) { return series->x ? series->x[i] : (double)i; }

static th_extent data_ends(const th_curve *curve, side which, bool log) {
  th_extent ends = TH_NO_EXTENT;
  for (int s = 0; s < curve->count; s++) {
    const th_series *series = &curve->series[s];
    if (which != AXIS_X && series->right != (which == AXIS_RIGHT)) continue;
    for (int64_t i = 0; i < series->count; i++) {
      double value = which == AXIS_X ? x_of(series, i) : series->y[i];
      if (!log || value > 0) th_extent_add(&ends, value);
    }
  }
  return ends;
}

static th_status fit_axis(th_scaled_axis *axis, const th_curve *curve, side which, th_error *error) {
  static const char *const whose[] = {"curve: x axis", "curve: left axis", "curve: right axis"};
  th_axis asked = which == AXIS_X ? curve->x : which == AXIS_LEFT ? curve->left : curve->right;
  asked.log = asked.log && which != AXIS_X;
  if (asked.range.kind == TH_RANGE_DEFAULT && (which != AXIS_RIGHT || asked.log))
    asked.range.kind = TH_RANGE_DATA;
  bool round = which != AXIS_X; /* time ends where the data end */
  return th_axis_fit(axis, &asked, data_ends(curve, which, asked.log), round,
                     which == AXIS_X ? X_PARTS : Y_PARTS, whose[which], error);
}

static th_status fit(field *f, th_error *error) {
  for (int s = 0; s < f->curve->count; s++) f->has_right = f->has_right || f->curve->series[s].right;
  th_status status = fit_axis(&f->x, f->curve, AXIS_X, error);
  if (status == TH_OK) status = fit_axis(&f->left, f->curve, AXIS_LEFT, error);
  if (status == TH_OK && f->has_right) status = fit_axis(&f->right, f->curve, AXIS_RIGHT, error);
  return status;
}

/* With two axes an entry says which is meant, also where the name has to be shortened. */
static const char *side_of(const field *f, const th_series *series) {
  for (int s = 0; s < f->curve->count; s++)
    if (f->curve->series[s].right != series->right) return series->right ? " (right)" : " (left)";
  return NULL;
}

static void set_legend(field *f) {
  f->legend = (th_legend){.title = f->curve->title, .count = f->curve->count};
  for (int s = 0; s < f->curve->count; s++) {
    f->legend.entry[s].name = f->curve->series[s].name;
    f->legend.entry[s].side = side_of(f, &f->curve->series[s]);
  }
}

static void lay_out(th_plot *plot, field *f) {
  const th_curve *curve = f->curve;
  f->at_x = TH_MARGIN + th_axis_room_beside(plot, &f->left, curve->left.name);
  f->width = PICTURE_WIDTH - f->at_x - TH_MARGIN;
  f->width -=
      f->has_right ? th_axis_room_beside(plot, &f->right, curve->right.name) : PLAIN_MARGIN - TH_MARGIN;
  f->at_y = TH_MARGIN + th_legend_height(plot, &f->legend, f->width);
  f->height = PICTURE_HEIGHT - f->at_y - th_axis_room_below(plot, curve->x.name) - TH_MARGIN;
}

static void stroke_series(th_stroke *stroke, const field *f, const th_series *series) {
  const th_scaled_axis *axis = series->right ? &f->right : &f->left;
  double last_x = 0, last_y = 0;
  bool joined = false; /* whether the point before this one is on the picture */
  for (int64_t i = 0; i < series->count; i++) {
    double x = th_axis_place(&f->x, x_of(series, i)) * (f->width - 1) + 0.5 + OVERHANG;
    double y = (1 - th_axis_place(axis, series->y[i])) * (f->height - 1) + 0.5 + OVERHANG;
    bool here = !isnan(x) && !isnan(y);
    bool next = here && i + 1 < series->count && !isnan(th_axis_place(axis, series->y[i + 1])) &&
                !isnan(th_axis_place(&f->x, x_of(series, i + 1)));
    if (here && joined) th_stroke_line(stroke, last_x, last_y, x, y, LINE_THICKNESS);
    else if (here && !next) th_stroke_line(stroke, x, y, x, y, 3 * LINE_THICKNESS); /* a point alone */
    joined = here;
    last_x = x;
    last_y = y;
  }
}

static th_status draw_series(th_canvas *canvas, const field *f, th_error *error) {
  th_stroke stroke;
  th_status status = th_stroke_new(&stroke, f->width + 2 * OVERHANG, f->height + 2 * OVERHANG, error);
  if (status != TH_OK) return status;
  for (int s = 0; s < f->curve->count; s++) {
    stroke_series(&stroke, f, &f->curve->series[s]);
    th_stroke_draw(&stroke, canvas, f->at_x - OVERHANG, f->at_y - OVERHANG, th_okabe_ito[s]);
  }
  th_stroke_free(&stroke);
  return TH_OK;
}

static th_status draw_curve(th_plot *plot, th_canvas *canvas, const field *f, th_error *error) {
  const th_curve *curve = f->curve;
  const int x = f->at_x, y = f->at_y, width = f->width, height = f->height;
  th_legend_draw(plot, canvas, &f->legend, x, TH_MARGIN, width);
  th_axis_rules_up(canvas, &f->left, x, y, width, height);
  th_canvas_frame(canvas, x, y, width, height, TH_FRAME);
  th_axis_draw_below(plot, canvas, &f->x, curve->x.name, x, y + height, width);
  th_axis_draw_beside(plot, canvas, &f->left, curve->left.name, x, y, height, -1);
  if (f->has_right) th_axis_draw_beside(plot, canvas, &f->right, curve->right.name, x + width, y, height, 1);
  return draw_series(canvas, f, error);
}

th_status th_plot_curve(th_plot *plot, const char *path, const th_curve *curve, th_error *error) {
  field f = {.curve = curve};
  th_canvas canvas = {0};
  th_status status = check(curve, error);
  if (status == TH_OK) status = fit(&f, error);
  if (status != TH_OK) return status;
  set_legend(&f);
  lay_out(plot, &f);
  status = th_canvas_new(&canvas, PICTURE_WIDTH, PICTURE_HEIGHT, error);
  if (status == TH_OK) status = draw_curve(plot, &canvas, &f, error);
  if (status == TH_OK) status = th_canvas_write_png(&canvas, path, error);
  th_canvas_free(&canvas);
  return status;
}
