/* The tape: how gradients gather, what it says when something is wrong, ops of the caller's own. */
#include "engine_desk.h"

static double at(const th_tensor *x, int64_t index) { return th_tensor_get(x, index); }

/* ---- gradients gather ------------------------------------------------------------------------ */

Test(autograd, gradients_add_up_where_a_var_is_used_twice) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(4)), gx;
  th_var *v = desk_leaf(&d, &x, &gx);
  cr_assert(th_backward(th_sum(th_add(th_mul(v, v), v), TH_ALL_AXES, false), NULL) == TH_OK);
  EXPECT_VALUES(&gx, 1e-15, 1, 3, 5, 7); /* d (x x + x) = 2 x + 1 */
  desk_close(&d);
}

Test(autograd, gradients_add_up_through_a_chain_that_meets_again) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *v = desk_leaf(&d, &x, &gx), *square = th_mul(v, v);
  th_backward(th_sum(th_mul(square, th_add(square, v)), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-13, 0, 4 + 3, 32 + 12); /* d (x^4 + x^3) = 4 x^3 + 3 x^2 */
  desk_close(&d);
}

Test(autograd, gradients_of_overlapping_slices_add_up) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(5)), gx;
  th_var *v = desk_leaf(&d, &x, &gx);
  th_var *first = th_slice(v, 0, 0, 4), *second = th_slice(v, 0, 1, 5);
  th_backward(th_sum(th_mul(first, second), TH_ALL_AXES, false), NULL); /* sum of x_i x_i+1 */
  EXPECT_VALUES(&gx, 1e-15, 1, 2, 4, 6, 3);
  desk_close(&d);
}

Test(autograd, gradients_of_views_of_views_reach_what_they_look_at) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), w = desk_counted(&d, TH_F64, SHAPE(2, 2)), gx;
  th_var *twice = th_scale(desk_leaf(&d, &x, &gx), 2); /* no leaf, so that its gradient is the tape's */
  th_var *view = th_slice(th_reshape(th_permute(twice, (int[]){1, 0}), 3, (int64_t[]){3, 2, 1}), 0, 1, 3);
  th_var *weighed = th_mul(th_reshape(view, 2, (int64_t[]){2, 2}), th_constant(d.tape, &w));
  th_backward(th_sum(weighed, TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 0, 0, 4, 0, 2, 6);
  desk_close(&d);
}

Test(autograd, a_view_and_what_it_looks_at_share_one_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(4)), gx;
  th_var *v = desk_leaf(&d, &x, &gx), *y = th_scale(v, 1);
  th_backward(th_sum(th_add(th_mul(y, y), th_reshape(y, 1, (int64_t[]){4})), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 1, 3, 5, 7);
  desk_close(&d);
}

Test(autograd, a_leaf_gradient_is_added_to_what_was_there) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *v = desk_leaf(&d, &x, &gx);
  th_fill(&gx, 100);
  th_backward(th_sum(th_mul(v, v), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-13, 100, 102, 104);
  desk_close(&d);
}

Test(autograd, two_leaves_over_one_tensor_add_to_one_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *v = desk_leaf(&d, &x, &gx), *again = th_leaf(d.tape, &x, &gx);
  th_backward(th_sum(th_mul(v, again), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 0, 2, 4);
  desk_close(&d);
}

Test(autograd, a_leaf_without_memory_of_its_own_keeps_its_gradient_on_the_tape) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3));
  th_var *v = th_leaf(d.tape, &x, NULL);
  EXPECT_VALUES(&v->grad, 0, 0, 0, 0);
  th_backward(th_sum(th_mul(v, v), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&v->grad, 1e-15, 0, 2, 4);
  desk_close(&d);
}

Test(autograd, backward_from_a_view_of_a_leaf_adds_to_its_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), g = desk_counted(&d, TH_F64, SHAPE(3));
  th_var *v = th_leaf(d.tape, &x, &g);
  th_fill(&g, 10);
  th_backward(th_slice(v, 0, 1, 2), NULL);
  EXPECT_VALUES(&g, 0, 10, 11, 10);
  desk_close(&d);
}

Test(autograd, anomaly_mode_finds_a_nan_behind_an_allowed_infinity) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3));
  th_tensor_set(&x, 2, (double)NAN);
  th_tensor_set(&x, 0, -(double)INFINITY);
  th_tape_anomaly(d.tape, true);
  th_contiguous(th_transpose(th_constant(d.tape, &x)));
  const th_error *error = th_tape_error(d.tape);
  cr_assert(error && error->status == TH_ENAN);
  desk_close(&d);
}

Test(autograd, rewinding_leaves_the_gradient_of_an_earlier_leaf_alone) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3));
  th_var *v = th_leaf(d.tape, &x, NULL);
  th_tape_mark(d.tape);
  th_backward(th_sum(v, TH_ALL_AXES, false), NULL);
  th_tape_rewind(d.tape);
  memset(th_keep(d.tape, 1 << 12), 0x7f, 1 << 12); /* takes the place of what was given back */
  EXPECT_VALUES(&v->grad, 0, 1, 1, 1);
  desk_close(&d);
}

Test(autograd, a_leaf_that_nothing_used_has_a_gradient_of_zero) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3));
  th_var *used = th_leaf(d.tape, &x, NULL), *unused = th_leaf(d.tape, &x, NULL);
  th_backward(th_sum(used, TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&unused->grad, 0, 0, 0, 0);
  EXPECT_VALUES(&used->grad, 0, 1, 1, 1);
  desk_close(&d);
}

Test(autograd, a_constant_gets_no_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *fixed = th_constant(d.tape, &x), *v = desk_leaf(&d, &x, &gx);
  th_backward(th_sum(th_mul(v, fixed), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 0, 1, 2);
  cr_expect(!fixed->needs_grad && fixed->grad.data == NULL);
  desk_close(&d);
}

Test(autograd, detach_stops_the_gradient_and_keeps_the_numbers) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *v = desk_leaf(&d, &x, &gx), *square = th_mul(v, v);
  th_var *y = th_mul(th_detach(square), v);
  th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&y->value, 1e-15, 0, 1, 8);
  EXPECT_VALUES(&gx, 1e-15, 0, 1, 4); /* x^2 alone, not 3 x^2 */
  desk_close(&d);
}

Test(autograd, broadcast_inputs_get_the_sum_over_their_copies) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), b = desk_counted(&d, TH_F64, SHAPE(3)), gx, gb;
  th_var *vx = desk_leaf(&d, &x, &gx), *vb = desk_leaf(&d, &b, &gb);
  th_backward(th_sum(th_mul(vx, vb), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 0, 1, 2, 0, 1, 2);
  EXPECT_VALUES(&gb, 1e-15, 3, 5, 7);
  desk_close(&d);
}

/* ---- backward -------------------------------------------------------------------------------- */

Test(autograd, backward_weighs_a_result_by_the_gradient_given) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F32, SHAPE(2, 2)), seed = desk_counted(&d, TH_F32, SHAPE(2, 2)), gx;
  th_var *v = desk_leaf(&d, &x, &gx);
  cr_assert(th_backward(th_scale(v, 3), &seed) == TH_OK);
  EXPECT_VALUES(&gx, 0, 0, 3, 6, 9);
  desk_close(&d);
}

Test(autograd, backward_twice_on_one_graph_gives_the_same_gradients_again) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(5, 4)),
            w = desk_uniform(&d, TH_F64, -1, 1, SHAPE(3, 4)), gx, gw;
  th_var *y = th_softmax(th_linear(th_tanh(desk_leaf(&d, &x, &gx)), desk_leaf(&d, &w, &gw), NULL), NULL);
  th_var *loss = th_mean(th_mul(y, th_slice(y, 1, 0, 1)), TH_ALL_AXES, false);
  th_backward(loss, NULL);
  th_tensor first_x = desk_copy(&d, TH_F64, &gx), first_w = desk_copy(&d, TH_F64, &gw);
  th_fill(&gx, 0), th_fill(&gw, 0);
  th_backward(loss, NULL);
  cr_expect(largest_size(&gx) > 0.001);
  expect_near(&gx, &first_x, 0, "gradient of x");
  expect_near(&gw, &first_w, 0, "gradient of w");
  desk_close(&d);
}

