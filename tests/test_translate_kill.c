/* translate train, killed: a run that died at any moment goes on to the same bytes in every file, one training
 * is at work in a directory, and what the dead left is swept up. */
#include "fault_run.h"

#include <time.h>

TestSuite(translate_kill, .init = enter_directory, .fini = leave_directory);

/* A report's means are over the updates since the last one, of this process: where every report is also a
 * checkpoint, a process that dies takes none of them along. */
#define REPORTS_AND_SAVES \
  "--report-every 3 --save-every 2 --snapshot-every 25 --validate-every 5 --ema 0.9 --average 3"
#define RECIPE " --dropout 0.1 --batch 16 --steps 60 " REPORTS_AND_SAVES " --out "
#define TOY "train " SMALL RECIPE
#define PAIRS "train " SMALL_PAIRS RECIPE

#define EVALUATE_EVERY 16 /* kills between two looks at the run through the program */

/* Goes on with the run, or begins it. */
static int train_again(const char *command) {
  return exists("run") ? translate("train --out run") : translate("%srun", command);
}

static void look_at_what_is_left(int kills) {
  assert_whole_or_absent("run");
  if (kills % EVALUATE_EVERY || !exists("run")) return;
  char *plan = strdup(getenv("TAPEHEAD_FAULT"));
  plan_fault("");
  works("eval run");
  cr_assert_eq(decode("run", "abc\n"), 0, "%s", last.err);
  plan_fault(plan);
  free(plan);
}

/* ---- killed at a call ----------------------------------------------------------------------------------------- */

/* Kills one training after another, each at a later call than the one before: first until there is a run, from
 * its first call to the one that gives it its name, then from the first call of one that goes on, through
 * checkpoints and pictures, until one outlives the call it was to die at. */
static int kill_at_calls(const char *command, long first, long stride) {
  int kills = 0, status = 0;
  bool was_there = false;
  for (long call = first;; call += stride) {
    if (exists("run") && !was_there) was_there = true, call = first;
    plan_call(call, "kill");
    status = train_again(command);
    if (status != 128 + SIGKILL) break;
    look_at_what_is_left(++kills);
  }
  cr_assert_eq(status, 0, "%s", last.err);
  plan_nothing();
  works("train --out run");
  assert_same_tree("run", "whole");
  assert_nothing_left_over();
  return kills;
}

/* Of the two runs each takes the calls that the other leaves out, unless there is time for all. */
static void survives_death_at_calls(const char *command, long first) {
  works("%swhole", command);
  int kills = kill_at_calls(command, thorough() ? 1 : first, thorough() ? 1 : 2);
  cr_assert_geq(kills, 60, "killed only %d times", kills);
  cr_log_info("killed at %d calls, gone on to the same bytes", kills);
}

Test(translate_kill, a_toy_run_killed_at_one_call_after_another_ends_in_the_same_bytes) {
  survives_death_at_calls(TOY, 1);
}

Test(translate_kill, a_run_on_pairs_killed_at_one_call_after_another_ends_in_the_same_bytes) {
  put_pairs("pairs.tsv", 100);
  survives_death_at_calls(PAIRS, 2);
}

/* ---- killed at a moment --------------------------------------------------------------------------------------- */

static long nanoseconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool killed_after(const char *command, long nanoseconds) {
  command_line a;
  int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  char text[1024], *rest = text;
  int count = 0;
  if (exists("run")) strcpy(text, "train --out run");
  else snprintf(text, sizeof text, "%srun", command);
  a.word[count++] = program;
  for (char *word; (word = strsep(&rest, " ")) != NULL;)
    if (*word) a.word[count++] = word;
  a.word[count] = NULL;
  pid_t child = start_program(a.word, nowhere, nowhere);
  close(nowhere);
  nanosleep(&(struct timespec){nanoseconds / 1000000000, nanoseconds % 1000000000}, NULL);
  cr_assert_eq(kill(child, SIGKILL), 0); /* it has not been waited for, so the number is still its own */
  int status = wait_for(child);
  cr_assert(status == 0 || status == 128 + SIGKILL, "status %d", status);
  return status != 0;
}

