/* Round numbers along an axis. */
#ifndef TAPEHEAD_PLOT_TICKS_H
#define TAPEHEAD_PLOT_TICKS_H

#include "tapehead/plot.h"

#define TH_TICKS_MAX 24
#define TH_TICK_TEXT 32

typedef struct th_ticks {
  int count;
  double at[TH_TICKS_MAX];
  char text[TH_TICKS_MAX][TH_TICK_TEXT];
} th_ticks;

/* The smallest of 1, 2, 5 times a power of ten that cuts low..high into at most `most` parts; 0 where
 * the numbers are too close to be told apart. */
double th_ticks_step(double low, double high, int most);

/* The multiples of that step within low..high. */
void th_ticks_linear(th_ticks *ticks, double low, double high, int most);

/* Powers of ten within low..high (0 < low), with 2 and 5 times them where there is room. */
void th_ticks_log(th_ticks *ticks, double low, double high, int most);

/* The nearest 1, 2 or 5 times a power of ten not above (or not below) `value` > 0. */
double th_round_down(double value);
double th_round_up(double value);

/* What a range says: its low and high for data that runs from `least` to `largest` (least > largest:
 * no data). Always low < high. Fails with TH_EINVAL for a fixed range that is none. */
th_status th_range_ends(const th_range *range, double least, double largest, const char *whose, double *low,
                        double *high, th_error *error);

#endif
