/* A vocabulary as a JSON file. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT "tapehead vocabulary"
#define VERSION 1

static const char *unit_name(th_unit unit) {
  static const char *const names[] = {"character", "word", "bpe"};
  return names[unit];
}

/* Strings that `text` gives for 0 .. count - 1. NULL: no memory. */
static json_t *strings_json(const th_vocabulary *vocabulary, int32_t count,
                            json_t *(*text)(const th_vocabulary *vocabulary, int32_t i)) {
  json_t *strings = json_array();
  for (int32_t i = 0; strings && i < count; i++) {
    if (json_array_append_new(strings, text(vocabulary, i))) {
      json_decref(strings);
      return NULL;
    }
  }
  return strings;
}

static json_t *token_json(const th_vocabulary *vocabulary, int32_t id) {
  return json_string(th_vocabulary_token(vocabulary, id));
}

static json_t *merge_json(const th_vocabulary *vocabulary, int32_t rank) {
  int32_t left = TH_UNK, right = TH_UNK;
  th_vocabulary_merge(vocabulary, rank, &left, &right);
  return json_sprintf("%s %s", th_vocabulary_token(vocabulary, left), th_vocabulary_token(vocabulary, right));
}

th_status th_vocabulary_save(const th_vocabulary *vocabulary, const char *path, th_error *error) {
  if (!th_vocabulary_finished(vocabulary))
    return th_error_set(error, TH_EINVAL, "%s: a vocabulary that is not finished cannot be saved", path);
  char *text = NULL;
  json_t *root = json_object();
  if (!json_object_set_new(root, "format", json_string(FORMAT)) &&
      !json_object_set_new(root, "version", json_integer(VERSION)) &&
      !json_object_set_new(root, "unit", json_string(unit_name(th_vocabulary_unit(vocabulary)))) &&
      !json_object_set_new(root, "tokens",
                           strings_json(vocabulary, th_vocabulary_count(vocabulary), token_json)) &&
      (th_vocabulary_unit(vocabulary) != TH_UNIT_BPE ||
       !json_object_set_new(root, "merges",
                            strings_json(vocabulary, th_vocabulary_merges(vocabulary), merge_json))))
    text = th_json_dump(root, JSON_INDENT(1));
  json_decref(root);
  if (!text) return th_io_no_memory(error, path);
  size_t length = strlen(text);
  text[length] = '\n'; /* in the place of the zero byte, which the file does not need */
  th_status status = th_file_write(path, text, length + 1, error);
  free(text);
  return status;
}

/* A token must be what its text would give: th_text_normalise and th_text_next leave it as it is. Of unit
 * bpe that is a word, with or without the mark of its end, or that mark alone. */
static th_status check_token(th_unit unit, const char *token, size_t length, th_error *error) {
  char *normal;
  const char *at, *first;
  size_t normal_length, first_length;
  if (unit == TH_UNIT_BPE) {
    unit = TH_UNIT_WORD;
    if (length && token[length - 1] == TH_WORD_END) length--;
    if (!length && *token) return TH_OK;
  }
  th_status status = th_text_normalise(token, length, &normal, &normal_length, error);
  if (status != TH_OK) return status;
  at = normal;
  if (normal_length != length || memcmp(normal, token, length))
    status = th_error_set(error, TH_EFORMAT, "not in normal form C");
  else if (!th_text_next(unit, &at, normal + length, &first, &first_length) || first_length != length)
    status = th_error_set(error, TH_EFORMAT, "not one %s", unit_name(unit));
  free(normal);
  return status;
}

static th_status read_token(th_vocabulary *vocabulary, size_t id, const json_t *value, const char *path,
                            th_error *error) {
  char quoted[TH_QUOTED];
  th_error fault;
  const char *token = json_string_value(value);
  if (!token) return th_error_set(error, TH_EFORMAT, "%s: token %zu is not a string", path, id);
  size_t length = json_string_length(value);
  if (id < TH_SPECIALS) {
    if (!strcmp(token, th_special_text((int32_t)id))) return TH_OK;
    return th_error_set(error, TH_EFORMAT, "%s: token %zu is \"%s\" and should be \"%s\"", path, id,
                        th_io_quoted(quoted, token), th_special_text((int32_t)id));
  }
  th_status status = check_token(th_vocabulary_unit(vocabulary), token, length, &fault);
  if (status == TH_OK) status = th_vocabulary_append(vocabulary, token, length, &fault);
  if (status == TH_ENOMEM) return th_io_no_memory(error, path);
  if (status != TH_OK)
    th_error_set(error, status, "%s: token %zu \"%s\": %s", path, id, th_io_quoted(quoted, token),
                 fault.text);
  return status;
}

static th_status read_unit(th_unit *unit, const json_t *root, const char *path, th_error *error) {
  char quoted[TH_QUOTED];
  const char *format = json_string_value(json_object_get(root, "format"));
  const char *name = json_string_value(json_object_get(root, "unit"));
  if (!format || strcmp(format, FORMAT))
    return th_error_set(error, TH_EFORMAT, "%s: not a vocabulary: \"format\" is not \"" FORMAT "\"", path);
  const json_t *version = json_object_get(root, "version");
  if (!json_is_integer(version) || json_integer_value(version) != VERSION)
    return th_error_set(error, TH_EFORMAT, "%s: \"version\" is not %d, the one that is known", path, VERSION);
  if (!name) return th_error_set(error, TH_EFORMAT, "%s: \"unit\" is missing or not a string", path);
  for (*unit = TH_UNIT_CHARACTER; *unit <= TH_UNIT_BPE; (*unit)++)
    if (!strcmp(name, unit_name(*unit))) return TH_OK;
  return th_error_set(error, TH_EFORMAT, "%s: unit \"%s\" is none of \"character\", \"word\", \"bpe\"", path,
                      th_io_quoted(quoted, name));
}

