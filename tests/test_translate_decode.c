/* translate decode and eval: a line in, a line out; scores as a table and as JSON. */
#include "translate_run.h"

#include <jansson.h>

static void make_run(void) {
  enter_directory();
  works("train " SMALL " --steps 2 --out run");
}

TestSuite(translate_decode, .init = make_run, .fini = leave_directory);
TestSuite(translate_eval, .init = make_run, .fini = leave_directory);

static int lines_in(const char *text) {
  int count = 0;
  for (; *text; text++) count += *text == '\n';
  return count;
}

/* ---- decode -------------------------------------------------------------------------------------------- */

Test(translate_decode, each_line_gives_one) {
  cr_assert_eq(decode("run", "abc\nhgfedc\nb\n"), 0, "%s", last.err);
  cr_assert_eq(lines_in(last.out), 3);
  cr_assert_str_empty(last.err);
  cr_assert_eq(decode("run", ""), 0);
  cr_assert_str_empty(last.out);
}

Test(translate_decode, an_empty_line_gives_an_empty_line) {
  cr_assert_eq(decode("run", "\n\r\nabc\n\n"), 0, "%s", last.err);
  cr_assert_eq(lines_in(last.out), 4);
  cr_assert(!strncmp(last.out, "\n\n", 2) && last.out[last.out_size - 2] == '\n');
}

Test(translate_decode, line_ends_do_not_matter) {
  decode("run", "abc\n");
  char *plain = strdup(last.out);
  cr_assert_eq(decode("run", "abc\r\n"), 0);
  cr_assert_str_eq(last.out, plain);
  cr_assert_eq(decode("run", "abc"), 0);
  cr_assert_str_eq(last.out, plain);
  free(plain);
}

Test(translate_decode, characters_that_were_never_seen) {
  cr_assert_eq(decode("run", "xyz\n\xE4\xBD\xA0\xE5\xA5\xBD\n<unk>\n \n"), 0, "%s", last.err);
  cr_assert_eq(lines_in(last.out), 4);
}

Test(translate_decode, text_that_is_not_utf8) {
  cr_assert_eq(decode("run", "abc\nab\xFF\nabc\n"), 1);
  assert_complains(1, "translate decode: standard input:2: not valid UTF-8 at byte 3");
  cr_assert_eq(lines_in(last.out), 1);
}

Test(translate_decode, a_zero_byte) {
  with_input("abc\na\0c\n", 8);
  translate("decode run");
  unlink(input_path);
  assert_complains(1, "standard input:2: a zero byte at byte 2");
}

Test(translate_decode, a_line_that_is_too_long) {
  cr_assert_eq(decode("run", "abcdef\nabcdefg\n"), 1);
  assert_complains(1, "translate decode: standard input:2: 7 tokens, the model takes 6");
  cr_assert_eq(lines_in(last.out), 1);
}

Test(translate_decode, input_that_cannot_be_read) {
  input_path = "run";
  refuses(1, "translate decode: standard input: cannot read: Is a directory", "decode run");
}

Test(translate_decode, a_full_output) {
  output_path = "/dev/full";
  cr_assert_eq(decode("run", "abc\nabc\n"), 1);
  assert_complains(1, "translate decode: standard output: cannot write: No space left on device");
}

/* ---- eval ------------------------------------------------------------------------------------------------ */

static double number(const char *key) {
  json_t *score = json_loads(last.out, JSON_REJECT_DUPLICATES, NULL), *value = json_object_get(score, key);
  cr_assert(json_is_number(value), "no number \"%s\" in %s", key, last.out);
  double got = json_number_value(value);
  json_decref(score);
  return got;
}

Test(translate_eval, json_is_one_line_of_json) {
  works("eval run --json");
  assert_one_line(last.out);
  cr_assert_eq(number("count"), 20);
  cr_assert(number("exact_match") >= 0 && number("exact_match") <= 1);
  cr_assert(number("token_accuracy") >= 0 && number("token_accuracy") <= 1);
  cr_assert_geq(number("character_error_rate"), 0);
  cr_assert_gt(number("loss"), 0);
}

