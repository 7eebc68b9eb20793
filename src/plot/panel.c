#include "panel.h"

#include <math.h>
#include <stdio.h>

#include "colour.h"
#include "ticks.h"

#define WIDEST_LABEL 150 /* about 22 letters; longer ones are shortened */
#define LABEL_AIR 6      /* between neighbouring column labels */
#define NUMBER_TEXT 24

th_status th_panel_check(const th_heatmap *map, const char *whose, th_error *error) {
  const th_tensor *weights = map->weights;
  if (!weights) return th_error_set(error, TH_EINVAL, "%s: no weights", whose);
  if (weights->dtype != TH_F32 && weights->dtype != TH_F64)
    return th_error_set(error, TH_EDTYPE, "%s: weights are %s, neither f32 nor f64", whose,
                        th_dtype_name(weights->dtype));
  char shape[TH_SHAPE_TEXT];
  if (weights->ndim != 2 || weights->shape[0] < 1 || weights->shape[1] < 1)
    return th_error_set(error, TH_ESHAPE, "%s: weights are %s, not [queries, keys]; take a slice", whose,
                        th_shape_text(shape, weights));
  if (weights->shape[0] > TH_PLOT_MAX_SIDE || weights->shape[1] > TH_PLOT_MAX_SIDE)
    return th_error_set(error, TH_ESHAPE, "%s: weights are %s, the limit is %d tokens; take a slice", whose,
                        th_shape_text(shape, weights), TH_PLOT_MAX_SIDE);
  return TH_OK;
}

void th_label_set(th_plot *plot, th_text *text, const char *const *labels, int i) {
  char number[NUMBER_TEXT];
  const char *label = number;
  snprintf(number, sizeof number, "%d", i);
  if (labels) label = labels[i];
  if (label && label[0] == ' ' && label[1] == '\0') label = "\xE2\x90\xA3"; /* U+2423, open box */
  th_text_set(plot, text, label, TH_LABEL_SIZE, WIDEST_LABEL);
}

int th_labels_width(th_plot *plot, const char *const *labels, int count) {
  int widest = 0;
  if (!th_plot_has_text(plot)) return 0;
  th_text text;
  for (int i = labels || count < 1 ? 0 : count - 1; i < count; i++) { /* the last number is the widest */
    th_label_set(plot, &text, labels, i);
    widest = text.width > widest ? text.width : widest;
  }
  return widest;
}

/* Every how many cells a label of `room` pixels fits; round steps (1, 2, 5, 10 ...) for numbers. */
static int every(const char *const *labels, int room, int cell) {
  int n = (room + cell - 1) / cell;
  if (n <= 1) return 1;
  return labels ? n : (int)lround(th_round_up(n));
}

void th_panel_measure(th_plot *plot, th_panel *panel, const th_heatmap *map, int cell) {
  *panel = (th_panel){.map = map, .cell = cell};
  panel->rows = (int)map->weights->shape[0];
  panel->columns = (int)map->weights->shape[1];
  int line = th_text_height(plot, TH_LABEL_SIZE);
  int rows_widest = th_labels_width(plot, map->query_labels, panel->rows);
  int columns_widest = th_labels_width(plot, map->key_labels, panel->columns);
  panel->row_every = every(map->query_labels, line, cell);
  /* Level labels are easier to read; they run upwards only where that shows more of them. */
  int flat = every(map->key_labels, columns_widest + LABEL_AIR, cell);
  int up = every(map->key_labels, line, cell);
  panel->upright = map->key_labels && flat > up;
  panel->column_every = panel->upright ? up : flat;
  panel->left = rows_widest > 0 ? rows_widest + TH_GAP : 0;
  panel->below = columns_widest == 0 ? 0 : TH_GAP + (panel->upright ? columns_widest : line);
}

static void draw_row_labels(th_plot *plot, th_canvas *canvas, const th_panel *panel, int x, int y) {
  th_text text;
  for (int i = 0; i < panel->rows; i += panel->row_every) {
    th_label_set(plot, &text, panel->map->query_labels, i);
    th_text_draw(plot, canvas, &text, x - TH_GAP, y + i * panel->cell + panel->cell / 2, TH_RIGHT);
  }
}

static void draw_column_labels(th_plot *plot, th_canvas *canvas, const th_panel *panel, int x, int y) {
  int top = y + panel->rows * panel->cell + TH_GAP;
  th_text text;
  for (int i = 0; i < panel->columns; i += panel->column_every) {
    th_label_set(plot, &text, panel->map->key_labels, i);
    int middle = x + i * panel->cell + panel->cell / 2;
    if (panel->upright) th_text_draw_up(plot, canvas, &text, middle, top, TH_RIGHT);
    else th_text_draw(plot, canvas, &text, middle, top + th_text_height(plot, TH_LABEL_SIZE) / 2, TH_CENTRE);
  }
}

void th_panel_draw(th_plot *plot, th_canvas *canvas, const th_panel *panel, th_scale scale, int x, int y,
                   bool row_labels, bool column_labels) {
  const int cell = panel->cell;
  int64_t index = 0;
  for (int row = 0; row < panel->rows; row++) {
    for (int column = 0; column < panel->columns; column++, index++) {
      th_rgb colour = th_scale_colour(scale, th_tensor_get(panel->map->weights, index));
      th_canvas_fill(canvas, x + column * cell, y + row * cell, cell, cell, colour);
    }
  }
  th_canvas_frame(canvas, x, y, panel->columns * cell, panel->rows * cell, TH_FRAME);
  if (!th_plot_has_text(plot)) return;
  if (row_labels) draw_row_labels(plot, canvas, panel, x, y);
  if (column_labels) draw_column_labels(plot, canvas, panel, x, y);
}
