/* One matrix of weights as a picture. */
#include "figure.h"

/* Cells are as large as these allow, so that a picture is about 400 to 1200 pixels wide. */
#define CELL_LARGEST 40
#define WIDTH_WANTED 880
#define HEIGHT_WANTED 720

static int cell_side(const th_tensor *weights) {
  int wide = (int)(WIDTH_WANTED / weights->shape[1]);
  int high = (int)(HEIGHT_WANTED / weights->shape[0]);
  int side = wide < high ? wide : high;
  return side < 1 ? 1 : side > CELL_LARGEST ? CELL_LARGEST : side;
}

th_status th_plot_heatmap(th_plot *plot, const char *path, const th_heatmap *heatmap, th_error *error) {
  th_panel panel;
  th_figure figure = {
      .title = heatmap->title, .query_axis = heatmap->query_axis, .key_axis = heatmap->key_axis};
  th_canvas canvas = {0};
  th_status status = th_panel_check(heatmap, "heatmap", error);
  if (status == TH_OK) status = th_scale_of(&figure.scale, &heatmap->range, heatmap, 1, "heatmap", error);
  if (status != TH_OK) return status;
  th_panel_measure(plot, &panel, heatmap, cell_side(heatmap->weights));
  figure.core_x = panel.left;
  figure.core_width = panel.columns * panel.cell;
  figure.core_height = panel.rows * panel.cell;
  figure.body_width = panel.left + figure.core_width;
  figure.body_height = figure.core_height + panel.below;
  status = th_figure_begin(plot, &figure, &canvas, error);
  if (status == TH_OK) {
    th_panel_draw(plot, &canvas, &panel, figure.scale, figure.body_x + panel.left, figure.body_y, true, true);
    status = th_canvas_write_png(&canvas, path, error);
  }
  th_canvas_free(&canvas);
  return status;
}
