/* Pictures are read back with libpng and looked at pixel by pixel. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "plot_picture.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static picture draw(const th_heatmap *heatmap) {
  cr_assert_eq(th_plot_heatmap(plot, path, heatmap, &error), TH_OK, "%s", error.text);
  return read_picture(path);
}

/* The picture of one cell whose row has this label. */
static picture draw_label(const char *label) {
  float value = 0;
  th_tensor weights = matrix_of(&value, TH_F32, 1, 1);
  const char *none = "";
  return draw(&(th_heatmap){
      .weights = &weights, .query_labels = &label, .key_labels = &none, .query_axis = "", .key_axis = ""});
}

TestSuite(plot, .init = start_without_text, .fini = stop);
TestSuite(plot_text, .init = start_with_text, .fini = stop);

/* ---- heatmap --------------------------------------------------------------------------------- */

Test(plot, a_heatmap_shows_the_first_row_on_top) {
  float values[] = {0, 0, 1, 0.5F, 0, 0};
  th_tensor weights = matrix_of(values, TH_F32, 2, 3);
  picture seen = draw(&(th_heatmap){.weights = &weights});
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), 2, "a matrix and its colour bar");
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 2), viridis_high);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 0), viridis_middle);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 0), viridis_low);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 2), viridis_low);
  free(seen.rgb);
}

Test(plot, cells_are_square_and_fill_the_frame) {
  float values[15] = {0};
  th_tensor weights = matrix_of(values, TH_F32, 3, 5);
  picture seen = draw(&(th_heatmap){.weights = &weights});
  box found[MOST_BOXES];
  find_boxes(&seen, found);
  cr_expect_eq(found[0].width % 5, 0);
  cr_expect_eq(found[0].width / 5, found[0].height / 3);
  cr_expect_geq(found[0].width / 5, 24);
  expect_colour(pixel(&seen, found[0].x, found[0].y), viridis_low);
  expect_colour(pixel(&seen, found[0].x + found[0].width - 1, found[0].y + found[0].height - 1), viridis_low);
  free(seen.rgb);
}

Test(plot, the_colour_bar_has_low_at_the_bottom_and_high_on_top) {
  double value = 0.3;
  th_tensor weights = matrix_of(&value, TH_F64, 1, 1);
  picture seen = draw(&(th_heatmap){.weights = &weights});
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), 2);
  cr_expect_eq(found[1].width, BAR_WIDTH);
  expect_colour(pixel(&seen, found[1].x, found[1].y), viridis_high);
  expect_colour(pixel(&seen, found[1].x, found[1].y + found[1].height - 1), viridis_low);
  free(seen.rgb);
}

Test(plot, a_view_is_drawn_by_its_strides) {
  double values[] = {0, 0.5, 1, 0};
  th_tensor turned = {.dtype = TH_F64, .ndim = 2, .shape = {2, 2}, .stride = {1, 2}, .data = values};
  picture seen = draw(&(th_heatmap){.weights = &turned});
  box found[MOST_BOXES];
  find_boxes(&seen, found);
  expect_colour(cell_colour(&seen, found[0], 2, 2, 0, 1), viridis_high);
  expect_colour(cell_colour(&seen, found[0], 2, 2, 1, 0), viridis_middle);
  free(seen.rgb);
}

Test(plot, nan_is_grey_and_what_is_outside_takes_the_nearer_end) {
  float values[] = {NAN, 2, -2, INFINITY, -INFINITY, 0.5F};
  th_tensor weights = matrix_of(values, TH_F32, 2, 3);
  picture seen = draw(&(th_heatmap){.weights = &weights, .range = {TH_RANGE_FIXED, 0, 1}});
  box found[MOST_BOXES];
  find_boxes(&seen, found);
  colour nan = cell_colour(&seen, found[0], 2, 3, 0, 0);
  cr_expect(nan.r == nan.g && nan.g == nan.b && nan.r < 250 && !same(nan, frame_grey));
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 1), viridis_high);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 2), viridis_low);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 0), viridis_high);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 1), viridis_low);
  free(seen.rgb);
}

