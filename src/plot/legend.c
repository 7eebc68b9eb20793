#include "legend.h"

#include "colour.h"
#include "panel.h"
#include "text.h"

#define LINE_LENGTH 22
#define LINE_THICKNESS 3
#define BLOCK_SIDE 11
#define ROW_HEIGHT 20
#define WIDEST_NAME 260

static void draw_swatch(th_canvas *canvas, bool block, th_rgb colour, int x, int middle) {
  int width = block ? BLOCK_SIDE : LINE_LENGTH, height = block ? BLOCK_SIDE : LINE_THICKNESS;
  th_canvas_fill(canvas, x, middle - height / 2, width, height, colour);
}

/* Walks over the entries as they flow into rows; draws them if there is a canvas. The number of rows. */
static int flow(th_plot *plot, th_canvas *canvas, const th_legend *legend, int x, int y, int width) {
  int along = 0, rows = 0;
  int before = (legend->blocks ? BLOCK_SIDE : LINE_LENGTH) + TH_GAP;
  for (int i = 0; i < legend->count && th_plot_has_text(plot); i++) {
    if (!legend->entry[i].name || !legend->entry[i].name[0]) continue;
    th_text name, side;
    th_text_set(plot, &side, legend->entry[i].side, TH_LABEL_SIZE, WIDEST_NAME);
    th_text_set(plot, &name, legend->entry[i].name, TH_LABEL_SIZE, WIDEST_NAME - side.width);
    int length = before + name.width + side.width;
    if (rows == 0 || along + length > width) {
      rows++;
      along = 0;
    }
    if (canvas) {
      int middle = y + (2 * rows - 1) * ROW_HEIGHT / 2;
      draw_swatch(canvas, legend->blocks, th_okabe_ito[i], x + along, middle);
      th_text_draw(plot, canvas, &name, x + along + before, middle, TH_LEFT);
      th_text_draw(plot, canvas, &side, x + along + before + name.width, middle, TH_LEFT);
    }
    along += length + TH_WIDE_GAP;
  }
  return rows;
}

int th_legend_height(th_plot *plot, const th_legend *legend, int width) {
  int rows = flow(plot, NULL, legend, 0, 0, width);
  return th_text_room(plot, legend->title, TH_TITLE_SIZE, TH_GAP) +
         (rows > 0 ? rows * ROW_HEIGHT + TH_GAP : 0);
}

void th_legend_draw(th_plot *plot, th_canvas *canvas, const th_legend *legend, int x, int y, int width) {
  th_text title;
  th_text_set(plot, &title, legend->title, TH_TITLE_SIZE, canvas->width - 2 * TH_MARGIN);
  int middle = x + width / 2, half = title.width / 2 + TH_MARGIN;
  middle = middle < half ? half : middle > canvas->width - half ? canvas->width - half : middle;
  th_text_draw(plot, canvas, &title, middle, y + th_text_height(plot, TH_TITLE_SIZE) / 2, TH_CENTRE);
  flow(plot, canvas, legend, x, y + th_text_room(plot, legend->title, TH_TITLE_SIZE, TH_GAP), width);
}
