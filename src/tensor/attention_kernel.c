/* Scaled dot-product attention (Vaswani et al. 2017, equation 1), one head of one sequence at a time. */
#include "rows.h"
#include "vecmath.h"

#include <math.h>
#include <stdalign.h>
#include <string.h>

#define AT_ONCE 4096 /* scores whose exponentials are taken together: they stay in the first cache */
#define QUERIES 8    /* and more: worth a vector of them, of which lanes may stay empty */
#define KEYS 128     /* and fewer: their vectors, too, stay in the first cache */

#define ROOM (AT_ONCE * sizeof(double)) /* bytes of a head's weights by key */

#define TH_KERNELS "attention_kernel.inc"
#include "each_real.h"

#define SEQUENCES 8          /* and more: each is one task */
#define SMALL_WORK (1 << 15) /* multiply-adds below which waking other threads costs more than it brings */

char *th_head_of(const th_tensor *x, int64_t head, int64_t heads) {
  if (!x->data) return NULL;
  int64_t h = head % heads * x->shape[1] / heads, b = head / heads;
  return (char *)x->data + (b * x->stride[0] + h * x->stride[1]) * (int64_t)th_dtype_size(x->dtype);
}

int64_t th_head_ld(const th_tensor *x) { return x->shape[2] == 1 ? x->shape[3] : x->stride[2]; }

/* The part of a head's weights that is made. */
typedef struct {
  int64_t rows, columns;
} part;

static part part_of(const th_attention_job *j, int64_t head) {
  int64_t b = head / j->weights.shape[1];
  return (part){j->row_length ? j->row_length[b] : j->weights.shape[2],
                j->column_length ? j->column_length[b] : j->weights.shape[3]};
}

/* A head with few scores, all of which stay in the first cache, has its weights by key: [Tk,Tq], with enough queries side by side
 * to fill vectors, so that a query's largest score and its sum are found without reducing any. */
bool th_attention_by_key(const th_attention_job *j) {
  int64_t queries = j->weights.shape[2], keys = j->weights.shape[3];
  return !j->bias.data && !j->mask.allowed && queries >= QUERIES && keys <= KEYS && queries * keys <= AT_ONCE;
}

/* The draws of a head's dropout are those of all of its weights, by query, whatever is made of them. */
static uint8_t *draws_of(const th_attention_job *j, int64_t head) {
  return j->keep + head * j->weights.shape[2] * j->weights.shape[3];
}

/* Once and for backward, too: the draws of what is made of a head, by key. */
static void turn_draws(const th_attention_job *j, int64_t head, part of) {
  uint8_t by_query[AT_ONCE], *keep = draws_of(j, head);
  int64_t keys = j->weights.shape[3];
  memcpy(by_query, keep, (size_t)(of.rows * keys));
  for (int64_t i = 0; i < of.rows; i++)
    for (int64_t k = 0; k < of.columns; k++) keep[k * of.rows + i] = by_query[i * keys + k];
}

static void drop(const th_attention_job *j, int64_t head, part of, char *from, char *to) {
  part lines = j->by_key ? (part){1, of.rows * of.columns} : of;
  TH_FOR(j->q.dtype, keep_rows, lines.rows, lines.columns, draws_of(j, head), j->weights.shape[3],
         j->keep_scale, (void *)from, (void *)to);
}

/* What stands behind each other in a head: queries, keys, values, outputs, or gradients of theirs. */
typedef struct {
  char *data;
  int64_t ld, width;
} rows_of;

static rows_of of_head(const th_attention_job *j, const th_tensor *x, int64_t head) {
  return (rows_of){th_head_of(x, head, j->weights.shape[1]), th_head_ld(x), x->shape[3]};
}

/* to = scale a b', one number for each query's row of a and key's row of b. */
static void pair_up(const th_attention_job *j, part of, double scale, rows_of a, rows_of b, char *to) {
  if (j->by_key)
    th_gemm(j->q.dtype, false, true, of.columns, of.rows, a.width, scale, b.data, b.ld, a.data, a.ld, 0, to,
            of.rows);
  else
    th_gemm(j->q.dtype, false, true, of.rows, of.columns, a.width, scale, a.data, a.ld, b.data, b.ld, 0, to,
            of.columns);
}

/* to = scale w from + beta to, where `from` has a row for each key and `to` one for each query; `back`: the other way, by w'. */
static void weigh(const th_attention_job *j, part of, bool back, double scale, const char *w, rows_of from,
                  double beta, rows_of to) {
  th_gemm(j->q.dtype, back != j->by_key, false, back ? of.columns : of.rows, to.width,
          back ? of.rows : of.columns, scale, w, j->by_key ? of.rows : of.columns, from.data, from.ld, beta,
          to.data, to.ld);
}

static void add_bias(const th_attention_job *j, int64_t head, part of, char *p) {
  int64_t size = (int64_t)th_dtype_size(j->q.dtype);
  char *bias = th_head_of(&j->bias, head, j->weights.shape[1]);
  for (int64_t i = 0; i < of.rows; i++)
    TH_FOR(j->q.dtype, add_run, of.columns, (void *)(bias + i * j->bias.stride[2] * size), j->bias.stride[3],
           (void *)(p + i * of.columns * size));
}

/* Rows of x from `made` to `all` are 0. */
static void clear_rest(const th_attention_job *j, rows_of x, int64_t made, int64_t all) {
  if (x.data && made < all)
    TH_FOR(j->q.dtype, clear_rows, all - made, x.width,
           (void *)(x.data + made * x.ld * (int64_t)th_dtype_size(j->q.dtype)), x.ld);
}