Test(plot, an_automatic_range_runs_from_the_smallest_to_the_largest_finite_value) {
  float values[] = {-3, 7, 2, NAN, INFINITY, 2};
  th_tensor weights = matrix_of(values, TH_F32, 2, 3);
  picture seen = draw(&(th_heatmap){.weights = &weights, .range = {.kind = TH_RANGE_DATA}});
  box found[MOST_BOXES];
  find_boxes(&seen, found);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 0), viridis_low);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 1), viridis_high);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 2), viridis_middle);
  free(seen.rgb);
}

Test(plot, a_weight_below_0_parts_the_colours_at_0) {
  double values[] = {-0.5, 0, 0.25, 2, NAN, -2};
  th_tensor weights = matrix_of(values, TH_F64, 2, 3);
  picture seen = draw(&(th_heatmap){.weights = &weights});
  box found[MOST_BOXES];
  find_boxes(&seen, found);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 0), ((colour){200, 217, 234}));
  expect_colour(cell_colour(&seen, found[0], 2, 3, 0, 1), white);
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 0), ((colour){178, 24, 43}));
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 1), ((colour){0xB8, 0xB8, 0xB8}));
  expect_colour(cell_colour(&seen, found[0], 2, 3, 1, 2), ((colour){33, 102, 172}));
  expect_colour(pixel(&seen, found[1].x, found[1].y + found[1].height - 1), ((colour){33, 102, 172}));
  free(seen.rgb);
}

/* How many tick marks a colour bar has at its right. */
static int ticks_of(const picture *seen, box bar) {
  int count = 0;
  for (int y = bar.y - 1; y <= bar.y + bar.height; y++)
    count += is(seen, bar.x + bar.width + 1, y, frame_grey);
  return count;
}

Test(plot, counts_have_no_ticks_between_them) {
  double counts[12] = {0, 1, 3, 2}, parts[12] = {0, 1, 3, 2.5};
  for (int i = 0; i < 2; i++) {
    th_tensor weights = matrix_of(i ? parts : counts, TH_F64, 12, 1);
    picture seen = draw(&(th_heatmap){.weights = &weights, .range = {.kind = TH_RANGE_DATA}});
    box found[MOST_BOXES];
    int last = find_boxes(&seen, found) - 1;
    if (i) cr_expect_gt(ticks_of(&seen, found[last]), 4);
    else cr_expect_eq(ticks_of(&seen, found[last]), 4);
    free(seen.rgb);
  }
}

Test(plot, a_constant_matrix_is_drawn_in_the_middle_of_an_automatic_range) {
  double values[] = {0.25, 0.25, 0.25, 0.25};
  th_tensor weights = matrix_of(values, TH_F64, 2, 2);
  picture seen = draw(&(th_heatmap){.weights = &weights, .range = {.kind = TH_RANGE_DATA}});
  box found[MOST_BOXES];
  find_boxes(&seen, found);
  expect_colour(cell_colour(&seen, found[0], 2, 2, 1, 1), viridis_middle);
  free(seen.rgb);
}

Test(plot, extreme_values_do_no_harm) {
  double values[] = {-1.7e308, 1.7e308, 5e-324, 0, NAN, 1};
  th_tensor weights = matrix_of(values, TH_F64, 2, 3);
  free(draw(&(th_heatmap){.weights = &weights, .range = {.kind = TH_RANGE_DATA}}).rgb);
  double tiny[] = {0, 5e-324, NAN, NAN};
  weights = matrix_of(tiny, TH_F64, 2, 2);
  free(draw(&(th_heatmap){.weights = &weights, .range = {.kind = TH_RANGE_DATA}}).rgb);
  weights = matrix_of(tiny + 2, TH_F64, 1, 2);
  free(draw(&(th_heatmap){.weights = &weights, .range = {.kind = TH_RANGE_DATA}}).rgb);
}

Test(plot, a_long_sequence_still_fits_a_screen) {
  float *values = calloc(500 * 500, sizeof *values);
  th_tensor weights = matrix_of(values, TH_F32, 500, 500);
  picture seen = draw(&(th_heatmap){.weights = &weights});
  cr_expect(seen.width >= 400 && seen.width <= 1200, "width %d", seen.width);
  free(seen.rgb);
  free(values);
}

