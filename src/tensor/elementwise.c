#include "kernels.h"
#include "vecmath.h"

#include <math.h>
#include <string.h>

#define TH_KERNELS "elementwise.inc"
#include "each_real.h"

#define PIECE 4096 /* elements a thread takes at once, a multiple of BLOCK */

#define PICK(dtype, name) ((dtype) == TH_F32 ? name##_f32 : name##_f64)

static void run2(th_pool *pool, const th_tensor *x, const th_tensor *y, th_loop_inner *inner,
                 const void *settings) {
  th_loop_run(pool, 2, (const th_tensor *[]){x, y}, inner, settings);
}

static void run3(th_pool *pool, const th_tensor *a, const th_tensor *b, const th_tensor *y,
                 th_loop_inner *inner, const void *settings) {
  th_loop_run(pool, 3, (const th_tensor *[]){a, b, y}, inner, settings);
}

void th_k_binary(th_pool *pool, th_binary kind, const th_tensor *a, const th_tensor *b, const th_tensor *y) {
  static th_loop_inner *const inner[2][4] = {{run_add_f32, run_sub_f32, run_mul_f32, run_div_f32},
                                             {run_add_f64, run_sub_f64, run_mul_f64, run_div_f64}};
  run3(pool, a, b, y, inner[y->dtype == TH_F64][kind], NULL);
}

void th_k_copy(th_pool *pool, const th_tensor *x, const th_tensor *y) {
  run2(pool, x, y, PICK(y->dtype, run_copy), NULL);
}

void th_k_axpy(th_pool *pool, double alpha, const th_tensor *x, const th_tensor *y) {
  run2(pool, x, y, PICK(y->dtype, run_axpy), &alpha);
}

void th_k_add_product(th_pool *pool, double alpha, const th_tensor *a, const th_tensor *b,
                      const th_tensor *y) {
  run3(pool, a, b, y, PICK(y->dtype, run_add_product), &alpha);
}

void th_k_add_quotient(th_pool *pool, double alpha, const th_tensor *a, const th_tensor *b,
                       const th_tensor *y) {
  run3(pool, a, b, y, PICK(y->dtype, run_add_quotient), &alpha);
}

/* [..,D] as D / 2 pairs, each named by its first element. */
static th_tensor pairs(const th_tensor *x) {
  th_tensor view = *x;
  view.shape[x->ndim - 1] /= 2;
  view.stride[x->ndim - 1] *= 2;
  return view;
}

void th_k_turn(th_pool *pool, bool back, const th_tensor *x, const th_tensor *turns, const th_tensor *y) {
  th_tensor of_x = pairs(x), of_turns = pairs(turns), of_y = pairs(y);
  run3(pool, &of_x, &of_turns, &of_y, back ? PICK(y->dtype, run_turn_back) : PICK(y->dtype, run_turn), NULL);
}

void th_k_max(const th_tensor *x, const th_tensor *y) {
  th_fill(y, -INFINITY);
  run2(NULL, x, y, PICK(y->dtype, run_max), NULL);
}

void th_k_max_backward(const th_tensor *x, const th_tensor *y, const th_tensor *gy, const th_tensor *ties,
                       const th_tensor *winner, const th_tensor *gx) {
  th_fill(ties, 0);
  run3(NULL, x, y, ties, PICK(y->dtype, run_count_ties), NULL);
  th_k_binary(NULL, TH_DIV, gy, ties, ties); /* each winner's share */
  th_fill(winner, 0);
  run3(NULL, x, y, winner, PICK(y->dtype, run_count_ties), NULL);
  th_k_add_product(NULL, 1, winner, ties, gx);
}

/* ---- over contiguous memory: pieces for the threads, blocks for the cache ------------------------ */

typedef struct {
  th_unary kind;
  double alpha;
  const th_tensor *x, *y, *gy, *gx;
  const uint8_t *keep;
  bool add, first;
  int64_t count;
} span;

static int64_t piece_of(const span *s, int64_t piece, int64_t *end) {
  *end = (piece + 1) * PIECE < s->count ? (piece + 1) * PIECE : s->count;
  return piece * PIECE;
}

static void run_span(th_pool *pool, th_task *task, span *s) {
  th_parallel(pool, (s->count + PIECE - 1) / PIECE, task, s);
}

static void unary_piece(void *context, int64_t piece) {
  const span *s = context;
  int64_t end, begin = piece_of(s, piece, &end);
  for (int64_t i = begin; i < end; i += BLOCK) {
    int64_t n = end - i < BLOCK ? end - i : BLOCK;
    TH_FOR(s->x->dtype, unary, s->kind, s->alpha, n, th_at(s->x, i), th_at(s->y, i));
  }
}

void th_k_unary(th_pool *pool, th_unary kind, double alpha, const th_tensor *x, const th_tensor *y) {
  span s = {.kind = kind, .alpha = alpha, .x = x, .y = y, .count = th_tensor_count(x)};
  run_span(pool, unary_piece, &s);
}

void th_gelu_in_place(th_dtype dtype, th_unary kind, int64_t n, void *x, void *slope) {
  TH_FOR(dtype, gelu, kind, n, x, x, slope);
}

static void unary_backward_piece(void *context, int64_t piece) {
  const span *s = context;
  int64_t end, begin = piece_of(s, piece, &end);
  for (int64_t i = begin; i < end; i += BLOCK) {
    int64_t n = end - i < BLOCK ? end - i : BLOCK;
    TH_FOR(s->x->dtype, unary_backward, s->kind, n, th_at(s->x, i), th_at(s->y, i), th_at(s->gy, i), s->first,
           th_at(s->gx, i));
  }
}

void th_k_unary_backward(th_pool *pool, th_unary kind, const th_tensor *x, const th_tensor *y,
                         const th_tensor *gy, bool first, const th_tensor *gx) {
  span s = {.kind = kind, .x = x, .y = y, .gy = gy, .first = first, .gx = gx, .count = th_tensor_count(x)};
  run_span(pool, unary_backward_piece, &s);
}

static void dropout_piece(void *context, int64_t piece) {
  const span *s = context;
  int64_t end, begin = piece_of(s, piece, &end);
  TH_FOR(s->x->dtype, dropout, end - begin, s->alpha, th_at(s->x, begin), s->keep + begin, s->add,
         th_at(s->y, begin));
}

void th_k_dropout(th_pool *pool, double scale, const th_tensor *x, const uint8_t *keep, bool add,
                  const th_tensor *y) {
  span s = {.alpha = scale, .x = x, .y = y, .keep = keep, .add = add, .count = th_tensor_count(x)};
  run_span(pool, dropout_piece, &s);
}

int64_t th_k_first_not_finite(const th_tensor *x) {
  int64_t n = th_tensor_count(x);
  return x->dtype == TH_F32 ? first_not_finite_f32(n, x->data) : first_not_finite_f64(n, x->data);
}

double th_k_sum_of_squares(const th_tensor *x) {
  int64_t n = th_tensor_count(x);
  return x->dtype == TH_F32 ? sum_of_squares_f32(n, x->data) : sum_of_squares_f64(n, x->data);
}
