/* Softmax, layer norm, cross-entropy, gather: one row at a time, rows shared among threads. */
#include "rows.h"
#include "vecmath.h"

#include <math.h>
#include <string.h>

#define TH_KERNELS "rows.inc"
#include "each_real.h"

#define PIECE 2048    /* elements a thread takes at once */
#define PIECE_ROWS 64 /* rows of a piece whose partial sum is kept apart */
#define PIECES_MAX 16

row_view th_row_visible(const th_mask *mask, const th_tensor *x, int64_t row) {
  int last = x->ndim - 1;
  int64_t n = x->shape[last], rows = x->ndim > 1 ? x->shape[last - 1] : 1;
  row_view see = {.limit = n};
  if (!mask) return see;
  int64_t own = row % rows + (n - rows); /* the key in the query's place */
  if (mask->causal && own + 1 < see.limit) see.limit = own + 1;
  if (mask->window && mask->window < see.limit - own) see.limit = own + mask->window;
  if (mask->window && mask->window < own + 1) see.first = own + 1 - mask->window;
  const th_tensor *allowed = mask->allowed;
  int64_t offset = 0, index = row, sequence = 0;
  for (int axis = last - 1; axis >= 0 && (allowed || mask->key_length || mask->query_length); axis--) {
    sequence = index % x->shape[axis];
    if (allowed) offset += sequence * allowed->stride[axis];
    index /= x->shape[axis];
  }
  if (mask->key_length && mask->key_length[sequence] < see.limit) see.limit = mask->key_length[sequence];
  if (mask->query_length && row % rows >= mask->query_length[sequence]) see.limit = 0;
  if (see.limit < see.first) see.limit = see.first;
  if (allowed) {
    see.allowed = (const uint8_t *)allowed->data + offset;
    see.step = allowed->stride[last];
  }
  return see;
}

/* ---- every row on its own ----------------------------------------------------------------------------- */

typedef struct {
  int64_t rows, n, per_piece;
  bool logarithm, first;
  double number, scale; /* epsilon or smoothing */
  const th_mask *mask;
  const int32_t *targets;
  const th_tensor *x, *y, *gy, *gx, *weight, *bias, *mean, *rstd, *partial;
} row_work;

static row_work over_rows(const th_tensor *x) {
  row_work w = {.x = x, .n = x->shape[x->ndim - 1]};
  w.rows = w.n ? th_tensor_count(x) / w.n : 0;
  w.per_piece = w.n < PIECE ? PIECE / (w.n ? w.n : 1) : 1;
  return w;
}

static void run_rows(th_pool *pool, th_task *task, row_work *w) {
  th_parallel(pool, (w->rows + w->per_piece - 1) / w->per_piece, task, w);
}

/* How many rows a piece has, from its first on. */
static int64_t rows_of(const row_work *w, int64_t piece) {
  int64_t left = w->rows - piece * w->per_piece;
  return left < w->per_piece ? left : w->per_piece;
}

#define EACH_ROW(w, piece, r) \
  for (int64_t r = (piece) * (w)->per_piece; r < ((piece) + 1) * (w)->per_piece && r < (w)->rows; r++)

static void softmax_piece(void *context, int64_t piece) {
  const row_work *w = context;
  EACH_ROW (w, piece, r) {
    row_view see = w->mask ? th_row_visible(w->mask, w->x, r) : (row_view){.limit = w->n};
    TH_FOR(w->x->dtype, softmax_row, w->n, see, w->logarithm, th_at(w->x, r * w->n), th_at(w->y, r * w->n));
  }
}

static bool hides(const th_mask *mask) {
  return mask && (mask->causal || mask->window || mask->key_length || mask->query_length || mask->allowed);
}

void th_k_softmax(th_pool *pool, bool logarithm, const th_mask *mask, const th_tensor *x,
                  const th_tensor *y) {
  row_work w = over_rows(x);
  w.logarithm = logarithm, w.mask = hides(mask) ? mask : NULL, w.y = y;
  run_rows(pool, softmax_piece, &w);
}

static void softmax_backward_piece(void *context, int64_t piece) {
  const row_work *w = context;
  EACH_ROW (w, piece, r)
    TH_FOR(w->x->dtype, softmax_row_backward, w->n, w->logarithm, th_at(w->y, r * w->n),
           th_at(w->gy, r * w->n), w->first, th_at(w->gx, r * w->n));
}

