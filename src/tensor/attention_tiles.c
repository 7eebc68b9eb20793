/* Attention that keeps no weights: tiles of scores, under the largest score seen so far (Milakov & Gimelshein 2018; Dao et
 * al. 2022, section 3.1), and in backward made again from the logarithm of each row's sum. What a mask hides from a whole
 * tile is not computed. */
#include "random.h"
#include "rows.h"
#include "vecmath.h"

#include <math.h>
#include <string.h>

#define TH_KERNELS "attention_tiles.inc"
#include "each_real.h"

enum { ROWS = 64, COLUMNS = 256 }; /* of a tile: scores, keys and values of one stay in a core's cache */

int64_t th_attention_scratch(void) { return 2 * ROWS * COLUMNS; }

/* One head, and the matrices of it. */
typedef struct {
  const th_attention_job *j;
  th_dtype dtype;
  int64_t head, rows, columns, depth, width;
  char *q, *k, *v, *out, *lse, *along, *scores, *gscores;
} one_head;

static char *at(const one_head *o, char *x, int64_t elements) {
  return x + elements * (int64_t)th_dtype_size(o->dtype);
}

static one_head head_at(const th_attention_job *j, int64_t head, char *scratch) {
  int64_t heads = j->weights.shape[1];
  one_head o = {.j = j,
                .dtype = j->q.dtype,
                .head = head,
                .rows = j->weights.shape[2],
                .columns = j->weights.shape[3],
                .depth = j->q.shape[3],
                .width = j->v.shape[3],
                .q = th_head_of(&j->q, head, heads),
                .k = th_head_of(&j->k, head, heads),
                .v = th_head_of(&j->v, head, heads),
                .out = th_head_of(&j->out, head, heads),
                .lse = th_head_of(&j->lse, head, heads),
                .along = th_head_of(&j->along, head, heads),
                .scores = scratch};
  o.gscores = at(&o, scratch, ROWS * COLUMNS);
  return o;
}

/* A tile: rows and columns, and of each row what the mask leaves. */
typedef struct {
  int64_t row, rows, column, columns;
  row_view see[ROWS];
} tile;

static bool sees_any(const one_head *o, tile *t) {
  bool any = false;
  for (int64_t i = 0; i < t->rows; i++) {
    row_view see = th_row_visible(&o->j->mask, &o->j->weights, o->head * o->rows + t->row + i);
    int64_t end = t->column + t->columns;
    if (see.limit > end) see.limit = end;
    if (see.first < t->column) see.first = t->column;
    if (see.first > end) see.first = end;
    if (see.limit < see.first) see.limit = see.first;
    if (see.allowed) see.allowed += t->column * see.step;
    see.first -= t->column, see.limit -= t->column;
    any = any || see.limit > see.first;
    t->see[i] = see;
  }
  return any;
}

/* What is added to, or of, the scores of the tile's row i. */
static void *bias_at(const one_head *o, const th_tensor *bias, const tile *t, int64_t i) {
  char *head = th_head_of(bias, o->head, o->j->weights.shape[1]);
  return at(o, head, (t->row + i) * bias->stride[2] + t->column * bias->stride[3]);
}

/* The tile's scores, with the bias, and -infinity where `allowed` hides. */
static void fill_scores(const one_head *o, const tile *t) {
  const th_attention_job *j = o->j;
  th_gemm(o->dtype, false, true, t->rows, t->columns, o->depth, j->scale,
          at(o, o->q, t->row * th_head_ld(&j->q)), th_head_ld(&j->q),
          at(o, o->k, t->column * th_head_ld(&j->k)), th_head_ld(&j->k), 0, o->scores, t->columns);
  for (int64_t i = 0; i < t->rows; i++) {
    void *row = at(o, o->scores, i * t->columns);
    if (j->bias.data)
      TH_FOR(o->dtype, add_steps, t->columns, bias_at(o, &j->bias, t, i), j->bias.stride[3], row);
    if (t->see[i].allowed) TH_FOR(o->dtype, hide_some, t->see[i], row);
  }
}

