/* An axis: its ends, its ticks, where a value stands on it, and how it is drawn beside a field. */
#ifndef TAPEHEAD_PLOT_AXIS_H
#define TAPEHEAD_PLOT_AXIS_H

#include "canvas.h"
#include "ticks.h"

#define TH_TICK_LENGTH 5

typedef struct th_scaled_axis {
  double low, high;
  bool log;
  th_ticks ticks;
} th_scaled_axis;

/* What an axis measures runs from `least` to `largest`; least > largest: there is nothing. */
typedef struct th_extent {
  double least, largest;
} th_extent;

#define TH_NO_EXTENT ((th_extent){HUGE_VAL, -HUGE_VAL})

/* Widens `extent` to `value`, where that is finite. */
void th_extent_add(th_extent *extent, double value);

/* Fits the axis to the range asked for, or to the data's extent, with about `most` parts. `round`: ends that
 * follow the data move outwards to round numbers. `whose` names the axis in the error. */
th_status th_axis_fit(th_scaled_axis *axis, const th_axis *asked, th_extent data, bool round, int most,
                      const char *whose, th_error *error);

/* 0 at the low end, 1 at the high end, beyond them outside; NaN where the axis has no place for it. */
double th_axis_place(const th_scaled_axis *axis, double value);
/* The pixel of a place on an axis `length` pixels long, from its low end. */
int th_axis_pixel(const th_scaled_axis *axis, double value, int length);

/* The width of the widest number; 0 without fonts. */
int th_ticks_width(th_plot *plot, const th_ticks *ticks);

/* Room for tick marks, numbers and name. */
int th_axis_room_below(th_plot *plot, const char *name);
int th_axis_room_beside(th_plot *plot, const th_scaled_axis *axis, const char *name);

/* Draws the axis under a field that reaches from x to x + length and ends above y. */
void th_axis_draw_below(th_plot *plot, th_canvas *canvas, const th_scaled_axis *axis, const char *name, int x,
                        int y, int length);
/* Draws it beside a field that reaches from y down to y + length and whose edge is at x; `out` is -1 at its
 * left, 1 at its right. */
void th_axis_draw_beside(th_plot *plot, th_canvas *canvas, const th_scaled_axis *axis, const char *name,
                         int x, int y, int length, int out);

/* Faint lines across a field at the ticks of an axis that runs upwards, or rightwards. */
void th_axis_rules_up(th_canvas *canvas, const th_scaled_axis *axis, int x, int y, int width, int height);
void th_axis_rules_along(th_canvas *canvas, const th_scaled_axis *axis, int x, int y, int width, int height);

#endif