/* Some layers of 64 by 64, each of which keeps memory for backward; `at_end` is what the tape took. */
static th_tensor deep_gradient(desk *d, bool release, size_t *at_end) {
  th_tensor x = desk_uniform(d, TH_F64, -1, 1, SHAPE(64, 64)),
            w = desk_uniform(d, TH_F64, -1, 1, SHAPE(64, 64)), gx, gw;
  th_tape_reset(d->tape);
  th_tape_release(d->tape, release);
  th_tape_train(d->tape, true);
  th_var *weight = desk_leaf(d, &w, &gw), *y = th_scale(desk_leaf(d, &x, &gx), 1);
  for (int layer = 0; layer < 6; layer++) {
    th_var *turned = th_transpose(th_reshape(y, 3, (int64_t[]){2, 32, 64}));
    th_var *f = th_reshape(th_contiguous(th_transpose(turned)), 2, (int64_t[]){64, 64});
    th_var *inner = th_dropout(th_spent(th_linear_relu(th_tanh(f), weight, NULL)), 0.25);
    y = th_add(y, th_spent(th_dropout(th_spent(th_linear_gelu_erf(inner, weight, NULL)), 0.25)));
    y = th_add(th_softmax(y, NULL), th_spent(th_linear(y, weight, NULL)));
  }
  th_var *loss = th_mean(th_mul(y, y), TH_ALL_AXES, false);
  cr_assert(th_backward(loss, NULL) == TH_OK);
  *at_end = th_tape_bytes(d->tape);
  cr_expect(th_tensor_get(&loss->value, 0) > 0 && th_tensor_get(&loss->grad, 0) == 1, "small ones are left");
  th_tensor both = desk_zeros(d, TH_F64, SHAPE(2, 4096));
  memcpy(both.data, gx.data, 4096 * sizeof(double));
  memcpy((double *)both.data + 4096, gw.data, 4096 * sizeof(double));
  return both;
}

Test(autograd, memory_is_released_and_computed_over_and_the_gradients_are_the_same_bits) {
  desk d = desk_open(), again = desk_open();
  size_t kept, released;
  th_tensor wanted = deep_gradient(&d, false, &kept), got = deep_gradient(&again, true, &released);
  cr_expect(first_difference(&got, &wanted, 0) < 0);
  cr_expect(released < kept * 2 / 3, "%zu bytes, %zu without", released, kept);
  desk_close(&again);
  desk_close(&d);
}

Test(autograd, backward_over_what_was_released_is_an_error_until_the_reset) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, -1, 1, SHAPE(3)), gx;
  th_tape_release(d.tape, true);
  th_var *y = th_sum(th_exp(desk_leaf(&d, &x, &gx)), TH_ALL_AXES, false);
  cr_expect(th_backward(y, NULL) == TH_OK);
  cr_expect(th_backward(y, NULL) == TH_EINVAL);
  cr_expect_str_eq(th_tape_error(d.tape)->text,
                   "sum: backward: the values were given back by the one before (th_tape_release)");
  th_tape_reset(d.tape);
  cr_expect(th_backward(th_sum(th_exp(desk_leaf(&d, &x, &gx)), TH_ALL_AXES, false), NULL) == TH_OK);
  desk_close(&d);
}

Test(autograd, backward_from_two_results_adds_both) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *v = desk_leaf(&d, &x, &gx), *square = th_mul(v, v);
  th_var *sum = th_sum(square, TH_ALL_AXES, false), *mean = th_mean(v, TH_ALL_AXES, false);
  th_backward(sum, NULL);
  th_backward(mean, NULL);
  EXPECT_VALUES(&gx, 1e-15, 1.0 / 3, 2 + 1.0 / 3, 4 + 1.0 / 3);
  desk_close(&d);
}

Test(autograd, backward_at_a_leaf_adds_one_to_its_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SCALAR), gx;
  th_var *v = desk_leaf(&d, &x, &gx);
  th_fill(&gx, 5);
  th_backward(v, NULL);
  EXPECT_VALUES(&gx, 0, 6);
  desk_close(&d);
}

Test(autograd, backward_takes_any_single_element_for_a_scalar) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_backward(th_sum(desk_leaf(&d, &x, &gx), TH_ALL_AXES, true), NULL);
  EXPECT_VALUES(&gx, 0, 1, 1, 1);
  desk_close(&d);
}

/* What backward says has no line: it is no op. */
static void expect_backward_refuses(th_var *root, const th_tensor *seed, th_status status, const char *text) {
  th_tape *tape = root->tape;
  cr_assert(th_backward(root, seed) == status, "%s", text);
  cr_assert(th_tape_error(tape) != NULL && th_tape_error(tape)->status == status);
  cr_assert_str_eq(th_tape_error(tape)->text, text);
  th_add(root, root);
  cr_assert_str_eq(th_tape_error(tape)->text, text, "a later op adds nothing to it");
  cr_assert(th_backward(root, NULL) == status, "and the error stays");
}

Test(autograd, backward_of_several_elements_wants_their_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3));
  expect_backward_refuses(th_neg(th_leaf(d.tape, &x, NULL)), NULL, TH_ESHAPE,
                          "neg: backward: [2,3] is not one element; give its gradient");
  desk_close(&d);
}

Test(autograd, backward_refuses_a_gradient_of_another_shape_or_type) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), other = desk_counted(&d, TH_F64, SHAPE(3, 2));
  th_tensor narrow = desk_counted(&d, TH_F32, SHAPE(2, 3));
  expect_backward_refuses(th_neg(th_leaf(d.tape, &x, NULL)), &other, TH_ESHAPE,
                          "neg: backward: the result is [2,3], the gradient given [3,2]");
  th_tape_reset(d.tape);
  expect_backward_refuses(th_neg(th_leaf(d.tape, &x, NULL)), &narrow, TH_EDTYPE,
                          "neg: backward: the result is f64, the gradient given f32");
  desk_close(&d);
}

Test(autograd, backward_of_constants_says_that_nothing_needs_a_gradient) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(1));
  expect_backward_refuses(th_neg(th_constant(d.tape, &x)), NULL, TH_EINVAL,
                          "neg: backward: nothing it depends on needs a gradient");
  desk_close(&d);
}

Test(autograd, an_op_that_fails_after_backward_still_has_its_line) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3));
  th_var *v = th_leaf(d.tape, &x, NULL);
  cr_assert(th_backward(th_sum(v, TH_ALL_AXES, false), NULL) == TH_OK);
  const int line = __LINE__ + 1;
  th_slice(v, 0, 0, 4);
  expect_error_at(d.tape, TH_ESHAPE, "slice: [3] has no 0 to 4 on axis 0", __FILE__, line);
  desk_close(&d);
}

/* ---- recording ------------------------------------------------------------------------------- */

Test(autograd, a_tape_that_does_not_record_computes_and_says_so_in_backward) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  cr_expect(th_tape_recording(d.tape));
  th_tape_record(d.tape, false);
  cr_expect(!th_tape_recording(d.tape));
  th_var *v = desk_leaf(&d, &x, &gx), *y = th_sum(th_mul(v, v), TH_ALL_AXES, false);
  EXPECT_VALUES(&y->value, 0, 5);
  cr_expect(!v->needs_grad && !y->needs_grad);
  expect_backward_refuses(y, NULL, TH_EINVAL, "sum: backward: nothing it depends on needs a gradient");
  EXPECT_VALUES(&gx, 0, 0, 0, 0);
  desk_close(&d);
}

Test(autograd, what_is_made_while_recording_is_off_is_a_constant_to_what_follows) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), gx;
  th_var *v = desk_leaf(&d, &x, &gx);
  th_tape_record(d.tape, false);
  th_var *square = th_mul(v, v);
  th_tape_record(d.tape, true);
  th_backward(th_sum(th_mul(square, v), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gx, 1e-15, 0, 1, 4);
  desk_close(&d);
}

