/* An axis of a curve: its ends, its ticks, and where a value stands on it. */
#ifndef TAPEHEAD_PLOT_AXIS_H
#define TAPEHEAD_PLOT_AXIS_H

#include "ticks.h"

typedef struct th_scaled_axis {
  double low, high;
  bool log;
  th_ticks ticks;
} th_scaled_axis;

typedef enum { TH_AXIS_X, TH_AXIS_LEFT, TH_AXIS_RIGHT } th_axis_side;

/* Fits the axis to its range, or to the data of the series that it measures, with about `most` parts. */
th_status th_axis_fit(th_scaled_axis *axis, const th_curve *curve, th_axis_side side, int most,
                      th_error *error);

/* 0 at the low end, 1 at the high end, beyond them outside; NaN where the axis has no place for it. */
double th_axis_place(const th_scaled_axis *axis, double value);

/* The x of a series' point. */
double th_series_x(const th_series *series, int64_t i);

#endif
