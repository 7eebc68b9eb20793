/* Tensors and their views, held against an index-by-index reading of shape and strides. */
#include "engine_desk.h"

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif

/* ---- the plain reading ----------------------------------------------------------------------- */

/* Cuts a row-major number into one index per axis. */
static void indices_of(const th_tensor *x, int64_t number, int64_t index[TH_MAX_DIMS]) {
  for (int i = x->ndim - 1; i >= 0; i--) {
    index[i] = number % x->shape[i];
    number /= x->shape[i];
  }
}

/* Where an element lies, in elements from data. */
static int64_t place_of(const th_tensor *x, const int64_t index[TH_MAX_DIMS]) {
  int64_t place = 0;
  for (int i = 0; i < x->ndim; i++) place += index[i] * x->stride[i];
  return place;
}

static int64_t place_of_number(const th_tensor *x, int64_t number) {
  int64_t index[TH_MAX_DIMS] = {0};
  indices_of(x, number, index);
  return place_of(x, index);
}

static double value_at(const th_tensor *x, const int64_t index[TH_MAX_DIMS]) {
  return ((const double *)x->data)[place_of(x, index)];
}

/* A view that must not have been touched by a refusal. */
static const th_tensor untouched = {.dtype = TH_U8, .ndim = 3, .shape = {9, 8, 7}, .stride = {1, 2, 3}};

