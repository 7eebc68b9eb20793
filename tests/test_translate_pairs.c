/* Files of pairs: what is wrong with one is said with file and line; what is only spelt otherwise is not wrong. */
#include "translate_run.h"

TestSuite(translate_pairs, .init = enter_directory, .fini = leave_directory);

#define TRAIN "train " SMALL_PAIRS " --steps 3 --out run"
#define TRAIN_VALID "train " SHAPE " --pairs pairs.tsv --valid valid.tsv --batch 16 --steps 3 --out run"
#define LITERAL(text) text, sizeof text - 1

/* ---- files that are refused --------------------------------------------------------------------------- */

Test(translate_pairs, a_missing_file) {
  refuses(1, "translate train: pairs.tsv: cannot read: No such file or directory", TRAIN);
}

Test(translate_pairs, a_file_that_may_not_be_read) {
  put_pairs("pairs.tsv", 100);
  cr_assert_eq(chmod("pairs.tsv", 0), 0);
  cr_assert_eq(chmod(".", 0777), 0);
  as_nobody = true;
  uint64_t before = 0;
  if (!geteuid()) before = everything_here();
  translate(TRAIN);
  assert_complains(1, "pairs.tsv: cannot read: Permission denied");
  if (!geteuid()) cr_assert_eq(everything_here(), before);
  cr_assert_not(exists("run"));
}

Test(translate_pairs, a_directory) {
  cr_assert_eq(mkdir("pairs.tsv", 0777), 0);
  refuses(1, "pairs.tsv: cannot read: Is a directory", TRAIN);
}

Test(translate_pairs, an_empty_file) {
  put_text("pairs.tsv", "");
  refuses(1, "pairs.tsv: empty: want lines of source<TAB>target", TRAIN);
  put_text("pairs.tsv", "\xEF\xBB\xBF");
  refuses(1, "pairs.tsv: empty: want lines of source<TAB>target", TRAIN);
}

Test(translate_pairs, text_that_is_not_utf8) {
  put_text("pairs.tsv", "abc\tdef\nab\tde\xFF\nabc\tdef\n");
  refuses(1, "pairs.tsv:2: not valid UTF-8 at byte 6", TRAIN);
  put_text("pairs.tsv", "\xC3\tdef\n");
  refuses(1, "pairs.tsv:1: not valid UTF-8 at byte 1", TRAIN);
  put_text("pairs.tsv", "abc\tdef\nabc\te\xCC");
  refuses(1, "pairs.tsv:2: not valid UTF-8 at byte 6", TRAIN);
  put_text("pairs.tsv", "abc\t\xED\xA0\x80\n"); /* a surrogate */
  refuses(1, "pairs.tsv:1: not valid UTF-8 at byte 5", TRAIN);
}

Test(translate_pairs, a_zero_byte) {
  put("pairs.tsv", LITERAL("abc\tdef\na\0c\tdef\n"));
  refuses(1, "pairs.tsv:2: a zero byte in the text", TRAIN);
}

Test(translate_pairs, a_line_without_a_tab) {
  put_text("pairs.tsv", "abc\tdef\n\nabc\tdef\n");
  refuses(1, "pairs.tsv:2: no tab: want source<TAB>target", TRAIN);
  put_text("pairs.tsv", "abc\tdef\nabc\tdef\nabc def");
  refuses(1, "pairs.tsv:3: no tab", TRAIN);
}

Test(translate_pairs, a_line_with_two_tabs) {
  put_text("pairs.tsv", "abc\tdef\tghi\n");
  refuses(1, "pairs.tsv:1: more than one tab: want source<TAB>target", TRAIN);
}

Test(translate_pairs, a_side_that_is_empty) {
  put_text("pairs.tsv", "abc\tdef\n\tdef\n");
  refuses(1, "pairs.tsv:2: nothing before the tab", TRAIN);
  put_text("pairs.tsv", "abc\tdef\nabc\t\r\n");
  refuses(1, "pairs.tsv:2: nothing after the tab", TRAIN);
}

Test(translate_pairs, a_side_without_a_word) {
  put_text("pairs.tsv", "a b\tc d\na b\t \n");
  refuses(1, "pairs.tsv:2: the target has no token",
          TRAIN " --source-unit word --target-unit word --held-out-part 0.001");
}

