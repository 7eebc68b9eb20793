/* report_page STUDY.json PAGE.html: a study as its report. */
#include <stdio.h>

#include "../../examples/translate/report.h"

int main(int argc, char **argv) {
  json_error_t problem;
  th_error error;
  if (argc != 3) return fputs("usage: report_page STUDY.json PAGE.html\n", stderr), 2;
  json_t *study = json_load_file(argv[1], JSON_ALLOW_NUL, &problem);
  if (!study) return fprintf(stderr, "%s:%d: %s\n", argv[1], problem.line, problem.text), 1;
  th_status status = write_report(argv[2], study, &error);
  if (status) fprintf(stderr, "%s\n", error.text);
  json_decref(study);
  return status ? 1 : 0;
}
