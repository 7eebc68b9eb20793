/* One matrix with the labels of its rows and columns, as part of a picture. */
#ifndef TAPEHEAD_PLOT_PANEL_H
#define TAPEHEAD_PLOT_PANEL_H

#include "canvas.h"
#include "tapehead/plot.h"
#include "text.h"

/* Distances shared by the pictures, in pixels. */
#define TH_MARGIN 16   /* around the whole picture */
#define TH_GAP 6       /* between a thing and its label */
#define TH_WIDE_GAP 18 /* between things */

#define TH_PICTURE_WIDEST 1200 /* a picture grows past this only for the matrix's own sake */

typedef struct th_panel {
  const th_heatmap *map;
  int rows, columns;
  int cell;      /* side of a cell */
  int row_every; /* every n-th row has a label */
  int column_every;
  bool upright;    /* column labels run upwards */
  int left, below; /* room for the labels, gaps included; 0 without fonts */
} th_panel;

/* Sets `text` to label `i`, or to its number where there are no labels. A token that is one space gets a visible
 * sign. */
void th_label_set(th_plot *plot, th_text *text, const char *const *labels, int i);
/* The width of the widest of `count` labels; 0 without fonts. */
int th_labels_width(th_plot *plot, const char *const *labels, int count);

/* The values at the two ends of the colours. */
typedef struct th_scale {
  double low, high;
  bool parted; /* colours that part at 0, in the middle */
  bool whole;  /* of whole numbers, which the bar names alone */
} th_scale;

/* Checks that `map` can be drawn; `whose` names it in the error. */
th_status th_panel_check(const th_heatmap *map, const char *whose, th_error *error);

/* Measures `map` with cells of side `cell`. */
void th_panel_measure(th_plot *plot, th_panel *panel, const th_heatmap *map, int cell);

/* Draws the matrix with its top left corner at x, y, and its labels if asked for. */
void th_panel_draw(th_plot *plot, th_canvas *canvas, const th_panel *panel, th_scale scale, int x, int y,
                   bool row_labels, bool column_labels);

/* The scale that `range` asks for, over all of `maps` that have weights. */
th_status th_scale_of(th_scale *scale, const th_range *range, const th_heatmap *maps, int count,
                      const char *whose, th_error *error);

th_rgb th_scale_colour(th_scale scale, double value);

/* The bar that says which colour is which number. */
int th_bar_width(th_plot *plot, th_scale scale, int height); /* with its numbers */
void th_bar_draw(th_plot *plot, th_canvas *canvas, th_scale scale, int x, int y, int height);

#endif
