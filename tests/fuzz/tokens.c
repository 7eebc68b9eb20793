/* Vocabularies made from text: a byte for the unit, one for the merges, one for the least count, then lines. What
 * holds no unknown token is decoded to what is cut into the same tokens. */
#include "fuzz.h"

#include "tapehead/io.h"

static void there_and_back(const th_vocabulary *v, const char *text, size_t length) {
  int32_t *ids, *again;
  size_t n, m;
  char *back;
  th_error error = {0};
  if (th_vocabulary_encode(v, text, length, &ids, &n, &error)) {
    CLAIM_ERROR(error);
    return;
  }
  bool known = true;
  for (size_t i = 0; i < n; i++) known = known && ids[i] != TH_UNK;
  CLAIM(th_vocabulary_decode(v, ids, n, &back, NULL) == TH_OK);
  CLAIM(th_vocabulary_encode(v, back, strlen(back), &again, &m, NULL) == TH_OK);
  if (known) CLAIM(m == n && !memcmp(ids, again, n * sizeof *ids));
  free(again);
  free(back);
  free(ids);
}

static void each_line(const feed *f, void (*with)(void *, const char *, size_t), void *context) {
  const char *at = (const char *)f->at, *end = at + f->left;
  while (at < end) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    if (!stop) stop = end;
    with(context, at, (size_t)(stop - at));
    at = stop + 1;
  }
}

static void add(void *v, const char *line, size_t length) {
  th_error error = {0};
  size_t valid = th_utf8_valid(line, length);
  if (th_vocabulary_add(v, line, length, &error)) CLAIM_ERROR(error);
  else CLAIM(valid == length);
}

static void try(void *v, const char *line, size_t length) { there_and_back(v, line, length); }

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  feed f = {bytes, size};
  th_unit unit = (th_unit)feed_below(&f, 3);
  int merges = feed_below(&f, 64), least = 1 + feed_below(&f, 4);
  th_vocabulary *v;
  CLAIM(th_vocabulary_new(&v, unit, NULL) == TH_OK);
  if (unit == TH_UNIT_BPE) CLAIM(th_vocabulary_set_merges(v, merges, NULL) == TH_OK);
  each_line(&f, add, v);
  CLAIM(th_vocabulary_finish(v, least, NULL) == TH_OK);
  each_line(&f, try, v);
  th_vocabulary_free(v);
  return 0;
}