static void survives_death_at_moments(const char *command, unsigned seed) {
  const int wanted = thorough() ? 450 : 30;
  int kills = 0, attempts = 0;
  plan_fault(""); /* which syncs nothing, and so is done sooner */
  long life = -nanoseconds_now();
  works("%swhole", command);
  life += nanoseconds_now();
  srand(seed);
  for (; kills < wanted && attempts < 10 * wanted; attempts++) { /* one comes too late now and then */
    bool killed = killed_after(command, (long)(rand() / (double)RAND_MAX * (double)life));
    kills += killed;
    look_at_what_is_left(kills + 1);
    if (killed) continue;
    assert_same_tree("run", "whole");
    remove_tree("run");
  }
  cr_assert_eq(train_again(command), 0, "%s", last.err);
  assert_same_tree("run", "whole");
  assert_nothing_left_over();
  cr_assert_eq(kills, wanted, "killed only %d times in %d", kills, attempts);
  cr_log_info("killed at %d moments, gone on to the same bytes", kills);
}

Test(translate_kill, a_toy_run_killed_at_random_moments_ends_in_the_same_bytes) {
  survives_death_at_moments(TOY, 1);
}

Test(translate_kill, a_run_on_pairs_killed_at_random_moments_ends_in_the_same_bytes) {
  put_pairs("pairs.tsv", 100);
  survives_death_at_moments(PAIRS, 2);
}

/* ---- the lock ------------------------------------------------------------------------------------------------- */

