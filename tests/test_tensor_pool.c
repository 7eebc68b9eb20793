/* The pool: every index once, for any crew, from anywhere. */
#include "tapehead/tensor.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* A deadlock ends the test's process. (Criterion's own .timeout leaks under LeakSanitizer.) */
static void do_not_hang(void) { alarm(120); }

TestSuite(pool, .init = do_not_hang);

#define MOST 1000

typedef struct tally {
  atomic_int times[MOST];
  th_pool *pool;
  int64_t inner;
} tally;

static void count_index(void *context, int64_t index) {
  atomic_fetch_add(&((tally *)context)->times[index], 1);
}

static void expect_each(const tally *counts, int64_t count, int times) {
  for (int64_t i = 0; i < MOST; i++)
    cr_assert(atomic_load(&counts->times[i]) == (i < count ? times : 0), "index %ld ran %d times", (long)i,
              atomic_load(&counts->times[i]));
}

static void expect_once(th_pool *pool, int64_t count) {
  tally counts = {.pool = pool};
  th_parallel(pool, count, count_index, &counts);
  expect_each(&counts, count, 1);
}

static const int crews[] = {1, 2, 3, 8};
#define CREWS (sizeof crews / sizeof *crews)

Test(pool, runs_each_index_once_for_any_number_of_threads) {
  const int64_t counts[] = {0, 1, 2, 3, 7, 8, 9, 100, MOST};
  for (size_t c = 0; c < CREWS; c++) {
    th_pool *pool = th_pool_new(crews[c]);
    cr_assert(pool != NULL && th_pool_threads(pool) == crews[c]);
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) expect_once(pool, counts[n]);
    th_pool_free(pool);
  }
}

Test(pool, null_stands_for_the_caller_alone) {
  cr_expect(th_pool_threads(NULL) == 1);
  expect_once(NULL, 100);
  th_pool_free(NULL);
}

Test(pool, fewer_than_one_thread_means_one_per_processor) {
  th_pool *pool = th_pool_new(0);
  cr_assert(pool != NULL);
  cr_expect(th_pool_threads(pool) >= 1);
  expect_once(pool, 100);
  th_pool_free(pool);
}

Test(pool, a_negative_count_runs_nothing) {
  th_pool *pool = th_pool_new(2);
  expect_once(pool, -5);
  th_pool_free(pool);
}

/* Returns only when all tasks of the round have begun, so each must be on a thread of its own. */
typedef struct meeting {
  atomic_int arrived;
  int expected;
  int64_t sums[8]; /* plain memory: what the workers write, the caller must see */
} meeting;

static void meet(void *context, int64_t index) {
  meeting *here = context;
  atomic_fetch_add(&here->arrived, 1);
  while (atomic_load(&here->arrived) < here->expected) sched_yield();
  here->sums[index] += index + 1;
}

Test(pool, as_many_tasks_as_threads_run_at_the_same_time) {
  for (size_t c = 0; c < CREWS; c++) {
    th_pool *pool = th_pool_new(crews[c]);
    meeting here = {.expected = crews[c]};
    for (int round = 1; round <= 2000; round++) {
      atomic_store(&here.arrived, 0);
      th_parallel(pool, crews[c], meet, &here);
      for (int i = 0; i < crews[c]; i++) cr_assert(here.sums[i] == (int64_t)round * (i + 1));
    }
    th_pool_free(pool);
  }
}

/* ---- nesting ---- */

static void count_all_inside(void *context, int64_t index) {
  (void)index;
  tally *counts = context;
  th_parallel(counts->pool, counts->inner, count_index, counts);
}

Test(pool, a_call_from_within_a_task_runs_and_does_not_deadlock) {
  for (size_t c = 0; c < CREWS; c++) {
    th_pool *pool = th_pool_new(crews[c]);
    tally counts = {.pool = pool, .inner = 50};
    th_parallel(pool, 30, count_all_inside, &counts);
    expect_each(&counts, 50, 30);
    expect_once(pool, 100);
    th_pool_free(pool);
  }
}

Test(pool, a_task_may_use_another_pool) {
  th_pool *outer = th_pool_new(3), *inner = th_pool_new(2);
  tally counts = {.pool = inner, .inner = 50};
  th_parallel(outer, 30, count_all_inside, &counts);
  expect_each(&counts, 50, 30);
  th_pool_free(outer);
  th_pool_free(inner);
}

/* ---- many rounds ---- */

#define ROUNDS 20000

static void add_index(void *context, int64_t index) { ((int64_t *)context)[index] += index + 1; }

/* The results are plain memory, written by the workers and read by the caller between rounds. */
static void run_tiny_rounds(th_pool *pool, int rounds) {
  int64_t sums[5] = {0};
  int64_t want[5] = {0};
  for (int64_t round = 1; round <= rounds; round++) {
    int64_t count = 1 + round % 5;
    th_parallel(pool, count, add_index, sums);
    for (int64_t i = 0; i < count; i++) want[i] += i + 1;
    for (int64_t i = 0; i < 5; i++) cr_assert(sums[i] == want[i], "round %ld", (long)round);
  }
}

Test(pool, many_tiny_rounds_lose_nothing) {
  for (size_t c = 0; c < CREWS; c++) {
    th_pool *pool = th_pool_new(crews[c]);
    run_tiny_rounds(pool, ROUNDS);
    th_pool_free(pool);
  }
}

static void nap(int64_t nanoseconds) { nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL); }

static void nap_and_add(void *context, int64_t index) {
  if (index == 1) nap(200000);
  add_index(context, index);
}

Test(pool, workers_wake_from_sleep_and_the_caller_waits_for_the_slow) {
  th_pool *pool = th_pool_new(2);
  int64_t sums[4] = {0};
  for (int round = 0; round < 500; round++) {
    nap(100000); /* longer than the workers spin */
    th_parallel(pool, 4, nap_and_add, sums);
  }
  for (int i = 0; i < 4; i++) cr_expect(sums[i] == 500 * (i + 1));
  th_pool_free(pool);
}

Test(pool, can_be_made_and_freed_again_and_again) {
  for (int i = 0; i < 300; i++) {
    th_pool *pool = th_pool_new(1 + i % 5);
    cr_assert(pool != NULL);
    if (i % 3) expect_once(pool, i % 20);
    th_pool_free(pool);
  }
}

/* ---- more than one caller ---- */

static void *tiny_rounds_in_a_pool_of_its_own(void *unused) {
  th_pool *pool = th_pool_new(3);
  run_tiny_rounds(pool, ROUNDS / 4);
  th_pool_free(pool);
  return unused;
}

Test(pool, two_threads_with_two_pools_do_not_meet) {
  pthread_t other;
  cr_assert(pthread_create(&other, NULL, tiny_rounds_in_a_pool_of_its_own, NULL) == 0);
  tiny_rounds_in_a_pool_of_its_own(NULL);
  pthread_join(other, NULL);
}

static void *tiny_rounds_in_a_shared_pool(void *pool) {
  run_tiny_rounds(pool, ROUNDS / 4);
  return NULL;
}

Test(pool, two_threads_with_one_pool_both_get_their_work_done) {
  th_pool *pool = th_pool_new(3);
  pthread_t other;
  cr_assert(pthread_create(&other, NULL, tiny_rounds_in_a_shared_pool, pool) == 0);
  tiny_rounds_in_a_shared_pool(pool);
  pthread_join(other, NULL);
  th_pool_free(pool);
}
