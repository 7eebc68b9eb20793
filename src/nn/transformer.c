/* Making a Transformer (Vaswani et al. 2017): its configuration, its parameters. */
#include "tapehead/nn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 24 }; /* keeps every product of two sizes far from overflow */

static const char *const shape_name[] = {"an encoder-decoder", "a decoder-only", "an encoder-only"};
enum { BOTH = 1 << TH_ENCODER_DECODER, DECODER = 1 << TH_DECODER_ONLY, ENCODER = 1 << TH_ENCODER_ONLY };

static th_status check_sizes(const th_transformer_config *c, th_error *error) {
  const struct {
    const char *name;
    int64_t value;
    unsigned shapes; /* those that have it */
  } sizes[] = {{"source vocabulary", c->source_vocabulary, BOTH | ENCODER},
               {"target vocabulary", c->target_vocabulary, BOTH | DECODER},
               {"encoder layers", c->encoder_layers, BOTH | ENCODER},
               {"decoder layers", c->decoder_layers, BOTH | DECODER},
               {"classes", c->classes, ENCODER},
               {"maximum length", c->max_length, BOTH | DECODER | ENCODER},
               {"width", c->layer.width, BOTH | DECODER | ENCODER},
               {"heads", c->layer.heads, BOTH | DECODER | ENCODER},
               {"feed-forward width", c->layer.feed_forward, BOTH | DECODER | ENCODER}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    bool has = sizes[i].shapes & 1u << c->shape;
    if (!has && sizes[i].value)
      return th_error_set(error, TH_EINVAL, "%s is %lld: want 0, %s model has none", sizes[i].name,
                          (long long)sizes[i].value, shape_name[c->shape]);
    if (has && (sizes[i].value < 1 || sizes[i].value > LARGEST))
      return th_error_set(error, TH_EINVAL, "%s is %lld: want 1 to %d", sizes[i].name,
                          (long long)sizes[i].value, LARGEST);
  }
  return TH_OK;
}

static th_status check_method(const th_nn_method *m, const char *where, bool cross, int64_t heads,
                              th_positions positions, th_error *error) {
  th_error inner;
  if (th_nn_method_check(m, heads, cross, &inner))
    return th_error_set(error, inner.status, "%s: %s", where, inner.text);
  const th_attention_traits *traits = th_attention_traits_of(m->kind);
  bool biased = positions == TH_POSITIONS_ALIBI || positions == TH_POSITIONS_RELATIVE;
  if (!cross && biased && !traits->biases)
    return th_error_set(error, TH_EINVAL, "%s: %s attention has no scores for ALiBi or relative positions",
                        where, traits->name);
  if (!cross && positions == TH_POSITIONS_ROTARY && !traits->rotary)
    return th_error_set(error, TH_EINVAL, "%s: %s attention has no queries and keys for rotary positions",
                        where, traits->name);
  return TH_OK;
}

static th_status check_methods(const th_transformer_config *c, th_error *error) {
  const th_nn_layer_config *l = &c->layer;
  th_status status = check_method(&l->attention, "self-attention", false, l->heads, c->positions, error);
  if (c->shape == TH_ENCODER_DECODER && !status)
    status = check_method(&l->cross_attention, "cross-attention", true, l->heads, c->positions, error);
  bool prunes = th_attention_traits_of(l->attention.kind)->prunes;
  if (!status && c->removed && (!prunes || !th_attention_traits_of(l->cross_attention.kind)->prunes))
    return th_error_set(error, TH_EINVAL, "heads are removed: of %s attention single heads cannot be",
                        th_attention_traits_of(prunes ? l->cross_attention.kind : l->attention.kind)->name);
  return status;
}

static th_status check_layer(const th_nn_layer_config *l, th_positions positions, th_error *error) {
  if (l->self.number || l->cross.number || l->self.count || l->cross.count)
    return th_error_set(error, TH_EINVAL,
                        "heads of a layer are named: want `removed`, which names the model's");
  if (l->width % l->heads && !(l->key_width && l->value_width))
    return th_error_set(error, TH_EINVAL, "%lld heads do not divide a width of %lld", (long long)l->heads,
                        (long long)l->width);
  if (l->key_width < 0 || l->value_width < 0 || l->key_width > LARGEST || l->value_width > LARGEST)
    return th_error_set(error, TH_EINVAL, "a head's key or value width is outside 0 to %d", LARGEST);
  if (positions > TH_POSITIONS_NONE)
    return th_error_set(error, TH_EINVAL, "positions are of no kind that there is");
  int64_t key_width = l->key_width ? l->key_width : l->width / l->heads;
  if (positions == TH_POSITIONS_ROTARY && key_width % 2)
    return th_error_set(error, TH_EINVAL,
                        "rotary positions turn pairs: a head's key width is %lld, want an even one",
                        (long long)key_width);
  if (l->feed_forward_chunks < 0 || l->feed_forward_chunks > LARGEST)
    return th_error_set(error, TH_EINVAL, "%lld chunks of the feed-forward: want 0 to %d",
                        (long long)l->feed_forward_chunks, LARGEST);
  if (!(l->dropout >= 0 && l->dropout < 1))
    return th_error_set(error, TH_EINVAL, "dropout is %g: want at least 0 and below 1", l->dropout);
  if (!(l->head_dropout >= 0 && l->head_dropout < 1))
    return th_error_set(error, TH_EINVAL, "head dropout is %g: want at least 0 and below 1", l->head_dropout);
  return TH_OK;
}

