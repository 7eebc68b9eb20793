/* Pictures: heatmaps of attention weights, grids of them, and training curves, as PNG files.
 *
 * Every picture is described by a plain struct, of which only the data must be filled in; a field
 * left zero stands for what its comment says. Nothing here keeps a pointer after the call.
 *
 * All text is UTF-8. Bytes that are not are drawn as U+FFFD, letters that the first font lacks come
 * from another installed font. Letters are placed one by one from left to right: scripts that need
 * shaping (Arabic, Devanagari) show their letters unjoined.
 *
 * A picture is written beside its target under a temporary name, synced and renamed: `path` holds
 * the old file or the whole new one, never a part. Sizes below are in pixels. */
#ifndef TAPEHEAD_PLOT_H
#define TAPEHEAD_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "tapehead/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- context --------------------------------------------------------------------------------- */

/* The fonts, opened once. One picture at a time may use a context; two contexts in two threads do
 * not meet. */
typedef struct th_plot th_plot;

typedef enum {
  TH_PLOT_SYSTEM_FONTS = 0, /* what fontconfig finds for "sans"; fontconfig reads its own settings */
  TH_PLOT_NO_FONTS          /* pictures without text */
} th_plot_fonts;

/* Makes a context in `*plot`, the caller's to free with th_plot_free. A machine without fonts is no
 * failure: the pictures come without text, and th_plot_has_text says so. Fails with TH_ENOMEM, or
 * TH_EINVAL for an unknown `fonts`; `*plot` is NULL then. Nothing here prints, but fontconfig itself
 * complains on stderr of settings it cannot parse, and of having no place for its cache. */
th_status th_plot_new(th_plot **plot, th_plot_fonts fonts, th_error *error);
void th_plot_free(th_plot *plot); /* NULL is fine */

/* Whether pictures have titles, labels and numbers; ask once, after th_plot_new. */
bool th_plot_has_text(const th_plot *plot);

/* ---- ranges ---------------------------------------------------------------------------------- */

typedef enum {
  TH_RANGE_DEFAULT = 0, /* 0 to 1 for heatmaps and the right axis; the data for the other axes */
  TH_RANGE_DATA,        /* from the smallest to the largest finite value drawn */
  TH_RANGE_FIXED        /* from low to high, low < high, both finite */
} th_range_kind;

typedef struct th_range {
  th_range_kind kind;
  double low, high; /* only for TH_RANGE_FIXED */
} th_range;

/* ---- heatmap --------------------------------------------------------------------------------- */

/* One matrix of attention weights. The first row is on top, the first column at the left. */
typedef struct th_heatmap {
  const th_tensor *weights;        /* [queries, keys], f32 or f64, any strides; NaN is drawn grey */
  const char *const *query_labels; /* [queries] beside the rows; NULL: row numbers from 0 */
  const char *const *key_labels;   /* [keys] under the columns; NULL: column numbers from 0 */
  const char *title;               /* NULL: none */
  const char *query_axis;          /* NULL: "query"; "": none */
  const char *key_axis;            /* NULL: "key"; "": none */
  th_range range;                  /* values at the two ends of the colours; others take the nearer end */
} th_heatmap;

/* Draws `heatmap` into the PNG file `path`. Labels too long are shortened, labels too many are
 * skipped evenly. Fails with TH_EDTYPE (weights neither f32 nor f64), TH_ESHAPE (not a matrix,
 * empty, or above TH_PLOT_MAX_SIDE tokens), TH_EINVAL (range), TH_ENOMEM or TH_EIO. */
th_status th_plot_heatmap(th_plot *plot, const char *path, const th_heatmap *heatmap, th_error *error);

#define TH_PLOT_MAX_SIDE 8192 /* largest number of rows or columns of a matrix */

/* ---- grid ------------------------------------------------------------------------------------ */

/* Many heatmaps, such as the heads of a layer, in reading order, with one scale for all. Maps side
 * by side that share their label arrays (the same pointer) show them once. */
typedef struct th_grid {
  const th_heatmap *maps; /* [count]; their shapes may differ; their ranges and axis names are not used */
  int count;
  int columns;            /* maps in a row; 0: chosen for a picture wider than high */
  const char *title;      /* NULL: none */
  const char *query_axis; /* NULL: "query"; "": none */
  const char *key_axis;   /* NULL: "key"; "": none */
  th_range range;         /* for all maps; TH_RANGE_DATA is taken over all of them */
} th_grid;

/* Draws `grid` into the PNG file `path`; fails as th_plot_heatmap does, the text naming the map. */
th_status th_plot_grid(th_plot *plot, const char *path, const th_grid *grid, th_error *error);

/* ---- curve ----------------------------------------------------------------------------------- */

typedef struct th_axis {
  const char *name; /* NULL: none */
  th_range range;   /* from the data: widened to round numbers, and to 0 where that is near */
  bool log;         /* powers of ten; values <= 0 are left out. Not for the x axis */
} th_axis;

/* One line. A value that is not finite breaks it; a value alone between two breaks is a dot. */
typedef struct th_series {
  const char *name; /* in the legend; NULL: not in the legend */
  const double *x;  /* [count]; NULL: 0, 1, 2 ... */
  const double *y;  /* [count] */
  int64_t count;
  bool right; /* measured on the right axis, which is drawn if any series asks for it */
} th_series;

#define TH_CURVE_MAX_SERIES 8 /* as many colours as people tell apart (Okabe & Ito 2008) */

typedef struct th_curve {
  const th_series *series; /* [count] */
  int count;
  const char *title; /* NULL: none */
  th_axis x, left, right;
} th_curve;

/* Draws `curve` into the PNG file `path`. Without one finite value the axes are drawn alone. Fails
 * with TH_EINVAL (range, number of series, a log range not above 0), TH_ENOMEM or TH_EIO. */
th_status th_plot_curve(th_plot *plot, const char *path, const th_curve *curve, th_error *error);

#ifdef __cplusplus
}
#endif
#endif
