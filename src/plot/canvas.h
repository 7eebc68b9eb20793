/* A picture in memory: RGB pixels, the first row on top. */
#ifndef TAPEHEAD_PLOT_CANVAS_H
#define TAPEHEAD_PLOT_CANVAS_H

#include <stdint.h>

#include "tapehead/tensor.h"

typedef struct th_rgb {
  uint8_t r, g, b;
} th_rgb;

typedef struct th_canvas {
  int width, height;
  uint8_t *pixels; /* [height, width, 3] */
} th_canvas;

/* A white canvas; free it with th_canvas_free. Fails with TH_EINVAL (too large) or TH_ENOMEM. */
th_status th_canvas_new(th_canvas *canvas, int width, int height, th_error *error);
void th_canvas_free(th_canvas *canvas);

/* What lies outside the canvas is left out, in all of these. */
void th_canvas_fill(th_canvas *canvas, int x, int y, int width, int height, th_rgb colour);
void th_canvas_blend(th_canvas *canvas, int x, int y, th_rgb colour, uint8_t coverage); /* 255: opaque */
/* A line of one pixel around the rectangle. */
void th_canvas_frame(th_canvas *canvas, int x, int y, int width, int height, th_rgb colour);

/* Writes a PNG beside `path`, syncs it and renames it to `path`; on failure (TH_EIO, TH_ENOMEM)
 * `path` is as before and nothing else is left. */
th_status th_canvas_write_png(const th_canvas *canvas, const char *path, th_error *error);

#endif
