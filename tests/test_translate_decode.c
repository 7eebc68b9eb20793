/* translate decode and eval: a line in, a line out; scores as a table and as JSON. */
#include "translate_run.h"

#include <jansson.h>
#include <math.h>

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

/* ---- decode: lines that do not fit ----------------------------------------------------------------------- */

/* Line 2 of 3 is refused: it is empty, the others are decoded. */
static void assert_second_refused(const char *why) {
  char wanted[128];
  snprintf(wanted, sizeof wanted, "translate decode: standard input:2: %s\n", why);
  assert_complains(1, wanted);
  cr_assert_eq(lines_in(last.out), 3);
  const char *second = strchr(last.out, '\n') + 1;
  cr_assert(*second == '\n' && second[1] != '\n', "%s", last.out);
  cr_assert(!strncmp(last.out, second + 1, (size_t)(second - last.out)), "lines 1 and 3 are the same: %s",
            last.out);
}

Test(translate_decode, text_that_is_not_utf8) {
  decode("run", "abc\nab\xFF\nabc\n");
  assert_second_refused("not valid UTF-8 at byte 3");
}

Test(translate_decode, a_zero_byte) {
  with_input("abc\na\0c\nabc\n", 12);
  translate("decode run --batch 1");
  unlink(input_path);
  assert_second_refused("a zero byte at byte 2");
}

Test(translate_decode, a_line_that_is_too_long) {
  decode("run", "abcdef\nabcdefg\nabcdef\n");
  assert_second_refused("7 tokens, the model takes 6");
}

Test(translate_decode, a_line_longer_than_any_buffer) {
  static char text[300000];
  memset(text, 'a', sizeof text - 1);
  memcpy(text, "abc\n", 4);
  memcpy(text + sizeof text - 6, "\nabc\n", 5);
  decode("run", text);
  assert_second_refused("299990 tokens, the model takes 6");
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

/* ---- decode: search --------------------------------------------------------------------------------------- */

#define LINES "abc\nhgfedc\n\nb\nabcd\nhh\n"

/* What `decode run` with these flags makes of LINES. Free it. */
static char *made_with(const char *flags) {
  char run[256];
  snprintf(run, sizeof run, "run %s", flags);
  cr_assert_eq(decode(run, LINES), 0, "%s: %s", flags, last.err);
  cr_assert_str_empty(last.err);
  return strdup(last.out);
}

static void expect_same_made(const char *flags, const char *others) {
  char *a = made_with(flags), *b = made_with(others);
  cr_expect_str_eq(a, b, "%s and %s", flags, others);
  free(a);
  free(b);
}

/* Column `column` of line `line`, both from 0. */
static double cell(const char *text, int line, int column) {
  while (line--) text = strchr(text, '\n') + 1;
  while (column--) text = strchr(text, '\t') + 1;
  return atof(text);
}

Test(translate_decode, batches_caches_and_a_beam_of_1_change_nothing) {
  expect_same_made("", "--batch 1");
  expect_same_made("", "--batch 2 --no-cache");
  expect_same_made("", "--sample --temperature 0");
  expect_same_made("--beam 3 --n-best 2", "--beam 3 --n-best 2 --batch 2 --no-cache");
  expect_same_made("--sample --n-best 3 --seed 4", "--sample --n-best 3 --seed 4 --batch 1");
}

Test(translate_decode, seeds_and_temperatures_change_a_sample) {
  char *a = made_with("--sample --seed 1"), *b = made_with("--sample --seed 2"),
       *c = made_with("--sample --temperature 1e-6"), *d = made_with("--sample --top-k 1"),
       *e = made_with("");
  cr_expect_str_neq(a, b);
  cr_expect_str_eq(c, e);
  cr_expect_str_eq(d, e);
  free(a), free(b), free(c), free(d), free(e);
}

Test(translate_decode, scores_stand_before_the_output) {
  char *plain = made_with("--beam 2"), *scored = made_with("--beam 2 --scores --alpha 0");
  cr_assert_eq(lines_in(scored), 6);
  for (int i = 0; i < 6; i++)
    if (i != 2) cr_assert(cell(scored, i, 0) < 0 && cell(scored, i, 0) == cell(scored, i, 1));
  cr_assert_not_null(strstr(scored, "\n\t\t\n"), "an empty line has no score");
  free(scored);
  scored = made_with("--beam 2 --scores");
  int longer = 0; /* than one token, whose penalty is 1 */
  for (int i = 0; i < 6; i++) {
    if (i == 2) continue;
    cr_assert_geq(cell(scored, i, 0), cell(scored, i, 1));
    longer += cell(scored, i, 0) > cell(scored, i, 1);
  }
  cr_assert_gt(longer, 0, "%s", scored);
  free(plain);
  free(scored);
}

Test(translate_decode, the_best_few_have_line_and_rank) {
  char *made = made_with("--beam 3 --n-best 3 --scores");
  cr_assert_eq(lines_in(made), 16);
  for (int i = 0; i < 16; i++) {
    int line = i < 6    ? i / 3 + 1
               : i == 6 ? 3
                        : (i - 7) / 3 + 4,
        rank = i < 6    ? i % 3 + 1
               : i == 6 ? 1
                        : (i - 7) % 3 + 1;
    cr_assert(cell(made, i, 0) == line && cell(made, i, 1) == rank, "line %d of\n%s", i, made);
    cr_assert(rank == 1 || cell(made, i, 2) <= cell(made, i - 1, 2), "by falling score");
  }
  free(made);
}

Test(translate_decode, flags_that_do_not_fit) {
  refuses(2, "--beam 0: want 1 to 10000", "decode run --beam 0");
  refuses(2, "--beam -2.14748e+09: want 1 to 10000", "decode run --beam -2147483647");
  refuses(2, "--alpha -1: want at least 0", "decode run --alpha -1");
  refuses(2, "--alpha nan: want at least 0", "decode run --alpha nan");
  refuses(2, "translate decode: --beam x: invalid numeric value", "decode run --beam x");
  refuses(2, "--sample and --beam: want one of the two", "decode run --sample --beam 2");
  refuses(2, "are of a sample: want --sample with them", "decode run --top-k 3");
  refuses(2, "--top-p 0: want above 0, at most 1", "decode run --sample --top-p 0");
  refuses(2, "--temperature -2: want at least 0", "decode run --sample --temperature -2");
  refuses(2, "--top-k -1: want at least 0", "decode run --sample --top-k -1");
  refuses(2, "--seed -1: want at least 0", "decode run --sample --seed -1");
  refuses(2, "--show -1: want a whole number from 0", "eval run --show -1");
  refuses(2, "--n-best 3: want as many open hypotheses: --beam 3, or --sample",
          "decode run --beam 2 --n-best 3");
  refuses(2, "--n-best -1: want 1 to 10000", "decode run --n-best -1");
  refuses(2, "--batch 0: want 1 to 4096", "decode run --batch 0");
  refuses(2, "--use first: want last, best, average or ema", "decode run --use first");
  refuses(2, "--attention a.gif: want a name that ends in .png or .npy", "decode run --attention a.gif");
}

Test(translate_decode, other_weights_of_the_run) {
  refuses(1, "run/best.safetensors: there is none: the run was trained without --validate-every",
          "decode run --use best");
  works("train " SMALL " --steps 3 --seed 2 --out other");
  cr_assert_eq(rename("other/model.safetensors", "run/ema.safetensors"), 0);
  char *last_ones = made_with("--scores --use last"), *ema = made_with("--scores --use ema"),
       *plain = made_with("--scores");
  cr_expect_str_eq(last_ones, plain);
  cr_expect_str_neq(ema, plain);
  free(last_ones), free(ema), free(plain);
}

/* The first answer comes before the second line is there. */
Test(translate_decode, a_line_is_answered_before_the_next_one_comes) {
  int in[2], out[2];
  char first[64] = "", second[64] = "";
  cr_assert(!pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC));
  char name[32];
  snprintf(name, sizeof name, "/dev/fd/%d", in[0]);
  input_path = name;
  char *words[] = {program, "decode", "run", NULL};
  pid_t child = start_program(words, out[1], STDERR_FILENO);
  close(out[1]);
  cr_assert_eq(write(in[1], "abc\n", 4), 4);
  cr_assert_gt(read(out[0], first, sizeof first - 1), 0);
  cr_assert_eq(write(in[1], "abc\n", 4), 4);
  close(in[1]);
  cr_assert_gt(read(out[0], second, sizeof second - 1), 0);
  cr_assert_eq(wait_for(child), 0);
  cr_expect_str_eq(first, second);
  close(in[0]);
  close(out[0]);
}

