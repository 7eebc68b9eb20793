/* The gradcheck itself: it passes what is right, catches what is wrong, and leaves things as they were. */
#include "engine_desk.h"
#include "gradcheck/cases.h"

#include <stdlib.h>

/* ---- every op and layer ---------------------------------------------------------------------- */

Test(gradcheck, every_op_of_the_library_has_a_case) {
  int count;
  const th_op *const *ops = th_ops(&count);
  cr_assert(count > 0);
  for (int i = 0; i < count; i++) {
    bool found = false;
    for (const gradcheck_case *c = op_cases; c->op; c++) found |= !strcmp(c->op, ops[i]->name);
    cr_expect(found, "%s has no case in tests/gradcheck/ops.c", ops[i]->name);
  }
}

static void expect_all_pass(const gradcheck_case *cases, bool fast) {
  for (const gradcheck_case *c = cases; c->op; c++) {
    th_gradcheck_report report = {0};
    th_error error = {0};
    cr_assert(run_case(c, fast, &report, &error) == TH_OK, "%s (%s): %s", c->op, c->what, error.text);
    cr_expect(report.ok, "%s (%s): %s", c->op, c->what, report.text);
    cr_expect(report.relative_error < GRADCHECK_LIMIT, "%s (%s): relative error %g", c->op, c->what,
              report.relative_error);
    cr_expect(report.compared > 0, "%s (%s) compared nothing", c->op, c->what);
  }
}

Test(gradcheck, every_op_agrees_with_differences) { expect_all_pass(op_cases, false); }
Test(gradcheck, every_op_agrees_with_differences_in_fast_mode) { expect_all_pass(op_cases, true); }
Test(gradcheck, every_layer_agrees_with_differences) { expect_all_pass(module_cases, false); }
Test(gradcheck, every_layer_agrees_with_differences_in_fast_mode) { expect_all_pass(module_cases, true); }

/* ---- ops that are wrong ---------------------------------------------------------------------- */

/* y = a b, element by element, whose backward goes wrong in a way of choice. */
typedef enum {
  RIGHT,
  SCALED,       /* off by a factor of 1.01, in the gradient of b */
  ONE_ELEMENT,  /* one element of the gradient of b is off */
  SIGN,         /* the gradient of b has the wrong sign */
  FORGOTTEN,    /* only the first of its inputs gets a gradient */
  RANDOM,       /* every run gives another gradient of b */
  INFINITE,     /* one element of the gradient of b is infinite */
  NOT_A_NUMBER, /* ... or NaN */
  OVERWRITTEN   /* sets the gradient of b, where it should add */
} mistake;

static int runs; /* of backward, for RANDOM */

static bool product_forward(th_var *out) {
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value;
  if (!th_make_like(out, a)) return false;
  for (int64_t i = 0; i < th_tensor_count(a); i++)
    th_tensor_set(&out->value, i, th_tensor_get(a, i) * th_tensor_get(b, i));
  return true;
}

static double gone_wrong(mistake what, int64_t i, double right) {
  switch (what) {
  case SCALED: return 1.01 * right;
  case ONE_ELEMENT: return i == 2 ? right + 0.001 : right;
  case SIGN: return -right;
  case FORGOTTEN: return 0;
  case RANDOM: return right + 1e-13 * runs;
  case INFINITE: return i == 1 && right != 0 ? INFINITY : right;
  case NOT_A_NUMBER: return i == 1 && right != 0 ? NAN : right;
  case RIGHT:
  case OVERWRITTEN: break;
  }
  return right;
}

static void product_backward(th_var *out) {
  mistake what = *(const mistake *)out->settings;
  const th_tensor *ga = th_grad(out->in[0]), *gb = th_grad(out->in[1]);
  runs++;
  for (int64_t i = 0; i < th_tensor_count(&out->grad); i++) {
    double g = th_tensor_get(&out->grad, i), a = th_tensor_get(&out->in[0]->value, i),
           b = th_tensor_get(&out->in[1]->value, i);
    th_tensor_set(ga, i, th_tensor_get(ga, i) + g * b);
    double before = what == OVERWRITTEN ? 0 : th_tensor_get(gb, i);
    th_tensor_set(gb, i, before + gone_wrong(what, i, g * a));
  }
}

static const th_op product = {.name = "product", .forward = product_forward, .backward = product_backward};

/* Two outputs, the mistake in the second. */
static int right_and_wrong(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape;
  out[0] = th_mul(in[0], in[1]);
  out[1] = th_apply(&product, 2, in, context, sizeof(mistake));
  return 2;
}

