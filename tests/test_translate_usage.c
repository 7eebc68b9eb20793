/* Command lines that cannot be meant, and the help that says what can. */
#include "translate_run.h"

#include "tapehead/tapehead.h"

#include <jansson.h>

TestSuite(translate_usage, .init = enter_directory, .fini = leave_directory);

#define SEE_HELP "see translate --help"

/* ---- commands ---------------------------------------------------------------------------------------- */

Test(translate_usage, no_command) {
  refuses(
      2,
      "translate: no command: want train, decode, eval, score, tokens, logits, heads, prune, collaborate or "
      "gradcheck; " SEE_HELP,
      "%s", "");
}

Test(translate_usage, an_unknown_command) {
  refuses(2,
          "translate: unknown command trian: want train, decode, eval, score, tokens, logits, heads, prune, "
          "collaborate or "
          "gradcheck; " SEE_HELP,
          "trian --out a");
  refuses(2, "unknown command --verse", "--verse");
}

Test(translate_usage, the_version_is_one_line) {
  works("--version");
  assert_says("translate, of tapehead " TH_VERSION "\n");
}

Test(translate_usage, an_argument_of_two_lines_is_shown_in_one) {
  run_words((char *[]){program, (char[]){"tra\nin\033[2J"}, NULL});
  assert_complains(2, "unknown command tra?in?[2J");
}

Test(translate_usage, commands_for_a_run_want_one_directory) {
  refuses(2, "translate decode: want one run's directory", "decode");
  refuses(2, "translate decode: want one run's directory", "decode a b");
  refuses(2, "translate decode: --beem: unknown option", "decode --beem");
  refuses(2, "translate eval: want one run's directory", "eval");
  refuses(2, "translate eval: want one run's directory", "eval a b");
  refuses(2, "translate eval: --beams: unknown option", "eval a --beams");
  refuses(2, "translate eval: --pairs: missing argument", "eval a --pairs");
  refuses(2, "translate eval: --show many: invalid numeric value", "eval a --show many");
  refuses(2, "translate gradcheck: want one run's directory", "gradcheck a b");
  refuses(2, "translate gradcheck: --fast: unknown option", "gradcheck --fast");
}

/* ---- train's flags -------------------------------------------------------------------------------------- */

Test(translate_usage, an_unknown_flag) {
  refuses(2, "translate train: --widht: unknown option; see translate train --help",
          "train --widht 16 --out a");
  refuses(2, "translate train: --widht=16: unknown option", "train --out a --widht=16");
  refuses(2, "-x: unknown option", "train --out a -x");
}

Test(translate_usage, h_is_short_for_help) {
  works("train -h");
  assert_says("--width=N");
}

Test(translate_usage, an_argument_too_many) {
  refuses(2, "translate train: b: unexpected; see translate train --help", "train --out a b");
  refuses(2, "b: unexpected", "train b --out a --task copy");
}

Test(translate_usage, a_flag_without_a_value) {
  refuses(2, "--width: missing argument; see translate train --help", "train --out a --width");
  refuses(2, "--out: missing argument", "train --out");
  refuses(2, "--out: want the name of a directory", "train --out=");
  refuses(2, "--pairs: want the name of a file", "train --out a --pairs=");
}

Test(translate_usage, no_out) {
  refuses(2, "--out DIR is missing: where should the run go?", "train");
  refuses(2, "--out DIR is missing: where should the run go?", "train --task reverse");
}

Test(translate_usage, an_out_that_is_too_long) {
  char long_name[513];
  memset(long_name, 'a', sizeof long_name - 1);
  for (int i = 100; i < 500; i += 100) long_name[i] = '/';
  long_name[sizeof long_name - 1] = 0;
  refuses(2, "--out: want the name of a directory", "train --out %s", long_name);
  long_name[500] = 0; /* short enough for itself, but not for the name it is written under at first */
  refuses(2, "--out: want the name of a directory", "train --out %s", long_name);
}

Test(translate_usage, an_unknown_task) {
  refuses(2, "--task revrese: want one of copy|reverse|sort|duplicate|addition|pairs",
          "train --task revrese --out a");
  refuses(2, "--task cop: want one of", "train --task cop --out a");
  refuses(2, "--task copy|sort: want one of", "train --task copy|sort --out a");
  refuses(2, "--task copy|reverse: want one of", "train --task copy|reverse --out a");
  refuses(2, "--task : want one of", "train --task= --out a");
}

