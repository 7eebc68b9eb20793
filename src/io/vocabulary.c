/* Vocabularies: collecting tokens, numbering them, text to ids and back. */
#include "private.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* A known token; its text lies behind the struct, in the same block. */
typedef struct known {
  const char *text;
  size_t length;
  int64_t seen;
  int32_t id; /* once finished */
} known;

struct th_vocabulary {
  th_unit unit;
  bool finished;
  void *tree; /* of known tokens: tsearch's balanced tree, ordered by bytes */
  size_t count;
  const char **texts; /* by id - TH_SPECIALS, once finished; the strings are the tree's */
};

const char *th_special_text(int32_t id) {
  static const char *const texts[TH_SPECIALS] = {"<pad>", "<bos>", "<eos>", "<unk>"};
  return texts[id];
}

static bool is_special(const char *token, size_t length) {
  for (int32_t id = 0; id < TH_SPECIALS; id++)
    if (strlen(th_special_text(id)) == length && !memcmp(th_special_text(id), token, length)) return true;
  return false;
}

static th_status no_memory(th_error *error) {
  return th_error_set(error, TH_ENOMEM, "vocabulary: out of memory");
}

th_status th_vocabulary_new(th_vocabulary **vocabulary, th_unit unit, th_error *error) {
  *vocabulary = NULL;
  if (unit != TH_UNIT_CHARACTER && unit != TH_UNIT_WORD)
    return th_error_set(error, TH_EINVAL, "vocabulary: unit %d is neither character nor word", (int)unit);
  *vocabulary = calloc(1, sizeof **vocabulary);
  if (!*vocabulary) return no_memory(error);
  (*vocabulary)->unit = unit;
  return TH_OK;
}

