/* JSON, parsed with one set of rules and one wording. */
#include "private.h"

#include <errno.h>

th_status th_json_parse(json_t **value, const char *bytes, size_t size, const char *path, const char *what,
                        th_error *error) {
  json_error_t problem;
  char quoted[TH_QUOTED];
  /* Where an allocation fails, jansson 2.14 may return without a word, complain of the text, or go on
   * with a part of a string. What tells is the errno that malloc left. */
  errno = 0;
  *value = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
  if (errno == ENOMEM ||
      (!*value && (json_error_code(&problem) == json_error_out_of_memory || !problem.text[0]))) {
    json_decref(*value);
    *value = NULL;
    return th_io_no_memory(error, path);
  }
  if (*value) return TH_OK;
  return th_error_set(error, TH_EFORMAT, "%s: %s: JSON at line %d, column %d: %s", path, what, problem.line,
                      problem.column, th_io_quoted(quoted, problem.text));
}
