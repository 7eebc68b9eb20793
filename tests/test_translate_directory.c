/* A run's directory: where one cannot be made, and what is said about one that is damaged. */
#include "translate_run.h"

TestSuite(translate_directory, .init = enter_directory, .fini = leave_directory);

#define TRAIN "train " SMALL " --steps 2 --out "

/* ---- where none can be made ---------------------------------------------------------------------------- */

Test(translate_directory, below_a_file) {
  put_text("file", "text\n");
  refuses(1, "translate train: file/run", TRAIN "file/run");
  refuses(1, "cannot make the directory: ", TRAIN "file/run");
}

Test(translate_directory, in_the_place_of_a_file) {
  put_text("file", "text\n");
  refuses(1, "file: exists and holds no run (no config.json): choose another --out", TRAIN "file");
}

Test(translate_directory, where_one_may_not_write) {
  cr_assert_eq(mkdir("locked", 0555), 0);
  as_nobody = true;
  refuses(1, "locked/run", TRAIN "locked/run");
  refuses(1, "Permission denied", TRAIN "locked/run");
  cr_assert_eq(chmod("locked", 0755), 0);
}

Test(translate_directory, with_other_things_in_it) {
  cr_assert_eq(mkdir("letters", 0777), 0);
  put_text("letters/model.safetensors", "dear model\n");
  put_text("letters/vocab.source.json", "dear vocabulary\n");
  refuses(1, "letters: exists and holds no run (no config.json): choose another --out", TRAIN "letters");
  refuses(1, "letters/: exists and holds no run (no config.json): choose another --out", TRAIN "letters/");
}

Test(translate_directory, an_empty_one_or_one_with_parents_missing_is_fine) {
  cr_assert_eq(mkdir("empty", 0777), 0);
  works(TRAIN "empty");
  works(TRAIN "a/b/c/");
  cr_assert(exists("a/b/c/model.safetensors"));
}

/* ---- damage --------------------------------------------------------------------------------------------- */

static void cut_to(const char *path, size_t size) { cr_assert_eq(truncate(path, (off_t)size), 0); }

static void make_run(void) {
  works(TRAIN "run");
  put_text("lines", "abc\n");
  input_path = "lines";
}

Test(translate_directory, an_optimizer_that_was_cut_off) {
  size_t size;
  make_run();
  char *whole = get("run/optimizer.safetensors", &size);
  const size_t lengths[] = {0, 1, 7, 8, 9, 100, size / 3, size / 2, size - 4, size - 1};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    cut_to("run/optimizer.safetensors", lengths[i]);
    refuses(1, "translate train: run/optimizer.safetensors: ", "train --out run --steps 4");
    put("run/optimizer.safetensors", whole, size);
  }
  free(whole);
  works("train --out run --steps 4");
}

Test(translate_directory, a_model_that_was_cut_off) {
  make_run();
  cut_to("run/model.safetensors", 1000);
  refuses(1, "translate decode: run/model.safetensors: ", "decode run");
  refuses(1, "translate eval: run/model.safetensors: ", "eval run");
  refuses(1, "translate gradcheck: run/model.safetensors: ", "gradcheck run");
}

Test(translate_directory, files_of_a_model_of_another_shape) {
  make_run();
  works(TRAIN "wide --width 32");
  copy("wide/optimizer.safetensors", "run/optimizer.safetensors");
  copy("wide/model.safetensors", "run/model.safetensors");
  refuses(1, "run/optimizer.safetensors: ", "train --out run --steps 4");
  refuses(1, "[12,16]", "train --out run --steps 4");
  refuses(1, "[12,16]", "decode run");
}

/* A step that is no number: found by the text of the header, which keeps its length. */
static void damage_step(const char *wrong) {
  size_t size;
  char *whole = get("run/optimizer.safetensors", &size), *step = memmem(whole, size, "\"step\":\"2\"", 10);
  cr_assert_not_null(step);
  memcpy(step, wrong, 10);
  put("run/optimizer.safetensors", whole, size);
  free(whole);
}

