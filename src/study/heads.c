/* The heads of a model, counted; and its forward pass, whatever its shape. */
#include "tapehead/study.h"

#include <stdio.h>

static int layers_of(const th_transformer *m, th_attention_kind kind) {
  const th_transformer_config *c = &m->config;
  if (kind == TH_ENCODER_SELF) return (int)c->encoder_layers;
  if (kind == TH_DECODER_SELF) return (int)c->decoder_layers;
  return c->shape == TH_ENCODER_DECODER ? (int)c->decoder_layers : 0;
}

th_nn_attention *th_head_attention(const th_transformer *m, th_attention_kind kind, int layer) {
  if (layer < 0 || layer >= layers_of(m, kind)) return NULL;
  if (kind == TH_CROSS) return &m->decoder[layer].cross;
  bool crossing = kind == TH_DECODER_SELF && m->config.shape == TH_ENCODER_DECODER;
  return crossing ? &m->decoder[layer].self : &m->encoder[layer].self;
}

int th_head_count(const th_transformer *m) {
  int count = 0;
  for (int kind = 0; kind <= TH_CROSS; kind++)
    for (int l = 0; l < layers_of(m, (th_attention_kind)kind); l++)
      count += (int)th_head_attention(m, (th_attention_kind)kind, l)->heads;
  return count;
}

th_head th_head_at(const th_transformer *m, int index) {
  for (int kind = 0; kind <= TH_CROSS; kind++)
    for (int l = 0; l < layers_of(m, (th_attention_kind)kind); l++) {
      int heads = (int)th_head_attention(m, (th_attention_kind)kind, l)->heads;
      if (index < heads) return (th_head){(th_attention_kind)kind, l, index};
      index -= heads;
    }
  return (th_head){0};
}

const char *th_head_label(char text[TH_HEAD_LABEL], th_head head) {
  static const char *const kinds[] = {"enc", "dec", "cross"};
  snprintf(text, TH_HEAD_LABEL, "%s%d.%d", kinds[head.kind], head.layer, head.head);
  return text;
}

th_var *th_study_forward(const th_transformer *m, th_tape *tape, const th_study_batch *b, const th_tap *tap) {
  if (m->config.shape == TH_DECODER_ONLY) return th_transformer_language(m, tape, &b->input, tap);
  if (m->config.shape == TH_ENCODER_ONLY)
    return th_transformer_classify(m, tape, &b->source, b->source_length, tap);
  th_var *memory = th_transformer_encode(m, tape, &b->source, b->source_length, tap);
  return th_transformer_decode(m, memory, b->source_length, &b->input, tap);
}
