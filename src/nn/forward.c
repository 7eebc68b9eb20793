/* What a Transformer computes: all positions at once, or token by token from caches. */
#include "blocks.h"

#include "../autograd/ops.h"

#include <stdio.h>
#include <string.h>

/* False after an error: the model is of another shape than `wanted` or `also`. */
static bool fits(const th_transformer *m, th_tape *tape, th_transformer_shape wanted,
                 th_transformer_shape also, const char *why) {
  bool right = m->config.shape == wanted || m->config.shape == also;
  if (!right) th_tape_fail(tape, TH_EINVAL, "transformer", why);
  return right && !th_tape_error(tape);
}

static th_var *failed(th_tape *tape) { return th_constant(tape, &(th_tensor){0}); }

/* ---- all at once ------------------------------------------------------------------------------------------- */

/* Token embeddings plus positions from `first` on, with dropout (section 5.4): ids [B,T] to [B,T,E]. */
static th_var *embed(const th_transformer *m, th_tape *tape, const th_nn_embedding *tokens,
                     const th_nn_positions *positions, const th_tensor *ids, int64_t first) {
  th_var *x = th_nn_positions_add(positions, th_nn_embedding_forward(tokens, tape, ids), first);
  return th_dropout(x, m->config.layer.dropout);
}

/* Lengths that stay as long as the tape has what was computed under them: a reversible stack computes it again. */
static const int32_t *kept_lengths(const th_transformer *m, th_tape *tape, const int32_t *length,
                                   int64_t batch) {
  int32_t *kept = length && m->config.reversible ? th_keep(tape, (size_t)batch * sizeof *kept) : NULL;
  if (kept) memcpy(kept, length, (size_t)batch * sizeof *kept);
  return kept ? kept : length;
}

static th_nn_stream begin(const th_transformer *m, th_var *x, bool kept, const th_packing *packing) {
  return th_nn_stream_begin(x, m->config.reversible, kept, packing);
}

/* NULL: all places are gone through. A tap is to see them all; what is computed again, or by parts, is not packed. */
static const th_packing *packing_of(const th_transformer *m, th_tape *tape, const th_tensor *ids,
                                    const int32_t *length, const th_tap *tap) {
  if (tap || m->config.reversible || m->config.layer.feed_forward_chunks > 1 || ids->ndim != 2) return NULL;
  return th_packing_of(tape, length, ids->shape[0], ids->shape[1]);
}

/* [B,S,E], or packed. */
static th_var *encoder(const th_transformer *m, th_tape *tape, const th_tensor *source, const int32_t *length,
                       const th_packing *packing, const th_tap *tap) {
  th_mask mask = {.key_length = kept_lengths(m, tape, length, source->shape[0]),
                  .query_length = packing ? packing->length : NULL};
  th_var *x = embed(m, tape, &m->source_embedding, &m->source_positions, source, 0);
  th_nn_stream stream = begin(m, x, tap, packing);
  for (int64_t i = 0; i < m->config.encoder_layers; i++)
    th_nn_encoder_layer_change(&m->encoder[i], &stream, NULL, &mask, tap);
  x = th_nn_stream_end(&stream);
  return m->encoder_norm.weight ? th_nn_norm_forward(&m->encoder_norm, x) : x;
}

th_var *th_transformer_encode(const th_transformer *m, th_tape *tape, const th_tensor *source,
                              const int32_t *source_length, const th_tap *tap) {
  if (!fits(m, tape, TH_ENCODER_DECODER, TH_ENCODER_ONLY, "a decoder-only model encodes nothing"))
    return failed(tape);
  const th_packing *packing = packing_of(m, tape, source, source_length, tap);
  return th_unpack(packing, encoder(m, tape, source, source_length, packing, tap));
}

static th_var *logits_of(const th_transformer *m, th_var *x) {
  if (m->decoder_norm.weight) x = th_nn_norm_forward(&m->decoder_norm, x);
  return th_nn_linear_forward(&m->output, x);
}

static const th_mask causal = {.causal = true};

/* What is read and attended to, each perhaps packed. */
typedef struct {
  th_var *memory; /* NULL: decoder-only */
  const th_packing *memory_packing, *packing;
  const int32_t *source_length;
  const th_tensor *target;
} reading;