static void expect_untouched(bool accepted, const th_tensor *view, const char *what) {
  cr_expect(!accepted, "%s was accepted", what);
  cr_expect(memcmp(view, &untouched, sizeof untouched) == 0, "%s changed the view", what);
}
#define EXPECT_REFUSED(function, ...) \
  do { \
    th_tensor left = untouched; \
    bool accepted = function(&left, __VA_ARGS__); \
    expect_untouched(accepted, &left, #function "(" #__VA_ARGS__ ")"); \
  } while (0)

/* ---- reshape --------------------------------------------------------------------------------- */

/* Some memory layouts of 24 elements, contiguous and not. */
enum { LAYOUTS = 9 };
static void make_layouts(desk *d, th_tensor made[LAYOUTS]) {
  th_tensor cube = desk_counted(d, TH_F64, SHAPE(2, 3, 4)), wide = desk_counted(d, TH_F64, SHAPE(2, 3, 12));
  th_tensor one = desk_counted(d, TH_F64, SHAPE(1, 24, 1)), row = desk_counted(d, TH_F64, SHAPE(6));
  th_tensor tall = desk_counted(d, TH_F64, SHAPE(4, 3, 4));
  made[0] = cube;
  th_view_permute(&made[1], &cube, (int[]){2, 0, 1});
  th_view_permute(&made[2], &cube, (int[]){0, 2, 1});
  th_view_permute(&made[3], &cube, (int[]){1, 0, 2});
  th_view_slice(&made[4], &wide, 2, 4, 8); /* what a head split starts from */
  made[5] = one;
  th_view_broadcast(&made[6], &row, SHAPE(4, 6));
  th_view_slice(&made[7], &tall, 0, 2, 4);
  made[8] = made[4];
  made[8].stride[1] = 0, made[8].stride[2] = 0; /* repeats along two axes */
}

static const struct {
  int ndim;
  int64_t shape[TH_MAX_DIMS];
} targets[] = {{1, {24}},
               {2, {6, 4}},
               {2, {4, 6}},
               {2, {2, 12}},
               {2, {12, 2}},
               {2, {24, 1}},
               {2, {1, 24}},
               {2, {8, 3}},
               {3, {2, 3, 4}},
               {3, {4, 3, 2}},
               {3, {3, 2, 4}},
               {3, {4, 2, 3}},
               {4, {2, 3, 2, 2}},
               {4, {2, 1, 3, 4}},
               {4, {2, 2, 2, 3}},
               {4, {1, 6, 1, 4}},
               {5, {2, 3, 1, 4, 1}},
               {6, {1, 2, 1, 3, 1, 4}},
               {6, {2, 1, 3, 1, 2, 2}}};
#define TARGETS (sizeof targets / sizeof *targets)

/* Can strides over the new shape reach the same places in the same order? */
static bool strides_exist(const th_tensor *of, const th_tensor *wanted) {
  th_tensor made = *wanted;
  int64_t step = 1;
  for (int i = wanted->ndim - 1; i >= 0; i--) {
    made.stride[i] = wanted->shape[i] > 1 ? place_of_number(of, step) : 0;
    step *= wanted->shape[i];
  }
  for (int64_t n = 0; n < step; n++)
    if (place_of_number(&made, n) != place_of_number(of, n)) return false;
  return true;
}

static void check_reshape(const th_tensor *of, int ndim, const int64_t *shape) {
  th_tensor view = untouched, wanted = th_tensor_of(NULL, TH_F64, ndim, shape);
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  th_shape_text(a, of), th_shape_text(b, &wanted);
  bool accepted = th_view_reshape(&view, of, ndim, shape);
  cr_assert(accepted == strides_exist(of, &wanted), "%s to %s: accepted is %d", a, b, accepted);
  if (!accepted) {
    expect_untouched(accepted, &view, b);
    return;
  }
  cr_assert(th_tensor_same_shape(&view, &wanted) && view.dtype == TH_F64 && view.data == of->data);
  for (int64_t n = 0; n < th_tensor_count(of); n++)
    cr_assert(place_of_number(&view, n) == place_of_number(of, n), "%s to %s moved element %ld", a, b,
              (long)n);
}

Test(views, reshape_is_taken_exactly_where_strides_can_serve) {
  desk d = desk_open();
  th_tensor layout[LAYOUTS];
  make_layouts(&d, layout);
  for (int l = 0; l < LAYOUTS; l++)
    for (size_t t = 0; t < TARGETS; t++) check_reshape(&layout[l], targets[t].ndim, targets[t].shape);
  desk_close(&d);
}

Test(views, reshape_splits_heads_in_place_and_will_not_join_them_in_place) {
  desk d = desk_open();
  th_tensor projected = desk_counted(&d, TH_F64, SHAPE(2, 3, 12)), key, split, heads;
  cr_assert(th_view_slice(&key, &projected, 2, 4, 8));
  cr_assert(th_view_reshape(&split, &key, SHAPE(2, 3, 2, 2)));
  cr_assert(th_view_permute(&heads, &split, (int[]){0, 2, 1, 3}));
  cr_expect(value_at(&heads, (int64_t[TH_MAX_DIMS]){1, 1, 2, 0}) == 1 * 36 + 2 * 12 + 4 + 2);
  EXPECT_REFUSED(th_view_reshape, &heads, SHAPE(4, 6));
  desk_close(&d);
}

Test(views, reshape_to_and_from_a_scalar) {
  desk d = desk_open();
  th_tensor one = desk_counted(&d, TH_F64, SHAPE(1, 1)), scalar, back;
  cr_assert(th_view_reshape(&scalar, &one, SCALAR));
  cr_expect(scalar.ndim == 0 && th_tensor_count(&scalar) == 1);
  cr_assert(th_view_reshape(&back, &scalar, SHAPE(1, 1, 1)));
  desk_close(&d);
}

Test(views, reshape_of_nothing_gives_any_shape_of_nothing) {
  desk d = desk_open();
  th_tensor none = desk_zeros(&d, TH_F64, SHAPE(3, 0, 2)), view;
  cr_assert(th_view_reshape(&view, &none, SHAPE(0, 5)));
  cr_expect(view.shape[0] == 0 && view.shape[1] == 5);
  EXPECT_REFUSED(th_view_reshape, &none, SHAPE(1));
  desk_close(&d);
}

Test(views, reshape_refuses_other_counts_negative_sizes_too_many_axes_and_overflow) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), none = desk_zeros(&d, TH_F64, SHAPE(0));
  const int64_t huge = (int64_t)1 << 32;
  EXPECT_REFUSED(th_view_reshape, &x, SHAPE(7));
  EXPECT_REFUSED(th_view_reshape, &x, SCALAR);
  EXPECT_REFUSED(th_view_reshape, &x, SHAPE(-2, -3));
  EXPECT_REFUSED(th_view_reshape, &x, SHAPE(1, 1, 1, 1, 1, 2, 3));
  EXPECT_REFUSED(th_view_reshape, &x, -1, NULL);
  EXPECT_REFUSED(th_view_reshape, &none, SHAPE(huge, huge)); /* 2^64 wraps around to 0 */
  EXPECT_REFUSED(th_view_reshape, &x, SHAPE(huge, huge, 6));
  desk_close(&d);
}

