/* The tests without Criterion's sandbox, which starts the test program again for every test and cannot under an
 * emulator: each test in a child of its own, one after another. tests-unboxed [--only PREFIX]... [--without PREFIX]...:
 * of the tests, suite::test, those whose names begin in one of these ways, and in none of those. */
#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <criterion/redirect.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSED, FAILED, SKIPPED, SECONDS = 1800 }; /* a test that takes longer has failed */

/* Criterion's macros put a pointer to each test and suite into these sections. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[], *__stop_cr_sts[];

static const struct criterion_test *now;
static int outcome = PASSED;

static void nothing(void) {}

static struct criterion_test_extra_data none = {.init = nothing, .fini = nothing};

static const struct criterion_test_extra_data *suite_of_now(void) {
  for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
    if (*s && !strcmp((*s)->name, now->category) && (*s)->data) return (*s)->data;
  return &none;
}

/* ---- what a test calls ----------------------------------------------------------------------------- */

void criterion_internal_test_setup(void) {
  const struct criterion_test_extra_data *suite = suite_of_now();
  if (suite->init) suite->init();
  if (now->data->init) now->data->init();
}

void criterion_internal_test_main(void (*test)(void)) { test(); }

void criterion_internal_test_teardown(void) {
  const struct criterion_test_extra_data *suite = suite_of_now();
  if (now->data->fini) now->data->fini();
  if (suite->fini) suite->fini();
}

void criterion_send_assert(struct criterion_assert_stats *check) {
  if (!check->passed) fprintf(stdout, "%s:%u: %s\n", check->file, check->line, check->message);
}

void criterion_abort_test(void) {
  fflush(NULL);
  _exit(FAILED);
}

void criterion_continue_test(void) { outcome = FAILED; }

void criterion_skip_test(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vprintf(format, values);
  va_end(values);
  puts("");
  fflush(NULL);
  _exit(SKIPPED);
}

void cr_log(enum criterion_severity severity, const char *format, ...) { (void)severity, (void)format; }

/* The tests' own are set for the speed of a processor. */
unsigned alarm(unsigned seconds) {
  (void)seconds;
  return 0;
}

static FILE *redirected;

void cr_redirect_stderr(void) {
  if (!(redirected = tmpfile()) || dup2(fileno(redirected), STDERR_FILENO) < 0) criterion_abort_test();
}

/* Not 0 where it is what was written. */
int cr_stderr_match_str(const char *wanted) {
  char written[4096] = "";
  rewind(redirected);
  written[fread(written, 1, sizeof written - 1, redirected)] = 0;
  return !strcmp(written, wanted);
}

/* ---- one test after another ------------------------------------------------------------------------ */

static int run(void) {
  fflush(NULL);
  pid_t child = fork();
  if (!child) {
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_sec = SECONDS}, NULL);
    now->test();
    fflush(NULL);
    _exit(outcome);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return FAILED;
  if (WIFSIGNALED(status)) printf("ended by signal %d\n", WTERMSIG(status));
  return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static bool wanted(int argc, char **argv) {
  char name[256];
  bool some = false, one = false; /* some are asked for, this is one */
  snprintf(name, sizeof name, "%s::%s", now->category, now->name);
  for (int i = 1; i + 1 < argc; i += 2) {
    bool begins = !strncmp(name, argv[i + 1], strlen(argv[i + 1])), only = !strcmp(argv[i], "--only");
    if (begins && !only) return false;
    some = some || only, one = one || (begins && only);
  }
  return one || !some;
}

int main(int argc, char **argv) {
  int count[3] = {0};
  for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
    if (!(now = *t) || !wanted(argc, argv)) continue;
    int result = run();
    if (result != PASSED)
      printf("%s: %s::%s\n", result == SKIPPED ? "skipped" : "FAILED", now->category, now->name);
    count[result == PASSED || result == SKIPPED ? result : FAILED]++;
  }
  printf("%d passed, %d failed, %d skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
  return count[FAILED] || !count[PASSED];
}