Test(plot, without_fonts_the_picture_comes_without_text) {
  float values[4] = {0, 1, 1, 0};
  const char *labels[] = {"one", "two"};
  th_tensor weights = matrix_of(values, TH_F32, 2, 2);
  cr_expect_not(th_plot_has_text(plot));
  picture bare = draw(&(th_heatmap){.weights = &weights});
  picture named = draw(&(th_heatmap){.weights = &weights,
                                     .title = "title",
                                     .query_labels = labels,
                                     .key_labels = labels,
                                     .query_axis = "rows",
                                     .key_axis = "columns"});
  cr_expect(same_pictures(&bare, &named));
  free(bare.rgb);
  free(named.rgb);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static th_status draw_shape(th_dtype dtype, int64_t rows, int64_t columns) {
  double value = 0;
  th_tensor weights = {.dtype = dtype, .ndim = 2, .shape = {rows, columns}, .data = &value};
  return th_plot_heatmap(plot, path, &(th_heatmap){.weights = &weights}, &error);
}

Test(plot, weights_that_are_no_numbers_are_refused) {
  cr_expect_eq(draw_shape(TH_I32, 1, 1), TH_EDTYPE);
  cr_expect_str_eq(error.text, "heatmap: weights are i32, neither f32 nor f64");
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot, weights_that_are_no_matrix_are_refused) {
  cr_expect_eq(draw_shape(TH_F32, 0, 3), TH_ESHAPE);
  cr_expect_str_eq(error.text, "heatmap: weights are [0,3], not [queries, keys]; take a slice");
  cr_expect_eq(draw_shape(TH_F32, TH_PLOT_MAX_SIDE + 1, 3), TH_ESHAPE);
  cr_expect_eq(th_plot_heatmap(plot, path, &(th_heatmap){0}, &error), TH_EINVAL);
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot, a_range_that_is_none_is_refused) {
  float value = 0;
  th_tensor weights = matrix_of(&value, TH_F32, 1, 1);
  th_heatmap heatmap = {.weights = &weights, .range = {TH_RANGE_FIXED, 1, 1}};
  cr_expect_eq(th_plot_heatmap(plot, path, &heatmap, &error), TH_EINVAL);
  heatmap.range.high = NAN;
  cr_expect_eq(th_plot_heatmap(plot, path, &heatmap, NULL), TH_EINVAL);
  heatmap.range.kind = (th_range_kind)9;
  cr_expect_eq(th_plot_heatmap(plot, path, &heatmap, &error), TH_EINVAL);
}

Test(plot, unknown_fonts_are_refused) {
  th_plot *other = plot;
  cr_expect_eq(th_plot_new(&other, (th_plot_fonts)9, &error), TH_EINVAL);
  cr_expect_null(other);
  th_plot_free(NULL);
}

/* ---- files ----------------------------------------------------------------------------------- */

static th_status draw_to(const char *name) {
  float value = 1;
  th_tensor weights = matrix_of(&value, TH_F32, 1, 1);
  return th_plot_heatmap(plot, name, &(th_heatmap){.weights = &weights}, &error);
}

Test(plot, a_picture_leaves_nothing_beside_it) {
  cr_expect_eq(draw_to(path), TH_OK);
  cr_expect_eq(draw_to(path), TH_OK, "a second one takes its place");
  cr_expect_eq(files_in_folder(), 1);
  struct stat made;
  cr_assert_eq(stat(path, &made), 0);
  cr_expect(made.st_mode & S_IRUSR);
  cr_expect_eq(made.st_mode & 0111, 0);
}

Test(plot, a_bare_file_name_is_written_to_the_working_directory) {
  cr_assert_eq(chdir(folder), 0);
  cr_expect_eq(draw_to("picture.png"), TH_OK, "%s", error.text);
  cr_expect_eq(access(path, R_OK), 0);
}

Test(plot, a_missing_directory_is_named_with_the_reason) {
  char name[sizeof path + 32], text[sizeof name + 64];
  snprintf(name, sizeof name, "%s/no/picture.png", folder);
  snprintf(text, sizeof text, "%s: cannot write: No such file or directory", name);
  cr_expect_eq(draw_to(name), TH_EIO);
  cr_expect_str_eq(error.text, text);
}

Test(plot, an_unwritable_directory_is_an_error_and_leaves_nothing) {
  cr_assert_eq(chmod(folder, 0555), 0);
  bool root = geteuid() == 0;
  cr_assert(!root || seteuid(65534) == 0); /* nothing is unwritable to root */
  cr_expect_eq(draw_to(path), TH_EIO);
  cr_expect_not_null(strstr(error.text, ": cannot write: Permission denied"), "%s", error.text);
  cr_assert(!root || seteuid(0) == 0);
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot, a_directory_or_device_is_not_replaced) {
  cr_expect_eq(draw_to(folder), TH_EIO);
  cr_expect_eq(draw_to("/dev/null"), TH_EIO);
  struct stat device;
  cr_assert_eq(stat("/dev/null", &device), 0);
  cr_expect(S_ISCHR(device.st_mode));
}

Test(plot, an_existing_file_survives_a_failed_write) {
  struct rlimit before;
  write_text("precious");
  fill_disk(&before);
  th_status status = draw_to(path);
  setrlimit(RLIMIT_FSIZE, &before);
  cr_expect_eq(status, TH_EIO);
  cr_expect_not_null(strstr(error.text, ": cannot write: File too large"), "%s", error.text);
  expect_only_text("precious");
}

/* ---- text ------------------------------------------------------------------------------------ */

Test(plot_text, letters_of_other_scripts_have_their_own_glyphs) {
  need_fonts();
  /* Latin a, e with acute, Greek lambda, Cyrillic zhe, and no letter at all. */
  const char *letters[] = {"a", "\xC3\xA9", "\xCE\xBB", "\xD0\xB6", "\xFF"};
  picture seen[5];
  for (int i = 0; i < 5; i++) {
    seen[i] = draw_label(letters[i]);
    for (int j = 0; j < i; j++)
      cr_expect_not(same_pictures(&seen[i], &seen[j]), "labels %d and %d look the same", i, j);
  }
  for (int i = 0; i < 5; i++) free(seen[i].rgb);
}

Test(plot_text, bytes_that_are_no_utf8_are_drawn_as_replacement_characters) {
  need_fonts();
  const char *broken[] = {"\xFF",         "\x80",     "\xC3",         "\xE2\x82",
                          "\xF0\x9F\x98", "\xC0\xAF", "\xED\xA0\x80", "\xF5"};
  const char *replacements[] = {"\xEF\xBF\xBD", "\xEF\xBF\xBD\xEF\xBF\xBD",
                                "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"};
  const int signs[] = {1, 1, 1, 1, 1, 2, 3, 1};
  for (int i = 0; i < 8; i++) {
    picture seen = draw_label(broken[i]);
    picture sign = draw_label(replacements[signs[i] - 1]);
    cr_expect(same_pictures(&seen, &sign), "case %d", i);
    free(seen.rgb);
    free(sign.rgb);
  }
}

Test(plot_text, a_letter_that_no_font_has_is_told) {
  need_fonts();
  free(draw_label("a\xFF").rgb);
  cr_expect_eq(th_plot_missing(plot), 0);
  picture lacking = draw_label("\xF4\x8F\xBF\xBD"), sign = draw_label("\xEF\xBF\xBD"); /* for private use */
  free(draw_label("\xF4\x8F\xBF\xBC").rgb);
  cr_expect(same_pictures(&lacking, &sign));
  cr_expect_eq(th_plot_missing(plot), 0x10FFFD, "the first: U+%X", (unsigned)th_plot_missing(plot));
  free(lacking.rgb);
  free(sign.rgb);
}

Test(plot_text, a_long_label_is_shortened) {
  need_fonts();
  picture seen = draw_label("Donaudampfschifffahrtsgesellschaft");
  picture longer = draw_label("Donaudampfschifffahrtsgesellschaftskapitaensmuetze");
  cr_expect(same_pictures(&seen, &longer));
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
  free(longer.rgb);
}

Test(plot_text, a_very_long_title_is_shortened_and_not_cut) {
  need_fonts();
  char title[2000];
  memset(title, 'W', sizeof title - 1);
  title[sizeof title - 1] = '\0';
  float value = 0;
  th_tensor weights = matrix_of(&value, TH_F32, 1, 1);
  th_heatmap heatmap = {.weights = &weights, .title = title, .query_axis = title, .key_axis = title};
  picture seen = draw(&heatmap);
  cr_expect_leq(seen.width, 1200);
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
}

Test(plot_text, dense_labels_are_skipped_rather_than_overlap) {
  need_fonts();
  enum { TOKENS = 200 };
  const char *labels[TOKENS];
  for (int i = 0; i < TOKENS; i++) labels[i] = "Mgj";
  float *values = calloc(TOKENS * TOKENS, sizeof *values);
  th_tensor weights = matrix_of(values, TH_F32, TOKENS, TOKENS);
  picture seen = draw(&(th_heatmap){.weights = &weights, .query_labels = labels, .key_labels = labels});
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), 2);
  int lines = 0;
  for (int y = found[0].y; y < found[0].y + found[0].height; y++)
    lines += row_has_ink(&seen, found[0].x - 20, found[0].x - 1, y) &&
             !row_has_ink(&seen, found[0].x - 20, found[0].x - 1, y + 1);
  cr_expect(lines >= 25 && lines <= 60, "%d separate labels", lines);
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
  free(values);
}

