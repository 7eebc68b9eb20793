/* translate tokens DIR: how lines are cut, for a person to see and for other programs to start from. */
#include "commands.h"
#include "lines.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SPACE_SIGN "\u2581" /* what stands for a space in a token, as spaces part tokens */

typedef struct tokens_options {
  char *directory;
  int target, ids;
} tokens_options;

static void print_token(const char *token) {
  for (const char *c = token; *c; c++)
    if (*c == ' ') fputs(SPACE_SIGN, stdout);
    else putchar(*c);
}

static th_status print_line(const th_vocabulary *v, const tokens_options *o, const char *line, size_t length,
                            int64_t number, th_error *error) {
  int32_t *ids;
  size_t count;
  th_error inner;
  th_status status = th_vocabulary_encode(v, line, length, &ids, &count, &inner);
  if (status) return th_error_set(error, status, "standard input:%lld: %s", (long long)number, inner.text);
  for (size_t i = 0; i < count; i++) {
    if (i) putchar(' ');
    if (o->ids) printf("%d", (int)ids[i]);
    else print_token(th_vocabulary_token(v, ids[i]));
  }
  putchar('\n');
  free(ids);
  return TH_OK;
}

static th_status print_lines(const tokens_options *o, th_error *error) {
  char path[PATH_TEXT], *line;
  size_t length;
  lines in = {.fd = STDIN_FILENO};
  line_state state = LINE_READ;
  th_vocabulary *v;
  if (snprintf(path, sizeof path, "%s/vocab.%s.json", o->directory, o->target ? "target" : "source") >=
      (int)sizeof path)
    return th_error_set(error, TH_EINVAL, "the directory's name is too long");
  th_status status = th_vocabulary_load(&v, path, error);
  if (status) return status;
  for (int64_t number = 1; !status && state == LINE_READ; number++) {
    state = lines_next(&in, true, &line, &length, error);
    if (state == LINE_READ) status = print_line(v, o, line, length, number, error);
  }
  if (state == LINE_FAILED) status = TH_EIO;
  lines_free(&in);
  th_vocabulary_free(v);
  return status;
}

th_status tokens_command(int argc, const char **argv, th_error *error) {
  tokens_options o = {0};
  struct poptOption options[] = {
      {"target", '\0', POPT_ARG_NONE, &o.target, 0, "as targets, not as sources", NULL},
      {"ids", '\0', POPT_ARG_NONE, &o.ids, 0, "print ids, not texts (where " SPACE_SIGN " is a space)", NULL},
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status = options_read(&(options_syntax){options, "DIR [OPTION...] < LINES", NULL, NULL}, argc,
                                  argv, &o.directory, error);
  if (!status) status = print_lines(&o, error);
  free(o.directory);
  return status;
}