/* ---- merges ---------------------------------------------------------------------------------- */

static bool is_older(int32_t id, int32_t made) { return id != TH_UNK && id < made; }

/* Merge `rank`, which must make token `made` of two before it. */
static th_status read_merge(th_vocabulary *vocabulary, const json_t *value, size_t rank, int32_t made,
                            const char *path, th_error *error) {
  char quoted[TH_QUOTED];
  const char *text = json_string_value(value), *cut = text ? strchr(text, ' ') : NULL;
  if (!cut)
    return th_error_set(error, TH_EFORMAT, "%s: merge %zu is not a string of two tokens and a space between",
                        path, rank);
  const char *token = th_vocabulary_token(vocabulary, made), *behind = cut + 1;
  size_t length = (size_t)(cut - text);
  int32_t left = th_vocabulary_find(vocabulary, text, length);
  int32_t right = th_vocabulary_find(vocabulary, behind, strlen(behind));
  th_io_quoted(quoted, text);
  if (!is_older(left, made) || !is_older(right, made))
    return th_error_set(error, TH_EFORMAT, "%s: merge %zu \"%s\": its %s token is none before token %d", path,
                        rank, quoted, is_older(left, made) ? "right" : "left", (int)made);
  if (strncmp(token, text, length) != 0 || strcmp(token + length, behind) != 0)
    return th_error_set(error, TH_EFORMAT, "%s: merge %zu \"%s\" does not make token %d", path, rank, quoted,
                        (int)made);
  return th_bpe_add(th_vocabulary_bpe(vocabulary), left, right) ? TH_OK : th_io_no_memory(error, path);
}

/* After the tokens: those before token `first` are characters, and each merge makes one of the others. */
static th_status read_merges(th_vocabulary *vocabulary, const json_t *root, const char *path,
                             th_error *error) {
  char quoted[TH_QUOTED];
  const json_t *merges = json_object_get(root, "merges");
  int32_t count = th_vocabulary_count(vocabulary);
  th_status status = TH_OK;
  if (!json_is_array(merges) || json_array_size(merges) > (size_t)(count - TH_SPECIALS))
    return th_error_set(error, TH_EFORMAT,
                        "%s: \"merges\" is not an array with a merge for each token that is no character",
                        path);
  int32_t first = count - (int32_t)json_array_size(merges);
  for (int32_t id = TH_SPECIALS; id < first; id++) {
    const char *token = th_vocabulary_token(vocabulary, id), *at = token, *character;
    size_t length;
    th_text_next(TH_UNIT_CHARACTER, &at, token + strlen(token), &character, &length);
    if (*at)
      return th_error_set(error, TH_EFORMAT, "%s: token %d \"%s\": neither a character nor of a merge", path,
                          (int)id, th_io_quoted(quoted, token));
  }
  if (th_vocabulary_find(vocabulary, &(const char){TH_WORD_END}, 1) == TH_UNK)
    return th_error_set(error, TH_EFORMAT, "%s: the end of a word, \" \", is not among the tokens", path);
  th_vocabulary_bpe(vocabulary)->first = first;
  for (size_t rank = 0; status == TH_OK && rank < json_array_size(merges); rank++)
    status = read_merge(vocabulary, json_array_get(merges, rank), rank, first + (int32_t)rank, path, error);
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static th_status read_vocabulary(th_vocabulary **vocabulary, const json_t *root, const char *path,
                                 th_error *error) {
  th_unit unit = TH_UNIT_CHARACTER;
  size_t id;
  json_t *value;
  th_status status = read_unit(&unit, root, path, error);
  if (status != TH_OK) return status;
  json_t *tokens = json_object_get(root, "tokens");
  if (json_array_size(tokens) < TH_SPECIALS) /* 0 for what is not an array */
    return th_error_set(error, TH_EFORMAT,
                        "%s: \"tokens\" is not an array that begins with the special tokens", path);
  if (th_vocabulary_new(vocabulary, unit, NULL) != TH_OK) return th_io_no_memory(error, path);
  json_array_foreach (tokens, id, value) {
    status = read_token(*vocabulary, id, value, path, error);
    if (status != TH_OK) break;
  }
  if (status == TH_OK && unit == TH_UNIT_BPE) status = read_merges(*vocabulary, root, path, error);
  if (status == TH_OK) th_vocabulary_seal(*vocabulary);
  else {
    th_vocabulary_free(*vocabulary);
    *vocabulary = NULL;
  }
  return status;
}

th_status th_vocabulary_load(th_vocabulary **vocabulary, const char *path, th_error *error) {
  char *bytes;
  size_t size;
  json_t *root = NULL;
  *vocabulary = NULL;
  th_status status = th_file_read(path, &bytes, &size, error);
  if (status == TH_OK) status = th_json_parse(&root, bytes, size, path, "not a vocabulary", error);
  if (status == TH_OK) status = read_vocabulary(vocabulary, root, path, error);
  json_decref(root);
  free(bytes);
  return status;
}