/* [B,T,E], or packed. */
static th_var *decoder(const th_transformer *m, th_tape *tape, const reading *r, const th_tap *tap) {
  const int32_t *length = r->packing ? r->packing->length : NULL;
  th_mask own = {.causal = true, .key_length = length, .query_length = length},
          padding = {.key_length = kept_lengths(m, tape, r->source_length, r->target->shape[0]),
                     .query_length = length};
  th_var *x = embed(m, tape, &m->target_embedding, &m->target_positions, r->target, 0);
  th_nn_stream stream = begin(m, x, tap, r->packing);
  for (int64_t i = 0; i < m->config.decoder_layers; i++)
    if (r->memory)
      th_nn_decoder_layer_change(&m->decoder[i], &stream, NULL, &own, r->memory, r->memory_packing, NULL,
                                 &padding, tap);
    else th_nn_encoder_layer_change(&m->encoder[i], &stream, NULL, &own, tap);
  return th_nn_stream_end(&stream);
}

th_var *th_transformer_residual(const th_transformer *m, th_tape *tape, th_var *memory,
                                const int32_t *source_length, const th_tensor *target, const th_tap *tap) {
  th_transformer_shape wanted = memory ? TH_ENCODER_DECODER : TH_DECODER_ONLY;
  if (!fits(m, tape, wanted, wanted,
            memory ? "only an encoder-decoder model has a memory to decode"
                   : "only a decoder-only model is a language model"))
    return failed(tape);
  return decoder(m, tape, &(reading){.memory = memory, .source_length = source_length, .target = target},
                 tap);
}

th_var *th_transformer_decode(const th_transformer *m, th_var *memory, const int32_t *source_length,
                              const th_tensor *target, const th_tap *tap) {
  if (!fits(m, memory->tape, TH_ENCODER_DECODER, TH_ENCODER_DECODER,
            "only an encoder-decoder model has a memory to decode"))
    return failed(memory->tape);
  return logits_of(m, th_transformer_residual(m, memory->tape, memory, source_length, target, tap));
}

th_var *th_transformer_language(const th_transformer *m, th_tape *tape, const th_tensor *tokens,
                                const th_tap *tap) {
  if (!fits(m, tape, TH_DECODER_ONLY, TH_DECODER_ONLY, "only a decoder-only model is a language model"))
    return failed(tape);
  return logits_of(m, th_transformer_residual(m, tape, NULL, NULL, tokens, tap));
}

/* x [B,S,E] to the mean of each sequence's first length[b] rows: [B,E]. */
static th_var *mean_of_tokens(th_var *x, const int32_t *length) {
  if (th_tape_error(x->tape)) return x;
  int64_t batch = x->value.shape[0], longest = x->value.shape[1], width = x->value.shape[2];
  th_tensor weights;
  if (!th_keep_tensor(x->tape, &weights, x->value.dtype, 3, (int64_t[]){batch, 1, longest})) return x;
  for (int64_t i = 0; i < batch * longest; i++) {
    int64_t count = length && length[i / longest] < longest ? length[i / longest] : longest;
    th_tensor_set(&weights, i, i % longest < count ? 1 / (double)count : 0);
  }
  return th_reshape(th_matmul(th_constant(x->tape, &weights), x), 2, (int64_t[]){batch, width});
}

th_var *th_transformer_classify(const th_transformer *m, th_tape *tape, const th_tensor *tokens,
                                const int32_t *length, const th_tap *tap) {
  if (!fits(m, tape, TH_ENCODER_ONLY, TH_ENCODER_ONLY, "only an encoder-only model classifies"))
    return failed(tape);
  th_var *x = th_transformer_encode(m, tape, tokens, length, tap);
  return th_nn_linear_forward(&m->output, mean_of_tokens(x, length));
}

/* ---- without padding --------------------------------------------------------------------------------------- */

static bool batch_fits(th_tape *tape, const th_batch *b) {
  bool fits = th_tensor_same_shape(&b->input, &b->output) && b->input.ndim == 2 && b->output.dtype == TH_I32;
  char in[TH_SHAPE_TEXT], out[TH_SHAPE_TEXT], text[2 * TH_SHAPE_TEXT + 40];
  snprintf(text, sizeof text, "input %s and output %s: want i32 [B,T] twice", th_shape_text(in, &b->input),
           th_shape_text(out, &b->output));
  if (!fits) th_tape_fail(tape, TH_ESHAPE, "transformer", text);
  return fits;
}

