/* A layer of your own: the gated feed-forward of Shazeer 2020, equation 6: (swish(x W) * x V) W2, swish(a) = a sigmoid(a).
 * gradcheck proves it, parameters and all; then it learns to multiply numbers, which one without a gate does worse. */
#include "tapehead/tapehead.h"

#include <stdio.h>

/* A layer is a struct of its parameters, or of smaller layers, .. */
typedef struct {
  th_nn_linear gate, up, down; /* W, V [inner,width], W2 [width,inner] */
} gated;

/* .. declared by name into the set that will own them, .. */
static gated gated_make(th_params *set, int64_t width, int64_t inner) {
  return (gated){.gate = th_nn_linear_make(set, "gate", width, inner, false),
                 .up = th_nn_linear_make(set, "up", width, inner, false),
                 .down = th_nn_linear_make(set, "down", inner, width, false)};
}

/* .. and a function that puts its ops on the tape of x [..,width]. Backward comes with the ops. */
static th_var *gated_forward(const gated *layer, th_var *x) {
  th_var *a = th_nn_linear_forward(&layer->gate, x);
  th_var *swish = th_mul(a, th_sigmoid(a));
  return th_nn_linear_forward(&layer->down, th_mul(swish, th_nn_linear_forward(&layer->up, x)));
}

/* The same without a gate, as in Vaswani et al. 2017, equation 2: relu(x W) W2. */
static th_var *plain_forward(const gated *layer, th_var *x) {
  return th_nn_linear_forward(&layer->down, th_relu(th_nn_linear_forward(&layer->gate, x)));
}

typedef th_var *forward(const gated *layer, th_var *x);
enum { BATCH = 64, WIDTH = 4, INNER = 16, STEPS = 400 };

static int apply(th_tape *tape, th_var *const *in, th_var **out, void *layer) {
  (void)tape;
  out[0] = gated_forward(layer, in[0]);
  return 1;
}

static th_status prove(th_gradcheck_report *report, th_error *error) {
  th_params *set = th_params_new();
  if (!set) return TH_ENOMEM;
  gated layer = gated_make(set, WIDTH, 3);
  double numbers[2 * WIDTH];
  th_tensor x = th_tensor_of(numbers, TH_F64, 2, (int64_t[]){2, WIDTH});
  th_fill_normal(&x, 0, 1, (th_random){1, 0});
  th_gradcheck_options options = {.input_names = (const char *[]){"x"}};
  th_status status = th_params_make(set, TH_F64, 1, error);
  if (!status)
    status = th_params_gradcheck(set, apply, &layer, 1, (th_tensor *[]){&x}, &options, report, error);
  th_params_free(set);
  return status;
}

/* Trains on y_i = x_i x_(i+1), around the end; `loss` is the last step's mean squared error. */
static th_status learn(forward *f, int64_t inner, double *loss, th_error *error) {
  th_tape *tape = th_tape_new(NULL);
  th_params *set = th_params_new();
  th_adam adam = {0};
  float x[BATCH * WIDTH], y[BATCH * WIDTH];
  th_tensor in = th_tensor_of(x, TH_F32, 2, (int64_t[]){BATCH, WIDTH}), wanted = in;
  wanted.data = y;
  if (!tape || !set) return TH_ENOMEM;
  gated layer = gated_make(set, WIDTH, inner);
  th_status status = th_params_make(set, TH_F32, 1, error);
  if (!status) status = th_adam_new(&adam, set, &(th_adam_config){0}, error);
  for (uint64_t step = 1; step <= STEPS && !status; step++) {
    th_fill_normal(&in, 0, 1, (th_random){2, step});
    for (int i = 0; i < BATCH * WIDTH; i++) y[i] = x[i] * x[i / WIDTH * WIDTH + (i + 1) % WIDTH];
    th_tape_reset(tape);
    th_var *wrong = th_sub(f(&layer, th_constant(tape, &in)), th_constant(tape, &wanted));
    th_var *mean = th_mean(th_mul(wrong, wrong), TH_ALL_AXES, false);
    th_params_zero_grads(set);
    status = th_backward(mean, NULL);
    th_adam_update(&adam, 0.02, NULL);
    *loss = th_tensor_get(&mean->value, 0);
  }
  if (th_tape_error(tape)) *error = *th_tape_error(tape);
  th_adam_free(&adam);
  th_params_free(set);
  th_tape_free(tape);
  return status;
}

int main(void) {
  th_error error = {.text = "no memory"};
  th_gradcheck_report report;
  double with, without;
  /* Three matrices, or two that are wider by half: as many numbers. The plain one leaves its `up` alone. */
  if (prove(&report, &error) || learn(gated_forward, INNER, &with, &error) ||
      learn(plain_forward, INNER * 3 / 2, &without, &error))
    return puts(error.text), 1;
  printf("%s: %lld derivatives, worst relative error %.1e\n", report.ok ? "right" : "WRONG: see below",
         (long long)report.compared, report.relative_error);
  if (!report.ok) printf("the worst: %s\n", report.text);
  printf("mean squared error of a product: %.3f with a gate, %.3f without\n", with, without);
  return report.ok && with < without ? 0 : 1;
}