static int square(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape;
  out[0] = th_apply(&product, 2, (th_var *[]){in[0], in[0]}, context, sizeof(mistake));
  return 1;
}

static int used_before(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape;
  th_var *y = th_apply(&product, 2, in, context, sizeof(mistake));
  out[0] = th_add(y, th_scale(in[1], 3)); /* backward, this one comes first */
  return 1;
}

typedef struct checked {
  desk d;
  th_tensor x[2];
  th_gradcheck_report report;
  th_error error;
  th_status status;
} checked;

static const char *const names[] = {"a", "b"};

static checked check(th_function *function, mistake what, int inputs, bool fast) {
  checked c = {.d = desk_open()};
  for (int i = 0; i < 2; i++) c.x[i] = desk_uniform(&c.d, TH_F64, 0.5, 1.5, SHAPE(4));
  th_gradcheck_options options = {.fast = fast, .seed = 2, .input_names = names};
  c.status =
      th_gradcheck(function, &what, inputs, (th_tensor *[]){&c.x[0], &c.x[1]}, &options, &c.report, &c.error);
  cr_assert(c.status == TH_OK, "%s", c.error.text);
  return c;
}

Test(gradcheck, a_right_op_of_ones_own_passes) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(right_and_wrong, RIGHT, 2, fast);
    cr_expect(c.report.ok && c.report.relative_error < 1e-9, "%s", c.report.text);
    cr_expect(c.report.compared == (fast ? 2 * 2 : 2 * 2 * 4 * 4), "compared %ld", (long)c.report.compared);
    desk_close(&c.d);
  }
}

/* The report accuses output 1 and input b at [index, index], where d y / d b is a, and says so. */
static void expect_accused(const checked *c, int64_t index, double analytical, double numerical) {
  char wanted[128];
  const th_gradcheck_report *r = &c->report;
  cr_expect(!r->ok);
  cr_expect(r->input == 1 && r->output == 1, "input %d, output %d", r->input, r->output);
  cr_expect(r->output_index == r->input_index, "off the diagonal: %s", r->text);
  if (index >= 0) cr_expect(r->input_index == index, "element %ld", (long)r->input_index);
  cr_expect(fabs(r->numerical - numerical) < 1e-8, "numerical %.12g, wanted %.12g", r->numerical, numerical);
  cr_expect(fabs(r->analytical - analytical) < 1e-12, "analytical %.12g, wanted %.12g", r->analytical,
            analytical);
  snprintf(wanted, sizeof wanted, "d output 1[%ld] / d b[%ld]: numerical %.10g, analytical %.10g",
           (long)r->output_index, (long)r->input_index, r->numerical, r->analytical);
  cr_expect_str_eq(r->text, wanted);
}

/* The element of a where |d y / d b| is largest, so that a factor or a sign shows most. */
static double accused_value(const checked *c) {
  int64_t i = c->report.input_index;
  cr_assert(i >= 0 && i < 4);
  return th_tensor_get(&c->x[0], i);
}

Test(gradcheck, a_gradient_off_by_one_percent_is_caught) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(right_and_wrong, SCALED, 2, fast);
    double a = accused_value(&c);
    expect_accused(&c, -1, 1.01 * a, a);
    cr_expect(fabs(c.report.relative_error - 0.01 / 1.01) < 1e-3, "relative error %g",
              c.report.relative_error);
    desk_close(&c.d);
  }
}

Test(gradcheck, one_wrong_element_is_caught_and_named) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(right_and_wrong, ONE_ELEMENT, 2, fast);
    const th_gradcheck_report *r = &c.report;
    cr_expect(!r->ok && r->input == 1 && r->output == 1 && r->input_index == 2, "%s", r->text);
    cr_expect(fabs(r->analytical - r->numerical - 0.001) < 1e-8, "%s", r->text);
    cr_expect(strstr(r->text, "/ d b[2]: numerical ") != NULL, "%s", r->text);
    cr_expect(r->relative_error > 1e-4);
    desk_close(&c.d);
  }
}

Test(gradcheck, a_wrong_sign_is_caught) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(right_and_wrong, SIGN, 2, fast);
    double a = accused_value(&c);
    expect_accused(&c, -1, -a, a);
    cr_expect(c.report.relative_error > 1);
    desk_close(&c.d);
  }
}

