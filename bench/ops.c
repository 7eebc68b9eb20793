/* ops: times single ops in float, forward and backward, and Adam; or, with --lengths, attention by length. A row gives the
 * median of some runs in nanoseconds, the rate (GFLOP/s where the work is matrix products, else GB/s of what must be read
 * and written at the least), and the memory that the tape takes. With --json it is a line of JSON with the shapes of the
 * inputs: bench/torch_ops.py reads those, and does the same in PyTorch. */
#include "tapehead/nn.h"
#include "tapehead/optim.h"
#include "timing.h"

#include <popt.h>
#include <stdio.h>
#include <stdlib.h>

enum { INPUTS = 3, IDS = 2048, CLASSES = 1024 };

typedef struct {
  th_var *in[INPUTS];
  th_tensor ids; /* TH_I32 [IDS], below CLASSES */
} operands;

typedef struct {
  const char *name, *what;
  th_var *(*build)(const operands *x);
  struct {
    int ndim;
    int64_t shape[4];
  } in[INPUTS]; /* ndim 0: no such input */
  double flops; /* of the products forward; backward has twice as many. 0: count bytes */
  double moves,
      moves_back; /* times the first input's size in memory, forward and backward; 0: has no backward */
} op_case;

typedef struct {
  th_pool *pool;
  th_tape *tape;
  th_tensor ids; /* of operands */
  int repeats, json;
  double seconds;             /* after which a case is not repeated any more */
  double *forward, *backward; /* [repeats] nanoseconds */
  th_error error;
} bench;

/* ---- the ops ------------------------------------------------------------------------------------------- */

static th_var *build_matmul(const operands *x) { return th_matmul(x->in[0], x->in[1]); }
static th_var *build_linear(const operands *x) { return th_linear(x->in[0], x->in[1], x->in[2]); }
static th_var *build_linear_relu(const operands *x) { return th_linear_relu(x->in[0], x->in[1], x->in[2]); }
static th_var *build_linear_gelu_erf(const operands *x) {
  return th_linear_gelu_erf(x->in[0], x->in[1], x->in[2]);
}
static th_var *build_softmax(const operands *x) { return th_softmax(x->in[0], NULL); }
static th_var *build_norm(const operands *x) {
  return th_layer_norm(x->in[0], x->in[1], x->in[2], TH_NORM_EPSILON);
}
static th_var *build_attention(const operands *x) { return th_attention(x->in[0], x->in[1], x->in[2], NULL); }
static th_var *build_linear_attention(const operands *x) {
  return th_linear_attention(x->in[0], x->in[1], x->in[2], &(th_linear_attention_options){.causal = true});
}
static th_var *build_lsh_attention(const operands *x) {
  int64_t chunk = 64, buckets = x->in[0]->value.shape[2] / chunk;
  return th_lsh_attention(x->in[0], x->in[1],
                          &(th_lsh_options){.rounds = 4, .buckets = buckets, .chunk = chunk, .causal = true});
}
static th_var *build_loss(const operands *x) { return th_cross_entropy(x->in[0], &x->ids, 0.1); }
static th_var *build_gelu(const operands *x) { return th_gelu_erf(x->in[0]); }
static th_var *build_gelu_tanh(const operands *x) { return th_gelu_tanh(x->in[0]); }
static th_var *build_relu(const operands *x) { return th_relu(x->in[0]); }
static th_var *build_add(const operands *x) { return th_add(x->in[0], x->in[1]); }
static th_var *build_rotary(const operands *x) { return th_rotary(x->in[0], &x->in[1]->value); }
static th_var *build_dropout(const operands *x) { return th_dropout(x->in[0], 0.1); }
static th_var *build_gather(const operands *x) { return th_gather(x->in[0], &x->ids); }

