/* LSH attention (Kitaev, Kaiser & Levskaya 2020, section 2), one head of one sequence at a time.
 *
 * What a query sees is a set of keys, and its result the softmax over that set. A key that several rounds show is taken
 * in the first of them: that is the paper's weight 1 / N in each of N rounds, without rounding. Sorted by bucket, each
 * bucket is cut into chunks from its own beginning on, so that no later token moves the borders between earlier ones. */
#include "kernels.h"
#include "vecmath.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TH_KERNELS "lsh_kernel.inc"
#include "each_real.h"

#define HASH_ROWS 64 /* hashed at once */

int64_t th_lsh_chunk(int64_t chunk, int64_t length) { return chunk < length ? chunk : length ? length : 1; }

/* One head: matrices whose rows are dense and `ld` apart, and what its rounds have made of it. */
typedef struct {
  const th_lsh_job *j;
  th_dtype dtype;
  int64_t head, n, room, depth, width, chunk; /* n: tokens that count, of `room` */
  char *q, *k, *v, *out, *top, *mass, *along, *gq, *gk, *gv, *gout;
  int32_t *slot, *order; /* [rounds,room]: of a token, of a place */
} one_head;

static char *at(const one_head *o, char *x, int64_t ld, int64_t row) {
  return x + row * ld * (int64_t)th_dtype_size(o->dtype);
}

static one_head head_at(const th_lsh_job *j, int64_t head) {
  int64_t heads = j->q.shape[1], room = j->q.shape[2], n = j->length ? j->length[head / heads] : room;
  if (n > room) n = room;
  if (n < 0) n = 0;
  int64_t from = head * j->rounds * room;
  return (one_head){.j = j,
                    .dtype = j->q.dtype,
                    .head = head,
                    .n = n,
                    .room = room,
                    .depth = j->q.shape[3],
                    .width = j->v.shape[3],
                    .chunk = th_lsh_chunk(j->chunk, room),
                    .q = th_head_of(&j->q, head, heads),
                    .k = th_head_of(&j->k, head, heads),
                    .v = th_head_of(&j->v, head, heads),
                    .out = th_head_of(&j->out, head, heads),
                    .top = th_head_of(&j->top, head, heads),
                    .mass = th_head_of(&j->mass, head, heads),
                    .along = th_head_of(&j->along, head, heads),
                    .gq = th_head_of(&j->gq, head, heads),
                    .gk = th_head_of(&j->gk, head, heads),
                    .gv = th_head_of(&j->gv, head, heads),
                    .gout = th_head_of(&j->gout, head, heads),
                    .slot = j->slot + from,
                    .order = j->order + from};
}

/* ---- hashing -------------------------------------------------------------------------------------------------- */

/* Of a position in the stream, where fewer rounds, and fewer columns, have the first ones of more. */
#define ROUND_BITS 10  /* TH_LSH_ROUNDS_MAX */
#define COLUMN_BITS 20 /* TH_LSH_BUCKETS_MAX */

static void rotate_round(void *context, int64_t index) {
  const th_lsh_job *j = context;
  int64_t columns = j->rotations.shape[2], depth = j->rotations.shape[3], h = index / j->rounds;
  uint64_t number = (uint64_t)(j->head_number ? j->head_number[h] : h), round = (uint64_t)(index % j->rounds);
  for (int64_t i = 0; i < columns * depth; i++) {
    uint64_t column = (number << ROUND_BITS | round) << COLUMN_BITS | (uint64_t)(i / depth);
    double value = th_random_normal(j->random, column * (uint64_t)depth + (uint64_t)(i % depth));
    th_tensor_set(&j->rotations, index * columns * depth + i, value);
  }
}