Test(autograd, reset_gives_the_memory_back_and_keeps_the_settings) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(1000));
  th_tape_record(d.tape, false);
  th_exp(th_constant(d.tape, &x));
  cr_expect(th_tape_bytes(d.tape) >= 8000);
  th_tape_reset(d.tape);
  cr_expect(th_tape_bytes(d.tape) == 0);
  cr_expect(!th_tape_recording(d.tape));
  desk_close(&d);
}

Test(autograd, rewinding_gives_back_what_was_made_since_the_mark) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(1000)), gx;
  th_var *v = desk_leaf(&d, &x, &gx), *square = th_mul(v, v);
  th_tape_mark(d.tape);
  size_t used = th_tape_bytes(d.tape);
  for (int round = 0; round < 50; round++) {
    th_tape_rewind(d.tape);
    cr_assert(th_tape_bytes(d.tape) == used);
    th_fill(&gx, 0);
    cr_assert(th_backward(th_sum(th_scale(square, round), TH_ALL_AXES, false), NULL) == TH_OK);
    cr_assert(th_tensor_get(&square->value, 999) == 999 * 999);
    cr_assert(th_tensor_get(&gx, 999) == 2 * 999 * round);
  }
  th_tape_reset(d.tape);
  th_tape_rewind(d.tape); /* to an empty tape: the reset removed the mark */
  cr_expect(th_tape_bytes(d.tape) == 0);
  v = th_leaf(d.tape, &x, NULL);
  cr_expect(th_backward(th_sum(v, TH_ALL_AXES, false), NULL) == TH_OK);
  desk_close(&d);
}

/* ---- watched ---------------------------------------------------------------------------------------- */

typedef struct witness {
  const th_var *next;
  int passed;
  const th_tensor *grad;
  double seen; /* of the gradient's first element, when the first leaf was passed */
} witness;

static void see(void *context, const th_var *var) {
  witness *w = context;
  cr_assert(var == w->next, "number %d is another var", w->passed);
  w->next = var->previous;
  w->passed++;
  if (!var->op && isnan(w->seen)) w->seen = th_tensor_get(w->grad, 0);
}

Test(autograd, a_watcher_sees_each_var_from_the_last_to_the_first_and_a_leafs_gradient_done_when_it_passes) {
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(3)), g;
  th_var *leaf = desk_leaf(&d, &x, &g), *twice = th_add(leaf, leaf), *sum = th_sum(twice, TH_ALL_AXES, false);
  witness w = {.next = sum, .grad = &g, .seen = (double)NAN};
  th_tape_watch(d.tape, see, &w);
  cr_assert(th_backward(sum, NULL) == TH_OK);
  cr_expect(w.passed == 3 && !w.next, "%d", w.passed);
  cr_expect(w.seen == 2);
  th_tape_watch(d.tape, NULL, NULL);
  cr_assert(th_backward(sum, NULL) == TH_OK);
  cr_expect(w.passed == 3, "nobody watches any more");
  desk_close(&d);
}

/* ---- rows of a batch ----------------------------------------------------------------------------------- */

/* What dropout makes of rows [first, first + rows) of x, where the tape knows that they are of a larger batch. */
static th_tensor dropped(desk *d, const th_tensor *x, int64_t first, int64_t rows, th_var *drop(th_var *x)) {
  th_tensor part;
  th_tape_reset(d->tape);
  th_tape_train(d->tape, true);
  th_tape_seed(d->tape, 3, 5);
  th_tape_rows(d->tape, first, rows);
  th_view_slice(&part, x, 0, first, first + rows);
  th_var *y = drop(drop(th_constant(d->tape, &part))); /* the second draw is another */
  cr_assert(!th_tape_error(d->tape), "%s", th_tape_error(d->tape)->text);
  return desk_copy(d, TH_F64, &th_contiguous(y)->value);
}

static th_var *drop_elements(th_var *x) { return th_dropout(x, 0.4); }
static th_var *drop_weights(th_var *x) {
  return th_attention(x, x, x, &(th_attention_options){.dropout = 0.4, .way = TH_ATTEND_WHOLE});
}
static th_var *drop_weights_in_tiles(th_var *x) {
  return th_attention(x, x, x, &(th_attention_options){.dropout = 0.4, .way = TH_ATTEND_TILES});
}

static void expect_rows_as_in_the_whole(th_var *drop(th_var *x), const char *what) {
  desk d = desk_open();
  th_tensor x = desk_uniform(&d, TH_F64, 1, 2, SHAPE(7, 3, 5, 3)),
            part; /* rows of 45 numbers: no multiple of 4 */
  th_tensor whole = dropped(&d, &x, 0, 7, drop);
  for (int64_t first = 0; first < 7; first++)
    for (int64_t rows = 1; first + rows <= 7; rows++) {
      th_tensor got = dropped(&d, &x, first, rows, drop);
      th_view_slice(&part, &whole, 0, first, first + rows);
      cr_assert(first_difference(&got, &part, 1e-12) < 0, "%s: rows %d to %d", what, (int)first,
                (int)(first + rows));
    }
  desk_close(&d);
}

Test(autograd, dropout_treats_rows_of_a_batch_as_it_does_in_the_whole_one) {
  expect_rows_as_in_the_whole(drop_elements, "dropout");
  expect_rows_as_in_the_whole(drop_weights, "attention");
  expect_rows_as_in_the_whole(drop_weights_in_tiles, "attention in tiles");
}

Test(autograd, freeing_no_tape_does_nothing) { th_tape_free(NULL); }

/* ---- errors: kept, located, and without effect on what follows ------------------------------- */

Test(autograd, the_first_error_is_kept_with_op_shapes_and_line) {
  desk d = desk_open();
  th_tensor a = desk_zeros(&d, TH_F32, SHAPE(32, 64)), b = desk_zeros(&d, TH_F32, SHAPE(32, 64));
  th_var *x = th_constant(d.tape, &a), *y = th_constant(d.tape, &b);
  cr_assert(th_tape_error(d.tape) == NULL);
  const int line = __LINE__ + 1;
  th_matmul(x, y);
  expect_error_at(d.tape, TH_ESHAPE, "matmul: [32,64] x [32,64]: inner sizes 64 and 32 differ", __FILE__,
                  line);
  cr_expect(strstr(__FILE__, "test_autograd.c") != NULL);
  desk_close(&d);
}

Test(autograd, ops_after_an_error_do_nothing_and_leave_it_as_it_was) {
  desk d = desk_open();
  th_tensor a = desk_zeros(&d, TH_F32, SHAPE(2, 3)), ga, ids = desk_zeros(&d, TH_I32, SHAPE(2));
  th_var *x = desk_leaf(&d, &a, &ga);
  const int line = __LINE__ + 1;
  th_var *bad = th_slice(x, 1, 2, 9);
  size_t used = th_tape_bytes(d.tape);
  th_var *y = th_add(th_matmul(bad, x), th_linear(th_exp(bad), bad, bad));
  y = th_concat(2, (th_var *[]){y, th_reshape(bad, 1, (int64_t[]){-1})}, 0);
  y = th_permute(th_transpose(y), (int[]){5, 5});
  y = th_layer_norm(th_dropout(y, 2), y, th_contiguous(y), 0);
  y = th_max(th_sum(th_mean(y, TH_AXIS(4), true), 0, false), 0, true);
  y = th_softmax(th_broadcast(th_gather(y, &ids), 1, (int64_t[]){3}), &(th_mask){.causal = true});
  y = th_attention(y, th_attention_weights(y, y, NULL), th_detach(y), NULL);
  y = th_mul(y, th_cross_entropy(th_leaf(d.tape, &a, NULL), &ids, 9));
  cr_expect(th_backward(y, NULL) == TH_ESHAPE);
  cr_expect(th_tape_bytes(d.tape) == used, "nothing more was taken");
  expect_error_at(d.tape, TH_ESHAPE, "slice: [2,3] has no 2 to 9 on axis 1", __FILE__, line);
  EXPECT_VALUES(&ga, 0, 0, 0, 0, 0, 0, 0);
  desk_close(&d);
}