#define MATMUL(m, k, n) \
  { "matmul", #m "x" #k " " #k "x" #n, build_matmul, {{2, {m, k}}, {2, {k, n}}}, 2.0 * (m) * (k) * (n), 0, 0 }
#define LINEAR(name, rows, from, to) \
  { \
#name, #rows "x" #from " to " #to, build_##name, \
        {{2, {rows, from } }, {2, {to, from } }, {1, {to } } }, 2.0 * (rows) * (from) * (to), 0, 0 \
  }
#define ATTENTION(b, h, t, d) \
  { \
    "attention", "B" #b " H" #h " T" #t " D" #d, build_attention, \
        {{4, {b, h, t, d}}, {4, {b, h, t, d}}, {4, {b, h, t, d}}}, 4.0 * (b) * (h) * (t) * (t) * (d), 0, 0 \
  }

/* A chunk's square, and the sums before it. */
#define LINEAR_ATTENTION(b, h, t, d) \
  { \
    "linear_attention", "B" #b " H" #h " T" #t " D" #d, build_linear_attention, \
        {{4, {b, h, t, d}}, {4, {b, h, t, d}}, {4, {b, h, t, d}}}, \
        2.0 * (b) * (h) * (t) * (d) * (2 * (d) + 2 * 64), 0, 0 \
  }

/* In each of 4 rounds a chunk by itself, which is what there is of a bucket on average. */
#define LSH_ATTENTION(b, h, t, d) \
  { \
    "lsh_attention", "B" #b " H" #h " T" #t " D" #d, build_lsh_attention, \
        {{4, {b, h, t, d}}, {4, {b, h, t, d}}}, 4.0 * (b) * (h) * (t) * (d)*4 * 64, 0, 0 \
  }

/* Moves, in units of the first input: what is read and written once; a gradient added to counts twice.
 * Dropout's mask is a byte per element. Gather moves as much as it gathers. */
static const op_case cases[] = {
    MATMUL(32, 32, 32),
    MATMUL(128, 128, 128),
    MATMUL(512, 512, 512),
    MATMUL(1024, 1024, 1024),
    LINEAR(linear, 320, 32, 64),
    LINEAR(linear, 1024, 64, 256),
    LINEAR(linear, 2048, 128, 512),
    LINEAR(linear, 1024, 512, 2048),
    LINEAR(linear_relu, 2048, 128, 512),
    LINEAR(linear_gelu_erf, 2048, 128, 512),
    ATTENTION(32, 4, 16, 16),
    ATTENTION(16, 8, 64, 16),
    ATTENTION(4, 8, 256, 16),
    ATTENTION(4, 8, 256, 64),
    LINEAR_ATTENTION(4, 8, 256, 32),
    LINEAR_ATTENTION(1, 8, 4096, 32),
    LSH_ATTENTION(4, 8, 256, 32),
    LSH_ATTENTION(1, 8, 4096, 32),
    {"softmax", "8192x64", build_softmax, {{2, {8192, 64}}}, 0, 2, 4},
    {"layer_norm", "2048x128", build_norm, {{2, {2048, 128}}, {1, {128}}, {1, {128}}}, 0, 2, 4},
    {"layer_norm", "1024x512", build_norm, {{2, {1024, 512}}, {1, {512}}, {1, {512}}}, 0, 2, 4},
    {"cross_entropy", "2048x1024", build_loss, {{2, {IDS, CLASSES}}}, 0, 1, 3},
    {"gelu_erf", "2048x512", build_gelu, {{2, {2048, 512}}}, 0, 2, 4},
    {"gelu_tanh", "2048x512", build_gelu_tanh, {{2, {2048, 512}}}, 0, 2, 4},
    {"relu", "2048x512", build_relu, {{2, {2048, 512}}}, 0, 2, 4},
    {"add", "2048x128", build_add, {{2, {2048, 128}}, {2, {2048, 128}}}, 0, 3, 5},
    {"add", "64x32x128 + 32x128", build_add, {{3, {64, 32, 128}}, {2, {32, 128}}}, 0, 2, 4},
    {"rotary", "16x8x64x16", build_rotary, {{4, {16, 8, 64, 16}}, {2, {64, 16}}}, 0, 2, 3},
    {"dropout", "2048x512 p=0.1", build_dropout, {{2, {2048, 512}}}, 0, 2.25, 3.25},
    {"gather", "2048 rows of 1024x128", build_gather, {{2, {CLASSES, 128}}}, 0, 4, 6},
};

/* Adam over 16 parameters: reads four vectors and writes three. */
static const op_case adam_case = {"adam", "16 of 512x512", NULL, {{3, {16, 512, 512}}}, 0, 7, 0};

/* Width 256 in 8 heads, everything seen. The batch shrinks as the length grows, or time would grow with its square. */
static const op_case by_length[] = {
    ATTENTION(32, 8, 64, 32),  ATTENTION(32, 8, 128, 32), ATTENTION(8, 8, 512, 32),
    ATTENTION(2, 8, 1024, 32), ATTENTION(1, 8, 4096, 32),
};

/* ---- timing -------------------------------------------------------------------------------------------- */

static double now(void) { return 1e9 * seconds_on(CLOCK_MONOTONIC); } /* nanoseconds */

/* One run: forward, then backward from a gradient of ones. Backward's time includes what a caller of
 * th_backward always pays: clearing the result's gradient and copying the ones into it. */
static th_status run(bench *b, const op_case *c, const th_tensor in[], const th_tensor grad[], int repeat) {
  operands x = {.ids = b->ids};
  th_tensor ones = {0};
  th_tape_reset(b->tape);
  for (int i = 0; i < INPUTS && c->in[i].ndim; i++) x.in[i] = th_leaf(b->tape, &in[i], &grad[i]);
  double begin = now();
  th_var *y = c->build(&x);
  double middle = now();
  if (!th_tape_error(b->tape)) th_tensor_new(&ones, TH_F32, y->value.ndim, y->value.shape, &b->error);
  if (ones.data) th_fill(&ones, 1);
  double again = now();
  if (ones.data) th_backward(y, &ones);
  b->forward[repeat] = middle - begin;
  b->backward[repeat] = now() - again;
  th_tensor_free(&ones);
  const th_error *failed = th_tape_error(b->tape);
  return failed ? th_error_set(&b->error, failed->status, "%s", failed->text) : b->error.status;
}

/* How many runs there were in `count`, at least one. */
static th_status run_until(bench *b, const op_case *c, const th_tensor in[], const th_tensor grad[],
                           int *count) {
  const int warmup = 2; /* the first run grows the arena, the second finds it joined */
  th_status status = TH_OK;
  for (int i = 0; i < warmup && !status; i++) status = run(b, c, in, grad, 0);
  double end = now() + 1e9 * b->seconds;
  for (*count = 0; !status && *count < b->repeats && (*count == 0 || now() < end); ++*count)
    status = run(b, c, in, grad, *count);
  return status;
}

static void print_json(const op_case *c, double forward, double backward, size_t bytes) {
  printf("{\"name\": \"%s\", \"what\": \"%s\", \"shapes\": [", c->name, c->what);
  for (int i = 0; i < INPUTS && c->in[i].ndim; i++)
    for (int axis = 0; axis < c->in[i].ndim; axis++)
      printf("%s%lld%s",
             axis ? ", "
             : i  ? ", ["
                  : "[",
             (long long)c->in[i].shape[axis], axis == c->in[i].ndim - 1 ? "]" : "");
  printf("], \"ids\": %d, \"forward_seconds\": %.6g, \"backward_seconds\": %.6g, \"tape_bytes\": %zu}\n", IDS,
         1e-9 * forward, 1e-9 * backward, bytes);
}

static void print_row(const op_case *c, double forward, double backward, size_t bytes) {
  double size = 4;
  for (int axis = 0; axis < c->in[0].ndim; axis++) size *= (double)c->in[0].shape[axis];
  bool products = c->flops > 0;
  double work = products ? c->flops : c->moves * size, back = products ? 2 * c->flops : c->moves_back * size;
  printf("%-16s %-22s %12.0f %12.0f %10.1f %10.1f  %-7s %10.0f\n", c->name, c->what, forward, backward,
         work / forward, back > 0 ? back / backward : 0, products ? "GFLOP/s" : "GB/s", (double)bytes / 1024);
}

static void report(bench *b, const op_case *c, int count) {
  double forward = median(b->forward, count), backward = median(b->backward, count);
  (b->json ? print_json : print_row)(c, forward, backward, th_tape_bytes(b->tape));
  fflush(stdout);
}

static th_status time_case(bench *b, const op_case *c) {
  th_tensor in[INPUTS] = {0}, grad[INPUTS] = {0};
  th_status status = TH_OK;
  int runs = 0;
  for (int i = 0; i < INPUTS && c->in[i].ndim && !status; i++) {
    status = th_tensor_new(&in[i], TH_F32, c->in[i].ndim, c->in[i].shape, &b->error);
    if (!status) status = th_tensor_new(&grad[i], TH_F32, c->in[i].ndim, c->in[i].shape, &b->error);
    if (!status) th_fill_normal(&in[i], 0, 1, (th_random){1, (uint64_t)i});
  }
  if (!status) status = run_until(b, c, in, grad, &runs);
  if (!status) report(b, c, runs);
  for (int i = 0; i < INPUTS; i++) th_tensor_free(&in[i]), th_tensor_free(&grad[i]);
  return status;
}

static th_status time_adam(bench *b) {
  const op_case *c = &adam_case;
  th_adam adam = {0};
  th_params *params = th_params_new();
  if (!params) return th_error_set(&b->error, TH_ENOMEM, "no memory");
  for (int i = 0; i < c->in[0].shape[0]; i++) {
    char name[16];
    snprintf(name, sizeof name, "x%d", i);
    th_params_add(params, NULL, name, (th_init){.kind = TH_INIT_NORMAL, .scale = 1}, 2, &c->in[0].shape[1]);
  }
  th_status status = th_params_make(params, TH_F32, 1, &b->error);
  if (!status) status = th_adam_new(&adam, params, &(th_adam_config){0}, &b->error);
  for (int i = 0; i < b->repeats && !status; i++) {
    double begin = now();
    th_adam_update(&adam, 1e-3, b->pool);
    b->forward[i] = now() - begin;
    b->backward[i] = 0;
  }
  th_tape_reset(b->tape); /* of which Adam takes nothing */
  if (!status) report(b, c, b->repeats);
  th_adam_free(&adam);
  th_params_free(params);
  return status;
}

static th_status time_all(bench *b, bool lengths) {
  static int32_t id[IDS];
  const op_case *first = lengths ? by_length : cases;
  size_t count = lengths ? sizeof by_length / sizeof *by_length : sizeof cases / sizeof *cases;
  for (int i = 0; i < IDS; i++) id[i] = (int32_t)th_random_below((th_random){1, 9}, (uint64_t)i, CLASSES);
  b->ids = th_tensor_of(id, TH_I32, 1, (int64_t[]){IDS});
  th_status status = TH_OK;
  if (!b->json)
    printf("%-16s %-22s %12s %12s %10s %10s  %-7s %10s\n", "op", "sizes", "forward ns", "backward ns",
           "forward", "backward", "", "tape KiB");
  for (size_t i = 0; i < count && !status; i++) status = time_case(b, &first[i]);
  return status || lengths ? status : time_adam(b);
}

int main(int count, const char **arguments) {
  bench b = {.repeats = 31, .seconds = 0.1};
  int threads = 1, lengths = 0;
  const int argument = POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT;
  const int real = POPT_ARG_DOUBLE | POPT_ARGFLAG_SHOW_DEFAULT;
  struct poptOption table[] = {
      {"threads", 0, argument, &threads, 0, "processor threads", "N"},
      {"repeats", 0, argument, &b.repeats, 0, "runs of each op at most", "N"},
      {"seconds", 0, real, &b.seconds, 0, "after which it is not run again", "S"},
      {"lengths", 0, POPT_ARG_NONE, &lengths, 0, "attention by length instead", NULL},
      {"json", 0, POPT_ARG_NONE, &b.json, 0, "lines of JSON", NULL},
      POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("ops", count, arguments, table, 0);
  int code = poptGetNextOpt(context);
  if (code < -1) fprintf(stderr, "ops: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  poptFreeContext(context);
  if (code != -1) return 2;
  if (threads < 1 || b.repeats < 1) return fputs("ops: threads and repeats must be above 0\n", stderr), 2;
  b.pool = th_pool_new(threads);
  b.tape = th_tape_new(b.pool);
  b.forward = calloc((size_t)b.repeats, sizeof *b.forward);
  b.backward = calloc((size_t)b.repeats, sizeof *b.backward);
  th_status status = TH_ENOMEM;
  if (b.pool && b.tape && b.forward && b.backward) {
    th_tape_train(b.tape, true);
    status = time_all(&b, lengths);
  }
  if (status) fprintf(stderr, "ops: %s\n", b.error.status ? b.error.text : "no memory");
  free(b.forward);
  free(b.backward);
  th_tape_free(b.tape);
  th_pool_free(b.pool);
  return status ? 1 : 0;
}
