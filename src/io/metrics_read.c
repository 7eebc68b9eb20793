/* Reading metrics: the lines of the file, and one key's series. */
#include "private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

char *th_metrics_line(char **at, char *end) {
  char *line = *at;
  if (line == end) return NULL;
  char *newline = memchr(line, '\n', (size_t)(end - line));
  *at = newline ? newline + 1 : end;
  return line;
}

th_status th_metrics_parse(json_t **object, int64_t *step, const char *line, size_t length, const char *path,
                           th_error *error) {
  th_error fault;
  if (th_json_parse(object, line, length, path, "", &fault) == TH_ENOMEM) return th_io_no_memory(error, path);
  const json_t *value = json_object_get(*object, "step");
  *step = json_integer_value(value);
  if (json_is_integer(value)) return TH_OK;
  json_decref(*object);
  *object = NULL;
  return TH_OK;
}

typedef struct series {
  int64_t *steps;
  double *values;
  size_t count, capacity;
} series;

static bool series_grow(series *s) {
  if (s->count < s->capacity) return true;
  size_t capacity = s->capacity ? s->capacity * 2 : 256;
  int64_t *steps = reallocarray(s->steps, capacity, sizeof *steps);
  if (steps) s->steps = steps;
  double *values = reallocarray(s->values, capacity, sizeof *values);
  if (values) s->values = values;
  if (!steps || !values) return false;
  s->capacity = capacity;
  return true;
}

/* Takes the key's value, if the line has the key. */
static th_status take_value(series *s, int64_t step, const json_t *value, const char *path, size_t number,
                            const char *key, th_error *error) {
  char quoted[TH_QUOTED];
  if (!value) return TH_OK;
  if (!json_is_number(value) && !json_is_null(value))
    return th_error_set(error, TH_EFORMAT, "%s:%zu: \"%s\" is not a number", path, number,
                        th_io_quoted(quoted, key));
  if (!series_grow(s)) return th_io_no_memory(error, path);
  s->steps[s->count] = step;
  s->values[s->count++] = json_is_null(value) ? NAN : json_number_value(value);
  return TH_OK;
}

static th_status read_lines(series *s, const char *path, const char *key, char *bytes, size_t size,
                            th_error *error) {
  char *line, *at = bytes;
  th_status status = TH_OK;
  for (size_t number = 1; status == TH_OK && (line = th_metrics_line(&at, bytes + size)) != NULL; number++) {
    json_t *object = NULL;
    int64_t step = 0;
    status = th_metrics_parse(&object, &step, line, (size_t)(at - line), path, error);
    if (object) status = take_value(s, step, json_object_get(object, key), path, number, key, error);
    else if (status == TH_OK && at[-1] == '\n')
      status =
          th_error_set(error, TH_EFORMAT, "%s:%zu: not a JSON object with an integer \"step\"", path, number);
    json_decref(object);
  }
  return status;
}

th_status th_metrics_read(const char *path, const char *key, int64_t **steps, double **values, size_t *count,
                          th_error *error) {
  char *bytes;
  size_t size;
  series s = {0};
  *steps = NULL;
  *values = NULL;
  *count = 0;
  th_status status = th_file_read(path, &bytes, &size, error);
  if (status == TH_OK && !series_grow(&s)) status = th_io_no_memory(error, path);
  if (status == TH_OK) status = read_lines(&s, path, key, bytes, size, error);
  free(bytes);
  if (status != TH_OK) {
    free(s.steps);
    free(s.values);
    return status;
  }
  *steps = s.steps;
  *values = s.values;
  *count = s.count;
  return TH_OK;
}
