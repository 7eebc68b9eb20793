#include "ticks.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define SLACK 1e-9        /* of a step: forgives rounding in low and high */
#define PLAIN_LIMIT 1e7   /* from here on numbers are written with an exponent */
#define PLAIN_DECIMALS 6  /* and below this many decimals */
#define CLOSEST 1e-12     /* a span smaller than this part of its ends is none */
#define VALUE_LIMIT 1e300 /* keeps high - low finite */

static const double round_digits[] = {1, 2, 5, 10};
#define ROUND_DIGITS 4

double th_round_up(double value) {
  double power = pow(10, floor(log10(value)));
  for (int i = 0; i < ROUND_DIGITS; i++)
    if (round_digits[i] * power >= value * (1 - SLACK)) return round_digits[i] * power;
  return 10 * power;
}

double th_round_down(double value) {
  double power = pow(10, floor(log10(value)));
  for (int i = ROUND_DIGITS - 1; i > 0; i--)
    if (round_digits[i] * power <= value * (1 + SLACK)) return round_digits[i] * power;
  return power;
}

static bool too_close(double low, double high) {
  return !(high - low > CLOSEST * fmax(fabs(low), fabs(high))) || high - low < DBL_MIN / CLOSEST;
}

double th_ticks_step(double low, double high, int most) {
  if (too_close(low, high) || most < 1) return 0;
  return th_round_up((high - low) / most);
}

static void add_tick(th_ticks *ticks, double at, int decimals) {
  if (ticks->count == TH_TICKS_MAX) return;
  ticks->at[ticks->count] = at;
  char *text = ticks->text[ticks->count++];
  if (decimals < 0) snprintf(text, TH_TICK_TEXT, "%g", at);
  else snprintf(text, TH_TICK_TEXT, "%.*f", decimals, at);
}

void th_ticks_linear(th_ticks *ticks, double low, double high, int most) {
  ticks->count = 0;
  double step = th_ticks_step(low, high, most);
  if (step == 0) return;
  double digits = -floor(log10(step) + SLACK);
  int decimals = digits < 0 ? 0 : digits > PLAIN_DECIMALS ? -1 : (int)digits;
  if (fmax(fabs(low), fabs(high)) >= PLAIN_LIMIT) decimals = -1;
  double first = ceil(low / step - SLACK);
  for (int i = 0; i < TH_TICKS_MAX; i++) {
    double at = (first + i) * step;
    if (at > high + SLACK * step) break;
    add_tick(ticks, at == 0 ? 0 : at, decimals); /* no "-0" */
  }
}

void th_ticks_log(th_ticks *ticks, double low, double high, int most) {
  ticks->count = 0;
  double decades = log10(high) - log10(low);
  int digits = decades * 3 <= most ? 3 : 1; /* 1, 2, 5, or 1 alone */
  double every = digits == 3 ? 1 : ceil(fmax(decades, 1) / most);
  double power = floor(log10(low) + SLACK);
  for (; power <= log10(high) + SLACK; power += every)
    for (int i = 0; i < digits; i++) {
      double at = round_digits[i] * pow(10, power);
      if (at >= low * (1 - SLACK) && at <= high * (1 + SLACK)) add_tick(ticks, at, -1);
    }
}

/* Makes room around a value that stands alone. */
static void widen(double *low, double *high) {
  if (!too_close(*low, *high)) return;
  double middle = *low / 2 + *high / 2;
  double room = fabs(middle) > DBL_MIN / CLOSEST ? fabs(middle) / 2 : 0.5;
  *low = middle - room;
  *high = middle + room;
}

th_status th_range_ends(const th_range *range, double least, double largest, const char *whose, double *low,
                        double *high, th_error *error) {
  *low = 0;
  *high = 1;
  if (range->kind == TH_RANGE_FIXED) {
    if (!(range->low < range->high) || !isfinite(range->high - range->low))
      return th_error_set(error, TH_EINVAL, "%s: range %g to %g: low must be below high, both finite", whose,
                          range->low, range->high);
    *low = range->low;
    *high = range->high;
  } else if (range->kind == TH_RANGE_DATA && least <= largest) {
    *low = fmax(least, -VALUE_LIMIT);
    *high = fmin(largest, VALUE_LIMIT);
    widen(low, high);
  } else if (range->kind != TH_RANGE_DEFAULT && range->kind != TH_RANGE_DATA) {
    return th_error_set(error, TH_EINVAL, "%s: range kind is %d, not one of th_range_kind", whose,
                        (int)range->kind);
  }
  return TH_OK;
}