th_status th_transformer_check(const th_transformer_config *c, th_error *error) {
  if (c->shape > TH_ENCODER_ONLY) return th_error_set(error, TH_EINVAL, "the shape is none that there is");
  th_status status = check_sizes(c, error);
  if (!status) status = check_layer(&c->layer, c->positions, error);
  if (!status) status = check_methods(c, error);
  if (status) return status;
  if (c->reversible && !c->layer.norm_first)
    return th_error_set(error, TH_EINVAL,
                        "reversible layers are pre-norm: a norm of the sum could not be undone");
  if (c->tie_source && c->shape != TH_ENCODER_DECODER)
    return th_error_set(error, TH_EINVAL, "tied source: %s model has one embedding", shape_name[c->shape]);
  if (c->tie_source && c->source_vocabulary != c->target_vocabulary)
    return th_error_set(error, TH_EINVAL,
                        "tied source: vocabularies of %lld and %lld tokens are not the same",
                        (long long)c->source_vocabulary, (long long)c->target_vocabulary);
  if (c->tie_output && c->shape == TH_ENCODER_ONLY)
    return th_error_set(error, TH_EINVAL, "tied output: an encoder-only model has no target embedding");
  return TH_OK;
}

static bool has_source(const th_transformer *m) { return m->config.shape != TH_DECODER_ONLY; }
static bool has_target(const th_transformer *m) { return m->config.shape != TH_ENCODER_ONLY; }

static void make_embeddings(th_transformer *m) {
  const th_transformer_config *c = &m->config;
  int64_t width = c->layer.width;
  th_init normal = {.kind = TH_INIT_NORMAL, .scale = 1 / sqrt((double)width)},
          xavier = {.kind = TH_INIT_XAVIER};
  th_init init = c->weights == TH_WEIGHTS_PAPER ? normal : xavier;
  if (has_source(m) && !c->tie_source)
    m->source_embedding =
        th_nn_embedding_make(m->params, "source_embedding", c->source_vocabulary, width, init);
  if (has_target(m))
    m->target_embedding =
        th_nn_embedding_make(m->params, "target_embedding", c->target_vocabulary, width, init);
  if (c->tie_source) m->source_embedding = m->target_embedding;
  if (has_source(m))
    m->source_positions = th_nn_positions_make(m->params, "source_positions", c->positions, &c->layer,
                                               c->max_length, false, &m->position_table);
  if (has_target(m))
    m->target_positions = th_nn_positions_make(m->params, "target_positions", c->positions, &c->layer,
                                               c->max_length, true, &m->position_table);
}

/* ---- the heads that are left ----------------------------------------------------------------------------- */

static int64_t attentions_of(const th_transformer_config *c) {
  return c->encoder_layers + (c->shape == TH_ENCODER_DECODER ? 2 : 1) * c->decoder_layers;
}

int th_transformer_attentions(const th_transformer *m) { return (int)attentions_of(&m->config); }

th_nn_attention *th_transformer_attention(const th_transformer *m, int index) {
  int64_t encoder = m->decoder ? m->config.encoder_layers : attentions_of(&m->config);
  if (index < 0 || index >= attentions_of(&m->config)) return NULL;
  if (index < encoder) return &m->encoder[index].self;
  int64_t layer = index - encoder, layers = m->config.decoder_layers;
  return layer < layers ? &m->decoder[layer].self : &m->decoder[layer - layers].cross;
}

/* Room for the numbers of all heads, and behind them a copy of config.removed. */
static bool own_removed(th_transformer *m) {
  size_t heads = (size_t)(attentions_of(&m->config) * m->config.layer.heads);
  if (!m->config.removed) return true;
  m->numbers = calloc(heads, sizeof *m->numbers + sizeof(bool));
  if (!m->numbers) return false;
  m->config.removed = memcpy(m->numbers + heads, m->config.removed, heads * sizeof(bool));
  return true;
}

