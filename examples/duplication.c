/* The Reformer's test of attention by hashing (Kitaev, Kaiser & Levskaya 2020, section 2.1): a language model of one layer reads
 * 0 w 0 w, w drawn from the symbols 1 to 127, and must say the second w. It trains with one number of rounds of hashing, or
 * with full attention, and is then asked with others; docs/reformer.md has what came of it. */
#include "tapehead/tapehead.h"

#include <popt.h>
#include <stdio.h>
#include <stdlib.h>

enum { SYMBOLS = 128, TESTS = 256, DATA = 1, TEST_DATA = 2 };
static const int rounds_asked[] = {0, 8, 4, 2, 1}; /* 0: full */

typedef struct options {
  int length, rounds, chunk, width, heads, batch, steps, seed, threads;
  double rate;
  char *out, *from;
} options;

typedef struct bench {
  options o;
  th_transformer *model;
  th_adam adam;
  th_pool *pool;
  th_tape *tape;
  th_tensor read, wanted; /* TH_I32 [batch,length] */
} bench;

/* Full attention is hashing into one bucket: queries for keys, too, so that the same weights serve both. */
static th_nn_method method_of(const options *o, int rounds) {
  int buckets = o->length / o->chunk;
  return (th_nn_method){.kind = TH_ATTENTION_LSH,
                        .rounds = rounds ? rounds : 1,
                        .buckets = rounds ? buckets + buckets % 2 : 1,
                        .chunk = rounds ? o->chunk : o->length};
}

/* Sequences number first, first + 1, ..; only the second w is wanted. */
static void fill(const bench *b, uint64_t stream, int64_t first) {
  int64_t length = b->o.length, half = length / 2;
  int32_t *read = b->read.data, *wanted = b->wanted.data;
  for (int64_t i = 0; i < b->o.batch * length; i++) {
    int64_t row = i / length, place = i % length % half;
    th_random random = {(uint64_t)b->o.seed, stream << 40 | (uint64_t)(first + row)};
    read[i] = place ? 1 + (int32_t)th_random_below(random, (uint64_t)place, SYMBOLS - 1) : 0;
  }
  for (int64_t i = 0; i < b->o.batch * length; i++)
    wanted[i] = i % length < half || i % length == length - 1 ? -1 : read[i + 1];
}

static int train_step(bench *b, int64_t step) {
  th_schedule schedule = {.kind = TH_RATE_COSINE, .base = b->o.rate, .warmup = 200, .total = b->o.steps};
  fill(b, DATA, step * b->o.batch);
  th_tape_reset(b->tape);
  th_tape_train(b->tape, true);
  th_tape_seed(b->tape, (uint64_t)b->o.seed, (uint64_t)step);
  th_params_zero_grads(b->model->params);
  th_var *loss = th_cross_entropy(th_transformer_language(b->model, b->tape, &b->read, NULL), &b->wanted, 0);
  th_backward(loss, NULL);
  if (th_tape_error(b->tape)) return puts(th_tape_error(b->tape)->text), 1;
  th_clip_grad_norm(b->model->params, 1);
  th_adam_update(&b->adam, th_schedule_rate(&schedule, step), b->pool);
  if (step % 500 == 0) printf("step %6ld  loss %.4f\n", (long)step, th_tensor_get(&loss->value, 0));
  return fflush(stdout);
}

static int64_t right_in_batch(const bench *b, const th_tensor *logits, int64_t *asked) {
  const int32_t *wanted = b->wanted.data;
  int64_t right = 0;
  for (int64_t i = 0; i < b->o.batch * b->o.length; i++) {
    const float *l = (const float *)logits->data + i * SYMBOLS;
    int32_t best = 0;
    for (int32_t s = 1; s < SYMBOLS; s++) best = l[s] > l[best] ? s : best;
    *asked += wanted[i] >= 0;
    right += wanted[i] == best;
  }
  return right;
}

/* The share of the second w's symbols that is said right, with so many rounds. */
static double accuracy(bench *b, int rounds) {
  int64_t right = 0, asked = 0;
  th_transformer_attention(b->model, 0)->method = method_of(&b->o, rounds);
  th_tape_train(b->tape, false);
  for (int64_t first = 0; first < TESTS; first += b->o.batch) {
    fill(b, TEST_DATA, first);
    th_tape_reset(b->tape);
    th_tape_record(b->tape, false);
    th_var *logits = th_transformer_language(b->model, b->tape, &b->read, NULL);
    if (th_tape_error(b->tape)) return puts(th_tape_error(b->tape)->text), -1;
    right += right_in_batch(b, &logits->value, &asked);
  }
  return 100 * (double)right / (double)asked;
}