Test(plot_text, a_missing_label_is_empty) {
  free(draw_label(NULL).rgb);
  free(draw_label("").rgb);
  free(draw_label(" ").rgb);
  free(draw_label("\x01\n\t\x7F").rgb);
}

/* ---- grid ------------------------------------------------------------------------------------ */

#define HEADS 8
#define TOKENS 4

Test(plot_text, a_grid_shows_all_heads_in_reading_order_with_one_bar) {
  float values[HEADS][TOKENS * TOKENS] = {{0}};
  th_tensor weights[HEADS];
  th_heatmap maps[HEADS];
  const char *labels[TOKENS] = {"a", "b", "c", "d"};
  for (int i = 0; i < HEADS; i++) {
    values[i][i] = 1; /* head i is known by its one bright cell */
    weights[i] = matrix_of(values[i], TH_F32, TOKENS, TOKENS);
    maps[i] = (th_heatmap){.weights = &weights[i], .title = "head"};
    maps[i].query_labels = maps[i].key_labels = labels;
  }
  th_grid grid = {.maps = maps, .count = HEADS, .columns = 4, .title = "layer 0, encoder"};
  cr_assert_eq(th_plot_grid(plot, path, &grid, &error), TH_OK, "%s", error.text);
  picture seen = read_picture(path);
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), HEADS + 1);
  int head = 0;
  for (int i = 0; i <= HEADS; i++) {
    if (found[i].width == BAR_WIDTH) continue;
    expect_colour(cell_colour(&seen, found[i], TOKENS, TOKENS, head / TOKENS, head % TOKENS), viridis_high);
    head++;
  }
  cr_expect_eq(head, HEADS);
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
}

