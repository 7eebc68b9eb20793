/* Lines of text: measured, shortened, drawn along a row or upwards. */
#ifndef TAPEHEAD_PLOT_TEXT_H
#define TAPEHEAD_PLOT_TEXT_H

#include "canvas.h"
#include "tapehead/plot.h"

/* Sizes in pixels: readable at 100 % zoom. */
#define TH_LABEL_SIZE 12
#define TH_NAME_SIZE 13
#define TH_TITLE_SIZE 14

#define TH_TEXT_CODES 256 /* letters in a line at most; a picture's width ends long before */

typedef struct th_text {
  uint32_t code[TH_TEXT_CODES];
  int count;
  int size;  /* of the letters */
  int width; /* of the line; 0 without fonts */
} th_text;

typedef enum { TH_LEFT, TH_CENTRE, TH_RIGHT } th_align; /* which end of the line its x, y is */

/* Sets `text` to `utf8` (NULL: an empty line), ending in an ellipsis where it were wider than `widest`. */
void th_text_set(th_plot *plot, th_text *text, const char *utf8, int size, int widest);

/* Draws `text` with its middle line, at half the height of capitals, through x, y. */
void th_text_draw(th_plot *plot, th_canvas *canvas, const th_text *text, int x, int y, th_align align);
/* The same turned left by 90 degrees: the line runs upwards. */
void th_text_draw_up(th_plot *plot, th_canvas *canvas, const th_text *text, int x, int y, th_align align);

/* Height of a line of letters of `size`; 0 without fonts. */
int th_text_height(const th_plot *plot, int size);
/* The same with the gap to what it names; 0 for a line without letters. */
int th_text_room(const th_plot *plot, const char *utf8, int size, int gap);

#endif
