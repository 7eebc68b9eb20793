/* Backward held against central differences: (f(x + eps) - f(x - eps)) / (2 eps), whose error falls with
 * eps squared, in double. */
#include "tapehead/autograd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_EPS 1e-5 /* near the cube root of double's rounding: truncation and rounding in balance */
#define DEFAULT_ATOL 1e-8
#define DEFAULT_RTOL 1e-6

typedef struct {
  th_function *function;
  void *context;
  int inputs, outputs;
  th_tensor *const *input;
  th_gradcheck_options options;
  th_gradcheck_report *report;
  th_error *error;
  th_tape *tape;
  th_tensor *grad;                       /* [inputs] */
  double **jacobian;                     /* [inputs, TH_GRADCHECK_OUTPUTS], for the full mode */
  th_tensor value[TH_GRADCHECK_OUTPUTS]; /* one copy of each output, for f(x + eps) */
  th_tensor seed[TH_GRADCHECK_OUTPUTS];  /* upstream gradients */
  double worst_excess;                   /* of |difference| over its tolerance */
} check;

/* ---- running the function ------------------------------------------------------------------------------- */

static th_status tape_status(check *c) {
  const th_error *error = th_tape_error(c->tape);
  return error ? th_error_set(c->error, error->status, "gradcheck: %s", error->text) : TH_OK;
}

/* Fills out[] on a fresh tape; the inputs are leaves with c->grad behind them. */
static th_status run(check *c, bool record, th_var **out) {
  th_var *in[c->inputs];
  th_tape_reset(c->tape);
  th_tape_record(c->tape, record);
  for (int i = 0; i < c->inputs; i++) in[i] = th_leaf(c->tape, c->input[i], &c->grad[i]);
  c->outputs = c->function(c->tape, in, out, c->context);
  if (c->outputs < 1 || c->outputs > TH_GRADCHECK_OUTPUTS)
    return th_error_set(c->error, TH_EINVAL,
                        "gradcheck: the function gave %d outputs; 1 to %d can be checked", c->outputs,
                        TH_GRADCHECK_OUTPUTS);
  return tape_status(c);
}

static void zero_grads(check *c) {
  for (int i = 0; i < c->inputs; i++)
    memset(c->grad[i].data, 0, (size_t)th_tensor_count(&c->grad[i]) * sizeof(double));
}

/* Gradients of <seed, out> for one output, in c->grad. */
static th_status backward(check *c, th_var *out, const th_tensor *seed) {
  zero_grads(c);
  if (!out->needs_grad) return TH_OK; /* it depends on no input: all gradients are 0 */
  th_status status = th_backward(out, seed);
  return status ? tape_status(c) : TH_OK;
}

/* ---- what was found ------------------------------------------------------------------------------------- */

static const char *input_name(const check *c, int input, char text[32]) {
  if (c->options.input_names && c->options.input_names[input]) return c->options.input_names[input];
  snprintf(text, 32, "input %d", input);
  return text;
}

static void describe(check *c) {
  th_gradcheck_report *r = c->report;
  char name[32], at[96];
  if (r->input_index < 0) snprintf(at, sizeof at, "along a random direction");
  else snprintf(at, sizeof at, "d output %d[%lld]", r->output, (long long)r->output_index);
  if (r->input_index < 0)
    snprintf(r->text, sizeof r->text, "%s -> output %d %s: numerical %.10g, analytical %.10g",
             input_name(c, r->input, name), r->output, at, r->numerical, r->analytical);
  else
    snprintf(r->text, sizeof r->text, "%s / d %s[%lld]: numerical %.10g, analytical %.10g", at,
             input_name(c, r->input, name), (long long)r->input_index, r->numerical, r->analytical);
}

/* How far apart; NaN agrees with nothing, nor do two infinities. */
static double distance(double a, double b) {
  double difference = fabs(a - b);
  return difference == difference ? difference : INFINITY;
}

/* Compares one derivative, and keeps it where it is the worst so far. */
static void compare(check *c, int input, int64_t input_index, int output, int64_t output_index,
                    double numerical, double analytical) {
  double size = fmax(fabs(numerical), fabs(analytical)), difference = distance(numerical, analytical);
  double excess = isinf(difference) ? INFINITY : difference / (c->options.atol + c->options.rtol * size);
  c->report->compared++;
  if (excess <= c->worst_excess) return;
  c->worst_excess = excess;
  c->report->ok = excess <= 1;
  c->report->input = input, c->report->input_index = input_index;
  c->report->output = output, c->report->output_index = output_index;
  c->report->numerical = numerical, c->report->analytical = analytical;
}

