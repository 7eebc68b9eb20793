/* The page's files lie in the program, byte by byte as they stand in report/. They are joined here: page.html names
 * the others, and the study, in double braces. */
#include "report.h"

#include <stdlib.h>
#include <string.h>

#include "tapehead/io.h"

/* .incbin is found from the directory in which the compiler runs, the top of the tree. */
#define EMBED(name, file) \
  __asm__(".section .rodata\n" \
          ".global report_" #name "\n.global report_" #name "_end\n" \
          "report_" #name ": .incbin \"examples/translate/report/" file "\"\n" \
          "report_" #name "_end: .byte 0\n" \
          ".text\n"); \
  extern const char report_##name[], report_##name##_end[];
#define EACH_FILE(X) \
  X(style, "style.css") \
  X(base, "base.js") \
  X(study, "study.js") \
  X(words, "words.js") \
  X(matrix, "matrix.js") \
  X(charts, "charts.js") \
  X(overview, "overview.js") \
  X(head, "head.js") \
  X(model, "model.js") \
  X(likeness, "likeness.js") \
  X(page, "page.js")
EMBED(frame, "page.html")
EACH_FILE(EMBED)

static const struct {
  const char *name, *bytes, *end;
} files[] = {
#define ROW(name, file) {file, report_##name, report_##name##_end},
    EACH_FILE(ROW)
#undef ROW
};

static th_status put(th_file_out *out, const char *bytes, const char *end, th_error *error) {
  return th_file_out_write(out, bytes, (size_t)(end - bytes), error);
}

/* Inside a script a '<' could begin its end, or a comment; in JSON it stands only in strings. */
static th_status put_study(th_file_out *out, const char *text, th_error *error) {
  static const char escaped[] = "\\u003c";
  th_status status = TH_OK;
  for (const char *bracket; !status && (bracket = strchr(text, '<')); text = bracket + 1) {
    status = put(out, text, bracket, error);
    if (!status) status = th_file_out_write(out, escaped, sizeof escaped - 1, error);
  }
  return status ? status : th_file_out_write(out, text, strlen(text), error);
}

/* What a name in braces stands for. */
static th_status put_named(th_file_out *out, const char *name, size_t length, const char *study,
                           th_error *error) {
  if (length == strlen("study.json") && !memcmp(name, "study.json", length))
    return put_study(out, study, error);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (length == strlen(files[i].name) && !memcmp(name, files[i].name, length))
      return put(out, files[i].bytes, files[i].end, error);
  th_file_out_discard(out);
  return th_error_set(error, TH_EINVAL, "page.html: {{%.*s}} is no file of the report", (int)length, name);
}

static th_status put_page(th_file_out *out, const char *study, th_error *error) {
  const char *at = report_frame;
  th_status status = TH_OK;
  for (const char *open, *close; !status && (open = strstr(at, "{{")) && (close = strstr(open, "}}"));
       at = close + 2) {
    status = put(out, at, open, error);
    if (!status) status = put_named(out, open + 2, (size_t)(close - open - 2), study, error);
  }
  return status ? status : put(out, at, report_frame_end, error);
}

th_status write_report(const char *path, const json_t *study, th_error *error) {
  if (!json_is_object(study)) return th_error_set(error, TH_EINVAL, "%s: the study is no JSON object", path);
  /* Seven digits are what is shown and a float's worth. */
  char *text = th_json_dump(study, JSON_COMPACT | JSON_REAL_PRECISION(7));
  if (!text) return th_error_set(error, TH_ENOMEM, "%s: out of memory", path);
  th_file_out out;
  th_status status = th_file_out_open(&out, path, error);
  if (!status) status = put_page(&out, text, error);
  if (!status) status = th_file_out_commit(&out, error);
  free(text);
  return status; // NOLINT(clang-analyzer-unix.Malloc): a failed write has discarded, freeing out.path
}