/* Dropout's draws are numbered through all weights, so that a tile draws its own, and draws them again. */
static void drop(const one_head *o, const tile *t, char *matrix) {
  uint8_t keep[COLUMNS + 8];
  const th_attention_job *j = o->j;
  for (int64_t i = 0; i < t->rows && j->threshold; i++) {
    int64_t from = j->before + (o->head * o->rows + t->row + i) * o->columns + t->column,
            begin = from / 4 * 4;
    th_random_keep(j->random, begin, t->columns + from - begin, j->threshold, keep);
    TH_FOR(o->dtype, keep_some, t->columns, keep + (from - begin), j->keep_scale,
           (void *)at(o, matrix, i * t->columns));
  }
}

/* ---- forward ------------------------------------------------------------------------------------------------- */

static void forward_tile(const one_head *o, const tile *t, void *top, void *sum) {
  const th_attention_job *j = o->j;
  int64_t ld = th_head_ld(&j->out);
  fill_scores(o, t);
  for (int64_t i = 0; i < t->rows; i++)
    TH_FOR(o->dtype, raise_row, t->columns, t->see[i], (void *)at(o, o->scores, i * t->columns), o->width,
           (void *)at(o, o->out, (t->row + i) * ld), (void *)at(o, top, i), (void *)at(o, sum, i));
  drop(o, t, o->scores);
  th_gemm(o->dtype, false, false, t->rows, o->width, t->columns, 1, o->scores, t->columns,
          at(o, o->v, t->column * th_head_ld(&j->v)), th_head_ld(&j->v), 1, at(o, o->out, t->row * ld), ld);
}

static void forward_rows(const one_head *o, int64_t row) {
  double top[ROWS] = {0}, sum[ROWS] = {0}; /* room for either type */
  tile t = {.row = row, .rows = o->rows - row < ROWS ? o->rows - row : ROWS};
  int64_t ld = th_head_ld(&o->j->out);
  for (int64_t i = 0; i < t.rows; i++)
    TH_FOR(o->dtype, start_row, o->width, (void *)at(o, o->out, (row + i) * ld),
           (void *)at(o, (char *)top, i), (void *)at(o, (char *)sum, i));
  for (t.column = 0; t.column < o->columns; t.column += COLUMNS) {
    t.columns = o->columns - t.column < COLUMNS ? o->columns - t.column : COLUMNS;
    if (sees_any(o, &t)) forward_tile(o, &t, top, sum);
  }
  for (int64_t i = 0; i < t.rows; i++)
    TH_FOR(o->dtype, finish_row, o->width, (void *)at(o, o->out, (row + i) * ld),
           (void *)at(o, (char *)top, i), (void *)at(o, (char *)sum, i), (void *)at(o, o->lse, row + i));
}

/* Task n of N has pieces of rows n, n + N, .. of all heads. */
static void forward_task(void *context, int64_t task) {
  const th_attention_job *j = context;
  int64_t pieces = (j->weights.shape[2] + ROWS - 1) / ROWS,
          all = j->weights.shape[0] * j->weights.shape[1] * pieces;
  char *scratch =
      (char *)j->scratch.data + task * j->scratch.stride[0] * (int64_t)th_dtype_size(j->scratch.dtype);
  for (int64_t i = task; i < all; i += j->scratch.shape[0]) {
    one_head o = head_at(j, i / pieces, scratch);
    forward_rows(&o, i % pieces * ROWS);
  }
}

void th_k_attention_tiles(th_pool *pool, const th_attention_job *j) {
  th_blas_one_thread();
  th_parallel(pool, j->scratch.shape[0], forward_task, (void *)(uintptr_t)j);
}

/* ---- backward -------------------------------------------------------------------------------------------------- */