/* The output's ids in the places of the packing. */
static bool packed_targets(th_tape *tape, const th_packing *packing, const th_tensor *output,
                           th_tensor *targets) {
  if (!th_keep_tensor(tape, targets, TH_I32, 1, &packing->count)) return false;
  const int32_t *row = packing->row.data, *from = output->data;
  for (int64_t i = 0; i < packing->count; i++) ((int32_t *)targets->data)[i] = from[row[i]];
  return true;
}

th_var *th_transformer_loss(const th_transformer *m, th_tape *tape, const th_batch *b, double smoothing,
                            const th_tap *tap) {
  reading r = {.target = &b->input, .source_length = b->source_length};
  th_tensor targets = b->output;
  if (th_tape_error(tape)) return failed(tape);
  if (m->config.shape == TH_ENCODER_ONLY)
    return th_cross_entropy(th_transformer_classify(m, tape, &b->source, b->source_length, tap), &targets,
                            smoothing);
  if (!batch_fits(tape, b)) return failed(tape);
  if (m->config.shape == TH_ENCODER_DECODER) {
    r.memory_packing = packing_of(m, tape, &b->source, b->source_length, tap);
    r.memory = encoder(m, tape, &b->source, b->source_length, r.memory_packing, tap);
  } else r.source_length = NULL;
  r.packing = packing_of(m, tape, &b->input, b->input_length, tap);
  th_var *x = decoder(m, tape, &r, tap);
  if (th_tape_error(tape) || (r.packing && !packed_targets(tape, r.packing, &b->output, &targets)))
    return failed(tape);
  return th_cross_entropy(logits_of(m, x), &targets, smoothing);
}

/* ---- token by token ---------------------------------------------------------------------------------------- */

th_decoding th_decoding_begin(const th_transformer *m, th_var *memory, const int32_t *source_length,
                              int64_t limit) {
  int64_t layers = m->config.decoder_layers;
  th_decoding d = {.model = m, .source_length = source_length};
  th_tape *tape = memory->tape;
  if (!fits(m, tape, TH_ENCODER_DECODER, TH_ENCODER_DECODER,
            "only an encoder-decoder model has a memory to decode"))
    return d;
  d.self = th_keep(tape, (size_t)layers * sizeof *d.self);
  d.cross = th_keep(tape, (size_t)layers * sizeof *d.cross);
  int64_t batch = memory->value.shape[0], length = memory->value.shape[1];
  for (int64_t i = 0; i < layers && !th_tape_error(tape); i++) {
    d.self[i] = th_nn_cache_new(tape, &m->decoder[i].self, batch, limit);
    d.cross[i] = th_nn_cache_new(tape, &m->decoder[i].cross, batch, length);
    if (!th_tape_error(tape))
      th_nn_attention_remember(&m->decoder[i].cross, &d.cross[i], memory, source_length);
  }
  return d;
}

th_decoding th_decoding_begin_language(const th_transformer *m, th_tape *tape, int64_t batch, int64_t limit) {
  int64_t layers = m->config.decoder_layers;
  th_decoding d = {.model = m};
  if (!fits(m, tape, TH_DECODER_ONLY, TH_DECODER_ONLY, "only a decoder-only model is a language model"))
    return d;
  d.self = th_keep(tape, (size_t)layers * sizeof *d.self);
  for (int64_t i = 0; i < layers && !th_tape_error(tape); i++)
    d.self[i] = th_nn_cache_new(tape, &m->encoder[i].self, batch, limit);
  return d;
}

th_var *th_decoding_step(th_decoding *d, th_tape *tape, const th_tensor *tokens, const th_tap *tap) {
  const th_transformer *m = d->model;
  th_mask padding = {.key_length = d->source_length};
  if (th_tape_error(tape)) return failed(tape); /* as where the model has no decoder, nor its embedding */
  th_nn_stream stream =
      begin(m, embed(m, tape, &m->target_embedding, &m->target_positions, tokens, d->length), true, NULL);
  for (int64_t i = 0; i < m->config.decoder_layers && !th_tape_error(tape); i++)
    if (d->cross)
      th_nn_decoder_layer_change(&m->decoder[i], &stream, &d->self[i], &causal, NULL, NULL, &d->cross[i],
                                 &padding, tap);
    else th_nn_encoder_layer_change(&m->encoder[i], &stream, &d->self[i], &causal, tap);
  d->length += th_tape_error(tape) ? 0 : tokens->shape[1];
  return logits_of(m, th_nn_stream_end(&stream));
}
