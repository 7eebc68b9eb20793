/* make gradcheck: the table of every op and layer against central differences. */
#include "cases.h"

#include <stdio.h>

static bool print_case(const gradcheck_case *c) {
  th_gradcheck_report report = {0};
  th_error error = {0};
  bool ran = run_case(c, false, &report, &error) == TH_OK;
  bool ok = ran && report.ok && report.relative_error < GRADCHECK_LIMIT;
  printf("%-22s %-24s %8lld  %.1e  %s\n", c->op, c->what, (long long)report.compared, report.relative_error,
         ok ? "ok" : "WRONG");
  if (!ok) printf("    %s\n", ran ? report.text : error.text);
  return ok;
}

int main(void) {
  const gradcheck_case *lists[] = {op_cases, module_cases};
  int wrong = 0;
  printf("Backward against central differences, in double: relative error below %.0e.\n\n", GRADCHECK_LIMIT);
  printf("%-22s %-24s %8s  %s\n", "op or layer", "case", "compared", "worst");
  for (int l = 0; l < 2; l++)
    for (const gradcheck_case *c = lists[l]; c->op; c++) wrong += !print_case(c);
  if (wrong) printf("\n%d of them disagree.\n", wrong);
  else printf("\nAll agree.\n");
  return wrong ? 1 : 0;
}