static th_status make(bench *b, th_error *error) {
  const options *o = &b->o;
  th_transformer_config config = {
      .shape = TH_DECODER_ONLY,
      .target_vocabulary = SYMBOLS,
      .decoder_layers = 1,
      .max_length = o->length,
      .layer = {.width = o->width, .heads = o->heads, .feed_forward = o->width, .norm_first = true},
      .positions = TH_POSITIONS_LEARNED,
      .final_norm = true};
  config.layer.attention = method_of(o, o->rounds);
  th_status status = th_transformer_new(&b->model, &config, TH_F32, (uint64_t)o->seed, error);
  if (!status && o->from) status = th_params_load(b->model->params, o->from, error);
  if (!status) status = th_adam_new(&b->adam, b->model->params, &(th_adam_config){.beta2 = 0.98}, error);
  if (!status) status = th_tensor_new(&b->read, TH_I32, 2, (int64_t[]){o->batch, o->length}, error);
  if (!status) status = th_tensor_new(&b->wanted, TH_I32, 2, (int64_t[]){o->batch, o->length}, error);
  b->pool = th_pool_new(o->threads);
  b->tape = th_tape_new(b->pool);
  return status ? status : b->tape ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory");
}

static int run(bench *b) {
  th_error error;
  if (!b->o.from)
    printf("trained with %d rounds (0: full), length %d, chunks of %d\n", b->o.rounds, b->o.length,
           b->o.chunk);
  for (int64_t step = 1; step <= b->o.steps && !b->o.from; step++)
    if (train_step(b, step)) return 1;
  if (b->o.out && th_params_save(b->model->params, b->o.out, NULL, 0, &error))
    return fprintf(stderr, "duplication: %s\n", error.text), 1;
  for (size_t i = 0; i < sizeof rounds_asked / sizeof *rounds_asked; i++)
    printf("asked with %d rounds: %.1f %%\n", rounds_asked[i], accuracy(b, rounds_asked[i]));
  return 0;
}

int main(int argc, const char **argv) {
  bench b = {.o = {.length = 64,
                   .rounds = 4,
                   .chunk = 8,
                   .width = 64,
                   .heads = 4,
                   .batch = 32,
                   .steps = 3000,
                   .seed = 1,
                   .threads = 1,
                   .rate = 0.002}};
#define NUMBER(name, what) \
  { #name, 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &b.o.name, 0, what, "N" }
  struct poptOption table[] = {
      NUMBER(length, "of 0 w 0 w, an even number of chunks"),
      NUMBER(rounds, "of hashing in training, 0: full attention"),
      NUMBER(chunk, "tokens in a chunk"),
      NUMBER(width, "of the model and its feed-forward net"),
      NUMBER(heads, "of the one layer"),
      NUMBER(batch, "sequences in a step, a divisor of 256"),
      NUMBER(steps, "of training"),
      NUMBER(seed, "of weights, data and hashes"),
      NUMBER(threads, "processor threads"),
      {"rate", 0, POPT_ARG_DOUBLE | POPT_ARGFLAG_SHOW_DEFAULT, &b.o.rate, 0, "of learning", "X"},
      {"out", 0, POPT_ARG_STRING, &b.o.out, 0, "for the weights, once trained", "FILE"},
      {"from", 0, POPT_ARG_STRING, &b.o.from, 0, "with weights, instead of training", "FILE"},
      POPT_AUTOHELP POPT_TABLEEND};
  th_error error = {.text =
                        "want positive numbers, chunks that divide the length, and a batch that divides 256"};
  poptContext context = poptGetContext("duplication", argc, argv, table, 0);
  int code = poptGetNextOpt(context);
  if (code < -1) fprintf(stderr, "duplication: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  bool extra = poptPeekArg(context) != NULL;
  poptFreeContext(context);
  const options *o = &b.o;
  bool fits = code == -1 && !extra && o->rounds >= 0 && o->chunk > 0 && o->length > o->chunk &&
              o->length % (2 * o->chunk) == 0 && o->batch > 0 && TESTS % o->batch == 0 && o->steps > 0;
  if (code < -1) return 2;
  if (!fits) return fprintf(stderr, "duplication: %s\n", error.text), 2;
  int status = make(&b, &error) ? (fprintf(stderr, "duplication: %s\n", error.text), 1) : run(&b);
  th_adam_free(&b.adam);
  th_transformer_free(b.model);
  th_tensor_free(&b.read);
  th_tensor_free(&b.wanted);
  th_tape_free(b.tape);
  th_pool_free(b.pool);
  free(b.o.out);
  free(b.o.from);
  return status;
}
