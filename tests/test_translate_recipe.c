/* translate train: what a recipe can ask for, and a recipe in a file. */
#include "../examples/translate/settings.h"
#include "translate_run.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>

TestSuite(translate_recipe, .init = enter_directory, .fini = leave_directory);

/* The weights of an update depend on those before it alone, not on how many are to come. */
#define STEADY "train " SMALL " --schedule constant --warmup 1 --rate 0.01 --batch 8"

/* ---- reading what a run wrote ---------------------------------------------------------------------------- */

#define LINES_MAX 200

/* The values of a key in metrics.jsonl, by step; NAN: none. */
static void metric(const char *run, const char *key, double at[LINES_MAX]) {
  char path[64];
  int64_t *steps;
  double *values;
  size_t count;
  th_error error;
  snprintf(path, sizeof path, "%s/metrics.jsonl", run);
  for (int i = 0; i < LINES_MAX; i++) at[i] = (double)NAN;
  cr_assert_eq(th_metrics_read(path, key, &steps, &values, &count, &error), TH_OK, "%s", error.text);
  for (size_t i = 0; i < count; i++) at[steps[i]] = values[i];
  cr_assert_gt(count, 0, "%s: no %s", path, key);
  free(steps);
  free(values);
}

static th_safetensors *weights(const char *path) {
  th_safetensors *archive;
  th_error error;
  cr_assert_eq(th_safetensors_load(&archive, path, &error), TH_OK, "%s", error.text);
  return archive;
}

static double element(const th_safetensors *archive, const char *name, int64_t index) {
  return th_tensor_get(th_safetensors_find(archive, name), index);
}

/* ---- accumulation --------------------------------------------------------------------------------------- */

/* Numbers in letters, each spelt to another length. Returns how many are trained on; an even number. */
static int put_lengths(void) {
  int trained = 1;
  for (int lines = 60; trained % 2; lines++) {
    FILE *file = fopen("pairs.tsv", "w");
    for (int i = 0; i < lines; i++)
      fprintf(file, "%.*s%c%c\t%.*s\n", i % 7, "aaaaaaaa", 'b' + i / 20, 'b' + i % 20, 1 + i % 11,
              "edcbaedcbae");
    fclose(file);
    remove_tree("count");
    works("train " SMALL_PAIRS " --steps 1 --out count");
    cr_assert_eq(sscanf(strchr(last.out, '\n'), "%d pairs to train on", &trained), 1);
  }
  return trained;
}

/* An epoch of two batches, one of short pairs and one of long, is the epoch of one. */
Test(translate_recipe, two_batches_in_an_update_are_one_of_twice_the_size) {
  static const char *const keys[] = {"loss", "gradient_norm"};
  double whole[LINES_MAX], halves[LINES_MAX];
  int trained = put_lengths();
  works("train " SHAPE " --pairs pairs.tsv --dropout 0 --steps 6 --report-every 1 --batch %d --out whole",
        trained);
  works("train " SHAPE
        " --pairs pairs.tsv --dropout 0 --steps 6 --report-every 1 --batch %d --accumulate 2 --out halves",
        trained / 2);
  for (int k = 0; k < 2; k++) {
    metric("whole", keys[k], whole), metric("halves", keys[k], halves);
    for (int step = 1; step <= 6; step++)
      cr_expect_lt(fabs(whole[step] / halves[step] - 1), 1e-5, "%s in step %d: %.9g and %.9g", keys[k], step,
                   whole[step], halves[step]);
  }
}

/* With weights that stand still, and targets of one length, an update of two batches has the mean of their losses:
 * only if each is dropped from as if it were alone. */
Test(translate_recipe, each_batch_of_an_update_has_dropout_of_its_own) {
  const char *still =
      "train " SHAPE " --task reverse --symbols 8 --min-length 6 --max-length 6 --held-out 20 --dropout 0.5 "
      "--rate 1e-12 --batch 8 --report-every 1";
  double one[LINES_MAX], two[LINES_MAX];
  works("%s --steps 4 --out one", still);
  works("%s --steps 2 --accumulate 2 --out two", still);
  metric("one", "loss", one), metric("two", "loss", two);
  for (int step = 1; step <= 2; step++) {
    double mean = (one[2 * step - 1] + one[2 * step]) / 2;
    cr_expect_lt(fabs(two[step] / mean - 1), 1e-6, "%.9g, wanted %.9g", two[step], mean);
    cr_expect_gt(fabs(one[2 * step - 1] / mean - 1), 1e-4, "the two differ");
  }
}

