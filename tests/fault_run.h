/* What the tests of killed and failing runs share: the preloaded faults, whole directories compared, and what
 * must be true of a directory at any moment. */
#ifndef FAULT_RUN_H
#define FAULT_RUN_H

#include "translate_run.h"

#define WALK_DEPTH 16
#define NAME_ROOM 256

/* `make faults`: every call and every byte instead of a share of them. */
HELPER bool thorough(void) { return getenv("TAPEHEAD_FAULTS") != NULL; }

/* ---- faults ------------------------------------------------------------------------------------------------ */

#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

/* The programs started from here on meet this fault (see fault_preload.c); with "" they only count. */
HELPER void plan_fault(const char *fault) {
  char self[PATH_MAX], library[PATH_MAX + 32];
#ifdef SANITIZED
  /* Its runtime wants to be the first library, and finds that it is not; the order does no harm here. */
  setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
#endif
  strcpy(self, program);
  snprintf(library, sizeof library, "%s/fault_preload.so", dirname(self));
  cr_assert_eq(access(library, R_OK), 0, "%s: it is built first", library);
  setenv("LD_PRELOAD", library, 1);
  setenv("TAPEHEAD_FAULT", fault, 1);
}

HELPER void plan_call(long call, const char *action) {
  char fault[64];
  snprintf(fault, sizeof fault, "%ld:%s", call, action);
  plan_fault(fault);
}

HELPER void plan_nothing(void) {
  unsetenv("LD_PRELOAD");
  unsetenv("TAPEHEAD_FAULT");
  unsetenv("TAPEHEAD_FAULT_LOG");
}

/* The calls that a program made, in order. */
typedef struct one_call {
  char name[24], path[NAME_ROOM];
} one_call;

typedef struct call_list {
  one_call *calls;
  long count;
} call_list;

/* Counts the calls of a program that ends well. */
HELPER __attribute__((format(printf, 1, 2))) call_list count_calls(const char *format, ...) {
  command_line a;
  va_list values;
  char log[32], line[512];
  call_list list = {0};
  close(capture(log));
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  plan_fault("");
  setenv("TAPEHEAD_FAULT_LOG", log, 1);
  cr_assert_eq(run_words(a.word), 0, "%s", last.err);
  plan_nothing();
  FILE *file = fopen(log, "r");
  cr_assert_not_null(file);
  while (fgets(line, sizeof line, file)) {
    list.calls = reallocarray(list.calls, (size_t)list.count + 1, sizeof *list.calls);
    cr_assert_not_null(list.calls);
    one_call *c = &list.calls[list.count++];
    cr_assert_eq(sscanf(line, "%23s %255[^\n]", c->name, c->path), 2, "%s", line);
  }
  fclose(file);
  unlink(log);
  return list;
}

/* The number, from 1, of the first call of this name whose path has `text` in it, and not `without`. */
HELPER long call_number(const call_list *list, const char *name, const char *text, const char *without) {
  for (long i = 0; i < list->count; i++)
    if (!strcmp(list->calls[i].name, name) && strstr(list->calls[i].path, text) &&
        !strstr(list->calls[i].path, without))
      return i + 1;
  cr_assert_fail("no %s of %s", name, text);
  return 0;
}

/* ---- directories ------------------------------------------------------------------------------------------- */

typedef struct names {
  char (*name)[NAME_ROOM];
  size_t count;
} names;

static names found;

HELPER int add_file(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)walk;
  if (flag != FTW_F || !S_ISREG(status->st_mode)) return 0;
  found.name = reallocarray(found.name, found.count + 1, sizeof *found.name);
  cr_assert_not_null(found.name);
  cr_assert_lt(snprintf(found.name[found.count++], NAME_ROOM, "%s", path), NAME_ROOM);
  return 0;
}

/* Every file below a directory, by its path; free(names.name). */
HELPER names files_below(const char *path) {
  found = (names){0};
  cr_assert_eq(nftw(path, add_file, WALK_DEPTH, FTW_PHYS), 0, "%s", path);
  return found;
}

/* Two directories hold the same files with the same bytes, whatever those are. */
HELPER void assert_same_tree(const char *a, const char *b) {
  names in_a = files_below(a), in_b = files_below(b);
  char other[2 * NAME_ROOM];
  cr_assert_gt(in_a.count, 0);
  for (size_t i = 0; i < in_a.count; i++) {
    snprintf(other, sizeof other, "%s%s", b, in_a.name[i] + strlen(a));
    cr_assert(exists(other), "%s has no fellow in %s", in_a.name[i], b);
    cr_assert(same_bytes(in_a.name[i], other), "%s and %s differ", in_a.name[i], other);
  }
  for (size_t i = 0; i < in_b.count; i++) {
    snprintf(other, sizeof other, "%s%s", a, in_b.name[i] + strlen(b));
    cr_assert(exists(other), "%s has no fellow in %s", in_b.name[i], a);
  }
  free(in_a.name);
  free(in_b.name);
}

HELPER int assert_ordinary(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)status, (void)flag, (void)walk;
  static const char *const ours[] = {".tmp", ".plot-", ".unfinished-", ".lock"};
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
    cr_assert_null(strstr(path, ours[i]), "%s is left behind", path);
  return 0;
}

/* No temporary file, no unfinished directory, no lock anywhere here. */
HELPER void assert_nothing_left_over(void) {
  cr_assert_eq(nftw(".", assert_ordinary, WALK_DEPTH, FTW_PHYS), 0);
}

/* A run is not there at all, or has its state and its weights, and every safetensors file in it is whole. */
HELPER void assert_whole_or_absent(const char *run) {
  char path[NAME_ROOM];
  if (!exists(run)) return;
  static const char *const needed[] = {"config.json", "vocab.source.json", "vocab.target.json",
                                       "optimizer.safetensors", "model.safetensors"};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    snprintf(path, sizeof path, "%s/%s", run, needed[i]);
    cr_assert(exists(path), "%s is not there", path);
  }
  names all = files_below(run);
  for (size_t i = 0; i < all.count; i++) {
    const char *end = strstr(all.name[i], ".safetensors");
    th_safetensors *archive;
    th_error error = {0};
    if (!end || strcmp(end, ".safetensors") != 0) continue;
    cr_assert_eq(th_safetensors_load(&archive, all.name[i], &error), TH_OK, "%s", error.text);
    cr_assert_not_null(th_safetensors_metadata(archive, "step"), "%s has no step", all.name[i]);
    th_safetensors_free(archive);
  }
  free(all.name);
}

#endif