Test(autograd, reset_clears_the_error_and_the_tape_works_again) {
  desk d = desk_open();
  th_tensor a = desk_counted(&d, TH_F64, SHAPE(2, 3)), ga;
  th_slice(th_constant(d.tape, &a), 7, 0, 1);
  cr_assert(th_tape_error(d.tape) != NULL);
  th_tape_reset(d.tape);
  cr_assert(th_tape_error(d.tape) == NULL);
  th_var *x = desk_leaf(&d, &a, &ga);
  cr_assert(th_backward(th_sum(x, TH_ALL_AXES, false), NULL) == TH_OK);
  EXPECT_VALUES(&ga, 0, 1, 1, 1, 1, 1, 1);
  const int line = __LINE__ + 1;
  th_slice(x, 7, 0, 1);
  expect_error_at(d.tape, TH_ESHAPE, "slice: [2,3] has no 0 to 1 on axis 7", __FILE__, line);
  desk_close(&d);
}

Test(autograd, leaves_refuse_types_that_are_not_real_and_gradients_that_do_not_fit) {
  desk d = desk_open();
  th_tensor ids = desk_zeros(&d, TH_I32, SHAPE(2)), a = desk_zeros(&d, TH_F32, SHAPE(2, 3)), turned;
  th_tensor b = desk_zeros(&d, TH_F32, SHAPE(3, 2)), wide = desk_zeros(&d, TH_F64, SHAPE(2, 3));
  const char *fit = "leaf: value and gradient must be contiguous, of one shape and type";
  th_constant(d.tape, &ids);
  cr_expect_str_eq(th_tape_error(d.tape)->text, "leaf: i32 is no type to compute with; f32 and f64 are");
  th_view_permute(&turned, &b, (int[]){1, 0});
  const th_tensor *pairs[][2] = {{&a, &b}, {&a, &wide}, {&a, &turned}, {&turned, NULL}};
  for (int i = 0; i < 4; i++) {
    th_tape_reset(d.tape);
    th_leaf(d.tape, pairs[i][0], pairs[i][1]);
    cr_assert(th_tape_error(d.tape) != NULL, "pair %d", i);
    cr_expect_str_eq(th_tape_error(d.tape)->text, fit);
  }
  desk_close(&d);
}

/* ---- the error of each op -------------------------------------------------------------------- */

/* What the failing ops below work on. */
typedef struct props {
  desk d;
  th_var *a23, *a24, *a34, *a5, *scalar, *wide23, *cube, *qkv, *other;
  th_tensor ids, ids7, flat7, negative, targets4, real_ids, real_mask, mask;
} props;

static th_var *constant_of(desk *d, th_dtype dtype, int ndim, const int64_t *shape) {
  th_tensor x = desk_uniform(d, dtype, 0.5, 1, ndim, shape);
  return th_constant(d->tape, &x);
}

static void set_up(props *p, th_tape *other) {
  desk *d = &p->d;
  th_tensor x = desk_zeros(d, TH_F32, SHAPE(2, 3));
  p->a23 = constant_of(d, TH_F32, SHAPE(2, 3)), p->a24 = constant_of(d, TH_F32, SHAPE(2, 4));
  p->a34 = constant_of(d, TH_F32, SHAPE(3, 4)), p->a5 = constant_of(d, TH_F32, SHAPE(5));
  p->scalar = constant_of(d, TH_F32, SCALAR), p->wide23 = constant_of(d, TH_F64, SHAPE(2, 3));
  p->cube = constant_of(d, TH_F32, SHAPE(2, 3, 4)), p->qkv = constant_of(d, TH_F32, SHAPE(1, 2, 3, 4));
  p->other = th_constant(other, &x);
  p->ids = desk_zeros(d, TH_I32, SHAPE(2)), p->ids7 = desk_zeros(d, TH_I32, SHAPE(1, 2));
  p->flat7 = desk_zeros(d, TH_I32, SHAPE(2));
  th_tensor_set(&p->ids7, 1, 7), th_tensor_set(&p->flat7, 1, 7);
  p->negative = desk_zeros(d, TH_I32, SHAPE(2)), p->targets4 = desk_zeros(d, TH_I32, SHAPE(4));
  th_tensor_set(&p->negative, 1, -1);
  p->real_ids = desk_zeros(d, TH_F32, SHAPE(2)), p->real_mask = desk_zeros(d, TH_F32, SHAPE(3));
  p->mask = desk_zeros(d, TH_U8, SHAPE(3, 5));
}

