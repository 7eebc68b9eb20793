/* The encoder-decoder Transformer (Vaswani et al. 2017). */
#include "tapehead/nn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- making one ------------------------------------------------------------------------------------- */

th_status th_transformer_check(const th_transformer_config *c, th_error *error) {
  const struct {
    const char *name;
    int64_t value;
  } sizes[] = {{"source vocabulary", c->source_vocabulary},
               {"target vocabulary", c->target_vocabulary},
               {"encoder layers", c->encoder_layers},
               {"decoder layers", c->decoder_layers},
               {"maximum length", c->max_length},
               {"width", c->layer.width},
               {"heads", c->layer.heads},
               {"feed-forward width", c->layer.feed_forward}};
  const int64_t largest = 1 << 24; /* keeps every product of two sizes far from overflow */
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (sizes[i].value < 1 || sizes[i].value > largest)
      return th_error_set(error, TH_EINVAL, "%s is %lld: want 1 to %lld", sizes[i].name,
                          (long long)sizes[i].value, (long long)largest);
  const th_nn_layer_config *l = &c->layer;
  if (l->width % l->heads && !(l->key_width && l->value_width))
    return th_error_set(error, TH_EINVAL, "%lld heads do not divide a width of %lld", (long long)l->heads,
                        (long long)l->width);
  if (l->key_width < 0 || l->value_width < 0 || l->key_width > largest || l->value_width > largest)
    return th_error_set(error, TH_EINVAL, "a head's key or value width is outside 0 to %lld",
                        (long long)largest);
  if (c->positions > TH_POSITIONS_NONE)
    return th_error_set(error, TH_EINVAL, "positions are of no kind that there is");
  if (c->positions == TH_POSITIONS_ROTARY && (l->key_width ? l->key_width : l->width / l->heads) % 2)
    return th_error_set(error, TH_EINVAL,
                        "rotary positions turn pairs: a head's key width is %lld, want an even one",
                        (long long)(l->key_width ? l->key_width : l->width / l->heads));
  if (!(l->dropout >= 0 && l->dropout < 1))
    return th_error_set(error, TH_EINVAL, "dropout is %g: want at least 0 and below 1", l->dropout);
  return TH_OK;
}

static void make_embeddings(th_transformer *m) {
  const th_transformer_config *c = &m->config;
  int64_t width = c->layer.width;
  th_init normal = {.kind = TH_INIT_NORMAL, .scale = 1 / sqrt((double)width)},
          xavier = {.kind = TH_INIT_XAVIER};
  th_init init = c->weights == TH_WEIGHTS_PAPER ? normal : xavier;
  m->source_embedding =
      th_nn_embedding_make(m->params, "source_embedding", c->source_vocabulary, width, init);
  m->target_embedding =
      th_nn_embedding_make(m->params, "target_embedding", c->target_vocabulary, width, init);
  m->source_positions = th_nn_positions_make(m->params, "source_positions", c->positions, &c->layer,
                                             c->max_length, false, &m->position_table);
  m->target_positions = th_nn_positions_make(m->params, "target_positions", c->positions, &c->layer,
                                             c->max_length, true, &m->position_table);
}

static th_status make_stacks(th_transformer *m, th_error *error) {
  const th_transformer_config *c = &m->config;
  char name[TH_NAME_MAX];
  m->encoder = calloc((size_t)c->encoder_layers, sizeof *m->encoder);
  m->decoder = calloc((size_t)c->decoder_layers, sizeof *m->decoder);
  if (!m->encoder || !m->decoder)
    return th_error_set(error, TH_ENOMEM, "transformer: no memory for its layers");
  for (int i = 0; i < c->encoder_layers; i++) {
    snprintf(name, sizeof name, "encoder.layers.%d", i);
    m->encoder[i] = th_nn_encoder_layer_make(m->params, name, &c->layer, i);
    m->encoder[i].self.positions = &m->source_positions;
  }
  for (int i = 0; i < c->decoder_layers; i++) {
    snprintf(name, sizeof name, "decoder.layers.%d", i);
    m->decoder[i] = th_nn_decoder_layer_make(m->params, name, &c->layer, i);
    m->decoder[i].self.positions = &m->target_positions;
  }
  if (c->final_norm) {
    m->encoder_norm = th_nn_norm_make(m->params, "encoder.norm", c->layer.width);
    m->decoder_norm = th_nn_norm_make(m->params, "decoder.norm", c->layer.width);
  }
  m->output = th_nn_linear_make(m->params, "output", c->layer.width, c->target_vocabulary, true);
  return TH_OK;
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
  status = make_stacks(m, error);
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
  free(m);
}

