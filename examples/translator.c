/* An encoder-decoder Transformer learns to write digits backwards, as if that were a language. */
#include "tapehead/tapehead.h"

#include <stdio.h>

enum { BATCH = 32, LONGEST = 8, STEPS = 700, BEGIN = 10, END = 11, TOKENS = 12 };

/* Sources of 3 to LONGEST digits and their translations; the decoder reads BEGIN and the translation, and should
 * say the translation and END. Padding in `wanted` is -1, and counts for nothing. */
typedef struct {
  int32_t source[BATCH * LONGEST], length[BATCH], read[BATCH * (LONGEST + 1)], wanted[BATCH * (LONGEST + 1)];
} lesson;

static void fill(lesson *l, uint64_t number) {
  *l = (lesson){0};
  for (int i = 0; i < BATCH * (LONGEST + 1); i++) l->wanted[i] = -1;
  for (int b = 0; b < BATCH; b++) {
    int32_t *source = l->source + b * LONGEST, *read = l->read + b * (LONGEST + 1),
            *wanted = l->wanted + b * (LONGEST + 1);
    th_random random = {1, number * BATCH + (uint64_t)b};
    int n = l->length[b] = 3 + (int32_t)th_random_below(random, 0, LONGEST - 2);
    for (int i = 0; i < n; i++)
      source[i] = wanted[n - 1 - i] = read[n - i] = (int32_t)th_random_below(random, 1 + (uint64_t)i, 10);
    read[0] = BEGIN;
    wanted[n] = END;
  }
}

int main(void) {
  th_error error = {.text = "no memory"};
  th_tape *tape = th_tape_new(NULL);
  th_transformer *model;
  th_adam adam;
  th_transformer_config config = {.source_vocabulary = TOKENS,
                                  .target_vocabulary = TOKENS,
                                  .encoder_layers = 1,
                                  .decoder_layers = 1,
                                  .max_length = LONGEST + 1,
                                  .layer = {.width = 32, .heads = 4, .feed_forward = 64, .norm_first = true},
                                  .final_norm = true,
                                  .tie_source = true};
  if (!tape || th_transformer_new(&model, &config, TH_F32, 1, &error) ||
      th_adam_new(&adam, model->params, &(th_adam_config){0}, &error))
    return puts(error.text), 1;

  lesson l;
  int32_t said[BATCH * (LONGEST + 1)];
  th_tensor source = th_tensor_of(l.source, TH_I32, 2, (int64_t[]){BATCH, LONGEST});
  th_tensor read = th_tensor_of(l.read, TH_I32, 2, (int64_t[]){BATCH, LONGEST + 1}), wanted = read,
            out = read;
  wanted.data = l.wanted, out.data = said;
  for (int step = 1; step <= STEPS; step++) {
    fill(&l, (uint64_t)step);
    th_tape_reset(tape);
    th_var *memory = th_transformer_encode(model, tape, &source, l.length, NULL);
    th_var *loss = th_cross_entropy(th_transformer_decode(model, memory, l.length, &read, NULL), &wanted, 0);
    th_params_zero_grads(model->params);
    th_backward(loss, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 1;
    th_adam_update(&adam, 0.005, NULL);
    if (step % 50 == 0) printf("step %3d  loss %.3f\n", step, th_tensor_get(&loss->value, 0));
  }

  fill(&l, 0); /* sentences it has not seen */
  if (th_transformer_greedy(model, tape, &source, l.length, BEGIN, END, &out, &error))
    return puts(error.text), 1;
  int right = 0;
  for (int b = 0; b < BATCH; b++) {
    bool all = true;
    for (int i = 0; i <= l.length[b]; i++)
      all = all && said[b * (LONGEST + 1) + i] == l.wanted[b * (LONGEST + 1) + i];
    right += all;
  }
  for (int i = 0; i < l.length[0]; i++) printf("%d", (int)l.source[i]);
  printf(" becomes ");
  for (int i = 0; i <= LONGEST && said[i] != END; i++) printf("%d", (int)said[i]);
  printf("; %d of %d right\n", right, BATCH);
  th_adam_free(&adam);
  th_transformer_free(model);
  th_tape_free(tape);
  return right > BATCH * 3 / 4 ? 0 : 1;
}
