/* translate where the system refuses: every call that a training makes on its files fails in turn, disks are
 * full, files are lost or damaged. One line says what and where, nothing is left half-done, and without the
 * fault the run goes on to the same bytes. */
#include "fault_run.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

TestSuite(translate_faults, .init = enter_directory, .fini = leave_directory);

#define RECIPE \
  " --dropout 0.1 --batch 16 --steps 4 --report-every 3 --save-every 2 --validate-every 3 --ema 0.9 " \
  "--average 2 --snapshot-every 3 --threads 1 --out "
#define TOY "train " SMALL RECIPE
#define PAIRS "train " SMALL_PAIRS RECIPE

/* ---- what must be true after any failure ---------------------------------------------------------------------- */

static void assert_says_what_and_where(const char *where) {
  assert_complains(1, "translate train: ");
  cr_assert(strstr(last.err, where), "no \"%s\" in: %s", where, last.err);
}

/* Without the fault: the run goes on, or is made, to the bytes of the one that met none. */
static void assert_goes_on(const char *command) {
  assert_whole_or_absent("run");
  assert_nothing_left_over();
  plan_fault("");
  if (exists("run")) works("train --out run");
  else works("%srun", command);
  assert_same_tree("run", "whole");
}

/* ---- calls that fail ------------------------------------------------------------------------------------------ */

/* What may fail unseen: nothing was to be written; what was to be made is there; the name of what is in place
 * could not be synced. That the run is right is looked at afterwards all the same. */
static bool may_be_passed_over(const one_call *c) {
  static const char *const calls[] = {"open-directory", "fsync-directory", "close-directory",
                                      "unlink",         "lseek",           "mkdir"};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (!strcmp(c->name, calls[i])) return true;
  return !strcmp(c->name, "close") && !strstr(c->path, ".tmp-");
}

/* What an error about a call must name: the file, without the ending of a temporary one. */
static void name_of(char name[NAME_ROOM], const one_call *c) {
  const char *slash = strrchr(c->path, '/');
  if (!slash) slash = c->path - 1;
  strcpy(name, slash[1] == '.' || !strncmp(slash + 1, "counted", 7) ? "run" : slash + 1);
  char *temporary = strstr(name, ".tmp-");
  if (temporary) *temporary = 0;
}

static void fail_call(const char *command, long number, const one_call *c, const char *how) {
  char name[NAME_ROOM];
  plan_call(number, how);
  int status = exists("run") ? translate("train --out run") : translate("%srun", command);
  bool no_room_asked = !strcmp(how, "full") && !strstr(c->path, ".tmp") && !strstr(c->name, "write");
  bool unseen = status == 0 && (may_be_passed_over(c) || !strcmp(how, "short") || no_room_asked);
  cr_assert(unseen || status == 1, "%ld: %s of %s, %s: status %d: %s", number, c->name, c->path, how, status,
            last.err);
  if (unseen) {
    cr_assert_str_empty(last.err);
    remove("run/.lock"); /* where it was the removing that failed */
    return;
  }
  name_of(name, c);
  assert_says_what_and_where(strcmp(how, "full") != 0 ? name : "run");
}

/* Fails one call after another, each in one of the ways in turn, in a run that is each time begun anew (or,
 * `again`, complete already); calls for pictures, all alike, only here and there. Returns how many failed. */
static int fail_calls(const char *command, bool again, long first, long stride) {
  static const char *const ways[] = {"ENOSPC", "EIO", "full", "short"};
  call_list calls = again ? count_calls("train --out counted") : count_calls("%scounted", command);
  int failed = 0;
  for (long n = first, step; n <= calls.count; n += step) {
    const one_call *c = &calls.calls[n - 1];
    const char *how = ways[n / stride % 4];
    if (!strcmp(how, "short") && !strstr(c->name, "write")) how = "EIO";
    fail_call(command, n, c, how);
    assert_goes_on(command);
    if (!again) remove_tree("run");
    step = stride * (strstr(c->path, "heatmaps") && !thorough() ? 5 : 1);
    failed++;
  }
  free(calls.calls);
  return failed;
}

/* In `make faults` of several writes to one file each, too. */
static void survives_failing_calls(const char *command, bool again, long first) {
  if (thorough()) setenv("TAPEHEAD_FAULT_EACH", "1", 1);
  works("%swhole", command);
  works("%scounted", command);
  if (again) works("%srun", command);
  else remove_tree("counted");
  int failed = fail_calls(command, again, thorough() ? 1 : first, thorough() ? 1 : 4);
  cr_assert_geq(failed, 15, "only %d calls failed", failed);
  cr_log_info("%d calls failed, each run went on to the same bytes", failed);
}