Test(translate_recipe, batches_by_tokens_are_for_pairs) {
  put_lengths();
  works("train " SMALL_PAIRS " --batch-tokens 200 --steps 12 --out pairs");
  refuses(2, "--batch-tokens 200 is for pairs: a toy task takes --batch sequences",
          "train " SMALL " --batch-tokens 200 --out toy");
}

/* ---- decay ------------------------------------------------------------------------------------------------ */

/* Three updates of 0.01 move an element by 0.03; the decay takes 0.14 of it. */
Test(translate_recipe, decay_leaves_norms_alone_unless_told) {
  works(STEADY " --weight-decay 5 --steps 3 --out matrices");
  works(STEADY " --weight-decay 5 --steps 3 --decay all --out all");
  works(STEADY " --weight-decay 0 --steps 3 --out none");
  th_safetensors *matrices = weights("matrices/model.safetensors"), *all = weights("all/model.safetensors"),
                 *none = weights("none/model.safetensors");
  cr_expect_gt(element(matrices, "encoder.norm.weight", 3), 0.96);
  cr_expect_lt(element(all, "encoder.norm.weight", 3), 0.9);
  double with = 0, without = 0;
  for (int64_t i = 0; i < 12 * 16; i++) {
    with += fabs(element(matrices, "output.weight", i));
    without += fabs(element(none, "output.weight", i));
  }
  cr_expect_lt(with / without, 0.93);
  th_safetensors_free(matrices);
  th_safetensors_free(all);
  th_safetensors_free(none);
}

/* ---- validation --------------------------------------------------------------------------------------------- */

#define OVERFIT \
  "train " SMALL_PAIRS " --schedule constant --warmup 1 --rate 0.02 --dropout 0 --label-smoothing 0"

static int lowest(const double loss[LINES_MAX], int until) {
  int best = 1;
  for (int step = 1; step <= until; step++)
    if (loss[step] < loss[best]) best = step;
  return best;
}

Test(translate_recipe, the_best_weights_are_those_of_the_lowest_validation_loss) {
  double loss[LINES_MAX], held_out[LINES_MAX];
  put_pairs("pairs.tsv", 100);
  works(OVERFIT " --steps 60 --validate-every 1 --report-every 60 --out run");
  metric("run", "validation_loss", loss), metric("run", "held_out_loss", held_out);
  int best = lowest(loss, 60);
  cr_assert(best > 5 && best < 60, "step %d of 60 is the best: no test", best);
  cr_expect_lt(fabs(loss[60] / held_out[60] - 1), 1e-6, "fewer held-out pairs than a report looks at");
  assert_says("the lowest so far");
  assert_says("\n  best ");
  works(OVERFIT " --steps %d --out twin", best);
  cr_expect(same_bytes("run/best.safetensors", "twin/model.safetensors"));
  cr_expect_not(same_bytes("run/best.safetensors", "run/model.safetensors"));
}

Test(translate_recipe, a_validation_takes_no_more_than_it_is_told_and_always_the_same) {
  double few[LINES_MAX], all[LINES_MAX];
  works(STEADY " --steps 2 --validate-every 1 --validate-most 3 --out few");
  works(STEADY " --steps 2 --validate-every 2 --out all");
  works("train --out few --steps 4"); /* the steps 3 and 4 change nothing in the line of step 2 */
  metric("few", "validation_loss", few), metric("all", "validation_loss", all);
  cr_expect(isnan(all[1]) && !isnan(few[1]));
  cr_expect_neq(few[2], all[2]);
  works(STEADY " --held-out 3 --steps 2 --validate-every 2 --out three");
  metric("three", "validation_loss", all);
  cr_expect_eq(few[2], all[2]);
}

Test(translate_recipe, validation_changes_no_weight) {
  works(STEADY " --dropout 0.1 --steps 6 --out plain");
  works(STEADY
        " --dropout 0.1 --steps 6 --validate-every 2 --ema 0.9 --average 2 --save-every 2 --out watched");
  cr_expect(same_bytes("plain/model.safetensors", "watched/model.safetensors"));
}

