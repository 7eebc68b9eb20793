/* The two fields of a likeness panel: points in a plane, and a dendrogram. */
#ifndef TAPEHEAD_PLOT_LIKENESS_H
#define TAPEHEAD_PLOT_LIKENESS_H

#include "axis.h"
#include "canvas.h"
#include "panel.h"

#define TH_DOT 9.0           /* diameter of a thing's dot ... */
#define TH_DOT_RING 12.0     /* ... and of the white one behind it */
#define TH_DOT_FIELD 16      /* a stroke that holds it */
#define TH_LEAF_NARROWEST 15 /* between leaves: a label that runs upwards fits */

/* A rectangle of the canvas. */
typedef struct th_field {
  int x, y, width, height;
} th_field;

th_rgb th_thing_colour(const th_likeness *things, int i);

/* Draws the points with as many of their labels as find room, and under the field the rule that says how far
 * apart they are. Fails with TH_ENOMEM. */
th_status th_scatter_draw(th_plot *plot, th_canvas *canvas, const th_likeness *things, th_field field,
                          th_error *error);
int th_scatter_room_below(th_plot *plot);

/* Checks that the joins make one tree of all things; `whose` names them in the error. */
th_status th_dendrogram_check(const th_likeness *things, const char *whose, th_error *error);
/* Draws the tree over its leaves, which stand under the field. Fails with TH_ENOMEM. */
th_status th_dendrogram_draw(th_plot *plot, th_canvas *canvas, const th_likeness *things,
                             const th_scaled_axis *heights, th_field field, th_error *error);
/* Room for the leaves under a field of this width. */
int th_dendrogram_room_below(th_plot *plot, const th_likeness *things, int width);

#endif