Test(translate_faults, a_toy_run_whose_calls_fail_one_after_another_goes_on_to_the_same_bytes) {
  survives_failing_calls(TOY, false, 1);
}

Test(translate_faults, a_run_on_pairs_whose_calls_fail_one_after_another_goes_on_to_the_same_bytes) {
  put_pairs("pairs.tsv", 100);
  survives_failing_calls(PAIRS, false, 3);
}

Test(translate_faults, a_run_gone_on_with_whose_calls_fail_goes_on_to_the_same_bytes) {
  survives_failing_calls(TOY, true, 1);
}

/* ---- room that runs out ------------------------------------------------------------------------------------------ */

/* No file may grow past so many bytes; the signal that says so is ignored, as most shells' children get it not. */
static void limit_files(rlim_t bytes) {
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit;
  cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(translate_faults, files_that_may_not_grow_are_an_error_and_cost_nothing) {
  static const rlim_t sizes[] = {100, 400, 5000, 20000, 60000};
  works(TOY "whole");
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    limit_files(sizes[i]);
    translate(TOY "run");
    limit_files(RLIM_INFINITY);
    assert_says_what_and_where("cannot write: File too large");
    cr_assert_not(exists("run"));
    assert_nothing_left_over();
  }
  works("train --out whole");
  works(TOY "run --threads 2");
  limit_files(60000);
  translate("train --out run");
  limit_files(RLIM_INFINITY);
  assert_says_what_and_where("run/optimizer.safetensors: cannot write: File too large");
  works("train --out run --threads 1");
  assert_same_tree("run", "whole");
}

/* A file system of so many KiB at full/, which goes with the process. */
static void mount_small(long kibibytes) {
  char size[32];
  snprintf(size, sizeof size, "size=%ldk", kibibytes);
  if (exists("full")) cr_assert_eq(mount("none", "full", "tmpfs", MS_REMOUNT, size), 0);
  else {
    cr_assert_eq(mkdir("full", 0777), 0);
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "full", "tmpfs", 0, size))
      cr_skip_test("this user may mount nothing");
  }
}

Test(translate_faults, a_full_disk_is_an_error_and_costs_nothing) {
  works(TOY "whole");
  int failed = 0;
  for (long size = 40; size <= 440; size += 40) {
    mount_small(size);
    if (exists("full/run")) translate("train --out full/run");
    else translate(TOY "full/run");
    if (!last.status) continue;
    assert_complains(1, "No space left on device");
    cr_assert(strstr(last.err, "full/run"), "%s", last.err);
    assert_whole_or_absent("full/run");
    assert_nothing_left_over();
    failed++;
  }
  cr_assert_geq(failed, 4);
  mount_small(8192);
  if (exists("full/run")) works("train --out full/run");
  else works(TOY "full/run");
  assert_same_tree("full/run", "whole");
  cr_assert_eq(umount("full"), 0);
}

Test(translate_faults, a_directory_that_became_read_only) {
  works(TOY "run");
  works(TOY "whole");
  cr_assert_eq(chmod("run", 0555), 0);
  as_nobody = true;
  refuses(1, "translate train: run/.lock: cannot make: Permission denied", "train --out run");
  works("eval run");
  cr_assert_eq(decode("run", "abc\n"), 0, "%s", last.err);
  as_nobody = false;
  cr_assert_eq(chmod("run", 0755), 0);
  works("train --out run");
  assert_same_tree("run", "whole");
}

/* ---- files lost and damaged --------------------------------------------------------------------------------------- */

typedef enum { LOST, EMPTY, CUT, GARBAGE, HARMS } harm;
static const char *const harm_names[] = {"lost", "empty", "cut short", "filled with garbage"};

static void do_harm(harm h, const char *path, const char *bytes, size_t size) {
  char *garbage = malloc(size + 1);
  cr_assert_not_null(garbage);
  for (size_t i = 0; i < size; i++) garbage[i] = (char)(th_random_u64((th_random){7, 0}, i) | 0x80);
  if (h == LOST) cr_assert_eq(remove(path), 0);
  else if (h == EMPTY) put(path, "", 0);
  else if (h == CUT) put(path, bytes, size / 2);
  else put(path, garbage, size);
  free(garbage);
}