Test(translate_pairs, a_file_for_validation_with_a_sequence_that_is_too_long) {
  put_pairs("pairs.tsv", 100);
  put_text("valid.tsv", "abc\tde\nabcd\tde\n");
  refuses(1, "valid.tsv:2: the source has 4 tokens, the model takes 3 (--max-length)",
          TRAIN_VALID " --max-length 3");
  put_text("valid.tsv", "ab\tdefg\n");
  refuses(1, "valid.tsv:1: the target has 4 tokens, the model takes 3 (--max-length)",
          TRAIN_VALID " --max-length 3");
}

Test(translate_pairs, a_file_for_validation_that_is_wrong) {
  put_pairs("pairs.tsv", 100);
  refuses(1, "valid.tsv: cannot read: No such file or directory", TRAIN_VALID);
  put_text("valid.tsv", "abc\tdef\nabc\n");
  refuses(1, "valid.tsv:2: no tab", TRAIN_VALID);
  put_text("valid.tsv", "abc\t \n\xFF\tdef\n");
  refuses(1, "valid.tsv:2: not valid UTF-8 at byte 1", TRAIN_VALID);
}

Test(translate_pairs, a_file_for_validation_that_leaves_nothing_to_train_on) {
  put_pairs("pairs.tsv", 20);
  put_pairs("valid.tsv", 20);
  refuses(1, "pairs.tsv: 20 pairs are too few: 0 to train on, 20 held out", TRAIN_VALID);
}

Test(translate_pairs, flags_that_contradict_a_file_for_validation) {
  refuses(2, "--valid holds out a whole file: leave out --held-out and --held-out-part",
          TRAIN_VALID " --held-out 5");
  refuses(2, "--valid a: a toy task makes its own; want --pairs FILE, too",
          "train --task copy --valid a --out b");
  refuses(2, "--valid: want the name of a file", "train --pairs a --out b --valid=");
}

Test(translate_pairs, one_vocabulary_of_two_units) {
  put_pairs("pairs.tsv", 100);
  refuses(2, "--vocabulary joint: --source-unit bpe and --target-unit character are not the same",
          TRAIN " --vocabulary joint --source-unit bpe");
}

Test(translate_pairs, too_few) {
  put_text("pairs.tsv", "abc\tdef\n");
  refuses(1, "pairs.tsv: 1 pairs are too few: ", TRAIN);
}

Test(translate_pairs, an_invalid_model_is_refused_before_anything_is_written) {
  put_pairs("pairs.tsv", 100);
  refuses(2, "3 heads do not divide a width of 16", TRAIN " --heads 3");
}

Test(translate_pairs, a_letter_that_no_font_has_is_told_when_it_is_drawn) {
  char text[100 * 16], *end = text;
  for (int i = 0; i < 100; i++) end += sprintf(end, "%d\t%d\xF4\x8F\xBF\xBD\n", i, i); /* for private use */
  put_text("pairs.tsv", text);
  works(TRAIN " --steps 1");
  cr_expect(strstr(last.out, "No font has U+10FFFD: ") || strstr(last.out, "No font was found: "), "%s",
            last.out);
}

/* ---- files that are not -------------------------------------------------------------------------------- */

Test(translate_pairs, a_run_keeps_its_own_copy) {
  put_pairs("pairs.tsv", 100);
  works(TRAIN);
  cr_assert(same_bytes("run/pairs.tsv", "pairs.tsv"));
  cr_assert_eq(remove("pairs.tsv"), 0);
  works("train --out run --steps 4");
  works("eval run");
}

/* 100 pairs, each letter of the alphabet with and without a diaeresis, which is one code point or two. */
static void put_spelt(const char *path, const char *start, const char *a_umlaut, const char *end,
                      bool last_end) {
  FILE *file = fopen(path, "w");
  cr_assert_not_null(file);
  fputs(start, file);
  for (int i = 0; i < 100; i++) {
    char x = (char)('a' + i / 10), y = (char)('a' + i % 10);
    fprintf(file, "%c%s%c\t%c%s%c%s", x, a_umlaut, y, y, a_umlaut, x, i < 99 || last_end ? end : "");
  }
  cr_assert_eq(fclose(file), 0);
}

