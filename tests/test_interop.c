/* tapehead's models in PyTorch, and PyTorch's in tapehead: tests/interop.py has the work. */
#include "translate_run.h"

#define PYTHON "/usr/bin/python3"

static char script[PATH_MAX], built_program[PATH_MAX];

static void enter(void) {
  cr_assert_not_null(realpath("tests/interop.py", script), "the tests run from the repository's root");
  enter_directory();
  strcpy(built_program, program);
  strcpy(program, PYTHON);
}

TestSuite(interop, .init = enter, .fini = leave_directory);

Test(interop, a_model_computes_the_same_in_tapehead_and_in_pytorch) {
  if (run_words((char *[]){program, "-c", "import numpy, torch", NULL}))
    cr_skip_test("python3-torch is not installed");
  int status = run_words((char *[]){program, script, built_program, NULL});
  cr_assert_eq(status, 0, "%s%s", last.out, last.err);
}
