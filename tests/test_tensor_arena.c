/* The arena: what it hands out, and what it keeps after a reset. */
#include "tapehead/tensor.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif

#define MIB ((size_t)1 << 20)

Test(arena, hands_out_aligned_memory_that_does_not_overlap) {
  th_arena *arena = th_arena_new();
  unsigned char *pieces[200];
  for (size_t i = 0; i < 200; i++) {
    pieces[i] = th_arena_alloc(arena, i * 97);
    cr_assert(pieces[i] != NULL && (uintptr_t)pieces[i] % 64 == 0);
    memset(pieces[i], (int)i, i * 97);
  }
  for (size_t i = 0; i < 200; i++)
    for (size_t k = 0; k < i * 97; k++) cr_assert(pieces[i][k] == i);
  th_arena_free(arena);
}

Test(arena, no_bytes_still_have_an_address_of_their_own) {
  th_arena *arena = th_arena_new();
  void *first = th_arena_alloc(arena, 0), *second = th_arena_alloc(arena, 0);
  cr_expect(first && second && first != second);
  th_arena_free(arena);
}

Test(arena, used_counts_lines_of_64_bytes_since_the_last_reset) {
  th_arena *arena = th_arena_new();
  cr_expect(th_arena_used(arena) == 0);
  th_arena_alloc(arena, 1);
  cr_expect(th_arena_used(arena) == 64);
  th_arena_alloc(arena, 128);
  cr_expect(th_arena_used(arena) == 192);
  th_arena_alloc(arena, 3 * MIB);
  cr_expect(th_arena_used(arena) == 192 + 3 * MIB);
  th_arena_reset(arena);
  cr_expect(th_arena_used(arena) == 0);
  th_arena_free(arena);
}

Test(arena, what_is_given_back_serves_the_next_requests_before_new_memory) {
  th_arena *arena = th_arena_new();
  unsigned char *a = th_arena_alloc(arena, 8192), *b = th_arena_alloc(arena, 8192),
                *c = th_arena_alloc(arena, 20000);
  size_t used = th_arena_used(arena);
  memset(b, 7, 8192);
  th_arena_give_back(arena, c, 20000);
  th_arena_give_back(arena, a, 8192);
  cr_expect(th_arena_alloc(arena, 8192) == a, "the piece that fits best");
  unsigned char *part = th_arena_alloc(arena, 5000), *other = th_arena_alloc(arena, 12000);
  cr_expect(part >= c && part + 5000 <= c + 20032 && other >= c && other + 12000 <= c + 20032);
  cr_expect(part + 5000 <= other || other + 12000 <= part, "two of one piece do not overlap");
  cr_expect(th_arena_used(arena) == used);
  memset(part, 1, 5000), memset(other, 2, 12000), memset(a, 3, 8192);
  for (int i = 0; i < 8192; i++) cr_assert(b[i] == 7);
  cr_expect((uintptr_t)part % 64 == 0 && (uintptr_t)other % 64 == 0);
  cr_expect(th_arena_alloc(arena, 20000) != NULL && th_arena_used(arena) > used, "too little is left");
  th_arena_free(arena);
}

Test(arena, neighbours_that_are_given_back_are_one_piece) {
  th_arena *arena = th_arena_new();
  char *piece[5];
  for (int i = 0; i < 5; i++) piece[i] = th_arena_alloc(arena, 4096);
  if (piece[1] == piece[0] + 4096) { /* not with a line between neighbours */
    const int order[] = {1, 3, 2};
    for (int i = 0; i < 3; i++) th_arena_give_back(arena, piece[order[i]], 4096);
    size_t used = th_arena_used(arena);
    cr_expect(th_arena_alloc(arena, 3 * 4096) == piece[1] && th_arena_used(arena) == used);
  }
  th_arena_free(arena);
}

Test(arena, a_rewind_forgets_what_was_given_back) {
  th_arena *arena = th_arena_new();
  th_arena_mark(arena);
  char *first = th_arena_alloc(arena, 8192);
  th_arena_give_back(arena, first, 8192);
  th_arena_rewind(arena);
  char *one = th_arena_alloc(arena, 8192), *two = th_arena_alloc(arena, 8192);
  memset(one, 1, 8192), memset(two, 2, 8192);
  cr_expect(one[0] == 1 && one[8191] == 1, "handed out once");
  th_arena_free(arena);
}

