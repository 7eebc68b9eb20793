/* Encoder and decoder layers (Vaswani et al. 2017, section 3.1), pre- and post-norm, around one stream or two. */
#include "blocks.h"

#include "methods.h"
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

static th_nn_feed_forward feed_forward_of(th_params *set, const char *name, const th_nn_layer_config *c) {
  th_nn_feed_forward made =
      th_nn_feed_forward_make(set, name, c->width, c->feed_forward, c->activation, c->dropout);
  made.chunks = c->feed_forward_chunks;
  return made;
}

/* ---- the streams --------------------------------------------------------------------------------- */

th_nn_stream th_nn_stream_begin(th_var *x, bool reversible, bool kept, const th_packing *packing) {
  if (!reversible) return (th_nn_stream){.x = th_pack(packing, x), .packing = packing};
  return kept ? (th_nn_stream){.x = x, .other = x, .kept = true}
              : (th_nn_stream){.x = th_stream(x), .other = th_stream(x)};
}

th_var *th_nn_stream_end(const th_nn_stream *s) {
  if (!s->other) return s->x;
  return s->kept ? th_scale(th_add(s->x, s->other), 0.5) : th_streams_end(s->x, s->other);
}

/* One sublayer, with its norm and dropout: an attention, or with none the feed-forward. */
typedef struct sublayer {
  const th_nn_attention *attention;
  const th_nn_feed_forward *feed_forward;
  const th_nn_norm *norm;
  bool norm_first;
  double dropout;
  const th_mask *given; /* NULL: none */
  th_mask mask;         /* a copy, for what is computed again */
  th_nn_cache *self;    /* NULL: all at once */
  const th_nn_cache *cross;
  const th_tap *tap;
  const th_packing *packing, *memory_packing;
} sublayer;

static th_var *attend(const sublayer *s, th_var *x, th_var *memory) {
  if (s->self) return th_nn_attention_step(s->attention, s->self, x, s->tap);
  if (s->cross) return th_nn_attention_recall(s->attention, s->cross, x, s->given, s->tap);
  return th_nn_attention_packed(s->attention, x, s->packing, memory, s->memory_packing, s->given, s->tap);
}

/* What is added to the residual stream x; memory NULL: x attends to itself. */
static th_var *computed(const sublayer *s, th_var *x, th_var *memory) {
  th_var *in = s->norm_first ? th_nn_norm_forward(s->norm, x) : x;
  th_var *f =
      s->attention ? attend(s, in, memory) : th_nn_feed_forward_packed(s->feed_forward, in, s->packing);
  return th_spent(th_packed_dropout(s->packing, th_spent(f), s->dropout));
}

static th_var *computed_again(th_var *x, th_var *const *others, const void *context) {
  sublayer s = *(const sublayer *)context;
  if (s.given) s.given = &s.mask;
  return computed(&s, x, s.attention && s.attention->kind == TH_CROSS ? others[0] : NULL);
}

/* Pre-norm normalises what goes into a sublayer, post-norm the sum that comes out. */
static void change(th_nn_stream *stream, sublayer s, th_var *memory) {
  if (s.given) s.mask = *s.given;
  s.packing = stream->packing;
  if (!stream->other) {
    th_var *sum = th_add(stream->x, computed(&s, stream->x, memory));
    stream->x = s.norm_first ? sum : th_nn_norm_forward(s.norm, sum);
    return;
  }
  th_var *sum = stream->kept ? th_add(stream->x, computed(&s, stream->other, memory))
                             : th_reversible(stream->x, stream->other, memory != NULL, &memory,
                                             computed_again, &s, sizeof s);
  stream->x = stream->other;
  stream->other = sum;
}

/* ---- encoder layer --------------------------------------------------------------------------------- */

