/* Encoder and decoder layers (Vaswani et al. 2017, section 3.1), pre- and post-norm. */
#include "name.h"

static const char *under(char text[TH_NAME_MAX], const char *name, const char *part) {
  th_name_under(text, name, part);
  return text;
}

static th_nn_attention attention_of(th_params *set, const char *name, const char *part,
                                    const th_nn_layer_config *c, th_attention_kind kind, int layer) {
  char text[TH_NAME_MAX];
  th_nn_attention_config config = {.width = c->width,
                                   .heads = c->heads,
                                   .key_width = c->key_width,
                                   .value_width = c->value_width,
                                   .dropout = c->dropout,
                                   .kind = kind,
                                   .layer = layer,
                                   .method = kind == TH_CROSS ? c->cross_attention : c->attention,
                                   .gates = c->head_gates,
                                   .head_dropout = c->head_dropout,
                                   .kept = kind == TH_CROSS ? c->cross : c->self};
  return th_nn_attention_make(set, under(text, name, part), &config);
}

/* The residual connection around a sublayer f: before() feeds f, after() takes its result. Pre-norm
 * normalises what goes into f, post-norm the sum that comes out. */
static th_var *before(bool norm_first, const th_nn_norm *norm, th_var *x) {
  return norm_first ? th_nn_norm_forward(norm, x) : x;
}

static th_var *after(bool norm_first, const th_nn_norm *norm, th_var *x, th_var *f, double dropout) {
  th_var *sum = th_add(x, th_dropout(f, dropout));
  return norm_first ? sum : th_nn_norm_forward(norm, sum);
}

/* Self-attention of x; with a cache, of x to all it remembers, and now x too. */
static th_var *attend_self(const th_nn_attention *self, th_var *x, th_nn_cache *cache, const th_mask *mask,
                           const th_tap *tap) {
  return cache ? th_nn_attention_step(self, cache, x, tap)
               : th_nn_attention_forward(self, x, NULL, mask, tap);
}

static const th_mask causal = {.causal = true};

/* ---- encoder layer --------------------------------------------------------------------------------- */

th_nn_encoder_layer th_nn_encoder_layer_make(th_params *set, const char *name, const th_nn_layer_config *c,
                                             int layer) {
  char text[TH_NAME_MAX];
  return (th_nn_encoder_layer){.self = attention_of(set, name, "self_attn", c, TH_ENCODER_SELF, layer),
                               .feed_forward = th_nn_feed_forward_make(set, name, c->width, c->feed_forward,
                                                                       c->activation, c->dropout),
                               .norm1 = th_nn_norm_make(set, under(text, name, "norm1"), c->width),
                               .norm2 = th_nn_norm_make(set, under(text, name, "norm2"), c->width),
                               .dropout = c->dropout,
                               .norm_first = c->norm_first};
}

static th_var *encoder_layer(const th_nn_encoder_layer *l, th_var *x, th_nn_cache *cache, const th_mask *mask,
                             const th_tap *tap) {
  bool pre = l->norm_first;
  th_var *f = attend_self(&l->self, before(pre, &l->norm1, x), cache, mask, tap);
  x = after(pre, &l->norm1, x, f, l->dropout);
  f = th_nn_feed_forward_forward(&l->feed_forward, before(pre, &l->norm2, x));
  return after(pre, &l->norm2, x, f, l->dropout);
}

th_var *th_nn_encoder_layer_forward(const th_nn_encoder_layer *l, th_var *x, const th_mask *mask,
                                    const th_tap *tap) {
  return encoder_layer(l, x, NULL, mask, tap);
}

th_var *th_nn_encoder_layer_step(const th_nn_encoder_layer *l, th_var *x, th_nn_cache *self,
                                 const th_tap *tap) {
  return encoder_layer(l, x, self, &causal, tap);
}

/* ---- decoder layer --------------------------------------------------------------------------------- */

th_nn_decoder_layer th_nn_decoder_layer_make(th_params *set, const char *name, const th_nn_layer_config *c,
                                             int layer) {
  char text[TH_NAME_MAX];
  return (th_nn_decoder_layer){.self = attention_of(set, name, "self_attn", c, TH_DECODER_SELF, layer),
                               .cross = attention_of(set, name, "multihead_attn", c, TH_CROSS, layer),
                               .feed_forward = th_nn_feed_forward_make(set, name, c->width, c->feed_forward,
                                                                       c->activation, c->dropout),
                               .norm1 = th_nn_norm_make(set, under(text, name, "norm1"), c->width),
                               .norm2 = th_nn_norm_make(set, under(text, name, "norm2"), c->width),
                               .norm3 = th_nn_norm_make(set, under(text, name, "norm3"), c->width),
                               .dropout = c->dropout,
                               .norm_first = c->norm_first};
}

/* Where the decoder's cross-attention finds the memory: as it is, or as remembered keys and values. */
typedef struct {
  th_var *memory;
  const th_nn_cache *cache; /* NULL: memory */
  const th_mask *mask;
} cross_source;

static th_var *decoder_layer(const th_nn_decoder_layer *l, th_var *x, th_nn_cache *self,
                             const th_mask *self_mask, cross_source from, const th_tap *tap) {
  bool pre = l->norm_first;
  th_var *f = attend_self(&l->self, before(pre, &l->norm1, x), self, self_mask, tap);
  x = after(pre, &l->norm1, x, f, l->dropout);
  th_var *in = before(pre, &l->norm2, x);
  f = from.cache ? th_nn_attention_recall(&l->cross, from.cache, in, from.mask, tap)
                 : th_nn_attention_forward(&l->cross, in, from.memory, from.mask, tap);
  x = after(pre, &l->norm2, x, f, l->dropout);
  f = th_nn_feed_forward_forward(&l->feed_forward, before(pre, &l->norm3, x));
  return after(pre, &l->norm3, x, f, l->dropout);
}

th_var *th_nn_decoder_layer_forward(const th_nn_decoder_layer *l, th_var *x, th_var *memory,
                                    const th_mask *self_mask, const th_mask *memory_mask, const th_tap *tap) {
  return decoder_layer(l, x, NULL, self_mask, (cross_source){memory, NULL, memory_mask}, tap);
}

th_var *th_nn_decoder_layer_step(const th_nn_decoder_layer *l, th_var *x, th_nn_cache *self,
                                 const th_nn_cache *cross, const th_mask *memory_mask, const th_tap *tap) {
  return decoder_layer(l, x, self, &causal, (cross_source){NULL, cross, memory_mask}, tap);
}
