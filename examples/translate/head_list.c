#include "head_list.h"

#include "tapehead/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {
    [TH_ENCODER_SELF] = "enc", [TH_DECODER_SELF] = "dec", [TH_CROSS] = "cross"};
enum { KINDS = sizeof kinds / sizeof *kinds, DIGITS = 6 };

static int64_t layers_of(const th_transformer_config *c, int kind) {
  return kind == TH_ENCODER_SELF ? c->encoder_layers : c->decoder_layers;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* Heads first to last of one attention. */
typedef struct item {
  int kind; /* th_attention_kind; -1: none was named yet */
  int layer, first, last;
} item;

/* As th_head_label writes them: digits, no zero before others. */
static bool read_number(const char **at, int *number) {
  size_t digits = strspn(*at, "0123456789");
  if (digits < 1 || digits > DIGITS || (digits > 1 && **at == '0')) return false;
  *number = atoi(*at);
  *at += digits;
  return true;
}

/* The attention's name, if it is there, goes into *i, which otherwise keeps the last one's. */
static bool read_name(const char **at, item *i) {
  for (int kind = 0; kind < KINDS; kind++) {
    size_t length = strlen(kinds[kind]);
    if (strncmp(*at, kinds[kind], length) != 0) continue;
    i->kind = kind;
    *at += length;
    return read_number(at, &i->layer) && *(*at)++ == '.';
  }
  return i->kind >= 0;
}

static bool read_item(const char **at, item *i) {
  if (!read_name(at, i) || !read_number(at, &i->first)) return false;
  i->last = i->first;
  if (**at == '-' && (++*at, !read_number(at, &i->last))) return false;
  return i->last >= i->first && (!**at || **at == ',');
}

static const char *label_of(char text[TH_HEAD_LABEL], int kind, int layer, int head) {
  return th_head_label(text, (th_head){(th_attention_kind)kind, layer, head});
}

static th_status no_head(const char *flag, const item *i, const th_transformer_config *c, th_error *error) {
  char wrong[TH_HEAD_LABEL], last[KINDS][TH_HEAD_LABEL];
  for (int kind = 0; kind < KINDS; kind++)
    label_of(last[kind], kind, (int)layers_of(c, kind) - 1, (int)c->layer.heads - 1);
  return th_error_set(error, TH_EINVAL,
                      "%s: there is no head %s: want enc0.0 to %s, dec0.0 to %s or cross0.0 to %s", flag,
                      label_of(wrong, i->kind, i->layer, i->last), last[TH_ENCODER_SELF],
                      last[TH_DECODER_SELF], last[TH_CROSS]);
}

static th_status list_item(const char *flag, const item *i, const th_transformer_config *c, bool *listed,
                           th_error *error) {
  char label[TH_HEAD_LABEL];
  if (i->layer >= layers_of(c, i->kind) || i->last >= c->layer.heads) return no_head(flag, i, c, error);
  int64_t attention = i->layer;
  for (int kind = 0; kind < i->kind; kind++) attention += layers_of(c, kind);
  for (int head = i->first; head <= i->last; head++) {
    bool *at = &listed[attention * c->layer.heads + head];
    if (*at)
      return th_error_set(error, TH_EINVAL, "%s: %s is named twice", flag,
                          label_of(label, i->kind, i->layer, head));
    *at = true;
  }
  return TH_OK;
}

th_status head_list_parse(const char *flag, const char *list, const th_transformer_config *c, bool **listed,
                          th_error *error) {
  item i = {.kind = -1};
  th_status status = TH_OK;
  *listed = calloc((size_t)((c->encoder_layers + 2 * c->decoder_layers) * c->layer.heads), sizeof **listed);
  if (!*listed) return th_error_set(error, TH_ENOMEM, "%s: no memory for the heads", flag);
  for (const char *at = list, *begin = at; !status; begin = ++at) {
    if (read_item(&at, &i)) status = list_item(flag, &i, c, *listed, error);
    else
      status = th_error_set(error, TH_EINVAL,
                            "%s: \"%.40s\" is no head: want a list such as enc0.1,cross1.0-2", flag, begin);
    if (!status && !*at) return TH_OK;
  }
  free(*listed);
  *listed = NULL;
  return status;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

typedef struct writer {
  char *text; /* [PATH_TEXT] */
  int length; /* wanted, whether there was room or not */
} writer;

static void write_run(writer *w, const char *name, int64_t first, int64_t last) {
  char text[64];
  int length = snprintf(text, sizeof text, first < last ? "%s%s%lld-%lld" : "%s%s%lld", w->length ? "," : "",
                        name, (long long)first, (long long)last);
  if (w->length + length < PATH_TEXT) strcpy(w->text + w->length, text);
  w->length += length;
}

/* The listed ones of an attention's heads, the first under its name. */
static void write_heads(writer *w, const char *name, const bool *listed, int64_t heads) {
  for (int64_t first = 0, last; first < heads; first = last + 1) {
    last = first;
    if (!listed[first]) continue;
    while (last + 1 < heads && listed[last + 1]) last++;
    write_run(w, name, first, last);
    name = "";
  }
}

th_status head_list_write(const bool *listed, const th_transformer_config *c, char list[PATH_TEXT],
                          th_error *error) {
  writer w = {.text = list};
  char name[16];
  *list = 0;
  for (int kind = 0; kind < KINDS; kind++)
    for (int layer = 0; layer < layers_of(c, kind); layer++, listed += c->layer.heads) {
      snprintf(name, sizeof name, "%s%d.", kinds[kind], layer);
      write_heads(&w, name, listed, c->layer.heads);
    }
  if (w.length < PATH_TEXT) return TH_OK;
  return th_error_set(error, TH_EINVAL, "the list of all heads that are removed takes more than %d bytes",
                      PATH_TEXT - 1);
}
