/* A crew of threads that share the indices of one loop at a time.
 *
 * A round is offered, never imposed: the caller opens it, works on it, closes it when no index is left,
 * and waits only for the workers that joined. One that wakes too late finds the round closed and goes
 * back to wait. So a slow or sleeping worker delays nobody, and none can carry an old round's task into
 * the next round. */
#include "tapehead/tensor.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How long to look for work before sleeping. Ops follow each other within microseconds, and waking a
 * sleeper costs tens of them. */
#define SPIN_NANOSECONDS 100000
#define SPINS_PER_LOOK_AT_THE_CLOCK 32

#define CACHE_LINE 64

/* The state of a pool in one word: the number of the round, whether it may be joined, how many workers
 * are in it. */
#define ROUND_STEP ((uint64_t)1 << 32)
#define OPEN ((uint64_t)1 << 31)
#define JOINED (OPEN - 1)

/* Neighbouring indices, an equal part of a round's, that one thread is the first to take. Ops mostly go by rows, and so a thread
 * finds in its cache what it wrote itself an op ago. When a thread is through with its own it takes from others'. */
typedef struct share {
  alignas(CACHE_LINE) _Atomic int64_t next; /* the first index not handed out */
  int64_t end;
} share;

struct th_pool {
  int threads; /* the caller's among them */
  int started; /* workers that run */
  bool may_spin;
  pthread_t *workers;
  atomic_int numbered; /* workers that have their number */
  share *shares;       /* of the caller and of each worker */

  /* The round. Written while it is closed and nobody is in it; read by those who joined. */
  th_task *task;
  void *context;

  alignas(CACHE_LINE) _Atomic uint64_t state;
  alignas(CACHE_LINE) atomic_bool busy; /* a round is running: another one inside it runs serially */
  atomic_bool stop;
  atomic_bool caller_sleeps;
  atomic_int sleepers; /* workers that sleep or are about to; changed under `lock` */
  pthread_mutex_t lock;
  pthread_cond_t offered, left;
};

/* ---- waiting ---- */

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

typedef bool condition(th_pool *pool, uint64_t seen);

/* True as soon as the condition holds; false if it did not for the time that is worth a spin. */
static bool spin_until(th_pool *pool, condition *holds, uint64_t seen) {
  if (holds(pool, seen)) return true;
  if (!pool->may_spin) return false;
  int64_t end = nanoseconds() + SPIN_NANOSECONDS;
  do {
    for (int i = 0; i < SPINS_PER_LOOK_AT_THE_CLOCK; i++) {
      if (holds(pool, seen)) return true;
      pause_briefly();
    }
  } while (nanoseconds() < end);
  return false;
}

/* ---- the workers ---- */

static bool is_new(uint64_t state, uint64_t seen) { return (state & OPEN) && state / ROUND_STEP != seen; }

static bool worker_is_wanted(th_pool *pool, uint64_t seen) {
  return is_new(atomic_load(&pool->state), seen) || atomic_load(&pool->stop);
}

/* The sleeper counts itself before it looks; the caller opens the round before it counts sleepers. All
 * four are sequentially consistent, so one of the two sees the other. */
static void sleep_until_wanted(th_pool *pool, uint64_t seen) {
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->sleepers, 1);
  while (!worker_is_wanted(pool, seen)) pthread_cond_wait(&pool->offered, &pool->lock);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->lock);
}

/* Enters a round other than the one seen; false if none is open. */
static bool join_round(th_pool *pool, uint64_t *seen) {
  uint64_t state = atomic_load(&pool->state);
  while (is_new(state, *seen))
    if (atomic_compare_exchange_weak(&pool->state, &state, state + 1)) {
      *seen = state / ROUND_STEP;
      return true;
    }
  return false;
}

static bool is_empty(th_pool *pool, uint64_t unused) {
  (void)unused;
  return !(atomic_load(&pool->state) & (OPEN | JOINED));
}

/* The last one out wakes a caller who went to sleep; the same bargain as between caller and sleeper. */
static void leave_round(th_pool *pool) {
  atomic_fetch_sub(&pool->state, 1);
  if (!atomic_load(&pool->caller_sleeps)) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_signal(&pool->left);
  pthread_mutex_unlock(&pool->lock);
}

static void work_on(const th_pool *pool, share *of) {
  while (atomic_load_explicit(&of->next, memory_order_relaxed) < of->end) {
    int64_t index = atomic_fetch_add_explicit(&of->next, 1, memory_order_relaxed);
    if (index < of->end) pool->task(pool->context, index);
  }
}

static void work(th_pool *pool, int thread) {
  for (int i = thread; i < pool->threads; i++) work_on(pool, &pool->shares[i]);
  for (int i = 0; i < thread; i++) work_on(pool, &pool->shares[i]);
}

