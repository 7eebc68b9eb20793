/* An op of your own: swish(a) b with swish(a) = a sigmoid(a), the gate in SwiGLU (Shazeer 2020, section 2).
 * gradcheck proves its backward; `own_op wrong` shows how it finds a mistake. */
#include "tapehead/autograd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool swiglu_forward(th_var *out) {
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value;
  char ta[TH_SHAPE_TEXT], tb[TH_SHAPE_TEXT];
  if (!th_tensor_same_shape(a, b))
    return th_fail(out, TH_ESHAPE, "%s and %s differ", th_shape_text(ta, a), th_shape_text(tb, b));
  if (!th_make_like(out, a)) return false; /* no memory: the tape knows */
  for (int64_t i = 0, n = th_tensor_count(a); i < n; i++) {
    double x = th_tensor_get(a, i); /* any type and strides, slowly; to be fast, loop over a->data */
    th_tensor_set(&out->value, i, x / (1 + exp(-x)) * th_tensor_get(b, i));
  }
  return true;
}

/* ga += g b swish'(a); gb += g swish(a), where swish'(a) = s + a s (1 - s) with s = sigmoid(a). */
static void backward(th_var *out, bool mistaken) {
  const th_tensor *a = &out->in[0]->value, *b = &out->in[1]->value, *g = &out->grad;
  const th_tensor *ga = th_grad(out->in[0]), *gb = th_grad(out->in[1]); /* NULL: nobody asks for it */
  for (int64_t i = 0, n = th_tensor_count(a); i < n; i++) {
    double x = th_tensor_get(a, i), s = 1 / (1 + exp(-x)), slope = s + x * s * (1 - s);
    if (mistaken) slope = s + x * s * s;
    if (ga) th_tensor_set(ga, i, th_tensor_get(ga, i) + th_tensor_get(g, i) * th_tensor_get(b, i) * slope);
    if (gb) th_tensor_set(gb, i, th_tensor_get(gb, i) + th_tensor_get(g, i) * x * s);
  }
}

static void right_backward(th_var *out) { backward(out, false); }
static void wrong_backward(th_var *out) { backward(out, true); }
static const th_op right = {"swiglu", swiglu_forward, right_backward, false};
static const th_op wrong = {"swiglu", swiglu_forward, wrong_backward, false};

static int apply(th_tape *tape, th_var *const *in, th_var **out, void *op) {
  (void)tape;
  out[0] = th_apply(op, 2, in, NULL, 0);
  return 1;
}

int main(int count, char **arguments) {
  th_op op = count > 1 && !strcmp(arguments[1], "wrong") ? wrong : right;
  double numbers[2][6];
  th_tensor a = th_tensor_of(numbers[0], TH_F64, 2, (int64_t[]){2, 3}), b = a;
  b.data = numbers[1];
  th_fill_normal(&a, 0, 1, (th_random){1, 0});
  th_fill_normal(&b, 0, 1, (th_random){1, 1});
  th_gradcheck_options options = {.input_names = (const char *[]){"a", "b"}};
  th_gradcheck_report report;
  th_error error;
  if (th_gradcheck(apply, &op, 2, (th_tensor *[]){&a, &b}, &options, &report, &error))
    return printf("%s\n", error.text), 1;
  printf("%s: %lld derivatives, worst relative error %.1e\n", report.ok ? "right" : "WRONG",
         (long long)report.compared, report.relative_error);
  if (!report.ok) printf("the worst: %s\n", report.text);
  return report.ok ? 0 : 1;
}