/* ---- permute --------------------------------------------------------------------------------- */

Test(views, permute_puts_axis_axes_i_at_i) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3, 4, 5));
  for (int code = 0; code < 256; code++) { /* every choice of four axes; those that repeat one are refused */
    int axes[] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};
    unsigned seen = 1u << axes[0] | 1u << axes[1] | 1u << axes[2] | 1u << axes[3];
    th_tensor view = untouched;
    bool accepted = th_view_permute(&view, &x, axes);
    cr_assert(accepted == (seen == 15));
    if (!accepted) expect_untouched(accepted, &view, "an axis named twice");
    for (int64_t n = 0; accepted && n < th_tensor_count(&x); n++) {
      int64_t index[TH_MAX_DIMS] = {0}, old[TH_MAX_DIMS] = {0};
      indices_of(&view, n, index);
      for (int i = 0; i < 4; i++) old[axes[i]] = index[i];
      cr_assert(value_at(&view, index) == value_at(&x, old));
    }
  }
  desk_close(&d);
}

Test(views, permute_refuses_axes_out_of_range) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3));
  EXPECT_REFUSED(th_view_permute, &x, (int[]){0, 2});
  EXPECT_REFUSED(th_view_permute, &x, (int[]){-1, 0});
  EXPECT_REFUSED(th_view_permute, &x, (int[]){1, 1});
  desk_close(&d);
}

/* ---- slice ----------------------------------------------------------------------------------- */

static void check_slice(const th_tensor *x, int axis, int64_t begin, int64_t end) {
  th_tensor view;
  cr_assert(th_view_slice(&view, x, axis, begin, end));
  cr_assert(view.shape[axis] == end - begin);
  for (int64_t n = 0; n < th_tensor_count(&view); n++) {
    int64_t index[TH_MAX_DIMS] = {0}, old[TH_MAX_DIMS] = {0};
    indices_of(&view, n, index);
    memcpy(old, index, sizeof old);
    old[axis] += begin;
    cr_assert(value_at(&view, index) == value_at(x, old));
  }
}

Test(views, slice_keeps_begin_to_end_of_one_axis) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3, 4, 5)), turned;
  th_view_permute(&turned, &x, (int[]){2, 0, 1});
  for (int axis = 0; axis < 3; axis++)
    for (int64_t begin = 0; begin <= x.shape[axis]; begin++)
      for (int64_t end = begin; end <= x.shape[axis]; end++) check_slice(&x, axis, begin, end);
  for (int64_t begin = 0; begin < 5; begin++) check_slice(&turned, 0, begin, 5);
  desk_close(&d);
}

Test(views, slice_counts_in_the_elements_of_its_type) {
  desk d = desk_open();
  const th_dtype types[] = {TH_F32, TH_F64, TH_I32, TH_U8};
  for (int i = 0; i < 4; i++) {
    th_tensor x = desk_counted(&d, types[i], SHAPE(7)), view;
    cr_assert(th_view_slice(&view, &x, 0, 3, 5));
    EXPECT_VALUES(&view, 0, 3, 4);
  }
  desk_close(&d);
}

Test(views, slice_refuses_what_runs_over_the_ends) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3));
  EXPECT_REFUSED(th_view_slice, &x, 1, 0, 4);
  EXPECT_REFUSED(th_view_slice, &x, 1, -1, 2);
  EXPECT_REFUSED(th_view_slice, &x, 1, 2, 1);
  EXPECT_REFUSED(th_view_slice, &x, 2, 0, 1);
  EXPECT_REFUSED(th_view_slice, &x, -1, 0, 1);
  desk_close(&d);
}

/* ---- broadcast ------------------------------------------------------------------------------- */

static void check_broadcast(const th_tensor *x, int ndim, const int64_t *shape) {
  th_tensor view;
  cr_assert(th_view_broadcast(&view, x, ndim, shape));
  cr_assert(view.ndim == ndim && view.data == x->data);
  for (int64_t n = 0; n < th_tensor_count(&view); n++) {
    int64_t index[TH_MAX_DIMS] = {0}, old[TH_MAX_DIMS] = {0};
    indices_of(&view, n, index);
    for (int i = 0; i < x->ndim; i++) old[i] = x->shape[i] == 1 ? 0 : index[ndim - x->ndim + i];
    cr_assert(value_at(&view, index) == value_at(x, old));
  }
}

