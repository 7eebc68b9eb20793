/* The arena: memory that is given back all at once. */
#include "tapehead/tensor.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif

/* Under AddressSanitizer what is not handed out is poisoned, so that a use after reset is caught, and
 * a line is left between neighbours, so that a write past the end is. */
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define POISON(from, bytes) __asan_poison_memory_region(from, bytes)
#define UNPOISON(from, bytes) __asan_unpoison_memory_region(from, bytes)
#define GAP_BYTES 64
#else
#define POISON(from, bytes) ((void)(from), (void)(bytes))
#define UNPOISON(from, bytes) ((void)(from), (void)(bytes))
#define GAP_BYTES 0
#endif

#define ALIGNMENT 64                     /* a cache line, and the widest vector register */
#define SMALLEST_BLOCK ((size_t)1 << 20) /* small enough for a toy, large enough to be rarely joined */
#define LARGEST_REQUEST (SIZE_MAX / 4)   /* so that no sum below can wrap around */

typedef struct block {
  struct block *next; /* the block that was made before this one */
  char *data;
  size_t capacity;
  size_t filled; /* bytes taken from the front, gaps and all; a multiple of ALIGNMENT */
  size_t marked; /* what was filled at the mark */
  size_t peak;   /* the most that was filled before a rewind */
} block;

/* What was given back before the rest stands in its own first bytes. */
typedef struct piece {
  struct piece *next;
  size_t bytes; /* a multiple of ALIGNMENT */
} piece;

struct th_arena {
  block *newest;       /* and the largest, since blocks double; NULL until the first allocation */
  block *current;      /* where the last allocation came from: the first place to look */
  size_t used, marked; /* now, and at the mark */
  piece *pieces;       /* by address; no two touch */
};

static size_t round_up(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

static block *block_new(size_t capacity) {
  block *made = malloc(sizeof *made);
  if (!made) return NULL;
  *made = (block){.data = aligned_alloc(ALIGNMENT, capacity), .capacity = capacity};
  if (!made->data) {
    free(made);
    return NULL;
  }
  POISON(made->data, capacity);
  return made;
}

static void blocks_free(block *first) {
  while (first) {
    block *next = first->next;
    UNPOISON(first->data, first->capacity);
    free(first->data);
    free(first);
    first = next;
  }
}

th_arena *th_arena_new(void) { return calloc(1, sizeof(th_arena)); }

void th_arena_free(th_arena *arena) {
  if (!arena) return;
  blocks_free(arena->newest);
  free(arena);
}

static bool has_room(const block *in, size_t bytes) { return in && bytes <= in->capacity - in->filled; }

/* A new block of twice the newest or, if there is no memory for that, of just what is needed. */
static block *grow(th_arena *arena, size_t bytes) {
  size_t twice = arena->newest ? 2 * arena->newest->capacity : SMALLEST_BLOCK;
  size_t needed = round_up(bytes, SMALLEST_BLOCK);
  block *made = NULL;
  if (twice > needed && twice < LARGEST_REQUEST) made = block_new(twice);
  if (!made) made = block_new(needed);
  if (!made) return NULL;
  made->next = arena->newest;
  return arena->newest = made;
}

/* A block with room: the current one, another one that a failed join left behind, or a new one. */
static block *find_room(th_arena *arena, size_t bytes) {
  if (has_room(arena->current, bytes)) return arena->current;
  for (block *each = arena->newest; each; each = each->next)
    if (has_room(each, bytes)) return each;
  return grow(arena, bytes);
}

/* From the end of the smallest piece that is large enough: what is left of it stays where it stands. */
static void *from_pieces(th_arena *arena, size_t lines) {
  piece **best = NULL;
  for (piece **at = &arena->pieces; *at; at = &(*at)->next)
    if ((*at)->bytes >= lines && (!best || (*at)->bytes < (*best)->bytes)) best = at;
  if (!best) return NULL;
  piece *found = *best;
  found->bytes -= lines;
  if (!found->bytes) *best = found->next;
  return (char *)found + found->bytes;
}

void th_arena_give_back(th_arena *arena, void *memory, size_t bytes) {
  size_t lines = round_up(bytes, ALIGNMENT);
  piece **at = &arena->pieces, *before = NULL, *given = memory;
  for (; *at && *at < given; at = &(*at)->next) before = *at;
  POISON(memory, lines);
  UNPOISON(memory, sizeof *given);
  *given = (piece){*at, lines};
  *at = given;
  if (given->next && (char *)given + given->bytes == (char *)given->next)
    *given = (piece){given->next->next, given->bytes + given->next->bytes};
  if (before && (char *)before + before->bytes == (char *)given)
    *before = (piece){given->next, before->bytes + given->bytes};
}

/* No bytes still give an address of their own. On failure the arena is as it was. */
void *th_arena_alloc(th_arena *arena, size_t bytes) {
  if (bytes > LARGEST_REQUEST) return NULL;
  size_t lines = round_up(bytes ? bytes : 1, ALIGNMENT);
  void *again = bytes >= TH_ARENA_PIECE ? from_pieces(arena, lines) : NULL;
  if (again) {
    UNPOISON(again, bytes);
    return again;
  }
  block *from = find_room(arena, lines + GAP_BYTES);
  if (!from) return NULL;
  void *memory = from->data + from->filled;
  UNPOISON(memory, bytes);
  from->filled += lines + GAP_BYTES;
  arena->current = from;
  arena->used += lines;
  return memory;
}

/* Puts one block in the place of several. It is a little larger than what was used, so that a next
 * round that is a little larger does not grow again. Without memory for it the several stay, and
 * serve as well; the next reset tries again. */
static void join(th_arena *arena) {
  size_t filled = 0;
  for (const block *each = arena->newest; each; each = each->next)
    filled += each->peak > each->filled ? each->peak : each->filled;
  block *joined = block_new(round_up(filled + filled / 8, SMALLEST_BLOCK));
  if (!joined) return;
  blocks_free(arena->newest);
  arena->newest = joined;
}

void th_arena_mark(th_arena *arena) {
  for (block *each = arena->newest; each; each = each->next) each->marked = each->filled;
  arena->marked = arena->used;
}

/* A block made after the mark has 0 marked, and so is empty again. */
void th_arena_rewind(th_arena *arena) {
  for (block *each = arena->newest; each; each = each->next) {
    POISON(each->data + each->marked, each->capacity - each->marked);
    if (each->filled > each->peak) each->peak = each->filled;
    each->filled = each->marked;
  }
  arena->current = arena->newest;
  arena->used = arena->marked;
  arena->pieces = NULL;
}

/* Never fails. */
void th_arena_reset(th_arena *arena) {
  if (arena->newest && arena->newest->next) join(arena);
  for (block *each = arena->newest; each; each = each->next) each->marked = 0;
  arena->marked = 0;
  th_arena_rewind(arena);
}

/* Counted in whole lines of 64 bytes; what is handed out again is counted once. */
size_t th_arena_used(const th_arena *arena) { return arena->used; }
