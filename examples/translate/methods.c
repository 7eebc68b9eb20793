#include "methods.h"

#include <stdio.h>
#include <string.h>

/* What a person gets who names a method and no numbers: fit for sequences of some tens of tokens. */
enum { WINDOW = 8, ROUNDS = 4, CHUNK = 8 };

static int64_t or_else(int64_t asked, int64_t other) { return asked ? asked : other; }

/* As many as fill a chunk each, where the sequence is as long as any: an even number, or 1 for a single chunk. */
static int64_t buckets_for(int64_t longest, int64_t chunk) {
  int64_t chunks = (longest + chunk - 1) / chunk;
  return chunks + (chunks > 1 ? chunks % 2 : 0);
}

static th_nn_method method_of(const settings *s, const char *name, int64_t longest) {
  th_attention_method kind = TH_ATTENTION_GROUPED; /* multi-query, unless another has the name */
  for (int i = 0; i < TH_ATTENTION_METHODS; i++)
    if (!strcmp(name, th_attention_traits_of((th_attention_method)i)->name)) kind = (th_attention_method)i;
  th_nn_method m = {.kind = kind};
  if (!strcmp(name, "multi-query")) m.key_heads = 1;
  else if (kind == TH_ATTENTION_GROUPED) m.key_heads = or_else(s->key_heads, s->heads > 1 ? s->heads / 2 : 1);
  if (kind == TH_ATTENTION_COLLABORATIVE)
    m.shared_width = or_else(s->shared_width, s->width > 1 ? s->width / 2 : 1);
  if (kind == TH_ATTENTION_LOCAL) m.window = or_else(s->window, WINDOW);
  if (kind == TH_ATTENTION_LSH) {
    m.rounds = or_else(s->hash_rounds, ROUNDS), m.chunk = or_else(s->hash_chunk, CHUNK);
    m.buckets = or_else(s->hash_buckets, buckets_for(longest, m.chunk));
  }
  return m;
}

static th_status refuse_strays(const settings *s, const char *cross, th_error *error) {
  const struct {
    const char *flag, *method;
    int64_t value;
  } flags[] = {{"key-heads", "grouped", s->key_heads},   {"shared-width", "collaborative", s->shared_width},
               {"window", "local", s->window},           {"hash-rounds", "lsh", s->hash_rounds},
               {"hash-buckets", "lsh", s->hash_buckets}, {"hash-chunk", "lsh", s->hash_chunk}};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if (flags[i].value && strcmp(s->attention, flags[i].method) != 0 && strcmp(cross, flags[i].method) != 0)
      return th_error_set(error, TH_EINVAL, "--%s %lld is for --attention %s, and this is %s", flags[i].flag,
                          (long long)flags[i].value, flags[i].method, s->attention);
  return TH_OK;
}

th_status settings_methods(const settings *s, int64_t longest, th_nn_layer_config *layer, th_error *error) {
  bool as_self = !strcmp(s->cross_attention, "auto");
  layer->attention = method_of(s, s->attention, longest);
  const char *cross = !as_self                                               ? s->cross_attention
                      : th_attention_traits_of(layer->attention.kind)->cross ? s->attention
                                                                             : "full";
  layer->cross_attention = method_of(s, cross, longest);
  return refuse_strays(s, cross, error);
}

/* ---- in words ------------------------------------------------------------------------------------------------- */

static void method_text(const th_nn_method *m, char text[METHODS_TEXT / 2 - 8]) {
  const struct {
    const char *words;
    int64_t value;
  } numbers[] = {{"%lld of keys", m->key_heads}, {"shared width %lld", m->shared_width},
                 {"window %lld", m->window},     {"%lld rounds of hashing", m->rounds},
                 {"%lld buckets", m->buckets},   {"chunks of %lld", m->chunk}};
  char *end = text + sprintf(text, "%s", th_attention_traits_of(m->kind)->name);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (numbers[i].value) {
      end += sprintf(end, ", ");
      end += sprintf(end, numbers[i].words, (long long)numbers[i].value);
    }
}

void methods_text(const th_nn_layer_config *layer, char text[METHODS_TEXT]) {
  char self[METHODS_TEXT / 2 - 8], cross[METHODS_TEXT / 2 - 8];
  method_text(&layer->attention, self);
  method_text(&layer->cross_attention, cross);
  bool full = layer->attention.kind == TH_ATTENTION_FULL && layer->cross_attention.kind == TH_ATTENTION_FULL;
  bool same = !strcmp(self, cross);
  sprintf(text, "%s%s%s", full ? "" : self, full || same ? "" : "; across: ", full || same ? "" : cross);
}
