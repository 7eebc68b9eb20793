/* The vector functions against libm in long double, and the promise that a lane is on its own. */
#include "../src/tensor/vecmath.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

#define POINTS 200000

typedef void array_f32(int64_t n, const float *x, float *y);
typedef void array_f64(int64_t n, const double *x, double *y);
typedef long double exact(long double x);

typedef struct function {
  const char *name;
  array_f32 *f32;
  array_f64 *f64;
  exact *exact;
} function;

static const function functions[] = {
    {"exp", th_vexp_f32, th_vexp_f64, expl},
    {"tanh", th_vtanh_f32, th_vtanh_f64, tanhl},
    {"erf", th_verf_f32, th_verf_f64, erfl},
    {"log", th_vlog_f32, th_vlog_f64, logl},
};
#define FUNCTIONS (sizeof functions / sizeof *functions)

static const function *const f_exp = &functions[0], *const f_tanh = &functions[1];
static const function *const f_erf = &functions[2], *const f_log = &functions[3];

/* ---- accuracy ---- */

/* The distance in units of the last place that `digits` digits of the exact value have; below the
 * smallest normal number, in units of the smallest denormal. */
static double ulps(long double got, long double want, int digits, int least_exponent) {
  if (got == want) return 0;
  int exponent = want == 0 ? least_exponent : ilogbl(want);
  if (exponent < least_exponent) exponent = least_exponent;
  return (double)(fabsl(got - want) / ldexpl(1, exponent - digits + 1));
}

static double worst_f32(const function *f, double low, double high) {
  static float x[POINTS], y[POINTS];
  for (int i = 0; i < POINTS; i++) x[i] = (float)(low + (high - low) * i / (POINTS - 1));
  f->f32(POINTS, x, y);
  double worst = 0;
  for (int i = 0; i < POINTS; i++)
    worst = fmax(worst, ulps(y[i], f->exact(x[i]), FLT_MANT_DIG, FLT_MIN_EXP - 1));
  return worst;
}

static double worst_f64(const function *f, double low, double high) {
  static double x[POINTS], y[POINTS];
  for (int i = 0; i < POINTS; i++) x[i] = low + (high - low) * i / (POINTS - 1);
  f->f64(POINTS, x, y);
  double worst = 0;
  for (int i = 0; i < POINTS; i++)
    worst = fmax(worst, ulps(y[i], f->exact(x[i]), DBL_MANT_DIG, DBL_MIN_EXP - 1));
  return worst;
}

static void expect_within(const function *f, double limit_f32, double limit_f64, double low, double high) {
  double f32 = worst_f32(f, low, high), f64 = worst_f64(f, low, high);
  cr_expect(f32 <= limit_f32, "%s of float in [%g,%g]: %.3f ulp", f->name, low, high, f32);
  cr_expect(f64 <= limit_f64, "%s of double in [%g,%g]: %.3f ulp", f->name, low, high, f64);
}

Test(vecmath_accuracy, exp_is_within_one_ulp) {
  expect_within(f_exp, 1, 1, -87, 88.7);
  expect_within(f_exp, 1, 1, -1, 1);
  expect_within(f_exp, 1, 1, -1e-4, 1e-4);
}

Test(vecmath_accuracy, exp_of_double_is_within_one_ulp_over_all_its_range) {
  cr_expect(worst_f64(f_exp, -708, 709.7) <= 1);
}

Test(vecmath_accuracy, tanh_is_within_two_ulps_for_float_and_one_for_double) {
  expect_within(f_tanh, 2, 1, -10, 10);
  expect_within(f_tanh, 2, 1, -0.7, 0.7); /* across the seam at 0.625 */
  expect_within(f_tanh, 2, 1, 0.6249, 0.6251);
  expect_within(f_tanh, 2, 1, -1e-4, 1e-4);
}

/* Of float it is 1.03 with fused multiply-add and 1.2 without: our own polynomials, where SLEEF's within 1 take 4 times as long. */
Test(vecmath_accuracy, erf_is_within_two_ulps_for_float_and_one_for_double) {
  expect_within(f_erf, 2, 1, -6, 6);
  expect_within(f_erf, 2, 1, -1, 1);
  expect_within(f_erf, 2, 1, 0.9, 1); /* across the seam at 0.93 */
  expect_within(f_erf, 1, 1, -1e-4, 1e-4);
}

Test(vecmath_accuracy, log_is_within_one_ulp) {
  expect_within(f_log, 1, 1, 1e-3, 100);
  expect_within(f_log, 1, 1, 0.9, 1.1);
  expect_within(f_log, 1, 1, 1e-30, 1e-20);
  expect_within(f_log, 1, 1, 1, 1e30);
}

/* ---- a lane is on its own ---- */

