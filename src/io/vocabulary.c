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
  int32_t id; /* TH_PAD: none yet */
} known;

struct th_vocabulary {
  th_unit unit;
  bool finished;
  void *tree; /* of known tokens (of unit bpe words, until finished): tsearch's, ordered by bytes */
  size_t known;
  const char **texts; /* by id - TH_SPECIALS; the strings are the tree's */
  size_t count, room; /* of texts */
  int64_t merges;     /* wanted */
  th_bpe bpe;
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
  if (unit != TH_UNIT_CHARACTER && unit != TH_UNIT_WORD && unit != TH_UNIT_BPE)
    return th_error_set(error, TH_EINVAL, "vocabulary: unit %d is none of character, word, bpe", (int)unit);
  *vocabulary = calloc(1, sizeof **vocabulary);
  if (!*vocabulary) return no_memory(error);
  (*vocabulary)->unit = unit;
  return TH_OK;
}

void th_vocabulary_free(th_vocabulary *vocabulary) {
  if (!vocabulary) return;
  tdestroy(vocabulary->tree, free);
  free(vocabulary->texts);
  th_bpe_free(&vocabulary->bpe);
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

int32_t th_vocabulary_find(const th_vocabulary *vocabulary, const char *token, size_t length) {
  const known *k = find(vocabulary, token, length);
  return k && k->id ? k->id : TH_UNK;
}

/* NULL: no memory, or no ids left. */
static known *insert(th_vocabulary *vocabulary, const char *token, size_t length) {
  known *k = vocabulary->known < INT32_MAX - TH_SPECIALS ? malloc(sizeof *k + length + 1) : NULL;
  if (!k) return NULL;
  char *text = (char *)(k + 1);
  memcpy(text, token, length);
  text[length] = '\0';
  *k = (known){.text = text, .length = length};
  if (!tsearch(k, &vocabulary->tree, by_bytes)) {
    free(k);
    return NULL;
  }
  vocabulary->known++;
  return k;
}

/* Counts one more, or a new one. False: no memory. */
static bool count_token(th_vocabulary *vocabulary, const char *token, size_t length, int64_t seen) {
  known *k = find(vocabulary, token, length);
  if (!k) k = insert(vocabulary, token, length);
  if (k) k->seen += seen;
  return k != NULL;
}

/* Gives it the next id. False: no memory. */
static bool number(th_vocabulary *vocabulary, known *k) {
  if (vocabulary->count == vocabulary->room) {
    size_t room = vocabulary->room ? 2 * vocabulary->room : 64;
    const char **texts = reallocarray(vocabulary->texts, room, sizeof *texts);
    if (!texts) return false;
    vocabulary->texts = texts;
    vocabulary->room = room;
  }
  k->id = TH_SPECIALS + (int32_t)vocabulary->count;
  vocabulary->texts[vocabulary->count++] = k->text;
  return true;
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

/* The known in order of their bytes; `all` is to be freed, and NULL: no memory. */
static list listed(const th_vocabulary *vocabulary) {
  list found = {.all = reallocarray(NULL, vocabulary->known + 1, sizeof *found.all)};
  if (found.all) twalk_r(vocabulary->tree, list_node, &found);
  return found;
}

/* ---- collecting ------------------------------------------------------------------------------ */

th_status th_vocabulary_set_merges(th_vocabulary *vocabulary, int64_t merges, th_error *error) {
  if (vocabulary->unit != TH_UNIT_BPE || vocabulary->finished)
    return th_error_set(error, TH_EINVAL, "vocabulary: merges are for unit bpe, before it is finished");
  if (merges < 0 || merges > INT32_MAX)
    return th_error_set(error, TH_EINVAL, "vocabulary: %lld merges: want 0 to %d", (long long)merges,
                        INT32_MAX);
  vocabulary->merges = merges;
  return TH_OK;
}

th_status th_vocabulary_add(th_vocabulary *vocabulary, const char *text, size_t length, th_error *error) {
  char *normal;
  const char *token;
  size_t normal_length, token_length;
  bool bpe = vocabulary->unit == TH_UNIT_BPE;
  if (vocabulary->finished)
    return th_error_set(error, TH_EINVAL, "vocabulary: text added after it was finished");
  th_status status = th_text_normalise(text, length, &normal, &normal_length, error);
  if (status != TH_OK) return status;
  const char *at = normal, *end = normal + normal_length;
  while (status == TH_OK &&
         th_text_next(bpe ? TH_UNIT_WORD : vocabulary->unit, &at, end, &token, &token_length)) {
    if (!bpe && is_special(token, token_length)) continue;
    if (!count_token(vocabulary, token, token_length, 1)) status = no_memory(error);
  }
  free(normal);
  return status;
}

/* Drops what is rare and numbers the rest. False: no memory. */
static bool number_all(th_vocabulary *vocabulary, int64_t min_count) {
  list found = listed(vocabulary);
  bool enough = found.all != NULL;
  for (size_t i = 0; enough && i < found.count; i++) {
    known *k = found.all[i];
    if (k->seen >= min_count) {
      enough = number(vocabulary, k);
      continue;
    }
    tdelete(k, &vocabulary->tree, by_bytes);
    free(k);
    vocabulary->known--;
  }
  free(found.all);
  return enough;
}

/* ---- byte-pair encoding ---------------------------------------------------------------------- */

/* A word's characters and the mark of its end, one id for each; returns how many. */
static size_t spell(const th_vocabulary *vocabulary, const char *word, size_t length, int32_t *ids) {
  const char *at = word, *character;
  size_t count = 0, character_length;
  while (th_text_next(TH_UNIT_CHARACTER, &at, word + length, &character, &character_length))
    ids[count++] = th_vocabulary_find(vocabulary, character, character_length);
  ids[count++] = th_vocabulary_find(vocabulary, &(const char){TH_WORD_END}, 1);
  return count;
}

/* The characters of the words become the vocabulary. */
static bool number_characters(th_vocabulary *vocabulary, const list *words, int64_t min_count) {
  bool enough = count_token(vocabulary, &(const char){TH_WORD_END}, 1, INT64_MAX);
  for (size_t i = 0; enough && i < words->count; i++) {
    const known *word = words->all[i];
    const char *at = word->text, *character;
    size_t length;
    while (enough && th_text_next(TH_UNIT_CHARACTER, &at, word->text + word->length, &character, &length))
      enough = count_token(vocabulary, character, length, word->seen);
  }
  return enough && number_all(vocabulary, min_count);
}

static bool learn_merges(th_vocabulary *vocabulary, const list *words, int64_t min_count) {
  size_t room = 1, count = 0;
  for (size_t i = 0; i < words->count; i++) room += words->all[i]->length + 2; /* its end, and <pad> */
  int32_t *ids = calloc(room, sizeof *ids);
  int64_t *weights = calloc(room, sizeof *weights);
  bool enough = ids && weights;
  for (size_t i = 0; enough && i < words->count; i++) {
    const known *word = words->all[i];
    size_t end = count + spell(vocabulary, word->text, word->length, ids + count);
    while (count < end) weights[count++] = word->seen;
    ids[count++] = TH_PAD;
  }
  if (enough)
    enough = th_bpe_learn(&vocabulary->bpe, vocabulary, ids, weights, count, vocabulary->merges, min_count) ==
             TH_OK;
  free(ids);
  free(weights);
  return enough;
}

/* From a tree of words to one of their pieces. */
static bool finish_bpe(th_vocabulary *vocabulary, int64_t min_count) {
  list words = listed(vocabulary);
  if (!words.all) return false;
  void *tree = vocabulary->tree;
  vocabulary->tree = NULL;
  vocabulary->known = 0;
  bool enough =
      number_characters(vocabulary, &words, min_count) && learn_merges(vocabulary, &words, min_count);
  tdestroy(tree, free);
  free(words.all);
  return enough;
}

/* ---- finishing ------------------------------------------------------------------------------- */

th_status th_vocabulary_finish(th_vocabulary *vocabulary, int64_t min_count, th_error *error) {
  if (vocabulary->finished) return th_error_set(error, TH_EINVAL, "vocabulary: finished twice");
  bool enough =
      vocabulary->unit == TH_UNIT_BPE ? finish_bpe(vocabulary, min_count) : number_all(vocabulary, min_count);
  if (!enough) return no_memory(error);
  th_vocabulary_seal(vocabulary);
  return TH_OK;
}

th_status th_vocabulary_append(th_vocabulary *vocabulary, const char *token, size_t length, th_error *error) {
  if (is_special(token, length) || find(vocabulary, token, length))
    return th_error_set(error, TH_EFORMAT, "given twice");
  known *k = insert(vocabulary, token, length);
  return k && number(vocabulary, k) ? TH_OK : no_memory(error);
}

th_bpe *th_vocabulary_bpe(th_vocabulary *vocabulary) { return &vocabulary->bpe; }

void th_vocabulary_seal(th_vocabulary *vocabulary) { vocabulary->finished = true; }

/* ---- using ----------------------------------------------------------------------------------- */

th_unit th_vocabulary_unit(const th_vocabulary *vocabulary) { return vocabulary->unit; }

bool th_vocabulary_finished(const th_vocabulary *vocabulary) { return vocabulary->finished; }

int32_t th_vocabulary_count(const th_vocabulary *vocabulary) {
  return TH_SPECIALS + (int32_t)vocabulary->count;
}

const char *th_vocabulary_token(const th_vocabulary *vocabulary, int32_t id) {
  if (id < 0 || id >= th_vocabulary_count(vocabulary)) return NULL;
  return id < TH_SPECIALS ? th_special_text(id) : vocabulary->texts[id - TH_SPECIALS];
}

int32_t th_vocabulary_id(const th_vocabulary *vocabulary, const char *token) {
  return th_vocabulary_find(vocabulary, token, strlen(token));
}

int32_t th_vocabulary_merges(const th_vocabulary *vocabulary) { return (int32_t)vocabulary->bpe.count; }

bool th_vocabulary_merge(const th_vocabulary *vocabulary, int32_t rank, int32_t *left, int32_t *right) {
  if (rank < 0 || rank >= th_vocabulary_merges(vocabulary)) return false;
  *left = vocabulary->bpe.merges[rank].left;
  *right = vocabulary->bpe.merges[rank].right;
  return true;
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
  bool bpe = vocabulary->unit == TH_UNIT_BPE;
  /* A token has a byte at least; and between two ends of words there is white space. */
  *ids = reallocarray(NULL, normal_length + 1, sizeof **ids);
  const char *at = normal, *end = normal + normal_length;
  while (*ids && th_text_next(bpe ? TH_UNIT_WORD : vocabulary->unit, &at, end, &token, &token_length))
    if (bpe) *count += spell(vocabulary, token, token_length, *ids + *count);
    else (*ids)[(*count)++] = th_vocabulary_find(vocabulary, token, token_length);
  free(normal);
  if (*ids && th_bpe_apply(&vocabulary->bpe, *ids, count)) return TH_OK;
  free(*ids);
  *ids = NULL;
  *count = 0;
  return no_memory(error);
}

/* Writes the tokens of ids[0 .. count) to `out`, which may be NULL to measure; returns the bytes. */
static size_t join(const th_vocabulary *vocabulary, const int32_t *ids, size_t count, const char *special,
                   char *out) {
  size_t used = 0;
  bool space = false; /* between what was written and what is to come */
  for (size_t i = 0; i < count; i++) {
    bool is_text = ids[i] >= TH_SPECIALS;
    if (!is_text && !special) continue;
    const char *token = is_text ? th_vocabulary_token(vocabulary, ids[i]) : special;
    size_t length = strlen(token);
    bool ends = is_text && vocabulary->unit == TH_UNIT_BPE && length && token[length - 1] == TH_WORD_END;
    length -= ends;
    if (length && space) {
      if (out) out[used] = ' ';
      used++;
    }
    if (out) memcpy(out + used, token, length);
    used += length;
    space = used && (ends || vocabulary->unit == TH_UNIT_WORD || (space && !length));
  }
  return used;
}

th_status th_vocabulary_decode_marked(const th_vocabulary *vocabulary, const int32_t *ids, size_t count,
                                      const char *special, char **text, th_error *error) {
  size_t end = 0;
  *text = NULL;
  for (; end < count && ids[end] != TH_EOS; end++)
    if (!th_vocabulary_token(vocabulary, ids[end]))
      return th_error_set(error, TH_EINVAL, "vocabulary: id %d is not one of its %d", (int)ids[end],
                          (int)th_vocabulary_count(vocabulary));
  size_t length = join(vocabulary, ids, end, special, NULL);
  *text = malloc(length + 1);
  if (!*text) return no_memory(error);
  join(vocabulary, ids, end, special, *text);
  (*text)[length] = '\0';
  return TH_OK;
}

th_status th_vocabulary_decode(const th_vocabulary *vocabulary, const int32_t *ids, size_t count, char **text,
                               th_error *error) {
  return th_vocabulary_decode_marked(vocabulary, ids, count, NULL, text, error);
}