static void backward_tile(const one_head *o, const tile *t) {
  const th_attention_job *j = o->j;
  int64_t heads = j->weights.shape[1];
  char *gout = at(o, th_head_of(&j->gout, o->head, heads), t->row * th_head_ld(&j->gout));
  char *gq = th_head_of(&j->gq, o->head, heads), *gk = th_head_of(&j->gk, o->head, heads),
       *gv = th_head_of(&j->gv, o->head, heads);
  fill_scores(o, t);
  for (int64_t i = 0; i < t->rows; i++)
    TH_FOR(o->dtype, weigh_row, t->columns, t->see[i], (void *)at(o, o->lse, t->row + i),
           (void *)at(o, o->scores, i * t->columns));
  if (gv) {
    char *used = o->scores;
    if (j->threshold) {
      used = memcpy(o->gscores, o->scores, (size_t)(t->rows * t->columns) * th_dtype_size(o->dtype));
      drop(o, t, used);
    }
    th_gemm(o->dtype, true, false, t->columns, o->width, t->rows, 1, used, t->columns, gout,
            th_head_ld(&j->gout), 1, at(o, gv, t->column * th_head_ld(&j->gv)), th_head_ld(&j->gv));
  }
  th_gemm(o->dtype, false, true, t->rows, t->columns, o->width, 1, gout, th_head_ld(&j->gout),
          at(o, o->v, t->column * th_head_ld(&j->v)), th_head_ld(&j->v), 0, o->gscores, t->columns);
  drop(o, t, o->gscores);
  for (int64_t i = 0; i < t->rows; i++)
    TH_FOR(o->dtype, lower_row, t->columns, (void *)at(o, o->along, t->row + i),
           (void *)at(o, o->scores, i * t->columns), (void *)at(o, o->gscores, i * t->columns));
  for (int64_t i = 0; i < t->rows && j->gbias.data; i++)
    TH_FOR(o->dtype, add_to_steps, t->columns, (void *)at(o, o->gscores, i * t->columns),
           bias_at(o, &j->gbias, t, i), j->gbias.stride[3]);
  if (gq)
    th_gemm(o->dtype, false, false, t->rows, o->depth, t->columns, j->scale, o->gscores, t->columns,
            at(o, o->k, t->column * th_head_ld(&j->k)), th_head_ld(&j->k), 1,
            at(o, gq, t->row * th_head_ld(&j->gq)), th_head_ld(&j->gq));
  if (gk)
    th_gemm(o->dtype, true, false, t->columns, o->depth, t->rows, j->scale, o->gscores, t->columns,
            at(o, o->q, t->row * th_head_ld(&j->q)), th_head_ld(&j->q), 1,
            at(o, gk, t->column * th_head_ld(&j->gk)), th_head_ld(&j->gk));
}

static void backward_head(const th_attention_job *j, int64_t head, char *scratch) {
  one_head o = head_at(j, head, scratch);
  char *gout = th_head_of(&j->gout, head, j->weights.shape[1]);
  for (int64_t i = 0; i < o.rows; i++)
    TH_FOR(o.dtype, row_product, o.width, (void *)at(&o, o.out, i * th_head_ld(&j->out)),
           (void *)at(&o, gout, i * th_head_ld(&j->gout)), (void *)at(&o, o.along, i));
  tile t;
  for (t.column = 0; t.column < o.columns; t.column += COLUMNS)
    for (t.row = 0; t.row < o.rows; t.row += ROWS) {
      t.columns = o.columns - t.column < COLUMNS ? o.columns - t.column : COLUMNS;
      t.rows = o.rows - t.row < ROWS ? o.rows - t.row : ROWS;
      if (sees_any(&o, &t)) backward_tile(&o, &t);
    }
}

/* Heads that share keys or values are of one task, one after the other: no two tasks add to one gradient. */
static void backward_task(void *context, int64_t task) {
  const th_attention_job *j = context;
  int64_t together = th_heads_together(j), all = j->weights.shape[0] * j->weights.shape[1] / together;
  char *scratch =
      (char *)j->scratch.data + task * j->scratch.stride[0] * (int64_t)th_dtype_size(j->scratch.dtype);
  for (int64_t group = task; group < all; group += j->scratch.shape[0])
    for (int64_t head = group * together; head < (group + 1) * together; head++)
      backward_head(j, head, scratch);
}

void th_k_attention_tiles_backward(th_pool *pool, const th_attention_job *j) {
  th_blas_one_thread();
  th_parallel(pool, j->scratch.shape[0], backward_task, (void *)(uintptr_t)j);
}
