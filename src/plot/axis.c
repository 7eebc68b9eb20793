#include "axis.h"

#include <math.h>

#define NEAR_ZERO 0.3 /* an axis whose data begin below this part of their end begins at 0 */
#define SLACK 1e-9    /* of a step: forgives rounding in the data's ends */
#define FAR_OUTSIDE 8 /* places beyond this are moved here: still outside, and safe to count in pixels */

double th_series_x(const th_series *series, int64_t i) { return series->x ? series->x[i] : (double)i; }

double th_axis_place(const th_scaled_axis *axis, double value) {
  if (!isfinite(value) || (axis->log && value <= 0)) return NAN;
  double place = axis->log ? (log10(value) - log10(axis->low)) / (log10(axis->high) - log10(axis->low))
                           : (value - axis->low) / (axis->high - axis->low);
  return fmin(fmax(place, -FAR_OUTSIDE), FAR_OUTSIDE);
}

static void data_ends(const th_curve *curve, th_axis_side side, bool log, double *least, double *largest) {
  *least = HUGE_VAL;
  *largest = -HUGE_VAL;
  for (int s = 0; s < curve->count; s++) {
    const th_series *series = &curve->series[s];
    if (side != TH_AXIS_X && series->right != (side == TH_AXIS_RIGHT)) continue;
    for (int64_t i = 0; i < series->count; i++) {
      double value = side == TH_AXIS_X ? th_series_x(series, i) : series->y[i];
      if (!isfinite(value) || (log && value <= 0)) continue;
      *least = fmin(*least, value);
      *largest = fmax(*largest, value);
    }
  }
}

/* Moves the ends of an axis that follows the data outwards, to round numbers. */
static void round_ends(th_scaled_axis *axis, th_axis_side side, int most) {
  if (axis->log) {
    axis->low = th_round_down(axis->low);
    axis->high = th_round_up(axis->high);
    return;
  }
  if (axis->low > 0 && axis->low < NEAR_ZERO * axis->high) axis->low = 0;
  double step = th_ticks_step(axis->low, axis->high, most);
  if (side == TH_AXIS_X || step == 0) /* time ends where the data end */
    return;
  axis->low = floor(axis->low / step + SLACK) * step;
  axis->high = ceil(axis->high / step - SLACK) * step;
}

static const th_axis *axis_of(const th_curve *curve, th_axis_side side) {
  return side == TH_AXIS_X ? &curve->x : side == TH_AXIS_LEFT ? &curve->left : &curve->right;
}

th_status th_axis_fit(th_scaled_axis *axis, const th_curve *curve, th_axis_side side, int most,
                      th_error *error) {
  static const char *const whose[] = {"curve: x axis", "curve: left axis", "curve: right axis"};
  const th_axis *asked = axis_of(curve, side);
  th_range range = asked->range;
  axis->log = asked->log && side != TH_AXIS_X;
  if (range.kind == TH_RANGE_DEFAULT && (side != TH_AXIS_RIGHT || axis->log)) range.kind = TH_RANGE_DATA;
  double least, largest;
  data_ends(curve, side, axis->log, &least, &largest);
  if (axis->log && least > largest) { /* nothing to draw: any decade will do */
    least = 1;
    largest = 10;
  }
  th_status status = th_range_ends(&range, least, largest, whose[side], &axis->low, &axis->high, error);
  if (status != TH_OK) return status;
  if (axis->log && axis->low <= 0)
    return th_error_set(error, TH_EINVAL, "%s: a log axis cannot begin at %g", whose[side], axis->low);
  if (range.kind == TH_RANGE_DATA) round_ends(axis, side, most);
  if (axis->log) th_ticks_log(&axis->ticks, axis->low, axis->high, most);
  else th_ticks_linear(&axis->ticks, axis->low, axis->high, most);
  return TH_OK;
}
