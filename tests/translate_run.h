/* The program `translate`, run from outside: each test in a directory of its own, which is removed after it.
 * The program lies beside the binary of the tests. */
#ifndef TEST_TRANSLATE_RUN_H
#define TEST_TRANSLATE_RUN_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tapehead/io.h"

#define HELPER static inline __attribute__((unused))
#define WORDS_MAX 64
#define NOBODY 65534 /* a user who owns nothing */

/* A model that trains in a blink. */
#define SHAPE "--width 16 --heads 2 --encoder-layers 1 --decoder-layers 1 --feed-forward 32"
#define SMALL SHAPE " --task reverse --symbols 8 --max-length 6 --held-out 20"
#define SMALL_PAIRS SHAPE " --pairs pairs.tsv --held-out 20 --batch 16"

static char directory[64], program[PATH_MAX];

/* ---- the directory --------------------------------------------------------------------------------- */

HELPER void enter_directory(void) {
  char self[PATH_MAX] = "";
  cr_assert_gt(readlink("/proc/self/exe", self, sizeof self - 1), 0);
  cr_assert_lt(snprintf(program, sizeof program, "%s/translate", dirname(self)), (int)sizeof program);
  cr_assert_eq(access(program, X_OK), 0, "%s: the program is built first", program);
  strcpy(directory, "/tmp/tapehead-test-XXXXXX");
  cr_assert_not_null(mkdtemp(directory));
  cr_assert_eq(chmod(directory, 0755), 0);
  cr_assert_eq(chdir(directory), 0);
}

HELPER int remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)status, (void)flag, (void)walk;
  return remove(path);
}

HELPER void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

HELPER void leave_directory(void) {
  cr_assert_eq(chdir("/"), 0);
  remove_tree(directory);
}

HELPER void put(const char *path, const char *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  cr_assert_not_null(file, "%s", path);
  cr_assert_eq(fwrite(bytes, 1, size, file), size);
  cr_assert_eq(fclose(file), 0);
}

HELPER void put_text(const char *path, const char *text) { put(path, text, strlen(text)); }

/* noinline: GCC 12 takes the address it passes on for the pointer it returns, and warns. */
static __attribute__((unused, noinline)) char *get(const char *path, size_t *size) {
  th_error error = {0};
  char *bytes;
  cr_assert_eq(th_file_read(path, &bytes, size, &error), TH_OK, "%s", error.text);
  return bytes;
}

HELPER void copy(const char *from, const char *to) {
  size_t size;
  char *bytes = get(from, &size);
  put(to, bytes, size);
  free(bytes);
}

HELPER bool exists(const char *path) { return access(path, F_OK) == 0; }

HELPER bool same_bytes(const char *a, const char *b) {
  size_t a_size, b_size;
  char *a_bytes = get(a, &a_size), *b_bytes = get(b, &b_size);
  bool same = a_size == b_size && !memcmp(a_bytes, b_bytes, a_size);
  free(a_bytes);
  free(b_bytes);
  return same;
}

/* ---- what stands in it, as one number --------------------------------------------------------------- */

#define HASH_START 14695981039346656037u /* FNV-1a */
#define HASH_FACTOR 1099511628211u

HELPER uint64_t hash_of(uint64_t hash, const void *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * HASH_FACTOR;
  return hash;
}

static uint64_t tree_sum;

/* A file's name, mode, bytes and the time it was written; a directory's name and mode. */
HELPER int add_one(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  uint64_t hash = hash_of(HASH_START, path, strlen(path));
  (void)walk;
  hash = hash_of(hash, &status->st_mode, sizeof status->st_mode);
  if (flag == FTW_F && S_ISREG(status->st_mode)) {
    size_t size;
    char *bytes = get(path, &size);
    hash = hash_of(hash, bytes, size);
    hash = hash_of(hash, &status->st_mtim, sizeof status->st_mtim);
    free(bytes);
  }
  tree_sum += hash; /* a sum, as the order of a directory means nothing */
  return 0;
}

HELPER uint64_t everything_here(void) {
  tree_sum = 0;
  cr_assert_eq(nftw(".", add_one, 16, FTW_PHYS), 0);
  return tree_sum;
}

/* ---- running it --------------------------------------------------------------------------------------- */

/* The last run: its exit status, or 128 and the signal that ended it. */
static struct {
  int status;
  char *out, *err;
  size_t out_size;
} last;

static const char *input_path = "/dev/null", *output_path; /* output_path NULL: captured */
static bool as_nobody; /* without root's rights, where the tests have them */

HELPER int open_or_end(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) _exit(99);
  return fd;
}

/* Starts the program. It is opened before the rights go, as the tree may be closed to others. */
HELPER pid_t start_program(char *const *words, int out, int err) {
  fflush(NULL);
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child) return child;
  int file = open_or_end(program, O_PATH), in = open_or_end(input_path, O_RDONLY);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (as_nobody && !geteuid() &&
      (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)))
    _exit(98);
  fexecve(file, words, environ);
  _exit(97);
}

/* Outside of the directory, so that it does not count as a thing written there. */
HELPER int capture(char name[32]) {
  strcpy(name, "/tmp/tapehead-out-XXXXXX");
  int fd = mkostemp(name, O_CLOEXEC);
  cr_assert_geq(fd, 0);
  return fd;
}