/* X(number, status, what the op says, the op) */
#define EACH_FAILURE(X) \
  X(1, TH_ESHAPE, "add: [2,3] and [2,4] do not broadcast: sizes must be equal or 1", th_add(p->a23, p->a24)) \
  X(2, TH_ESHAPE, "sub: [3,4] and [5] do not broadcast: sizes must be equal or 1", th_sub(p->a34, p->a5)) \
  X(3, TH_ESHAPE, "mul: [2,3] and [3,4] do not broadcast: sizes must be equal or 1", th_mul(p->a23, p->a34)) \
  X(4, TH_ESHAPE, "div: [5] and [2,3] do not broadcast: sizes must be equal or 1", th_div(p->a5, p->a23)) \
  X(5, TH_EDTYPE, "add: input 0 is f32, input 1 is f64", th_add(p->a23, p->wide23)) \
  X(6, TH_EDTYPE, "matmul: input 0 is f64, input 1 is f32", th_matmul(p->wide23, p->a34)) \
  X(7, TH_EDTYPE, "linear: input 0 is f32, input 1 is f64", th_linear(p->a23, p->wide23, NULL)) \
  X(8, TH_EDTYPE, "layer_norm: input 0 is f64, input 1 is f32", th_layer_norm(p->wide23, p->a5, p->a5, 0)) \
  X(9, TH_EINVAL, "mul: input 1 is on another tape", th_mul(p->a23, p->other)) \
  X(10, TH_EINVAL, "concat: input 2 is on another tape", \
    th_concat(3, (th_var *[]){p->a23, p->a23, p->other}, 0)) \
  X(11, TH_ESHAPE, "matmul: [2,3] x [2,4]: inner sizes 3 and 2 differ", th_matmul(p->a23, p->a24)) \
  X(12, TH_ESHAPE, "matmul: [5] x [2,3]: both need at least two axes", th_matmul(p->a5, p->a23)) \
  X(13, TH_ESHAPE, "matmul: [2,3,4] x [3,4,2]: leading sizes must be equal or 1", \
    th_matmul(p->cube, th_permute(p->cube, (int[]){1, 2, 0}))) \
  X(14, TH_ESHAPE, "linear: [2,3] with weight [3,4]: input sizes 3 and 4 differ", \
    th_linear(p->a23, p->a34, NULL)) \
  X(15, TH_ESHAPE, "linear: bias [5] with weight [3,4]: want [3]", th_linear(p->a24, p->a34, p->a5)) \
  X(92, TH_EINVAL, "take_rows: row 1 is taken twice", \
    th_take_rows( \
        p->a23, \
        &(th_tensor){.data = (int32_t[]){1, 1}, .dtype = TH_I32, .ndim = 1, .shape = {2}, .stride = {1}})) \
  X(93, TH_EINVAL, "take_rows: id 2 at element 1 is not below 2", \
    th_take_rows( \
        p->a23, \
        &(th_tensor){.data = (int32_t[]){-1, 2}, .dtype = TH_I32, .ndim = 1, .shape = {2}, .stride = {1}})) \
  X(94, TH_EINVAL, "take_rows: id -2 at element 0 is negative", \
    th_take_rows( \
        p->a23, \
        &(th_tensor){.data = (int32_t[]){-2, 0}, .dtype = TH_I32, .ndim = 1, .shape = {2}, .stride = {1}})) \
  X(91, TH_ESHAPE, "linear_relu: [2,3] with weight [3,4]: input sizes 3 and 4 differ", \
    th_linear_relu(p->a23, p->a34, NULL)) \
  X(95, TH_ESHAPE, "linear_gelu_tanh: [2,3] with weight [5]: want [..,in] and [out,in]", \
    th_linear_gelu_tanh(p->a23, p->a5, NULL)) \
  X(96, TH_ESHAPE, "linear_gelu_erf: bias [3,4] with weight [3,4]: want [3]", \
    th_linear_gelu_erf(p->a34, p->a34, p->a34)) \
  X(16, TH_ESHAPE, "linear: [2,3] with weight [5]: want [..,in] and [out,in]", \
    th_linear(p->a23, p->a5, NULL)) \
  X(17, TH_ESHAPE, "linear: [] with weight [3,4]: want [..,in] and [out,in]", \
    th_linear(p->scalar, p->a34, NULL)) \
  X(18, TH_ESHAPE, "reshape: [2,3] has 6 elements, [4,2] has not", th_reshape(p->a23, 2, (int64_t[]){4, 2})) \
  X(19, TH_ESHAPE, "reshape: [2,3] has 6 elements, [4,1] has not", \
    th_reshape(p->a23, 2, (int64_t[]){4, -1})) \
  X(20, TH_ESHAPE, "reshape: [2,3] has 6 elements, [-1,-1] has not", \
    th_reshape(p->a23, 2, (int64_t[]){-1, -1})) \
  X(21, TH_EINVAL, "permute: the axes for [2,3] are not each named once", th_permute(p->a23, (int[]){0, 0})) \
  X(22, TH_EINVAL, "permute: the axes for [2,3] are not each named once", th_permute(p->a23, (int[]){0, 2})) \
  X(23, TH_ESHAPE, "slice: [2,3] has no 1 to 4 on axis 1", th_slice(p->a23, 1, 1, 4)) \
  X(24, TH_ESHAPE, "slice: [2,3] has no 2 to 1 on axis 0", th_slice(p->a23, 0, 2, 1)) \
  X(25, TH_ESHAPE, "slice: [2,3] has no 0 to 1 on axis -1", th_slice(p->a23, -1, 0, 1)) \
  X(26, TH_ESHAPE, "broadcast: [2,3] to [2,4]: sizes must be equal or 1", \
    th_broadcast(p->a23, 2, (int64_t[]){2, 4})) \
  X(27, TH_ESHAPE, "concat: [2,3] and [3,4] differ beside axis 0", \
    th_concat(2, (th_var *[]){p->a23, p->a34}, 0)) \
  X(28, TH_ESHAPE, "concat: [2,3] and [5] differ beside axis 0", \
    th_concat(2, (th_var *[]){p->a23, p->a5}, 0)) \
  X(29, TH_ESHAPE, "concat: [2,3] has no axis 2", th_concat(2, (th_var *[]){p->a23, p->a23}, 2)) \
  X(30, TH_ESHAPE, "sum: [2,3] has only 2 axes", th_sum(p->a23, TH_AXIS(2), false)) \
  X(31, TH_ESHAPE, "mean: [5] has only 1 axes", th_mean(p->a5, TH_AXIS(0) | TH_AXIS(1), false)) \
  X(32, TH_ESHAPE, "max: nothing has no largest element", \
    th_max(th_slice(p->a5, 0, 2, 2), TH_AXIS(0), false)) \
  X(33, TH_EINVAL, "gather: id 7 at element 1 is not below 2", th_gather(p->a23, &p->ids7)) \
  X(34, TH_EINVAL, "gather: id -1 at element 1 is negative", th_gather(p->a23, &p->negative)) \
  X(35, TH_EDTYPE, "gather: ids [2] are f32, not i32", th_gather(p->a23, &p->real_ids)) \
  X(36, TH_ESHAPE, "gather: table [5] by ids [2]: want [n,width] and fewer axes", th_gather(p->a5, &p->ids)) \
  X(37, TH_ESHAPE, "softmax: a single element has no row", th_softmax(p->scalar, NULL)) \
  X(38, TH_ESHAPE, "softmax: a causal mask needs queries and keys, not [5]", \
    th_softmax(p->a5, &(th_mask){.causal = true})) \
  X(39, TH_EDTYPE, "softmax: the mask is f32, not u8", \
    th_softmax(p->a23, &(th_mask){.allowed = &p->real_mask})) \
  X(40, TH_ESHAPE, "log_softmax: mask [3,5] does not broadcast to the scores [2,3]", \
    th_log_softmax(p->a23, &(th_mask){.allowed = &p->mask})) \
  X(41, TH_ESHAPE, "layer_norm: [2,3] with weight [5] and bias [5]: want [..,n], [n], [n]", \
    th_layer_norm(p->a23, p->a5, p->a5, 1e-5)) \
  X(42, TH_EINVAL, "dropout: probability 1 is not in [0, 1)", th_dropout(p->a23, 1)) \
  X(43, TH_EINVAL, "dropout: probability -0.5 is not in [0, 1)", th_dropout(p->a23, -0.5)) \
  X(44, TH_EINVAL, "dropout: probability nan is not in [0, 1)", th_dropout(p->a23, (double)NAN)) \
  X(45, TH_ESHAPE, "cross_entropy: logits [2,3] with targets [4]: want [..,n] and [..]", \
    th_cross_entropy(p->a23, &p->targets4, 0)) \
  X(46, TH_EINVAL, "cross_entropy: label smoothing 1.5 is not in 0..1", \
    th_cross_entropy(p->a23, &p->ids, 1.5)) \
  X(47, TH_EDTYPE, "cross_entropy: ids [2] are f32, not i32", th_cross_entropy(p->a23, &p->real_ids, 0)) \
  X(48, TH_EINVAL, "cross_entropy: id 7 at element 1 is not below 3", \
    th_cross_entropy(p->a23, &p->flat7, 0)) \
  X(49, TH_ESHAPE, \
    "attention: q [1,2,3,4], k [2,3,4], v [1,2,3,4]: want [B,H,Tq,D], [B,H,Tk,D], [B,H,Tk,V]", \
    th_attention(p->qkv, p->cube, p->qkv, NULL)) \
  X(50, TH_ESHAPE, \
    "attention: q [1,2,3,4], k [1,2,2,4], v [1,2,3,4]: want [B,H,Tq,D], [B,H,Tk,D], [B,H,Tk,V]", \
    th_attention(p->qkv, th_slice(p->qkv, 2, 0, 2), p->qkv, NULL)) \
  X(51, TH_ESHAPE, "attention: bias [5] does not broadcast to the scores [1,2,3,3]", \
    th_attention(p->qkv, p->qkv, p->qkv, &(th_attention_options){.bias = p->a5})) \
  X(52, TH_EDTYPE, "attention: the mask is f32, not u8", \
    th_attention(p->qkv, p->qkv, p->qkv, &(th_attention_options){.mask.allowed = &p->real_mask})) \
  X(53, TH_ESHAPE, "attention: mask [3,5] does not broadcast to the scores [1,2,3,3]", \
    th_attention(p->qkv, p->qkv, p->qkv, &(th_attention_options){.mask.allowed = &p->mask})) \
  X(54, TH_EINVAL, "attention: dropout 1 is not in [0, 1)", \
    th_attention(p->qkv, p->qkv, p->qkv, &(th_attention_options){.dropout = 1})) \
  X(55, TH_EDTYPE, "attention: input 0 is f32, input 2 is f64", \
    th_attention(p->qkv, p->qkv, constant_of(&p->d, TH_F64, SHAPE(1, 2, 3, 4)), NULL)) \
  X(56, TH_ESHAPE, "gather: table [2,3] by ids [1,1,1,1,1,1]: want [n,width] and fewer axes", \
    th_gather(p->a23, &(th_tensor){.dtype = TH_I32, .ndim = 6, .shape = {1, 1, 1, 1, 1, 1}})) \
  X(57, TH_ESHAPE, "matmul: [2,3] x [3]: both need at least two axes", \
    th_matmul(p->a23, th_slice(p->a5, 0, 0, 3))) \
  X(58, TH_ESHAPE, "reshape: [2,3] has 6 elements, [4294967296,4294967296,6] has not", \
    th_reshape(p->a23, 3, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32, 6})) \
  X(59, TH_ESHAPE, "reshape: [2,3] has 6 elements, [-1,4294967296,4294967296] has not", \
    th_reshape(p->a23, 3, (int64_t[]){-1, (int64_t)1 << 32, (int64_t)1 << 32})) \
  X(60, TH_ESHAPE, "broadcast: a result of this size does not exist", \
    th_broadcast(p->scalar, 2, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32})) \
  X(61, TH_ESHAPE, "rotary: [2,3,4] by turns [2,4]: want [..,T,D] and dense rows [T,D] with an even D", \
    th_rotary(p->cube, &p->a24->value)) \
  X(62, TH_ESHAPE, "rotary: [2,3] by turns [2,3]: want [..,T,D] and dense rows [T,D] with an even D", \
    th_rotary(p->a23, &p->a23->value)) \
  X(63, TH_EDTYPE, "rotary: x is f32, the turns are f64", \
    th_rotary(p->a24, &constant_of(&p->d, TH_F64, SHAPE(2, 4))->value)) \
  X(64, TH_ESHAPE, \
    "attention: q [1,2,3,4], k [1,3,3,4], v [1,2,3,4]: the heads of keys and of values must divide those " \
    "of queries", \
    th_attention(p->qkv, constant_of(&p->d, TH_F32, SHAPE(1, 3, 3, 4)), p->qkv, NULL)) \
  X(65, TH_EINVAL, "attention: a window of -1 keys: want 1 or more, or 0 for none", \
    th_attention(p->qkv, p->qkv, p->qkv, &(th_attention_options){.mask.window = -1})) \
  X(66, TH_ESHAPE, "softmax: a window's mask needs queries and keys, not [5]", \
    th_softmax(p->a5, &(th_mask){.window = 2})) \
  X(67, TH_ESHAPE, \
    "linear_attention: q [1,2,3,4], k [1,2,2,4], v [1,2,3,4]: want [B,H,Tq,D], [B,H,Tk,D], [B,H,Tk,V]", \
    th_linear_attention(p->qkv, th_slice(p->qkv, 2, 0, 2), p->qkv, NULL)) \
  X(68, TH_ESHAPE, "linear_attention: q [1,2,2,4], k [1,2,3,4]: causal, it wants as many queries as keys", \
    th_linear_attention(th_slice(p->qkv, 2, 0, 2), p->qkv, p->qkv, \
                        &(th_linear_attention_options){.causal = true})) \
  X(69, TH_EINVAL, "linear_attention: a state has no gradient: want a tape that does not record", \
    th_linear_attention(p->qkv, p->qkv, p->qkv, &(th_linear_attention_options){.state = &p->a24->value})) \
  X(70, TH_ESHAPE, "linear_attention: state [2,4] of f32: want [1,2,4,5] of f32, contiguous", \
    (th_tape_record(p->d.tape, false), \
     th_linear_attention(p->qkv, p->qkv, p->qkv, &(th_linear_attention_options){.state = &p->a24->value}))) \
  X(71, TH_ESHAPE, "lsh_attention: qk [1,2,3,4], v [1,2,2,4]: want [B,H,T,D], [B,H,T,V]", \
    th_lsh_attention(p->qkv, th_slice(p->qkv, 2, 0, 2), &(th_lsh_options){.rounds = 1, .chunk = 2})) \
  X(72, TH_EINVAL, "lsh_attention: 0 rounds, chunks of 2: want 1 to 1024 rounds, chunks of 1 or more", \
    th_lsh_attention(p->qkv, p->qkv, &(th_lsh_options){.chunk = 2})) \
  X(73, TH_EINVAL, "lsh_attention: 3 buckets: want an even number, at most 1048576, or 1 for no hashing", \
    th_lsh_attention(p->qkv, p->qkv, &(th_lsh_options){.rounds = 1, .chunk = 2, .buckets = 3})) \
  X(78, TH_EINVAL, "lsh_attention: 1025 rounds, chunks of 2: want 1 to 1024 rounds, chunks of 1 or more", \
    th_lsh_attention(p->qkv, p->qkv, &(th_lsh_options){.rounds = 1025, .chunk = 2, .buckets = 2})) \
  X(74, TH_ESHAPE, "reversible: a stream [2,3] and what is added [5]: want one shape", \
    th_reversible(th_stream(p->a23), p->a5, 0, NULL, itself, NULL, 0)) \
  X(75, TH_ESHAPE, "streams_end: streams [2,3] and [5]: want one shape", th_streams_end(p->a23, p->a5)) \
  X(76, TH_ESHAPE, "recompute: matmul: [2,3] x [2,3]: inner sizes 3 and 2 differ", \
    th_recompute(p->a23, 0, NULL, times_itself, NULL, 0)) \
  X(77, TH_EINVAL, "reversible: what is written over is no stream: want th_stream's result", \
    th_reversible(p->a23, th_stream(p->a23), 0, NULL, itself, NULL, 0)) \
  X(79, TH_EINVAL, "recompute: more inputs than a branch can take", \
    th_recompute(p->a23, TH_BRANCH_MORE + 1, (th_var * [TH_BRANCH_MORE + 1]){0}, itself, NULL, 0))

