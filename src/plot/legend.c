#include "legend.h"

#include "colour.h"
#include "panel.h"
#include "text.h"

#define SWATCH_LENGTH 22
#define SWATCH_THICKNESS 3
#define ROW_HEIGHT 20
#define WIDEST_NAME 260

typedef struct entry {
  th_text name, side;
} entry;

/* With two axes an entry says which is meant, also where the name has to be shortened. */
static const char *side_of(const th_curve *curve, const th_series *series) {
  for (int s = 0; s < curve->count; s++)
    if (curve->series[s].right != series->right) return series->right ? " (right)" : " (left)";
  return "";
}

static void draw_entry(th_plot *plot, th_canvas *canvas, const entry *text, th_rgb colour, int x,
                       int middle) {
  th_canvas_fill(canvas, x, middle - SWATCH_THICKNESS / 2, SWATCH_LENGTH, SWATCH_THICKNESS, colour);
  x += SWATCH_LENGTH + TH_GAP;
  th_text_draw(plot, canvas, &text->name, x, middle, TH_LEFT);
  th_text_draw(plot, canvas, &text->side, x + text->name.width, middle, TH_LEFT);
}

/* Walks over the entries as they flow into rows; draws them if there is a canvas. The number of rows. */
static int flow(th_plot *plot, th_canvas *canvas, const th_curve *curve, int x, int y, int width) {
  int along = 0, rows = 0;
  for (int s = 0; s < curve->count && th_plot_has_text(plot); s++) {
    const th_series *series = &curve->series[s];
    if (!series->name || !series->name[0]) continue;
    entry text;
    th_text_set(plot, &text.side, side_of(curve, series), TH_LABEL_SIZE, WIDEST_NAME);
    th_text_set(plot, &text.name, series->name, TH_LABEL_SIZE, WIDEST_NAME - text.side.width);
    int length = SWATCH_LENGTH + TH_GAP + text.name.width + text.side.width;
    if (rows == 0 || along + length > width) {
      rows++;
      along = 0;
    }
    if (canvas)
      draw_entry(plot, canvas, &text, th_okabe_ito[s], x + along, y + (2 * rows - 1) * ROW_HEIGHT / 2);
    along += length + TH_WIDE_GAP;
  }
  return rows;
}

int th_legend_height(th_plot *plot, const th_curve *curve, int width) {
  int rows = flow(plot, NULL, curve, 0, 0, width);
  return rows > 0 ? rows * ROW_HEIGHT + TH_GAP : 0;
}

void th_legend_draw(th_plot *plot, th_canvas *canvas, const th_curve *curve, int x, int y, int width) {
  flow(plot, canvas, curve, x, y, width);
}