th_nn_encoder_layer th_nn_encoder_layer_make(th_params *set, const char *name, const th_nn_layer_config *c,
                                             int layer) {
  char text[TH_NAME_MAX];
  return (th_nn_encoder_layer){.self = attention_of(set, name, "self_attn", c, TH_ENCODER_SELF, layer),
                               .feed_forward = feed_forward_of(set, name, c),
                               .norm1 = th_nn_norm_make(set, under(text, name, "norm1"), c->width),
                               .norm2 = th_nn_norm_make(set, under(text, name, "norm2"), c->width),
                               .dropout = c->dropout,
                               .norm_first = c->norm_first};
}

void th_nn_encoder_layer_change(const th_nn_encoder_layer *l, th_nn_stream *stream, th_nn_cache *self,
                                const th_mask *mask, const th_tap *tap) {
  sublayer attention = {.attention = &l->self,
                        .norm = &l->norm1,
                        .norm_first = l->norm_first,
                        .dropout = l->dropout,
                        .given = mask,
                        .self = self,
                        .tap = tap},
           feed_forward = {.feed_forward = &l->feed_forward,
                           .norm = &l->norm2,
                           .norm_first = l->norm_first,
                           .dropout = l->dropout};
  change(stream, attention, NULL);
  change(stream, feed_forward, NULL);
}

th_var *th_nn_encoder_layer_forward(const th_nn_encoder_layer *l, th_var *x, const th_mask *mask,
                                    const th_tap *tap) {
  th_nn_stream stream = {.x = x};
  th_nn_encoder_layer_change(l, &stream, NULL, mask, tap);
  return stream.x;
}

/* ---- decoder layer --------------------------------------------------------------------------------- */

th_nn_decoder_layer th_nn_decoder_layer_make(th_params *set, const char *name, const th_nn_layer_config *c,
                                             int layer) {
  char text[TH_NAME_MAX];
  return (th_nn_decoder_layer){.self = attention_of(set, name, "self_attn", c, TH_DECODER_SELF, layer),
                               .cross = attention_of(set, name, "multihead_attn", c, TH_CROSS, layer),
                               .feed_forward = feed_forward_of(set, name, c),
                               .norm1 = th_nn_norm_make(set, under(text, name, "norm1"), c->width),
                               .norm2 = th_nn_norm_make(set, under(text, name, "norm2"), c->width),
                               .norm3 = th_nn_norm_make(set, under(text, name, "norm3"), c->width),
                               .dropout = c->dropout,
                               .norm_first = c->norm_first};
}

void th_nn_decoder_layer_change(const th_nn_decoder_layer *l, th_nn_stream *stream, th_nn_cache *self,
                                const th_mask *self_mask, th_var *memory, const th_packing *memory_packing,
                                const th_nn_cache *cross, const th_mask *memory_mask, const th_tap *tap) {
  sublayer attention = {.attention = &l->self,
                        .norm = &l->norm1,
                        .norm_first = l->norm_first,
                        .dropout = l->dropout,
                        .given = self_mask,
                        .self = self,
                        .tap = tap},
           across = {.attention = &l->cross,
                     .norm = &l->norm2,
                     .norm_first = l->norm_first,
                     .dropout = l->dropout,
                     .given = memory_mask,
                     .cross = cross,
                     .tap = tap,
                     .memory_packing = memory_packing},
           feed_forward = {.feed_forward = &l->feed_forward,
                           .norm = &l->norm3,
                           .norm_first = l->norm_first,
                           .dropout = l->dropout};
  change(stream, attention, NULL);
  change(stream, across, memory);
  change(stream, feed_forward, NULL);
}

th_var *th_nn_decoder_layer_forward(const th_nn_decoder_layer *l, th_var *x, th_var *memory,
                                    const th_mask *self_mask, const th_mask *memory_mask, const th_tap *tap) {
  th_nn_stream stream = {.x = x};
  th_nn_decoder_layer_change(l, &stream, NULL, self_mask, memory, NULL, NULL, memory_mask, tap);
  return stream.x;
}
