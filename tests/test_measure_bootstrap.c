/* Bootstrap intervals beside exact ones, and what they must not depend on. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tapehead/measure.h"

static th_error error;

/* `right` of `items`, as a ratio. */
static th_counts proportion(int64_t items, int64_t right) {
  th_counts c;
  cr_assert_eq(th_counts_new(&c, &(th_measure){.kind = TH_RATIO}, items, &error), TH_OK);
  for (int64_t i = 0; i < items; i++) {
    th_counts_item(&c, i)[0] = i < right;
    th_counts_item(&c, i)[1] = 1;
  }
  return c;
}

static th_interval interval(const th_bootstrap *b, const th_counts *c) {
  th_interval i;
  cr_assert_eq(th_bootstrap_intervals(b, c, 1, &i, &error), TH_OK, "%s", error.text);
  return i;
}

/* Probability of at most k successes of n. */
static double binomial(int64_t k, int64_t n, double p) {
  double sum = 0;
  for (int64_t i = 0; i <= k; i++)
    sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) +
               (double)i * log(p) + (double)(n - i) * log1p(-p));
  return sum;
}

/* The smallest number of successes that at most a part of `below` falls short of. */
static int64_t quantile(int64_t n, double p, double below) {
  int64_t k = 0;
  while (binomial(k, n, p) < below) k++;
  return k;
}

/* A resampled count of right items is binomial, so the interval's ends are known up to their own scatter. */
Test(measure_bootstrap, the_interval_of_a_proportion_is_the_binomial_one) {
  enum { ITEMS = 400 };
  for (int64_t right = 40; right < ITEMS; right += 80) {
    th_counts c = proportion(ITEMS, right);
    th_interval i = interval(&(th_bootstrap){.resamples = 4000, .seed = 1}, &c);
    double p = (double)right / ITEMS;
    cr_assert_eq(i.value, p);
    cr_assert_float_eq(ITEMS * i.low, (double)quantile(ITEMS, p, 0.025), 2.01);
    cr_assert_float_eq(ITEMS * i.high, (double)quantile(ITEMS, p, 0.975), 2.01);
    th_counts_free(&c);
  }
}

Test(measure_bootstrap, a_lower_level_gives_a_narrower_interval) {
  th_counts c = proportion(100, 50);
  th_interval wide = interval(&(th_bootstrap){.level = 0.99}, &c),
              narrow = interval(&(th_bootstrap){.level = 0.5}, &c);
  cr_assert(wide.low < narrow.low && narrow.low < narrow.high && narrow.high < wide.high);
  th_counts_free(&c);
}

Test(measure_bootstrap, one_value_has_an_interval_of_no_width) {
  th_counts c = proportion(50, 50);
  th_interval i = interval(NULL, &c);
  cr_assert(i.low == 1 && i.high == 1 && i.value == 1);
  th_counts_free(&c);
}

static bool same(th_interval a, th_interval b) {
  return a.value == b.value && a.low == b.low && a.high == b.high;
}

Test(measure_bootstrap, the_seed_alone_decides) {
  th_counts c = proportion(1000, 313);
  th_pool *pool = th_pool_new(3);
  th_interval first = interval(&(th_bootstrap){.seed = 5}, &c),
              again = interval(&(th_bootstrap){.seed = 5}, &c),
              threads = interval(&(th_bootstrap){.seed = 5, .pool = pool}, &c),
              other = interval(&(th_bootstrap){.seed = 6}, &c);
  cr_assert(same(first, again));
  cr_assert(same(first, threads));
  cr_assert_not(same(first, other));
  th_pool_free(pool);
  th_counts_free(&c);
}

Test(measure_bootstrap, measures_are_scored_on_the_same_resamples) {
  th_counts both[2] = {proportion(200, 77), proportion(200, 77)};
  th_interval i[2];
  cr_assert_eq(th_bootstrap_intervals(NULL, both, 2, i, &error), TH_OK);
  cr_assert(same(i[0], i[1]));
  th_counts_free(&both[0]);
  th_counts_free(&both[1]);
}

/* ---- two systems ------------------------------------------------------------------------------- */

static th_comparison compare(const th_counts *a, const th_counts *b) {
  th_comparison c;
  cr_assert_eq(th_bootstrap_compare(&(th_bootstrap){.seed = 3}, a, b, 1, &c, &error), TH_OK, "%s",
               error.text);
  return c;
}

Test(measure_bootstrap, a_system_does_not_differ_from_itself) {
  th_counts a = proportion(100, 40);
  th_comparison c = compare(&a, &a);
  cr_assert(c.difference.value == 0 && c.difference.low == 0 && c.difference.high == 0);
  cr_assert_eq(c.p_value, 1);
  th_counts_free(&a);
}

Test(measure_bootstrap, a_large_difference_is_not_chance_and_has_a_sign) {
  th_counts a = proportion(200, 60), b = proportion(200, 120);
  th_comparison up = compare(&a, &b), down = compare(&b, &a);
  cr_assert_float_eq(up.difference.value, 0.3, 1e-15);
  cr_assert(up.difference.low > 0.2 && up.difference.high < 0.4);
  cr_assert_float_eq(up.p_value, 1 / 1001.0, 1e-15);
  cr_assert_float_eq(down.difference.value, -0.3, 1e-15);
  cr_assert_float_eq(down.difference.low, -up.difference.high, 0.01);
  cr_assert_eq(down.p_value, up.p_value);
  th_counts_free(&a);
  th_counts_free(&b);
}

/* Item by item the difference is +1, 0 or -1: 60 items up and 50 down of 1000. The difference of a resample is near
 * normal with variance (110 - 0.1) / 1000^2, so p is near 2 (1 - Phi(10 / sqrt(109.9))) = 0.34. */
Test(measure_bootstrap, the_p_value_of_a_small_difference_is_that_of_a_normal_test) {
  th_counts a = proportion(1000, 50), b = proportion(1000, 110);
  for (int i = 0; i < 50; i++) th_counts_item(&b, i)[0] = 0; /* a is right on 0 .. 49, b on 50 .. 109 */
  th_comparison c = compare(&a, &b);
  double wanted = erfc(10 / sqrt(109.9) / sqrt(2));
  cr_assert_float_eq(c.difference.value, 0.01, 1e-15);
  cr_assert_float_eq(c.p_value, wanted, 0.05);
  th_counts_free(&a);
  th_counts_free(&b);
}

Test(measure_bootstrap, what_does_not_fit) {
  th_counts a = proportion(10, 5), b = proportion(11, 5), none = proportion(0, 0);
  th_comparison c;
  th_interval i;
  cr_assert_eq(th_bootstrap_compare(NULL, &a, &b, 1, &c, &error), TH_EINVAL);
  cr_assert_eq(th_bootstrap_intervals(NULL, &none, 1, &i, &error), TH_EINVAL);
  cr_assert_eq(th_bootstrap_intervals(&(th_bootstrap){.resamples = -1}, &a, 1, &i, &error), TH_EINVAL);
  const double levels[] = {1, -0.5, NAN};
  for (int k = 0; k < 3; k++)
    cr_assert_eq(th_bootstrap_intervals(&(th_bootstrap){.level = levels[k]}, &a, 1, &i, &error), TH_EINVAL);
  th_counts_free(&a);
  th_counts_free(&b);
  th_counts_free(&none);
}
