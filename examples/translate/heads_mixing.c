/* Which of the shared dimensions each head of a collaborative model uses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "heads.h"

/* What dimension r can add to a head's scores: the size of m_hr times those of its rows of the query and the key. */
static void fill_attention(const head_study *h, const th_nn_attention *layer, int first) {
  int64_t e = layer->width;
  const th_nn_collaboration *s = &layer->shared;
  for (int64_t r = 0; r < h->shared; r++) {
    double q = 0, k = 0;
    for (int64_t i = r * e; i < (r + 1) * e; i++)
      q += pow(th_tensor_get(&s->query->value, i), 2), k += pow(th_tensor_get(&s->key->value, i), 2);
    for (int64_t place = 0; place < layer->heads; place++)
      h->mixing[(first + place) * h->shared + r] =
          fabs(th_tensor_get(&s->mixing->value, place * h->shared + r)) * sqrt(q * k);
  }
}

th_status study_mixing(head_study *h, const th_transformer *m, th_error *error) {
  int first = 0;
  for (int a = 0; a < th_transformer_attentions(m); a++) {
    const th_nn_method *method = &th_transformer_attention(m, a)->method;
    if (method->kind == TH_ATTENTION_COLLABORATIVE && method->shared_width > h->shared)
      h->shared = method->shared_width;
  }
  if (!h->shared) return TH_OK;
  h->mixing = head_study_room(h, (size_t)(h->count * h->shared), sizeof *h->mixing);
  if (!h->mixing) return th_error_set(error, TH_ENOMEM, "no memory for what heads share");
  for (int a = 0; a < th_transformer_attentions(m); a++) {
    const th_nn_attention *layer = th_transformer_attention(m, a);
    if (layer->method.kind == TH_ATTENTION_COLLABORATIVE) fill_attention(h, layer, first);
    first += (int)layer->heads;
  }
  return TH_OK;
}

static void put_mixing(FILE *file, const void *table) {
  const head_study *h = table;
  fprintf(file, "head,dimension,use\n");
  for (int i = 0; i < h->count; i++)
    for (int64_t r = 0; r < h->shared; r++)
      fprintf(file, "%s,%lld,%.9g\n", h->label[i], (long long)r, h->mixing[i * h->shared + r]);
}

th_status write_mixing(const head_study *h, const char *directory, th_error *error) {
  return h->shared ? write_table(directory, "mixing.csv", put_mixing, h, error) : TH_OK;
}
