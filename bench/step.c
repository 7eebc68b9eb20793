/* step: times one training step of the encoder-decoder: forward, label-smoothed loss, backward and Adam, in
 * float, on one batch of random tokens without padding. bench/torch_step.py does the same work in PyTorch
 * and prints the same keys; the times are in seconds. */
#include "tapehead/nn.h"
#include "tapehead/optim.h"
#include "timing.h"

#include <math.h>
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEED = 1, SOURCE, TARGET_IN, TARGET_OUT }; /* the last three are streams of random numbers */

typedef struct {
  int width, heads, layers, ff, batch, length, vocabulary, threads, steps, warmup, reversible;
  double dropout;
} options;

typedef struct {
  th_transformer *model;
  th_adam adam;
  th_pool *pool;
  th_tape *tape;
  th_tensor source, target_in, target_out; /* TH_I32 [batch,length] */
  double loss;
  size_t peak; /* bytes of the tape */
} bench;

/* ---- setting up ---------------------------------------------------------------------------------------- */

static bool parse(int count, const char **arguments, options *o) {
  const int argument = POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT;
  const int real = POPT_ARG_DOUBLE | POPT_ARGFLAG_SHOW_DEFAULT;
  struct poptOption table[] = {{"width", 0, argument, &o->width, 0, "of embeddings and layers", "N"},
                               {"heads", 0, argument, &o->heads, 0, "attention heads in each layer", "N"},
                               {"layers", 0, argument, &o->layers, 0, "of the encoder; as many decode", "N"},
                               {"ff", 0, argument, &o->ff, 0, "width inside the feed-forward net", "N"},
                               {"batch", 0, argument, &o->batch, 0, "sentence pairs in a step", "N"},
                               {"length", 0, argument, &o->length, 0, "tokens in each sentence", "N"},
                               {"vocabulary", 0, argument, &o->vocabulary, 0, "words on either side", "N"},
                               {"dropout", 0, real, &o->dropout, 0, "probability of a zero", "P"},
                               {"reversible", 0, POPT_ARG_NONE, &o->reversible, 0, "layers, pre-norm", NULL},
                               {"threads", 0, argument, &o->threads, 0, "processor threads", "N"},
                               {"steps", 0, argument, &o->steps, 0, "timed", "N"},
                               {"warmup", 0, argument, &o->warmup, 0, "steps before those", "N"},
                               POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("step", count, arguments, table, 0);
  int code = poptGetNextOpt(context);
  const char *extra = code == -1 ? poptPeekArg(context) : NULL;
  if (code < -1) fprintf(stderr, "step: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  if (extra) fprintf(stderr, "step: '%s' is no option; see --help\n", extra);
  poptFreeContext(context);
  if (code != -1 || extra) return false;
  if (o->batch >= 1 && o->length >= 1 && o->threads >= 1 && o->steps >= 1 && o->warmup >= 0) return true;
  fprintf(stderr, "step: batch, length, threads and steps must be above 0, warmup not below\n");
  return false;
}

static th_status make_ids(th_tensor *ids, const options *o, uint64_t stream, th_error *error) {
  th_status status = th_tensor_new(ids, TH_I32, 2, (int64_t[]){o->batch, o->length}, error);
  int32_t *id = ids->data;
  for (int64_t i = 0; !status && i < th_tensor_count(ids); i++)
    id[i] = (int32_t)th_random_below((th_random){SEED, stream}, (uint64_t)i, o->vocabulary);
  return status;
}

static th_status make(bench *b, const options *o, th_error *error) {
  th_transformer_config config = {.source_vocabulary = o->vocabulary,
                                  .target_vocabulary = o->vocabulary,
                                  .encoder_layers = o->layers,
                                  .decoder_layers = o->layers,
                                  .max_length = o->length,
                                  .reversible = o->reversible,
                                  .layer = {.width = o->width,
                                            .heads = o->heads,
                                            .feed_forward = o->ff,
                                            .dropout = o->dropout,
                                            .norm_first = o->reversible},
                                  .final_norm = true}; /* as torch.nn.Transformer */
  th_status status = th_transformer_new(&b->model, &config, TH_F32, SEED, error);
  if (!status) status = th_adam_new(&b->adam, b->model->params, &(th_adam_config){0}, error);
  if (!status) status = make_ids(&b->source, o, SOURCE, error);
  if (!status) status = make_ids(&b->target_in, o, TARGET_IN, error);
  if (!status) status = make_ids(&b->target_out, o, TARGET_OUT, error);
  if (status) return status;
  if (!(b->pool = th_pool_new(o->threads)) || !(b->tape = th_tape_new(b->pool)))
    return th_error_set(error, TH_ENOMEM, "no memory or no threads");
  th_tape_train(b->tape, true);
  th_tape_release(b->tape, true);
  return TH_OK;
}

static void unmake(bench *b) {
  th_adam_free(&b->adam);
  th_transformer_free(b->model);
  th_tensor_free(&b->source);
  th_tensor_free(&b->target_in);
  th_tensor_free(&b->target_out);
  th_tape_free(b->tape);
  th_pool_free(b->pool);
}

/* ---- timing -------------------------------------------------------------------------------------------- */

static th_status step(bench *b, int number, th_error *error) {
  th_tape_reset(b->tape);
  th_tape_seed(b->tape, SEED, (uint64_t)number);
  th_params_zero_grads(b->model->params);
  th_var *memory = th_transformer_encode(b->model, b->tape, &b->source, NULL, NULL);
  th_var *logits = th_transformer_decode(b->model, memory, NULL, &b->target_in, NULL);
  th_var *loss = th_cross_entropy(logits, &b->target_out, 0.1);
  th_backward(loss, NULL);
  const th_error *failed = th_tape_error(b->tape);
  if (failed) return th_error_set(error, failed->status, "%s", failed->text);
  th_adam_update(&b->adam, 1e-3, b->pool);
  b->loss = th_tensor_get(&loss->value, 0);
  if (th_tape_bytes(b->tape) > b->peak) b->peak = th_tape_bytes(b->tape);
  return TH_OK;
}

static th_status time_steps(bench *b, const options *o, double *seconds, th_error *error) {
  for (int i = -o->warmup; i < o->steps; i++) {
    double begin = seconds_on(CLOCK_MONOTONIC);
    th_status status = step(b, i + o->warmup, error);
    if (status) return status;
    if (i >= 0) seconds[i] = seconds_on(CLOCK_MONOTONIC) - begin;
  }
  if (isfinite(b->loss)) return TH_OK;
  return th_error_set(error, TH_ENAN, "the loss became %g: these times mean nothing", b->loss);
}

/* ---- reporting ----------------------------------------------------------------------------------------- */

/* Floating-point operations in the matrix products of one step: forward, and twice as many backward. */
static double products(const options *o) {
  double e = o->width, t = o->length, f = o->ff;
  double attention = 4 * e * e + 2 * t * e, feed_forward = 2 * e * f; /* multiply-adds per token */
  double token = o->layers * (3 * attention + 2 * feed_forward) + e * o->vocabulary;
  return 3 * 2 * token * o->batch * t;
}

static void report(const bench *b, const options *o, double *seconds) {
  int n = o->steps;
  double middle = median(seconds, n); /* which sorts them */
  printf("{\"seconds_per_step\": %.9g, \"min\": %.9g, \"max\": %.9g, \"steps\": %d, \"threads\": %d, "
         "\"gflops\": %.4g, \"peak_bytes\": %zu, \"parameters\": %lld, \"loss\": %.9g, \"blas\": \"%s\"}\n",
         middle, seconds[0], seconds[n - 1], n, o->threads, products(o) / middle / 1e9, b->peak,
         (long long)th_params_elements(b->model->params), b->loss, th_blas_kernels());
}

int main(int count, const char **arguments) {
  options o = {.width = 128,
               .heads = 4,
               .layers = 2,
               .ff = 512,
               .batch = 32,
               .length = 32,
               .vocabulary = 128,
               .threads = 1,
               .steps = 20,
               .warmup = 3,
               .dropout = 0.1};
  bench b = {0};
  th_error error = {0};
  if (!parse(count, arguments, &o)) return 2;
  double *seconds = calloc((size_t)o.steps, sizeof *seconds);
  if (!seconds) return fputs("step: no memory\n", stderr), 1;
  th_status status = make(&b, &o, &error);
  if (!status) status = time_steps(&b, &o, seconds, &error);
  if (status) fprintf(stderr, "step: %s\n", error.text);
  else report(&b, &o, seconds);
  free(seconds);
  unmake(&b);
  return status ? 1 : 0;
}
