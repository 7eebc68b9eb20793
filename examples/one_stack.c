/* A decoder-only Transformer does what translator.c does with two stacks: source, separator and target are one
 * sequence, and only what stands behind the separator is learned. */
#include "tapehead/tapehead.h"

#include <stdio.h>

enum { BATCH = 32, DIGITS = 6, STEPS = 400, SEPARATOR = 10, TOKENS = 11 };
enum { PROMPT = DIGITS + 1, LENGTH = DIGITS + PROMPT - 1 }; /* the last digit is said, and never read */

/* Sequences such as 3 1 4 | 4 1 3: what the model reads, and what it should say next. Over the source that is
 * -1, and counts for nothing. */
static void fill(int32_t read[BATCH * LENGTH], int32_t wanted[BATCH * LENGTH], uint64_t number) {
  for (int b = 0; b < BATCH; b++) {
    int32_t whole[LENGTH + 1];
    th_random random = {1, number * BATCH + (uint64_t)b};
    for (int i = 0; i < DIGITS; i++)
      whole[i] = whole[LENGTH - i] = (int32_t)th_random_below(random, (uint64_t)i, 10);
    whole[DIGITS] = SEPARATOR;
    for (int i = 0; i < LENGTH; i++) {
      read[b * LENGTH + i] = whole[i];
      wanted[b * LENGTH + i] = i < DIGITS ? -1 : whole[i + 1];
    }
  }
}

static int32_t likeliest(const th_tensor *logits, int64_t row) {
  int32_t best = 0;
  for (int32_t i = 1; i < TOKENS; i++)
    if (th_tensor_get(logits, row * TOKENS + i) > th_tensor_get(logits, row * TOKENS + best)) best = i;
  return best;
}

/* Reads sources and separator at once, then what it says itself, digit by digit: said [BATCH,DIGITS]. */
static bool translate(const th_transformer *model, th_tape *tape, const int32_t *read, int32_t *said) {
  int32_t unread[BATCH * PROMPT];
  for (int i = 0; i < BATCH * PROMPT; i++) unread[i] = read[i / PROMPT * LENGTH + i % PROMPT];
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_decoding decoding = th_decoding_begin_language(model, tape, BATCH, LENGTH);
  th_tape_mark(tape);
  for (int t = 0, n = PROMPT; t < DIGITS; t++, n = 1) {
    th_tensor tokens = th_tensor_of(unread, TH_I32, 2, (int64_t[]){BATCH, n});
    th_tape_rewind(tape);
    th_var *logits = th_decoding_step(&decoding, tape, &tokens, NULL);
    if (th_tape_error(tape)) return false;
    for (int b = 0; b < BATCH; b++)
      said[b * DIGITS + t] = unread[b] = likeliest(&logits->value, (b + 1) * n - 1);
  }
  return true;
}

int main(void) {
  th_error error = {.text = "no memory"};
  th_tape *tape = th_tape_new(NULL);
  th_transformer *model;
  th_adam adam;
  th_transformer_config config = {.shape = TH_DECODER_ONLY,
                                  .target_vocabulary = TOKENS,
                                  .decoder_layers = 2,
                                  .max_length = LENGTH,
                                  .layer = {.width = 32, .heads = 4, .feed_forward = 64, .norm_first = true},
                                  .final_norm = true,
                                  .tie_output = true};
  if (!tape || th_transformer_new(&model, &config, TH_F32, 1, &error) ||
      th_adam_new(&adam, model->params, &(th_adam_config){0}, &error))
    return puts(error.text), 1;

  int32_t sequences[BATCH * LENGTH], following[BATCH * LENGTH], said[BATCH * DIGITS];
  th_tensor read = th_tensor_of(sequences, TH_I32, 2, (int64_t[]){BATCH, LENGTH}), wanted = read;
  wanted.data = following;
  for (int step = 1; step <= STEPS; step++) {
    fill(sequences, following, (uint64_t)step);
    th_tape_reset(tape);
    th_var *loss = th_cross_entropy(th_transformer_language(model, tape, &read, NULL), &wanted, 0);
    th_params_zero_grads(model->params);
    th_backward(loss, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 1;
    th_adam_update(&adam, 0.005, NULL);
    if (step % 50 == 0) printf("step %3d  loss %.3f\n", step, th_tensor_get(&loss->value, 0));
  }

  int right = 0;
  fill(sequences, following, 0); /* digits it has not seen */
  if (!translate(model, tape, sequences, said)) return puts(th_tape_error(tape)->text), 1;
  for (int i = 0; i < BATCH * DIGITS; i++)
    right += said[i] == following[i / DIGITS * LENGTH + DIGITS + i % DIGITS];
  for (int i = 0; i < DIGITS; i++) printf("%d", (int)sequences[i]);
  printf(" becomes ");
  for (int i = 0; i < DIGITS; i++) printf("%d", (int)said[i]);
  printf("; %d of %d digits right\n", right, BATCH * DIGITS);
  th_adam_free(&adam);
  th_transformer_free(model);
  th_tape_free(tape);
  return right > BATCH * DIGITS * 3 / 4 ? 0 : 1; /* a tenth by chance */
}
