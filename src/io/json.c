/* JSON through jansson, which is watched for allocations that fail: 2.14 goes on after some of them with a part of a text, and
 * after others its parser ends the process by an assertion. */
#include "private.h"

#include <stdint.h>
#include <stdlib.h>

#define ALIGNED(size) (((size) + 15) & ~(size_t)15)

/* Of this thread: whether an allocation of jansson's failed, and what it got instead while it parses. */
static _Thread_local struct {
  bool starved;
  char *reserve;
  size_t size, used;
} watch;

static void *watched_malloc(size_t size) {
  void *memory = malloc(size);
  if (memory) return memory;
  watch.starved = true;
  if (ALIGNED(size) < size || ALIGNED(size) > watch.size - watch.used) return NULL;
  watch.used += ALIGNED(size);
  return watch.reserve + watch.used - ALIGNED(size);
}

static void watched_free(void *memory) {
  if (watch.reserve && (uintptr_t)memory - (uintptr_t)watch.reserve < watch.size) return;
  free(memory);
}

/* In the place of malloc and free alone: a program that gave jansson other allocators keeps them. */
static void begin_watch(char *reserve, size_t size) {
  json_malloc_t give;
  json_free_t take;
  json_get_alloc_funcs(&give, &take);
  if (give == malloc && take == free) json_set_alloc_funcs(watched_malloc, watched_free);
  watch.starved = false, watch.reserve = reserve, watch.size = size, watch.used = 0;
}

/* Frees the reserve, of which nothing may be in use. */
static void end_watch(void) {
  free(watch.reserve);
  watch.reserve = NULL, watch.size = watch.used = 0;
}

char *th_json_dump(const json_t *value, size_t flags) {
  begin_watch(NULL, 0);
  char *text = json_dumps(value, flags);
  if (!watch.starved) return text;
  free(text);
  return NULL;
}

th_status th_json_parse(json_t **value, const char *bytes, size_t size, const char *path, const char *what,
                        th_error *error) {
  json_error_t problem;
  char quoted[TH_QUOTED];
  size_t room = ALIGNED(4 * size + 4096); /* for the largest thing a text makes, which doubles as it grows */
  char *reserve = malloc(room);
  *value = NULL;
  if (!reserve) return th_io_no_memory(error, path);
  begin_watch(reserve, room);
  *value = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
  bool no_memory = watch.starved || (!*value && json_error_code(&problem) == json_error_out_of_memory);
  if (no_memory) {
    json_decref(*value);
    *value = NULL;
  }
  end_watch();
  if (no_memory) return th_io_no_memory(error, path);
  if (*value) return TH_OK;
  return th_error_set(error, TH_EFORMAT, "%s: %s: JSON at line %d, column %d: %s", path, what, problem.line,
                      problem.column, th_io_quoted(quoted, problem.text));
}
