/* A decoder for a changing set of rows: with the keys and values of earlier tokens kept, or from the start each
 * time. */
#include "decoding.h"

#include <string.h>

/* ---- rows of a cache ------------------------------------------------------------------------------------ */

/* Row i of `to` becomes row rows[i] of `from`, [rows,H,S,D], as far as it is filled. */
static void copy_rows(const th_tensor *from, th_tensor *to, int64_t filled, int64_t count,
                      const int32_t *rows) {
  int64_t size = (int64_t)th_dtype_size(from->dtype), heads = from->shape[1];
  size_t bytes = (size_t)(filled * from->shape[3] * size);
  to->shape[0] = count;
  for (int64_t i = 0; i < count && bytes; i++)
    for (int64_t h = 0; h < heads; h++)
      memcpy((char *)to->data + (i * to->stride[0] + h * to->stride[1]) * size,
             (const char *)from->data + (rows[i] * from->stride[0] + h * from->stride[1]) * size, bytes);
}

/* Copies the rows into the spare one, which takes the cache's place. */
static void select_rows(th_nn_cache *cache, th_nn_cache *spare, int64_t count, const int32_t *rows) {
  th_nn_cache old = *cache;
  copy_rows(&cache->key, &spare->key, cache->length, count, rows);
  copy_rows(&cache->value, &spare->value, cache->length, count, rows);
  copy_rows(&cache->state, &spare->state, cache->state.shape[2], count, rows);
  *cache = *spare;
  cache->length = old.length;
  *spare = old;
}

/* The same rows, with room for more. */
static void widen(th_tape *tape, const th_nn_attention *layer, th_nn_cache *cache, int64_t room,
                  int64_t count, const int32_t *rows) {
  th_nn_cache wide = th_nn_cache_new(tape, layer, room, cache->key.shape[2]);
  if (!th_tape_error(tape)) select_rows(cache, &wide, count, rows);
}

/* The first decoder layer whose attentions of this kind have as many heads as those of layer i. */
static int64_t alike(const th_transformer *m, int64_t i, bool cross) {
  int64_t first = 0;
  for (const th_nn_decoder_layer *l = m->decoder;; first++)
    if (cross ? l[first].cross.heads == l[i].cross.heads : l[first].self.heads == l[i].self.heads)
      return first;
}

/* ---- the reader ----------------------------------------------------------------------------------------- */

static void begin_caches(th_reader *r, int64_t limit) {
  const th_nn_decoder_layer *layer = r->model->decoder;
  r->decoding = th_decoding_begin(r->model, r->memory, r->row_length, limit);
  for (int64_t i = 0; i < r->model->config.decoder_layers && r->room > r->rows && !th_tape_error(r->tape);
       i++) {
    widen(r->tape, &layer[i].self, &r->decoding.self[i], r->room, r->rows, r->source);
    widen(r->tape, &layer[i].cross, &r->decoding.cross[i], r->room, r->rows, r->source);
  }
  size_t bytes = (size_t)r->model->config.decoder_layers * sizeof *r->spare_self;
  r->spare_self = th_keep(r->tape, bytes);
  r->spare_cross = th_keep(r->tape, bytes);
  for (int64_t i = 0; i < r->model->config.decoder_layers && !th_tape_error(r->tape); i++) {
    if (alike(r->model, i, false) == i)
      r->spare_self[i] = th_nn_cache_new(r->tape, &layer[i].self, r->room, limit);
    if (alike(r->model, i, true) == i)
      r->spare_cross[i] = th_nn_cache_new(r->tape, &layer[i].cross, r->room, r->memory->value.shape[1]);
  }
}

static void set_lengths(th_reader *r) {
  for (int64_t i = 0; i < r->rows && r->row_length; i++) r->row_length[i] = r->source_length[r->source[i]];
}

th_reader th_reader_begin(const th_transformer *model, th_var *memory, const int32_t *source_length,
                          int64_t room, int64_t limit, bool cached) {
  th_tape *tape = memory->tape;
  th_reader r = {
      .model = model, .tape = tape, .memory = memory, .source_length = source_length, .cached = cached};
  if (th_tape_error(tape)) return r;
  r.rows = memory->value.shape[0];
  r.room = room;
  size_t bytes = (size_t)room * sizeof *r.source;
  r.source = th_keep(tape, bytes);
  r.spare = th_keep(tape, bytes);
  r.row_length = source_length ? th_keep(tape, bytes) : NULL;
  if (th_tape_error(tape)) return r;
  for (int32_t i = 0; i < r.rows; i++) r.source[i] = i;
  set_lengths(&r);
  if (cached) begin_caches(&r, limit);
  return r;
}

void th_reader_select(th_reader *r, int64_t count, const int32_t *rows) {
  bool same = count == r->rows, same_sources = same;
  for (int64_t i = 0; i < count; i++) {
    r->spare[i] = r->source[rows[i]];
    same = same && rows[i] == i;
    same_sources = same_sources && r->spare[i] == r->source[i];
  }
  if (same) return;
  for (int64_t i = 0; i < r->model->config.decoder_layers && r->cached; i++) {
    select_rows(&r->decoding.self[i], &r->spare_self[alike(r->model, i, false)], count, rows);
    if (!same_sources)
      select_rows(&r->decoding.cross[i], &r->spare_cross[alike(r->model, i, true)], count, rows);
  }
  int32_t *old = r->source;
  r->source = r->spare;
  r->spare = old;
  r->rows = count;
  set_lengths(r);
}

/* The whole of tokens [rows,t] through the decoder, as if nothing had been read. */
static th_var *read_again(th_reader *r, const th_tensor *tokens) {
  const int64_t *shape = r->memory->value.shape; /* [B,S,E] */
  int64_t wanted[] = {r->rows, shape[1], shape[2]};
  th_tensor ids = th_tensor_of(r->source, TH_I32, 1, &r->rows);
  th_var *each = th_gather(th_reshape(r->memory, 2, (int64_t[]){shape[0], shape[1] * shape[2]}), &ids);
  th_var *all = th_transformer_decode(r->model, th_reshape(each, 3, wanted), r->row_length, tokens, NULL);
  return th_contiguous(th_slice(all, 1, tokens->shape[1] - 1, tokens->shape[1]));
}

th_var *th_reader_step(th_reader *r, const th_tensor *tokens) {
  th_tensor newest;
  th_view_slice(&newest, tokens, 1, tokens->shape[1] - 1, tokens->shape[1]);
  th_var *logits = r->cached ? th_decoding_step(&r->decoding, r->tape, &newest, NULL) : read_again(r, tokens);
  return th_reshape(logits, 2, (int64_t[]){r->rows, r->model->config.target_vocabulary});
}
