/* A measure of heads of your own: how often a head walks to the left, that is, its favourite key is one to the left of
 * the one it had for the query before. 1 is the anti-diagonal. An attention layer with four heads learns to write
 * sequences backwards; a tap sees its weights. */
#include "tapehead/tapehead.h"

#include <stdio.h>

enum { BATCH = 64, LENGTH = 8, SYMBOLS = 10, WIDTH = 32, HEADS = 4, STEPS = 60 };

static int64_t favourite(const th_tensor *weights, int64_t row) {
  int64_t keys = weights->shape[3], best = 0;
  for (int64_t key = 1; key < keys; key++)
    if (th_tensor_get(weights, row * keys + key) > th_tensor_get(weights, row * keys + best)) best = key;
  return best;
}

/* Of weights [B,H,T,S], for each head, the part of rows 1 to T - 1 that follow the row before to the left: share [H]. */
static void walks_left(const th_tensor *weights, double *share) {
  int64_t sequences = weights->shape[0], heads = weights->shape[1], rows = weights->shape[2];
  for (int64_t h = 0; h < heads; h++) {
    int64_t steps = 0;
    for (int64_t b = 0; b < sequences; b++)
      for (int64_t row = (b * heads + h) * rows + 1; row < (b * heads + h + 1) * rows; row++)
        steps += favourite(weights, row) == favourite(weights, row - 1) - 1;
    share[h] = (double)steps / (double)(sequences * (rows - 1));
  }
}

/* Called by each attention of a forward pass; of a whole model layer->kind and layer->layer say which it is. */
static void see(void *context, const th_nn_attention *layer, th_seen *seen) {
  (void)layer;
  walks_left(&seen->weights->value, context);
}

/* A measure is held against weights whose value is known before it is believed. */
static bool measures_what_it_says(void) {
  double numbers[2 * 3 * 3] = {0,  0,  1,  0,  1,  0,  1,  0,  0, /* head 0 walks left, */
                               .2, .5, .3, .2, .5, .3, .2, .5, .3 /* head 1 stays */};
  double share[2] = {0};
  th_tensor weights = th_tensor_of(numbers, TH_F64, 4, (int64_t[]){1, 2, 3, 3});
  walks_left(&weights, share);
  return share[0] == 1 && share[1] == 0;
}

int main(void) {
  th_error error = {.text = "no memory"};
  th_tape *tape = th_tape_new(NULL);
  th_params *params = th_params_new();
  if (!tape || !params) return puts(error.text), 1;
  th_init normal = {.kind = TH_INIT_NORMAL, .scale = 1};
  th_param *symbols = th_params_add(params, NULL, "symbols", normal, 2, (int64_t[]){SYMBOLS, WIDTH});
  th_param *places = th_params_add(params, NULL, "places", normal, 2, (int64_t[]){LENGTH, WIDTH});
  th_nn_attention attention =
      th_nn_attention_make(params, "attention", &(th_nn_attention_config){.width = WIDTH, .heads = HEADS});
  th_nn_linear output = th_nn_linear_make(params, "output", WIDTH, SYMBOLS, true);
  th_adam adam;
  if (th_params_make(params, TH_F32, 1, &error) || th_adam_new(&adam, params, &(th_adam_config){0}, &error))
    return puts(error.text), 1;

  int32_t forwards[BATCH * LENGTH], backwards[BATCH * LENGTH];
  th_tensor ids = th_tensor_of(forwards, TH_I32, 2, (int64_t[]){BATCH, LENGTH});
  th_tensor wanted = th_tensor_of(backwards, TH_I32, 2, (int64_t[]){BATCH, LENGTH});
  double share[HEADS] = {0}, most = 0;
  printf("updates  loss   walks left: heads 0 to %d\n", HEADS - 1);
  for (int update = 0; update <= STEPS; update++) {
    for (int i = 0; i < BATCH * LENGTH; i++)
      forwards[i] = backwards[i / LENGTH * LENGTH + LENGTH - 1 - i % LENGTH] =
          (int32_t)th_random_below((th_random){2, (uint64_t)update}, (uint64_t)i, SYMBOLS);
    bool look = update % 10 == 0;
    th_tape_reset(tape);
    th_var *x = th_add(th_gather(th_use(tape, symbols), &ids), th_use(tape, places));
    th_var *y = th_nn_attention_forward(&attention, x, NULL, NULL, look ? &(th_tap){see, share} : NULL);
    th_var *loss = th_cross_entropy(th_nn_linear_forward(&output, y), &wanted, 0);
    th_params_zero_grads(params);
    th_backward(loss, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 1;
    th_adam_update(&adam, 0.005, NULL);
    if (!look) continue;
    printf("%7d  %.3f", update, th_tensor_get(&loss->value, 0));
    for (int h = 0; h < HEADS; h++) printf("   %.2f", share[h]);
    puts("");
  }
  for (int h = 0; h < HEADS; h++) most = share[h] > most ? share[h] : most;
  th_adam_free(&adam);
  th_params_free(params);
  th_tape_free(tape);
  return measures_what_it_says() && most > 0.9 ? 0 : 1;
}