/* slot is each token's bucket, until sort_round. */
static void hash_round(const one_head *o, int64_t round, char *scratch) {
  const th_tensor *rotations = &o->j->rotations;
  int32_t *bucket = o->slot + round * o->room;
  if (o->j->buckets == 1) {
    memset(bucket, 0, (size_t)o->n * sizeof *bucket);
    return;
  }
  int64_t columns = rotations->shape[2];
  int64_t from = (o->head % rotations->shape[0] * o->j->rounds + round) * columns * o->depth;
  for (int64_t begin = 0; begin < o->n; begin += HASH_ROWS) {
    int64_t rows = o->n - begin < HASH_ROWS ? o->n - begin : HASH_ROWS, ld = o->j->k.stride[2];
    th_gemm(o->dtype, false, true, rows, columns, o->depth, 1, at(o, o->k, ld, begin), ld,
            at(o, rotations->data, 1, from), o->depth, 0, scratch, columns);
    for (int64_t i = 0; i < rows; i++)
      bucket[begin + i] = o->dtype == TH_F32
                              ? largest_side_f32(columns, (float *)at(o, scratch, columns, i))
                              : largest_side_f64(columns, (double *)at(o, scratch, columns, i));
  }
}

/* Tokens by bucket, and within one by place: counting them is enough. start [buckets + 1] is scratch. Then chunks are
 * numbered as slots, those of one bucket by ones, with a gap before the next bucket's: a query sees the keys whose slot is
 * its own or one less. */
static void sort_round(const one_head *o, int64_t round, int32_t *start) {
  int32_t *order = o->order + round * o->room, *slot = o->slot + round * o->room, now = 0, bucket = -1;
  memset(start, 0, (size_t)(o->j->buckets + 1) * sizeof *start);
  for (int64_t i = 0; i < o->n; i++) start[slot[i] + 1]++;
  for (int64_t b = 0; b < o->j->buckets; b++) start[b + 1] += start[b];
  for (int64_t i = 0; i < o->n; i++) order[start[slot[i]]++] = (int32_t)i;
  for (int64_t p = 0, in_slot = 0; p < o->n; p++, in_slot++) {
    int32_t *own = slot + order[p];
    if (*own != bucket) now += 2, in_slot = 0;
    else if (in_slot == o->chunk) now++, in_slot = 0;
    bucket = *own, *own = now;
  }
}

static void hash_head(const th_lsh_job *j, int64_t head, char *scratch) {
  one_head o = head_at(j, head);
  for (int64_t r = 0; r < j->rounds; r++) {
    hash_round(&o, r, scratch);
    sort_round(&o, r, (int32_t *)(void *)scratch);
  }
}

static bool shows(const one_head *o, int64_t round, int64_t i, int64_t j) {
  const int32_t *slot = o->slot + round * o->room;
  return slot[i] == slot[j] || slot[i] == slot[j] + 1;
}

static bool shown(const one_head *o, int64_t i, int64_t j) {
  for (int64_t r = 0; r < o->j->rounds; r++)
    if (shows(o, r, i, j)) return true;
  return false;
}

/* ---- one chunk of one round ------------------------------------------------------------------------------------ */

/* Queries are the chunk's rows, keys those of the window: the chunk's and, before them, those of the one before in the same
 * bucket. */
typedef struct {
  int64_t round, first, rows, window, columns; /* first and window: their places in the round's order */
  const int32_t *order;
  int32_t *slots; /* scratch [columns] */
  char *q, *k, *v, *scores, *x, *gout, *gscores,
      *g; /* scratch; x [rows,width], g [columns, depth or width] */
} one_chunk;

/* Elements of scratch for a task. */
int64_t th_lsh_scratch(int64_t length, int64_t chunk, int64_t buckets, int64_t depth, int64_t width,
                       bool backward) {
  int64_t c = th_lsh_chunk(chunk, length), widest = depth > width ? depth : width;
  int64_t forward = c * depth + 2 * c * (depth + width) + 2 * c * c + c * width + 4 * c;
  int64_t hash = HASH_ROWS * (buckets / 2) + buckets + 1;
  int64_t all = forward + (backward ? c * width + 2 * c * c + 2 * c * widest : 0);
  return all > hash ? all : hash;
}

