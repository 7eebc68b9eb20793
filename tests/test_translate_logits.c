/* translate logits: what is in the array that it writes. */
#include "translate_run.h"

#include <math.h>

TestSuite(translate_logits, .init = enter_directory, .fini = leave_directory);

#define PAIRS 5
#define LONGEST 3 /* tokens of a target in some.tsv */
static const int target_length[PAIRS] = {3, 1, 2, 3, 1};

static void make_run(void) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 20 --ema 0.9 --out run");
  put_text("some.tsv", "abc\tcba\nbcd\ta\nd\tab\nbb\tbbb\nbaa\tz\n");
}

static th_tensor load(const char *path) {
  th_tensor tensor;
  th_error error;
  cr_assert_eq(th_npy_load(&tensor, path, &error), TH_OK, "%s", error.text);
  return tensor;
}

/* -log of the probability of `wanted` in a row of n logits. */
static double loss_of(const th_tensor *logits, int64_t row, int64_t n, int32_t wanted) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += exp(th_tensor_get(logits, row * n + i));
  return log(sum) - th_tensor_get(logits, row * n + wanted);
}

/* The mean loss of the pairs in some.tsv, by the array's logits. */
static double loss_by(const th_tensor *logits, const th_vocabulary *v) {
  static const char *const targets[PAIRS] = {"cba", "a", "ab", "bbb", "z"};
  int64_t n = th_vocabulary_count(v), tokens = 0;
  double loss = 0;
  for (int64_t i = 0; i < PAIRS; i++)
    for (int64_t t = 0; t <= target_length[i]; t++) {
      char letter[] = {targets[i][t], 0};
      loss += loss_of(logits, i * (LONGEST + 1) + t, n, *letter ? th_vocabulary_id(v, letter) : TH_EOS);
      tokens++;
    }
  return loss / (double)tokens;
}

/* Which it returns. */
static double assert_evals_loss(const char *use) {
  works("logits run --pairs some.tsv --out logits.npy --double --use %s", use);
  th_tensor logits = load("logits.npy");
  th_vocabulary *v;
  th_error error;
  cr_assert_eq(th_vocabulary_load(&v, "run/vocab.target.json", &error), TH_OK, "%s", error.text);
  cr_assert_eq(logits.dtype, TH_F64);
  cr_assert_eq(logits.ndim, 3);
  cr_assert_eq(logits.shape[0], PAIRS);
  cr_assert_eq(logits.shape[1], LONGEST + 1);
  cr_assert_eq(logits.shape[2], th_vocabulary_count(v));
  double loss = loss_by(&logits, v);
  th_vocabulary_free(v);
  th_tensor_free(&logits);
  works("eval run --pairs some.tsv --json --use %s", use);
  const char *told = strstr(last.out, "\"loss\": ");
  cr_assert_not_null(told);
  cr_assert_float_eq(strtod(told + strlen("\"loss\": "), NULL), loss, 2e-6);
  return loss;
}

Test(translate_logits, hold_the_loss_that_eval_tells_of_the_same_weights) {
  make_run();
  double of_last = assert_evals_loss("last"), of_average = assert_evals_loss("ema");
  cr_assert_gt(fabs(of_last - of_average), 1e-3);
  refuses(1, "best.safetensors: there is none", "logits run --pairs some.tsv --out a.npy --use best");
}

Test(translate_logits, are_nan_behind_the_end_and_nowhere_else) {
  make_run();
  works("logits run --pairs some.tsv --out logits.npy");
  th_tensor logits = load("logits.npy");
  cr_assert_eq(logits.dtype, TH_F32);
  int64_t n = logits.shape[2];
  for (int64_t i = 0; i < th_tensor_count(&logits); i++) {
    int64_t t = i / n % (LONGEST + 1), pair = i / n / (LONGEST + 1);
    cr_assert_eq(isnan(th_tensor_get(&logits, i)), t > target_length[pair], "pair %ld, token %ld", (long)pair,
                 (long)t);
  }
  th_tensor_free(&logits);
}

Test(translate_logits, in_float_are_those_in_double_rounded) {
  make_run();
  works("logits run --pairs some.tsv --out float.npy");
  works("logits run --pairs some.tsv --out double.npy --double");
  th_tensor in_float = load("float.npy"), in_double = load("double.npy");
  double apart = 0;
  for (int64_t i = 0; i < th_tensor_count(&in_double); i++)
    apart = fmax(apart, fabs(th_tensor_get(&in_float, i) - th_tensor_get(&in_double, i)));
  cr_assert_lt(apart, 1e-5);
  cr_assert_gt(apart, 0);
  th_tensor_free(&in_float);
  th_tensor_free(&in_double);
}

Test(translate_logits, want_a_run_pairs_and_a_place) {
  refuses(2, "want one run's directory: translate logits DIR --pairs FILE --out FILE.npy", "logits");
  refuses(2, "want one run's directory", "logits a b --pairs c --out d");
  refuses(2, "--pairs FILE is missing: which pairs?", "logits run --out a.npy");
  refuses(2, "--out FILE.npy is missing: where to?", "logits run --pairs a.tsv");
  refuses(2, "--use first: want last, best, average or ema", "logits run --pairs a --out b.npy --use first");
  refuses(2, "--out a.tsv: want a name that ends in .npy", "logits run --pairs a.tsv --out a.tsv");
  refuses(2, "--single: unknown option; see translate logits --help", "logits run --single");
  refuses(1, "run/config.json: cannot read", "logits run --pairs a.tsv --out a.npy");
  works("logits --help");
  assert_says("--double");
}

Test(translate_logits, of_pairs_that_are_wrong_or_too_long) {
  make_run();
  refuses(1, "none.tsv: cannot read", "logits run --pairs none.tsv --out a.npy");
  put_text("long.tsv", "abc\tcba\nabcd\tabc\n");
  refuses(1, "long.tsv:2: the source has 4 tokens, the model takes 3",
          "logits run --pairs long.tsv --out a.npy");
  refuses(1, "no/a.npy: ", "logits run --pairs some.tsv --out no/a.npy");
}
