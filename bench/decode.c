/* decode: what a token costs in outputs of growing length, with the keys and values of earlier tokens kept and
 * without. Greedy or by beam search, float; the end mark never comes. Printed is the median over runs of the processor's
 * time for a whole output, the encoder with it, over the number of its tokens, in milliseconds.
 * With --json only outputs of the greatest length are timed, keys and values kept, by the time that passes: a line of
 * JSON, which bench/torch_decode.py reads to do the same in PyTorch. */
#include "tapehead/nn.h"
#include "tapehead/plot.h"
#include "timing.h"

#include <popt.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEED = 1, SOURCE, BEGIN = 1, END = 2 };
#define LENGTHS_MAX 16
#define SHORTEST 8

typedef struct {
  int width, heads, layers, ff, batch, source, vocabulary, threads, longest, runs, beam, json;
  char *picture;
} options;

typedef struct {
  th_transformer *model;
  th_pool *pool;
  th_tape *tape;
  th_tensor source; /* TH_I32 [batch,source] */
} bench;

/* ---- setting up ---------------------------------------------------------------------------------------- */

static bool parse(int count, const char **arguments, options *o) {
  const int argument = POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT;
  struct poptOption table[] = {
      {"width", 0, argument, &o->width, 0, "of embeddings and layers", "N"},
      {"heads", 0, argument, &o->heads, 0, "attention heads in each layer", "N"},
      {"layers", 0, argument, &o->layers, 0, "of the encoder; as many decode", "N"},
      {"ff", 0, argument, &o->ff, 0, "width inside the feed-forward net", "N"},
      {"batch", 0, argument, &o->batch, 0, "sequences decoded together", "N"},
      {"source", 0, argument, &o->source, 0, "tokens in each source", "N"},
      {"vocabulary", 0, argument, &o->vocabulary, 0, "words on either side", "N"},
      {"threads", 0, argument, &o->threads, 0, "processor threads", "N"},
      {"longest", 0, argument, &o->longest, 0, "output, in tokens; doubled from 8 on", "N"},
      {"runs", 0, argument, &o->runs, 0, "of which the median counts", "N"},
      {"beam", 0, argument, &o->beam, 0, "outputs kept open; 1: greedy", "N"},
      {"json", 0, POPT_ARG_NONE, &o->json, 0, "a line of JSON", NULL},
      {"picture", 0, POPT_ARG_STRING, &o->picture, 0, "draw the curve", "FILE.png"},
      POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("decode", count, arguments, table, 0);
  int code = poptGetNextOpt(context);
  const char *extra = code == -1 ? poptPeekArg(context) : NULL;
  if (code < -1) fprintf(stderr, "decode: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  if (extra) fprintf(stderr, "decode: '%s' is no option; see --help\n", extra);
  poptFreeContext(context);
  if (code != -1 || extra) return false;
  if (o->batch >= 1 && o->source >= 1 && o->threads >= 1 && o->runs >= 1 && o->beam >= 1 &&
      o->vocabulary > END && o->longest >= SHORTEST && o->longest <= SHORTEST << (LENGTHS_MAX - 1))
    return true;
  fprintf(stderr, "decode: batch, source, threads, runs and beam must be above 0, vocabulary above 2, "
                  "longest 8 or more\n");
  return false;
}

static th_status make(bench *b, const options *o, th_error *error) {
  th_transformer_config config = {.source_vocabulary = o->vocabulary,
                                  .target_vocabulary = o->vocabulary,
                                  .encoder_layers = o->layers,
                                  .decoder_layers = o->layers,
                                  .max_length = o->longest > o->source ? o->longest : o->source,
                                  .layer = {.width = o->width, .heads = o->heads, .feed_forward = o->ff},
                                  .final_norm = true}; /* as torch.nn.Transformer */
  th_status status = th_transformer_new(&b->model, &config, TH_F32, SEED, error);
  if (!status) status = th_tensor_new(&b->source, TH_I32, 2, (int64_t[]){o->batch, o->source}, error);
  if (status) return status;
  for (int64_t i = 0; i < th_tensor_count(&b->source); i++)
    th_tensor_set(&b->source, i,
                  (double)th_random_below((th_random){SEED, SOURCE}, (uint64_t)i, o->vocabulary));
  th_tensor_set(&b->model->output.bias->value, END, -1e6);
  b->pool = th_pool_new(o->threads);
  b->tape = b->pool ? th_tape_new(b->pool) : NULL;
  return b->tape ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory for threads and tape");
}

static void unmake(bench *b) {
  th_transformer_free(b->model);
  th_tensor_free(&b->source);
  th_tape_free(b->tape);
  th_pool_free(b->pool);
}

/* ---- timing -------------------------------------------------------------------------------------------- */

static th_status decode(bench *b, const options *o, int64_t length, bool cached, clockid_t clock,
                        double *seconds, th_error *error) {
  th_search_options search = {.begin = BEGIN,
                              .end = END,
                              .limit = length,
                              .beam = o->beam,
                              .recompute = !cached,
                              .unscored = o->beam == 1};
  th_hypotheses found;
  double begin = seconds_on(clock);
  th_status status = th_search(b->model, b->tape, &b->source, NULL, &search, &found, error);
  *seconds = seconds_on(clock) - begin;
  if (!status && found.list[0].length != length)
    status = th_error_set(error, TH_ENAN, "the output ended before its time: these times mean nothing");
  th_hypotheses_free(&found);
  return status;
}

static th_status time_longest(bench *b, const options *o, double *runs, th_error *error) {
  th_status status = TH_OK;
  for (int i = -1; i < o->runs && !status; i++) /* the first takes the tape's memory */
    status = decode(b, o, o->longest, true, CLOCK_MONOTONIC, &runs[i < 0 ? 0 : i], error);
  if (status) return status;
  double seconds = median(runs, o->runs);
  printf("{\"width\": %d, \"heads\": %d, \"layers\": %d, \"ff\": %d, \"batch\": %d, \"source\": %d, "
         "\"vocabulary\": %d, \"longest\": %d, \"beam\": %d, \"threads\": %d, \"seconds\": %.6g, "
         "\"tokens_per_second\": %.6g, \"blas\": \"%s\"}\n",
         o->width, o->heads, o->layers, o->ff, o->batch, o->source, o->vocabulary, o->longest, o->beam,
         o->threads, seconds, (double)o->batch * o->longest / seconds, th_blas_kernels());
  return TH_OK;
}

/* The two take turns, so that what else the machine does falls on both. runs: room for two times o->runs. */
static th_status time_length(bench *b, const options *o, int64_t length, double *runs, double *cached,
                             double *anew, th_error *error) {
  const clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  double *others = runs + o->runs;
  th_status status = decode(b, o, length, true, clock, runs, error); /* the tape takes its memory */
  for (int i = 0; i < o->runs && !status; i++) {
    status = decode(b, o, length, true, clock, &runs[i], error);
    if (!status) status = decode(b, o, length, false, clock, &others[i], error);
  }
  if (status) return status;
  *cached = 1e3 * median(runs, o->runs) / (double)length;
  *anew = 1e3 * median(others, o->runs) / (double)length;
  printf("%8lld %12.4f %12.4f %8.1f\n", (long long)length, *cached, *anew, *anew / *cached);
  fflush(stdout);
  return status;
}

static th_status draw(const options *o, int count, const double *x, const double *cached, const double *anew,
                      th_error *error) {
  th_plot *plot;
  th_series series[] = {{.name = "everything computed again", .x = x, .y = anew, .count = count},
                        {.name = "keys and values kept", .x = x, .y = cached, .count = count}};
  th_curve curve = {.series = series,
                    .count = 2,
                    .title = o->beam == 1 ? "greedy decoding" : "beam search",
                    .x = {.name = "tokens in the output"},
                    .left = {.name = "processor milliseconds per token"}};
  th_status status = th_plot_new(&plot, TH_PLOT_SYSTEM_FONTS, error);
  if (!status) status = th_plot_curve(plot, o->picture, &curve, error);
  th_plot_free(plot);
  return status;
}

static th_status time_all(bench *b, const options *o, double *runs, th_error *error) {
  double x[LENGTHS_MAX], cached[LENGTHS_MAX], anew[LENGTHS_MAX];
  int count = 0;
  th_status status = TH_OK;
  printf("processor milliseconds per token, %d at once, %d threads, %s kernels\n", o->batch, o->threads,
         th_blas_kernels());
  printf("%8s %12s %12s %8s\n", "length", "cache", "no cache", "ratio");
  for (int64_t length = SHORTEST; length <= o->longest && !status; length *= 2, count++) {
    x[count] = (double)length;
    status = time_length(b, o, length, runs, &cached[count], &anew[count], error);
  }
  if (!status && o->picture) status = draw(o, count, x, cached, anew, error);
  return status;
}

int main(int count, const char **arguments) {
  options o = {.width = 128,
               .heads = 4,
               .layers = 3,
               .ff = 512,
               .batch = 1,
               .source = 32,
               .vocabulary = 128,
               .threads = 1,
               .longest = 512,
               .runs = 5,
               .beam = 1};
  bench b = {0};
  th_error error = {0};
  if (!parse(count, arguments, &o)) return 2;
  double *runs = calloc(2 * (size_t)o.runs, sizeof *runs);
  th_status status = runs ? make(&b, &o, &error) : th_error_set(&error, TH_ENOMEM, "no memory");
  if (!status) status = (o.json ? time_longest : time_all)(&b, &o, runs, &error);
  if (status) fprintf(stderr, "decode: %s\n", error.text);
  free(runs);
  free(o.picture);
  unmake(&b);
  return status ? 1 : 0;
}