/* ---- forward ------------------------------------------------------------------------------------------ */

/* Token embeddings plus positions from `first` on, with dropout (section 5.4): ids [B,T] to [B,T,E]. */
static th_var *embed(const th_transformer *m, th_tape *tape, const th_nn_embedding *tokens,
                     const th_nn_positions *positions, const th_tensor *ids, int64_t first) {
  th_var *x = th_nn_positions_add(positions, th_nn_embedding_forward(tokens, tape, ids), first);
  return th_dropout(x, m->config.layer.dropout);
}

th_var *th_transformer_encode(const th_transformer *m, th_tape *tape, const th_tensor *source,
                              const int32_t *source_length, const th_tap *tap) {
  th_mask mask = {.key_length = source_length};
  th_var *x = embed(m, tape, &m->source_embedding, &m->source_positions, source, 0);
  for (int64_t i = 0; i < m->config.encoder_layers; i++)
    x = th_nn_encoder_layer_forward(&m->encoder[i], x, &mask, tap);
  return m->encoder_norm.weight ? th_nn_norm_forward(&m->encoder_norm, x) : x;
}

static th_var *logits_of(const th_transformer *m, th_var *x) {
  if (m->decoder_norm.weight) x = th_nn_norm_forward(&m->decoder_norm, x);
  return th_nn_linear_forward(&m->output, x);
}

th_var *th_transformer_decode(const th_transformer *m, th_var *memory, const int32_t *source_length,
                              const th_tensor *target, const th_tap *tap) {
  th_mask causal = {.causal = true}, padding = {.key_length = source_length};
  th_var *x = embed(m, memory->tape, &m->target_embedding, &m->target_positions, target, 0);
  for (int64_t i = 0; i < m->config.decoder_layers; i++)
    x = th_nn_decoder_layer_forward(&m->decoder[i], x, memory, &causal, &padding, tap);
  return logits_of(m, x);
}

/* ---- token by token --------------------------------------------------------------------------------------- */

th_decoding th_decoding_begin(const th_transformer *m, th_var *memory, const int32_t *source_length,
                              int64_t limit) {
  int64_t layers = m->config.decoder_layers;
  th_decoding d = {.model = m, .source_length = source_length};
  th_tape *tape = memory->tape;
  if (th_tape_error(tape)) return d;
  d.self = th_keep(tape, (size_t)layers * sizeof *d.self);
  d.cross = th_keep(tape, (size_t)layers * sizeof *d.cross);
  int64_t batch = memory->value.shape[0], length = memory->value.shape[1];
  for (int64_t i = 0; i < layers && !th_tape_error(tape); i++) {
    d.self[i] = th_nn_cache_new(tape, &m->decoder[i].self, batch, limit);
    d.cross[i] = th_nn_cache_new(tape, &m->decoder[i].cross, batch, length);
    if (!th_tape_error(tape)) th_nn_attention_remember(&m->decoder[i].cross, &d.cross[i], memory);
  }
  return d;
}

th_var *th_decoding_step(th_decoding *d, th_tape *tape, const th_tensor *tokens, const th_tap *tap) {
  const th_transformer *m = d->model;
  th_mask padding = {.key_length = d->source_length};
  th_var *x = embed(m, tape, &m->target_embedding, &m->target_positions, tokens, d->length);
  for (int64_t i = 0; i < m->config.decoder_layers && !th_tape_error(tape); i++)
    x = th_nn_decoder_layer_step(&m->decoder[i], x, &d->self[i], &d->cross[i], &padding, tap);
  d->length += th_tape_error(tape) ? 0 : 1;
  return logits_of(m, x);
}
