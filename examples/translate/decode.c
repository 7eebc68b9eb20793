/* translate decode DIR: lines on standard input to lines on standard output. */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static th_status decode_ids(run *r, const int32_t *ids, int64_t count, char **text, th_error *error) {
  example e = {.source = ids, .source_length = count};
  batch b;
  th_tensor out = {0};
  th_status status = batch_new(&b, 1, count, error);
  if (status) return status;
  batch_fill(&b, &e, 1);
  int64_t limit = r->model->config.max_length;
  status = th_tensor_new(&out, TH_I32, 2, (int64_t[]){1, limit}, error);
  if (!status)
    status =
        th_transformer_greedy(r->model, r->tape, &b.source, b.source_length, TH_BOS, TH_EOS, &out, error);
  if (!status) status = th_vocabulary_decode(r->data.target, out.data, (size_t)limit, text, error);
  th_tensor_free(&out);
  batch_free(&b);
  return status;
}

static th_status decode_line(run *r, const char *line, size_t length, int64_t number, th_error *error) {
  int32_t *ids;
  size_t count;
  char *text;
  th_error inner;
  th_status status = th_vocabulary_encode(r->data.source, line, length, &ids, &count, &inner);
  if (status) return th_error_set(error, status, "standard input:%lld: %s", (long long)number, inner.text);
  int64_t longest = r->model->config.max_length - 1; /* one place is the end mark's */
  if ((int64_t)count > longest)
    status = th_error_set(error, TH_EFORMAT, "standard input:%lld: %zu tokens, the model takes %lld",
                          (long long)number, count, (long long)longest);
  if (!status && !count) puts("");
  else if (!status && !(status = decode_ids(r, ids, (int64_t)count, &text, error))) {
    puts(text);
    free(text);
  }
  if (!status && fflush(stdout))
    status = th_error_set(error, TH_EIO, "standard output: cannot write: %s", strerror(errno));
  free(ids);
  return status;
}

th_status decode_command(int argc, const char **argv, th_error *error) {
  const char *directory;
  run r;
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  th_status status = directory_argument(argc, argv, "translate decode DIR < LINES", &directory, error);
  if (status || !directory) return status;
  if ((status = run_open(&r, directory, NULL, NULL, RUN_MODEL, error))) return status;
  for (int64_t number = 1; !status && (length = getline(&line, &room, stdin)) > 0; number++) {
    while (length && (line[length - 1] == '\n' || line[length - 1] == '\r')) length--;
    status = decode_line(&r, line, (size_t)length, number, error);
  }
  if (!status && ferror(stdin))
    status = th_error_set(error, TH_EIO, "standard input: cannot read: %s", strerror(errno));
  free(line);
  run_free(&r);
  return status;
}