Test(translate_pairs, line_ends_marks_and_normal_forms_change_nothing) {
  put_spelt("pairs.tsv", "", "\xC3\xA4", "\n", true);
  works("train " SMALL_PAIRS " --steps 5 --out plain");
  put_spelt("pairs.tsv", "\xEF\xBB\xBF", "a\xCC\x88", "\r\n", false);
  works("train " SMALL_PAIRS " --steps 5 --out other");
  cr_assert(same_bytes("plain/vocab.source.json", "other/vocab.source.json"));
  cr_assert(same_bytes("plain/vocab.target.json", "other/vocab.target.json"));
  cr_assert(same_bytes("plain/model.safetensors", "other/model.safetensors"));
}

Test(translate_pairs, a_pipe_is_read_only_once) {
  put_pairs("pairs.tsv", 100);
  cr_assert_eq(mkfifo("pipe", 0600), 0);
  fflush(NULL);
  pid_t writer = fork();
  if (!writer) {
    size_t size;
    char *bytes = get("pairs.tsv", &size);
    int fd = open("pipe", O_WRONLY);
    _exit(write(fd, bytes, size) == (ssize_t)size ? 0 : 1);
  }
  works("train " SHAPE " --pairs pipe --held-out 20 --steps 2 --out run");
  cr_assert_eq(wait_for(writer), 0);
  cr_assert(same_bytes("run/pairs.tsv", "pairs.tsv"));
}

Test(translate_pairs, words_are_tokens_where_wanted) {
  FILE *file = fopen("pairs.tsv", "w");
  for (int i = 0; i < 100; i++) fprintf(file, "w%d  v%d\tx%d y%d\n", i / 10, i % 10, i % 10, i / 10);
  cr_assert_eq(fclose(file), 0);
  works("train " SMALL_PAIRS " --source-unit word --target-unit word --steps 3 --out run");
  assert_says("vocabularies of 24 and 24 tokens, at most 2 tokens a side");
}

/* The same pairs, spelt with the letters of one code point or two in turn: without care for normal forms
 * some of them would be in training under one spelling and held out under the other. */
Test(translate_pairs, another_spelling_of_a_source_is_not_held_out_when_the_first_is_trained_on) {
  put_spelt("pairs.tsv", "", "\xC3\xA4", "\n", true);
  put_spelt("nfd.tsv", "", "a\xCC\x88", "\n", true);
  works("train " SMALL_PAIRS " --held-out 1000 --steps 1 --out one");
  char once[64];
  int train, held_out;
  const char *line = strchr(last.out, '\n') + 1;
  cr_assert_eq(sscanf(line, "%d pairs to train on, %d held out", &train, &held_out), 2);
  cr_assert_eq(train + held_out, 100);
  size_t size, more;
  char *nfc = get("pairs.tsv", &size), *nfd = get("nfd.tsv", &more);
  FILE *file = fopen("pairs.tsv", "w");
  fwrite(nfc, 1, size, file);
  fwrite(nfd, 1, more, file);
  cr_assert_eq(fclose(file), 0);
  free(nfc);
  free(nfd);
  works("train " SMALL_PAIRS " --held-out 1000 --steps 1 --out two");
  snprintf(once, sizeof once, "%d pairs to train on, %d held out", 2 * train, 2 * held_out);
  assert_says(once);
}

/* ---- too long, for validation, vocabularies, tokens ------------------------------------------------------ */

/* 100 pairs of words, `w0 w0` to `w9 w9` and back. */
static void put_words(const char *path) {
  FILE *file = fopen(path, "w");
  for (int i = 0; i < 100; i++)
    fprintf(file, "low%d newest%d\tnewest%d low%d\n", i / 10, i % 10, i % 10, i / 10);
  cr_assert_eq(fclose(file), 0);
}

static void append_text(const char *path, const char *text) {
  FILE *file = fopen(path, "a");
  cr_assert_geq(fputs(text, file), 0);
  cr_assert_eq(fclose(file), 0);
}

Test(translate_pairs, sequences_that_are_too_long_are_left_out_and_counted) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 3 --out short");
  append_text("pairs.tsv", "abcd\tabc\nabc\tabcd\nbcda\tbcda\n");
  works(TRAIN " --max-length 3");
  assert_says("3 pairs left out: a side has more than 3 tokens (--max-length)\n");
  cr_assert(same_bytes("run/model.safetensors", "short/model.safetensors"));
  works("train --out run --steps 4");
  assert_says("3 pairs left out: a side has more than 3 tokens (--max-length)\n");
}