Test(gradcheck, a_gradient_forgotten_where_an_input_is_used_twice_is_caught) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(square, FORGOTTEN, 1, fast), right = check(square, RIGHT, 1, fast);
    const th_gradcheck_report *r = &c.report;
    cr_expect(!r->ok && r->input == 0 && r->output == 0);
    cr_expect(fabs(r->analytical - r->numerical / 2) < 1e-8, "%s", r->text);
    cr_expect(strstr(r->text, "/ d a[") != NULL, "%s", r->text);
    cr_expect(right.report.ok, "%s", right.report.text);
    desk_close(&c.d);
    desk_close(&right.d);
  }
}

Test(gradcheck, a_gradient_that_is_set_and_not_added_is_caught) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(used_before, OVERWRITTEN, 2, fast), right = check(used_before, RIGHT, 2, fast);
    cr_expect(!c.report.ok && c.report.input == 1, "%s", c.report.text);
    cr_expect(fabs(c.report.numerical - c.report.analytical - 3) < 1e-8, "%s", c.report.text);
    cr_expect(right.report.ok, "%s", right.report.text);
    desk_close(&c.d);
    desk_close(&right.d);
  }
}

Test(gradcheck, an_infinite_or_nan_gradient_is_caught_whatever_comes_after) {
  for (int what = INFINITE; what <= NOT_A_NUMBER; what++)
    for (int fast = 0; fast < 2; fast++) {
      checked c = check(right_and_wrong, (mistake)what, 2, fast);
      const th_gradcheck_report *r = &c.report;
      cr_expect(!r->ok && r->input == 1 && r->output == 1 && r->input_index == 1, "%s", r->text);
      cr_expect(!isfinite(r->analytical) && isfinite(r->numerical), "%s", r->text);
      cr_expect(!(r->relative_error < 1e300), "relative error %g", r->relative_error);
      desk_close(&c.d);
    }
}

Test(gradcheck, a_backward_that_differs_from_run_to_run_is_caught) {
  for (int fast = 0; fast < 2; fast++) {
    checked c = check(right_and_wrong, RANDOM, 2, fast);
    cr_expect(!c.report.ok);
    cr_expect(!strncmp(c.report.text, "two backward runs differ at b[", 30), "%s", c.report.text);
    cr_expect(c.report.input == 1 && c.report.output == 1);
    desk_close(&c.d);
  }
}

Test(gradcheck, inputs_without_names_are_numbered) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, 0.5, 1.5, SHAPE(4));
  mistake what = SIGN;
  th_gradcheck_report report;
  cr_assert(th_gradcheck(right_and_wrong, &what, 2, (th_tensor *[]){&x, &x}, NULL, &report, NULL) == TH_OK);
  cr_expect(strstr(report.text, " / d input ") != NULL, "%s", report.text);
  desk_close(&d);
}

Test(gradcheck, tolerances_are_the_callers) {
  desk d = desk_open();
  th_tensor x[] = {desk_uniform(&d, TH_F64, 0.5, 1.5, SHAPE(4)),
                   desk_uniform(&d, TH_F64, 0.5, 1.5, SHAPE(4))};
  mistake what = SCALED;
  th_gradcheck_report report;
  for (int wide = 0; wide < 2; wide++) {
    th_gradcheck_options options = {.rtol = wide ? 0.02 : 0.005};
    cr_assert(th_gradcheck(right_and_wrong, &what, 2, (th_tensor *[]){&x[0], &x[1]}, &options, &report,
                           NULL) == TH_OK);
    cr_expect(report.ok == wide, "%s", report.text);
  }
  desk_close(&d);
}

/* ---- what it works on ------------------------------------------------------------------------ */

Test(gradcheck, inputs_are_put_back_bit_for_bit) {
  for (int fast = 0; fast < 2; fast++) {
    desk d = desk_open();
    th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(50)),
              w = desk_uniform(&d, TH_F64, -1e-9, 1e9, SHAPE(50));
    th_tensor x_before = desk_copy(&d, TH_F64, &x), w_before = desk_copy(&d, TH_F64, &w);
    mistake what = RIGHT;
    th_gradcheck_report report;
    th_gradcheck_options options = {.fast = fast};
    cr_assert(th_gradcheck(right_and_wrong, &what, 2, (th_tensor *[]){&x, &w}, &options, &report, NULL) ==
              TH_OK);
    cr_expect(!memcmp(x.data, x_before.data, 50 * sizeof(double)));
    cr_expect(!memcmp(w.data, w_before.data, 50 * sizeof(double)));
    desk_close(&d);
  }
}