static int width_of_a_grid_titled(const char *title) {
  float value = 1;
  th_tensor weights = matrix_of(&value, TH_F32, 1, 1);
  th_heatmap map = {.weights = &weights, .title = title};
  th_grid grid = {.maps = &map, .count = 1, .columns = 1};
  cr_assert_eq(th_plot_grid(plot, path, &grid, &error), TH_OK, "%s", error.text);
  picture seen = read_picture(path);
  free(seen.rgb);
  return seen.width;
}

Test(plot_text, a_narrow_matrix_has_its_whole_title) {
  int without = width_of_a_grid_titled(NULL), wide = width_of_a_grid_titled("encoder self-attention"),
      wider = width_of_a_grid_titled("encoder self-attention mm");
  cr_expect_gt(wide, without);
  cr_expect_gt(wider, wide);
}

Test(plot, a_grid_takes_its_range_over_all_maps) {
  float values[] = {0, 5, 10};
  th_tensor weights[3];
  th_heatmap maps[3];
  for (int i = 0; i < 3; i++) {
    weights[i] = matrix_of(values + i, TH_F32, 1, 1);
    maps[i] = (th_heatmap){.weights = &weights[i]};
  }
  th_grid grid = {.maps = maps, .count = 3, .columns = 3, .range = {.kind = TH_RANGE_DATA}};
  cr_assert_eq(th_plot_grid(plot, path, &grid, &error), TH_OK, "%s", error.text);
  picture seen = read_picture(path);
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), 4);
  expect_colour(cell_colour(&seen, found[0], 1, 1, 0, 0), viridis_low);
  expect_colour(cell_colour(&seen, found[1], 1, 1, 0, 0), viridis_middle);
  expect_colour(cell_colour(&seen, found[2], 1, 1, 0, 0), viridis_high);
  free(seen.rgb);
}