Test(translate_directory, an_optimizer_without_its_moments_or_its_step) {
  make_run();
  copy("run/optimizer.safetensors", "optimizer.kept");
  copy("run/model.safetensors", "run/optimizer.safetensors");
  refuses(1, "run/optimizer.safetensors: there is no tensor adam.moment1.", "train --out run --steps 4");
  copy("optimizer.kept", "run/optimizer.safetensors");
  damage_step("\"step\":\"x\"");
  refuses(1, "run/optimizer.safetensors: the metadata have no step", "train --out run --steps 4");
  copy("optimizer.kept", "run/optimizer.safetensors");
  damage_step("\"stop\":\"2\"");
  refuses(1, "run/optimizer.safetensors: the metadata have no step", "train --out run --steps 4");
}

static void lose(const char *file, const char *command) {
  char kept[64], path[64], text[128];
  snprintf(path, sizeof path, "run/%s", file);
  snprintf(kept, sizeof kept, "%s.kept", file);
  snprintf(text, sizeof text, "%s: cannot read: No such file or directory", path);
  cr_assert_eq(rename(path, kept), 0);
  refuses(1, text, "%s", command);
  cr_assert_eq(rename(kept, path), 0);
}

Test(translate_directory, a_file_that_is_lost) {
  make_run();
  lose("vocab.source.json", "train --out run --steps 4");
  lose("vocab.target.json", "train --out run --steps 4");
  lose("optimizer.safetensors", "train --out run --steps 4");
  lose("config.json", "decode run");
  lose("config.json", "eval run");
  lose("vocab.source.json", "decode run");
  lose("vocab.target.json", "eval run");
  lose("model.safetensors", "decode run");
  lose("model.safetensors", "eval run");
  cr_assert_eq(remove("run/config.json"), 0);
  refuses(1, "run: exists and holds no run (no config.json): put back a copy", "train --out run");
  refuses(1, "run: exists and holds no run (no config.json)", "train --task reverse --out run");
}

Test(translate_directory, pairs_that_are_lost_or_damaged) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 2 --out run");
  lose("pairs.tsv", "train --out run --steps 4");
  lose("pairs.tsv", "eval run");
  put_text("run/pairs.tsv", "abc\tdef\nabc");
  refuses(1, "run/pairs.tsv:2: no tab", "train --out run --steps 4");
  put_text("run/pairs.tsv", "abcd\tdef\n");
  refuses(1, "run/pairs.tsv: 1 pairs are too few: 0 to train on, 0 held out, 1 too long",
          "train --out run --steps 4");
}

Test(translate_directory, what_only_shows_the_run_may_be_lost) {
  make_run();
  copy("run/model.safetensors", "model.before");
  remove_tree("run/heatmaps");
  remove("run/metrics.jsonl");
  remove("run/curve.png");
  remove("run/model.safetensors");
  works("train --out run");
  cr_assert(same_bytes("run/model.safetensors", "model.before"));
  cr_assert(exists("run/heatmaps/cross_0.png") && exists("run/curve.png"));
}

/* `wrong` in the place of `right` in config.json; then the command must say `text`. */
static void damage_config(const char *right, const char *wrong, const char *text) {
  size_t size;
  char *whole = get("run/config.json", &size);
  cr_assert(strstr(whole, right), "%s", right);
  size_t place = (size_t)(strstr(whole, right) - whole);
  FILE *file = fopen("run/config.json", "w");
  fprintf(file, "%.*s%s%s", (int)place, whole, wrong, whole + place + strlen(right));
  cr_assert_eq(fclose(file), 0);
  refuses(1, text, "train --out run --steps 4");
  refuses(1, text, "decode run");
  put("run/config.json", whole, size);
  free(whole);
}

Test(translate_directory, a_config_that_is_damaged) {
  make_run();
  damage_config("\"reverse\"", "\"revrese\"",
                "run/config.json: \"task\" is of the wrong kind: --task revrese: want one of");
  damage_config("\"reverse\"", "7", "run/config.json: \"task\" is of the wrong kind: want a string");
  damage_config("\"width\": 16", "\"width\": \"16\"",
                "run/config.json: \"width\" is of the wrong kind: want a whole number");
  damage_config("\"width\": 16", "\"width\": 16.5", "run/config.json: \"width\" is of the wrong kind");
  damage_config("\"width\": 16", "\"width\": -16", "--width -16: want a whole number from 1 to 65536");
  damage_config("\"task\": \"reverse\",", "", "run/config.json: \"task\" is missing");
  damage_config("\"width\": 16", "\"wide\": 16", "run/config.json: \"wide\" is no setting");
  damage_config("\"width\": 16", "\"width\": 16, \"width\": 16", "run/config.json:");
  damage_config("\"heads\": 2", "\"heads\": 3", "run/config.json: 3 heads do not divide a width of 16");
  damage_config("{", "[", "run/config.json: settings: JSON at line 2, ");
}