HELPER char *captured(const char *name, int fd, size_t *size) {
  char *text = get(name, size);
  close(fd);
  unlink(name);
  return text;
}

HELPER int wait_for(pid_t child) {
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

HELPER int run_words(char *const *words) {
  char out_name[32], err_name[32];
  size_t err_size;
  int out = capture(out_name), err = capture(err_name);
  int elsewhere = output_path ? open(output_path, O_WRONLY | O_CLOEXEC) : -1;
  free(last.out);
  free(last.err);
  last.status = wait_for(start_program(words, elsewhere < 0 ? out : elsewhere, err));
  if (elsewhere >= 0) close(elsewhere);
  last.out = captured(out_name, out, &last.out_size);
  last.err = captured(err_name, err, &err_size);
  return last.status;
}

/* A command line, cut at its spaces. */
typedef struct command_line {
  char text[2048], *word[WORDS_MAX];
} command_line;

HELPER void cut(command_line *a, const char *format, va_list values) {
  int count = 0;
  cr_assert_lt(vsnprintf(a->text, sizeof a->text, format, values), (int)sizeof a->text);
  a->word[count++] = program;
  char *rest = a->text;
  for (char *word; (word = strsep(&rest, " ")) != NULL;) {
    if (!*word) continue;
    cr_assert_lt(count, WORDS_MAX - 1);
    a->word[count++] = word;
  }
  a->word[count] = NULL;
}

/* translate("train --out %s", name): runs it and returns the exit status; what it printed is in `last`. */
HELPER __attribute__((format(printf, 1, 2))) int translate(const char *format, ...) {
  command_line a;
  va_list values;
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  return run_words(a.word);
}

/* The same, which must end well and without complaint. */
HELPER __attribute__((format(printf, 1, 2))) void works(const char *format, ...) {
  command_line a;
  va_list values;
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  cr_assert_eq(run_words(a.word), 0, "translate %s: status %d: %s", a.word[1], last.status, last.err);
  cr_assert_str_empty(last.err);
}

HELPER void with_input(const char *text, size_t size) {
  static char name[32];
  int fd = capture(name);
  cr_assert_eq(write(fd, text, size), (ssize_t)size);
  close(fd);
  input_path = name;
}

/* translate(...) with lines on its standard input. */
HELPER __attribute__((format(printf, 2, 3))) int filter(const char *lines, const char *format, ...) {
  command_line a;
  va_list values;
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  with_input(lines, strlen(lines));
  int status = run_words(a.word);
  unlink(input_path);
  input_path = "/dev/null";
  return status;
}

HELPER int decode(const char *run, const char *lines) { return filter(lines, "decode %s", run); }

/* ---- what it must say ----------------------------------------------------------------------------------- */

HELPER void assert_one_line(const char *text) {
  const char *end = strchr(text, '\n');
  cr_assert(end && !end[1], "not one line:\n%s", text);
}

/* Ends with `status` and one line on standard error that has `text` in it. */
HELPER void assert_complains(int status, const char *text) {
  cr_assert_eq(last.status, status, "status %d, not %d: %s", last.status, status, last.err);
  assert_one_line(last.err);
  cr_assert(strstr(last.err, text), "says  %snot   %s", last.err, text);
}

/* ... and writes nothing, here or on standard output. */
HELPER __attribute__((format(printf, 3, 4))) void refuses(int status, const char *text, const char *format,
                                                          ...) {
  command_line a;
  va_list values;
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  uint64_t before = everything_here();
  run_words(a.word);
  assert_complains(status, text);
  cr_assert_str_empty(last.out);
  cr_assert_eq(everything_here(), before, "something was written: %s", text);
}

HELPER void assert_says(const char *text) {
  cr_assert(strstr(last.out, text), "no \"%s\" in:\n%s", text, last.out);
}

/* ---- pairs ------------------------------------------------------------------------------------------------- */

/* `count` lines of a number in letters and its reverse. */
HELPER void put_pairs(const char *path, int count) {
  FILE *file = fopen(path, "w");
  cr_assert_not_null(file);
  for (int i = 0; i < count; i++) {
    int n = i + 100;
    char a = (char)('a' + n / 100 % 10), b = (char)('a' + n / 10 % 10), c = (char)('a' + n % 10);
    fprintf(file, "%c%c%c\t%c%c%c\n", a, b, c, c, b, a);
  }
  cr_assert_eq(fclose(file), 0);
}

/* ---- two runs ----------------------------------------------------------------------------------------- */

HELPER void assert_same_file(const char *a, const char *b, const char *file) {
  char a_path[64], b_path[64];
  snprintf(a_path, sizeof a_path, "%s/%s", a, file);
  snprintf(b_path, sizeof b_path, "%s/%s", b, file);
  cr_assert_eq(exists(a_path), exists(b_path), "only one of %s and %s is there", a_path, b_path);
  if (exists(a_path)) cr_assert(same_bytes(a_path, b_path), "%s and %s differ", a_path, b_path);
}

/* In all that training makes, save metrics.jsonl, which also tells how often it reported. */
HELPER void assert_same_run(const char *a, const char *b) {
  static const char *const files[] = {"model.safetensors",
                                      "optimizer.safetensors",
                                      "best.safetensors",
                                      "average.safetensors",
                                      "ema.safetensors",
                                      "snapshots/step-00000000.safetensors",
                                      "snapshots/step-00000009.safetensors"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) assert_same_file(a, b, files[i]);
}

#endif
