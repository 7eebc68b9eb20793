/* translate eval and score: several references, intervals, the weights' file, lines of text. */
#include "translate_run.h"

#include <jansson.h>
#include <math.h>

TestSuite(translate_score, .init = enter_directory, .fini = leave_directory);

/* The number at a path of keys in the JSON that was printed: "intervals.bleu.0". */
static double number(const char *path) {
  json_t *all = json_loads(last.out, JSON_REJECT_DUPLICATES, NULL), *at = all;
  char keys[128], *rest = keys;
  cr_assert_lt(snprintf(keys, sizeof keys, "%s", path), (int)sizeof keys);
  for (char *key; (key = strsep(&rest, "."));)
    at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
  cr_assert(json_is_number(at), "no number %s in %s", path, last.out);
  double value = json_number_value(at);
  json_decref(all);
  return value;
}

static void is(const char *path, double wanted) {
  cr_assert_float_eq(number(path), wanted, 1e-9 * (1 + wanted), "%s: %.12g, wanted %.12g", path, number(path),
                     wanted);
}

/* ---- score: files of lines ---------------------------------------------------------------------------- */

/* The example of sacreBLEU's README, which gives 48.53; the other figures are sacreBLEU 2.6.0's, too. */
static void put_readme(void) {
  put_text("made", "The dog bit the man.\nIt wasn't surprising.\nThe man had just bitten him.\n");
  put_text("one", "The dog bit the man.\nIt was not unexpected.\nThe man bit him first.\n");
  put_text("two", "The dog had bit the man.\nNo one was surprised.\nThe man had bitten the dog.\n");
}

Test(translate_score, two_references_give_sacrebleus_figures) {
  put_readme();
  works("score --reference one --reference two --output made --json");
  assert_one_line(last.out);
  is("lines", 3);
  is("references", 2);
  is("outputs.0.bleu", 48.530827009929865);
  is("outputs.0.chrf", 59.72751782684763);
  is("outputs.0.chrf++", 59.15310444399262);
  is("outputs.0.exact_match", 1.0 / 3);
  assert_says("\"bleu\": \"nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp\"");
}

Test(translate_score, the_table_says_the_same) {
  put_readme();
  works("score --reference one --reference two --output made");
  assert_says("lines                        3    95 % interval\n");
  assert_says("\nBLEU                     48.53    [");
  assert_says("\nexact match              33.33 %  [0.00, 100.00]\n");
}

Test(translate_score, line_ends_and_a_byte_order_mark_do_not_matter) {
  put_text("a", "\xEF\xBB\xBFx y\r\n\nz");
  put_text("b", "x y\n\nz\n");
  works("score --reference b --output a --json");
  is("lines", 3);
  is("outputs.0.exact_match", 1);
  is("outputs.0.word_error_rate", 0);
}

Test(translate_score, two_outputs_are_compared) {
  char worse[1024] = "", better[1024] = "", wanted[1024] = "";
  for (int i = 0; i < 100; i++) {
    strcat(worse, i % 10 ? "wrong\n" : "word\n");
    strcat(better, i % 10 > 2 ? "word\n" : "wrong\n");
    strcat(wanted, "word\n");
  }
  put_text("a", worse);
  put_text("b", better);
  put_text("reference", wanted);
  works("score --reference reference --output a --output b --json");
  is("outputs.0.exact_match", 0.1);
  is("outputs.1.exact_match", 0.7);
  is("differences.exact_match.value", 0.6);
  is("differences.exact_match.p_value", 1.0 / 1001);
  cr_assert_gt(number("differences.exact_match.interval.0"), 0.4);
  cr_assert_lt(number("differences.exact_match.interval.1"), 0.8);
  works("score --reference reference --output a --output a --json");
  is("differences.bleu.p_value", 1);
}

Test(translate_score, files_that_do_not_fit) {
  put_text("three", "a\nb\nc\n");
  put_text("two", "a\nb\n");
  put_text("empty", "");
  put_text("bad", "a\nb\xFF\nc\n");
  put("zero", "a\0b\n", 4);
  refuses(1, "score: two has 2 lines, three has 3: want a line of each for every output",
          "score --reference three --output two");
  refuses(1, "score: two has 2 lines, three has 3", "score --reference three --reference two --output three");
  refuses(1, "score: empty: empty: want lines of text", "score --reference empty --output empty");
  refuses(1, "score: bad:2: not valid UTF-8 at byte 2", "score --reference three --output bad");
  refuses(1, "score: zero:1: a zero byte in the text", "score --reference zero --output three");
  refuses(1, "score: none: cannot read: No such file", "score --reference three --output none");
}

Test(translate_score, command_lines_that_cannot_be_meant) {
  refuses(2, "--reference FILE is missing: what was wanted?", "score --output a");
  refuses(2, "--output FILE is missing: what was made?", "score --reference a");
  refuses(2, "--output: given 3 times, want one or two systems",
          "score --reference a --output a --output a --output a");
  refuses(2, "c: unexpected; see translate score --help", "score --reference a --output b c");
  refuses(2, "--bleu: unknown option; see translate score --help", "score --bleu");
}

/* ---- eval -------------------------------------------------------------------------------------------------- */