static void expect_refused(int inputs, th_tensor *input, th_function *function, th_status status,
                           const char *text) {
  th_gradcheck_report report;
  th_error error = {0};
  mistake what = RIGHT;
  cr_assert(th_gradcheck(function, &what, inputs, (th_tensor *[]){input, input}, NULL, &report, &error) ==
                status,
            "%s", text);
  cr_expect(error.status == status);
  cr_expect(!strncmp(error.text, text, strlen(text)), "got:    %s\nwanted: %s", error.text, text);
}

Test(gradcheck, float_and_views_are_refused) {
  desk d = desk_open();
  th_tensor narrow = desk_uniform(&d, TH_F32, -1, 1, SHAPE(2, 3)),
            x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3)), turned;
  th_view_permute(&turned, &x, (int[]){1, 0});
  expect_refused(1, &narrow, square, TH_EDTYPE, "gradcheck: input 0 is not contiguous f64");
  expect_refused(1, &turned, square, TH_EDTYPE, "gradcheck: input 0 is not contiguous f64");
  desk_close(&d);
}

Test(gradcheck, nothing_to_differentiate_is_refused) {
  expect_refused(0, NULL, square, TH_EINVAL, "gradcheck: 0 inputs; 1 or more can be checked");
}

static int too_many(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  out[0] = in[0];
  return TH_GRADCHECK_OUTPUTS + 1;
}

static int none(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)in, (void)out, (void)context;
  return 0;
}

Test(gradcheck, no_outputs_and_too_many_are_refused) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2));
  expect_refused(1, &x, none, TH_EINVAL, "gradcheck: the function gave 0 outputs; 1 to 8 can be checked");
  expect_refused(1, &x, too_many, TH_EINVAL, "gradcheck: the function gave 9 outputs; 1 to 8 can be checked");
  desk_close(&d);
}

static int misfit(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  out[0] = th_matmul(in[0], in[0]);
  return 1;
}

Test(gradcheck, an_error_in_the_function_is_passed_on) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2, 3));
  expect_refused(1, &x, misfit, TH_ESHAPE,
                 "gradcheck: matmul: [2,3] x [2,3]: inner sizes 3 and 2 differ (" __FILE__ ":");
  desk_close(&d);
}

static int untouched_input(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  (void)tape, (void)context;
  out[0] = th_scale(in[0], 2);
  return 1;
}

Test(gradcheck, an_input_that_is_not_used_has_gradient_zero) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(2)), y = desk_uniform(&d, TH_F64, -1, 1, SHAPE(3));
  for (int fast = 0; fast < 2; fast++) {
    th_gradcheck_report report;
    th_gradcheck_options options = {.fast = fast};
    cr_assert(th_gradcheck(untouched_input, NULL, 2, (th_tensor *[]){&x, &y}, &options, &report, NULL) ==
              TH_OK);
    cr_expect(report.ok && report.compared == (fast ? 2 : 2 * 5), "%s", report.text);
  }
  desk_close(&d);
}

/* ---- parameters ------------------------------------------------------------------------------ */

typedef struct fixture {
  th_nn_linear layer;
  bool wrong;
} fixture;

static const mistake scaled = SCALED;

static int layer_forward(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  const fixture *f = context;
  th_var *y = th_nn_linear_forward(&f->layer, in[0]), *bias = th_use(tape, f->layer.bias);
  out[0] = f->wrong ? th_apply(&product, 2, (th_var *[]){th_reshape(y, 1, (int64_t[]){-1}), bias}, &scaled,
                               sizeof scaled)
                    : y;
  return 1;
}

Test(gradcheck, parameters_are_checked_under_their_names_and_left_with_zero_gradients) {
  for (int wrong = 0; wrong < 2; wrong++) {
    desk d = desk_open();
    th_params *set = th_params_new();
    fixture f = {th_nn_linear_make(set, "layer", 3, 4, true), wrong};
    th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(1, 3)), grads;
    th_gradcheck_report report;
    cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
    th_fill_uniform(&f.layer.bias->value, 0.5, 1, (th_random){1, 1});
    cr_assert(th_params_gradcheck(set, layer_forward, &f, 1, (th_tensor *[]){&x}, NULL, &report, NULL) ==
              TH_OK);
    cr_expect(report.ok == !wrong, "%s", report.text);
    if (wrong) cr_expect(strstr(report.text, " / d layer.bias[") != NULL, "%s", report.text);
    grads = th_params_grads(set);
    cr_expect(largest_size(&grads) == 0);
    th_params_free(set);
    desk_close(&d);
  }
}
