/* Linked into a second program, build/.../translate-starved: allocation number N of our own code, or of jansson's, finds no memory.
 *
 *   TAPEHEAD_STARVE=N          allocation N fails, once
 *   TAPEHEAD_STARVE=N:on       and all after it
 *   TAPEHEAD_STARVE_PATHS=FILE gets the numbers of those that were the first from where they are made: no other had the
 *                              same functions above it
 *
 * With --wrap, so that it goes with the sanitizers, whose malloc stays. */
#include <errno.h>
#include <execinfo.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_DEPTH = 20, PATHS_MAX = 1 << 14 };

static atomic_long allocations;
static long first, last; /* those that fail */

/* ---- where they are made: in a run of one thread ---- */

static FILE *paths_file;
static uint64_t
    paths[PATHS_MAX]; /* hashes of the functions above, each in its place or a later one; 0: none */

static void note_path(long number) {
  void *above[PATH_DEPTH];
  uint64_t hash = 14695981039346656037u;
  FILE *to = paths_file;
  paths_file = NULL; /* what this allocates is not noted */
  for (int i = 0, n = backtrace(above, PATH_DEPTH); i < n; i++)
    hash = (hash ^ (uintptr_t)above[i]) * 1099511628211u;
  uint64_t *at = &paths[hash % PATHS_MAX];
  while (*at && *at != hash) at = at == &paths[PATHS_MAX - 1] ? paths : at + 1;
  if (!*at) fprintf(to, "%ld\n", number);
  *at = hash;
  paths_file = to;
}

/* ---- failing ---- */

static int starves(void) {
  long number = atomic_fetch_add(&allocations, 1) + 1;
  if (paths_file) note_path(number);
  if (number < first || number > last) return 0;
  errno = ENOMEM;
  return 1;
}

#define WRAP(type, name, parameters, arguments) \
  type __real_##name parameters; \
  type __wrap_##name parameters; \
  type __wrap_##name parameters { return starves() ? NULL : __real_##name arguments; }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *old, size_t size), (old, size))
WRAP(void *, reallocarray, (void *old, size_t count, size_t size), (old, count, size))
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(FILE *, open_memstream, (char **text, size_t *size), (text, size))

static __attribute__((constructor)) void prepare(void) {
  json_set_alloc_funcs(__wrap_malloc, free);
  const char *plan = getenv("TAPEHEAD_STARVE"), *path = getenv("TAPEHEAD_STARVE_PATHS");
  if (path) paths_file = fopen(path, "w");
  if (!plan) return;
  first = strtol(plan, NULL, 10);
  last = strstr(plan, ":on") ? __LONG_MAX__ : first;
}

static __attribute__((destructor)) void end(void) {
  if (paths_file) fclose(paths_file);
}
