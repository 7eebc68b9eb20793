/* A file of a vocabulary, of any kind: one that is taken cuts any text into ids that it has, and of what it makes of
 * them it makes the same. */
#include "fuzz.h"

#include "tapehead/io.h"

static void use(const th_vocabulary *v, const char *text, size_t length) {
  int32_t *ids, count = th_vocabulary_count(v);
  size_t n;
  char *back;
  if (th_vocabulary_encode(v, text, length, &ids, &n, NULL)) return;
  for (size_t i = 0; i < n; i++) CLAIM(ids[i] >= TH_UNK && ids[i] < count);
  CLAIM(th_vocabulary_decode(v, ids, n, &back, NULL) == TH_OK);
  CLAIM(th_utf8_valid(back, strlen(back)) == strlen(back));
  free(back);
  free(ids);
}

static void look(const th_vocabulary *v) {
  int32_t left, right, count = th_vocabulary_count(v), merges = th_vocabulary_merges(v);
  for (int32_t id = 0; id < count; id++) {
    const char *token = th_vocabulary_token(v, id);
    CLAIM(token != NULL && (id < TH_SPECIALS || th_vocabulary_id(v, token) == id));
    use(v, token, strlen(token));
  }
  for (int32_t rank = 0; rank < merges; rank++)
    CLAIM(th_vocabulary_merge(v, rank, &left, &right) && left < count && right < count);
  CLAIM(!th_vocabulary_merge(v, merges, &left, &right) && !th_vocabulary_token(v, count));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  fuzz_file file = fuzz_file_open(bytes, size);
  th_vocabulary *v;
  th_error error = {0};
  if (th_vocabulary_load(&v, file.path, &error)) CLAIM_ERROR(error);
  else {
    look(v);
    use(v, (const char *)bytes, size);
  }
  th_vocabulary_free(v);
  fuzz_file_close(&file);
  return 0;
}
