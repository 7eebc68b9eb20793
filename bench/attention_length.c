/* attention_length: time and memory of attention by the length of a sequence, forward and backward, causal, one sequence of
 * float: full with all weights kept, full in tiles, LSH with 1, 2, 4 and 8 rounds, linear. The ways take turns; a time is
 * the median, on one thread of the processor's time, to which other work on the machine adds little. Prints a table, and
 * from which length on LSH is faster than full attention; --csv FILE, --picture FILE.png (time) and --memory-picture FILE.png
 * write the same. */
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
  char *csv, *picture, *memory_picture;
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

static void print_length(const bench *b, int index) {
  printf("%8d", FIRST << index);
  for (int way = 0; way < WAYS; way++)
    if (isnan(b->seconds[index][way])) printf(" %20s", "-");
    else printf(" %10.1f ms %4.0f MB", 1000 * b->seconds[index][way], b->megabytes[index][way]);
  printf("\n");
  fflush(stdout);
}

/* The shortest length from which on `way` is faster than `other`, as far as both were measured; 0: none. */
static int faster_from(const bench *b, int lengths, int way, int other) {
  int from = 0;
  for (int i = lengths - 1; i >= 0; i--) {
    if (isnan(b->seconds[i][other])) continue;
    if (!(b->seconds[i][way] < b->seconds[i][other])) break;
    from = FIRST << i;
  }
  return from;
}

static void print_crossings(const bench *b, int lengths) {
  for (int other = 0; other < 2; other++)
    for (int way = 2; way < WAYS - 1; way++) {
      int from = faster_from(b, lengths, way, other);
      if (from) printf("%s: faster than %s from length %d on\n", way_name[way], way_name[other], from);
      else printf("%s: not faster than %s at the longest\n", way_name[way], way_name[other]);
    }
}

static bool write_csv(const bench *b, int lengths) {
  FILE *file = fopen(b->o.csv, "w");
  if (file) fprintf(file, "length,way,milliseconds,megabytes\n");
  for (int i = 0; file && i < lengths; i++)
    for (int way = 0; way < WAYS; way++)
      if (!isnan(b->seconds[i][way]))
        fprintf(file, "%d,\"%s\",%.3f,%.2f\n", FIRST << i, way_name[way], 1000 * b->seconds[i][way],
                b->megabytes[i][way]);
  bool failed = !file || ferror(file);
  if (file && fclose(file)) failed = true;
  if (failed) fprintf(stderr, "attention_length: cannot write %s\n", b->o.csv);
  return !failed;
}

/* Numbers [LENGTHS][WAYS], each `times` as much, against the length. */
static th_status draw(const char *path, int lengths, double (*numbers)[WAYS], double times, const char *title,
                      const char *unit, th_error *error) {
  th_series series[WAYS];
  double log_length[LENGTHS], values[WAYS][LENGTHS];
  th_plot *plot;
  for (int i = 0; i < lengths; i++) log_length[i] = log2((double)((int64_t)FIRST << i));
  for (int way = 0; way < WAYS; way++) {
    for (int i = 0; i < lengths; i++) values[way][i] = times * numbers[i][way];
    series[way] = (th_series){.name = way_name[way], .x = log_length, .y = values[way], .count = lengths};
  }
  th_curve curve = {.series = series,
                    .count = WAYS,
                    .title = title,
                    .x = {.name = "log2 of the length"},
                    .left = {.name = unit, .log = true}};
  th_status status = th_plot_new(&plot, TH_PLOT_SYSTEM_FONTS, error);
  if (!status) status = th_plot_curve(plot, path, &curve, error);
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
  struct poptOption table[] = {
      NUMBER("heads", heads, "of the sequence"),
      NUMBER("depth", depth, "of a head's queries, keys and values"),
      NUMBER("chunk", chunk, "tokens in a chunk of LSH"),
      NUMBER("repeats", repeats, "of each, at most 25"),
      NUMBER("longest", longest, "sequence, from 512 on doubled"),
      NUMBER("whole-longest", whole_longest, "sequence whose weights are kept"),
      NUMBER("threads", threads, "processor threads"),
      {"csv", 0, POPT_ARG_STRING, &b.o.csv, 0, "write the numbers", "FILE"},
      {"picture", 0, POPT_ARG_STRING, &b.o.picture, 0, "draw time", "FILE"},
      {"memory-picture", 0, POPT_ARG_STRING, &b.o.memory_picture, 0, "draw memory", "FILE"},
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
  printf("%8s", "length");
  for (int way = 0; way < WAYS; way++) printf(" %20s", way_name[way]);
  printf("\n");
  for (; done && lengths < LENGTHS && (FIRST << lengths) <= b.o.longest; lengths++) {
    done = measure_length(&b, lengths);
    if (done) print_length(&b, lengths);
  }
  if (done) print_crossings(&b, lengths);
  if (done && b.o.csv) done = write_csv(&b, lengths);
  if (done &&
      ((b.o.picture && draw(b.o.picture, lengths, b.seconds, 1000,
                            "time of attention forward and backward, by the length of the sequence",
                            "milliseconds", &error)) ||
       (b.o.memory_picture && draw(b.o.memory_picture, lengths, b.megabytes, 1,
                                   "memory of attention forward and backward, by the length of the sequence",
                                   "megabytes", &error)))) {
    fprintf(stderr, "attention_length: %s\n", error.text);
    done = false;
  }
  free(b.o.csv);
  free(b.o.picture);
  free(b.o.memory_picture);
  th_tape_free(b.tape);
  th_pool_free(pool);
  return done ? 0 : 1;
}
