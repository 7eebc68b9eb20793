/* What heatmap and grid pictures have in common: a body with a title above, axis names at the left
 * and below, and the colour bar at the right.
 *
 *          title
 *   q   +----------+  bar
 *   u   |   body   |
 *       +----------+
 *            key
 */
#ifndef TAPEHEAD_PLOT_FIGURE_H
#define TAPEHEAD_PLOT_FIGURE_H

#include "panel.h"

typedef struct th_figure {
  /* Filled in by the caller; the body has its labels inside. */
  int body_width, body_height;
  int core_x, core_y;          /* where in the body the matrices begin ... */
  int core_width, core_height; /* ... and how far they reach */
  const char *title, *query_axis, *key_axis;
  th_scale scale;
  /* Filled in by th_figure_begin. */
  int body_x, body_y; /* where on the canvas the body goes */
} th_figure;

/* Places everything, makes the canvas and draws all but the body. */
th_status th_figure_begin(th_plot *plot, th_figure *figure, th_canvas *canvas, th_error *error);

#endif
