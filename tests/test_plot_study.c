/* The pictures of the head study: all heads in a grid, bars, maps of likeness. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include <math.h>

#include "plot_picture.h"

TestSuite(plot_study, .init = start_without_text, .fini = stop);
TestSuite(plot_study_text, .init = start_with_text, .fini = stop);

static const colour series_green = {0x00, 0x9E, 0x73};

/* How many pixels of a row, from x to x + width, have this colour; `first` (may be NULL): the first of them. */
static int count_in_row(const picture *in, int x, int width, int y, colour wanted, int *first) {
  int count = 0;
  for (int column = x; column < x + width; column++) {
    if (!is(in, column, y, wanted)) continue;
    if (count++ == 0 && first) *first = column;
  }
  return count;
}

static int count_in_box(const picture *in, box where, colour wanted) {
  int count = 0;
  for (int y = where.y; y < where.y + where.height; y++)
    count += count_in_row(in, where.x, where.width, y, wanted, NULL);
  return count;
}

/* ---- all heads in a grid --------------------------------------------------------------------- */

static picture draw_grid(const th_grid *grid) {
  cr_assert_eq(th_plot_grid(plot, path, grid, &error), TH_OK, "%s", error.text);
  return read_picture(path);
}

Test(plot_study, a_map_without_weights_is_an_empty_place) {
  float values[] = {0, 0, 0, 0};
  th_tensor weights = matrix_of(values, TH_F32, 2, 2);
  th_heatmap maps[] = {
      {.weights = &weights}, {.weights = NULL}, {.weights = &weights}, {.weights = &weights}};
  picture seen = draw_grid(&(th_grid){.maps = maps, .count = 4, .columns = 2});
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), 4, "three maps and the colour bar");
  cr_expect_eq(found[1].width, BAR_WIDTH, "the map at the left and the bar are alone in their row");
  cr_expect_eq(found[0].x, found[2].x);
  cr_expect_eq(found[2].y, found[3].y);
  cr_expect_gt(found[3].x, found[2].x);
  free(seen.rgb);
}