/* A run that has learned to write a, b or c from a, b or c, whatever else it does. */
static void make_run(void) {
  FILE *file = fopen("pairs.tsv", "w");
  cr_assert_not_null(file);
  for (int i = 0; i < 60; i++) {
    char a = (char)('a' + i % 3), b = (char)('a' + i / 3 % 3), c = (char)('a' + i / 9 % 3);
    fprintf(file, "%c%c%c%c\t%c %c %c\n", a, b, c, 'a' + i % 7, a, b, c);
  }
  cr_assert_eq(fclose(file), 0);
  works("train " SMALL_PAIRS " --source-unit character --target-unit word --steps 60 --rate 0.01 --out run");
}

Test(translate_score, pronunciations_of_one_word_are_one_item) {
  make_run();
  works("eval run --pairs pairs.tsv --show 1");
  char made[64] = "";
  const char *shown = strrchr(last.out, '\t');
  cr_assert_eq(sscanf(shown, "\t%63[^\n]", made), 1, "%s", last.out);
  char text[512];
  snprintf(text, sizeof text, "abcc\tc c c\naaaa\t%s\naaaa\tb c b\naaaa\t%s\nbbbb\tb b b\n", made, made);
  put_text("other.tsv", text);
  works("eval run --pairs other.tsv --json");
  is("count", 3);
  is("pairs", 5);
  assert_says("nrefs:var");
  snprintf(text, sizeof text, "aaaa\tb c b\naaaa\t%s\n", made);
  put_text("other.tsv", text);
  works("eval run --pairs other.tsv --json");
  is("count", 1);
  is("exact_match", 1);
  is("token_error_rate", 0);
  is("character_error_rate", 0);
  assert_says("nrefs:2");
}

Test(translate_score, sources_with_unknown_characters_are_not_taken_for_one_another) {
  make_run();
  put_text("other.tsv", "xa\ta\nya\tb\naa\ta\naa\tb\n");
  works("eval run --pairs other.tsv --json");
  is("count", 3);
}

/* A model that says "a" to everything, whose pieces of words know no z. */
Test(translate_score, a_word_before_or_behind_an_unknown_character_stays_a_word) {
  FILE *file = fopen("a.tsv", "w");
  for (int i = 0; i < 60; i++) fprintf(file, "%c%c\ta\n", 'a' + i % 26, 'a' + i / 26);
  cr_assert_eq(fclose(file), 0);
  works("train " SHAPE " --pairs a.tsv --target-unit bpe --max-length 8 --batch 16 --steps 60 --rate 0.01 "
        "--warmup 10 --out run");
  put_text("other.tsv", "ab\ta z a\n");
  works("eval run --pairs other.tsv --show 1");
  assert_says("\ta\n");
  works("eval run --pairs other.tsv --json");
  is("word_error_rate", 2.0 / 3);
  is("character_error_rate", 4.0 / 5);
}

Test(translate_score, the_loss_counts_every_pair) {
  make_run();
  put_text("one.tsv", "aaaa\ta a a\n");
  put_text("two.tsv", "aaaa\tb c b b\n");
  put_text("both.tsv", "aaaa\ta a a\naaaa\tb c b b\naaaa\ta a a\n");
  works("eval run --pairs one.tsv --json");
  double one = 4 * number("loss"); /* three tokens and the end */
  works("eval run --pairs two.tsv --json");
  double two = 5 * number("loss");
  works("eval run --pairs both.tsv --json");
  cr_assert_float_eq(number("loss"), (2 * one + two) / 13, 1e-5);
  cr_assert_float_eq(number("perplexity"), exp(number("loss")), 1e-9);
}

Test(translate_score, what_is_shown_keeps_the_order_of_the_file) {
  make_run();
  put_text("other.tsv", "abca\ta\nab\tb b b\ncc\tc\nab\tc\n");
  works("eval run --pairs other.tsv --show 9");
  char *first = strstr(last.out, "\nabca\ta\t"), *second = strstr(last.out, "\nab\tb b b | c\t"),
       *third = strstr(last.out, "\ncc\tc\t");
  cr_assert(first && second && third && first < second && second < third, "%s", last.out);
}

Test(translate_score, an_interval_holds_its_value) {
  make_run();
  works("eval run --pairs pairs.tsv --json");
  for (const char *const *key =
           (const char *const[]){"exact_match", "bleu", "chrf", "loss", "perplexity", "token_accuracy",
                                 "token_error_rate", "character_error_rate", NULL};
       *key; key++) {
    char low[64], high[64];
    snprintf(low, sizeof low, "intervals.%s.0", *key);
    snprintf(high, sizeof high, "intervals.%s.1", *key);
    cr_assert(number(low) <= number(*key) && number(*key) <= number(high), "%s in %s", *key, last.out);
  }
}

Test(translate_score, the_weights_can_be_those_of_another_file) {
  make_run();
  refuses(1, "run/best.safetensors: there is none: the run was trained without --validate-every",
          "eval run --use best");
  refuses(2, "--use newest: want last, best, average or ema", "eval run --use newest");
  works("eval run --pairs pairs.tsv --json");
  double last_loss = number("loss");
  works("train " SMALL_PAIRS " --source-unit character --target-unit word --steps 1 --out other");
  cr_assert_eq(rename("other/model.safetensors", "run/best.safetensors"), 0);
  works("eval run --pairs pairs.tsv --json --use best");
  cr_assert_gt(number("loss"), last_loss);
  assert_says("\"weights\": \"best\"");
  works("eval run --pairs pairs.tsv --json --use last");
  is("loss", last_loss);
}
