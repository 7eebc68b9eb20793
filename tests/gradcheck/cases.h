/* Gradcheck cases for every op and every layer: shared by the tests and by `make gradcheck`. */
#ifndef TESTS_GRADCHECK_CASES_H
#define TESTS_GRADCHECK_CASES_H

#include "tapehead/nn.h"

#define CASE_INPUTS 6

typedef struct gradcheck_case {
  const char *op;   /* the op it covers, or the layer's name */
  const char *what; /* the case in a word or two */
  th_function *function;
  int inputs;
  th_tensor shape[CASE_INPUTS]; /* only ndim and shape are read */
  double low, high;             /* the inputs are uniform between them; 0, 0: -2 to 2 */
  th_status (*layer)(th_error *error, th_gradcheck_report *report, bool fast); /* instead of function */
} gradcheck_case;

extern const gradcheck_case op_cases[];     /* ends with op NULL */
extern const gradcheck_case module_cases[]; /* ends with op NULL */

/* Runs one case; the report says what was found. */
th_status run_case(const gradcheck_case *c, bool fast, th_gradcheck_report *report, th_error *error);

#define GRADCHECK_LIMIT 1e-6 /* on the relative error */

#endif
