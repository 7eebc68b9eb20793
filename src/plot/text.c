#include "text.h"

#include "colour.h"
#include "fonts.h"
#include FT_OUTLINE_H
#include "utf8.h"

#define ELLIPSIS 0x2026
#define ONE 64        /* FreeType counts in 64ths of a pixel */
#define FRACTION 0x3F /* the part of a position below one pixel */

/* Snap to pixels across the line only: letters keep their widths and look even. */
#define LOAD_FLAGS (FT_LOAD_TARGET_LIGHT | FT_LOAD_NO_BITMAP)

/* Control characters can be tokens; line ends and tabs get a sign of their own. */
static uint32_t visible(uint32_t code) {
  switch (code) {
  case '\n': return 0x21B5; /* downwards arrow with corner leftwards */
  case '\t': return 0x21E5; /* rightwards arrow to bar */
  default: return code < ' ' || (code >= 0x7F && code < 0xA0) ? TH_REPLACEMENT : code;
  }
}

/* How far `code` moves the pen, in 64ths; leaves its glyph in the face's slot. 0 without fonts. */
static FT_Pos load(th_plot *plot, uint32_t code, int size, FT_GlyphSlot *slot) {
  th_glyph glyph = th_fonts_glyph(plot, code, size);
  *slot = NULL;
  if (!glyph.face || FT_Load_Glyph(glyph.face, glyph.index, LOAD_FLAGS) != 0) return 0;
  *slot = glyph.face->glyph;
  return (*slot)->linearHoriAdvance >> 10; /* from 16.16 */
}

static FT_Pos advance_of(th_plot *plot, uint32_t code, int size) {
  FT_GlyphSlot slot;
  return load(plot, code, size, &slot);
}

/* Cuts letters off the end until an ellipsis fits behind them. */
static FT_Pos shorten(th_plot *plot, th_text *text, FT_Pos width, FT_Pos widest) {
  FT_Pos dots = advance_of(plot, ELLIPSIS, text->size);
  while (text->count > 0 &&
         (width + dots > widest || text->count == TH_TEXT_CODES || text->code[text->count - 1] == ' ')) {
    text->count--;
    width -= advance_of(plot, text->code[text->count], text->size);
  }
  text->code[text->count++] = ELLIPSIS;
  return width + dots;
}

void th_text_set(th_plot *plot, th_text *text, const char *utf8, int size, int widest) {
  FT_Pos width = 0;
  text->count = 0;
  text->size = size;
  text->width = 0;
  if (!utf8 || !th_plot_has_text(plot)) return;
  while (*utf8 && text->count < TH_TEXT_CODES) {
    uint32_t code = visible(th_utf8_next(&utf8));
    text->code[text->count++] = code;
    width += advance_of(plot, code, size);
  }
  if (*utf8 || width > (FT_Pos)widest * ONE) width = shorten(plot, text, width, (FT_Pos)widest * ONE);
  text->width = (int)((width + ONE - 1) / ONE);
}

/* Blends a glyph's grey bitmap; `along` and `down` are where the pen stands on the line of text. */
static void blend_glyph(th_canvas *canvas, FT_GlyphSlot slot, int x, int y, int along, int down, bool up) {
  const FT_Bitmap *bitmap = &slot->bitmap;
  if (bitmap->pixel_mode != FT_PIXEL_MODE_GRAY) return;
  for (int row = 0; row < (int)bitmap->rows; row++) {
    for (int column = 0; column < (int)bitmap->width; column++) {
      uint8_t coverage = bitmap->buffer[row * bitmap->pitch + column];
      int a = along + slot->bitmap_left + column;
      int d = down - slot->bitmap_top + row;
      if (up) th_canvas_blend(canvas, x + d, y - 1 - a, TH_INK, coverage);
      else th_canvas_blend(canvas, x + a, y + d, TH_INK, coverage);
    }
  }
}

/* The height of a capital letter, which is what the eye centres a line by. */
static int capital_height(th_plot *plot, int size) {
  FT_GlyphSlot slot;
  load(plot, 'H', size, &slot);
  return slot ? (int)((slot->metrics.horiBearingY + ONE / 2) / ONE) : 0;
}

static void draw(th_plot *plot, th_canvas *canvas, const th_text *text, int x, int y, th_align align,
                 bool up) {
  int start = align == TH_LEFT ? 0 : align == TH_CENTRE ? -(text->width / 2) : -text->width;
  int down = (capital_height(plot, text->size) + 1) / 2;
  FT_Pos pen = 0;
  for (int i = 0; i < text->count; i++) {
    FT_GlyphSlot slot;
    FT_Pos advance = load(plot, text->code[i], text->size, &slot);
    if (slot && slot->format == FT_GLYPH_FORMAT_OUTLINE) {
      FT_Outline_Translate(&slot->outline, pen & FRACTION, 0);
      if (FT_Render_Glyph(slot, FT_RENDER_MODE_NORMAL) == 0)
        blend_glyph(canvas, slot, x, y, start + (int)(pen / ONE), down, up);
    }
    pen += advance;
  }
}

void th_text_draw(th_plot *plot, th_canvas *canvas, const th_text *text, int x, int y, th_align align) {
  draw(plot, canvas, text, x, y, align, false);
}

void th_text_draw_up(th_plot *plot, th_canvas *canvas, const th_text *text, int x, int y, th_align align) {
  draw(plot, canvas, text, x, y, align, true);
}

int th_text_height(const th_plot *plot, int size) { return th_plot_has_text(plot) ? size + 2 : 0; }

int th_text_room(const th_plot *plot, const char *utf8, int size, int gap) {
  return utf8 && utf8[0] && th_plot_has_text(plot) ? th_text_height(plot, size) + gap : 0;
}