Test(arena, a_request_no_machine_can_serve_gives_null_and_changes_nothing) {
  th_arena *arena = th_arena_new();
  th_arena_alloc(arena, 100);
  cr_expect(th_arena_alloc(arena, SIZE_MAX) == NULL);
  cr_expect(th_arena_alloc(arena, SIZE_MAX - 63) == NULL);
  cr_expect(th_arena_used(arena) == 128);
  cr_expect(th_arena_alloc(arena, 100) != NULL);
  th_arena_free(arena);
}

Test(arena, freeing_null_does_nothing) { th_arena_free(NULL); }

static void fill_mebibytes(th_arena *arena, int count) {
  for (int i = 0; i < count; i++) {
    char *piece = th_arena_alloc(arena, MIB);
    cr_assert(piece != NULL);
    memset(piece, i, MIB);
  }
}

Test(arena, reset_joins_blocks_so_that_all_fits_side_by_side) {
  th_arena *arena = th_arena_new();
  fill_mebibytes(arena, 20);
  th_arena_reset(arena);
  char *first = th_arena_alloc(arena, MIB), *last = first;
  for (int i = 1; i < 20; i++) {
    char *next = th_arena_alloc(arena, MIB);
    cr_expect(next > last && (size_t)(next - last) <= MIB + 64);
    last = next;
  }
  th_arena_reset(arena);
  cr_expect(th_arena_alloc(arena, MIB) == first, "the joined block stays");
  th_arena_free(arena);
}

#if !defined(ADDRESS_SANITIZER) && !defined(THREAD_SANITIZER)

/* Bytes taken from the heap by this process; blocks of a mebibyte are mapped rather than on the heap. */
static size_t heap_bytes(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

Test(arena, a_round_of_a_size_once_seen_allocates_nothing) {
  th_arena *arena = th_arena_new();
  fill_mebibytes(arena, 20);
  th_arena_reset(arena);
  size_t before = heap_bytes();
  for (int round = 0; round < 5; round++) {
    fill_mebibytes(arena, 20);
    cr_expect(heap_bytes() == before);
    th_arena_reset(arena);
    cr_expect(heap_bytes() == before);
  }
  th_arena_free(arena);
}

static void forbid_more_memory(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = 4096;
  cr_assert(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void allow_memory(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_AS, &limit);
}

Test(arena, rewinding_counts_too_in_a_round_of_a_size_once_seen) {
  th_arena *arena = th_arena_new();
  void *first = NULL;
  for (int round = 0; round < 3; round++) {
    th_arena_reset(arena);
    void *before = th_arena_alloc(arena, 64);
    th_arena_mark(arena);
    for (int i = 0; i < 4; i++) {
      cr_assert(th_arena_alloc(arena, 5 << 20));
      th_arena_rewind(arena);
    }
    cr_assert_eq(th_arena_used(arena), 64);
    if (round == 1) first = before;
    if (round == 2) cr_assert_eq(before, first, "the joined block should have served");
  }
  th_arena_free(arena);
}

Test(arena, without_memory_to_join_reset_keeps_the_blocks_and_all_still_fits) {
  th_arena *arena = th_arena_new();
  fill_mebibytes(arena, 20);
  forbid_more_memory();
  th_arena_reset(arena);
  size_t used = th_arena_used(arena);
  int served = 0;
  while (served < 100 && th_arena_alloc(arena, MIB)) served++;
  allow_memory();
  cr_expect(used == 0);
  cr_expect(served >= 20 && served < 100, "served %d", served);
  th_arena_reset(arena);
  fill_mebibytes(arena, 40);
  th_arena_free(arena);
}

Test(arena, an_allocation_without_memory_gives_null_and_a_later_one_succeeds) {
  th_arena *arena = th_arena_new();
  th_arena_alloc(arena, 100);
  forbid_more_memory();
  void *refused = th_arena_alloc(arena, 64 * MIB);
  size_t used = th_arena_used(arena);
  allow_memory();
  cr_expect(refused == NULL);
  cr_expect(used == 128);
  cr_expect(th_arena_alloc(arena, 64 * MIB) != NULL);
  th_arena_free(arena);
}

#endif

#ifdef ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>

Test(arena, memory_given_back_is_poisoned) {
  th_arena *arena = th_arena_new();
  char *piece = th_arena_alloc(arena, 100);
  cr_expect(!__asan_address_is_poisoned(piece) && !__asan_address_is_poisoned(piece + 99));
  cr_expect(__asan_address_is_poisoned(piece + 104), "what lies past the end");
  th_arena_reset(arena);
  cr_expect(__asan_address_is_poisoned(piece), "what a reset took back");
  cr_expect(th_arena_alloc(arena, 100) == piece);
  cr_expect(!__asan_address_is_poisoned(piece));
  th_arena_free(arena);
}

#endif