/* The chunk that begins at place `first`. */
static one_chunk chunk_at(const one_head *o, int64_t round, int64_t first, char *scratch) {
  int64_t c = o->chunk, size = (int64_t)th_dtype_size(o->dtype), rows = 1;
  const int32_t *order = o->order + round * o->room, *slot = o->slot + round * o->room;
  while (first + rows < o->n && slot[order[first + rows]] == slot[order[first]]) rows++;
  bool begins = first == 0 || slot[order[first - 1]] != slot[order[first]] - 1;
  one_chunk k = {
      .round = round, .first = first, .rows = rows, .window = begins ? first : first - c, .order = order};
  k.columns = first + k.rows - k.window;
  k.q = scratch;
  k.k = k.q + c * o->depth * size;
  k.v = k.k + 2 * c * o->depth * size;
  k.scores = k.v + 2 * c * o->width * size;
  k.x = k.scores + 2 * c * c * size;
  k.slots = (int32_t *)(void *)(k.x + c * o->width * size);
  k.gout = (char *)k.slots + 2 * c * size;
  k.gscores = k.gout + c * o->width * size;
  k.g = k.gscores + 2 * c * c * size;
  TH_FOR(o->dtype, take_rows, k.rows, o->depth, k.order + first, (void *)o->q, o->j->q.stride[2],
         (void *)k.q);
  TH_FOR(o->dtype, take_rows, k.columns, o->depth, k.order + k.window, (void *)o->k, o->j->k.stride[2],
         (void *)k.k);
  TH_FOR(o->dtype, take_rows, k.columns, o->width, k.order + k.window, (void *)o->v, o->j->v.stride[2],
         (void *)k.v);
  th_gemm(o->dtype, false, true, k.rows, k.columns, o->depth, o->j->scale, k.q, o->depth, k.k, o->depth, 0,
          k.scores, k.columns);
  return k;
}

/* Of a row of the chunk only the columns [0, end) may be seen: they are sorted by place. */
static int64_t end_of(const one_head *o, const one_chunk *k, int64_t row) {
  return o->j->causal ? k->first - k->window + row : k->columns;
}

/* Scores become -infinity where it is the query itself, or an earlier round has shown the key. */
static void hide_scores(const one_head *o, const one_chunk *k) {
  const int32_t *order = k->order + k->window;
  int64_t before = k->first - k->window;
  for (int64_t row = 0; row < k->rows && !o->j->causal; row++)
    TH_FOR(o->dtype, set, 1, -INFINITY, (void *)at(o, k->scores, 1, row * k->columns + before + row));
  for (int64_t r = 0; r < k->round; r++) {
    for (int64_t c = 0; c < k->columns; c++) k->slots[c] = o->slot[r * o->room + order[c]];
    for (int64_t row = 0; row < k->rows; row++)
      TH_FOR(o->dtype, hide_shown, end_of(o, k, row), k->slots[before + row], k->slots,
             (void *)at(o, k->scores, k->columns, row));
  }
}

/* Calls `one` for each chunk of each round, in order. */
static void each_chunk(const one_head *o, char *scratch, void (*one)(const one_head *, const one_chunk *)) {
  for (int64_t r = 0; r < o->j->rounds; r++)
    for (int64_t first = 0; first < o->n;) {
      one_chunk k = chunk_at(o, r, first, scratch);
      one(o, &k);
      first += k.rows;
    }
}

/* ---- forward ---------------------------------------------------------------------------------------------------- */

static void start_rows(const one_head *o) {
  for (int64_t i = 0; i < o->room; i++)
    TH_FOR(o->dtype, set, o->width, 0, (void *)at(o, o->out, o->j->out.stride[2], i));
  TH_FOR(o->dtype, set, o->room, -INFINITY, (void *)o->top);
  TH_FOR(o->dtype, set, o->room, 0, (void *)o->mass);
}