#define LONGEST 40

/* Of all magnitudes, so that a fast path for small arguments is taken by some neighbours and not by
 * others. */
static double sample(uint32_t i, const function *f) {
  uint32_t mixed = (i + 1) * 2654435761u;
  double magnitude = exp2((double)(mixed % 1000) / 80 - 9); /* 0.002 .. 11 */
  return f != f_log && mixed >> 31 ? -magnitude : magnitude;
}

Test(vecmath_lanes, a_tail_gets_the_same_bits_as_a_full_vector) {
  for (size_t f = 0; f < FUNCTIONS; f++)
    for (int n = 1; n <= LONGEST; n++) {
      float x[4 * LONGEST] = {0}, full[4 * LONGEST], y[LONGEST + 1];
      double xd[4 * LONGEST] = {0}, fulld[4 * LONGEST], yd[LONGEST + 1];
      for (uint32_t i = 0; i < 4 * LONGEST; i++) xd[i] = x[i] = (float)sample(i, &functions[f]);
      functions[f].f32(4 * LONGEST, x, full);
      functions[f].f64(4 * LONGEST, xd, fulld);
      y[n] = 42;
      yd[n] = 42;
      functions[f].f32(n, x, y);
      functions[f].f64(n, xd, yd);
      cr_assert_arr_eq(y, full, (size_t)n * sizeof *y, "%s of %d floats", functions[f].name, n);
      cr_assert_arr_eq(yd, fulld, (size_t)n * sizeof *yd, "%s of %d doubles", functions[f].name, n);
      cr_assert(y[n] == 42 && yd[n] == 42, "%s of %d writes past its end", functions[f].name, n);
    }
}

#define MANY 20000
#define ALIKE 16 /* at least the lanes of any vector here */

Test(vecmath_lanes, a_value_gets_the_same_bits_beside_any_neighbours) {
  static float x[MANY], y[MANY];
  static double xd[MANY], yd[MANY];
  for (size_t f = 0; f < FUNCTIONS; f++) {
    for (uint32_t i = 0; i < MANY; i++) xd[i] = x[i] = (float)sample(i, &functions[f]);
    functions[f].f32(MANY, x, y);
    functions[f].f64(MANY, xd, yd);
    for (int i = 0; i < MANY; i++) {
      float alike[ALIKE];
      double aliked[ALIKE];
      for (int k = 0; k < ALIKE; k++) aliked[k] = alike[k] = x[i];
      functions[f].f32(ALIKE, alike, alike);
      functions[f].f64(ALIKE, aliked, aliked);
      cr_assert(alike[0] == y[i], "%s(%a): %a or %a", functions[f].name, x[i], alike[0], y[i]);
      cr_assert(aliked[0] == yd[i], "%s(%a): %a or %a", functions[f].name, xd[i], aliked[0], yd[i]);
    }
  }
}

Test(vecmath_lanes, arrays_may_begin_at_any_address) {
  float x[3 * LONGEST], y[3 * LONGEST];
  for (uint32_t i = 0; i < 3 * LONGEST; i++) x[i] = (float)sample(i, f_exp);
  for (int shift = 0; shift < TH_VF_LANES; shift++) {
    th_vexp_f32(2 * LONGEST, x + shift, y + 1);
    for (int i = 0; i < 2 * LONGEST; i++) {
      float one;
      th_vexp_f32(1, x + shift + i, &one);
      cr_assert(one == y[1 + i]);
    }
  }
}

#define EXPECT_PAIRS(vector, element, lanes) \
  do { \
    vector x, y; \
    for (int i = 0; i < (lanes); i++) x[i] = (element)i, y[i] = (element)(100 * i); \
    vector made = vector##_pairs(x, y); \
    for (int i = 0; i < (lanes) / 2; i++) { \
      cr_expect(made[i] == x[2 * i] + x[2 * i + 1]); \
      cr_expect(made[(lanes) / 2 + i] == y[2 * i] + y[2 * i + 1]); \
    } \
  } while (0)

Test(vecmath_lanes, pairs_are_the_sums_of_neighbours) {
  EXPECT_PAIRS(th_vf, float, TH_VF_LANES);
  EXPECT_PAIRS(th_vd, double, TH_VD_LANES);
}

/* ---- special values ---- */

static float one_f32(const function *f, float x) {
  f->f32(1, &x, &x);
  return x;
}

static double one_f64(const function *f, double x) {
  f->f64(1, &x, &x);
  return x;
}

static void expect_value(const function *f, double x, double want) {
  float f32 = one_f32(f, (float)x);
  double f64 = one_f64(f, x);
  cr_expect(f32 == (float)want, "%s(%g) of float: %a", f->name, x, (double)f32);
  cr_expect(f64 == want, "%s(%g) of double: %a", f->name, x, f64);
}

