/* limit: what the machine could do of a training step: the step's matrix products alone, each by the faster of OpenBLAS and our
 * own kernels, and how fast memory can be copied. Takes step's options; prints the same kind of line. */
#include "../src/tensor/kernels.h"
#include "timing.h"

#include <cblas.h>
#include <popt.h>
#include <stdio.h>
#include <string.h>

enum { ROUNDS = 5 };
#define COPIED ((int64_t)1 << 28) /* bytes: more than caches hold */
#define LEAST_SECONDS 2e-3        /* a product is repeated until it takes this long */

typedef struct options {
  int width, heads, layers, ff, batch, length, vocabulary, threads;
} options;

typedef struct bench {
  options o;
  th_pool *pool;
  th_arena *memory;
  double seconds, flops; /* of the step's products so far */
} bench;

/* One product of a step: `batch` of them side by side, `times` in the step. */
typedef struct product {
  bool transpose_a, transpose_b;
  int64_t batch, m, n, k, times;
} product;

/* ---- one product ------------------------------------------------------------------------------------------------ */

static th_tensor matrices(bench *b, bool transposed, int64_t batch, int64_t rows, int64_t columns) {
  int64_t shape[] = {batch, transposed ? columns : rows, transposed ? rows : columns};
  size_t bytes = (size_t)(batch * rows * columns) * sizeof(float);
  float *data = th_arena_alloc(b->memory, bytes);
  for (int64_t i = 0; data && i < batch * rows * columns; i++) data[i] = (float)(i % 13) / 13;
  th_tensor stored = th_tensor_of(data, TH_F32, 3, shape), made = stored;
  if (transposed) th_view_permute(&made, &stored, (int[]){0, 2, 1});
  return made;
}

static void by_blas(const bench *b, const product *p, const th_tensor *x, const th_tensor *y,
                    const th_tensor *z) {
  openblas_set_num_threads(b->o.threads);
  for (int64_t i = 0; i < p->batch; i++)
    cblas_sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
                p->transpose_b ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k, 1,
                (float *)x->data + i * p->m * p->k, (int)(p->transpose_a ? p->m : p->k),
                (float *)y->data + i * p->k * p->n, (int)(p->transpose_b ? p->k : p->n), 0,
                (float *)z->data + i * p->m * p->n, (int)p->n);
}

static double once(const bench *b, const product *p, bool blas, const th_tensor *x, const th_tensor *y,
                   const th_tensor *z, int repeats) {
  double begin = seconds_on(CLOCK_MONOTONIC);
  for (int i = 0; i < repeats; i++) {
    if (blas) by_blas(b, p, x, y, z);
    else th_k_matmul(b->pool, 1, x, y, 0, z);
  }
  return (seconds_on(CLOCK_MONOTONIC) - begin) / repeats;
}

/* The faster way's median of some rounds, in which the two take turns. */
static void add_product(bench *b, product p) {
  th_tensor x = matrices(b, p.transpose_a, p.batch, p.m, p.k),
            y = matrices(b, p.transpose_b, p.batch, p.k, p.n), z = matrices(b, false, p.batch, p.m, p.n);
  double taken[2][ROUNDS], faster;
  if (!x.data || !y.data || !z.data) {
    b->seconds = -1;
    return;
  }
  int repeats = 1 + (int)(LEAST_SECONDS / (once(b, &p, false, &x, &y, &z, 1) + 1e-9));
  for (int i = 0; i < ROUNDS; i++)
    for (int way = 0; way < 2; way++) taken[way][i] = once(b, &p, way, &x, &y, &z, repeats);
  faster = median(taken[0], ROUNDS);
  if (median(taken[1], ROUNDS) < faster) faster = median(taken[1], ROUNDS);
  b->seconds += faster * (double)p.times;
  b->flops += 2.0 * (double)(p.batch * p.m * p.n * p.k * p.times);
  th_arena_reset(b->memory);
}

/* ---- the step's --------------------------------------------------------------------------------------------------- */

