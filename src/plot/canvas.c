#include "canvas.h"

#include <stdlib.h>
#include <string.h>

#define CHANNELS 3
#define SIDE_LIMIT 32767 /* keeps the byte count of a picture well inside size_t and int arithmetic */

th_status th_canvas_new(th_canvas *canvas, int width, int height, th_error *error) {
  *canvas = (th_canvas){0};
  if (width < 1 || height < 1 || width > SIDE_LIMIT || height > SIDE_LIMIT)
    return th_error_set(error, TH_EINVAL, "picture: %d x %d pixels, the limit is %d on a side", width, height,
                        SIDE_LIMIT);
  size_t bytes = (size_t)width * (size_t)height * CHANNELS;
  canvas->pixels = malloc(bytes);
  if (!canvas->pixels)
    return th_error_set(error, TH_ENOMEM, "picture: no memory for %d x %d pixels", width, height);
  memset(canvas->pixels, 255, bytes);
  canvas->width = width;
  canvas->height = height;
  return TH_OK;
}

void th_canvas_free(th_canvas *canvas) {
  free(canvas->pixels);
  *canvas = (th_canvas){0};
}

static uint8_t *pixel_at(th_canvas *canvas, int x, int y) {
  return canvas->pixels + ((size_t)y * (size_t)canvas->width + (size_t)x) * CHANNELS;
}

void th_canvas_fill(th_canvas *canvas, int x, int y, int width, int height, th_rgb colour) {
  int left = x < 0 ? 0 : x;
  int top = y < 0 ? 0 : y;
  int right = x + width > canvas->width ? canvas->width : x + width;
  int bottom = y + height > canvas->height ? canvas->height : y + height;
  for (int row = top; row < bottom; row++) {
    for (int column = left; column < right; column++) {
      uint8_t *pixel = pixel_at(canvas, column, row);
      pixel[0] = colour.r;
      pixel[1] = colour.g;
      pixel[2] = colour.b;
    }
  }
}

void th_canvas_frame(th_canvas *canvas, int x, int y, int width, int height, th_rgb colour) {
  th_canvas_fill(canvas, x - 1, y - 1, width + 2, 1, colour);
  th_canvas_fill(canvas, x - 1, y + height, width + 2, 1, colour);
  th_canvas_fill(canvas, x - 1, y, 1, height, colour);
  th_canvas_fill(canvas, x + width, y, 1, height, colour);
}

static uint8_t mix(uint8_t under, uint8_t over, uint8_t coverage) {
  return (uint8_t)((under * (255 - coverage) + over * coverage + 127) / 255);
}

void th_canvas_blend(th_canvas *canvas, int x, int y, th_rgb colour, uint8_t coverage) {
  if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height) return;
  uint8_t *pixel = pixel_at(canvas, x, y);
  pixel[0] = mix(pixel[0], colour.r, coverage);
  pixel[1] = mix(pixel[1], colour.g, coverage);
  pixel[2] = mix(pixel[2], colour.b, coverage);
}