/* Who cannot do without a file: t for train, d for decode, e for eval. Of all others the loss is none to them. */
static const struct {
  const char *file, *needed_by;
} needs[] = {{"config.json", "tde"},       {"vocab.source.json", "tde"},
             {"vocab.target.json", "tde"}, {"optimizer.safetensors", "t"},
             {"model.safetensors", "de"},  {"pairs.tsv", "te"},
             {"valid.tsv", "te"}};

static bool needs_file(char command, const char *file) {
  for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
    if (!strcmp(needs[i].file, file)) return strchr(needs[i].needed_by, command) != NULL;
  return false;
}

static int meet_harm(char command) {
  return command == 't'   ? translate("train --out run --steps 6")
         : command == 'd' ? translate("decode run")
                          : translate("eval run");
}

/* Either does without the file, or says in one line that it cannot and which, and what to do; then nothing
 * else has changed. */
static void assert_copes(char command, const char *path, harm h) {
  uint64_t before = everything_here();
  meet_harm(command);
  cr_assert(last.status == 0 || last.status == 1, "%s %s: status %d: %s", path, harm_names[h], last.status,
            last.err);
  if (last.status == 0) {
    cr_assert_not(needs_file(command, path + 4), "%c does without %s, which is %s", command, path,
                  harm_names[h]);
    cr_assert_str_empty(last.err);
    return;
  }
  bool config_lost = h == LOST && command == 't' && !strcmp(path, "run/config.json");
  assert_complains(1, config_lost ? "run: exists and holds no run (no config.json)" : path);
  cr_assert(strstr(last.err, "put back a copy") || strstr(last.err, "choose another --out") ||
                strstr(last.err, "writes it anew"),
            "%s %s: what to do? %s", path, harm_names[h], last.err);
  cr_assert_eq(everything_here(), before, "something was written: %s", last.err);
}

static void harm_each_file(const char *command) {
  works("%srun", command);
  put_text("lines", "abc\n");
  input_path = "lines";
  cr_assert_eq(system("cp -a run kept"), 0);
  names files = files_below("run");
  for (size_t i = 0; i < files.count; i++) {
    const char *path = files.name[i];
    if (strstr(path, ".png")) continue;
    size_t size;
    char *bytes = get(path, &size);
    for (harm h = 0; h < HARMS; h++) {
      do_harm(h, path, bytes, size);
      assert_copes('d', path, h);
      assert_copes('e', path, h);
      assert_copes('t', path, h);
      remove_tree("run");
      cr_assert_eq(rename("kept", "run"), 0);
      cr_assert_eq(system("cp -a run kept"), 0);
    }
    free(bytes);
  }
  free(files.name);
}

Test(translate_faults, each_file_of_a_toy_run_lost_or_damaged) { harm_each_file(TOY); }

Test(translate_faults, each_file_of_a_run_on_pairs_lost_or_damaged) {
  put_pairs("pairs.tsv", 100);
  put_text("valid.tsv", "aab\tbaa\nbcb\tbcb\n");
  harm_each_file("train " SHAPE " --pairs pairs.tsv --valid valid.tsv" RECIPE);
}

/* They are older than the state, so nothing can write them again. */
Test(translate_faults, best_weights_that_are_lost_are_no_reason_to_fail) {
  works(TOY "run");
  remove("run/best.safetensors");
  works("train --out run --steps 6 --validate-every 100");
  assert_says("  best     lost: run/best.safetensors is not there\n");
  refuses(1, "run/best.safetensors: there is none: the run has not come so far, or has lost it",
          "eval run --use best");
  put_text("run/best.safetensors", "garbage");
  translate("train --out run");
  assert_complains(1, "run/best.safetensors: truncated");
}

Test(translate_faults, weights_without_their_moments_translate_but_do_not_train) {
  works(TOY "run");
  remove("run/optimizer.safetensors");
  cr_assert_eq(decode("run", "abc\n"), 0, "%s", last.err);
  works("eval run");
  refuses(1,
          "run/optimizer.safetensors: cannot read: No such file or directory: put back a copy; without it "
          "training cannot go on exactly, though model.safetensors still translates",
          "train --out run --steps 6");
}

Test(translate_faults, the_sum_of_the_pairs_is_what_cksum_says) {
  put_pairs("pairs.tsv", 100);
  works(PAIRS "run");
  cr_assert_eq(system("cd run && cksum pairs.tsv | cmp - pairs.sum"), 0);
  put_pairs("run/pairs.tsv", 99); /* whole lines, one fewer */
  refuses(1, "run/pairs.tsv: 792 bytes that are not the 800 the run began with: put back a copy",
          "train --out run --steps 6");
  remove("run/pairs.sum"); /* as in runs that never had one */
  works("train --out run --steps 6");
}
