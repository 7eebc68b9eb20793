/* The same bits from any number of threads, and from two models at once. */
#include "engine_training.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A deadlock ends the test's process. (Criterion's own .timeout leaks under LeakSanitizer.) */
static void do_not_hang(void) { alarm(300); }

TestSuite(threads, .init = do_not_hang);

static const trainer_config small = {.width = 64, .batch = 16, .length = 12, .dropout = 0.1, .seed = 4};
/* Products large enough to be cut into pieces, and elementwise work too. */
static const trainer_config large = {.width = 256, .batch = 32, .length = 12, .dropout = 0.1, .seed = 5};

/* What a run leaves: the loss and gradients of one step, and the parameters after a few. */
typedef struct record {
  float loss[3];
  th_tensor first_grads, values; /* copies */
} record;

static void record_run(record *r, const trainer_config *config, int threads) {
  trainer t = trainer_open(config, threads);
  th_tensor grads = th_params_grads(t.model->params), values = th_params_values(t.model->params);
  cr_assert(th_tensor_new(&r->first_grads, TH_F32, 1, grads.shape, NULL) == TH_OK);
  cr_assert(th_tensor_new(&r->values, TH_F32, 1, values.shape, NULL) == TH_OK);
  trainer_gradients(&t);
  th_tensor_copy(&r->first_grads, &grads, NULL);
  th_tape_reset(t.tape);
  t.step = 0;
  for (int i = 0; i < 3; i++) r->loss[i] = trainer_step(&t);
  th_tensor_copy(&r->values, &values, NULL);
  trainer_close(&t);
}

static void record_free(record *r) {
  th_tensor_free(&r->first_grads);
  th_tensor_free(&r->values);
}

static size_t bytes_of(const th_tensor *x) { return (size_t)th_tensor_count(x) * th_dtype_size(x->dtype); }

static void expect_same_bits(const record *a, const record *b, const char *what) {
  cr_expect(a->loss[0] > 1 && a->loss[2] != a->loss[0], "a loss, and steps: %g, %g", (double)a->loss[0],
            (double)a->loss[2]);
  cr_expect(!memcmp(a->loss, b->loss, sizeof a->loss), "%s: loss %.9g, alone %.9g", what, (double)b->loss[0],
            (double)a->loss[0]);
  cr_expect(!memcmp(a->first_grads.data, b->first_grads.data, bytes_of(&a->first_grads)),
            "%s: gradients differ", what);
  cr_expect(!memcmp(a->values.data, b->values.data, bytes_of(&a->values)), "%s: parameters differ", what);
}

static void expect_same_for_any_crew(const trainer_config *config) {
  static const int crews[] = {1, 2, 3, 8};
  record alone;
  record_run(&alone, config, 0);
  for (int i = 0; i < 4; i++) {
    record crew;
    char what[32];
    snprintf(what, sizeof what, "%d threads", crews[i]);
    record_run(&crew, config, crews[i]);
    expect_same_bits(&alone, &crew, what);
    record_free(&crew);
  }
  record_free(&alone);
}

Test(threads, a_small_training_step_is_the_same_bits_for_any_crew) { expect_same_for_any_crew(&small); }
Test(threads, a_training_step_cut_into_pieces_is_the_same_bits_for_any_crew) {
  expect_same_for_any_crew(&large);
}

Test(threads, another_seed_gives_other_bits) {
  trainer_config other = small;
  other.seed++;
  record a, b;
  record_run(&a, &small, 2);
  record_run(&b, &other, 2);
  cr_expect(memcmp(a.loss, b.loss, sizeof a.loss) != 0);
  cr_expect(memcmp(a.values.data, b.values.data, bytes_of(&a.values)) != 0);
  record_free(&a);
  record_free(&b);
}

/* ---- two models at once ---------------------------------------------------------------------- */

typedef struct racer {
  trainer trainer;
  pthread_barrier_t *start;
  float loss[5];
} racer;

static void *race(void *context) {
  racer *r = context;
  if (r->start) pthread_barrier_wait(r->start);
  for (int i = 0; i < 5; i++) r->loss[i] = trainer_step(&r->trainer);
  return NULL;
}

static void expect_same_trainer(const racer *a, const racer *b) {
  th_tensor x = th_params_values(a->trainer.model->params), y = th_params_values(b->trainer.model->params);
  cr_expect(!memcmp(a->loss, b->loss, sizeof a->loss), "loss %.9g, alone %.9g", (double)b->loss[4],
            (double)a->loss[4]);
  cr_expect(!memcmp(x.data, y.data, bytes_of(&x)), "parameters differ");
}

static void expect_no_interference(int threads) {
  trainer_config config[] = {small, small};
  racer alone[2], together[2];
  pthread_barrier_t start;
  pthread_t thread[2];
  config[1].seed = 99, config[1].width = 128;
  cr_assert(pthread_barrier_init(&start, NULL, 2) == 0);
  for (int i = 0; i < 2; i++) {
    alone[i] = (racer){.trainer = trainer_open(&config[i], threads)};
    together[i] = (racer){.trainer = trainer_open(&config[i], threads), .start = &start};
    race(&alone[i]);
  }
  for (int i = 0; i < 2; i++) cr_assert(pthread_create(&thread[i], NULL, race, &together[i]) == 0);
  for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < 2; i++) {
    expect_same_trainer(&alone[i], &together[i]);
    trainer_close(&alone[i].trainer);
    trainer_close(&together[i].trainer);
  }
  pthread_barrier_destroy(&start);
}

Test(threads, two_models_training_at_once_do_not_meet) { expect_no_interference(0); }
Test(threads, two_models_with_a_pool_each_do_not_meet) { expect_no_interference(2); }
