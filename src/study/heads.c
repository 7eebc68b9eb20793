/* The heads of a model, counted; and its forward pass, whatever its shape. */
#include "tapehead/study.h"

#include <stdio.h>

th_nn_attention *th_head_attention(const th_transformer *m, th_attention_kind kind, int layer) {
  for (int i = 0; i < th_transformer_attentions(m); i++) {
    th_nn_attention *a = th_transformer_attention(m, i);
    if (a->kind == kind && a->layer == layer) return a;
  }
  return NULL;
}

int th_head_count(const th_transformer *m) {
  int64_t count = 0;
  for (int i = 0; i < th_transformer_attentions(m); i++) count += th_transformer_attention(m, i)->heads;
  return (int)count;
}

th_head th_head_at(const th_transformer *m, int index) {
  int64_t place = index;
  for (int i = 0; i < th_transformer_attentions(m); i++) {
    const th_nn_attention *a = th_transformer_attention(m, i);
    if (place < a->heads) return (th_head){a->kind, a->layer, (int)th_nn_head_number(a, place)};
    place -= a->heads;
  }
  return (th_head){0};
}

int th_head_place(const th_transformer *m, th_head head) {
  const th_nn_attention *a = th_head_attention(m, head.kind, head.layer);
  for (int place = 0; a && place < a->heads; place++)
    if (th_nn_head_number(a, place) == head.head) return place;
  return -1;
}

const char *th_head_label(char text[TH_HEAD_LABEL], th_head head) {
  static const char *const kinds[] = {"enc", "dec", "cross"};
  snprintf(text, TH_HEAD_LABEL, "%s%d.%d", kinds[head.kind], head.layer, head.head);
  return text;
}

th_var *th_study_forward(const th_transformer *m, th_tape *tape, const th_batch *b, const th_tap *tap) {
  if (m->config.shape == TH_DECODER_ONLY) return th_transformer_language(m, tape, &b->input, tap);
  if (m->config.shape == TH_ENCODER_ONLY)
    return th_transformer_classify(m, tape, &b->source, b->source_length, tap);
  th_var *memory = th_transformer_encode(m, tape, &b->source, b->source_length, tap);
  return th_transformer_decode(m, memory, b->source_length, &b->input, tap);
}