Test(translate_usage, a_number_that_is_none) {
  refuses(2, "--width many: want a whole number from 1 to 65536", "train --width many --out a");
  refuses(2, "--width 16x: want a whole number", "train --width 16x --out a");
  refuses(2, "--width : want a whole number", "train --width= --out a");
  refuses(2, "--width 1.5: want a whole number", "train --width 1.5 --out a");
  refuses(2, "--dropout nan: want a number from 0 to 0.99", "train --dropout nan --out a");
  refuses(2, "--rate 1e-999: want a number", "train --rate 1e-999 --out a");
}

Test(translate_usage, a_number_out_of_range) {
  refuses(2, "--rate -1: want a number from 1e-12 to 100", "train --rate -1 --out a");
  refuses(2, "--rate 0: want a number from 1e-12 to 100", "train --rate 0 --out a");
  refuses(2, "--rate inf: want a number", "train --rate inf --out a");
  refuses(2, "--width 0: want a whole number", "train --width 0 --out a");
  refuses(2, "--steps 0: want a whole number", "train --steps 0 --out a");
  refuses(2, "--batch -3: want a whole number", "train --batch -3 --out a");
  refuses(2, "--dropout 1: want a number", "train --dropout 1 --out a");
  refuses(2, "--symbols 1: want a whole number", "train --symbols 1 --out a");
  refuses(2, "--seed 1e30: want a whole number", "train --seed 1e30 --out a");
  refuses(2, "--threads 99999999999999999999: want a whole number",
          "train --threads 99999999999999999999 --out a");
}

Test(translate_usage, heads_that_do_not_divide_the_width) {
  refuses(2, "translate train: 3 heads do not divide a width of 16",
          "train --task sort --heads 3 --width 16 --out a");
}

Test(translate_usage, a_shortest_above_the_longest) {
  refuses(2, "--min-length 9 is above --max-length 6",
          "train --task sort --min-length 9 --max-length 6 --out a");
}

Test(translate_usage, a_room_below_what_the_task_takes) {
  refuses(2, "--room 12: training has sequences of up to 13 tokens",
          "train --task addition --min-length 1 --max-length 6 --room 12 --out a");
}

Test(translate_usage, a_task_too_small_to_hold_some_out) {
  refuses(2, "too few different sequences to hold some out: raise --symbols or --max-length",
          "train --task sort --symbols 2 --min-length 1 --max-length 1 --out a");
}

Test(translate_usage, a_toy_task_with_pairs) {
  put_pairs("pairs.tsv", 100);
  refuses(2, "--task reverse and --pairs pairs.tsv: want one of the two",
          "train --task reverse --pairs pairs.tsv --out a");
  refuses(2, "--task pairs: say which with --pairs FILE", "train --task pairs --out a");
}

/* ---- help ----------------------------------------------------------------------------------------------- */

Test(translate_usage, help_names_every_command) {
  works("--help");
  assert_says("train --task reverse --out DIR");
  assert_says("decode DIR");
  assert_says("eval DIR");
  assert_says("prune DIR --heads LIST --out NEW");
  assert_says("gradcheck [DIR]");
  assert_says("Exit status: 0 well, 1 failure, 2 wrong usage");
  assert_says("130 stopped by Ctrl-C with all saved");
}

Test(translate_usage, a_source_of_another_vocabulary_cannot_be_tied) {
  FILE *file = fopen("pairs.tsv", "w");
  cr_assert_not_null(file);
  for (int i = 0; i < 64; i++)
    fprintf(file, "%c%c\t%c%c\n", 'a' + i / 8, 'a' + i % 8, 'A' + i % 8, 'A' + i / 8);
  cr_assert_eq(fclose(file), 0);
  refuses(2, "--tie all: source and target", "train " SMALL_PAIRS " --tie all --out a");
  works("train " SMALL_PAIRS " --tie output --steps 1 --out a");
}

Test(translate_usage, help_names_every_setting_of_a_run) {
  works("train " SMALL " --steps 1 --out a");
  json_t *settings = json_load_file("a/config.json", 0, NULL), *value;
  const char *name;
  works("train --help");
  assert_says("--out=DIR");
  cr_assert_gt(json_object_size(settings), 20);
  json_object_foreach (settings, name, value) {
    char flag[64];
    snprintf(flag, sizeof flag, "--%s=", name);
    assert_says(flag);
  }
  json_decref(settings);
}

Test(translate_usage, every_command_has_help) {
  works("decode --help");
  assert_says("translate decode DIR");
  assert_says("--beam=N");
  works("gradcheck --help");
  assert_says("translate gradcheck [DIR]");
  works("eval --help");
  assert_says("--pairs=FILE");
  assert_says("--show=N");
  assert_says("--json");
}

Test(translate_usage, help_that_cannot_be_written_is_an_error) {
  output_path = "/dev/full";
  translate("--help");
  assert_complains(1, "translate: standard output: cannot write: No space left on device");
}
