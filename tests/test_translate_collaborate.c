/* translate collaborate: a run with shared queries and keys, that says what the old one says where they are wide enough. */
#include "translate_run.h"

#include <math.h>

TestSuite(translate_collaborate, .init = enter_directory, .fini = leave_directory);

#define TRAIN "train " SMALL_PAIRS " --schedule constant --warmup 1 --rate 0.01 --report-every 5"

static void make_run(void) {
  put_pairs("pairs.tsv", 100);
  works(TRAIN " --ema 0.9 --steps 20 --out run");
}

static th_tensor logits_of(const char *run) {
  th_tensor logits;
  th_error error;
  works("logits %s --pairs pairs.tsv --double --out logits.npy", run);
  cr_assert_eq(th_npy_load(&logits, "logits.npy", &error), TH_OK, "%s", error.text);
  return logits;
}

static double difference(const char *a, const char *b) {
  th_tensor x = logits_of(a), y = logits_of(b);
  double most = 0;
  cr_assert(th_tensor_same_shape(&x, &y));
  for (int64_t i = 0; i < th_tensor_count(&x); i++) {
    double off = fabs(th_tensor_get(&x, i) - th_tensor_get(&y, i));
    if (off > most) most = off; /* beyond a sequence's end both are NaN */
  }
  th_tensor_free(&x);
  th_tensor_free(&y);
  return most;
}

Test(translate_collaborate, of_full_width_it_says_what_the_old_run_says_and_less_width_says_less_of_it) {
  make_run();
  works("collaborate run --shared-width 16 --out whole");
  assert_says("whole: heads share 16 dimensions of queries and keys, where they had 16\n");
  assert_says("  encoder self-attention, layer 0       2  0.0000\n");
  cr_expect_lt(difference("run", "whole"), 1e-5);
  works("collaborate run --shared-width 5 --out third");
  assert_says("  cross-attention, layer 0              2  0.");
  double less = difference("run", "third");
  cr_expect(less > 1e-5 && less < 10, "%g", less);
}

Test(translate_collaborate, what_it_makes_is_a_run_to_go_on_with_and_the_old_one_stays) {
  make_run();
  uint64_t before = everything_here();
  works("collaborate run --shared-width 6 --out new");
  works("eval new");
  works("gradcheck new");
  works("heads new --sequences 10");
  works("heads new --sequences 10"); /* in the place of the first */
  cr_expect(exists("new/heads/mixing.png") && exists("new/heads/mixing.csv"));
  works("train --out new --steps 25");
  works("prune new --heads enc0.1 --out smaller");
  works("eval smaller --json");
  remove_tree("new"), remove_tree("smaller");
  cr_assert_eq(everything_here(), before);
}

Test(translate_collaborate, other_weights_than_the_last_can_be_taken) {
  make_run();
  works("collaborate run --shared-width 16 --out last");
  works("collaborate run --shared-width 16 --use ema --out ema");
  cr_expect_gt(difference("last", "ema"), 1e-4);
}

Test(translate_collaborate, says_what_is_wrong_and_writes_nothing) {
  make_run();
  works("train " SMALL_PAIRS " --attention linear --steps 1 --out linear");
  works("train " SMALL_PAIRS " --positions rotary --steps 1 --out rotary");
  refuses(2, "--shared-width N is missing, or below 1", "collaborate run --out new");
  refuses(2, "--shared-width N is missing, or below 1", "collaborate run --shared-width -3 --out new");
  refuses(2, "--out NEW is missing: where should the new run go?", "collaborate run --shared-width 4");
  refuses(2, "self-attention is linear: only full attention can be made collaborative",
          "collaborate linear --shared-width 4 --out new");
  refuses(2, "collaborative attention has no queries and keys for rotary positions",
          "collaborate rotary --shared-width 4 --out new");
  refuses(1, "run: holds a run already: choose another --out", "collaborate run --shared-width 4 --out run");
  refuses(1, "none", "collaborate none --shared-width 4 --out new");
}