/* Those of one attention. */
static th_nn_heads kept_in(const th_transformer *m, int64_t attention) {
  int64_t heads = m->config.layer.heads, first = attention * heads;
  if (!m->config.removed) return (th_nn_heads){0};
  int32_t *number = m->numbers + first;
  th_nn_heads kept = {.number = number};
  for (int32_t h = 0; h < heads; h++)
    if (!m->config.removed[first + h]) number[kept.count++] = h;
  return kept;
}

/* ---- its parts ------------------------------------------------------------------------------------------- */

/* Layers "NAME.layers.N" without cross-attention: an encoder, or, causal, the whole of a decoder-only model. */
static bool make_plain_layers(th_transformer *m, const char *name, int64_t count, th_attention_kind kind,
                              const th_nn_positions *positions) {
  char layer[TH_NAME_MAX];
  m->encoder = calloc((size_t)count, sizeof *m->encoder);
  for (int i = 0; i < count && m->encoder; i++) {
    th_nn_layer_config config = m->config.layer;
    config.self = kept_in(m, i);
    snprintf(layer, sizeof layer, "%s.layers.%d", name, i);
    m->encoder[i] = th_nn_encoder_layer_make(m->params, layer, &config, i);
    m->encoder[i].self.kind = kind;
    m->encoder[i].self.positions = positions;
  }
  return m->encoder;
}

static bool make_crossing_layers(th_transformer *m) {
  char layer[TH_NAME_MAX];
  m->decoder = calloc((size_t)m->config.decoder_layers, sizeof *m->decoder);
  for (int i = 0; i < m->config.decoder_layers && m->decoder; i++) {
    th_nn_layer_config config = m->config.layer;
    config.self = kept_in(m, m->config.encoder_layers + i);
    config.cross = kept_in(m, m->config.encoder_layers + m->config.decoder_layers + i);
    snprintf(layer, sizeof layer, "decoder.layers.%d", i);
    m->decoder[i] = th_nn_decoder_layer_make(m->params, layer, &config, i);
    m->decoder[i].self.positions = &m->target_positions;
  }
  return m->decoder;
}

static bool make_stacks(th_transformer *m) {
  const th_transformer_config *c = &m->config;
  if (has_source(m) &&
      !make_plain_layers(m, "encoder", c->encoder_layers, TH_ENCODER_SELF, &m->source_positions))
    return false;
  if (c->shape == TH_ENCODER_DECODER && !make_crossing_layers(m)) return false;
  if (c->shape == TH_DECODER_ONLY &&
      !make_plain_layers(m, "decoder", c->decoder_layers, TH_DECODER_SELF, &m->target_positions))
    return false;
  if (c->final_norm && has_source(m))
    m->encoder_norm = th_nn_norm_make(m->params, "encoder.norm", c->layer.width);
  if (c->final_norm && has_target(m))
    m->decoder_norm = th_nn_norm_make(m->params, "decoder.norm", c->layer.width);
  return true;
}

static void make_output(th_transformer *m) {
  const th_transformer_config *c = &m->config;
  int64_t outputs = has_target(m) ? c->target_vocabulary : c->classes;
  if (!c->tie_output) m->output = th_nn_linear_make(m->params, "output", c->layer.width, outputs, true);
  else
    m->output = (th_nn_linear){
        .weight = m->target_embedding.weight,
        .bias = th_params_add(m->params, "output", "bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &outputs)};
}

th_status th_transformer_new(th_transformer **made, const th_transformer_config *config, th_dtype dtype,
                             uint64_t seed, th_error *error) {
  th_status status = th_transformer_check(config, error);
  if (status) return status;
  th_transformer *m = calloc(1, sizeof *m);
  if (!m || !(m->params = th_params_new())) {
    free(m);
    return th_error_set(error, TH_ENOMEM, "transformer: no memory");
  }
  m->config = *config;
  make_embeddings(m);
  if (own_removed(m) && make_stacks(m)) make_output(m);
  else status = th_error_set(error, TH_ENOMEM, "transformer: no memory for its layers");
  if (!status) status = th_params_make(m->params, dtype, seed, error);
  if (!status)
    status = th_nn_positions_table(&m->position_table, config->positions, &config->layer, config->max_length,
                                   dtype, error);
  if (status) th_transformer_free(m);
  else *made = m;
  return status;
}

void th_transformer_free(th_transformer *m) {
  if (!m) return;
  th_params_free(m->params);
  th_tensor_free(&m->position_table);
  free(m->encoder);
  free(m->decoder);
  free(m->numbers);
  free(m);
}