Test(plot, a_grid_names_the_map_that_is_wrong) {
  float value = 0;
  th_tensor good = matrix_of(&value, TH_F32, 1, 1);
  th_tensor bad = {.dtype = TH_U8, .ndim = 2, .shape = {1, 1}, .data = &value};
  th_heatmap maps[] = {{.weights = &good}, {.weights = &bad}};
  cr_expect_eq(th_plot_grid(plot, path, &(th_grid){.maps = maps, .count = 2}, &error), TH_EDTYPE);
  cr_expect_str_eq(error.text, "grid: map 1: weights are u8, neither f32 nor f64");
  cr_expect_eq(th_plot_grid(plot, path, &(th_grid){.maps = maps, .count = 0}, &error), TH_EINVAL);
  cr_expect_eq(files_in_folder(), 0);
}

/* ---- curve ----------------------------------------------------------------------------------- */

static picture draw_curve(const th_curve *curve) {
  cr_assert_eq(th_plot_curve(plot, path, curve, &error), TH_OK, "%s", error.text);
  return read_picture(path);
}

/* The field of a curve drawn without text; found on a picture whose lines do not cover the frame. */
static box field_with(bool right_axis) {
  double nothing = NAN;
  th_series series = {.y = &nothing, .count = 1, .right = right_axis};
  picture empty = draw_curve(&(th_curve){.series = &series, .count = 1});
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&empty, found), 1);
  free(empty.rgb);
  return found[0];
}

/* Whether `wanted` is at this place of the field, 0 to 1 rightwards and upwards, give or take a pixel. */
static bool passes(const picture *in, box field, double x, double y, colour wanted) {
  int column = field.x + (int)lround(x * (field.width - 1));
  int row = field.y + (int)lround((1 - y) * (field.height - 1));
  for (int off = -1; off <= 1; off++)
    if (is(in, column, row + off, wanted)) return true;
  return false;
}

Test(plot, a_curve_passes_through_its_points) {
  double x[] = {0, 500, 1000}, y[] = {4, 2, 0};
  th_series series = {.name = "loss", .x = x, .y = y, .count = 3};
  picture seen = draw_curve(&(th_curve){.series = &series, .count = 1});
  box field = field_with(false);
  for (int i = 0; i <= 10; i++)
    cr_expect(passes(&seen, field, i / 10.0, 1 - i / 10.0, series_blue), "at %d tenths", i);
  cr_expect_not(passes(&seen, field, 0.25, 0.25, series_blue));
  free(seen.rgb);
}

Test(plot, the_right_axis_runs_from_0_to_1) {
  double loss[] = {8, 4, 2}, accuracy[] = {0.5, 0.5, 0.5};
  th_series series[] = {{.y = loss, .count = 3}, {.y = accuracy, .count = 3, .right = true}};
  picture seen = draw_curve(&(th_curve){.series = series, .count = 2});
  box field = field_with(true);
  cr_expect(passes(&seen, field, 0.1, 0.5, series_vermilion));
  cr_expect(passes(&seen, field, 0.9, 0.5, series_vermilion));
  cr_expect(passes(&seen, field, 0.001, 1, series_blue), "the left axis ends at 8");
  free(seen.rgb);
}