static void forward_chunk(const one_head *o, const one_chunk *k) {
  char *sums = k->gout; /* two a row: the largest score, the sum */
  hide_scores(o, k);
  for (int64_t row = 0; row < k->rows; row++)
    TH_FOR(o->dtype, raise, k->columns, end_of(o, k, row), (void *)at(o, k->scores, k->columns, row),
           (void *)at(o, sums, 2, row), (void *)at(o, sums, 1, 2 * row + 1));
  th_gemm(o->dtype, false, false, k->rows, o->width, k->columns, 1, k->scores, k->columns, k->v, o->width, 0,
          k->x, o->width);
  for (int64_t row = 0; row < k->rows; row++) {
    int64_t i = k->order[k->first + row];
    void *x = at(o, k->x, o->width, row), *y = at(o, o->out, o->j->out.stride[2], i);
    if (o->dtype == TH_F32) {
      const float *s = (const float *)(void *)sums + 2 * row;
      join_f32(o->width, x, s[0], s[1], y, (float *)(void *)o->top + i, (float *)(void *)o->mass + i);
    } else {
      const double *s = (const double *)(void *)sums + 2 * row;
      join_f64(o->width, x, s[0], s[1], y, (double *)(void *)o->top + i, (double *)(void *)o->mass + i);
    }
  }
}

static void forward_head(const th_lsh_job *j, int64_t head, char *scratch) {
  one_head o = head_at(j, head);
  start_rows(&o);
  each_chunk(&o, scratch, forward_chunk);
  for (int64_t i = 0; i < o.room; i++)
    TH_FOR(o.dtype, finish_row, o.width, i >= o.n, (void *)at(&o, o.v, j->v.stride[2], i),
           (void *)at(&o, o.out, j->out.stride[2], i), (void *)at(&o, o.top, 1, i),
           (void *)at(&o, o.mass, 1, i));
}

/* ---- backward ----------------------------------------------------------------------------------------------------- */

/* The product of each row with its gradient is what softmax's backward takes off. A row that saw nothing but itself gives
 * its gradient to its value. */
static void prepare_rows(const one_head *o) {
  for (int64_t i = 0; i < o->n; i++) {
    void *y = at(o, o->out, o->j->out.stride[2], i), *g = at(o, o->gout, o->j->gout.stride[2], i);
    void *gv = o->gv ? at(o, o->gv, o->j->gv.stride[2], i) : NULL;
    if (o->dtype == TH_F32)
      prepare_row_f32(o->width, y, g, (float *)(void *)o->mass + i, gv, (float *)(void *)o->along + i);
    else prepare_row_f64(o->width, y, g, (double *)(void *)o->mass + i, gv, (double *)(void *)o->along + i);
  }
}

static void weigh_row(const one_head *o, const one_chunk *k, int64_t row) {
  int64_t end = end_of(o, k, row), i = k->order[k->first + row];
  void *scores = at(o, k->scores, k->columns, row);
  if (o->dtype == TH_F32) weigh_f32(k->columns, end, ((float *)(void *)o->top)[i], scores);
  else weigh_f64(k->columns, end, ((double *)(void *)o->top)[i], scores);
}

static void scores_backward(const one_head *o, const one_chunk *k) {
  th_gemm(o->dtype, false, true, k->rows, k->columns, o->width, 1, k->gout, o->width, k->v, o->width, 0,
          k->gscores, k->columns);
  for (int64_t row = 0; row < k->rows; row++) {
    int64_t i = k->order[k->first + row];
    void *w = at(o, k->scores, k->columns, row), *g = at(o, k->gscores, k->columns, row);
    if (o->dtype == TH_F32) lower_gradient_f32(k->columns, ((float *)(void *)o->along)[i], w, g);
    else lower_gradient_f64(k->columns, ((double *)(void *)o->along)[i], w, g);
  }
}

