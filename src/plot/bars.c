/* Horizontal bars in groups, one under another. */
#include <math.h>

#include "axis.h"
#include "colour.h"
#include "legend.h"
#include "panel.h"

#define FIELD_WIDTH 620
#define HEIGHT_WANTED 640 /* of the field; many groups make it higher */
#define THINNEST 3        /* of bars */
#define THICKEST 14
#define GROUP_GAP 7
#define GROUP_LOWEST 17 /* a group's label is readable beside its neighbours' */
#define PARTS 8
#define HANGING 20 /* right of the field, for half of the axis' last number */

typedef struct field {
  const th_bars *bars;
  th_scaled_axis axis;
  th_legend legend;
  int thickness, group; /* heights of a bar and of a group with its gap */
  int x, y, width, height;
} field;

static th_status check(const th_bars *bars, th_error *error) {
  if (bars->count < 0 || bars->count > TH_BARS_MAX)
    return th_error_set(error, TH_EINVAL, "bars: %d labels, not 0 to %d", bars->count, TH_BARS_MAX);
  if (bars->series_count < 0 || bars->series_count > TH_CURVE_MAX_SERIES)
    return th_error_set(error, TH_EINVAL, "bars: %d series, at most %d can be told apart", bars->series_count,
                        TH_CURVE_MAX_SERIES);
  for (int s = 0; s < bars->series_count; s++)
    if (bars->count > 0 && !bars->series[s].value)
      return th_error_set(error, TH_EINVAL, "bars: series %d has no values", s);
  if (bars->value.log) return th_error_set(error, TH_EINVAL, "bars: a log axis has no 0 where bars begin");
  return TH_OK;
}

static th_status fit(field *f, th_error *error) {
  th_axis asked = f->bars->value;
  th_extent ends = TH_NO_EXTENT;
  if (asked.range.kind == TH_RANGE_DEFAULT) asked.range.kind = TH_RANGE_DATA;
  for (int s = 0; s < f->bars->series_count; s++)
    for (int i = 0; i < f->bars->count; i++) th_extent_add(&ends, f->bars->series[s].value[i]);
  if (ends.least <= ends.largest) th_extent_add(&ends, 0);
  return th_axis_fit(&f->axis, &asked, ends, true, PARTS, "bars: axis", error);
}

static void lay_out(th_plot *plot, field *f) {
  const th_bars *bars = f->bars;
  int groups = bars->count > 0 ? bars->count : 1, each = bars->series_count > 0 ? bars->series_count : 1;
  int room = (HEIGHT_WANTED / groups - GROUP_GAP) / each;
  f->thickness = room < THINNEST ? THINNEST : room > THICKEST ? THICKEST : room;
  f->group = f->thickness * each + GROUP_GAP;
  if (f->group < GROUP_LOWEST) f->group = GROUP_LOWEST;
  f->width = FIELD_WIDTH;
  f->height = groups * f->group;
  int labels = th_labels_width(plot, bars->labels, bars->count);
  f->x = TH_MARGIN + (labels > 0 ? labels + TH_GAP : 0);
  f->legend = (th_legend){.title = bars->title, .count = bars->series_count, .blocks = true};
  for (int s = 0; s < bars->series_count; s++) f->legend.entry[s].name = bars->series[s].name;
  f->y = TH_MARGIN + th_legend_height(plot, &f->legend, f->width);
}

/* The column of a value, or of the end of the axis that is nearer to it. */
static int column_of(const field *f, double value) {
  return f->x + th_axis_pixel(&f->axis, fmin(fmax(value, f->axis.low), f->axis.high), f->width);
}

static void draw_group(th_plot *plot, th_canvas *canvas, const field *f, int i) {
  int top = f->y + i * f->group, zero = column_of(f, 0);
  int y = top + (f->group - f->thickness * f->bars->series_count) / 2;
  for (int s = 0; s < f->bars->series_count; s++, y += f->thickness) {
    double value = f->bars->series[s].value[i];
    if (!isfinite(value)) continue;
    int end = column_of(f, value);
    int from = end < zero ? end : zero, to = end < zero ? zero : end;
    th_canvas_fill(canvas, from, y, to - from + 1, f->thickness, th_okabe_ito[s]);
  }
  th_text label;
  th_label_set(plot, &label, f->bars->labels, i);
  th_text_draw(plot, canvas, &label, f->x - TH_GAP, top + f->group / 2, TH_RIGHT);
}

static void draw(th_plot *plot, th_canvas *canvas, const field *f) {
  th_legend_draw(plot, canvas, &f->legend, f->x, TH_MARGIN, f->width);
  th_axis_rules_along(canvas, &f->axis, f->x, f->y, f->width, f->height);
  if (f->axis.low < 0 && f->axis.high > 0)
    th_canvas_fill(canvas, column_of(f, 0), f->y, 1, f->height, TH_FRAME);
  th_canvas_frame(canvas, f->x, f->y, f->width, f->height, TH_FRAME);
  for (int i = 0; i < f->bars->count; i++) draw_group(plot, canvas, f, i);
  th_axis_draw_below(plot, canvas, &f->axis, f->bars->value.name, f->x, f->y + f->height, f->width);
}

th_status th_plot_bars(th_plot *plot, const char *path, const th_bars *bars, th_error *error) {
  field f = {.bars = bars};
  th_canvas canvas = {0};
  th_status status = check(bars, error);
  if (status == TH_OK) status = fit(&f, error);
  if (status != TH_OK) return status;
  lay_out(plot, &f);
  int bottom = f.y + f.height + th_axis_room_below(plot, bars->value.name);
  status = th_canvas_new(&canvas, f.x + f.width + HANGING + TH_MARGIN, bottom + TH_MARGIN, error);
  if (status == TH_OK) {
    draw(plot, &canvas, &f);
    status = th_canvas_write_png(&canvas, path, error);
  }
  th_canvas_free(&canvas);
  return status;
}
