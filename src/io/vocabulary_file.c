/* A vocabulary as a JSON file. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT "tapehead vocabulary"
#define VERSION 1

static const char *unit_name(th_unit unit) { return unit == TH_UNIT_WORD ? "word" : "character"; }

/* NULL: no memory. */
static json_t *tokens_json(const th_vocabulary *vocabulary) {
  json_t *tokens = json_array();
  for (int32_t id = 0; tokens && id < th_vocabulary_count(vocabulary); id++) {
    if (json_array_append_new(tokens, json_string(th_vocabulary_token(vocabulary, id)))) {
      json_decref(tokens);
      return NULL;
    }
  }
  return tokens;
}

th_status th_vocabulary_save(const th_vocabulary *vocabulary, const char *path, th_error *error) {
  if (!th_vocabulary_finished(vocabulary))
    return th_error_set(error, TH_EINVAL, "%s: a vocabulary that is not finished cannot be saved", path);
  char *text = NULL;
  json_t *root = json_object();
  if (!json_object_set_new(root, "format", json_string(FORMAT)) &&
      !json_object_set_new(root, "version", json_integer(VERSION)) &&
      !json_object_set_new(root, "unit", json_string(unit_name(th_vocabulary_unit(vocabulary)))) &&
      !json_object_set_new(root, "tokens", tokens_json(vocabulary)))
    text = json_dumps(root, JSON_INDENT(1));
  json_decref(root);
  if (!text) return th_io_no_memory(error, path);
  size_t length = strlen(text);
  text[length] = '\n'; /* in the place of the zero byte, which the file does not need */
  th_status status = th_file_write(path, text, length + 1, error);
  free(text);
  return status;
}

/* A token must be what its text would give: th_text_normalise and th_text_next leave it as it is. */
static th_status check_token(th_unit unit, const char *token, size_t length, th_error *error) {
  char *normal;
  const char *at, *first;
  size_t normal_length, first_length;
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
  for (*unit = TH_UNIT_CHARACTER; *unit <= TH_UNIT_WORD; (*unit)++)
    if (!strcmp(name, unit_name(*unit))) return TH_OK;
  return th_error_set(error, TH_EFORMAT, "%s: unit \"%s\" is neither \"character\" nor \"word\"", path,
                      th_io_quoted(quoted, name));
}

static th_status read_vocabulary(th_vocabulary **vocabulary, const json_t *root, const char *path,
                                 th_error *error) {
  th_unit unit;
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
  if (status == TH_OK && th_vocabulary_seal(*vocabulary, NULL) != TH_OK)
    status = th_io_no_memory(error, path);
  if (status != TH_OK) {
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