Test(translate_eval, the_table_says_the_same) {
  char wanted[64];
  works("eval run --json");
  snprintf(wanted, sizeof wanted, "\nloss                  %8.5f    [", number("loss"));
  works("eval run");
  assert_says("sequences                   20    95 % interval\n");
  assert_says(wanted);
}

Test(translate_eval, examples_are_shown_with_what_was_wanted) {
  works("eval run --show 3");
  int tabs = 0;
  for (const char *c = last.out; *c; c++) tabs += *c == '\t';
  cr_assert_eq(tabs, 6);
}

Test(translate_eval, other_pairs) {
  put_text("other.tsv", "abc\tcba\nab\tba\nabcdef\tfedcba\n");
  works("eval run --pairs other.tsv --json");
  cr_assert_eq(number("count"), 3);
}

Test(translate_eval, a_character_that_is_unknown_counts_as_an_error) {
  put_text("other.tsv", "abc\t\xE4\xBD\xA0\xE5\xA5\xBD\n");
  works("eval run --pairs other.tsv --json");
  cr_assert_eq(number("exact_match"), 0);
  cr_assert_geq(number("character_error_rate"), 1);
}

Test(translate_eval, other_pairs_that_are_wrong) {
  refuses(1, "translate eval: other.tsv: cannot read: No such file or directory",
          "eval run --pairs other.tsv");
  put_text("other.tsv", "");
  refuses(1, "other.tsv: empty", "eval run --pairs other.tsv");
  put_text("other.tsv", "abc\tcba\nabc\n");
  refuses(1, "other.tsv:2: no tab", "eval run --pairs other.tsv");
  put_text("other.tsv", "abc\tcba\nabc\tc\xFF\n");
  refuses(1, "other.tsv:2: not valid UTF-8 at byte 6", "eval run --pairs other.tsv");
  put_text("other.tsv", "abc\tcba\nabc\tabcdefgh\n");
  refuses(1, "other.tsv:2: the target has 8 tokens, the model takes 6", "eval run --pairs other.tsv --json");
}

Test(translate_eval, other_lengths_where_there_is_room) {
  works("train " SHAPE
        " --task duplicate --min-length 2 --max-length 4 --room 14 --held-out 20 --steps 2 --out roomy");
  works("eval roomy --min-length 6 --max-length 7 --json --show 20");
  size_t length = strcspn(strchr(last.out, '\n') + 1, "\t");
  cr_assert(length == 6 || length == 7, "%s", last.out);
  refuses(
      2,
      "translate eval: --max-length 8: sequences of up to 16 tokens, and the model takes 14: train it with "
      "--room 16",
      "eval roomy --max-length 8");
  refuses(2, "--min-length 5 is above --max-length 4", "eval roomy --min-length 5");
  refuses(2, "want whole numbers above 0", "eval roomy --min-length -5");
  put_pairs("pairs.tsv", 100);
  refuses(2, "want one of the two", "eval roomy --min-length 2 --pairs pairs.tsv");
  works("train " SMALL_PAIRS " --steps 2 --out pairs");
  refuses(2, "--min-length and --max-length are for toy tasks", "eval pairs --min-length 2");
}

Test(translate_eval, the_lengths_of_the_run_give_its_own_score) {
  works("eval run --json");
  char *own = strdup(last.out);
  works("eval run --min-length 4 --max-length 6 --json");
  cr_assert_str_eq(last.out, own);
  free(own);
}

Test(translate_eval, a_run_of_pairs_takes_others_too) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 2 --out pairs");
  works("eval pairs --json");
  cr_assert(number("count") > 0 && number("count") <= 20);
  put_text("other.tsv", "abc\tcba\n");
  works("eval pairs --pairs other.tsv --json");
  cr_assert_eq(number("count"), 1);
  put_text("other.tsv", "abcd\tcba\n");
  refuses(1, "other.tsv:1: the source has 4 tokens, the model takes 3", "eval pairs --pairs other.tsv");
}

Test(translate_eval, a_full_output) {
  output_path = "/dev/full";
  translate("eval run");
  assert_complains(1, "translate eval: standard output: cannot write: No space left on device");
}

Test(translate_eval, nothing_is_written) {
  uint64_t before = everything_here();
  works("eval run --show 2");
  works("gradcheck run");
  cr_assert_eq(everything_here(), before);
}
