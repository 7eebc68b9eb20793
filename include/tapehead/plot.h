/* Pictures: heatmaps of attention weights, grids of them, training curves, bars, and maps of what is
 * like what, as PNG files.
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
#pragma GCC visibility push(default)

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

/* The first code point of the pictures so far that no font has, so that U+FFFD stands there; 0: all were there. */
uint32_t th_plot_missing(const th_plot *plot);

/* ---- ranges ---------------------------------------------------------------------------------- */

typedef enum {
  /* 0 to 1 for heatmaps and the right axis; the data for the other axes. Heatmaps with a value below 0: from -m to
   * m, the largest size, in colours that part at 0 (blue below, red above) */
  TH_RANGE_DEFAULT = 0,
  TH_RANGE_DATA, /* from the smallest to the largest finite value drawn */
  TH_RANGE_FIXED /* from low to high, low < high, both finite */
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
  const char *note;                /* in a grid: a second, smaller line under the title; NULL: none */
  const double *gauge; /* in a grid: 0 to 1, the filled part of a small bar under the map; others take the
                          nearer end; NULL or NAN: no bar */
} th_heatmap;

/* Draws `heatmap` into the PNG file `path`. Labels too long are shortened, labels too many are
 * skipped evenly. Fails with TH_EDTYPE (weights neither f32 nor f64), TH_ESHAPE (not a matrix,
 * empty, or above TH_PLOT_MAX_SIDE tokens), TH_EINVAL (range), TH_ENOMEM or TH_EIO. */
th_status th_plot_heatmap(th_plot *plot, const char *path, const th_heatmap *heatmap, th_error *error);

#define TH_PLOT_MAX_SIDE 8192 /* largest number of rows or columns of a matrix */

/* ---- grid ------------------------------------------------------------------------------------ */

/* Many heatmaps, such as the heads of a layer, in reading order, with one scale for all. Maps side
 * by side that share their label arrays (the same pointer) show them once. A map without weights (NULL)
 * is an empty place: rows of different lengths are filled up with these. */
typedef struct th_grid {
  const th_heatmap *maps; /* [count]; their shapes may differ; their ranges and axis names are not used */
  int count;
  int columns;            /* maps in a row; 0: chosen for a picture wider than high */
  const char *title;      /* NULL: none */
  const char *query_axis; /* NULL: "query"; "": none */
  const char *key_axis;   /* NULL: "key"; "": none */
  th_range range;         /* for all maps; TH_RANGE_DATA is taken over all of them */
  const char *const
      *row_titles;        /* at the left of each row of maps, [count / columns, rounded up]; NULL: none */
  const char *gauge_name; /* what the maps' gauges show, in a line above the maps; NULL: none */
  bool bare;              /* no labels at rows and columns of the maps */
} th_grid;

/* Draws `grid` into the PNG file `path`; fails as th_plot_heatmap does, the text naming the map, and
 * with TH_EINVAL if all places are empty. */
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

/* ---- bars ------------------------------------------------------------------------------------ */

/* One bar of each group. */
typedef struct th_bar_series {
  const char *name;    /* in the legend; NULL: not in the legend */
  const double *value; /* [count] of th_bars; not finite: no bar. A bar of 0 shows on the zero line */
} th_bar_series;

/* Horizontal bars, a group for each label, from top to bottom; the picture grows with their number. */
typedef struct th_bars {
  const char *const *labels; /* [count]; NULL: numbers from 0 */
  int count;
  const th_bar_series *series; /* [series_count], from top to bottom in each group */
  int series_count;            /* at most TH_CURVE_MAX_SERIES */
  const char *title;           /* NULL: none */
  th_axis value;               /* the data's range includes 0, where bars begin; not log */
} th_bars;

#define TH_BARS_MAX 1000 /* labels */

/* Draws `bars` into the PNG file `path`. Without one finite value the axis is drawn alone. Fails with
 * TH_EINVAL (range, log, number of labels or series), TH_ENOMEM or TH_EIO. */
th_status th_plot_bars(th_plot *plot, const char *path, const th_bars *bars, th_error *error);

/* ---- likeness -------------------------------------------------------------------------------- */

/* Two clusters join. 0 .. n-1 are the leaves, n + i is what join i made: SciPy's linkage. */
typedef struct th_join {
  int first, second;
  double height; /* their distance, >= 0 */
} th_join;

/* What is like what, in one panel: things as points in a plane, and beside it the same in a dendrogram. */
typedef struct th_likeness {
  int count;                 /* of things, 1 to TH_LIKENESS_MAX */
  const char *const *labels; /* [count]; NULL: numbers from 0 */
  const int *group;          /* [count] what colour a thing has, from 0; NULL: all the first */
  const double *place;     /* [count,2] x rightwards and y upwards, on one scale, which a rule shows: the axes
                                themselves mean nothing; a place that is not finite has no point */
  const th_join *joins;    /* [count - 1], each cluster joining once */
  const char *title;       /* NULL: none */
  const char *height_axis; /* of the dendrogram; NULL: "distance"; "": none */
} th_likeness;

#define TH_LIKENESS_MAX 1000

/* Draws `panels` [count], one under another, into the PNG file `path`, the dendrograms on one scale from 0. A
 * point's label is left out where there is no room for it; the dendrogram has them all. `group_names` [groups],
 * at most TH_CURVE_MAX_SERIES, are the legend; NULL: none. `title` may be NULL. Fails with TH_EINVAL (numbers
 * of panels, things or groups; a group that is none; joins that make no tree), TH_ENOMEM or TH_EIO. */
th_status th_plot_likeness(th_plot *plot, const char *path, const th_likeness *panels, int count,
                           const char *const *group_names, int groups, const char *title, th_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
