/* The legend of a curve: a swatch and a name for every series, in rows above the field. */
#ifndef TAPEHEAD_PLOT_LEGEND_H
#define TAPEHEAD_PLOT_LEGEND_H

#include "canvas.h"
#include "tapehead/plot.h"

/* Height of the legend where `width` is given to it, the gap below included; 0 without names or fonts. */
int th_legend_height(th_plot *plot, const th_curve *curve, int width);
void th_legend_draw(th_plot *plot, th_canvas *canvas, const th_curve *curve, int x, int y, int width);

#endif