void th_k_softmax_backward(th_pool *pool, bool logarithm, const th_tensor *y, const th_tensor *gy, bool first,
                           const th_tensor *gx) {
  row_work w = over_rows(y);
  w.logarithm = logarithm, w.y = y, w.gy = gy, w.first = first, w.gx = gx;
  run_rows(pool, softmax_backward_piece, &w);
}

static void layer_norm_piece(void *context, int64_t piece) {
  const row_work *w = context;
  int64_t r = piece * w->per_piece;
  TH_FOR(w->x->dtype, layer_norm_rows, rows_of(w, piece), w->n, w->number, th_at(w->x, r * w->n),
         w->weight->data, w->bias->data, th_at(w->y, r * w->n), th_at(w->mean, r), th_at(w->rstd, r));
}

void th_k_layer_norm(th_pool *pool, double epsilon, const th_tensor *x, const th_tensor *weight,
                     const th_tensor *bias, const th_tensor *y, const th_tensor *mean,
                     const th_tensor *rstd) {
  row_work w = over_rows(x);
  w.number = epsilon, w.weight = weight, w.bias = bias, w.y = y, w.mean = mean, w.rstd = rstd;
  run_rows(pool, layer_norm_piece, &w);
}

static void cross_entropy_piece(void *context, int64_t piece) {
  const row_work *w = context;
  EACH_ROW (w, piece, r) {
    if (w->targets[r] < 0) {
      th_tensor one = {.dtype = w->y->dtype, .data = th_at(w->y, r)};
      th_fill(&one, 0);
    } else
      TH_FOR(w->x->dtype, cross_entropy_row, w->n, w->number, th_at(w->x, r * w->n), w->targets[r],
             th_at(w->y, r), th_at(w->mean, r));
  }
}

void th_k_cross_entropy(th_pool *pool, double smoothing, const th_tensor *logits, const int32_t *targets,
                        const th_tensor *loss_rows, const th_tensor *log_sum) {
  row_work w = over_rows(logits);
  w.number = smoothing, w.targets = targets, w.y = loss_rows, w.mean = log_sum;
  run_rows(pool, cross_entropy_piece, &w);
}

static void cross_entropy_backward_piece(void *context, int64_t piece) {
  const row_work *w = context;
  EACH_ROW (w, piece, r) {
    void *gx = th_at(w->gx, r * w->n);
    if (w->targets[r] >= 0)
      TH_FOR(w->x->dtype, cross_entropy_row_backward, w->n, w->number, w->scale, th_at(w->x, r * w->n),
             w->targets[r], th_at(w->mean, r), w->first, gx);
    else if (w->first) memset(gx, 0, (size_t)w->n * th_dtype_size(w->x->dtype));
  }
}

void th_k_cross_entropy_backward(th_pool *pool, double smoothing, double scale, const th_tensor *logits,
                                 const int32_t *targets, const th_tensor *log_sum, bool first,
                                 const th_tensor *glogits) {
  row_work w = over_rows(logits);
  w.number = smoothing, w.scale = scale, w.targets = targets, w.mean = log_sum, w.first = first,
  w.gx = glogits;
  run_rows(pool, cross_entropy_backward_piece, &w);
}

/* ---- rows summed: fixed pieces, each into its own partial, then joined in order ------------------------- */

void th_add_rows(th_dtype dtype, int64_t rows, int64_t n, const void *x, void *sum) {
  TH_FOR(dtype, add_rows, rows, n, x, sum);
}

int64_t th_k_row_pieces(int64_t rows) {
  int64_t pieces = (rows + PIECE_ROWS - 1) / PIECE_ROWS;
  return pieces < 1 ? 1 : pieces > PIECES_MAX ? PIECES_MAX : pieces;
}

static void run_sums(th_pool *pool, th_task *task, row_work *w) {
  int64_t pieces = th_k_row_pieces(w->rows);
  w->per_piece = (w->rows + pieces - 1) / pieces;
  memset(w->partial->data, 0, (size_t)th_tensor_count(w->partial) * th_dtype_size(w->partial->dtype));
  th_parallel(w->rows * w->n > PIECE ? pool : NULL, pieces, task, w);
}

