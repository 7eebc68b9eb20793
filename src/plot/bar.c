/* The colour bar, and the scale it shows. */
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
    int colour = (height - 1 - row) * (TH_VIRIDIS_COLOURS - 1) / (height - 1);
    th_canvas_fill(canvas, x, y + row, BAR_WIDTH, 1, th_viridis[colour]);
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

static void widen_by(const th_tensor *weights, th_extent *extent) {
  int64_t count = weights->shape[0] * weights->shape[1];
  for (int64_t i = 0; i < count; i++) th_extent_add(extent, th_tensor_get(weights, i));
}

th_status th_scale_of(th_scale *scale, const th_range *range, const th_heatmap *maps, int count,
                      const char *whose, th_error *error) {
  th_extent extent = TH_NO_EXTENT;
  for (int i = 0; i < count && range->kind == TH_RANGE_DATA; i++)
    if (maps[i].weights) widen_by(maps[i].weights, &extent);
  return th_range_ends(range, extent.least, extent.largest, whose, &scale->low, &scale->high, error);
}