Test(views, broadcast_matches_axes_from_the_right_and_repeats_size_one) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3, 1)), turned = desk_counted(&d, TH_F64, SHAPE(4, 3)), one;
  th_view_permute(&turned, &turned, (int[]){1, 0});
  one = desk_counted(&d, TH_F64, SCALAR);
  check_broadcast(&x, SHAPE(3, 1));
  check_broadcast(&x, SHAPE(3, 5));
  check_broadcast(&x, SHAPE(2, 3, 5));
  check_broadcast(&x, SHAPE(2, 1, 1, 2, 3, 5));
  check_broadcast(&turned, SHAPE(2, 3, 4));
  check_broadcast(&one, SHAPE(2, 3));
  check_broadcast(&x, SHAPE(3, 0));
  desk_close(&d);
}

Test(views, broadcast_refuses_other_sizes_fewer_axes_and_more_than_six) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), one = desk_counted(&d, TH_F64, SHAPE(1));
  EXPECT_REFUSED(th_view_broadcast, &x, SHAPE(2, 4));
  EXPECT_REFUSED(th_view_broadcast, &x, SHAPE(3, 2));
  EXPECT_REFUSED(th_view_broadcast, &x, SHAPE(1, 3));
  EXPECT_REFUSED(th_view_broadcast, &x, SHAPE(3));
  EXPECT_REFUSED(th_view_broadcast, &one, SHAPE(-1));
  EXPECT_REFUSED(th_view_broadcast, &x, SHAPE(1, 1, 1, 1, 1, 2, 3));
  desk_close(&d);
}

/* ---- contiguous ------------------------------------------------------------------------------ */

Test(views, contiguous_means_row_major_without_gaps) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(4, 3)), turned, rows, columns, column, ones;
  th_view_permute(&turned, &x, (int[]){1, 0});
  th_view_slice(&rows, &x, 0, 1, 3);
  th_view_slice(&columns, &x, 1, 0, 2);
  th_view_slice(&column, &rows, 0, 0, 1);
  th_view_permute(&column, &column, (int[]){1, 0});
  th_view_broadcast(&ones, &column, SHAPE(1, 3, 1));
  cr_expect(th_tensor_is_contiguous(&x));
  cr_expect(th_tensor_is_contiguous(&rows));
  cr_expect(th_tensor_is_contiguous(&column), "the stride of an axis of size 1 says nothing");
  cr_expect(th_tensor_is_contiguous(&ones));
  cr_expect(!th_tensor_is_contiguous(&turned));
  cr_expect(!th_tensor_is_contiguous(&columns));
  desk_close(&d);
}

/* ---- making, reading, writing ---------------------------------------------------------------- */

Test(tensor, new_is_contiguous_zeros_of_the_type_asked) {
  const th_dtype types[] = {TH_F32, TH_F64, TH_I32, TH_U8};
  const size_t sizes[] = {4, 8, 4, 1};
  for (int i = 0; i < 4; i++) {
    th_tensor x;
    cr_assert(th_tensor_new(&x, types[i], SHAPE(3, 1, 5), NULL) == TH_OK);
    cr_assert(x.dtype == types[i] && th_dtype_size(types[i]) == sizes[i]);
    cr_assert(th_tensor_count(&x) == 15 && th_tensor_is_contiguous(&x));
    for (int64_t n = 0; n < 15; n++) cr_assert(th_tensor_get(&x, n) == 0);
    th_tensor_free(&x);
    cr_assert(x.data == NULL);
  }
}

Test(tensor, new_of_nothing_and_of_a_scalar_has_memory) {
  th_tensor x;
  cr_assert(th_tensor_new(&x, TH_F64, SHAPE(0, 3), NULL) == TH_OK);
  cr_expect(x.data != NULL && th_tensor_count(&x) == 0);
  th_tensor_free(&x);
  cr_assert(th_tensor_new(&x, TH_F64, SCALAR, NULL) == TH_OK);
  cr_expect(x.data != NULL && th_tensor_count(&x) == 1);
  th_tensor_free(&x);
}