Test(translate_pairs, a_file_for_validation_is_held_out_whole_and_kept) {
  put_spelt("pairs.tsv", "", "\xC3\xA4", "\n", true);
  put_text("valid.tsv", "aa\xCC\x88"
                        "a\tone\nba\xCC\x88"
                        "c\ttwo\nzzz\tthree\n");
  works(TRAIN_VALID);
  assert_says("98 pairs to train on, 3 held out, ");
  assert_says("2 pairs left out: their sources stand in valid.tsv, too\n");
  assert_says("at most 5 tokens a side");
  cr_assert(same_bytes("run/valid.tsv", "valid.tsv"));
  cr_assert(same_bytes("run/pairs.tsv", "pairs.tsv"));
  cr_assert_eq(remove("valid.tsv"), 0);
  cr_assert_eq(remove("pairs.tsv"), 0);
  works("train --out run --steps 4");
  assert_says("98 pairs to train on, 3 held out, ");
  works("eval run --json");
  assert_says("\"count\": 3,");
}

Test(translate_pairs, what_is_held_out_adds_nothing_to_the_vocabularies) {
  put_pairs("pairs.tsv", 100);
  put_text("valid.tsv", "qqq\trrr\n");
  works(TRAIN_VALID " --source-unit bpe");
  size_t size;
  char *text = get("run/vocab.source.json", &size);
  cr_assert_null(strchr(strstr(text, "<unk>"), 'q'));
  free(text);
}

Test(translate_pairs, one_vocabulary_serves_both_sides_where_wanted) {
  put_words("pairs.tsv");
  works(TRAIN " --vocabulary joint --source-unit bpe --target-unit bpe --merges 10");
  cr_assert(same_bytes("run/vocab.source.json", "run/vocab.target.json"));
  works("train --out run --steps 4");
  works("eval run");
  works("train " SMALL_PAIRS " --steps 2 --out apart --source-unit word --target-unit word");
  works("train " SMALL_PAIRS
        " --steps 2 --out joint --source-unit word --target-unit word --vocabulary joint");
  cr_assert(same_bytes("apart/vocab.source.json", "joint/vocab.source.json")); /* the same words on both */
}

Test(translate_pairs, rare_tokens_are_unknown_where_wanted) {
  put_words("pairs.tsv");
  append_text("pairs.tsv", "once low0\tonce low0\n");
  put_text("valid.tsv", "low0\tlow0\n");
  works(TRAIN_VALID " --source-unit word --min-count 2");
  cr_assert_eq(filter("low0 once\n", "tokens run"), 0);
  cr_assert_str_eq(last.out, "low0 <unk>\n");
}

Test(translate_pairs, tokens_are_shown) {
  put_words("pairs.tsv");
  works(TRAIN " --source-unit bpe --merges 7 --target-unit character");
  static const char lines[] = "newest  low\r\n\n\u20AC";
  cr_assert_eq(filter(lines, "tokens run"), 0);
  cr_assert_str_eq(last.out, "newest \u2581 low \u2581\n\n<unk> \u2581\n");
  /* e s, e w, es t, ew est, l o, lo w, n ewest: 22 to 28, after 4 specials, the end, 10 digits, 7 letters */
  cr_assert_eq(filter(lines, "tokens run --ids"), 0);
  cr_assert_str_eq(last.out, "28 4 27 4\n\n3 4\n");
  cr_assert_eq(filter(lines, "tokens run --target"), 0);
  cr_assert_str_eq(last.out, "n e w e s t \u2581 \u2581 l o w\n\n<unk>\n");
  cr_assert_eq(filter("ab\n\xFF\n", "tokens run"), 1);
  assert_complains(1, "translate tokens: standard input:2: not valid UTF-8 at byte 1");
}

Test(translate_pairs, tokens_of_nothing_are_refused) {
  refuses(1, "translate tokens: none/vocab.source.json: cannot read: No such file or directory",
          "tokens none");
  refuses(2, "translate tokens: want one run's directory: translate tokens DIR", "tokens");
  refuses(2, "translate tokens: --words: unknown option; see translate tokens --help", "tokens run --words");
}
