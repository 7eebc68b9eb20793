/* The colours of the pictures. */
#ifndef TAPEHEAD_PLOT_COLOUR_H
#define TAPEHEAD_PLOT_COLOUR_H

#include "canvas.h"

#define TH_VIRIDIS_COLOURS 256
#define TH_SERIES_COLOURS 8

extern const th_rgb th_viridis[TH_VIRIDIS_COLOURS];  /* dark violet to yellow */
extern const th_rgb th_okabe_ito[TH_SERIES_COLOURS]; /* best seen on white first */

/* The colour of `value` on a scale; outside values take the nearer end, NaN is TH_GREY_NAN. */
th_rgb th_colour_of(double value, double low, double high);
/* The same of a scale from -most to most: blue below 0, white at it, red above. */
th_rgb th_parted_colour_of(double value, double most);

#define TH_INK ((th_rgb){0x20, 0x20, 0x20})      /* text */
#define TH_FRAME ((th_rgb){0x50, 0x50, 0x50})    /* frames and tick marks */
#define TH_RULE ((th_rgb){0xE4, 0xE4, 0xE4})     /* lines behind a curve */
#define TH_GREY_NAN ((th_rgb){0xB8, 0xB8, 0xB8}) /* no colour of viridis is near a grey */
#define TH_GAUGE ((th_rgb){0xD5, 0x5E, 0x00})    /* th_okabe_ito's vermilion: no colour of viridis is near */

#endif
