/* The colour bar, and the scale it shows. */
#include <float.h>
#include <math.h>

#include "axis.h"
#include "colour.h"
#include "panel.h"

#define BAR_WIDTH 16
#define TICK_LENGTH 4
#define TICK_ROOM 36  /* a number for every so many pixels of height */
#define TICKS_MOST 10 /* parts of the bar: 0 to 1 by tenths */
#define WIDEST_NUMBER 100

static void bar_ticks(th_ticks *ticks, th_scale scale, int height) {
  int most = height / TICK_ROOM;
  most = most < 2 ? 2 : most > TICKS_MOST ? TICKS_MOST : most;
  if (scale.whole && most > scale.high - scale.low) most = (int)fmax(scale.high - scale.low, 1);
  th_ticks_linear(ticks, scale.low, scale.high, most);
}

int th_bar_width(th_plot *plot, th_scale scale, int height) {
  th_ticks ticks;
  bar_ticks(&ticks, scale, height);
  int widest = th_ticks_width(plot, &ticks);
  return BAR_WIDTH + TICK_LENGTH + (widest > 0 ? TH_GAP + widest : 0);
}

void th_bar_draw(th_plot *plot, th_canvas *canvas, th_scale scale, int x, int y, int height) {
  for (int row = 0; row < height; row++) {
    double part = (double)(height - 1 - row) / (height - 1);
    th_rgb colour = th_scale_colour(scale, scale.low + part * (scale.high - scale.low));
    th_canvas_fill(canvas, x, y + row, BAR_WIDTH, 1, colour);
  }
  th_canvas_frame(canvas, x, y, BAR_WIDTH, height, TH_FRAME);
  th_ticks ticks;
  bar_ticks(&ticks, scale, height);
  for (int i = 0; i < ticks.count; i++) {
    double place = (ticks.at[i] - scale.low) / (scale.high - scale.low);
    int at = y + (int)lround((1 - place) * (height - 1));
    th_canvas_fill(canvas, x + BAR_WIDTH, at, TICK_LENGTH, 1, TH_FRAME);
    th_text text;
    th_text_set(plot, &text, ticks.text[i], TH_LABEL_SIZE, WIDEST_NUMBER);
    th_text_draw(plot, canvas, &text, x + BAR_WIDTH + TICK_LENGTH + TH_GAP, at, TH_LEFT);
  }
}

th_rgb th_scale_colour(th_scale scale, double value) {
  return scale.parted ? th_parted_colour_of(value, scale.high) : th_colour_of(value, scale.low, scale.high);
}

/* Says whether all of them are whole numbers. */
static bool widen_by(const th_tensor *weights, th_extent *extent) {
  int64_t count = weights->shape[0] * weights->shape[1];
  bool whole = true;
  for (int64_t i = 0; i < count; i++) {
    double value = th_tensor_get(weights, i);
    th_extent_add(extent, value);
    whole &= isnan(value) || value == floor(value);
  }
  return whole;
}

th_status th_scale_of(th_scale *scale, const th_range *range, const th_heatmap *maps, int count,
                      const char *whose, th_error *error) {
  th_extent extent = TH_NO_EXTENT;
  bool whole = true;
  for (int i = 0; i < count && range->kind != TH_RANGE_FIXED; i++)
    if (maps[i].weights) whole &= widen_by(maps[i].weights, &extent);
  *scale = (th_scale){.whole = whole && range->kind == TH_RANGE_DATA};
  if (range->kind == TH_RANGE_DEFAULT && extent.least < 0) {
    double most = fmin(fmax(-extent.least, extent.largest), DBL_MAX / 4); /* twice it is finite */
    *scale = (th_scale){-most, most, .parted = true};
    return TH_OK;
  }
  return th_range_ends(range, extent.least, extent.largest, whose, &scale->low, &scale->high, error);
}
