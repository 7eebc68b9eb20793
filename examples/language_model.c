/* A decoder-only Transformer reads a rhyme letter by letter and then recites it. */
#include "tapehead/tapehead.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char rhyme[] = "how much wood would a woodchuck chuck if a woodchuck could chuck wood? "
                            "he would chuck, he would, as much as he could, "
                            "and chuck as much wood as a woodchuck would, if a woodchuck could chuck wood.";

enum { BATCH = 16, WINDOW = 48, STEPS = 400, LETTERS = 128, WORDS = 10, PROMPT = 24 };
enum { TEXT = sizeof rhyme - 1 };

/* A letter drawn from softmax(logits), those of the last token read. */
static int32_t draw(const th_tensor *logits, th_random random, uint64_t position) {
  int64_t last = th_tensor_count(logits) - LETTERS;
  double sum = 0, rest = th_random_uniform(random, position);
  for (int i = 0; i < LETTERS; i++) sum += exp(th_tensor_get(logits, last + i));
  for (int32_t i = 0; i < LETTERS; i++)
    if ((rest -= exp(th_tensor_get(logits, last + i)) / sum) < 0) return i;
  return LETTERS - 1;
}

/* Lets the model go on after the prompt, and says how often its last WORDS letters stand in the rhyme. */
static int recite(const th_transformer *model, th_tape *tape, int prompt) {
  int32_t letters[TEXT];
  char said[TEXT + 1] = "", last[WORDS + 1] = "";
  int right = 0;
  for (int i = 0; i < prompt; i++) letters[i] = (unsigned char)(said[i] = rhyme[i]);
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_decoding decoding = th_decoding_begin_language(model, tape, 1, TEXT);
  th_tape_mark(tape);
  for (int at = 0, next = prompt; next < TEXT; at = next++) { /* the prompt at once, then letter by letter */
    th_tensor unread = th_tensor_of(letters + at, TH_I32, 2, (int64_t[]){1, next - at});
    th_tape_rewind(tape);
    th_var *logits = th_decoding_step(&decoding, tape, &unread, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 0;
    letters[next] = draw(&logits->value, (th_random){3, 0}, (uint64_t)next);
    said[next] = (char)letters[next];
    memcpy(last, said + next + 1 - WORDS, WORDS);
    right += strstr(rhyme, last) != NULL;
  }
  printf("%.*s|%s\n", prompt, said, said + prompt);
  return right;
}

int main(void) {
  th_error error = {.text = "no memory"};
  th_tape *tape = th_tape_new(NULL);
  th_transformer *model;
  th_adam adam;
  th_transformer_config config = {.shape = TH_DECODER_ONLY,
                                  .target_vocabulary = LETTERS,
                                  .decoder_layers = 2,
                                  .max_length = TEXT,
                                  .layer = {.width = 32, .heads = 4, .feed_forward = 64, .norm_first = true},
                                  .positions = TH_POSITIONS_ALIBI,
                                  .final_norm = true,
                                  .tie_output = true};
  if (!tape || th_transformer_new(&model, &config, TH_F32, 1, &error) ||
      th_adam_new(&adam, model->params, &(th_adam_config){0}, &error))
    return puts(error.text), 1;

  int32_t letters[BATCH * WINDOW], following[BATCH * WINDOW];
  th_tensor read = th_tensor_of(letters, TH_I32, 2, (int64_t[]){BATCH, WINDOW}), wanted = read;
  wanted.data = following;
  for (int step = 1; step <= STEPS; step++) {
    for (int i = 0; i < BATCH * WINDOW; i++) { /* windows from anywhere in the rhyme */
      int64_t from = th_random_below((th_random){2, (uint64_t)step}, (uint64_t)(i / WINDOW), TEXT - WINDOW);
      letters[i] = (unsigned char)rhyme[from + i % WINDOW];
      following[i] = (unsigned char)rhyme[from + i % WINDOW + 1];
    }
    th_tape_reset(tape);
    th_var *loss = th_cross_entropy(th_transformer_language(model, tape, &read, NULL), &wanted, 0);
    th_params_zero_grads(model->params);
    th_backward(loss, NULL);
    if (th_tape_error(tape)) return puts(th_tape_error(tape)->text), 1;
    th_adam_update(&adam, 0.005 * (1 - 0.9 * step / STEPS), NULL);
    if (step % 50 == 0) printf("step %3d  loss %.3f\n", step, th_tensor_get(&loss->value, 0));
  }
  int right = recite(model, tape, PROMPT);
  printf("%d of %d times the last %d letters are the rhyme's\n", right, (int)TEXT - PROMPT, WORDS);
  th_adam_free(&adam);
  th_transformer_free(model);
  th_tape_free(tape);
  return right > (TEXT - PROMPT) / 2 ? 0 : 1; /* letters by chance: never */
}