Test(translate_directory, a_config_from_before_a_setting_was_there) {
  make_run();
  size_t size;
  char *whole = get("run/config.json", &size), *row = strstr(whole, "  \"final-norm\"");
  cr_assert_not_null(row);
  memmove(row, strchr(row, '\n') + 1, strlen(strchr(row, '\n')));
  put_text("run/config.json", whole);
  free(whole);
  works("train --out run --steps 4");
  whole = get("run/config.json", &size);
  cr_assert(strstr(whole, "\"final-norm\": \"auto\""));
  free(whole);
}

Test(translate_directory, a_config_that_is_no_json) {
  make_run();
  for (int i = 0; i < 4; i++) {
    put_text("run/config.json", ((const char *[]){"", "[]", "rev\nerse", "{\"task\": \"rev\n\033[2J\"}"})[i]);
    refuses(1, "run/config.json:", "train --out run");
    refuses(1, "run/config.json:", "decode run");
  }
}

Test(translate_directory, a_vocabulary_of_another_size) {
  make_run();
  works(TRAIN "other --symbols 9");
  copy("other/vocab.source.json", "run/vocab.source.json");
  copy("other/vocab.target.json", "run/vocab.target.json");
  refuses(1, "run/vocab.source.json: 13 tokens, where config.json says 12", "train --out run");
  refuses(1, "run/model.safetensors: ", "decode run");
}

/* ---- a run that exists is not made into another ------------------------------------------------------------ */

Test(translate_directory, another_setting_for_a_run_that_exists) {
  make_run();
  refuses(2, "--width differs from the run that run/config.json describes: use another --out",
          "train --out run --width 32");
  refuses(2, "--task differs", "train --out run --task copy");
  refuses(2, "--seed differs", "train --out run --seed 2");
  refuses(2, "--pairs differs", "train --out run --pairs pairs.tsv");
  refuses(2, "--steps 1: the run in run has made 2 already", "train --out run --steps 1");
  works("train --out run --width 16 --task reverse --steps 3");
}

Test(translate_directory, a_file_of_pairs_named_again_must_be_what_the_run_learns_from) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 2 --out run");
  cr_assert_eq(rename("pairs.tsv", "moved.tsv"), 0);
  works("train --pairs moved.tsv --steps 3 --out run");
  refuses(2,
          "--pairs: pairs.tsv: cannot read: No such file or directory: the run has its own copy: leave "
          "--pairs out",
          "train --pairs pairs.tsv --steps 4 --out run");
  put_pairs("moved.tsv", 99);
  refuses(2, "--pairs moved.tsv differs from what the run learns from",
          "train --pairs moved.tsv --steps 4 --out run");
  refuses(2, "--valid differs", "train --valid moved.tsv --steps 4 --out run");
  works("train --steps 4 --out run");
}

/* ---- directories that hold no run -------------------------------------------------------------------------- */

Test(translate_directory, one_that_is_misspelt_is_no_new_run) {
  refuses(2, "rum holds no run to go on with: a new one wants --task NAME or --pairs FILE",
          "train --out rum --steps 3");
  cr_assert_not(exists("rum"));
}

Test(translate_directory, one_without_a_run_is_no_run) {
  put_text("file", "text\n");
  cr_assert_eq(mkdir("empty", 0777), 0);
  const char *const commands[] = {"decode", "eval", "gradcheck"};
  for (int i = 0; i < 3; i++) {
    refuses(1, "empty/config.json: cannot read: No such file or directory", "%s empty", commands[i]);
    refuses(1, "missing/config.json: cannot read: No such file or directory", "%s missing", commands[i]);
    refuses(1, "file/config.json: cannot read: Not a directory", "%s file", commands[i]);
  }
}

Test(translate_directory, one_that_may_not_be_read) {
  make_run();
  cr_assert_eq(chmod("run", 0), 0);
  as_nobody = true;
  if (geteuid()) {
    translate("decode run");
    assert_complains(1, "run/config.json: cannot read: Permission denied");
  } else refuses(1, "run/config.json: cannot read: Permission denied", "decode run");
  cr_assert_eq(chmod("run", 0755), 0);
}
