/* How a token knows its place. Sinusoids and learned rows are added to the embeddings; rotary turns queries
 * and keys of self-attention; ALiBi and relative positions are biases on its scores. */
#include "name.h"

#include "../tensor/kernels.h"

#include <math.h>
#include <stdlib.h>

/* ---- tables: sinusoids, rotary's turns ------------------------------------------------------------------- */

/* Row p, columns 2i and 2i+1: cosine and sine of p / 10000^(2i / width), the one or the other first. */
static void fill_waves(const th_tensor *table, int64_t first, bool cosine_first) {
  const double longest = 10000;
  int64_t length = table->shape[0], width = table->shape[1];
  for (int64_t i = 0; i < width; i++) {
    double period = pow(longest, (double)(i - i % 2) / (double)width);
    bool cosine = (i % 2 == 0) == cosine_first;
    for (int64_t row = 0; row < length; row++) {
      double angle = (double)(first + row) / period;
      th_tensor_set(table, row * width + i, cosine ? cos(angle) : sin(angle));
    }
  }
}

void th_sinusoids(const th_tensor *table, int64_t first) { fill_waves(table, first, false); }
void th_turns(const th_tensor *table, int64_t first) { fill_waves(table, first, true); }

static void fill_table(th_positions kind, const th_tensor *table, int64_t first) {
  fill_waves(table, first, kind == TH_POSITIONS_ROTARY);
}

th_status th_nn_positions_table(th_tensor *table, th_positions kind, const th_nn_layer_config *layer,
                                int64_t length, th_dtype dtype, th_error *error) {
  int64_t head = layer->key_width ? layer->key_width : layer->width / layer->heads;
  int64_t shape[] = {length, kind == TH_POSITIONS_ROTARY ? head : layer->width};
  table->data = NULL;
  if (kind != TH_POSITIONS_ROTARY && kind != TH_POSITIONS_SINUSOIDAL) return TH_OK;
  th_status status = th_tensor_new(table, dtype, 2, shape, error);
  if (!status) fill_table(kind, table, 0);
  return status;
}

/* Rows first..first+count of the table; past its end they are made in the tape's memory. */
static bool rows_of(const th_nn_positions *p, th_tape *tape, int64_t first, int64_t count, th_tensor *rows) {
  if (th_view_slice(rows, p->table, 0, first, first + count)) return true;
  int64_t shape[] = {count, p->table->shape[1]};
  if (!th_keep_tensor(tape, rows, p->table->dtype, 2, shape)) return false;
  fill_table(p->kind, rows, first);
  return true;
}

/* ---- the layer ------------------------------------------------------------------------------------------- */

th_nn_positions th_nn_positions_make(th_params *set, const char *name, th_positions kind,
                                     const th_nn_layer_config *layer, int64_t length, bool causal,
                                     const th_tensor *table) {
  th_nn_positions made = {.kind = kind, .causal = causal, .table = table};
  th_init init = {.kind = TH_INIT_NORMAL, .scale = 0.02}; /* small beside embeddings of 1, as in BERT */
  if (kind == TH_POSITIONS_LEARNED)
    made.learned = th_params_add(set, NULL, name, init, 2, (int64_t[]){length, layer->width});
  init.scale = 1 / sqrt((double)layer->width); /* as T5 does */
  if (kind == TH_POSITIONS_RELATIVE)
    made.learned = th_params_add(set, NULL, name, init, 2, (int64_t[]){TH_RELATIVE_BUCKETS, layer->heads});
  return made;
}

th_var *th_nn_positions_add(const th_nn_positions *p, th_var *x, int64_t first) {
  th_tensor rows;
  if (th_tape_error(x->tape)) return x;
  int64_t count = x->value.ndim < 2 ? 0 : x->value.shape[x->value.ndim - 2];
  if (p->kind == TH_POSITIONS_LEARNED) /* a sequence that is too long fails here, in the slice */
    return th_add(x, th_slice(th_use(x->tape, p->learned), 0, first, first + count));
  if (p->kind != TH_POSITIONS_SINUSOIDAL || !rows_of(p, x->tape, first, count, &rows)) return x;
  return th_add(x, th_constant(x->tape, &rows));
}

th_var *th_nn_positions_turn(const th_nn_positions *p, th_var *x, int64_t first) {
  th_tensor rows;
  if (!p || p->kind != TH_POSITIONS_ROTARY || th_tape_error(x->tape)) return x;
  return rows_of(p, x->tape, first, x->value.shape[2], &rows) ? th_rotary(x, &rows) : x;
}