/* sums[n] += column `which` of the partials [pieces, kinds, n] */
static void join(const th_tensor *partial, int64_t kinds, int64_t which, int64_t n, const th_tensor *sums) {
  int64_t pieces = n ? th_tensor_count(partial) / (kinds * n) : 0;
  for (int64_t p = 0; p < pieces; p++)
    TH_FOR(sums->dtype, add_rows, 1, n, th_at(partial, (p * kinds + which) * n), sums->data);
}

static void layer_norm_backward_piece(void *context, int64_t piece) {
  const row_work *w = context;
  int64_t r = piece * w->per_piece;
  TH_FOR(w->x->dtype, layer_norm_rows_backward, rows_of(w, piece), w->n, th_at(w->x, r * w->n),
         w->weight->data, th_at(w->mean, r), th_at(w->rstd, r), th_at(w->gy, r * w->n), w->first,
         w->gx ? th_at(w->gx, r * w->n) : NULL, th_at(w->partial, piece * 2 * w->n),
         th_at(w->partial, (piece * 2 + 1) * w->n));
}

void th_k_layer_norm_backward(th_pool *pool, const th_tensor *x, const th_tensor *weight,
                              const th_tensor *mean, const th_tensor *rstd, const th_tensor *gy,
                              const th_tensor *partial, bool first, const th_tensor *gx,
                              const th_tensor *gweight, const th_tensor *gbias) {
  row_work w = over_rows(x);
  w.weight = weight, w.mean = mean, w.rstd = rstd, w.gy = gy, w.partial = partial, w.first = first, w.gx = gx;
  run_sums(pool, layer_norm_backward_piece, &w);
  if (gweight) join(partial, 2, 0, w.n, gweight);
  if (gbias) join(partial, 2, 1, w.n, gbias);
}

static void column_sums_piece(void *context, int64_t piece) {
  const row_work *w = context;
  TH_FOR(w->x->dtype, add_rows, rows_of(w, piece), w->n, th_at(w->x, piece * w->per_piece * w->n),
         th_at(w->partial, piece * w->n));
}

void th_k_add_column_sums(th_pool *pool, const th_tensor *g, const th_tensor *partial, const th_tensor *gb) {
  row_work w = over_rows(g);
  w.partial = partial;
  run_sums(pool, column_sums_piece, &w);
  join(partial, 1, 0, w.n, gb);
}

/* ---- gather and scatter ------------------------------------------------------------------------------------ */

void th_k_gather(const th_tensor *table, const int32_t *ids, const th_tensor *y) {
  int64_t width = table->shape[1], count = width ? th_tensor_count(y) / width : 0;
  size_t bytes = (size_t)width * th_dtype_size(table->dtype);
  for (int64_t i = 0; i < count; i++) memcpy(th_at(y, i * width), th_at(table, ids[i] * width), bytes);
}

void th_k_scatter_add(const th_tensor *gy, const int32_t *ids, const th_tensor *gtable) {
  int64_t width = gtable->shape[1], count = width ? th_tensor_count(gy) / width : 0;
  for (int64_t i = 0; i < count; i++)
    TH_FOR(gy->dtype, add_rows, 1, width, th_at(gy, i * width), th_at(gtable, ids[i] * width));
}

typedef struct {
  int64_t rows, width, per_piece;
  const th_tensor *x, *y;
  const int32_t *from;
  bool add;
} taking;

static void take_piece(void *context, int64_t piece) {
  const taking *t = context;
  size_t bytes = (size_t)t->width * th_dtype_size(t->x->dtype);
  int64_t end = (piece + 1) * t->per_piece < t->rows ? (piece + 1) * t->per_piece : t->rows;
  for (int64_t i = piece * t->per_piece; i < end; i++) {
    void *to = th_at(t->y, i * t->width);
    const void *row = t->from[i] >= 0 ? th_at(t->x, t->from[i] * t->width) : NULL;
    if (row && t->add) TH_FOR(t->x->dtype, add_rows, 1, t->width, row, to);
    else if (row) memcpy(to, row, bytes);
    else if (!t->add) memset(to, 0, bytes);
  }
}

void th_k_take_rows(th_pool *pool, int64_t rows, int64_t width, const th_tensor *x, const int32_t *from,
                    bool add, const th_tensor *y) {
  taking t = {.rows = rows, .width = width, .x = x, .y = y, .from = from, .add = add};
  t.per_piece = width && width < PIECE ? PIECE / width : 1;
  th_parallel(pool, (rows + t.per_piece - 1) / t.per_piece, take_piece, &t);
}
