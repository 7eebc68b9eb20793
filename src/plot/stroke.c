#include "stroke.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

th_status th_stroke_new(th_stroke *stroke, int width, int height, th_error *error) {
  *stroke = (th_stroke){.width = width, .height = height};
  stroke->coverage = calloc((size_t)width * (size_t)height, 1);
  if (!stroke->coverage)
    return th_error_set(error, TH_ENOMEM, "picture: no memory for %d x %d pixels", width, height);
  return TH_OK;
}

void th_stroke_free(th_stroke *stroke) {
  free(stroke->coverage);
  *stroke = (th_stroke){0};
}

typedef struct segment {
  double x0, y0, x1, y1; /* x0 <= x1 */
} segment;

static double distance_to(const segment *line, double x, double y) {
  double dx = line->x1 - line->x0, dy = line->y1 - line->y0;
  double length2 = dx * dx + dy * dy;
  double along = length2 > 0 ? ((x - line->x0) * dx + (y - line->y0) * dy) / length2 : 0;
  along = fmin(fmax(along, 0), 1);
  return hypot(x - line->x0 - along * dx, y - line->y0 - along * dy);
}

/* The pixels that low..high touches: the first, and the one after the last. */
static int first_pixel(double low) { return low <= 0 ? 0 : (int)low; }

static int end_pixel(double high, int limit) { return high >= limit ? limit : high < 0 ? 0 : (int)high + 1; }

/* The heights that the part of `line` between x - reach and x + reach spans. */
static void heights_near(const segment *line, double x, double reach, double *low, double *high) {
  double dx = line->x1 - line->x0, dy = line->y1 - line->y0;
  double from = 0, to = 1;
  if (dx > 0) {
    from = fmin(fmax((x - reach - line->x0) / dx, 0), 1);
    to = fmin(fmax((x + reach - line->x0) / dx, 0), 1);
  }
  *low = line->y0 + fmin(from * dy, to * dy);
  *high = line->y0 + fmax(from * dy, to * dy);
}

void th_stroke_line(th_stroke *stroke, double x0, double y0, double x1, double y1, double thickness) {
  segment line = x0 <= x1 ? (segment){x0, y0, x1, y1} : (segment){x1, y1, x0, y0};
  double reach = thickness / 2 + 0.5; /* from here on a pixel is not touched at all */
  int end = end_pixel(line.x1 + reach, stroke->width);
  for (int column = first_pixel(line.x0 - reach); column < end; column++) {
    double x = column + 0.5, low, high;
    heights_near(&line, x, reach, &low, &high);
    int bottom = end_pixel(high + reach, stroke->height);
    for (int row = first_pixel(low - reach); row < bottom; row++) {
      double cover = fmin(reach - distance_to(&line, x, row + 0.5), 1);
      uint8_t *old = &stroke->coverage[(size_t)row * (size_t)stroke->width + (size_t)column];
      if (cover * 255 > *old) *old = (uint8_t)(cover * 255);
    }
  }
}

void th_stroke_draw(th_stroke *stroke, th_canvas *canvas, int x, int y, th_rgb colour) {
  const uint8_t *coverage = stroke->coverage;
  for (int row = 0; row < stroke->height; row++)
    for (int column = 0; column < stroke->width; column++, coverage++)
      if (*coverage) th_canvas_blend(canvas, x + column, y + row, colour, *coverage);
  memset(stroke->coverage, 0, (size_t)stroke->width * (size_t)stroke->height);
}

void th_stroke_dot(th_stroke *stroke, th_canvas *canvas, double x, double y, double diameter, th_rgb colour) {
  int left = (int)floor(x) - stroke->width / 2, top = (int)floor(y) - stroke->height / 2;
  th_stroke_line(stroke, x - left, y - top, x - left, y - top, diameter);
  th_stroke_draw(stroke, canvas, left, top, colour);
}