static void expect_no_tensor(int ndim, const int64_t *shape, const char *text) {
  th_tensor x = untouched;
  th_error error = {0};
  cr_assert(th_tensor_new(&x, TH_F64, ndim, shape, &error) == TH_ESHAPE);
  cr_assert(error.status == TH_ESHAPE);
  cr_assert_str_eq(error.text, text);
  expect_untouched(false, &x, text);
  cr_assert(th_tensor_new(&x, TH_F64, ndim, shape, NULL) == TH_ESHAPE);
}

Test(tensor, new_refuses_negative_sizes_too_many_axes_and_too_many_elements) {
  const int64_t huge = (int64_t)1 << 32;
  expect_no_tensor(SHAPE(2, -1), "tensor: 2 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE(-1, -1), "tensor: 2 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE(1, 1, 1, 1, 1, 1, 1), "tensor: 7 axes, a negative size or too many elements");
  expect_no_tensor(-1, NULL, "tensor: -1 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE(huge, huge), "tensor: 2 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE(INT64_MAX / 8 + 1), "tensor: 1 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE((int64_t)TH_MAX_ELEMENTS + 1),
                   "tensor: 1 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE(1 << 16, 1 << 15), "tensor: 2 axes, a negative size or too many elements");
  expect_no_tensor(SHAPE(0, huge, huge), "tensor: 3 axes, a negative size or too many elements");
}

#ifndef ADDRESS_SANITIZER /* it ends the process itself */
Test(tensor, new_says_when_there_is_no_memory) {
  th_tensor x = untouched;
  th_error error = {0};
  struct rlimit limit;
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = (rlim_t)4 << 30;
  cr_assert(setrlimit(RLIMIT_AS, &limit) == 0); /* only this test's process */
  cr_assert(th_tensor_new(&x, TH_F64, SHAPE(TH_MAX_ELEMENTS), &error) == TH_ENOMEM);
  cr_assert_str_eq(error.text, "tensor: no memory for 2147483647 elements");
  expect_untouched(false, &x, "a failed allocation");
}
#endif

Test(tensor, get_and_set_go_by_row_major_number_whatever_the_strides) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), turned;
  th_view_permute(&turned, &x, (int[]){1, 0});
  EXPECT_VALUES(&turned, 0, 0, 3, 1, 4, 2, 5);
  th_tensor_set(&turned, 1, 30);
  EXPECT_VALUES(&x, 0, 0, 1, 2, 30, 4, 5);
  desk_close(&d);
}

Test(tensor, fill_sets_what_a_view_shows_and_nothing_else) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F32, SHAPE(2, 3)), column;
  th_view_slice(&column, &x, 1, 1, 2);
  th_fill(&column, 9);
  EXPECT_VALUES(&x, 0, 0, 9, 2, 3, 9, 5);
  desk_close(&d);
}

/* Two views of one shape and one number of elements, laid out differently. */
static th_tensor laid_out(desk *d, th_dtype dtype, int how) {
  th_tensor x;
  switch (how) {
  case 0: return desk_zeros(d, dtype, SHAPE(3, 4, 2));
  case 1:
    x = desk_zeros(d, dtype, SHAPE(2, 3, 4));
    th_view_permute(&x, &x, (int[]){1, 2, 0});
    return x;
  default:
    x = desk_zeros(d, dtype, SHAPE(3, 9, 2));
    th_view_slice(&x, &x, 1, 2, 6);
    return x;
  }
}

Test(tensor, copy_converts_between_all_types_and_layouts) {
  desk d = desk_open();
  const th_dtype types[] = {TH_F32, TH_F64, TH_I32, TH_U8};
  for (int c = 0; c < 4 * 4 * 3 * 3; c++) {
    th_tensor from = laid_out(&d, types[c % 4], c / 16 % 3), to = laid_out(&d, types[c / 4 % 4], c / 48);
    for (int64_t n = 0; n < 24; n++) th_tensor_set(&from, n, (double)(7 * n + 1));
    cr_assert(th_tensor_copy(&to, &from, NULL) == TH_OK);
    for (int64_t n = 0; n < 24; n++)
      cr_assert(th_tensor_get(&to, n) == (double)(7 * n + 1), "%s to %s", th_dtype_name(from.dtype),
                th_dtype_name(to.dtype));
  }
  desk_close(&d);
}

