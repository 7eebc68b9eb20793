/* One attention layer learns to write sequences backwards. */
#include "tapehead/tapehead.h"

#include <stdio.h>

enum { BATCH = 32, LENGTH = 8, SYMBOLS = 10, WIDTH = 32 };

int main(void) {
  th_error error = {.text = "no memory"};
  th_tape *tape = th_tape_new(NULL);
  th_params *params = th_params_new();
  if (!tape || !params) return puts(error.text), 1;
  th_init small = {.kind = TH_INIT_NORMAL, .scale = 0.1}, large = {.kind = TH_INIT_NORMAL, .scale = 1};
  th_nn_embedding symbols = th_nn_embedding_make(params, "symbols", SYMBOLS, WIDTH, small);
  th_param *places = th_params_add(params, NULL, "places", large, 2, (int64_t[]){LENGTH, WIDTH});
  th_nn_attention attention =
      th_nn_attention_make(params, "attention", &(th_nn_attention_config){.width = WIDTH, .heads = 2});
  th_nn_linear output = th_nn_linear_make(params, "output", WIDTH, SYMBOLS, true);
  th_adam adam;
  if (th_params_make(params, TH_F32, 1, &error) || th_adam_new(&adam, params, &(th_adam_config){0}, &error))
    return puts(error.text), 1;

  int32_t forwards[BATCH * LENGTH], backwards[BATCH * LENGTH];
  th_tensor ids = th_tensor_of(forwards, TH_I32, 2, (int64_t[]){BATCH, LENGTH});
  th_tensor wanted = th_tensor_of(backwards, TH_I32, 2, (int64_t[]){BATCH, LENGTH});
  double loss = 0;
  for (int step = 1; step <= 200; step++) {
    for (int i = 0; i < BATCH * LENGTH; i++)
      forwards[i] = backwards[i / LENGTH * LENGTH + LENGTH - 1 - i % LENGTH] =
          (int32_t)th_random_below((th_random){2, (uint64_t)step}, (uint64_t)i, SYMBOLS);
    th_tape_reset(tape);
    th_var *x = th_add(th_nn_embedding_forward(&symbols, tape, &ids), th_use(tape, places));
    th_var *y = th_nn_attention_forward(&attention, x, NULL, NULL, NULL);
    th_var *mean = th_cross_entropy(th_nn_linear_forward(&output, y), &wanted, 0);
    th_params_zero_grads(params);
    th_backward(mean, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 1;
    th_adam_update(&adam, 0.002, NULL);
    loss = th_tensor_get(&mean->value, 0);
    if (step % 25 == 0) printf("step %3d  loss %.3f\n", step, loss);
  }
  th_adam_free(&adam);
  th_params_free(params);
  th_tape_free(tape);
  return loss < 0.1 ? 0 : 1; /* guessing would be log 10 = 2.3 */
}
