#include "packing.h"

#include "../autograd/ops.h"

#define WORTH(tokens, places) \
  (10 * (tokens) <= 9 * (places)) /* packing and unpacking cost about as much as a tenth */

static void fill(th_packing *p) {
  int32_t *row = p->row.data, *place = p->place.data, n = 0;
  for (int64_t b = 0; b < p->batch; b++)
    for (int64_t t = 0; t < p->longest; t++) {
      int32_t at = (int32_t)(b * p->longest + t);
      place[at] = t < p->length[b] ? n : -1;
      if (t < p->length[b]) row[n++] = at;
    }
}

const th_packing *th_packing_of(th_tape *tape, const int32_t *length, int64_t batch, int64_t longest) {
  int64_t tokens = 0;
  if (th_tape_error(tape)) return NULL;
  const int32_t *own = th_keep_lengths(tape, length, batch, longest);
  for (int64_t b = 0; own && b < batch; b++) tokens += own[b];
  th_packing *p = own && WORTH(tokens, batch * longest) ? th_keep(tape, sizeof *p) : NULL;
  if (!p) return NULL;
  *p = (th_packing){.batch = batch, .longest = longest, .count = tokens, .length = own};
  if (!th_keep_tensor(tape, &p->row, TH_I32, 1, (int64_t[]){tokens}) ||
      !th_keep_tensor(tape, &p->place, TH_I32, 2, (int64_t[]){batch, longest}))
    return NULL;
  fill(p);
  return p;
}

th_var *th_pack(const th_packing *packing, th_var *x) { return packing ? th_take_rows(x, &packing->row) : x; }
th_var *th_unpack(const th_packing *packing, th_var *x) {
  return packing ? th_take_rows(x, &packing->place) : x;
}

th_var *th_packed_dropout(const th_packing *packing, th_var *x, double p) {
  return packing ? th_dropout_rows(x, p, packing->row.data, packing->batch * packing->longest)
                 : th_dropout(x, p);
}