Test(translate_recipe, patience_ends_a_run_that_is_then_complete) {
  double loss[LINES_MAX];
  put_pairs("pairs.tsv", 100);
  works(OVERFIT " --steps 60 --validate-every 1 --out whole");
  metric("whole", "validation_loss", loss);
  int ended = 0, worse = 0, best = 1;
  for (int step = 1; worse < 3; step++) {
    cr_assert_leq(step, 60, "the loss never rises: no test");
    if (loss[step] < loss[best] || step == 1) best = step, worse = 0;
    else worse++;
    ended = step;
  }
  works(OVERFIT " --steps 60 --validate-every 1 --patience 3 --out run");
  char text[128];
  snprintf(text, sizeof text,
           "Ended early: the validation loss was lowest at step %d, and not lower in the 3 ", best);
  assert_says(text);
  assert_says("held-out sequences");
  works(OVERFIT " --steps %d --validate-every 1 --out twin", ended);
  cr_expect(same_bytes("run/model.safetensors", "twin/model.safetensors"));
  cr_expect(same_bytes("run/metrics.jsonl", "twin/metrics.jsonl"));
  works("train --out run");
  snprintf(text, sizeof text, "the run in run is complete: it ended early, at step %d, after 3 validations",
           ended);
  assert_says(text);
  assert_says("a higher --patience, or --patience 0, goes on");
  cr_expect(same_bytes("run/model.safetensors", "twin/model.safetensors"));
  works("train --out run --patience 0");
  cr_expect(same_bytes("run/model.safetensors", "whole/model.safetensors"));
  cr_expect(same_bytes("run/best.safetensors", "whole/best.safetensors"));
}

Test(translate_recipe, patience_without_validations_is_refused) {
  refuses(2, "--patience 3 counts validations: want a --validate-every, too",
          "train " SMALL " --patience 3 --out a");
}

/* ---- averages ---------------------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  int64_t index;
} looked_at[] = {
    {"source_embedding.weight", 87}, {"encoder.layers.0.self_attn.in_proj_weight", 100}, {"output.bias", 11}};
enum { LOOKED_AT = sizeof looked_at / sizeof *looked_at };

Test(translate_recipe, the_average_is_that_of_the_last_checkpoints) {
  th_safetensors *at[3];
  char path[64];
  works(STEADY " --steps 22 --save-every 4 --average 3 --out run");
  for (int i = 0; i < 3; i++) {
    works(STEADY " --steps %d --out part%d", 12 + 4 * i, i);
    snprintf(path, sizeof path, "part%d/model.safetensors", i);
    at[i] = weights(path);
  }
  th_safetensors *average = weights("run/average.safetensors");
  for (int k = 0; k < LOOKED_AT; k++) {
    double sum = 0;
    for (int i = 0; i < 3; i++) sum += element(at[i], looked_at[k].name, looked_at[k].index);
    cr_expect_eq((float)element(average, looked_at[k].name, looked_at[k].index), (float)(sum / 3), "%s",
                 looked_at[k].name);
  }
  for (int i = 0; i < 3; i++) th_safetensors_free(at[i]);
  th_safetensors_free(average);
}

Test(translate_recipe, the_moving_average_follows_its_formula) {
  th_safetensors *model, *before, *after;
  works(STEADY " --steps 2 --ema 0.9 --out two");
  works(STEADY " --steps 3 --ema 0.9 --out three");
  before = weights("two/ema.safetensors"), after = weights("three/ema.safetensors");
  model = weights("three/model.safetensors");
  const double keep = (1 + 3) / (10 + 3.); /* below 0.9 */
  for (int k = 0; k < LOOKED_AT; k++) {
    double value = element(model, looked_at[k].name, looked_at[k].index);
    double wanted = keep * element(before, looked_at[k].name, looked_at[k].index) + (1 - keep) * value;
    cr_expect_float_eq(element(after, looked_at[k].name, looked_at[k].index), wanted, 1e-7);
    cr_expect_neq(element(after, looked_at[k].name, looked_at[k].index), value);
  }
  th_safetensors_free(model);
  th_safetensors_free(before);
  th_safetensors_free(after);
}