/* ---- decode: attention -------------------------------------------------------------------------------------- */

Test(translate_decode, attention_as_an_array_of_layers_heads_written_and_read) {
  th_tensor all;
  th_error error = {0};
  char *made = made_with("--beam 1");
  cr_assert_eq(decode("run --attention a.npy", "hgfed\n"), 0, "%s", last.err);
  cr_assert_eq(th_npy_load(&all, "a.npy", &error), TH_OK, "%s", error.text);
  cr_assert(all.ndim == 4 && all.shape[0] == 1 && all.shape[1] == 2 && all.shape[3] == 6);
  int64_t written = (int64_t)strlen(last.out) - 1; /* letters; then the end mark, or the limit was met */
  cr_assert(all.shape[2] == written + 1 || all.shape[2] == 7, "%ld rows for %s", (long)all.shape[2],
            last.out);
  for (int64_t row = 0; row < 2 * all.shape[2]; row++) {
    double sum = 0;
    for (int64_t i = 0; i < 6; i++) sum += th_tensor_get(&all, row * 6 + i);
    cr_assert(fabs(sum - 1) < 1e-5);
  }
  th_tensor_free(&all);
  free(made);
}

Test(translate_decode, attention_as_a_picture) {
  cr_assert_eq(decode("run --attention a.png --beam 2", "abc\n"), 0, "%s", last.err);
  size_t size;
  char *bytes = get("a.png", &size);
  cr_assert(size > 1000 && !memcmp(bytes, "\x89PNG", 4));
  free(bytes);
  setenv("FONTCONFIG_FILE", "/nowhere", 1);
  cr_assert_eq(decode("run --attention b.png --beam 2", "abc\n"), 0, "%s", last.err);
  cr_expect_not_null(strstr(last.err, "No font was found: pictures come without labels."), "%s", last.err);
  cr_expect_not(same_bytes("a.png", "b.png"));
}

Test(translate_decode, attention_is_of_a_single_line) {
  decode("run --attention a.png", "abc\nabc\n");
  assert_complains(1, "--attention: want a single line on standard input");
  decode("run --attention a.png", "");
  assert_complains(1, "--attention: want a line on standard input that is not empty");
  decode("run --attention a.png", "ab\xFF\n");
  assert_complains(1, "standard input:1: not valid UTF-8 at byte 3");
  cr_expect(!exists("a.png"));
  decode("run --attention nowhere/a.npy", "abc\n");
  assert_complains(1, "nowhere/a.npy: cannot write");
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
