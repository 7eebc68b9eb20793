/* The installed fonts: which of them has a letter. */
#ifndef TAPEHEAD_PLOT_FONTS_H
#define TAPEHEAD_PLOT_FONTS_H

#include <ft2build.h>
#include FT_FREETYPE_H
#include <stdint.h>

#include "tapehead/plot.h"

/* One letter to draw: a glyph of a face that is set to the size asked for. */
typedef struct th_glyph {
  FT_Face face; /* NULL: there are no fonts */
  FT_UInt index;
} th_glyph;

/* The glyph of `code` at `size` pixels, from the first font in the order of preference that has it;
 * else that of U+FFFD; else the first font's box for missing letters. */
th_glyph th_fonts_glyph(th_plot *plot, uint32_t code, int size);

#endif
