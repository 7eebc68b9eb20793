/* Metrics: appending to a file of JSON lines, and resuming one. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct th_metrics {
  char *path;
  int fd;
};

static bool missing(const char *path) {
  struct stat status;
  return stat(path, &status) && errno == ENOENT;
}

/* Rewrites the file without the lines that are not kept, if there are any. */
static th_status rewrite(const char *path, int64_t keep_until_step, th_error *error) {
  char *bytes, *line;
  size_t size, kept = 0;
  th_status status = th_file_read(path, &bytes, &size, error);
  bool whole = size == 0 || (status == TH_OK && bytes[size - 1] == '\n');
  for (char *at = bytes; status == TH_OK && (line = th_metrics_line(&at, bytes + size)) != NULL;) {
    size_t length = (size_t)(at - line); /* with its newline, if it has one */
    json_t *object;
    int64_t step;
    status = th_metrics_parse(&object, &step, line, length, path, error);
    if (object && step <= keep_until_step && keep_until_step != TH_METRICS_FRESH) {
      memmove(bytes + kept, line, length);
      kept += length;
    }
    json_decref(object);
  }
  /* A last line that is whole but for its end gets it, in the place of the zero byte after the file. */
  if (status == TH_OK && kept > 0 && bytes[kept - 1] != '\n') bytes[kept++] = '\n';
  if (status == TH_OK && (kept != size || !whole)) status = th_file_write(path, bytes, kept, error);
  free(bytes);
  return status;
}

th_status th_metrics_open(th_metrics **metrics, const char *path, int64_t keep_until_step, th_error *error) {
  *metrics = NULL;
  th_status status = missing(path) ? TH_OK : rewrite(path, keep_until_step, error);
  if (status != TH_OK) return status;
  th_metrics *made = calloc(1, sizeof *made);
  char *name = strdup(path);
  if (!made || !name) {
    free(made);
    free(name);
    return th_io_no_memory(error, path);
  }
  made->path = name;
  made->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (made->fd < 0) {
    int problem = errno;
    th_metrics_close(made);
    return th_io_refused(error, path, "write", problem);
  }
  *metrics = made;
  return TH_OK;
}

void th_metrics_close(th_metrics *metrics) {
  if (!metrics) return;
  if (metrics->fd >= 0) close(metrics->fd);
  free(metrics->path);
  free(metrics);
}

/* The line as JSON, to be freed with json_decref. */
static th_status make_object(json_t **object, const char *path, int64_t step, const th_metric *values,
                             size_t count, th_error *error) {
  char quoted[TH_QUOTED];
  *object = json_object();
  bool stored = !json_object_set_new(*object, "step", json_integer(step));
  for (size_t i = 0; stored && i < count; i++) {
    const char *key = values[i].key;
    if (th_utf8_valid(key, strlen(key)) < strlen(key) || json_object_get(*object, key))
      return th_error_set(error, TH_EINVAL, "%s: key \"%s\" is given twice or not valid UTF-8", path,
                          th_io_quoted(quoted, key));
    stored = !json_object_set_new(*object, key,
                                  isfinite(values[i].value) ? json_real(values[i].value) : json_null());
  }
  return stored ? TH_OK : th_io_no_memory(error, path);
}

/* One write, so that lines of two processes do not mix; a part of a line is taken back. */
static th_status write_line(const th_metrics *metrics, const char *line, size_t length, th_error *error) {
  ssize_t wrote;
  off_t end = lseek(metrics->fd, 0, SEEK_END);
  if (end < 0) return th_io_refused(error, metrics->path, "append", errno);
  do wrote = write(metrics->fd, line, length);
  while (wrote < 0 && errno == EINTR);
  int problem = wrote < 0 ? errno : ENOSPC; /* a short write to a file means a full disk or quota */
  /* EINVAL: a device or a pipe, which cannot be synced. */
  if (wrote == (ssize_t)length) problem = fsync(metrics->fd) && errno != EINVAL ? errno : 0;
  if (!problem) return TH_OK;
  if (wrote > 0 && ftruncate(metrics->fd, end)) problem = errno;
  return th_io_refused(error, metrics->path, "append", problem);
}

th_status th_metrics_append(th_metrics *metrics, int64_t step, const th_metric *values, size_t count,
                            th_error *error) {
  json_t *object;
  th_status status = make_object(&object, metrics->path, step, values, count, error);
  char *line = status == TH_OK ? th_json_dump(object, JSON_COMPACT) : NULL;
  json_decref(object);
  if (status != TH_OK) return status;
  if (!line) return th_io_no_memory(error, metrics->path);
  size_t length = strlen(line);
  line[length] = '\n';
  status = write_line(metrics, line, length + 1, error);
  free(line);
  return status;
}