Test(tensor, copy_writes_only_what_the_view_shows) {
  desk d = desk_open();
  th_tensor x = desk_zeros(&d, TH_F32, SHAPE(2, 3)), middle, from = desk_counted(&d, TH_F32, SHAPE(2, 1));
  th_view_slice(&middle, &x, 1, 1, 2);
  th_fill(&from, 5);
  cr_assert(th_tensor_copy(&middle, &from, NULL) == TH_OK);
  EXPECT_VALUES(&x, 0, 0, 5, 0, 0, 5, 0);
  desk_close(&d);
}

Test(tensor, copy_to_float_rounds_and_back_is_exact) {
  desk d = desk_open();
  th_tensor wide = desk_zeros(&d, TH_F64, SHAPE(3)), narrow = desk_zeros(&d, TH_F32, SHAPE(3));
  double values[] = {0.1, 1e300, -0.0};
  memcpy(wide.data, values, sizeof values);
  cr_assert(th_tensor_copy(&narrow, &wide, NULL) == TH_OK);
  EXPECT_VALUES(&narrow, 0, (double)0.1f, INFINITY, 0);
  cr_expect(signbit(((const float *)narrow.data)[2]));
  cr_assert(th_tensor_copy(&wide, &narrow, NULL) == TH_OK);
  EXPECT_VALUES(&wide, 0, (double)0.1f, INFINITY, 0);
  desk_close(&d);
}

Test(tensor, copy_refuses_another_shape_and_writes_nothing) {
  desk d = desk_open();
  th_error error = {0};
  th_tensor to = desk_zeros(&d, TH_F32, SHAPE(2, 3)), from = desk_counted(&d, TH_F32, SHAPE(3, 2));
  cr_assert(th_tensor_copy(&to, &from, &error) == TH_ESHAPE);
  cr_expect_str_eq(error.text, "copy: shapes [2,3] and [3,2] differ");
  EXPECT_VALUES(&to, 0, 0, 0, 0, 0, 0, 0);
  desk_close(&d);
}

Test(tensor, shape_text_is_the_sizes_in_brackets) {
  char text[TH_SHAPE_TEXT];
  th_tensor x = th_tensor_of(NULL, TH_F32, SHAPE(32, 64));
  cr_expect_str_eq(th_shape_text(text, &x), "[32,64]");
  cr_expect(th_shape_text(text, &x) == text);
  x = th_tensor_of(NULL, TH_F32, SCALAR);
  cr_expect_str_eq(th_shape_text(text, &x), "[]");
  x = th_tensor_of(NULL, TH_F32, SHAPE(0));
  cr_expect_str_eq(th_shape_text(text, &x), "[0]");
}

Test(tensor, shape_text_has_room_for_the_longest_shape) {
  char text[TH_SHAPE_TEXT], wanted[2 * TH_SHAPE_TEXT] = "[";
  th_tensor x = {.ndim = TH_MAX_DIMS};
  for (int i = 0; i < TH_MAX_DIMS; i++) {
    x.shape[i] = INT64_MIN; /* no size, but what an error may have to print */
    strcat(wanted, i ? ",-9223372036854775808" : "-9223372036854775808");
  }
  cr_expect_str_eq(th_shape_text(text, &x), strcat(wanted, "]"));
}

Test(tensor, types_have_names) {
  cr_expect_str_eq(th_dtype_name(TH_F32), "f32");
  cr_expect_str_eq(th_dtype_name(TH_F64), "f64");
  cr_expect_str_eq(th_dtype_name(TH_I32), "i32");
  cr_expect_str_eq(th_dtype_name(TH_U8), "u8");
}

Test(tensor, an_error_is_cut_to_its_room_and_may_be_unwanted) {
  th_error error;
  char longest[1000];
  memset(longest, 'x', sizeof longest);
  longest[sizeof longest - 1] = 0;
  cr_expect(th_error_set(NULL, TH_EIO, "%d", 1) == TH_EIO);
  cr_expect(th_error_set(&error, TH_EIO, "%s", longest) == TH_EIO);
  cr_expect(error.status == TH_EIO && strlen(error.text) == sizeof error.text - 1);
}