/* ---- the full Jacobian ------------------------------------------------------------------------------------- */

/* One column: d every output / d element `index` of `input`, into numerical[output][..]. */
static th_status numerical_column(check *c, int input, int64_t index, th_tensor numerical[]) {
  double *x = (double *)c->input[input]->data + index, here = *x, step = c->options.eps;
  th_var *out[TH_GRADCHECK_OUTPUTS];
  for (int side = 0; side < 2; side++) {
    *x = side ? here + step : here - step;
    th_status status = run(c, false, out);
    *x = here;
    if (status) return status;
    for (int o = 0; o < c->outputs; o++) {
      double *column = numerical[o].data;
      int64_t count = th_tensor_count(&out[o]->value);
      for (int64_t j = 0; j < count; j++) {
        double value = th_tensor_get(&out[o]->value, j);
        if (side) column[j] = (value - column[j]) / ((here + step) - (here - step));
        else column[j] = value;
      }
    }
  }
  return TH_OK;
}

/* The analytical Jacobian of output o by input i, [o's elements, i's elements]. */
static double **jacobian_at(const check *c, int input, int output) {
  return &c->jacobian[input * TH_GRADCHECK_OUTPUTS + output];
}

/* Row by row: one output's part of the Jacobian, for all inputs. */
static th_status analytical_rows(check *c, th_var *out, int output) {
  int64_t rows = th_tensor_count(&out->value);
  for (int64_t j = 0; j < rows; j++) {
    memset(c->seed[output].data, 0, (size_t)rows * sizeof(double));
    ((double *)c->seed[output].data)[j] = 1;
    th_status status = backward(c, out, &c->seed[output]);
    if (status) return status;
    for (int i = 0; i < c->inputs; i++) {
      int64_t count = th_tensor_count(&c->grad[i]);
      memcpy(*jacobian_at(c, i, output) + j * count, c->grad[i].data, (size_t)count * sizeof(double));
    }
  }
  return TH_OK;
}

static void note_relative(check *c, double difference, double size) {
  double relative = size > 0 && isfinite(difference) ? difference / size : difference;
  c->report->relative_error = fmax(c->report->relative_error, relative);
}

static th_status compare_input(check *c, int input) {
  int64_t columns = th_tensor_count(c->input[input]);
  double size[TH_GRADCHECK_OUTPUTS] = {0}, worst[TH_GRADCHECK_OUTPUTS] = {0};
  for (int64_t k = 0; k < columns; k++) {
    th_status status = numerical_column(c, input, k, c->value);
    if (status) return status;
    for (int o = 0; o < c->outputs; o++) {
      int64_t rows = th_tensor_count(&c->value[o]);
      for (int64_t j = 0; j < rows; j++) {
        double numerical = ((const double *)c->value[o].data)[j],
               analytical = (*jacobian_at(c, input, o))[j * columns + k];
        compare(c, input, k, o, j, numerical, analytical);
        size[o] = fmax(size[o], fmax(fabs(numerical), fabs(analytical)));
        worst[o] = fmax(worst[o], distance(numerical, analytical));
      }
    }
  }
  for (int o = 0; o < c->outputs; o++) note_relative(c, worst[o], size[o]);
  return TH_OK;
}

/* Inputs first to last - 1; the analytical side comes for all at once. */
static th_status check_full(check *c, int first, int last) {
  th_var *out[TH_GRADCHECK_OUTPUTS];
  th_status status = run(c, true, out);
  for (int o = 0; o < c->outputs && !status; o++) {
    for (int i = 0; i < c->inputs && !status; i++) {
      size_t count = (size_t)th_tensor_count(&c->value[o]) * (size_t)th_tensor_count(c->input[i]);
      *jacobian_at(c, i, o) = calloc(count ? count : 1, sizeof(double));
      if (!*jacobian_at(c, i, o))
        status = th_error_set(c->error, TH_ENOMEM, "gradcheck: no memory for a Jacobian");
    }
    if (!status) status = analytical_rows(c, out[o], o);
  }
  for (int i = first; i < last && !status; i++) status = compare_input(c, i);
  return status;
}

