/* translate train with gates, dropout and disagreement of heads: to the same bytes however it is cut in pieces. */
#include "translate_run.h"

#include <jansson.h>

TestSuite(translate_special, .init = enter_directory, .fini = leave_directory);

#define GATES " --head-gates l0 --gate-penalty 0.05"
#define ALL_THREE GATES " --head-dropout 0.2 --disagreement outputs --disagreement-weight 0.5"
#define PAIRS \
  "train " SMALL_PAIRS " --dropout 0.1 --save-every 7 --batch-tokens 80 --accumulate 2 --validate-every 3 " \
  "--average 3 --ema 0.9"

static void assert_other_model(const char *a, const char *b) {
  char a_path[64], b_path[64];
  snprintf(a_path, sizeof a_path, "%s/model.safetensors", a);
  snprintf(b_path, sizeof b_path, "%s/model.safetensors", b);
  cr_assert_not(same_bytes(a_path, b_path), "%s and %s are the same", a, b);
}

static const char *const kinds[] = {GATES, " --head-dropout 0.2",
                                    " --disagreement subspace --disagreement-weight 0.5",
                                    " --disagreement positions --disagreement-weight 0.5",
                                    " --disagreement outputs --disagreement-weight 0.5"};
enum { KINDS = sizeof kinds / sizeof *kinds };

Test(translate_special, each_kind_changes_what_is_learned_and_none_is_the_default) {
  works("train " SMALL " --steps 4 --out plain");
  works("train " SMALL " --steps 4 --out none --head-gates none --head-dropout 0 --disagreement none");
  assert_same_run("none", "plain");
  for (int i = 0; i < KINDS; i++) {
    char name[16];
    snprintf(name, sizeof name, "kind%d", i);
    works("train " SMALL " --steps 4 --out %s%s", name, kinds[i]);
    if (i) assert_other_model(name, "plain"); /* with gates it has more parameters anyway */
    for (int k = 0; k < i; k++) {
      char other[16];
      snprintf(other, sizeof other, "kind%d", k);
      assert_other_model(name, other);
    }
  }
}

Test(translate_special, two_halves_make_the_same_as_one_run) {
  put_pairs("pairs.tsv", 100);
  works(PAIRS ALL_THREE " --schedule constant --report-every 3 --steps 20 --out whole");
  works(PAIRS ALL_THREE " --schedule constant --report-every 3 --steps 10 --out halves");
  works("train --out halves --steps 20");
  assert_same_run("halves", "whole");
}

Test(translate_special, any_number_of_threads_gives_the_same_bytes) {
  works("train " SMALL ALL_THREE " --dropout 0.1 --steps 12 --threads 1 --out one");
  works("train " SMALL ALL_THREE " --dropout 0.1 --steps 12 --threads 2 --out two");
  assert_same_run("one", "two");
}

/* The number `key` in the last line of metrics; -1: it is not there. */
static double last_metric(const char *path, const char *key) {
  size_t size;
  char *bytes = get(path, &size);
  const char *line = bytes;
  for (const char *at = bytes; at + 1 < bytes + size; at++)
    if (*at == '\n') line = at + 1;
  json_t *object = json_loadb(line, size - (size_t)(line - bytes), JSON_DISABLE_EOF_CHECK, NULL);
  cr_assert_not_null(object);
  json_t *value = json_object_get(object, key);
  double number = value ? json_number_value(value) : -1;
  json_decref(object);
  free(bytes);
  return number;
}

Test(translate_special, a_penalty_shuts_heads_and_the_reported_loss_is_without_it) {
  works("train " SMALL " --head-gates l0 --gate-penalty 0 --steps 60 --report-every 60 --out free");
  works(
      "train " SMALL
      " --head-gates l0 --gate-penalty 100 --rate 0.01 --warmup 1 --steps 150 --report-every 150 --out dear");
  double open = last_metric("free/metrics.jsonl", "open_heads"),
         few = last_metric("dear/metrics.jsonl", "open_heads");
  cr_expect(open > 4 && open <= 6, "%g of 6", open);
  cr_expect(few >= 0 && few < 1, "%g of 6", few);
  double loss = last_metric("dear/metrics.jsonl", "loss");
  cr_expect(loss > 0 && loss < 10, "%g nats per token", loss);
  works("train " SMALL " --steps 2 --out plain");
  cr_expect(last_metric("plain/metrics.jsonl", "open_heads") == -1);
}

Test(translate_special, a_run_with_all_of_it_is_read_back_by_every_command) {
  works("train " SMALL ALL_THREE " --steps 5 --out run");
  works("gradcheck run");
  works("eval run --json");
  put_text("lines", "ABC\n");
  works("train --out run");
  assert_says("all 5 steps are made");
}

Test(translate_special, a_weight_without_what_it_weighs_is_refused) {
  translate("train " SMALL " --gate-penalty 0.1 --out run");
  assert_complains(2, "translate train: --gate-penalty 0.1 wants gates: --head-gates l0, too");
  translate("train " SMALL " --disagreement-weight 0.1 --out run");
  assert_complains(
      2, "translate train: --disagreement none with --disagreement-weight 0.1: want both, or neither");
  translate("train " SMALL " --disagreement outputs --out run");
  assert_complains(
      2, "translate train: --disagreement outputs with --disagreement-weight 0: want both, or neither");
  translate("train " SMALL " --head-dropout 1 --out run");
  assert_complains(2, "translate train: --head-dropout 1: want a number from 0 to 0.99");
  cr_assert_not(exists("run"));
}
