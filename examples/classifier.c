/* An encoder-only Transformer learns whether brackets match. */
#include "tapehead/tapehead.h"

#include <stdio.h>

enum { BATCH = 64, LONGEST = 12, STEPS = 400 };
enum { OPEN, CLOSE, TOKENS };

typedef struct {
  int32_t brackets[BATCH * LONGEST], length[BATCH], match[BATCH];
} lesson;

/* Half of the lines match: each step opens or closes what is open and can still be closed. In the others one
 * bracket, anywhere, is turned around, or two are. */
static void fill(lesson *l, uint64_t number) {
  for (int b = 0; b < BATCH; b++) {
    th_random random = {1, number * BATCH + (uint64_t)b};
    int32_t *line = l->brackets + b * LONGEST;
    int n = l->length[b] = 2 + 2 * (int32_t)th_random_below(random, LONGEST, LONGEST / 2), depth = 0,
        lowest = 0;
    for (int i = 0; i < LONGEST; i++) {
      bool close = depth > 0 && (depth >= n - i || th_random_below(random, (uint64_t)i, 2));
      line[i] = close ? CLOSE : OPEN;
      depth += close ? -1 : 1;
    }
    for (int turn = b % 2 ? 1 + b / 2 % 2 : 0; turn > 0; turn--) {
      int at = (int)th_random_below(random, LONGEST + (uint64_t)turn, n);
      line[at] = line[at] == OPEN ? CLOSE : OPEN;
    }
    depth = 0;
    for (int i = 0; i < n; i++) {
      depth += line[i] == OPEN ? 1 : -1;
      if (depth < lowest) lowest = depth;
    }
    l->match[b] = depth == 0 && lowest == 0;
  }
}

int main(void) {
  th_error error = {.text = "no memory"};
  th_tape *tape = th_tape_new(NULL);
  th_transformer *model;
  th_adam adam;
  th_transformer_config config = {.shape = TH_ENCODER_ONLY,
                                  .source_vocabulary = TOKENS,
                                  .encoder_layers = 2,
                                  .classes = 2,
                                  .max_length = LONGEST,
                                  .layer = {.width = 32, .heads = 4, .feed_forward = 64, .norm_first = true},
                                  .positions = TH_POSITIONS_RELATIVE,
                                  .final_norm = true};
  if (!tape || th_transformer_new(&model, &config, TH_F32, 1, &error) ||
      th_adam_new(&adam, model->params, &(th_adam_config){0}, &error))
    return puts(error.text), 1;

  lesson l;
  th_tensor brackets = th_tensor_of(l.brackets, TH_I32, 2, (int64_t[]){BATCH, LONGEST});
  th_tensor match = th_tensor_of(l.match, TH_I32, 1, (int64_t[]){BATCH});
  int right = 0, asked = 0;
  for (int step = 1; step <= STEPS; step++) {
    fill(&l, (uint64_t)step);
    th_tape_reset(tape);
    th_var *logits = th_transformer_classify(model, tape, &brackets, l.length, NULL);
    th_var *loss = th_cross_entropy(logits, &match, 0);
    th_params_zero_grads(model->params);
    th_backward(loss, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 1;
    for (int b = 0; b < BATCH && step > STEPS - 10;
         b++, asked++) /* lines it has hardly seen, before it learns them */
      right +=
          l.match[b] == (th_tensor_get(&logits->value, 2 * b + 1) > th_tensor_get(&logits->value, 2 * b));
    th_adam_update(&adam, 0.003, NULL);
    if (step % 50 == 0) printf("step %3d  loss %.3f\n", step, th_tensor_get(&loss->value, 0));
  }
  printf("%d of the last %d right\n", right, asked);
  th_adam_free(&adam);
  th_transformer_free(model);
  th_tape_free(tape);
  return right > asked * 9 / 10 ? 0 : 1; /* guessing would be about half */
}