/* ---- the fast mode: v' J u for random v and u --------------------------------------------------------------- */

static double dot(const th_tensor *a, const th_tensor *b) {
  double sum = 0;
  for (int64_t i = 0, n = th_tensor_count(a); i < n; i++) sum += th_tensor_get(a, i) * th_tensor_get(b, i);
  return sum;
}

/* numerical[o] = v_o' (f(x + eps u) - f(x - eps u)) / (2 eps) for all outputs. */
static th_status numerical_direction(check *c, int input, const th_tensor *u, double numerical[]) {
  th_tensor *x = c->input[input];
  double *data = x->data, step = c->options.eps;
  int64_t n = th_tensor_count(x);
  double *kept = malloc((size_t)(n ? n : 1) * sizeof *kept);
  if (!kept) return th_error_set(c->error, TH_ENOMEM, "gradcheck: no memory for a direction");
  memcpy(kept, data, (size_t)n * sizeof *kept);
  th_status status = TH_OK;
  for (int side = 0; side < 2 && !status; side++) {
    th_var *out[TH_GRADCHECK_OUTPUTS];
    for (int64_t i = 0; i < n; i++) data[i] = kept[i] + (side ? step : -step) * ((const double *)u->data)[i];
    status = run(c, false, out);
    for (int o = 0; o < c->outputs && !status; o++)
      numerical[o] = ((side ? 1 : -1) * dot(&c->seed[o], &out[o]->value) + (side ? numerical[o] : 0)) /
                     (side ? 2 * step : 1);
  }
  memcpy(data, kept, (size_t)n * sizeof *kept);
  free(kept);
  return status;
}

static th_status check_fast_input(check *c, int input) {
  double numerical[TH_GRADCHECK_OUTPUTS] = {0};
  th_tensor u;
  th_var *out[TH_GRADCHECK_OUTPUTS];
  th_status status = th_tensor_new(&u, TH_F64, c->input[input]->ndim, c->input[input]->shape, c->error);
  if (status) return status;
  th_fill_normal(&u, 0, 1 / sqrt((double)th_tensor_count(&u) + 1),
                 (th_random){c->options.seed, (uint64_t)input});
  status = numerical_direction(c, input, &u, numerical);
  if (!status) status = run(c, true, out);
  for (int o = 0; o < c->outputs && !status; o++) {
    if ((status = backward(c, out[o], &c->seed[o]))) break;
    double analytical = dot(&c->grad[input], &u);
    compare(c, input, -1, o, -1, numerical[o], analytical);
    double size = sqrt(dot(&c->grad[input], &c->grad[input]) * dot(&u, &u));
    note_relative(c, distance(numerical[o], analytical), fmax(size, fabs(numerical[o])));
  }
  th_tensor_free(&u);
  return status;
}

static th_status check_fast(check *c) {
  for (int o = 0; o < c->outputs; o++)
    th_fill_normal(&c->seed[o], 0, 1, (th_random){c->options.seed, (uint64_t)(c->inputs + o)});
  for (int i = 0; i < c->inputs; i++) {
    th_status status = check_fast_input(c, i);
    if (status) return status;
  }
  return TH_OK;
}

/* ---- two backward runs agree ----------------------------------------------------------------------------------- */

