#include "fonts.h"

#include <fontconfig/fontconfig.h>
#include <stdlib.h>

#include "utf8.h"

/* A font in the order of preference; opened when a letter first needs it. */
typedef struct font {
  FT_Face face;
  int size; /* pixels it is set to; 0: none yet */
  bool bad; /* could not be opened, or has no outlines: not tried again */
} font;

struct th_plot {
  FT_Library freetype;
  FcConfig *config; /* our own, not fontconfig's shared one */
  FcFontSet *order; /* fonts by preference; NULL: no text */
  font *fonts;      /* [order->nfont] */
  uint32_t missing; /* the first code point that no font has; 0: none */
};

#define FAMILY "sans"

/* Loads fontconfig's settings and lists the fonts. FcInitLoadConfigAndFonts would do the same but
 * complains on stderr when there is no configuration. NULL: no memory. */
static FcConfig *load_config(void) {
  FcConfig *config = FcConfigCreate();
  if (!config) return NULL;
  if (!FcConfigParseAndLoad(config, NULL, FcFalse) || !FcConfigBuildFonts(config)) {
    /* Without settings there are no fonts, which is a state and not an error: go on without. */
    FcConfigDestroy(config);
    return FcConfigCreate();
  }
  return config;
}

/* All fonts, best first; fonts that add no letters are left out. NULL: there are none. */
static FcFontSet *sort_fonts(FcConfig *config) {
  FcPattern *wish = FcPatternCreate();
  if (!wish) return NULL;
  FcPatternAddString(wish, FC_FAMILY, (const FcChar8 *)FAMILY);
  FcPatternAddInteger(wish, FC_WEIGHT, FC_WEIGHT_REGULAR);
  FcPatternAddInteger(wish, FC_SLANT, FC_SLANT_ROMAN);
  FcPatternAddInteger(wish, FC_WIDTH, FC_WIDTH_NORMAL);
  FcPatternAddBool(wish, FC_SCALABLE, FcTrue);
  FcConfigSubstitute(config, wish, FcMatchPattern);
  FcDefaultSubstitute(wish);
  FcResult result = FcResultMatch;
  FcFontSet *order = FcFontSort(config, wish, FcTrue, NULL, &result);
  FcPatternDestroy(wish);
  if (order && order->nfont == 0) {
    FcFontSetDestroy(order);
    order = NULL;
  }
  return order;
}

/* Opens font `i` unless that failed before, and sets its size. NULL: not usable. */
static FT_Face open_font(th_plot *plot, int i, int size) {
  font *one = &plot->fonts[i];
  if (!one->face && !one->bad) {
    FcChar8 *file = NULL;
    int index = 0;
    const FcPattern *pattern = plot->order->fonts[i];
    FcPatternGetInteger(pattern, FC_INDEX, 0, &index);
    one->bad = FcPatternGetString(pattern, FC_FILE, 0, &file) != FcResultMatch ||
               FT_New_Face(plot->freetype, (const char *)file, index, &one->face) != 0;
    if (!one->bad && !FT_IS_SCALABLE(one->face)) {
      FT_Done_Face(one->face);
      one->bad = true;
    }
    if (one->bad) one->face = NULL;
  }
  if (one->face && one->size != size)
    one->size = FT_Set_Pixel_Sizes(one->face, 0, (FT_UInt)size) == 0 ? size : 0;
  return one->size == size ? one->face : NULL;
}

/* The glyph of `code` in the first font that has it. */
static bool find_glyph(th_plot *plot, uint32_t code, int size, th_glyph *glyph) {
  for (int i = 0; i < plot->order->nfont; i++) {
    FcCharSet *letters = NULL;
    if (FcPatternGetCharSet(plot->order->fonts[i], FC_CHARSET, 0, &letters) != FcResultMatch ||
        !FcCharSetHasChar(letters, code))
      continue;
    FT_Face face = open_font(plot, i, size);
    FT_UInt index = face ? FT_Get_Char_Index(face, code) : 0;
    if (index == 0) continue;
    *glyph = (th_glyph){face, index};
    return true;
  }
  return false;
}

th_glyph th_fonts_glyph(th_plot *plot, uint32_t code, int size) {
  th_glyph glyph = {NULL, 0};
  if (!plot->order || find_glyph(plot, code, size, &glyph)) return glyph;
  if (!plot->missing) plot->missing = code;
  if (find_glyph(plot, TH_REPLACEMENT, size, &glyph)) return glyph;
  for (int i = 0; i < plot->order->nfont && !glyph.face; i++) glyph.face = open_font(plot, i, size);
  return glyph;
}

/* False: no memory. Finding no font leaves `order` NULL and is fine. */
static bool find_fonts(th_plot *plot) {
  if (FT_Init_FreeType(&plot->freetype) != 0) return false;
  plot->config = load_config();
  if (!plot->config) return false;
  plot->order = sort_fonts(plot->config);
  if (!plot->order) return true;
  plot->fonts = calloc((size_t)plot->order->nfont, sizeof *plot->fonts);
  return plot->fonts != NULL;
}

th_status th_plot_new(th_plot **plot, th_plot_fonts fonts, th_error *error) {
  *plot = NULL;
  if (fonts != TH_PLOT_SYSTEM_FONTS && fonts != TH_PLOT_NO_FONTS)
    return th_error_set(error, TH_EINVAL, "plot: fonts is %d, not one of th_plot_fonts", (int)fonts);
  th_plot *made = calloc(1, sizeof *made);
  if (!made || (fonts == TH_PLOT_SYSTEM_FONTS && !find_fonts(made))) {
    th_plot_free(made);
    return th_error_set(error, TH_ENOMEM, "plot: no memory for the fonts");
  }
  *plot = made;
  return TH_OK;
}

void th_plot_free(th_plot *plot) {
  if (!plot) return;
  for (int i = 0; plot->fonts && i < plot->order->nfont; i++)
    if (plot->fonts[i].face) FT_Done_Face(plot->fonts[i].face);
  free(plot->fonts);
  if (plot->order) FcFontSetDestroy(plot->order);
  /* No FcFini: the rest of the program may use fontconfig too. */
  if (plot->config) FcConfigDestroy(plot->config);
  if (plot->freetype) FT_Done_FreeType(plot->freetype);
  free(plot);
}

bool th_plot_has_text(const th_plot *plot) { return plot->order != NULL; }

uint32_t th_plot_missing(const th_plot *plot) { return plot->missing; }