Test(plot_study, a_grid_of_empty_places_alone_is_refused) {
  th_heatmap maps[2] = {{0}};
  cr_expect_eq(th_plot_grid(plot, path, &(th_grid){.maps = maps, .count = 2}, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "grid: none of 2 maps has weights");
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot_study, a_gauge_is_filled_by_its_value) {
  const double worth[] = {0.25, 7, -1, NAN}, part[] = {0.25, 1, 0, 0};
  float value = 0;
  th_tensor weights = matrix_of(&value, TH_F32, 1, 1);
  th_heatmap maps[4];
  for (int i = 0; i < 4; i++) maps[i] = (th_heatmap){.weights = &weights, .gauge = &worth[i]};
  picture seen = draw_grid(&(th_grid){.maps = maps, .count = 4, .columns = 4});
  box found[MOST_BOXES];
  cr_assert_eq(find_boxes(&seen, found), 5);
  for (int i = 0; i < 4; i++) {
    int width = found[i].width, x = found[i].x, bottom = found[i].y + found[i].height, most = 0, drawn = 0;
    for (int y = bottom + 1; y < bottom + 12; y++) {
      int filled = count_in_row(&seen, x, width, y, series_vermilion, NULL);
      most = filled > most ? filled : most;
      drawn += row_has_ink(&seen, x, x + width, y);
    }
    cr_expect_eq(most, (int)lround(part[i] * width), "map %d: %d of %d pixels", i, most, width);
    cr_expect_eq(drawn > 0, !isnan(worth[i]), "map %d", i);
  }
  free(seen.rgb);
}

Test(plot_study_text, a_bare_grid_has_no_labels_and_all_its_names) {
  need_fonts();
  float values[9] = {0};
  double worth = 0.5;
  th_tensor weights = matrix_of(values, TH_F32, 3, 3);
  th_heatmap maps[4];
  for (int i = 0; i < 4; i++)
    maps[i] = (th_heatmap){
        .weights = &weights, .title = "enc0.1", .note = "previous token, and a long rest", .gauge = &worth};
  const char *rows[] = {"encoder 0", "an encoder layer with a very long name"};
  th_grid grid = {.maps = maps, .count = 4, .columns = 2, .query_axis = "", .bare = true};
  picture plain = draw_grid(&grid);
  grid.bare = false;
  picture labelled = draw_grid(&grid);
  cr_expect_lt(plain.width, labelled.width);
  cr_expect_lt(plain.height, labelled.height);
  grid.bare = true;
  grid.row_titles = rows;
  picture named = draw_grid(&grid);
  cr_expect_gt(named.width, plain.width);
  cr_expect_eq(named.height, plain.height);
  grid.gauge_name =
      "importance, a name that is very much longer than there is room for it in so small a picture";
  picture whole = draw_grid(&grid);
  cr_expect_eq(whole.width, named.width);
  cr_expect_gt(whole.height, named.height);
  cr_expect_not(has_ink_on_border(&whole));
  free(plain.rgb);
  free(labelled.rgb);
  free(named.rgb);
  free(whole.rgb);
}

/* ---- bars ------------------------------------------------------------------------------------ */

static picture draw_bars(const th_bars *bars, box *field) {
  cr_assert_eq(th_plot_bars(plot, path, bars, &error), TH_OK, "%s", error.text);
  picture seen = read_picture(path);
  box found[MOST_BOXES];
  cr_assert_geq(find_boxes(&seen, found), 1);
  *field = found[0];
  return seen;
}

/* The bar in the middle row of group `i` of `count`: its length, and how far right of the field's edge it begins. */
static int bar_of(const picture *in, box field, int i, int count, colour wanted, int *from) {
  int first = field.x;
  int y = field.y + (2 * i + 1) * field.height / (2 * count);
  int length = count_in_row(in, field.x, field.width, y, wanted, &first);
  *from = first - field.x;
  return length;
}

static bool near(int a, double b) { return fabs(a - b) <= 2; }

Test(plot_study, bars_are_as_long_as_their_values) {
  double value[] = {1, 2, -1, 0.5};
  th_bar_series series = {.value = value};
  box field;
  picture seen = draw_bars(&(th_bars){.count = 4, .series = &series, .series_count = 1}, &field);
  const double from[] = {1, 1, 0, 1}; /* the axis runs from -1 to 2 */
  for (int i = 0; i < 4; i++) {
    int begin, length = bar_of(&seen, field, i, 4, series_blue, &begin);
    cr_expect(near(length, fabs(value[i]) / 3 * field.width), "bar %d is %d long", i, length);
    cr_expect(near(begin, from[i] / 3 * field.width), "bar %d begins at %d", i, begin);
  }
  free(seen.rgb);
}

Test(plot_study, series_stand_one_under_another_in_their_group) {
  double a[] = {1, 1}, b[] = {2, 2}, c[] = {4, 4};
  th_bar_series series[] = {{.value = a}, {.value = b}, {.value = c}};
  box field;
  picture seen = draw_bars(&(th_bars){.count = 2, .series = series, .series_count = 3}, &field);
  const colour wanted[] = {series_blue, series_vermilion, series_green};
  int x = field.x + field.width / 8, next = 0;
  for (int y = field.y; y < field.y + field.height; y++)
    if (is(&seen, x, y, wanted[next % 3]) && !is(&seen, x, y - 1, wanted[next % 3])) next++;
  cr_expect_eq(next, 6, "%d bars in this order", next);
  int from, length = bar_of(&seen, field, 1, 2, series_vermilion, &from);
  cr_expect(near(length, 0.5 * field.width));
  free(seen.rgb);
}

Test(plot_study, no_number_has_no_bar_and_zero_shows_on_the_zero_line) {
  double value[] = {NAN, 0, INFINITY, 1, -INFINITY, -1};
  th_bar_series series = {.value = value};
  box field;
  picture seen = draw_bars(&(th_bars){.count = 6, .series = &series, .series_count = 1}, &field);
  int from, zero;
  for (int i = 0; i < 6; i += 2)
    cr_expect_eq(bar_of(&seen, field, i, 6, series_blue, &from), 0, "value %d", i);
  cr_expect_eq(bar_of(&seen, field, 1, 6, series_blue, &from), 1);
  cr_expect(near(from, field.width / 2.0));
  cr_expect_eq(count_in_row(&seen, field.x, field.width, field.y, frame_grey, &zero), 1, "the zero line");
  cr_expect_eq(zero - field.x, from);
  free(seen.rgb);
}

Test(plot_study, a_bar_beyond_a_fixed_range_ends_at_its_edge) {
  double value[] = {9, -9, 1e308};
  th_bar_series series = {.value = value};
  th_bars bars = {
      .count = 3, .series = &series, .series_count = 1, .value = {.range = {TH_RANGE_FIXED, 0, 1}}};
  box field;
  picture seen = draw_bars(&bars, &field);
  int from;
  cr_expect_eq(bar_of(&seen, field, 0, 3, series_blue, &from), field.width);
  cr_expect_eq(bar_of(&seen, field, 1, 3, series_blue, &from), 1);
  cr_expect_eq(count_in_row(&seen, 0, field.x - 1, field.y + field.height / 2, series_blue, NULL), 0);
  free(seen.rgb);
}

Test(plot_study, bars_without_values_are_an_empty_field) {
  double none[] = {NAN, NAN}, extreme[] = {1.7e308, -1.7e308};
  th_bar_series series = {.value = none};
  box field;
  free(draw_bars(&(th_bars){0}, &field).rgb);
  free(draw_bars(&(th_bars){.count = 2}, &field).rgb);
  picture seen = draw_bars(&(th_bars){.count = 2, .series = &series, .series_count = 1}, &field);
  cr_expect_eq(count_in_box(&seen, field, series_blue), 0);
  free(seen.rgb);
  series.value = extreme;
  free(draw_bars(&(th_bars){.count = 2, .series = &series, .series_count = 1}, &field).rgb);
}

Test(plot_study_text, every_bar_of_many_has_its_label) {
  need_fonts();
  enum { MANY = 144 };
  double value[MANY];
  const char *labels[MANY];
  for (int i = 0; i < MANY; i++) {
    value[i] = i;
    labels[i] = "HHH";
  }
  th_bar_series series[] = {{"gated off", value}, {"its mean", value}};
  th_bars bars = {labels, MANY, series, 2, "title", {.name = "nats"}};
  box field;
  picture seen = draw_bars(&bars, &field);
  int lines = 0;
  for (int y = field.y; y < field.y + field.height; y++)
    lines += row_has_ink(&seen, 0, field.x - 2, y) && !row_has_ink(&seen, 0, field.x - 2, y + 1);
  cr_expect_eq(lines, MANY, "%d labels apart", lines);
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
}

static void expect_bars_refused(const th_bars *bars, const char *text) {
  cr_expect_eq(th_plot_bars(plot, path, bars, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, text);
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot_study, bars_that_cannot_be_read_are_refused) {
  double value[] = {1};
  th_bar_series series[TH_CURVE_MAX_SERIES + 1] = {{.value = value}};
  expect_bars_refused(&(th_bars){.count = 1, .series = series, .series_count = 9},
                      "bars: 9 series, at most 8 can be told apart");
  expect_bars_refused(&(th_bars){.count = TH_BARS_MAX + 1}, "bars: 1001 labels, not 0 to 1000");
  expect_bars_refused(&(th_bars){.count = 1, .series = series, .series_count = 2},
                      "bars: series 1 has no values");
  th_bars bars = {.count = 1, .series = series, .series_count = 1, .value = {.log = true}};
  expect_bars_refused(&bars, "bars: a log axis has no 0 where bars begin");
  bars.value = (th_axis){.range = {TH_RANGE_FIXED, 2, 1}};
  expect_bars_refused(&bars, "bars: axis: range 2 to 1: low must be below high, both finite");
}

/* ---- likeness -------------------------------------------------------------------------------- */

#define THINGS 4

static const int group_of[THINGS] = {0, 1, 2, 3};
static const colour colour_of[THINGS] = {
    {0x00, 0x72, 0xB2}, {0xD5, 0x5E, 0x00}, {0x00, 0x9E, 0x73}, {0xCC, 0x79, 0xA7}};
static const double places[2 * THINGS] = {0, 0, 1, 0, 0, 2, 1, 2};
static const th_join joins[THINGS - 1] = {{0, 2, 0.2}, {1, 3, 0.4}, {4, 5, 0.9}};

static th_likeness four_things(void) {
  return (th_likeness){.count = THINGS, .group = group_of, .place = places, .joins = joins};
}

static th_status try_likeness(const th_likeness *panel) {
  return th_plot_likeness(plot, path, panel, 1, NULL, THINGS, NULL, &error);
}

/* Draws one panel; its two fields. */
static picture draw_likeness(const th_likeness *panel, box *points, box *tree) {
  cr_assert_eq(try_likeness(panel), TH_OK, "%s", error.text);
  picture seen = read_picture(path);
  box found[MOST_BOXES];
  cr_assert_geq(find_boxes(&seen, found), 2);
  *points = found[0];
  *tree = found[1];
  return seen;
}

/* The middle of all that has this colour in a rectangle. */
static void middle_of(const picture *in, box where, colour wanted, double *x, double *y) {
  int count = 0;
  *x = *y = 0;
  for (int row = where.y; row < where.y + where.height; row++) {
    for (int column = where.x; column < where.x + where.width; column++) {
      if (!is(in, column, row, wanted)) continue;
      *x += column;
      *y += row;
      count++;
    }
  }
  *x /= count;
  *y /= count;
}

Test(plot_study, points_stand_where_their_places_are_on_one_scale) {
  th_likeness panel = four_things();
  box points, tree;
  picture seen = draw_likeness(&panel, &points, &tree);
  double x[THINGS], y[THINGS];
  for (int i = 0; i < THINGS; i++) middle_of(&seen, points, colour_of[i], &x[i], &y[i]);
  double scale = x[1] - x[0];
  cr_expect_gt(scale, points.width / 5.0);
  for (int i = 0; i < THINGS; i++) {
    cr_expect_float_eq(x[i], x[0] + scale * places[2 * i], 1, "thing %d", i);
    cr_expect_float_eq(y[i], y[0] - scale * places[2 * i + 1], 1, "thing %d", i);
  }
  cr_expect_float_eq((x[0] + x[3]) / 2, points.x + points.width / 2.0, 1.5, "in the middle");
  free(seen.rgb);
}

/* The column of the middle of leaf `k` of the tree. */
static int leaf_column(box tree, double k) { return tree.x + (int)((k + 0.5) * tree.width / THINGS); }

Test(plot_study, clusters_join_at_their_heights) {
  th_likeness panel = four_things();
  box points, tree;
  picture seen = draw_likeness(&panel, &points, &tree);
  /* Leaves stand as 0 2 1 3; the axis runs from 0 to 1. */
  const struct { double from, to, height; } wanted[] = {{0, 1, 0.2}, {2, 3, 0.4}, {0.5, 2.5, 0.9}};
  for (int i = 0; i < THINGS - 1; i++) {
    int row = tree.y + tree.height - 1 - (int)lround(wanted[i].height * (tree.height - 1));
    int from = leaf_column(tree, wanted[i].from), to = leaf_column(tree, wanted[i].to);
    cr_expect_eq(count_in_row(&seen, from, to - from, row, frame_grey, NULL), to - from, "join %d", i);
    cr_expect_not(is(&seen, (from + to) / 2 + 9, row - 2, frame_grey), "above join %d", i);
    cr_expect(is(&seen, from, row + 9, frame_grey) && is(&seen, to, row + 9, frame_grey), "legs of %d", i);
    cr_expect_not(is(&seen, (from + to) / 2 + 9, row + 9, frame_grey), "between the legs of %d", i);
  }
  free(seen.rgb);
}

Test(plot_study, leaves_stand_so_that_no_lines_cross) {
  th_likeness panel = four_things();
  box points, tree;
  picture seen = draw_likeness(&panel, &points, &tree);
  const int order[] = {0, 2, 1, 3};
  box below = {tree.x, tree.y + tree.height + 1, tree.width, seen.height - tree.y - tree.height - 1};
  for (int k = 0; k < THINGS; k++) {
    double x, y;
    middle_of(&seen, below, colour_of[order[k]], &x, &y);
    cr_expect_float_eq(x, leaf_column(tree, k), 1, "leaf %d is at %g", k, x);
  }
  free(seen.rgb);
}

Test(plot_study, a_place_that_is_no_number_has_no_point_but_a_leaf) {
  const double some[] = {0, 0, NAN, 0, 1, INFINITY, 1, 1};
  th_likeness panel = four_things();
  panel.place = some;
  box points, tree;
  picture seen = draw_likeness(&panel, &points, &tree);
  box below = {tree.x, tree.y + tree.height + 1, tree.width, seen.height - tree.y - tree.height - 1};
  for (int i = 0; i < THINGS; i++) {
    cr_expect_eq(count_in_box(&seen, points, colour_of[i]) > 0, i == 0 || i == 3, "thing %d", i);
    cr_expect_gt(count_in_box(&seen, below, colour_of[i]), 0, "thing %d", i);
  }
  free(seen.rgb);
}

Test(plot_study, one_thing_or_many_at_one_place_are_drawn) {
  const double none[2 * THINGS] = {0}, far[2 * THINGS] = {-1.7e308, 0, 1.7e308, 0};
  const th_join flat[] = {{0, 1, 0}, {2, 4, 0}, {3, 5, 0}};
  box points, tree;
  free(draw_likeness(&(th_likeness){.count = 1, .place = none}, &points, &tree).rgb);
  th_likeness panel = {.count = THINGS, .place = none, .joins = flat};
  free(draw_likeness(&panel, &points, &tree).rgb);
  panel.place = far;
  free(draw_likeness(&panel, &points, &tree).rgb);
}

Test(plot_study_text, names_of_a_crowd_stay_inside_the_picture) {
  need_fonts();
  enum { CROWD = 60 };
  double same_place[2 * CROWD] = {0};
  th_join chain[CROWD - 1];
  const char *labels[CROWD];
  for (int i = 0; i < CROWD; i++) labels[i] = "cross11.11";
  for (int i = 0; i < CROWD - 1; i++) chain[i] = (th_join){i ? CROWD + i - 1 : 0, i + 1, 0.01 * (i + 1)};
  th_likeness panel = {CROWD, labels, NULL, same_place, chain, "a title", "Jensen-Shannon distance"};
  th_likeness panels[] = {panel, panel};
  const char *names[] = {"layer 0", "layer 1"};
  th_status status = th_plot_likeness(plot, path, panels, 2, names, 2, "title", &error);
  cr_assert_eq(status, TH_OK, "%s", error.text);
  picture seen = read_picture(path);
  cr_expect_not(has_ink_on_border(&seen));
  free(seen.rgb);
}

static void expect_joins_refused(th_join a, th_join b, th_join c, const char *text) {
  const th_join wrong[] = {a, b, c};
  th_likeness panel = four_things();
  panel.joins = wrong;
  cr_expect_eq(try_likeness(&panel), TH_EINVAL);
  cr_expect_str_eq(error.text, text);
}

Test(plot_study, joins_that_make_no_tree_are_refused) {
  th_join good = {0, 1, 0.1}, next = {2, 3, 0.2};
  expect_joins_refused(good, (th_join){1, 2, 0.2}, next,
                       "likeness: panel 0: join 1 is of 1 and 2, not two of 0 to 4 that are still single");
  expect_joins_refused(good, next, (th_join){4, 4, 1},
                       "likeness: panel 0: join 2 is of 4 and 4, not two of 0 to 5 that are still single");
  expect_joins_refused((th_join){0, 4, 1}, next, good,
                       "likeness: panel 0: join 0 is of 0 and 4, not two of 0 to 3 that are still single");
  expect_joins_refused((th_join){-1, 2, 1}, next, good,
                       "likeness: panel 0: join 0 is of -1 and 2, not two of 0 to 3 that are still single");
  expect_joins_refused(good, (th_join){2, 3, NAN}, next,
                       "likeness: panel 0: join 1 is at height nan, not a finite number from 0 on");
  cr_expect_eq(files_in_folder(), 0);
}

Test(plot_study, a_likeness_that_cannot_be_read_is_refused) {
  th_likeness panel = four_things();
  cr_expect_eq(th_plot_likeness(plot, path, &panel, 0, NULL, 4, NULL, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "likeness: 0 panels, not 1 to 64");
  cr_expect_eq(th_plot_likeness(plot, path, &panel, 1, NULL, 9, NULL, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "likeness: 9 groups, at most 8 can be told apart");
  cr_expect_eq(th_plot_likeness(plot, path, &panel, 1, NULL, 2, NULL, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "likeness: panel 0: thing 2 is of group 2, not 0 to 1");
  panel.joins = NULL;
  cr_expect_eq(try_likeness(&panel), TH_EINVAL);
  cr_expect_str_eq(error.text, "likeness: panel 0: no joins");
  panel = (th_likeness){.count = 0};
  cr_expect_eq(try_likeness(&panel), TH_EINVAL);
  cr_expect_str_eq(error.text, "likeness: panel 0: 0 things, not 1 to 1000");
  cr_expect_eq(files_in_folder(), 0);
}

/* ---- files ----------------------------------------------------------------------------------- */

Test(plot_study, a_failed_write_leaves_the_old_file_and_nothing_else) {
  th_likeness panel = four_things();
  th_status status[2];
  struct rlimit before;
  write_text("precious");
  fill_disk(&before);
  status[0] = th_plot_bars(plot, path, &(th_bars){0}, &error);
  status[1] = try_likeness(&panel);
  setrlimit(RLIMIT_FSIZE, &before);
  cr_expect_eq(status[0], TH_EIO);
  cr_expect_eq(status[1], TH_EIO);
  expect_only_text("precious");
}

Test(plot_study, a_missing_directory_is_an_error_and_leaves_nothing) {
  char name[sizeof path + 32];
  th_likeness panel = four_things();
  snprintf(name, sizeof name, "%s/no/picture.png", folder);
  cr_expect_eq(th_plot_bars(plot, name, &(th_bars){0}, &error), TH_EIO);
  cr_expect_eq(th_plot_likeness(plot, name, &panel, 1, NULL, THINGS, NULL, &error), TH_EIO);
  cr_expect_eq(files_in_folder(), 0);
}