/* Runs backward twice from the same graph and once from a fresh one; all three must be the same bits. */
static th_status check_repeat(check *c) {
  th_var *out[TH_GRADCHECK_OUTPUTS];
  for (int o = 0; o < c->outputs; o++) {
    th_tensor first[c->inputs];
    memset(first, 0, sizeof first);
    th_fill_normal(&c->seed[o], 0, 1, (th_random){c->options.seed, 1});
    th_status status = TH_OK;
    for (int again = 0; again < 3 && !status; again++) {
      if (again != 1) status = run(c, true, out);
      if (!status) status = backward(c, out[o], &c->seed[o]);
      for (int i = 0; i < c->inputs && !status; i++) {
        if (!again) status = th_tensor_new(&first[i], TH_F64, c->grad[i].ndim, c->grad[i].shape, c->error);
        if (!again && !status) th_tensor_copy(&first[i], &c->grad[i], NULL);
        for (int64_t k = 0, n = th_tensor_count(&c->grad[i]); again && k < n; k++) {
          double a = ((const double *)first[i].data)[k], b = ((const double *)c->grad[i].data)[k];
          if (a == b || (a != a && b != b)) continue;
          compare(c, i, k, o, 0, a, b);
          c->report->ok = false;
          char name[32];
          snprintf(c->report->text, sizeof c->report->text,
                   "two backward runs differ at %s[%lld]: %.17g and %.17g", input_name(c, i, name),
                   (long long)k, a, b);
        }
      }
    }
    for (int i = 0; i < c->inputs; i++) th_tensor_free(&first[i]);
    if (status || !c->report->ok) return status;
  }
  return TH_OK;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static bool is_borrowed(const th_gradcheck_options *options, int input) {
  return options->grads && options->grads[input];
}

static th_status prepare(check *c) {
  for (int i = 0; i < c->inputs; i++) {
    if (c->input[i]->dtype != TH_F64 || !th_tensor_is_contiguous(c->input[i]))
      return th_error_set(c->error, TH_EDTYPE, "gradcheck: input %d is not contiguous f64", i);
    if (is_borrowed(&c->options, i)) c->grad[i] = *c->options.grads[i];
    else {
      th_status status = th_tensor_new(&c->grad[i], TH_F64, c->input[i]->ndim, c->input[i]->shape, c->error);
      if (status) return status;
    }
  }
  th_var *out[TH_GRADCHECK_OUTPUTS];
  th_status status = run(c, true, out);
  for (int o = 0; o < c->outputs && !status; o++) {
    const th_tensor *value = &out[o]->value;
    status = th_tensor_new(&c->value[o], TH_F64, value->ndim, value->shape, c->error);
    if (!status) status = th_tensor_new(&c->seed[o], TH_F64, value->ndim, value->shape, c->error);
  }
  return status;
}

static th_status check_all(check *c) {
  th_status status = prepare(c);
  if (!status) status = check_repeat(c);
  if (status || !c->report->ok) return status;
  if (!c->options.fast) status = check_full(c, 0, c->inputs);
  else {
    status = check_fast(c);
    if (!status && !c->report->ok) { /* a direction is wrong: say which element */
      c->worst_excess = 0;
      status = check_full(c, c->report->input, c->report->input + 1);
      c->report->ok = false;
    }
  }
  if (!status) describe(c);
  return status;
}

th_status th_gradcheck(th_function *function, void *context, int inputs, th_tensor *const *input,
                       const th_gradcheck_options *options, th_gradcheck_report *report, th_error *error) {
  check c = {.function = function,
             .context = context,
             .inputs = inputs,
             .input = input,
             .report = report,
             .error = error};
  if (inputs < 1)
    return th_error_set(error, TH_EINVAL, "gradcheck: %d inputs; 1 or more can be checked", inputs);
  if (options) c.options = *options;
  if (c.options.eps == 0) c.options.eps = DEFAULT_EPS;
  if (c.options.atol == 0) c.options.atol = DEFAULT_ATOL;
  if (c.options.rtol == 0) c.options.rtol = DEFAULT_RTOL;
  *report = (th_gradcheck_report){.ok = true};
  c.worst_excess = -1;
  c.tape = th_tape_new(c.options.pool);
  c.grad = calloc((size_t)inputs, sizeof *c.grad);
  c.jacobian = calloc((size_t)inputs * TH_GRADCHECK_OUTPUTS, sizeof *c.jacobian);
  th_status status =
      c.tape && c.grad && c.jacobian ? check_all(&c) : th_error_set(error, TH_ENOMEM, "gradcheck: no memory");
  for (int i = 0; c.grad && i < inputs; i++)
    if (!is_borrowed(&c.options, i)) th_tensor_free(&c.grad[i]);
  for (int o = 0; o < TH_GRADCHECK_OUTPUTS; o++) th_tensor_free(&c.value[o]), th_tensor_free(&c.seed[o]);
  for (int i = 0; c.jacobian && i < inputs * TH_GRADCHECK_OUTPUTS; i++) free(c.jacobian[i]);
  free(c.jacobian);
  free(c.grad);
  th_tape_free(c.tape);
  return status;
}
