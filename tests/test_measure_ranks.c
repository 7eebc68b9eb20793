/* Rank correlation beside scipy.stats.spearmanr. */
#include <criterion/criterion.h>
#include <math.h>

#include "tapehead/measure.h"

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof *(array)))

Test(measure_ranks, are_those_of_scipy) {
  const double a[] = {1, 2, 3, 4, 5}, b[] = {5, 6, 7, 8, 7};
  cr_assert_float_eq(th_rank_correlation(COUNT(a), a, b), 0.82078268166812329, 1e-15);
}

Test(measure_ranks, of_equal_values_are_the_mean) {
  const double a[] = {0.2, 0.2, 1.5, -3, 7, 7, 7, 0}, b[] = {1, 2, 2, -1, 9, 3, 3, 0.5};
  cr_assert_float_eq(th_rank_correlation(COUNT(a), a, b), 0.962900097473951, 1e-15);
}

Test(measure_ranks, do_not_see_how_far_apart_values_are) {
  const double a[] = {3, 1, 2}, same[] = {1e9, -7, 0}, other[] = {-1e9, 7, 0};
  cr_assert_eq(th_rank_correlation(COUNT(a), a, same), 1);
  cr_assert_eq(th_rank_correlation(COUNT(a), a, other), -1);
}

Test(measure_ranks, without_two_different_values_are_nan) {
  const double a[] = {1, 2, 3}, all_same[] = {4, 4, 4}, with_nan[] = {1, NAN, 2};
  cr_assert(isnan(th_rank_correlation(COUNT(a), a, all_same)));
  cr_assert(isnan(th_rank_correlation(COUNT(a), with_nan, a)));
  cr_assert(isnan(th_rank_correlation(COUNT(a), a, with_nan)));
  cr_assert(isnan(th_rank_correlation(0, NULL, NULL)));
}
