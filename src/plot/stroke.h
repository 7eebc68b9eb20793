/* Smooth lines: gathered as coverage first, so that a line crossing itself does not darken. */
#ifndef TAPEHEAD_PLOT_STROKE_H
#define TAPEHEAD_PLOT_STROKE_H

#include "canvas.h"

typedef struct th_stroke {
  int width, height;
  uint8_t *coverage; /* [height, width] */
} th_stroke;

/* An empty stroke for a field of this size. Fails with TH_ENOMEM. Free it with th_stroke_free. */
th_status th_stroke_new(th_stroke *stroke, int width, int height, th_error *error);
void th_stroke_free(th_stroke *stroke);

/* Adds a line with round ends; what is outside the field is left out. Both ends the same: a dot. */
void th_stroke_line(th_stroke *stroke, double x0, double y0, double x1, double y1, double thickness);

/* Blends the stroke onto the canvas, its corner at x, y, and empties it. */
void th_stroke_draw(th_stroke *stroke, th_canvas *canvas, int x, int y, th_rgb colour);

/* Draws a dot with its centre at x, y of the canvas; the stroke's field, empty before and after, holds it. */
void th_stroke_dot(th_stroke *stroke, th_canvas *canvas, double x, double y, double diameter, th_rgb colour);

#endif
