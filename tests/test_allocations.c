/* A training step, once warm, asks the heap for nothing. */
#include "engine_training.h"

#include <stdatomic.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

TestSuite(allocations);

#ifdef SANITIZED
Test(allocations, a_warm_training_step_makes_none) { cr_skip("the sanitizer brings its own malloc"); }
#else

#include <dlfcn.h>
#include <errno.h>

/* Every allocation passes through here: malloc and its kin call glibc's __libc_ functions, and these
 * stand before glibc's. The first set is weak because another file of this program has its own malloc,
 * which also calls the second. */
static atomic_long allocations;

#define WEAK __attribute__((weak))
#define FORWARD(name, type, parameters, arguments) \
  type name parameters; \
  type name parameters { \
    static type(*real) parameters; \
    atomic_fetch_add(&allocations, 1); \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name); \
    return real arguments; \
  }
FORWARD(__libc_malloc, void *, (size_t size), (size))
FORWARD(__libc_calloc, void *, (size_t count, size_t size), (count, size))
FORWARD(__libc_realloc, void *, (void *old, size_t size), (old, size))
FORWARD(__libc_memalign, void *, (size_t alignment, size_t size), (alignment, size))

WEAK void *malloc(size_t size) { return __libc_malloc(size); }
WEAK void *calloc(size_t count, size_t size) { return __libc_calloc(count, size); }
WEAK void *realloc(void *old, size_t size) { return __libc_realloc(old, size); }
WEAK void *aligned_alloc(size_t alignment, size_t size) { return __libc_memalign(alignment, size); }
WEAK int posix_memalign(void **made, size_t alignment, size_t size) {
  *made = __libc_memalign(alignment, size);
  return *made ? 0 : ENOMEM;
}

Test(allocations, the_counter_counts_each_kind) {
  void *volatile kept[5];
  void *aligned = NULL;
  long before = atomic_load(&allocations);
  kept[0] = malloc(10);
  kept[1] = calloc(2, 10);
  kept[2] = realloc(NULL, 30);
  kept[3] = aligned_alloc(64, 128);
  cr_assert(posix_memalign(&aligned, 64, 100) == 0);
  kept[4] = aligned;
  cr_expect(atomic_load(&allocations) - before == 5, "counted %ld", atomic_load(&allocations) - before);
  for (int i = 0; i < 5; i++) free(kept[i]);
}

static long allocations_of_step(trainer *t) {
  long before = atomic_load(&allocations);
  trainer_step(t);
  return atomic_load(&allocations) - before;
}

static void expect_none_once_warm(const trainer_config *config, int threads) {
  trainer t = trainer_open(config, threads);
  cr_expect(allocations_of_step(&t) > 0, "the first step takes its memory");
  for (int step = 2; step <= 10; step++) {
    long count = allocations_of_step(&t);
    cr_expect(count == 0, "step %d with %d threads: %ld allocations", step, threads, count);
  }
  cr_expect(th_tape_error(t.tape) == NULL);
  trainer_close(&t);
}

static const trainer_config small = {.width = 64, .batch = 16, .length = 12, .dropout = 0.1, .seed = 4};
static const trainer_config large = {.width = 256, .batch = 32, .length = 12, .dropout = 0.1, .seed = 4};

Test(allocations, a_warm_training_step_makes_none) { expect_none_once_warm(&small, 0); }
Test(allocations, a_warm_training_step_with_a_pool_makes_none) { expect_none_once_warm(&small, 2); }
Test(allocations, a_warm_training_step_cut_into_pieces_makes_none) { expect_none_once_warm(&large, 2); }

Test(allocations, a_shorter_batch_after_a_longer_makes_none) {
  trainer t = trainer_open(&small, 2);
  trainer_step(&t);
  trainer_step(&t);
  t.source.shape[0] = t.begin.shape[0] = t.wanted.shape[0] = 5;
  for (int step = 0; step < 3; step++) cr_expect(allocations_of_step(&t) == 0);
  trainer_close(&t);
}

#endif
