/* What stands above a field: the title, and the legend, a swatch and a name for every colour, in rows. */
#ifndef TAPEHEAD_PLOT_LEGEND_H
#define TAPEHEAD_PLOT_LEGEND_H

#include "canvas.h"
#include "tapehead/plot.h"

typedef struct th_legend {
  const char *title; /* NULL: none */
  struct {
    const char *name; /* NULL: not in the legend */
    const char *side; /* written after the name, and never shortened; NULL: nothing */
  } entry[TH_CURVE_MAX_SERIES];
  int count;
  bool blocks; /* swatches are blocks, as bars and dots are, not lines */
} th_legend;

/* Height of title and legend where `width` is given to them, the gap below included; 0 without names or fonts. */
int th_legend_height(th_plot *plot, const th_legend *legend, int width);
/* The title may be wider than `width`, up to the canvas. */
void th_legend_draw(th_plot *plot, th_canvas *canvas, const th_legend *legend, int x, int y, int width);

#endif
