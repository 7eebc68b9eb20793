/* Series of numbers as lines over a field with one or two axes. */
#include <math.h>

#include "axis.h"
#include "colour.h"
#include "legend.h"
#include "panel.h"
#include "stroke.h"
#include "text.h"

#define PICTURE_WIDTH 920
#define PICTURE_HEIGHT 520
#define LINE_THICKNESS 2.0
#define OVERHANG 2 /* a line along an edge of the field shows in its whole thickness */
#define TICK_LENGTH 5
#define X_PARTS 10
#define Y_PARTS 8
#define WIDEST_NUMBER 100
#define PLAIN_MARGIN 28 /* right of the field, where half of the last number of the x axis hangs over */

typedef struct field {
  const th_curve *curve;
  th_scaled_axis x, left, right;
  bool has_right;
  int at_x, at_y, width, height;
  int legend_y;
} field;

static int line_room(th_plot *plot, const char *name, int size) {
  return name && name[0] && th_plot_has_text(plot) ? th_text_height(plot, size) + TH_GAP : 0;
}

static int widest_number(th_plot *plot, const th_ticks *ticks) {
  int widest = 0;
  for (int i = 0; i < ticks->count; i++) {
    th_text text;
    th_text_set(plot, &text, ticks->text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    widest = text.width > widest ? text.width : widest;
  }
  return widest;
}

/* Room beside the field for an axis: tick marks, numbers, name. */
static int side_room(th_plot *plot, const th_scaled_axis *axis, const char *name) {
  return TICK_LENGTH + TH_GAP + widest_number(plot, &axis->ticks) + line_room(plot, name, TH_NAME_SIZE);
}

static th_status check(const th_curve *curve, th_error *error) {
  if (curve->count < 0 || curve->count > TH_CURVE_MAX_SERIES)
    return th_error_set(error, TH_EINVAL, "curve: %d series, at most %d can be told apart", curve->count,
                        TH_CURVE_MAX_SERIES);
  for (int s = 0; s < curve->count; s++)
    if (curve->series[s].count < 0 || (curve->series[s].count > 0 && !curve->series[s].y))
      return th_error_set(error, TH_EINVAL, "curve: series %d has no values", s);
  return TH_OK;
}

static th_status fit(field *f, th_error *error) {
  for (int s = 0; s < f->curve->count; s++) f->has_right = f->has_right || f->curve->series[s].right;
  th_status status = th_axis_fit(&f->x, f->curve, TH_AXIS_X, X_PARTS, error);
  if (status == TH_OK) status = th_axis_fit(&f->left, f->curve, TH_AXIS_LEFT, Y_PARTS, error);
  if (status == TH_OK && f->has_right)
    status = th_axis_fit(&f->right, f->curve, TH_AXIS_RIGHT, Y_PARTS, error);
  return status;
}

static void lay_out(th_plot *plot, field *f) {
  const th_curve *curve = f->curve;
  f->at_x = TH_MARGIN + side_room(plot, &f->left, curve->left.name);
  f->width = PICTURE_WIDTH - f->at_x - TH_MARGIN;
  f->width -= f->has_right ? side_room(plot, &f->right, curve->right.name) : PLAIN_MARGIN - TH_MARGIN;
  f->legend_y = TH_MARGIN + line_room(plot, curve->title, TH_TITLE_SIZE);
  f->at_y = f->legend_y + th_legend_height(plot, curve, f->width);
  int below = TICK_LENGTH + TH_GAP + th_text_height(plot, TH_LABEL_SIZE);
  below += line_room(plot, curve->x.name, TH_NAME_SIZE);
  f->height = PICTURE_HEIGHT - f->at_y - below - TH_MARGIN;
}

static int tick_x(const field *f, int i) {
  return f->at_x + (int)lround(th_axis_place(&f->x, f->x.ticks.at[i]) * (f->width - 1));
}

static int tick_y(const field *f, const th_scaled_axis *axis, int i) {
  return f->at_y + (int)lround((1 - th_axis_place(axis, axis->ticks.at[i])) * (f->height - 1));
}

static void draw_x_axis(th_plot *plot, th_canvas *canvas, const field *f) {
  int bottom = f->at_y + f->height;
  int half = th_text_height(plot, TH_LABEL_SIZE) / 2;
  th_text text;
  for (int i = 0; i < f->x.ticks.count; i++) {
    int x = tick_x(f, i);
    th_canvas_fill(canvas, x, bottom, 1, TICK_LENGTH, TH_FRAME);
    th_text_set(plot, &text, f->x.ticks.text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    th_text_draw(plot, canvas, &text, x, bottom + TICK_LENGTH + TH_GAP + half, TH_CENTRE);
  }
  th_text_set(plot, &text, f->curve->x.name, TH_NAME_SIZE, f->width);
  th_text_draw(plot, canvas, &text, f->at_x + f->width / 2,
               PICTURE_HEIGHT - TH_MARGIN - th_text_height(plot, TH_NAME_SIZE) / 2, TH_CENTRE);
}

/* The left or right axis: the field's edge is at `edge`, and `out` is -1 to the left, 1 to the right. */
static void draw_side_axis(th_plot *plot, th_canvas *canvas, const field *f, const th_scaled_axis *axis,
                           const char *name, int edge, int out) {
  th_text text;
  for (int i = 0; i < axis->ticks.count; i++) {
    int y = tick_y(f, axis, i);
    th_canvas_fill(canvas, out < 0 ? edge - TICK_LENGTH : edge, y, TICK_LENGTH, 1, TH_FRAME);
    th_text_set(plot, &text, axis->ticks.text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    th_text_draw(plot, canvas, &text, edge + out * (TICK_LENGTH + TH_GAP), y, out < 0 ? TH_RIGHT : TH_LEFT);
  }
  th_text_set(plot, &text, name, TH_NAME_SIZE, f->height);
  int half = th_text_height(plot, TH_NAME_SIZE) / 2;
  int x = out < 0 ? TH_MARGIN + half : PICTURE_WIDTH - TH_MARGIN - half;
  th_text_draw_up(plot, canvas, &text, x, f->at_y + f->height / 2, TH_CENTRE);
}

static void draw_rules(th_canvas *canvas, const field *f) {
  for (int i = 0; i < f->left.ticks.count; i++)
    th_canvas_fill(canvas, f->at_x, tick_y(f, &f->left, i), f->width, 1, TH_RULE);
}

static void stroke_series(th_stroke *stroke, const field *f, const th_series *series) {
  const th_scaled_axis *axis = series->right ? &f->right : &f->left;
  double last_x = 0, last_y = 0;
  bool joined = false; /* whether the point before this one is on the picture */
  for (int64_t i = 0; i < series->count; i++) {
    double x = th_axis_place(&f->x, th_series_x(series, i)) * (f->width - 1) + 0.5 + OVERHANG;
    double y = (1 - th_axis_place(axis, series->y[i])) * (f->height - 1) + 0.5 + OVERHANG;
    bool here = !isnan(x) && !isnan(y);
    bool next = here && i + 1 < series->count && !isnan(th_axis_place(axis, series->y[i + 1])) &&
                !isnan(th_axis_place(&f->x, th_series_x(series, i + 1)));
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
  th_text title;
  th_text_set(plot, &title, curve->title, TH_TITLE_SIZE, PICTURE_WIDTH - 2 * TH_MARGIN);
  int middle = f->at_x + f->width / 2;
  int half = title.width / 2 + TH_MARGIN;
  middle = middle < half ? half : middle > PICTURE_WIDTH - half ? PICTURE_WIDTH - half : middle;
  th_text_draw(plot, canvas, &title, middle, TH_MARGIN + th_text_height(plot, TH_TITLE_SIZE) / 2, TH_CENTRE);
  th_legend_draw(plot, canvas, curve, f->at_x, f->legend_y, f->width);
  draw_rules(canvas, f);
  th_canvas_frame(canvas, f->at_x, f->at_y, f->width, f->height, TH_FRAME);
  draw_x_axis(plot, canvas, f);
  draw_side_axis(plot, canvas, f, &f->left, curve->left.name, f->at_x, -1);
  if (f->has_right) draw_side_axis(plot, canvas, f, &f->right, curve->right.name, f->at_x + f->width, 1);
  return draw_series(canvas, f, error);
}

th_status th_plot_curve(th_plot *plot, const char *path, const th_curve *curve, th_error *error) {
  field f = {.curve = curve};
  th_canvas canvas = {0};
  th_status status = check(curve, error);
  if (status == TH_OK) status = fit(&f, error);
  if (status != TH_OK) return status;
  lay_out(plot, &f);
  status = th_canvas_new(&canvas, PICTURE_WIDTH, PICTURE_HEIGHT, error);
  if (status == TH_OK) status = draw_curve(plot, &canvas, &f, error);
  if (status == TH_OK) status = th_canvas_write_png(&canvas, path, error);
  th_canvas_free(&canvas);
  return status;
}