static th_var *itself(th_var *x, th_var *const *others, const void *context) {
  (void)others, (void)context;
  return x;
}

static th_var *times_itself(th_var *x, th_var *const *others, const void *context) {
  (void)others, (void)context;
  return th_matmul(x, x);
}

#define DEFINE_FAILURE(number, status, text, op) \
  static th_var *failure_##number(props *p) { return op; }
EACH_FAILURE(DEFINE_FAILURE)

#define LIST_FAILURE(number, status, text, op) {status, text, failure_##number},
static const struct {
  th_status status;
  const char *text;
  th_var *(*op)(props *p);
} failures[] = {EACH_FAILURE(LIST_FAILURE)};

Test(autograd, every_op_says_in_one_line_what_does_not_fit) {
  th_tape *other = th_tape_new(NULL);
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    props p = {.d = desk_open()};
    char wanted[600];
    set_up(&p, other);
    th_tape_train(p.d.tape, true);
    expect_no_error(p.d.tape);
    failures[i].op(&p);
    const th_error *error = th_tape_error(p.d.tape);
    snprintf(wanted, sizeof wanted, "%s (%s:", failures[i].text, __FILE__);
    cr_assert(error != NULL, "no error; wanted: %s", wanted);
    cr_expect(!strncmp(error->text, wanted, strlen(wanted)), "got:    %s\nwanted: %s..)", error->text,
              wanted);
    cr_expect(error->status == failures[i].status, "status %d: %s", error->status, error->text);
    cr_expect(strchr(error->text, '\n') == NULL);
    desk_close(&p.d);
  }
  th_tape_free(other);
}

Test(autograd, every_op_that_can_fail_is_among_the_failures) {
  static const char *const any_shape = " scale neg exp log sqrt tanh sigmoid relu elu_plus_one gelu_tanh "
                                       "gelu_erf hard_concrete contiguous stream ";
  int count;
  const th_op *const *ops = th_ops(&count);
  for (int i = 0; i < count; i++) {
    char start[64], word[64];
    snprintf(start, sizeof start, "%s: ", ops[i]->name);
    snprintf(word, sizeof word, " %s ", ops[i]->name);
    bool named = strstr(any_shape, word) != NULL;
    for (size_t f = 0; f < sizeof failures / sizeof *failures; f++)
      if (!strncmp(failures[f].text, start, strlen(start))) named = true;
    cr_expect(named, "no failure of %s is tried", ops[i]->name);
  }
}