Test(vecmath_special, exp_of_zero_is_one_and_of_the_infinities_zero_and_infinity) {
  expect_value(f_exp, 0.0, 1);
  expect_value(f_exp, -0.0, 1);
  expect_value(f_exp, -INFINITY, 0);
  expect_value(f_exp, INFINITY, INFINITY);
}

Test(vecmath_special, exp_of_very_negative_values_is_zero_and_of_large_ones_infinity) {
  expect_value(f_exp, -1000, 0);
  expect_value(f_exp, -1e30, 0);
  expect_value(f_exp, -FLT_MAX, 0);
  expect_value(f_exp, 1000, INFINITY);
  expect_value(f_exp, FLT_MAX, INFINITY);
}

Test(vecmath_special, tanh_and_erf_saturate_at_one) {
  const function *both[] = {f_tanh, f_erf};
  for (int i = 0; i < 2; i++) {
    expect_value(both[i], INFINITY, 1);
    expect_value(both[i], -INFINITY, -1);
    expect_value(both[i], 100, 1);
    expect_value(both[i], -FLT_MAX, -1);
  }
}

Test(vecmath_special, tanh_and_erf_keep_the_sign_of_zero) {
  const function *both[] = {f_tanh, f_erf};
  for (int i = 0; i < 2; i++) {
    expect_value(both[i], 0.0, 0);
    expect_value(both[i], -0.0, 0);
    cr_expect(signbit(one_f32(both[i], -0.0f)) && !signbit(one_f32(both[i], 0.0f)), "%s", both[i]->name);
    cr_expect(signbit(one_f64(both[i], -0.0)) && !signbit(one_f64(both[i], 0.0)), "%s", both[i]->name);
  }
}

Test(vecmath_special, log_of_zero_one_infinity_and_below_zero) {
  expect_value(f_log, 1, 0);
  expect_value(f_log, 0.0, -INFINITY);
  expect_value(f_log, -0.0, -INFINITY);
  expect_value(f_log, INFINITY, INFINITY);
  cr_expect(isnan(one_f32(f_log, -1)) && isnan(one_f64(f_log, -1)));
  cr_expect(isnan(one_f32(f_log, -INFINITY)) && isnan(one_f64(f_log, -INFINITY)));
}

Test(vecmath_special, nan_gives_nan) {
  for (size_t f = 0; f < FUNCTIONS; f++) {
    cr_expect(isnan(one_f32(&functions[f], NAN)), "%s of float", functions[f].name);
    cr_expect(isnan(one_f64(&functions[f], NAN)), "%s of double", functions[f].name);
  }
}

Test(vecmath_special, denormal_arguments_are_not_taken_for_zero) {
  for (float x = FLT_MIN / 2; x > 0; x /= 64) {
    cr_expect(one_f32(f_exp, x) == 1 && one_f32(f_exp, -x) == 1, "exp(%a)", (double)x);
    cr_expect(one_f32(f_tanh, x) == x && one_f32(f_tanh, -x) == -x, "tanh(%a)", (double)x);
    cr_expect(ulps(one_f32(f_erf, x), erfl(x), FLT_MANT_DIG, FLT_MIN_EXP - 1) <= 1, "erf(%a)", (double)x);
    cr_expect(ulps(one_f32(f_log, x), logl(x), FLT_MANT_DIG, FLT_MIN_EXP - 1) <= 1, "log(%a)", (double)x);
  }
  for (double x = DBL_MIN / 2; x > 0; x /= 64) {
    cr_expect(one_f64(f_exp, x) == 1 && one_f64(f_exp, -x) == 1, "exp(%a)", x);
    cr_expect(one_f64(f_tanh, x) == x && one_f64(f_tanh, -x) == -x, "tanh(%a)", x);
    cr_expect(ulps(one_f64(f_erf, x), erfl(x), DBL_MANT_DIG, DBL_MIN_EXP - 1) <= 1, "erf(%a)", x);
    cr_expect(ulps(one_f64(f_log, x), logl(x), DBL_MANT_DIG, DBL_MIN_EXP - 1) <= 1, "log(%a)", x);
  }
}

Test(vecmath_special, exp_falls_off_through_the_denormals) {
  float before = one_f32(f_exp, -87);
  for (float x = -87; x > -110; x -= 0.125f) {
    float here = one_f32(f_exp, x);
    cr_expect(here <= before && here >= 0);
    double error = ulps(here, expl(x), FLT_MANT_DIG, FLT_MIN_EXP - 1);
    cr_expect(error <= 1, "exp(%a): %a, %.3f ulp", (double)x, (double)here, error);
    before = here;
  }
  cr_expect(before == 0);
}
