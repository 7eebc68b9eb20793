#include "look.h"
#include "weights.h"

#include <math.h>

/* A row of weights: query i, which has `seen` keys in sight. */
typedef struct {
  const th_sight *sight;
  const double *weight;
  int64_t i, seen;
} row;

static void add(th_look_sums *s, th_look look, double value) {
  s->sum[look] += value;
  s->rows[look]++;
}

/* ---- how widely it looks ----------------------------------------------------------------------------------- */

static void add_entropy(th_look_sums *s, const row *r) {
  double entropy = 0;
  for (int64_t j = 0; j < r->seen; j++)
    if (r->weight[j] != 0) entropy -= r->weight[j] * log(r->weight[j]); /* 0 log 0 is 0 */
  add(s, TH_LOOK_ENTROPY, entropy);
  add(s, TH_LOOK_SPREAD, entropy / log((double)r->seen));
}

static void add_confidence(th_look_sums *s, const row *r) {
  double largest = -1;
  for (int64_t j = 0; j < r->seen; j++)
    if (r->sight->end < 0 || r->sight->key[j] != r->sight->end) largest = fmax(largest, r->weight[j]);
  if (largest >= 0) add(s, TH_LOOK_CONFIDENCE, largest);
}

/* ---- where it looks ------------------------------------------------------------------------------------------ */

static void add_key(th_look_sums *s, const row *r, th_look look, int64_t j) {
  if (j >= 0 && j < r->seen) add(s, look, r->weight[j]);
}

static void add_places(th_look_sums *s, const row *r) {
  double distance = 0, back = 0, padding = 0;
  int64_t real = r->sight->real;
  for (int64_t j = 0; j < r->seen; j++) {
    distance += r->weight[j] * fabs((double)(r->i - j));
    back += r->weight[j] * (double)(r->i - j);
    s->offset[s->furthest + j - r->i] += r->weight[j];
    s->offset_rows[s->furthest + j - r->i]++;
  }
  for (int64_t j = r->sight->length; j < r->sight->padded; j++) padding += r->weight[j];
  add(s, TH_LOOK_DISTANCE, distance);
  add(s, TH_LOOK_BACK, back);
  add(s, TH_LOOK_PADDING, padding);
  add_key(s, r, TH_LOOK_DIAGONAL, r->i);
  add_key(s, r, TH_LOOK_ANTI_DIAGONAL, real - 1 - r->i);
  add_key(s, r, TH_LOOK_PREVIOUS, r->i - 1);
  add_key(s, r, TH_LOOK_NEXT, r->i + 1);
  add_key(s, r, TH_LOOK_FIRST, 0);
  if (r->sight->kind != TH_DECODER_SELF) add_key(s, r, TH_LOOK_LAST, real - 1);
}

/* ---- what it looks at ---------------------------------------------------------------------------------------- */

/* Keys j in from .. to - 1, but one, of which the token `shift` before is `token`. */
typedef struct {
  int64_t from, to, but, shift;
  int32_t token;
} wanted;

static void add_tokens(th_look_sums *s, const row *r, th_look look, wanted w) {
  double share = 0;
  int64_t found = 0;
  if (w.token < 0) return;
  for (int64_t j = w.from; j < w.to; j++) {
    if (j == w.but || r->sight->key[j - w.shift] != w.token) continue;
    share += r->weight[j];
    found++;
  }
  if (found) add(s, look, share);
}

static void add_marks_and_tokens(th_look_sums *s, const row *r) {
  const th_sight *sight = r->sight;
  bool self = sight->kind != TH_CROSS;
  int64_t i = r->i,
          after = self && i + 1 < r->seen ? i + 1 : r->seen; /* just after an earlier one: up to i */
  add_tokens(s, r, TH_LOOK_END, (wanted){0, r->seen, -1, 0, sight->end});
  add_tokens(s, r, TH_LOOK_BEGIN, (wanted){0, r->seen, -1, 0, sight->begin});
  if (sight->wanted) add_tokens(s, r, TH_LOOK_SAME, (wanted){0, r->seen, self ? i : -1, 0, sight->wanted[i]});
  if (sight->own) add_tokens(s, r, TH_LOOK_PREFIX, (wanted){1, after, -1, 1, sight->own[i]});
}

/* ---- row by row ---------------------------------------------------------------------------------------------- */

static void read_row(double *to, const th_tensor *w, int64_t b, int64_t h, int64_t i) {
  int64_t at = b * w->stride[0] + h * w->stride[1] + i * w->stride[2], step = w->stride[3];
  for (int64_t j = 0; j < w->shape[3]; j++)
    to[j] = w->dtype == TH_F64 ? ((const double *)w->data)[at + j * step]
                               : (double)((const float *)w->data)[at + j * step];
}

static void make_uniform_row(double *to, const th_sight *sight, int64_t seen) {
  for (int64_t j = 0; j < sight->padded; j++) to[j] = j < seen ? 1 / (double)seen : 0;
}

void th_look_at_rows(th_look_sums *sums, const th_sight *sight, const th_tensor *weights, int64_t b,
                     int64_t h, double *weight) {
  for (int64_t i = 0; i < sight->rows; i++) {
    bool causal = sight->kind == TH_DECODER_SELF;
    row r = {sight, weight, i, causal && i + 1 < sight->length ? i + 1 : sight->length};
    if (r.seen < 2) continue; /* of one key there is no choice */
    if (weights) read_row(weight, weights, b, h, i);
    if (weights && sight->any_sign) th_study_make_shares(weight, sight->padded);
    if (!weights) make_uniform_row(weight, sight, r.seen);
    add_entropy(sums, &r);
    add_confidence(sums, &r);
    add_places(sums, &r);
    add_marks_and_tokens(sums, &r);
  }
}