/* The summary's line for each, with the numbers that an evaluation of these weights finds. */
Test(translate_recipe, the_summary_has_a_line_for_each_kind_of_weights) {
  static const char *const kinds[] = {"last", "best", "average", "ema"};
  works(STEADY " --steps 12 --out plain");
  cr_expect_null(strstr(last.out, "\n  last "));
  works(STEADY " --steps 12 --validate-every 4 --save-every 4 --average 2 --ema 0.5 --out run");
  for (int i = 0; i < 4; i++) {
    char begin[16], json[32];
    double loss, printed;
    snprintf(begin, sizeof begin, "\n  %-8s", kinds[i]);
    works("train --out run");
    const char *line = strstr(last.out, begin);
    cr_assert_not_null(line, "%s: %s", kinds[i], last.out);
    cr_assert_eq(sscanf(line + strlen(begin), "%lf", &printed), 1);
    works("eval run --json --use %s", kinds[i]);
    cr_assert_eq(sscanf(strstr(last.out, "\"loss\""), "%31s %lf", json, &loss), 2);
    cr_expect_float_eq(printed, loss, 6e-6, "%s: %g and %g", kinds[i], printed, loss);
  }
}

/* A run killed between its checkpoint and the files that come after it. */
Test(translate_recipe, weights_that_were_not_written_any_more_are_written_when_it_goes_on) {
  static const char *const files[] = {"model", "best", "average", "ema"};
  char path[64], kept[64];
  works(STEADY " --steps 4 --validate-every 4 --save-every 2 --average 2 --ema 0.5 --out run");
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "run/%s.safetensors", files[i]),
        snprintf(kept, sizeof kept, "%s.kept", files[i]);
    cr_assert_eq(rename(path, kept), 0);
  }
  works("train --out run --steps 5");
  cr_expect(same_bytes("run/best.safetensors", "best.kept"));
  works(STEADY " --steps 4 --validate-every 4 --save-every 2 --average 2 --ema 0.5 --out twin");
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "twin/%s.safetensors", files[i]),
        snprintf(kept, sizeof kept, "%s.kept", files[i]);
    cr_assert_eq(remove(path), 0);
    works("train --out twin");
    cr_expect(same_bytes(path, kept), "%s", path);
  }
}

Test(translate_recipe, weights_that_are_not_there_say_why) {
  works("train " SMALL " --steps 2 --out run");
  refuses(1, "run/best.safetensors: there is none: the run was trained without --validate-every",
          "eval run --use best");
  refuses(1, "run/average.safetensors: there is none: the run was trained without --average",
          "eval run --use average");
  refuses(1, "run/ema.safetensors: there is none: the run was trained without --ema", "eval run --use ema");
  refuses(2, "--use worst: want last, best, average or ema", "eval run --use worst");
  works("train " SMALL " --steps 2 --average 2 --out short");
  refuses(1, "short/average.safetensors: there is none: the run has not come so far",
          "eval short --use average");
}

/* ---- a recipe in a file ------------------------------------------------------------------------------------------ */

#define RECIPE \
  "{\"about\": \"small\", \"task\": \"reverse\", \"width\": 16, \"heads\": 2, \"encoder-layers\": 1, " \
  "\"decoder-layers\": 1,\n" \
  " \"feed-forward\": 32, \"symbols\": 8, \"max-length\": 6, \"held-out\": 20, \"steps\": 5, \"rate\": 0.01"

Test(translate_recipe, a_file_says_what_flags_say) {
  put_text("recipe.json", RECIPE "}");
  works("train --recipe recipe.json --out run");
  works("train " SMALL " --steps 5 --rate 0.01 --out flags");
  cr_expect(same_bytes("run/config.json", "flags/config.json"));
  cr_expect(same_bytes("run/model.safetensors", "flags/model.safetensors"));
}

Test(translate_recipe, flags_win_over_the_file_wherever_they_stand) {
  put_text("recipe.json", RECIPE "}");
  works("train --steps 2 --recipe recipe.json --rate 0.02 --out run");
  works("train " SMALL " --steps 2 --rate 0.02 --out flags");
  cr_expect(same_bytes("run/config.json", "flags/config.json"));
}

Test(translate_recipe, the_same_command_goes_on_with_its_run) {
  put_text("recipe.json", RECIPE "}");
  put_text("other.json", RECIPE ", \"norm\": \"post\"}");
  works("train --recipe recipe.json --steps 3 --out run");
  works("train --recipe recipe.json --out run");
  assert_says("going on in run from step 3 of 5");
  refuses(2, "--norm differs from the run that run/config.json describes",
          "train --recipe other.json --out run");
}

