#include "axis.h"

#include <math.h>

#include "colour.h"
#include "panel.h"
#include "text.h"

#define NEAR_ZERO 0.3 /* an axis whose data begin below this part of their end begins at 0 */
#define SLACK 1e-9    /* of a step: forgives rounding in the data's ends */
#define FAR_OUTSIDE 8 /* places beyond this are moved here: still outside, and safe to count in pixels */
#define WIDEST_NUMBER 100

/* ---- ends ------------------------------------------------------------------------------------ */

void th_extent_add(th_extent *extent, double value) {
  if (!isfinite(value)) return;
  extent->least = fmin(extent->least, value);
  extent->largest = fmax(extent->largest, value);
}

double th_axis_place(const th_scaled_axis *axis, double value) {
  if (!isfinite(value) || (axis->log && value <= 0)) return NAN;
  double place = axis->log ? (log10(value) - log10(axis->low)) / (log10(axis->high) - log10(axis->low))
                           : (value - axis->low) / (axis->high - axis->low);
  return fmin(fmax(place, -FAR_OUTSIDE), FAR_OUTSIDE);
}

int th_axis_pixel(const th_scaled_axis *axis, double value, int length) {
  return (int)lround(th_axis_place(axis, value) * (length - 1));
}

/* Moves the ends of an axis that follows the data outwards, to round numbers. */
static void round_ends(th_scaled_axis *axis, bool round, int most) {
  if (axis->log) {
    axis->low = th_round_down(axis->low);
    axis->high = th_round_up(axis->high);
    return;
  }
  if (axis->low > 0 && axis->low < NEAR_ZERO * axis->high) axis->low = 0;
  double step = th_ticks_step(axis->low, axis->high, most);
  if (!round || step == 0) return;
  axis->low = floor(axis->low / step + SLACK) * step;
  axis->high = ceil(axis->high / step - SLACK) * step;
}

th_status th_axis_fit(th_scaled_axis *axis, const th_axis *asked, th_extent data, bool round, int most,
                      const char *whose, th_error *error) {
  axis->log = asked->log;
  if (axis->log && data.least > data.largest) data = (th_extent){1, 10}; /* any decade will do */
  th_status status =
      th_range_ends(&asked->range, data.least, data.largest, whose, &axis->low, &axis->high, error);
  if (status != TH_OK) return status;
  if (axis->log && axis->low <= 0)
    return th_error_set(error, TH_EINVAL, "%s: a log axis cannot begin at %g", whose, axis->low);
  if (asked->range.kind == TH_RANGE_DATA) round_ends(axis, round, most);
  if (axis->log) th_ticks_log(&axis->ticks, axis->low, axis->high, most);
  else th_ticks_linear(&axis->ticks, axis->low, axis->high, most);
  return TH_OK;
}

/* ---- drawing --------------------------------------------------------------------------------- */

int th_ticks_width(th_plot *plot, const th_ticks *ticks) {
  int widest = 0;
  for (int i = 0; i < ticks->count; i++) {
    th_text text;
    th_text_set(plot, &text, ticks->text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    widest = text.width > widest ? text.width : widest;
  }
  return widest;
}

int th_axis_room_below(th_plot *plot, const char *name) {
  return TH_TICK_LENGTH + TH_GAP + th_text_height(plot, TH_LABEL_SIZE) +
         th_text_room(plot, name, TH_NAME_SIZE, TH_GAP);
}

int th_axis_room_beside(th_plot *plot, const th_scaled_axis *axis, const char *name) {
  return TH_TICK_LENGTH + TH_GAP + th_ticks_width(plot, &axis->ticks) +
         th_text_room(plot, name, TH_NAME_SIZE, TH_GAP);
}

/* The row of tick `i` in a field whose first row is y. */
static int tick_row(const th_scaled_axis *axis, int i, int y, int length) {
  return y + (int)lround((1 - th_axis_place(axis, axis->ticks.at[i])) * (length - 1));
}

void th_axis_draw_below(th_plot *plot, th_canvas *canvas, const th_scaled_axis *axis, const char *name, int x,
                        int y, int length) {
  int middle = y + TH_TICK_LENGTH + TH_GAP + th_text_height(plot, TH_LABEL_SIZE) / 2;
  th_text text;
  for (int i = 0; i < axis->ticks.count; i++) {
    int at = x + th_axis_pixel(axis, axis->ticks.at[i], length);
    th_canvas_fill(canvas, at, y, 1, TH_TICK_LENGTH, TH_FRAME);
    th_text_set(plot, &text, axis->ticks.text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    th_text_draw(plot, canvas, &text, at, middle, TH_CENTRE);
  }
  th_text_set(plot, &text, name, TH_NAME_SIZE, length);
  int bottom = y + th_axis_room_below(plot, name);
  th_text_draw(plot, canvas, &text, x + length / 2, bottom - th_text_height(plot, TH_NAME_SIZE) / 2,
               TH_CENTRE);
}

void th_axis_draw_beside(th_plot *plot, th_canvas *canvas, const th_scaled_axis *axis, const char *name,
                         int x, int y, int length, int out) {
  th_align align = out < 0 ? TH_RIGHT : TH_LEFT;
  th_text text;
  for (int i = 0; i < axis->ticks.count; i++) {
    int at = tick_row(axis, i, y, length);
    th_canvas_fill(canvas, out < 0 ? x - TH_TICK_LENGTH : x, at, TH_TICK_LENGTH, 1, TH_FRAME);
    th_text_set(plot, &text, axis->ticks.text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    th_text_draw(plot, canvas, &text, x + out * (TH_TICK_LENGTH + TH_GAP), at, align);
  }
  th_text_set(plot, &text, name, TH_NAME_SIZE, length);
  int away = th_axis_room_beside(plot, axis, name) - th_text_height(plot, TH_NAME_SIZE) / 2;
  th_text_draw_up(plot, canvas, &text, x + out * away, y + length / 2, TH_CENTRE);
}

void th_axis_rules_up(th_canvas *canvas, const th_scaled_axis *axis, int x, int y, int width, int height) {
  for (int i = 0; i < axis->ticks.count; i++)
    th_canvas_fill(canvas, x, tick_row(axis, i, y, height), width, 1, TH_RULE);
}

void th_axis_rules_along(th_canvas *canvas, const th_scaled_axis *axis, int x, int y, int width, int height) {
  for (int i = 0; i < axis->ticks.count; i++)
    th_canvas_fill(canvas, x + th_axis_pixel(axis, axis->ticks.at[i], width), y, 1, height, TH_RULE);
}