/* ---- anomaly mode ---------------------------------------------------------------------------- */

static th_var *leaf_of(desk *d, int ndim, const int64_t *shape, const double *values) {
  th_tensor x = desk_zeros(d, TH_F64, ndim, shape);
  for (int64_t i = 0, n = th_tensor_count(&x); i < n; i++) th_tensor_set(&x, i, values[i]);
  return th_leaf(d->tape, &x, NULL);
}

Test(autograd, anomaly_mode_names_the_op_of_the_first_nan_forward) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_var *x = leaf_of(&d, SHAPE(2, 2), (double[]){1, 2, -3, 4});
  const int line = __LINE__ + 1;
  th_var *y = th_log(x);
  th_exp(th_mul(y, y));
  expect_error_at(d.tape, TH_ENAN, "log: result [2,2] has a NaN at element 2", __FILE__, line);
  desk_close(&d);
}

Test(autograd, anomaly_mode_names_the_input_that_brought_a_nan) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_var *x = leaf_of(&d, SHAPE(2, 2), (double[]){1, 2, -3, 4}), *y = th_neg(x);
  th_var *w = leaf_of(&d, SHAPE(2, 3), (double[]){1, 2, 3, 4, NAN, 6});
  const int line = __LINE__ + 1;
  th_neg(th_matmul(y, w));
  expect_error_at(d.tape, TH_ENAN, "matmul: input 1 [2,3] has a NaN at element 4", __FILE__, line);
  th_tape_reset(d.tape);
  w = leaf_of(&d, SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, -(double)INFINITY});
  const int next = __LINE__ + 1;
  th_gather(w, &(th_tensor){.data = (int32_t[]){1}, .dtype = TH_I32});
  expect_error_at(d.tape, TH_ENAN, "gather: input 0 [2,3] has an infinity at element 5", __FILE__, next);
  desk_close(&d);
}

Test(autograd, anomaly_mode_names_the_op_of_the_first_infinity_forward) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_var *x = leaf_of(&d, SHAPE(3), (double[]){1, 2, 0});
  const int line = __LINE__ + 1;
  th_div(x, x);
  expect_error_at(d.tape, TH_ENAN, "div: result [3] has a NaN at element 2", __FILE__, line);
  th_tape_reset(d.tape);
  x = leaf_of(&d, SHAPE(3), (double[]){1, 2, 0});
  const int next = __LINE__ + 1;
  th_log(x);
  expect_error_at(d.tape, TH_ENAN, "log: result [3] has an infinity at element 2", __FILE__, next);
  desk_close(&d);
}

Test(autograd, anomaly_mode_names_the_op_of_the_first_infinity_backward) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_var *x = leaf_of(&d, SHAPE(3), (double[]){4, 0, 1});
  const int line = __LINE__ + 1;
  th_var *y = th_sqrt(th_scale(x, 2));
  cr_assert(th_backward(th_sum(y, TH_ALL_AXES, false), NULL) == TH_ENAN);
  expect_error_at(d.tape, TH_ENAN, "sqrt: gradient of input 0 [3] has an infinity at element 1", __FILE__,
                  line);
  desk_close(&d);
}

Test(autograd, anomaly_mode_looks_into_gradients_of_views) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_var *x = leaf_of(&d, SHAPE(2, 2), (double[]){1, 1e-158, 1, 1}), *turned = th_transpose(x);
  th_var *c = leaf_of(&d, SHAPE(2, 2), (double[]){0, 0, 1e150, 0});
  const int line = __LINE__ + 1;
  th_var *y = th_div(c, turned); /* d y / d x is c / x^2: no number in double */
  cr_assert(th_backward(th_sum(y, TH_ALL_AXES, false), NULL) == TH_ENAN);
  expect_error_at(d.tape, TH_ENAN, "div: gradient of input 1 [2,2] has an infinity at element 2", __FILE__,
                  line);
  desk_close(&d);
}

Test(autograd, anomaly_mode_lets_log_probabilities_be_minus_infinity) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  uint8_t allowed[] = {1, 0, 1};
  th_tensor mask = th_tensor_of(allowed, TH_U8, SHAPE(3));
  th_var *x = leaf_of(&d, SHAPE(3), (double[]){1, 2, 3});
  th_var *y = th_slice(th_log_softmax(x, &(th_mask){.allowed = &mask}), 0, 0, 1);
  cr_expect(th_backward(y, NULL) == TH_OK);
  expect_no_error(d.tape);
  desk_close(&d);
}

Test(autograd, without_anomaly_mode_nan_flows) {
  desk d = desk_open();
  th_var *x = leaf_of(&d, SHAPE(3), (double[]){1, -2, 4}), *y = th_sqrt(th_log(x));
  cr_assert(th_backward(th_sum(y, TH_ALL_AXES, false), NULL) == TH_OK);
  expect_no_error(d.tape);
  cr_expect(isnan(at(&y->value, 1)) && !isnan(at(&y->value, 2)));
  cr_expect(isnan(at(&x->grad, 1)) && !isnan(at(&x->grad, 2)));
  desk_close(&d);
}

Test(autograd, anomaly_mode_has_nothing_to_say_of_finite_numbers) {
  desk d = desk_open();
  th_tape_anomaly(d.tape, true);
  th_var *x = leaf_of(&d, SHAPE(3), (double[]){1, 2, 4}), *y = th_sqrt(th_exp(x));
  cr_assert(th_backward(th_sum(y, TH_ALL_AXES, false), NULL) == TH_OK);
  expect_no_error(d.tape);
  desk_close(&d);
}

/* ---- an op of one's own ---------------------------------------------------------------------- */

/* y = factor x^3, refusing tensors of more than one axis. */
static bool cube_forward(th_var *out) {
  const th_tensor *x = &out->in[0]->value;
  double factor = *(const double *)out->settings;
  if (x->ndim != 1) return th_fail(out, TH_ESHAPE, "%d axes, want 1", x->ndim);
  double *kept = out->saved = th_keep(out->tape, sizeof *kept);
  if (!kept || !th_make_like(out, x)) return false;
  *kept = 3 * factor;
  for (int64_t i = 0; i < x->shape[0]; i++)
    th_tensor_set(&out->value, i, factor * pow(th_tensor_get(x, i), 3));
  return true;
}

static void cube_backward(th_var *out) {
  const th_tensor *gx = th_grad(out->in[0]), *x = &out->in[0]->value;
  double three_factors = *(const double *)out->saved;
  for (int64_t i = 0; gx && i < x->shape[0]; i++) {
    double slope = three_factors * pow(th_tensor_get(x, i), 2) * th_tensor_get(&out->grad, i);
    th_tensor_set(gx, i, th_tensor_get(gx, i) + slope);
  }
}

static const th_op cube_op = {.name = "cube", .forward = cube_forward, .backward = cube_backward};