void th_vocabulary_free(th_vocabulary *vocabulary) {
  if (!vocabulary) return;
  tdestroy(vocabulary->tree, free);
  free(vocabulary->texts);
  free(vocabulary);
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* By bytes, which for UTF-8 is by code points. */
static int by_bytes(const void *a, const void *b) {
  const known *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
  return order ? order : (x->length > y->length) - (x->length < y->length);
}

static known *find(const th_vocabulary *vocabulary, const char *token, size_t length) {
  known key = {.text = token, .length = length};
  known *const *node = tfind(&key, &vocabulary->tree, by_bytes);
  return node ? *node : NULL;
}

/* NULL: no memory, or no ids left. */
static known *insert(th_vocabulary *vocabulary, const char *token, size_t length) {
  known *k = vocabulary->count < INT32_MAX - TH_SPECIALS ? malloc(sizeof *k + length + 1) : NULL;
  if (!k) return NULL;
  char *text = (char *)(k + 1);
  memcpy(text, token, length);
  text[length] = '\0';
  *k = (known){.text = text, .length = length};
  if (!tsearch(k, &vocabulary->tree, by_bytes)) {
    free(k);
    return NULL;
  }
  vocabulary->count++;
  return k;
}

typedef struct list {
  known **all;
  size_t count;
} list;

static void list_node(const void *node, VISIT visit, void *closure) {
  list *l = closure;
  if (visit == postorder || visit == leaf) /* glibc's words for "in order" */
    l->all[l->count++] = *(known *const *)node;
}

/* ---- collecting ------------------------------------------------------------------------------ */

th_status th_vocabulary_add(th_vocabulary *vocabulary, const char *text, size_t length, th_error *error) {
  char *normal;
  const char *token;
  size_t normal_length, token_length;
  if (vocabulary->finished)
    return th_error_set(error, TH_EINVAL, "vocabulary: text added after it was finished");
  th_status status = th_text_normalise(text, length, &normal, &normal_length, error);
  if (status != TH_OK) return status;
  const char *at = normal, *end = normal + normal_length;
  while (status == TH_OK && th_text_next(vocabulary->unit, &at, end, &token, &token_length)) {
    if (is_special(token, token_length)) continue;
    known *k = find(vocabulary, token, token_length);
    if (!k) k = insert(vocabulary, token, token_length);
    if (k) k->seen++;
    else status = no_memory(error);
  }
  free(normal);
  return status;
}

th_status th_vocabulary_finish(th_vocabulary *vocabulary, int64_t min_count, th_error *error) {
  if (vocabulary->finished) return th_error_set(error, TH_EINVAL, "vocabulary: finished twice");
  list found = {.all = reallocarray(NULL, vocabulary->count + 1, sizeof *found.all)};
  if (!found.all) return no_memory(error);
  twalk_r(vocabulary->tree, list_node, &found);
  int32_t next = TH_SPECIALS;
  for (size_t i = 0; i < found.count; i++) {
    known *k = found.all[i];
    if (k->seen >= min_count) {
      k->id = next++;
      continue;
    }
    tdelete(k, &vocabulary->tree, by_bytes);
    free(k);
    vocabulary->count--;
  }
  free(found.all);
  return th_vocabulary_seal(vocabulary, error);
}

th_status th_vocabulary_append(th_vocabulary *vocabulary, const char *token, size_t length, th_error *error) {
  if (is_special(token, length) || find(vocabulary, token, length))
    return th_error_set(error, TH_EFORMAT, "given twice");
  known *k = insert(vocabulary, token, length);
  if (!k) return no_memory(error);
  k->id = TH_SPECIALS + (int32_t)vocabulary->count - 1;
  return TH_OK;
}

static void note_text(const void *node, VISIT visit, void *closure) {
  const known *k = *(known *const *)node;
  const char **texts = closure;
  if (visit == postorder || visit == leaf) texts[k->id - TH_SPECIALS] = k->text;
}

th_status th_vocabulary_seal(th_vocabulary *vocabulary, th_error *error) {
  vocabulary->texts = reallocarray(NULL, vocabulary->count + 1, sizeof *vocabulary->texts);
  if (!vocabulary->texts) return no_memory(error);
  twalk_r(vocabulary->tree, note_text, vocabulary->texts);
  vocabulary->finished = true;
  return TH_OK;
}

/* ---- using ----------------------------------------------------------------------------------- */

th_unit th_vocabulary_unit(const th_vocabulary *vocabulary) { return vocabulary->unit; }

bool th_vocabulary_finished(const th_vocabulary *vocabulary) { return vocabulary->finished; }

int32_t th_vocabulary_count(const th_vocabulary *vocabulary) {
  return TH_SPECIALS + (vocabulary->finished ? (int32_t)vocabulary->count : 0);
}

const char *th_vocabulary_token(const th_vocabulary *vocabulary, int32_t id) {
  if (id < 0 || id >= th_vocabulary_count(vocabulary)) return NULL;
  return id < TH_SPECIALS ? th_special_text(id) : vocabulary->texts[id - TH_SPECIALS];
}

static int32_t id_of(const th_vocabulary *vocabulary, const char *token, size_t length) {
  const known *k = find(vocabulary, token, length);
  return k && vocabulary->finished ? k->id : TH_UNK;
}

int32_t th_vocabulary_id(const th_vocabulary *vocabulary, const char *token) {
  return id_of(vocabulary, token, strlen(token));
}

th_status th_vocabulary_encode(const th_vocabulary *vocabulary, const char *text, size_t length,
                               int32_t **ids, size_t *count, th_error *error) {
  char *normal;
  const char *token;
  size_t normal_length, token_length;
  *ids = NULL;
  *count = 0;
  if (!vocabulary->finished) return th_error_set(error, TH_EINVAL, "vocabulary: used before it was finished");
  th_status status = th_text_normalise(text, length, &normal, &normal_length, error);
  if (status != TH_OK) return status;
  *ids = reallocarray(NULL, normal_length + 1, sizeof **ids); /* a token has a byte at least */
  if (!*ids) {
    free(normal);
    return no_memory(error);
  }
  const char *at = normal, *end = normal + normal_length;
  while (th_text_next(vocabulary->unit, &at, end, &token, &token_length))
    (*ids)[(*count)++] = id_of(vocabulary, token, token_length);
  free(normal);
  return TH_OK;
}

/* Writes the tokens of ids[0 .. count) to `out`, which may be NULL to measure; returns the bytes. */
static size_t join(const th_vocabulary *vocabulary, const int32_t *ids, size_t count, char *out) {
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    if (ids[i] < TH_SPECIALS) continue;
    const char *token = th_vocabulary_token(vocabulary, ids[i]);
    size_t length = strlen(token), space = used > 0 && vocabulary->unit == TH_UNIT_WORD;
    if (out && space) out[used] = ' ';
    if (out) memcpy(out + used + space, token, length);
    used += space + length;
  }
  return used;
}

th_status th_vocabulary_decode(const th_vocabulary *vocabulary, const int32_t *ids, size_t count, char **text,
                               th_error *error) {
  size_t end = 0;
  *text = NULL;
  for (; end < count && ids[end] != TH_EOS; end++)
    if (!th_vocabulary_token(vocabulary, ids[end]))
      return th_error_set(error, TH_EINVAL, "vocabulary: id %d is not one of its %d", (int)ids[end],
                          (int)th_vocabulary_count(vocabulary));
  size_t length = join(vocabulary, ids, end, NULL);
  *text = malloc(length + 1);
  if (!*text) return no_memory(error);
  join(vocabulary, ids, end, *text);
  (*text)[length] = '\0';
  return TH_OK;
}
