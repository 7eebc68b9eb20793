/* translate without memory: each allocation fails in turn, once or from there on. One line says so, nothing leaks, nothing is left
 * half-done, and with memory the run goes on to the same bytes. */
#include "fault_run.h"

static void enter(void) {
  enter_directory();
  strncat(program, "-starved", sizeof program - strlen(program) - 1); /* tests/starved.c */
  cr_assert_eq(access(program, X_OK), 0, "%s: it is built first", program);
}

TestSuite(translate_memory, .init = enter, .fini = leave_directory);

#define RECIPE \
  " --dropout 0.1 --batch 16 --steps 4 --report-every 3 --save-every 2 --validate-every 3 --ema 0.9 " \
  "--average 2 --snapshot-every 3 --threads 1"
#define TOY "train " SMALL RECIPE
#define PAIRS "train " SMALL_PAIRS RECIPE " --source-unit bpe --target-unit bpe --merges 9 --vocabulary joint"

static void starve(long number, bool on) {
  char plan[32];
  snprintf(plan, sizeof plan, "%ld%s", number, on ? ":on" : "");
  setenv("TAPEHEAD_STARVE", plan, 1);
}

/* The numbers of the command's allocations that are the first on their path of calls; free() it. */
static long *first_on_paths(const char *command, int *count) {
  char line[32], name[32];
  long *numbers = NULL;
  *count = 0;
  close(capture(name));
  setenv("TAPEHEAD_STARVE_PATHS", name, 1);
  works("%s", command);
  unsetenv("TAPEHEAD_STARVE_PATHS");
  FILE *file = fopen(name, "r");
  cr_assert_not_null(file);
  while (fgets(line, sizeof line, file)) {
    numbers = reallocarray(numbers, (size_t)*count + 1, sizeof *numbers);
    cr_assert_not_null(numbers);
    numbers[(*count)++] = strtol(line, NULL, 10);
  }
  fclose(file);
  unlink(name);
  return numbers;
}

/* Whether it failed, which is then said in a line. */
static bool starves_well(const char *command, long number, bool on) {
  starve(number, on);
  int status = translate("%s", command);
  unsetenv("TAPEHEAD_STARVE");
  if (!status) {
    cr_assert_str_empty(last.err, "%s: allocation %ld: %s", command, number, last.err);
    return false;
  }
  cr_assert_eq(status, 1, "%s: allocation %ld: status %d: %s", command, number, status, last.err);
  cr_assert(strstr(last.err, "memory"), "%s: allocation %ld: %s", command, number, last.err);
  assert_one_line(last.err);
  return true;
}

#define SHARE 12 /* of the paths, in `make check`; `make faults` has them all */

/* The command with an allocation of each path failing, once or from there on, and `after` each, with memory again. */
static void survives(const char *command, void (*after)(void)) {
  int count, failed = 0, tried = 0;
  long *numbers = first_on_paths(command, &count);
  cr_assert_gt(count, 20, "%s: %d paths", command, count);
  after();
  for (int i = 0; i < count; i += thorough() ? 1 : count / SHARE) {
    failed += starves_well(command, numbers[i], tried++ % 2);
    assert_nothing_left_over();
    after();
  }
  free(numbers);
  cr_assert_geq(2 * failed, tried, "%s: of %d allocations only %d failed", command, tried, failed);
  cr_log_info("%s: %d allocations, of which %d failed it", command, tried, failed);
}

/* ---- training ----------------------------------------------------------------------------------------------------- */

static const char *begun; /* the command that begins the run */

static void goes_on_to_the_same_bytes(void) {
  assert_whole_or_absent("run");
  if (exists("run")) works("train --out run");
  else works("%s", begun);
  assert_same_tree("run", "whole");
  remove_tree("run");
}

Test(translate_memory, a_toy_run_whose_allocations_fail_goes_on_to_the_same_bytes) {
  works(TOY " --out whole");
  survives(begun = TOY " --out run", goes_on_to_the_same_bytes);
}

Test(translate_memory, a_run_on_pairs_whose_allocations_fail_goes_on_to_the_same_bytes) {
  put_pairs("pairs.tsv", 60);
  works(PAIRS " --out whole");
  survives(begun = PAIRS " --out run", goes_on_to_the_same_bytes);
}

static void stays(void) { assert_same_tree("run", "whole"); }

Test(translate_memory, a_complete_run_gone_on_with_stays_as_it_is) {
  works(TOY " --out whole");
  works(TOY " --out run");
  survives("train --out run", stays);
}

/* ---- what reads a run ----------------------------------------------------------------------------------------------- */

Test(translate_memory, reading_a_run_costs_nothing) {
  static const char *const commands[] = {"eval run", "eval run --json", "decode run --beam 3 --scores"};
  works(TOY " --out whole");
  works(TOY " --out run");
  put_text("lines", "abc\nabcd\n");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    input_path = strstr(commands[i], "decode") ? "lines" : "/dev/null";
    survives(commands[i], stays);
  }
  input_path = "/dev/null";
}

/* What is wrong with a line is said, and the next one read; that memory is gone is said once. */
Test(translate_memory, decoding_ends_at_the_line_that_finds_no_memory) {
  int count;
  works(TOY " --out run");
  put_text("lines", "abc\nabcd\n");
  input_path = "lines";
  long *numbers = first_on_paths("decode run", &count);
  cr_assert_gt(count, 20);
  for (int i = 0; i < count; i++) starves_well("decode run", numbers[i], true);
  free(numbers);
  input_path = "/dev/null";
}

static void without_the_smaller(void) {
  assert_whole_or_absent("smaller");
  if (exists("smaller")) remove_tree("smaller");
  stays();
}

Test(translate_memory, a_run_made_of_another_is_there_whole_or_not_at_all) {
  works(TOY " --out whole");
  works(TOY " --out run");
  survives("prune run --heads enc0.1 --out smaller", without_the_smaller);
  survives("collaborate run --shared-width 8 --out smaller", without_the_smaller);
}

static void without_a_study(void) {
  if (exists("run/heads")) remove_tree("run/heads");
  stays();
}

Test(translate_memory, a_study_that_finds_no_memory_leaves_the_run_alone) {
  works(TOY " --out whole");
  works(TOY " --out run");
  survives("heads run --sequences 6 --pruning 3 --sentences 2 --threads 1", without_a_study);
}