/* Starts the command and waits until it has stopped itself at a call. */
static __attribute__((format(printf, 4, 5))) pid_t start_stopped(long at_call, const char *said,
                                                                 const char *log, const char *format, ...) {
  command_line a;
  va_list values;
  int status, out = open(said, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  plan_call(at_call, "stop");
  if (log) setenv("TAPEHEAD_FAULT_LOG", log, 1);
  pid_t child = start_program(a.word, out, out);
  plan_nothing();
  close(out);
  cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
  cr_assert(WIFSTOPPED(status), "it ended before call %ld", at_call);
  return child;
}

static int go_on(pid_t child) {
  cr_assert_eq(kill(child, SIGCONT), 0);
  return wait_for(child);
}

static void end(pid_t child) {
  cr_assert_eq(kill(child, SIGKILL), 0);
  cr_assert_eq(wait_for(child), 128 + SIGKILL);
}

static void assert_stopped_said(const char *format, int process) {
  char wanted[256];
  size_t size;
  snprintf(wanted, sizeof wanted, format, process);
  char *said = get("said", &size);
  cr_assert_str_eq(said, wanted);
  free(said);
}

Test(translate_kill, two_trainings_do_not_meet_in_one_directory) {
  char text[128];
  works(TOY "run");
  call_list calls = count_calls("train --out run --steps 70");
  long middle = call_number(&calls, "write", "optimizer.safetensors.tmp", "?");
  pid_t first = start_stopped(middle, "said", NULL, "train --out run --steps 80");
  snprintf(text, sizeof text, ": another training (process %d) is at work in it\n", first);
  refuses(1, text, "train --out run");
  refuses(1, text, "train --out run/ --steps 90");
  works("eval run");
  cr_assert_eq(decode("run", "abc\n"), 0, "%s", last.err);
  end(first);
  works("train --out run"); /* the dead hold no lock */
  assert_nothing_left_over();
  free(calls.calls);
}

Test(translate_kill, of_two_that_begin_a_run_at_once_one_wins_and_the_other_says_so) {
  works(TOY "whole");
  call_list calls = count_calls(TOY "counted");
  long naming = call_number(&calls, "rename", "counted", ".tmp-");
  pid_t loser = start_stopped(naming, "said", NULL, TOY "run");
  pid_t winner = start_stopped(naming + 20, "other", NULL, TOY "run");
  cr_assert(exists("run"));
  cr_assert_eq(go_on(loser), 1);
  assert_stopped_said("translate train: run: another training (process %d) is at work in it\n", winner);
  cr_assert_eq(go_on(winner), 0);
  assert_same_tree("run", "whole");
  assert_nothing_left_over();
  free(calls.calls);
}

Test(translate_kill, one_that_begins_a_run_when_another_has_made_it_says_so) {
  call_list calls = count_calls(TOY "whole");
  pid_t late = start_stopped(call_number(&calls, "rename", "whole", ".tmp-"), "said", NULL, TOY "run");
  works(TOY "run");
  cr_assert_eq(go_on(late), 1);
  assert_stopped_said(
      "translate train: run: another training made a run in it meanwhile: train --out run goes "
      "on with it\n",
      0);
  assert_same_tree("run", "whole");
  assert_nothing_left_over();
  free(calls.calls);
}

Test(translate_kill, a_lock_file_that_its_holder_removes_is_not_taken_for_a_lock) {
  works(TOY "run");
  call_list calls = count_calls("train --out run");
  pid_t second = start_stopped(call_number(&calls, "lock", ".lock", "?"), "said", "calls", "train --out run");
  works("train --out run"); /* the other has opened the file that this one removes at its end */
  cr_assert_not(exists("run/.lock"));
  cr_assert_eq(go_on(second), 0);
  size_t size;
  char *log = get("calls", &size), *once = strstr(log, "lock run/.lock\n");
  cr_assert(once && strstr(once + 1, "lock run/.lock\n"), "it locked a file that has no name:\n%s", log);
  free(log);
  free(calls.calls);
}

Test(translate_kill, a_file_system_without_locks_is_worth_a_word_and_no_more) {
  works(TOY "whole");
  call_list calls = count_calls("train --out whole");
  plan_call(3, "ENOLCK"); /* of a new run, after the directory and the file */
  works(TOY "run");
  assert_says("run.unfinished-");
  assert_says(": its file system has no locks: see to it that no other training is at work in it\n");
  plan_call(call_number(&calls, "lock", ".lock", "?"), "ENOLCK");
  works("train --out run");
  assert_says("run: its file system has no locks: see to it that no other training is at work in it\n");
  assert_same_tree("run", "whole");
  free(calls.calls);
}

/* ---- what the dead leave ---------------------------------------------------------------------------------------- */

/* The number of a process that is dead. */
static int dead_process(void) {
  pid_t child = fork();
  if (!child) _exit(0);
  cr_assert_gt(child, 0);
  wait_for(child);
  return child;
}

static __attribute__((format(printf, 1, 2))) void put_named(const char *format, ...) {
  char path[NAME_ROOM];
  va_list values;
  va_start(values, format);
  vsnprintf(path, sizeof path, format, values);
  va_end(values);
  put_text(path, "left\n");
}

Test(translate_kill, what_dead_processes_left_is_removed) {
  int dead = dead_process();
  char path[64];
  works(TOY "run");
  put_named("run/optimizer.safetensors.tmp-%d-0", dead);
  put_named("run/config.json.tmp-%d-12", dead);
  put_named("run/heatmaps/.plot-%d-0.tmp", dead);
  snprintf(path, sizeof path, "run.unfinished-%d", dead);
  cr_assert_eq(mkdir(path, 0777), 0);
  put_named("%s/model.safetensors", path);
  put_named("%s/.lock", path);
  works("train --out run");
  assert_nothing_left_over();
}

Test(translate_kill, nothing_else_is_removed) {
  int dead = dead_process(), alive = getpid();
  const char *const kept[] = {"run/notes.tmp-%d",     "run/notes.tmp-%d-0x",   "run/notes.tmp-0%d-1",
                              "run/.tmp-%d-0",        "run/.plot-%d-0.tmp~",   "run/.plot-%d-0",
                              "run/x.tmp-%d-0.bak",   "other.unfinished-%d/a", "run.unfinished-%dx/a",
                              "run.unfinished-0%d/a", "run2.unfinished-%d/a",  "notes.tmp-%d-0"};
  const size_t count = sizeof kept / sizeof *kept;
  char path[count + 2][64];
  works(TOY "run");
  for (size_t i = 0; i < count + 2; i++) {
    const char *format = i < count ? kept[i] : i == count ? "run/a.tmp-%d-0" : "run.unfinished-%d/a";
    snprintf(path[i], sizeof path[i], format, i < count ? dead : alive);
    char *slash = strrchr(path[i], '/');
    if (slash) {
      *slash = 0;
      mkdir(path[i], 0777);
      *slash = '/';
    }
    put_text(path[i], "mine\n");
  }
  works("train --out run");
  for (size_t i = 0; i < count + 2; i++) cr_assert(exists(path[i]), "%s is gone", path[i]);
}

Test(translate_kill, a_directory_that_holds_no_run_is_not_swept) {
  cr_assert_eq(mkdir("letters", 0777), 0);
  put_named("letters/dear.tmp-%d-0", dead_process());
  refuses(1, "letters: exists and holds no run", TOY "letters");
}
