/* attention_length: time and memory of attention by the length of a sequence, forward and backward, causal, one sequence of
 * float: full with all weights kept, full in tiles, LSH with 1, 2, 4 and 8 rounds, linear. The ways take turns; a time is
 * the median. Prints CSV; with --picture FILE.png draws the curves, too. */
#include "tapehead/autograd.h"
#include "tapehead/plot.h"
#include "timing.h"

#include <math.h>
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>

enum { LENGTHS = 6, FIRST = 512, WAYS = 7, REPEATS_MAX = 25 };

static const char *const way_name[WAYS] = {
    "full, weights kept", "full, in tiles", "LSH, 1 round", "LSH, 2 rounds",
    "LSH, 4 rounds",      "LSH, 8 rounds",  "linear"};

typedef struct options {
  int heads, depth, chunk, repeats, longest, whole_longest, threads;
  char *picture;
} options;

typedef struct bench {
  options o;
  th_tape *tape;
  double seconds[LENGTHS][WAYS], megabytes[LENGTHS][WAYS]; /* NAN: not measured */
} bench;

static th_var *attend(const bench *b, int way, th_var *x, int64_t length) {
  if (way < 2)
    return th_attention(
        x, x, x,
        &(th_attention_options){.mask.causal = true, .way = way ? TH_ATTEND_TILES : TH_ATTEND_WHOLE});
  if (way == WAYS - 1) return th_linear_attention(x, x, x, &(th_linear_attention_options){.causal = true});
  int64_t buckets = length / b->o.chunk;
  return th_lsh_attention(x, x,
                          &(th_lsh_options){.rounds = 1 << (way - 2),
                                            .buckets = buckets + buckets % 2,
                                            .chunk = b->o.chunk,
                                            .causal = true,
                                            .random = {1, 2}});
}

static bool measure(bench *b, int way, const th_tensor *x, const th_tensor *grad, double *seconds,
                    double *megabytes) {
  th_tape_reset(b->tape);
  th_var *leaf = th_leaf(b->tape, x, grad);
  clockid_t clock = b->o.threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
  double begin = seconds_on(clock);
  th_backward(th_sum(attend(b, way, leaf, x->shape[2]), TH_ALL_AXES, false), NULL);
  *seconds = seconds_on(clock) - begin;
  *megabytes = (double)th_tape_bytes(b->tape) / 1e6;
  if (!th_tape_error(b->tape)) return true;
  fprintf(stderr, "attention_length: %s\n", th_tape_error(b->tape)->text);
  return false;
}

static bool measure_length(bench *b, int index) {
  int64_t length = (int64_t)FIRST << index, shape[] = {1, b->o.heads, length, b->o.depth};
  double times[WAYS][REPEATS_MAX];
  th_tensor x, grad;
  th_error error;
  if (th_tensor_new(&x, TH_F32, 4, shape, &error)) return fprintf(stderr, "%s\n", error.text), false;
  if (th_tensor_new(&grad, TH_F32, 4, shape, &error)) return fprintf(stderr, "%s\n", error.text), false;
  th_fill_normal(&x, 0, 1, (th_random){3, 4});
  bool done = true;
  for (int repeat = -1; repeat < b->o.repeats && done; repeat++) /* the first warms up */
    for (int way = 0; way < WAYS && done; way++) {
      double seconds = NAN;
      if (way == 0 && length > b->o.whole_longest) b->megabytes[index][way] = NAN;
      else done = measure(b, way, &x, &grad, &seconds, &b->megabytes[index][way]);
      if (repeat >= 0) times[way][repeat] = seconds;
    }
  for (int way = 0; way < WAYS && done; way++)
    b->seconds[index][way] = isnan(b->megabytes[index][way]) ? NAN : median(times[way], b->o.repeats);
  th_tensor_free(&x);
  th_tensor_free(&grad);
  return done;
}

static th_status draw(const bench *b, int lengths, th_error *error) {
  th_series series[WAYS];
  double log_length[LENGTHS], log_time[WAYS][LENGTHS];
  th_plot *plot;
  for (int i = 0; i < lengths; i++) log_length[i] = log2((double)((int64_t)FIRST << i));
  for (int way = 0; way < WAYS; way++) {
    for (int i = 0; i < lengths; i++) log_time[way][i] = log10(1000 * b->seconds[i][way]);
    series[way] = (th_series){.name = way_name[way], .x = log_length, .y = log_time[way], .count = lengths};
  }
  th_curve curve = {.series = series,
                    .count = WAYS,
                    .title = "attention forward and backward, by the length of the sequence",
                    .x = {.name = "log2 of the length"},
                    .left = {.name = "log10 of milliseconds"}};
  th_status status = th_plot_new(&plot, TH_PLOT_SYSTEM_FONTS, error);
  if (!status) status = th_plot_curve(plot, b->o.picture, &curve, error);
  th_plot_free(plot);
  return status;
}

int main(int argc, const char **argv) {
  bench b = {.o = {.heads = 8,
                   .depth = 32,
                   .chunk = 64,
                   .repeats = 5,
                   .longest = 16384,
                   .whole_longest = 8192,
                   .threads = 1}};
#define NUMBER(name, member, what) \
  { name, 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &b.o.member, 0, what, "N" }
  struct poptOption table[] = {NUMBER("heads", heads, "of the sequence"),
                               NUMBER("depth", depth, "of a head's queries, keys and values"),
                               NUMBER("chunk", chunk, "tokens in a chunk of LSH"),
                               NUMBER("repeats", repeats, "of each, at most 25"),
                               NUMBER("longest", longest, "sequence, from 512 on doubled"),
                               NUMBER("whole-longest", whole_longest, "sequence whose weights are kept"),
                               NUMBER("threads", threads, "processor threads"),
                               {"picture", 0, POPT_ARG_STRING, &b.o.picture, 0, "draw the curves", "FILE"},
                               POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("attention_length", argc, argv, table, 0);
  int code = poptGetNextOpt(context), lengths = 0;
  if (code < -1) fprintf(stderr, "attention_length: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  poptFreeContext(context);
  bool fits = b.o.heads > 0 && b.o.depth > 0 && b.o.chunk > 0 && b.o.chunk <= FIRST && b.o.repeats > 0 &&
              b.o.repeats <= REPEATS_MAX;
  if (code == -1 && !fits)
    fprintf(stderr, "attention_length: want numbers above 0, chunks up to 512, repeats up to 25\n");
  if (code != -1 || !fits) return 2;
  th_pool *pool = th_pool_new(b.o.threads);
  th_error error = {.text = "no memory"};
  if (!(b.tape = th_tape_new(pool))) return fprintf(stderr, "attention_length: %s\n", error.text), 1;
  bool done = true;
  printf("length,way,milliseconds,megabytes\n");
  for (; done && lengths < LENGTHS && (FIRST << lengths) <= b.o.longest; lengths++) {
    done = measure_length(&b, lengths);
    for (int way = 0; way < WAYS && done; way++)
      printf("%d,\"%s\",%.3f,%.2f\n", FIRST << lengths, way_name[way], 1000 * b.seconds[lengths][way],
             b.megabytes[lengths][way]);
    fflush(stdout);
  }
  if (done && b.o.picture && draw(&b, lengths, &error)) {
    fprintf(stderr, "attention_length: %s\n", error.text);
    done = false;
  }
  free(b.o.picture);
  th_tape_free(b.tape);
  th_pool_free(pool);
  return done ? 0 : 1;
}