/* y = x w', and of its gradient g those of x and of w: g w and g' x. */
static void add_linear(bench *b, int64_t out, int64_t in, int64_t times) {
  int64_t rows = (int64_t)b->o.batch * b->o.length;
  add_product(b, (product){false, true, 1, rows, out, in, times});
  add_product(b, (product){false, false, 1, rows, in, out, times});
  add_product(b, (product){true, false, 1, out, in, rows, times});
}

/* Scores q k' and output p v; the same shapes again for the gradients of p, of q, and, transposed, of k and v. */
static void add_attention(bench *b, int64_t times) {
  int64_t heads = (int64_t)b->o.batch * b->o.heads, t = b->o.length, d = b->o.width / b->o.heads;
  add_product(b, (product){false, true, heads, t, t, d, 2 * times});
  add_product(b, (product){false, false, heads, t, d, t, 2 * times});
  add_product(b, (product){true, false, heads, t, d, t, 2 * times});
}

static void add_step(bench *b) {
  const options *o = &b->o;
  add_linear(b, 3 * o->width, o->width, 2 * o->layers); /* queries, keys and values of self-attention */
  add_linear(b, 2 * o->width, o->width, o->layers);     /* cross-attention's keys and values */
  add_linear(b, o->width, o->width, 4 * o->layers);     /* its queries, and what three attentions put out */
  add_linear(b, o->ff, o->width, 2 * o->layers);
  add_linear(b, o->width, o->ff, 2 * o->layers);
  add_linear(b, o->vocabulary, o->width, 1);
  add_attention(b, 3 * o->layers);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

typedef struct copying {
  char *from, *to;
  int64_t piece;
} copying;

static void copy_piece(void *context, int64_t index) {
  const copying *c = context;
  memcpy(c->to + index * c->piece, c->from + index * c->piece, (size_t)c->piece);
}

/* GB/s, read and written. */
static double bandwidth(bench *b) {
  copying c = {th_arena_alloc(b->memory, COPIED), th_arena_alloc(b->memory, COPIED), COPIED / b->o.threads};
  double taken[ROUNDS];
  if (!c.from || !c.to) return 0;
  memset(c.from, 1, COPIED), memset(c.to, 1, COPIED);
  for (int i = 0; i < ROUNDS; i++) {
    double begin = seconds_on(CLOCK_MONOTONIC);
    th_parallel(b->pool, b->o.threads, copy_piece, &c);
    taken[i] = seconds_on(CLOCK_MONOTONIC) - begin;
  }
  return 2e-9 * (double)COPIED / median(taken, ROUNDS);
}

int main(int count, const char **arguments) {
  bench b = {.o = {128, 4, 2, 512, 32, 32, 128, 1}};
#define OPTION(name) \
  { #name, 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &b.o.name, 0, "as step's", "N" }
  struct poptOption table[] = {OPTION(width),      OPTION(heads),   OPTION(layers),
                               OPTION(ff),         OPTION(batch),   OPTION(length),
                               OPTION(vocabulary), OPTION(threads), POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("limit", count, arguments, table, 0);
  int code = poptGetNextOpt(context);
  if (code < -1) fprintf(stderr, "limit: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  poptFreeContext(context);
  if (code != -1 || b.o.threads < 1 || b.o.heads < 1 || b.o.width < b.o.heads) return 2;
  b.pool = th_pool_new(b.o.threads), b.memory = th_arena_new();
  if (b.pool && b.memory) add_step(&b);
  double copied = b.pool && b.memory ? bandwidth(&b) : 0;
  bool done = b.seconds > 0 && copied > 0;
  if (done)
    printf("{\"seconds_per_step\": %.9g, \"gflops\": %.4g, \"copy_gb_per_second\": %.4g, \"threads\": %d, "
           "\"blas\": \"%s\"}\n",
           b.seconds, b.flops / b.seconds / 1e9, copied, b.o.threads, th_blas_kernels());
  else fputs("limit: no memory\n", stderr);
  th_arena_free(b.memory);
  th_pool_free(b.pool);
  return done ? 0 : 1;
}
