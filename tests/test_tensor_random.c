/* Philox against its published answers, and what is made of its words. */
#include "../src/tensor/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* ---- the generator ---- */

static void expect_block(th_random random, uint64_t position, const uint32_t want[4]) {
  uint32_t got[4];
  th_random_block(random, position, got);
  for (int i = 0; i < 4; i++) cr_expect(got[i] == want[i], "word %d: %08x, not %08x", i, got[i], want[i]);
}

/* From kat_vectors of the authors' Random123, philox4x32 with 10 rounds. */
Test(philox, gives_the_published_known_answers) {
  expect_block((th_random){0, 0}, 0, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect_block((th_random){UINT64_MAX, UINT64_MAX}, UINT64_MAX,
               (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_block((th_random){.seed = 0x299f31d0a4093822, .stream = 0x0370734413198a2e}, 0x85a308d3243f6a88,
               (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

Test(philox, seed_stream_and_position_each_change_the_words) {
  uint64_t base = th_random_u64((th_random){1, 2}, 3);
  cr_expect(base == th_random_u64((th_random){1, 2}, 3));
  cr_expect(base != th_random_u64((th_random){2, 2}, 3));
  cr_expect(base != th_random_u64((th_random){1, 3}, 3));
  cr_expect(base != th_random_u64((th_random){1, 2}, 4));
  cr_expect(base != th_random_u64((th_random){1 + (1ull << 32), 2}, 3));
  cr_expect(base != th_random_u64((th_random){1, 2 + (1ull << 32)}, 3));
  cr_expect(base != th_random_u64((th_random){1, 2}, 3 + (1ull << 32)));
}

/* ---- distributions ---- */

#define DRAWS 1000000

typedef double draw(th_random random, uint64_t position);

static double moment(draw *from, double about, int power) {
  double sum = 0;
  for (uint64_t i = 0; i < DRAWS; i++) sum += pow(from((th_random){7, 1}, i) - about, power);
  return sum / DRAWS;
}

/* The limits are five standard errors or more of a mean of DRAWS draws. */
Test(uniform, has_the_moments_of_the_unit_interval) {
  cr_expect_float_eq(moment(th_random_uniform, 0, 1), 0.5, 0.0015);
  cr_expect_float_eq(moment(th_random_uniform, 0.5, 2), 1.0 / 12, 0.0005);
  cr_expect_float_eq(moment(th_random_uniform, 0.5, 3), 0, 0.0003);
  cr_expect_float_eq(moment(th_random_uniform, 0.5, 4), 1.0 / 80, 0.0002);
}

Test(uniform, stays_in_zero_to_below_one) {
  for (uint64_t i = 0; i < DRAWS; i++) {
    double value = th_random_uniform((th_random){3, 0}, i);
    cr_assert(value >= 0 && value < 1);
  }
}

Test(normal, has_the_moments_of_the_normal_distribution) {
  cr_expect_float_eq(moment(th_random_normal, 0, 1), 0, 0.005);
  cr_expect_float_eq(moment(th_random_normal, 0, 2), 1, 0.01);
  cr_expect_float_eq(moment(th_random_normal, 0, 3), 0, 0.02);
  cr_expect_float_eq(moment(th_random_normal, 0, 4), 3, 0.05);
  cr_expect_float_eq(moment(th_random_normal, 0, 6), 15, 0.6);
}

Test(normal, neighbours_are_not_correlated) {
  double sum = 0;
  for (uint64_t i = 0; i < DRAWS; i++)
    sum += th_random_normal((th_random){7, 1}, i) * th_random_normal((th_random){7, 1}, i + 1);
  cr_expect_float_eq(sum / DRAWS, 0, 0.005);
}

Test(below, gives_every_number_equally_often) {
  int times[7] = {0};
  for (uint64_t i = 0; i < 70000; i++) times[th_random_below((th_random){5, 0}, i, 7)]++;
  for (int i = 0; i < 7; i++) cr_expect(times[i] > 9500 && times[i] < 10500, "%d: %d times", i, times[i]);
}

Test(below, one_gives_zero_and_large_bounds_are_kept) {
  for (uint64_t i = 0; i < 1000; i++) {
    cr_assert(th_random_below((th_random){5, 0}, i, 1) == 0);
    int64_t large = th_random_below((th_random){5, 0}, i, INT64_MAX);
    cr_assert(large >= 0 && large < INT64_MAX);
  }
}

/* floor(bits * n / 2^64) for an n of 2^k is the k high bits: an answer known without 128-bit numbers. */
Test(below, a_power_of_two_takes_the_high_bits) {
  for (uint64_t i = 0; i < 1000; i++)
    for (int k = 1; k < 63; k++)
      cr_assert((uint64_t)th_random_below((th_random){5, 0}, i, (int64_t)1 << k) ==
                th_random_u64((th_random){5, 0}, i) >> (64 - k));
}

/* ---- tensors ---- */

Test(fill, element_i_is_the_number_at_position_i) {
  double values[6];
  float floats[6];
  th_tensor wide = {TH_F64, 2, {2, 3}, {3, 1}, values}, narrow = {TH_F32, 2, {2, 3}, {3, 1}, floats};
  th_random random = {11, 4};
  th_fill_uniform(&wide, -2, 6, random);
  th_fill_normal(&narrow, 1, 3, random);
  for (uint64_t i = 0; i < 6; i++) {
    cr_expect(values[i] == -2 + 8 * th_random_uniform(random, i));
    cr_expect(floats[i] == (float)(1 + 3 * th_random_normal(random, i)));
  }
}

Test(fill, a_transposed_view_gets_the_values_by_its_own_order) {
  double values[24];
  th_tensor view = {TH_F64, 3, {4, 2, 3}, {1, 12, 4}, values}; /* [2,3,4] with its last axis first */
  th_random random = {11, 4};
  th_fill_normal(&view, 0, 1, random);
  uint64_t index = 0;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++)
      for (int k = 0; k < 3; k++, index++)
        cr_expect(values[i + 12 * j + 4 * k] == th_random_normal(random, index));
}

Test(fill, a_slice_leaves_its_surroundings_alone) {
  float values[10] = {0};
  th_tensor every_second = {TH_F32, 1, {4}, {2}, values + 1};
  th_fill_uniform(&every_second, 1, 2, (th_random){1, 1});
  for (int i = 0; i < 10; i++) cr_expect((values[i] != 0) == (i % 2 == 1 && i < 8));
}

Test(fill, a_scalar_is_one_element_and_an_empty_tensor_none) {
  double value[2] = {-1, -1};
  th_tensor scalar = {.dtype = TH_F64, .ndim = 0, .data = value};
  th_tensor empty = {TH_F64, 2, {0, 3}, {3, 1}, value + 1}, thin = {TH_F64, 2, {3, 0}, {1, 1}, value + 1};
  th_fill_uniform(&scalar, 0, 1, (th_random){1, 1});
  th_fill_uniform(&empty, 0, 1, (th_random){1, 1});
  th_fill_uniform(&thin, 0, 1, (th_random){1, 1});
  cr_expect(value[0] == th_random_uniform((th_random){1, 1}, 0));
  cr_expect(value[1] == -1);
}

/* 1 to the next float above it: three draws in four would round out of the range or onto its end. */
Test(fill, rounding_to_float_never_reaches_the_upper_end) {
  float values[1000];
  th_tensor tensor = {TH_F32, 1, {1000}, {1}, values};
  th_fill_uniform(&tensor, 1, nextafterf(1, 2), (th_random){1, 1});
  for (int i = 0; i < 1000; i++) cr_assert(values[i] == 1);
}

/* ---- masks ---- */

static int word_is_kept(th_random random, int64_t word, uint32_t threshold) {
  uint32_t words[4];
  th_random_block(random, (uint64_t)word / 4, words);
  return words[word % 4] >= threshold;
}

static void expect_keep(int64_t begin, int64_t count, uint32_t threshold) {
  uint8_t keep[2049];
  th_random random = {21, (uint64_t)9 << 40 | 3};
  memset(keep, 42, sizeof keep);
  th_random_keep(random, begin, count, threshold, keep);
  for (int64_t i = 0; i < count; i++)
    cr_assert(keep[i] == word_is_kept(random, begin + i, threshold), "%ld + %ld", (long)begin, (long)i);
  cr_assert(keep[count] == 42, "%ld elements: writes past its end", (long)count);
}

Test(keep, agrees_with_the_blocks_for_every_length) {
  for (int64_t count = 0; count <= 520; count++) expect_keep(4 * (count % 5), count, 0x80000000);
  expect_keep(0, 2048, 0x20000000);
}

Test(keep, carries_from_the_low_word_of_the_position_to_the_high) {
  const int64_t carry = (int64_t)1 << 32;
  for (int64_t before = 0; before < 300; before += 7) expect_keep((carry - before) * 4, 2048, 0x80000000);
  expect_keep(5 * carry * 4, 100, 0x80000000);
}

Test(keep, a_threshold_of_zero_keeps_all_and_the_highest_almost_none) {
  uint8_t keep[1000];
  th_random_keep((th_random){1, 1}, 0, 1000, 0, keep);
  for (int i = 0; i < 1000; i++) cr_assert(keep[i] == 1);
  th_random_keep((th_random){1, 1}, 0, 1000, UINT32_MAX, keep);
  for (int i = 0; i < 1000; i++) cr_assert(keep[i] == 0);
}

Test(keep, drops_the_share_it_is_asked_to) {
  static uint8_t keep[DRAWS];
  th_random_keep((th_random){1, 1}, 0, DRAWS, (uint32_t)(0.1 * 4294967296.0), keep);
  int64_t kept = 0;
  for (int i = 0; i < DRAWS; i++) kept += keep[i];
  cr_expect_float_eq((double)kept / DRAWS, 0.9, 0.0015);
}

Test(keep, does_not_depend_on_the_cut) {
  uint8_t whole[4000], parts[4000];
  th_random_keep((th_random){1, 1}, 0, 4000, 0x40000000, whole);
  for (int64_t at = 0; at < 4000; at += 100)
    th_random_keep((th_random){1, 1}, at, 100, 0x40000000, parts + at);
  cr_expect(memcmp(whole, parts, sizeof whole) == 0);
}