Test(translate_recipe, the_config_of_a_run_is_a_recipe_and_pairs_are_found_from_here) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 2 --out run");
  works("train --recipe run/config.json --out again");
  cr_expect(same_bytes("run/config.json", "again/config.json"));
  cr_expect(same_bytes("run/model.safetensors", "again/model.safetensors"));
  works("train " SMALL " --steps 2 --out toy");
  works("train --recipe toy/config.json --out toy-again");
  cr_expect(same_bytes("toy/model.safetensors", "toy-again/model.safetensors"));
  works("train --recipe run/config.json --task copy --max-length 6 --held-out 20 --out copy");
  assert_says("copy: ");
}

Test(translate_recipe, a_file_that_is_no_recipe_is_refused_with_its_name) {
  refuses(1, "none.json: cannot read: No such file or directory", "train --recipe none.json --out a");
  put_text("recipe.json", RECIPE ", \"widht\": 7}");
  refuses(1, "recipe.json: \"widht\" is no setting; see train --help", "train --recipe recipe.json --out a");
  put_text("recipe.json", RECIPE ", \"norm\": \"past\"}");
  refuses(1, "recipe.json: \"norm\" is of the wrong kind: --norm past: want one of pre|post",
          "train --recipe recipe.json --out a");
  put_text("recipe.json", RECIPE);
  refuses(1, "recipe.json: settings: JSON at line 2, ", "train --recipe recipe.json --out a");
  put_text("recipe.json", "[]");
  refuses(1, "recipe.json: not a JSON object", "train --recipe recipe.json --out a");
  refuses(2, "--recipe: missing argument", "train --out a --recipe");
}

/* In the source tree, two above the program. */
static void recipe_path(char path[PATH_MAX], const char *file) {
  char above[PATH_MAX];
  strcpy(above, program);
  cr_assert_lt(snprintf(path, PATH_MAX, "%s/../../examples/translate/recipes/%s", dirname(above), file),
               PATH_MAX);
}

Test(translate_recipe, every_recipe_of_the_repository_can_be_read) {
  char folder[PATH_MAX], path[PATH_MAX], out[PATH_TEXT];
  settings s;
  given flags;
  th_error error = {0};
  int found = 0;
  recipe_path(folder, "");
  DIR *recipes = opendir(folder);
  cr_assert_not_null(recipes, "%s", folder);
  for (const struct dirent *file; (file = readdir(recipes)) != NULL;) {
    if (file->d_name[0] == '.') continue;
    recipe_path(path, file->d_name);
    const char *words[] = {"train", "--recipe", path, "--out", "a", NULL};
    cr_expect_eq(settings_parse(5, words, &s, &flags, out, &error), TH_OK, "%s: %s", file->d_name,
                 error.text);
    found++;
  }
  closedir(recipes);
  cr_expect_gt(found, 0);
}

Test(translate_recipe, the_recipe_for_reverse_makes_all_kinds_of_weights) {
  char path[PATH_MAX];
  recipe_path(path, "reverse.json");
  works("train --recipe %s " SMALL " --steps 4 --validate-every 2 --save-every 2 --out run", path);
  assert_says("\n  best ");
  assert_says("\n  average ");
  assert_says("\n  ema ");
}

/* ---- what a config.json does not say ---------------------------------------------------------------------------- */

Test(translate_recipe, a_run_whose_config_lacks_a_setting_goes_on_with_its_default) {
  static const char *const later[] = {"batch-tokens", "accumulate",     "decay",         "ema",
                                      "average",      "validate-every", "validate-most", "patience"};
  works(STEADY " --weight-decay 0.5 --steps 4 --out run");
  works(STEADY " --weight-decay 0.5 --steps 8 --out twin");
  json_t *config = json_load_file("run/config.json", 0, NULL);
  for (size_t i = 0; i < sizeof later / sizeof *later; i++)
    cr_assert_eq(json_object_del(config, later[i]), 0);
  cr_assert_eq(json_dump_file(config, "run/config.json", 0), 0);
  json_decref(config);
  works("train --out run --steps 8");
  cr_expect(same_bytes("run/model.safetensors", "twin/model.safetensors"));
  cr_expect(same_bytes("run/config.json", "twin/config.json"));
}