/* The head's matrix of x, or where x is not kept the room. */
static char *matrix_of(const th_attention_job *j, const th_tensor *x, int64_t head, char *room) {
  return x->data ? th_head_of(x, head, j->weights.shape[1]) : room;
}

static void make_weights(const th_attention_job *j, int64_t head, part of, char *p) {
  pair_up(j, of, j->scale, of_head(j, &j->q, head), of_head(j, &j->k, head), p);
  if (j->bias.data) add_bias(j, head, of, p);
  if (j->by_key) TH_FOR(j->q.dtype, weigh_by_key, j, of.rows, of.columns, (void *)p);
  else TH_FOR(j->q.dtype, weigh_head, j, head, of.rows, of.columns, (void *)p);
}

static void forward_head(const th_attention_job *j, int64_t head) {
  alignas(TH_VECTOR_BYTES) char room[ROOM], dropped[ROOM];
  part of = part_of(j, head);
  char *p = matrix_of(j, &j->weights, head, room), *used = p;
  rows_of out = of_head(j, &j->out, head);
  if (!of.columns) of.rows = 0; /* nothing is seen */
  clear_rest(j, out, of.rows, j->out.shape[2]);
  if (!of.rows) return;
  make_weights(j, head, of, p);
  if (j->keep) {
    if (j->by_key) turn_draws(j, head, of);
    drop(j, head, of, p, used = matrix_of(j, &j->dropped, head, dropped));
  }
  weigh(j, of, false, 1, used, of_head(j, &j->v, head), 0, out);
}

/* Of the head's gradients that are written what the rest of backward does not write. */
static void begin_gradients(const th_attention_job *j, int64_t head, part of) {
  part made = of.rows && of.columns ? of : (part){0, 0};
  if (j->first_q) clear_rest(j, of_head(j, &j->gq, head), made.rows, j->q.shape[2]);
  if (j->first_k) clear_rest(j, of_head(j, &j->gk, head), made.columns, j->k.shape[2]);
  if (j->first_v) clear_rest(j, of_head(j, &j->gv, head), made.columns, j->v.shape[2]);
}

static void backward_head(const th_attention_job *j, int64_t head) {
  alignas(TH_VECTOR_BYTES) char room[ROOM], dropped[ROOM], graded[ROOM];
  th_dtype dtype = j->q.dtype;
  part of = part_of(j, head);
  begin_gradients(j, head, of);
  char *p = matrix_of(j, &j->weights, head, room), *used = p, *g = matrix_of(j, &j->gscores, head, graded);
  rows_of gout = of_head(j, &j->gout, head);
  if (!of.rows || !of.columns) return;
  if (!j->weights.data) make_weights(j, head, of, p);
  pair_up(j, of, 1, gout, of_head(j, &j->v, head), g);
  if (j->keep) used = matrix_of(j, &j->dropped, head, dropped);
  if (j->keep && !j->dropped.data) drop(j, head, of, p, used);
  if (j->gv.data) /* here, where g has time to come into the cache */
    weigh(j, of, true, 1, used, gout, !j->first_v, of_head(j, &j->gv, head));
  if (j->keep) drop(j, head, of, g, g);
  if (j->by_key) TH_FOR(dtype, backward_by_key, of.rows, of.columns, (void *)p, (void *)g);
  else TH_FOR(dtype, backward_rows, of.rows, of.columns, (void *)p, (void *)g);
  if (j->gq.data)
    weigh(j, of, false, j->scale, g, of_head(j, &j->k, head), !j->first_q, of_head(j, &j->gq, head));
  if (j->gk.data)
    weigh(j, of, true, j->scale, g, of_head(j, &j->q, head), !j->first_k, of_head(j, &j->gk, head));
}

/* Heads that add to the same gradients of keys, values or a bias are one task, so that they do it in turn. */
int64_t th_heads_together(const th_attention_job *j) {
  int64_t batch = j->weights.shape[0], heads = j->weights.shape[1];
  if (j->gbias.data && batch > 1 && !j->gbias.stride[0]) return batch * heads;
  if (j->gbias.data && heads > 1 && !j->gbias.stride[1]) return heads;
  int64_t share_key = heads / j->k.shape[1], share_value = heads / j->v.shape[1];
  int64_t together = share_key;
  while (together % share_value) together += share_key;
  return together;
}

/* Some neighbouring heads. */
typedef struct {
  const th_attention_job *job;
  void (*head)(const th_attention_job *job, int64_t head);
  int64_t heads; /* of a task */
} share;

static void run_share(void *context, int64_t task) {
  const share *s = context;
  for (int64_t head = task * s->heads; head < (task + 1) * s->heads; head++) s->head(s->job, head);
}

/* Threads that work on heads of one sequence would write to neighbouring lines of cache; with enough sequences each has its own. */
static void run(th_pool *pool, share s, int64_t together) {
  int64_t batch = s.job->weights.shape[0], heads = s.job->weights.shape[1];
  if (batch * heads == 0) return;
  if (th_tensor_count(&s.job->weights) * s.job->q.shape[3] < SMALL_WORK) pool = NULL;
  s.heads = batch >= SEQUENCES && heads > together ? heads : together;
  th_blas_one_thread();
  th_parallel(pool, batch * heads / s.heads, run_share, &s);
}

void th_k_attention(th_pool *pool, const th_attention_job *job) {
  run(pool, (share){job, forward_head, 0}, 1);
}

void th_k_attention_backward(th_pool *pool, const th_attention_job *job) {
  if (job->weights.shape[0] * job->weights.shape[1] > 0)
    run(pool, (share){job, backward_head, 0}, th_heads_together(job));
}