Test(autograd, an_op_of_ones_own_computes_and_differentiates) {
  desk d = desk_open();
  th_var *x = leaf_of(&d, SHAPE(3), (double[]){1, -2, 0.5});
  double factor = 2;
  th_var *y = th_apply(&cube_op, 1, &x, &factor, sizeof factor);
  factor = 1000; /* the settings were copied */
  th_backward(th_sum(th_add(y, x), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&y->value, 1e-15, 2, -16, 0.25);
  EXPECT_VALUES(&x->grad, 1e-14, 7, 25, 2.5);
  cr_expect(y->op == &cube_op && y->inputs == 1 && y->in[0] == x);
  desk_close(&d);
}

Test(autograd, an_op_of_ones_own_fails_under_its_own_name) {
  desk d = desk_open();
  th_var *x = leaf_of(&d, SHAPE(1, 3), (double[]){1, -2, 0.5});
  const int line = __LINE__ + 1;
  th_apply(&cube_op, 1, &x, &(double){1}, sizeof(double));
  expect_error_at(d.tape, TH_ESHAPE, "cube: 2 axes, want 1", __FILE__, line);
  desk_close(&d);
}

/* Every second element: a view, so that there is no backward to write. */
static bool evens_forward(th_var *out) {
  th_tensor view = out->in[0]->value;
  view.shape[0] = (view.shape[0] + 1) / 2;
  view.stride[0] *= 2;
  return th_make_view(out, out->in[0], &view);
}

static const th_op evens_op = {.name = "evens", .forward = evens_forward};

Test(autograd, a_view_of_ones_own_needs_no_backward) {
  desk d = desk_open();
  th_var *x = leaf_of(&d, SHAPE(5), (double[]){1, 2, 3, 4, 5}), *y = th_apply(&evens_op, 1, &x, NULL, 0);
  th_backward(th_sum(th_mul(y, y), TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&y->value, 0, 1, 3, 5);
  EXPECT_VALUES(&x->grad, 0, 2, 0, 6, 0, 10);
  desk_close(&d);
}

/* ---- profile -------------------------------------------------------------------------------------- */

static th_var *squared(th_var *x, th_var *const *others, const void *context) {
  (void)others, (void)context;
  return th_mul(x, x);
}

typedef struct wanted_event {
  const char *name;
  bool backward;
  int depth;
  double flops, bytes;
} wanted_event;

Test(autograd, a_profile_has_an_event_for_each_op_and_whatever_else_is_named) {
  /* x [2,3], w [4,3], in double */
  static const wanted_event wanted[] = {{"all", false, 0, 0, 0},
                                        {"linear", false, 1, 2 * 2 * 3 * 4, 8 * (6 + 12 + 8)},
                                        {"reshape", false, 1, 0, 0},
                                        {"recompute", false, 1, 0, 8 * (8 + 8)},
                                        {"mul", false, 2, 0, 8 * 3 * 8},
                                        {"sum", false, 1, 0, 8 * (8 + 1)},
                                        {"sum", true, 1, 0, 8 * (3 * 8 + 1)},
                                        {"recompute", true, 1, 0, 8 * (3 * 8 + 8)},
                                        {"mul", false, 2, 0, 8 * 3 * 8},
                                        {"mul", true, 2, 0, 8 * (2 * 3 * 8 + 8)},
                                        {"linear", true, 1, 2 * 2 * 3 * 4, 8 * (6 + 3 * 12 + 8)}};
  desk d = desk_open();
  th_tensor x = desk_counted(&d, TH_F64, SHAPE(2, 3)), w = desk_counted(&d, TH_F64, SHAPE(4, 3)), gw;
  th_profile *profile = th_profile_new();
  th_tape_profile(d.tape, profile);
  th_profile_begin(profile, "all");
  th_var *y = th_linear(th_constant(d.tape, &x), desk_leaf(&d, &w, &gw), NULL); /* x wants no gradient */
  y = th_sum(th_recompute(th_reshape(y, 1, (int64_t[]){8}), 0, NULL, squared, NULL, 0), TH_ALL_AXES, false);
  th_backward(y, NULL);
  th_profile_end(profile);
  th_tape_profile(d.tape, NULL);
  th_neg(y); /* nobody looks any more */
  expect_no_error(d.tape);
  int64_t count;
  const th_profile_event *e = th_profile_events(profile, &count);
  cr_assert_eq(count, (int64_t)(sizeof wanted / sizeof *wanted));
  double inside = 0, now = 0;
  for (int i = 0; i < count; i++) {
    cr_expect_str_eq(e[i].name, wanted[i].name);
    cr_expect(e[i].backward == wanted[i].backward && e[i].depth == wanted[i].depth, "%s", e[i].name);
    cr_expect(e[i].flops == wanted[i].flops, "%s: %g flops", e[i].name, e[i].flops);
    cr_expect(e[i].bytes == wanted[i].bytes, "%s: %g bytes", e[i].name, e[i].bytes);
    cr_expect(e[i].begin >= now && e[i].self >= 0 && e[i].self <= e[i].seconds, "%s", e[i].name);
    now = e[i].begin;
    inside += e[i].self;
  }
  cr_expect(fabs(inside - e[0].seconds) < 1e-9, "what events take by themselves is what all takes");
  th_profile_free(profile);
  desk_close(&d);
}

Test(autograd, a_profile_counts_the_products_of_attention_and_matmul) {
  desk d = desk_open();
  th_tensor q = desk_counted(&d, TH_F64, SHAPE(2, 4, 5, 3)), k = desk_counted(&d, TH_F64, SHAPE(2, 4, 7, 3)),
            v = desk_counted(&d, TH_F64, SHAPE(2, 4, 7, 6)), g;
  th_profile *profile = th_profile_new();
  int64_t count;
  double flops[2] = {0};
  th_tape_profile(d.tape, profile);
  th_var *a = th_attention(desk_leaf(&d, &q, &g), th_constant(d.tape, &k), th_constant(d.tape, &v), NULL);
  th_var *y = th_matmul(a, th_transpose(th_constant(d.tape, &v)));
  th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
  const th_profile_event *e = th_profile_events(profile, &count);
  for (int64_t i = 0; i < count; i++) flops[e[i].backward] += e[i].flops;
  const double scores = 2 * 4 * 5 * 7;
  cr_expect_eq(flops[0], 2 * scores * (3 + 6) + 2 * scores * 6);
  cr_expect_eq(flops[1], 2 * 2 * scores * (3 + 6) + 2 * scores * 6);
  expect_no_error(d.tape);
  th_profile_end(profile); /* one too many does no harm */
  th_tape_profile(d.tape, NULL);
  th_profile_free(profile);
  th_profile_free(NULL);
  desk_close(&d);
}

/* ---- inputs of any layout -------------------------------------------------------------------- */

Test(autograd, a_constant_may_be_a_view_that_repeats_itself) {
  desk d = desk_open();
  th_tensor row = desk_counted(&d, TH_F64, SHAPE(1, 3)), w = desk_counted(&d, TH_F64, SHAPE(3, 2)), rows, gw;
  cr_assert(th_view_broadcast(&rows, &row, SHAPE(2, 1, 3)));
  th_var *y = th_matmul(th_constant(d.tape, &rows), desk_leaf(&d, &w, &gw));
  expect_no_error(d.tape);
  EXPECT_VALUES(&y->value, 0, 10, 13, 10, 13);
  th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
  EXPECT_VALUES(&gw, 0, 0, 0, 2, 2, 4, 4);
  desk_close(&d);
}

Test(autograd, ops_on_nothing_give_nothing) {
  desk d = desk_open();
  th_tensor none = desk_zeros(&d, TH_F64, SHAPE(0, 4)), w = desk_counted(&d, TH_F64, SHAPE(3, 4)), gw;
  th_tensor empty = desk_zeros(&d, TH_F64, SHAPE(0)), thin = desk_zeros(&d, TH_F64, SHAPE(5, 0)), gx, gb;
  th_var *y = th_linear(th_constant(d.tape, &none), desk_leaf(&d, &w, &gw), NULL);
  y = th_sum(th_softmax(th_relu(y), NULL), TH_ALL_AXES, false);
  EXPECT_VALUES(&y->value, 0, 0);
  cr_assert(th_backward(y, NULL) == TH_OK);
  cr_expect(largest_size(&gw) == 0);
  th_var *e = desk_leaf(&d, &empty, &gb);
  y = th_sum(th_layer_norm(desk_leaf(&d, &thin, &gx), e, e, 1e-5), TH_ALL_AXES, false);
  cr_assert(th_backward(y, NULL) == TH_OK);
  th_tensor x5 = desk_counted(&d, TH_F64, SHAPE(5, 4)), w0 = desk_zeros(&d, TH_F64, SHAPE(0, 4)), gx5, gw0;
  y = th_sum(th_linear(desk_leaf(&d, &x5, &gx5), desk_leaf(&d, &w0, &gw0), e), TH_ALL_AXES, false);
  cr_assert(th_backward(y, NULL) == TH_OK);
  cr_expect(largest_size(&gx5) == 0);
  desk_close(&d);
}