/* ---- biases ---------------------------------------------------------------------------------------------- */

/* Attention biases depend on key minus query alone, so that row i of the square is a window on one line of
 * numbers, those for -(keys - 1) to queries - 1: [..,queries + keys - 1] seen as [..,queries,keys]. */
static th_tensor windows(const th_tensor *line, int64_t queries, int64_t keys) {
  th_tensor view = *line;
  int last = view.ndim++ - 1;
  view.shape[last] = queries, view.shape[last + 1] = keys;
  view.stride[last] = -1, view.stride[last + 1] = 1;
  view.data = th_at(line, queries - 1); /* the first query sees furthest ahead */
  return view;
}

double th_alibi_slope(int64_t head, int64_t heads) {
  int64_t power = 1; /* the largest power of two that is not above heads */
  while (power * 2 <= heads) power *= 2;
  if (head < power) return exp2(-8 * (double)(head + 1) / (double)power);
  int64_t other = 2 * (head - power); /* every other slope of twice as many heads */
  return exp2(-8 * (double)(other + 1) / (double)(2 * power));
}

static th_var *alibi(const th_nn_attention *layer, th_var *query, int64_t keys) {
  int64_t heads = query->value.shape[1], queries = query->value.shape[2], length = queries + keys - 1;
  th_tensor line;
  if (!th_keep_tensor(query->tape, &line, query->value.dtype, 2, (int64_t[]){heads, length})) return NULL;
  for (int64_t h = 0; h < heads; h++) {
    double slope =
        layer ? th_alibi_slope(th_nn_head_number(layer, h), layer->whole) : th_alibi_slope(h, heads);
    for (int64_t i = 0; i < length; i++)
      th_tensor_set(&line, h * length + i, -slope * (double)llabs(i - (keys - 1)));
  }
  line = windows(&line, queries, keys);
  return th_constant(query->tape, &line);
}

int32_t th_relative_bucket(int64_t distance, bool causal) {
  const int32_t buckets = causal ? TH_RELATIVE_BUCKETS : TH_RELATIVE_BUCKETS / 2, exact = buckets / 2;
  int32_t side = !causal && distance > 0 ? buckets : 0;
  double size = causal ? (double)(distance < 0 ? -distance : 0) : fabs((double)distance);
  if (size < exact) return side + (int32_t)size;
  /* log2: exact for powers of two */
  double part = log2(size / exact) / log2((double)TH_RELATIVE_FURTHEST / exact);
  double bucket = exact + floor(part * (buckets - exact));
  return side + (bucket < buckets ? (int32_t)bucket : buckets - 1);
}

/* The table [buckets,H] of the heads that a layer has. */
static th_var *columns_of(const th_nn_attention *layer, th_var *table) {
  if (!layer || !layer->number) return table;
  th_tensor number = th_tensor_of((void *)(uintptr_t)layer->number, TH_I32, 1, &layer->heads);
  return th_permute(th_gather(th_permute(table, (int[]){1, 0}), &number), (int[]){1, 0});
}

static th_var *relative(const th_nn_positions *p, const th_nn_attention *layer, th_var *query, int64_t keys) {
  int64_t queries = query->value.shape[2], length = queries + keys - 1;
  th_tensor line;
  if (!th_keep_tensor(query->tape, &line, TH_I32, 1, &length)) return NULL;
  for (int64_t i = 0; i < length; i++)
    ((int32_t *)line.data)[i] = th_relative_bucket(i - (keys - 1), p->causal);
  line = windows(&line, queries, keys);
  th_var *by_head =
      th_gather(columns_of(layer, th_use(query->tape, p->learned)), &line); /* [queries,keys,H] */
  if (th_tape_error(query->tape)) return NULL;
  return th_contiguous(th_permute(by_head, (int[]){2, 0, 1})); /* read once for each sequence of the batch */
}

th_var *th_nn_positions_bias(const th_nn_positions *p, const th_nn_attention *layer, th_var *query,
                             int64_t keys) {
  if (!p || th_tape_error(query->tape) || th_tensor_count(&query->value) == 0 || keys == 0) return NULL;
  if (p->kind == TH_POSITIONS_ALIBI) return alibi(layer, query, keys);
  return p->kind == TH_POSITIONS_RELATIVE ? relative(p, layer, query, keys) : NULL;
}