static void backward_chunk(const one_head *o, const one_chunk *k) {
  const th_lsh_job *j = o->j;
  TH_FOR(o->dtype, take_rows, k->rows, o->width, k->order + k->first, (void *)o->gout, j->gout.stride[2],
         (void *)k->gout);
  hide_scores(o, k);
  for (int64_t row = 0; row < k->rows; row++) weigh_row(o, k, row);
  if (o->gv) {
    th_gemm(o->dtype, true, false, k->columns, o->width, k->rows, 1, k->scores, k->columns, k->gout, o->width,
            0, k->g, o->width);
    TH_FOR(o->dtype, give_rows, k->columns, o->width, k->order + k->window, (void *)k->g, (void *)o->gv,
           j->gv.stride[2]);
  }
  scores_backward(o, k);
  if (o->gq) {
    th_gemm(o->dtype, false, false, k->rows, o->depth, k->columns, j->scale, k->gscores, k->columns, k->k,
            o->depth, 0, k->g, o->depth);
    TH_FOR(o->dtype, give_rows, k->rows, o->depth, k->order + k->first, (void *)k->g, (void *)o->gq,
           j->gq.stride[2]);
  }
  if (o->gk) {
    th_gemm(o->dtype, true, false, k->columns, o->depth, k->rows, j->scale, k->gscores, k->columns, k->q,
            o->depth, 0, k->g, o->depth);
    TH_FOR(o->dtype, give_rows, k->columns, o->depth, k->order + k->window, (void *)k->g, (void *)o->gk,
           j->gk.stride[2]);
  }
}

static void backward_head(const th_lsh_job *j, int64_t head, char *scratch) {
  one_head o = head_at(j, head);
  prepare_rows(&o);
  each_chunk(&o, scratch, backward_chunk);
}

/* ---- all heads ------------------------------------------------------------------------------------------------------ */

static void run_task(const th_lsh_job *j, int64_t task, void (*one)(const th_lsh_job *, int64_t, char *)) {
  int64_t heads = j->q.shape[0] * j->q.shape[1];
  char *scratch = (char *)j->scratch.data + task * j->scratch.stride[0] * (int64_t)th_dtype_size(j->q.dtype);
  for (int64_t head = task; head < heads; head += j->scratch.shape[0]) one(j, head, scratch);
}

static void hash_task(void *context, int64_t task) { run_task(context, task, hash_head); }
static void forward_task(void *context, int64_t task) { run_task(context, task, forward_head); }
static void backward_task(void *context, int64_t task) { run_task(context, task, backward_head); }

void th_k_lsh_hash(th_pool *pool, const th_lsh_job *j) {
  void *context = (void *)(uintptr_t)j;
  th_blas_one_thread();
  if (j->rotations.data) th_parallel(pool, j->rotations.shape[0] * j->rounds, rotate_round, context);
  th_parallel(pool, j->scratch.shape[0], hash_task, context);
}

void th_k_lsh_attention(th_pool *pool, const th_lsh_job *j) {
  th_blas_one_thread();
  th_parallel(pool, j->scratch.shape[0], forward_task, (void *)(uintptr_t)j);
}

void th_k_lsh_attention_backward(th_pool *pool, const th_lsh_job *j) {
  th_blas_one_thread();
  th_parallel(pool, j->scratch.shape[0], backward_task, (void *)(uintptr_t)j);
}

/* ---- what is seen ----------------------------------------------------------------------------------------------------- */

void th_k_lsh_visible(const th_lsh_job *j, uint8_t *visible) {
  int64_t heads = j->q.shape[0] * j->q.shape[1], room = j->q.shape[2];
  memset(visible, 0, (size_t)(heads * room * room));
  for (int64_t head = 0; head < heads; head++) {
    one_head o = head_at(j, head);
    for (int64_t i = 0; i < o.n; i++) {
      uint8_t *row = visible + (head * room + i) * room;
      bool any = false;
      for (int64_t k = 0; k < o.n; k++) {
        row[k] = k != i && (!j->causal || k < i) && shown(&o, i, k);
        any = any || row[k];
      }
      row[i] = !any;
    }
  }
}