Test(plot, a_log_axis_makes_powers_of_ten_evenly_spaced) {
  double y[] = {1, 10, 100, 0, -5};
  double x[] = {0, 1, 2, 2, 2};
  th_series series = {.x = x, .y = y, .count = 5};
  picture seen = draw_curve(&(th_curve){.series = &series, .count = 1, .left = {.log = true}});
  box field = field_with(false);
  for (int i = 1; i < 10; i++)
    cr_expect(passes(&seen, field, i / 10.0, i / 10.0, series_blue), "at %d tenths", i);
  free(seen.rgb);
}

Test(plot, a_value_that_is_not_finite_breaks_the_line) {
  double y[] = {1, 1, NAN, 1, INFINITY, 1, 1};
  th_series series = {.y = y, .count = 7};
  th_curve curve = {.series = &series, .count = 1, .left = {.range = {TH_RANGE_FIXED, 0, 2}}};
  picture seen = draw_curve(&curve);
  box field = field_with(false);
  cr_expect(passes(&seen, field, 0.1, 0.5, series_blue));
  cr_expect_not(passes(&seen, field, 2 / 6.0, 0.5, series_blue));
  cr_expect(passes(&seen, field, 3 / 6.0, 0.5, series_blue), "a value alone is a dot");
  cr_expect_not(passes(&seen, field, 4 / 6.0, 0.5, series_blue));
  cr_expect(passes(&seen, field, 0.9, 0.5, series_blue));
  free(seen.rgb);
}

Test(plot, values_outside_a_fixed_range_stay_in_the_field) {
  double y[] = {-1e300, 1e300, 0.5, -1e9};
  th_series series = {.y = y, .count = 4};
  th_curve curve = {.series = &series, .count = 1, .left = {.range = {TH_RANGE_FIXED, 0, 1}}};
  picture seen = draw_curve(&curve);
  box field = field_with(false);
  for (int row = 0; row < field.y - 4; row++)
    cr_expect_not(row_has_ink(&seen, 0, seen.width, row), "row %d", row);
  free(seen.rgb);
}

Test(plot, a_curve_without_values_is_an_empty_field) {
  double none[] = {NAN};
  th_series series = {.y = none, .count = 1};
  free(draw_curve(&(th_curve){0}).rgb);
  free(draw_curve(&(th_curve){.series = &series, .count = 1}).rgb);
  free(draw_curve(&(th_curve){.series = &series, .count = 1, .left = {.log = true}}).rgb);
  double extreme[] = {1.7e308, -1.7e308, 5e-324};
  series = (th_series){.y = extreme, .count = 3};
  free(draw_curve(&(th_curve){.series = &series, .count = 1}).rgb);
  free(draw_curve(&(th_curve){.series = &series, .count = 1, .left = {.log = true}}).rgb);
}

Test(plot, a_curve_that_cannot_be_read_is_refused) {
  double y[] = {1, 2};
  th_series series[TH_CURVE_MAX_SERIES + 1];
  for (int i = 0; i <= TH_CURVE_MAX_SERIES; i++) series[i] = (th_series){.y = y, .count = 2};
  th_curve curve = {.series = series, .count = TH_CURVE_MAX_SERIES + 1};
  cr_expect_eq(th_plot_curve(plot, path, &curve, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "curve: 9 series, at most 8 can be told apart");
  curve.count = 1;
  curve.left = (th_axis){.log = true, .range = {TH_RANGE_FIXED, 0, 1}};
  cr_expect_eq(th_plot_curve(plot, path, &curve, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "curve: left axis: a log axis cannot begin at 0");
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot_text, a_curve_with_all_its_names_is_not_cut) {
  double y[] = {0.001, 20000, 3};
  th_series series[TH_CURVE_MAX_SERIES];
  for (int i = 0; i < TH_CURVE_MAX_SERIES; i++)
    series[i] = (th_series){.name = "a series with a rather long name, too long for a legend",
                            .y = y,
                            .count = 3,
                            .right = i % 2};
  th_axis axis = {.name = "a name"};
  th_curve curve = {.series = series,
                    .count = TH_CURVE_MAX_SERIES,
                    .title = "title",
                    .x = axis,
                    .left = axis,
                    .right = axis};
  picture seen = draw_curve(&curve);
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
}