static void *worker_main(void *argument) {
  th_pool *pool = argument;
  int number = 1 + atomic_fetch_add(&pool->numbered, 1); /* the caller's is 0 */
  uint64_t seen = 0;                                     /* the rounds count from 1 */
  while (!atomic_load(&pool->stop)) {
    if (join_round(pool, &seen)) {
      work(pool, number);
      leave_round(pool);
    } else if (!spin_until(pool, worker_is_wanted, seen)) {
      sleep_until_wanted(pool, seen);
    }
  }
  return NULL;
}

/* ---- the caller ---- */

static void open_round(th_pool *pool, int64_t count, th_task *task, void *context) {
  pool->task = task;
  pool->context = context;
  int64_t begin = 0, threads = pool->threads;
  for (int64_t i = 0; i < threads; i++) { /* what does not come out even is the caller's, who is first */
    atomic_store_explicit(&pool->shares[i].next, begin, memory_order_relaxed);
    pool->shares[i].end = begin = (count * (i + 1) + threads - 1) / threads;
  }
  uint64_t state = atomic_load(&pool->state);
  atomic_store(&pool->state, state + ROUND_STEP + OPEN);
  int asleep = atomic_load(&pool->sleepers);
  if (!asleep) return;
  pthread_mutex_lock(&pool->lock);
  if (count > asleep) pthread_cond_broadcast(&pool->offered);
  else
    for (int64_t i = 1; i < count; i++) pthread_cond_signal(&pool->offered);
  pthread_mutex_unlock(&pool->lock);
}

static void close_round(th_pool *pool) {
  atomic_fetch_and(&pool->state, ~OPEN);
  if (spin_until(pool, is_empty, 0)) return;
  pthread_mutex_lock(&pool->lock);
  /* A store would do, and does on a processor, but qemu's arm64 lets the load behind it pass. */
  atomic_exchange(&pool->caller_sleeps, true);
  while (!is_empty(pool, 0)) pthread_cond_wait(&pool->left, &pool->lock);
  atomic_store(&pool->caller_sleeps, false);
  pthread_mutex_unlock(&pool->lock);
}

/* A pool that is busy (the call comes from one of its own tasks, or a second thread uses it) does not
 * make the call wait: it runs here, serially. Allocates nothing, cannot fail. */
void th_parallel(th_pool *pool, int64_t count, th_task *task, void *context) {
  if (count < 2 || !pool || pool->started == 0 || atomic_exchange(&pool->busy, true)) {
    for (int64_t i = 0; i < count; i++) task(context, i);
    return;
  }
  open_round(pool, count, task, context);
  work(pool, 0);
  close_round(pool);
  atomic_store(&pool->busy, false);
}

/* ---- making and freeing ---- */

/* The processors this process may run on, which in a container can be fewer than the machine has. */
static int processors(void) {
#if defined(__linux__) && defined(CPU_COUNT)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

/* Signals are for the program's own threads: the workers take none. */
static void start_workers(th_pool *pool) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (pool->started < pool->threads - 1 &&
         pthread_create(&pool->workers[pool->started], NULL, worker_main, pool) == 0)
    pool->started++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static th_pool *pool_alloc(int threads) {
  th_pool *pool = aligned_alloc(CACHE_LINE, sizeof *pool); /* a multiple of CACHE_LINE, being so aligned */
  if (!pool) return NULL;
  *pool = (th_pool){.threads = threads,
                    .workers = calloc((size_t)threads, sizeof(pthread_t)),
                    .shares = aligned_alloc(CACHE_LINE, (size_t)threads * sizeof(share))};
  if (pool->workers && pool->shares) return pool;
  free(pool->workers), free(pool->shares), free(pool);
  return NULL;
}

th_pool *th_pool_new(int threads) {
  int here = processors();
  th_pool *pool = pool_alloc(threads < 1 ? here : threads);
  if (!pool) return NULL;
  pool->may_spin = pool->threads <= here; /* else a spinning thread keeps a working one waiting */
  pthread_mutex_init(&pool->lock, NULL);  /* on Linux these three cannot fail */
  pthread_cond_init(&pool->offered, NULL);
  pthread_cond_init(&pool->left, NULL);
  start_workers(pool);
  if (pool->started == pool->threads - 1) return pool;
  th_pool_free(pool);
  return NULL;
}

void th_pool_free(th_pool *pool) {
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  atomic_store(&pool->stop, true);
  pthread_cond_broadcast(&pool->offered);
  pthread_mutex_unlock(&pool->lock);
  for (int i = 0; i < pool->started; i++) pthread_join(pool->workers[i], NULL);
  pthread_cond_destroy(&pool->left);
  pthread_cond_destroy(&pool->offered);
  pthread_mutex_destroy(&pool->lock);
  free(pool->workers);
  free(pool->shares);
  free(pool);
}

int th_pool_threads(const th_pool *pool) { return pool ? pool->threads : 1; }
