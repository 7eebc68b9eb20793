/* translate heads: the files of a study, what they say, and what is left when it does not come to its end. */
#include "fault_run.h"

#include <jansson.h>
#include <math.h>
#include <png.h>

#include "tapehead/study.h"

TestSuite(translate_heads, .init = enter_directory, .fini = leave_directory);

#define HEADS 6   /* of SMALL: 2 in each of its three attentions */
#define MOMENTS 4 /* steps 0, 20, 40, 60 */
#define SENTENCES 2
#define SEQUENCES 15 /* of 20 held out */
#define STUDY " --sequences 15 --pruning 5 --sentences 2 "
#define TRAIN "train " SMALL " --steps 60 --snapshot-every 20 "

static const char *const pictures[] = {"atlas.png", "worth.png", "pruning.png", "emergence.png", "map.png"};
#define PICTURES (sizeof pictures / sizeof *pictures)

static void make_study(const char *more) {
  works(TRAIN "--out run");
  works("heads run" STUDY "%s", more);
}

/* ---- the table --------------------------------------------------------------------------------------------- */

/* The field in a line of CSV; it has no quotes. */
static const char *field(const char *line, int column, char text[64]) {
  for (; column; column--) {
    line = strchr(line, ',');
    cr_assert_not_null(line);
    line++;
  }
  size_t length = strcspn(line, ",\n");
  cr_assert_lt(length, 64);
  memcpy(text, line, length);
  text[length] = 0;
  return text;
}

static int column_of(const char *table, const char *name) {
  char text[64];
  for (int i = 0; i < 100; i++)
    if (!strcmp(field(table, i, text), name)) return i;
  return -1;
}

static const char *line_of(const char *table, int number) {
  for (; number; number--) {
    table = strchr(table, '\n');
    cr_assert_not_null(table);
    table++;
  }
  return table;
}

static int count_of(const char *text, size_t length, char c) {
  int count = 0;
  for (size_t i = 0; i < length; i++) count += text[i] == c;
  return count;
}

Test(translate_heads, the_table_has_a_row_for_each_head_and_a_field_for_each_column) {
  size_t size;
  char text[64];
  make_study("");
  char *table = get("run/heads/heads.csv", &size);
  cr_assert_eq(count_of(table, size, '\n'), 1 + HEADS);
  int commas = count_of(table, strcspn(table, "\n"), ',');
  static const char *const labels[HEADS] = {"enc0.0", "enc0.1", "dec0.0", "dec0.1", "cross0.0", "cross0.1"};
  for (int i = 0; i < HEADS; i++) {
    const char *line = line_of(table, i + 1);
    cr_assert_eq(count_of(line, strcspn(line, "\n"), ','), commas);
    cr_assert_str_eq(field(line, 0, text), labels[i]);
    double spread = strtod(field(line, column_of(table, "spread_mean"), text), NULL);
    cr_assert(spread > 0 && spread <= 1, "%s", text);
    /* only a decoder's head has a path to the logits */
    field(line, column_of(table, "attribution"), text);
    cr_assert_eq(*text == 0, i < 2, "%s: %s", labels[i], text);
  }
  free(table);
}

/* ---- JSON ------------------------------------------------------------------------------------------------- */

static json_t *printed(void) {
  json_error_t problem;
  json_t *object = json_loads(last.out, JSON_REJECT_DUPLICATES, &problem);
  cr_assert_not_null(object, "%s: %s", problem.text, last.out);
  return object;
}

static double number_at(const json_t *object, const char *key, const char *below) {
  const json_t *value = json_object_get(object, key);
  if (below) value = json_object_get(value, below);
  cr_assert(json_is_number(value), "%s %s", key, below ? below : "");
  return json_number_value(value);
}

Test(translate_heads, the_numbers_in_json_are_those_of_the_table_and_of_eval) {
  size_t size;
  char text[64];
  works(TRAIN "--out run");
  works("heads run --pruning 5 --sentences 2 --json");
  assert_one_line(last.out);
  json_t *study = printed(), *heads = json_object_get(study, "heads");
  cr_assert_eq(json_array_size(heads), HEADS);
  char *table = get("run/heads/heads.csv", &size);
  for (size_t i = 0; i < HEADS; i++) {
    const json_t *head = json_array_get(heads, i), *worth = json_object_get(head, "worth");
    const char *line = line_of(table, (int)i + 1);
    cr_assert_str_eq(json_string_value(json_object_get(head, "label")), field(line, 0, text));
    cr_assert_str_eq(json_string_value(json_object_get(head, "job")),
                     field(line, column_of(table, "job"), text));
    field(line, column_of(table, "off_loss"), text);
    cr_assert_float_eq(number_at(worth, "off", "loss"), strtod(text, NULL), 1e-8);
  }
  double loss = number_at(study, "whole", "loss"), tokens = number_at(study, "whole", "token_accuracy"),
         exact = number_at(study, "whole", "exact_match");
  cr_assert_eq(number_at(study, "data", "sequences"), 20);
  json_decref(study);
  free(table);
  works("eval run --json");
  json_t *evaluation = printed();
  cr_assert_float_eq(loss, number_at(evaluation, "loss", NULL), 2e-6);
  cr_assert_float_eq(tokens, number_at(evaluation, "token_accuracy", NULL), 1e-12);
  cr_assert_float_eq(exact, number_at(evaluation, "exact_match", NULL), 1e-12);
  json_decref(evaluation);
}

/* What the page of the report has in it. */
static json_t *study_of_report(const char *path) {
  static const char mark[] = "type=\"application/json\">";
  size_t size;
  json_error_t problem;
  char *page = get(path, &size), *begin = strstr(page, mark);
  cr_assert_not_null(begin, "%s has no study", path);
  json_t *study = json_loads(begin + strlen(mark), JSON_DISABLE_EOF_CHECK, &problem);
  cr_assert_not_null(study, "%s", problem.text);
  free(page);
  return study;
}

static size_t list_size(const json_t *object, const char *key, size_t each) {
  const json_t *list = json_object_get(object, key);
  cr_assert(json_is_array(list), "%s", key);
  for (size_t i = 0; each && i < json_array_size(list); i++)
    cr_assert_eq(json_array_size(json_array_get(list, i)), each, "%s %zu", key, i);
  return json_array_size(list);
}

/* All heads' weights on a sentence, as base64 of a byte each. */
static size_t text_of_weights(const json_t *sentence) {
  size_t s = list_size(sentence, "source", 0), t = list_size(sentence, "input", 0);
  cr_assert_eq(list_size(sentence, "output", 0), t);
  return (2 * (s * s + t * t + t * s) + 2) / 3 * 4;
}

Test(translate_heads, the_report_has_every_member_in_its_size) {
  make_study("");
  json_t *study = study_of_report("run/heads/report.html"), *one;
  cr_assert_eq(list_size(study, "looks", 0), TH_LOOKS);
  cr_assert_eq(list_size(study, "heads", 0), HEADS);
  cr_assert_eq(list_size(study, "kinds", 0), 3);
  cr_assert_eq(list_size(study, "redundancy", 0), 3);
  cr_assert_eq(list_size(study, "steps", 0), MOMENTS);
  cr_assert_eq(list_size(study, "weights", MOMENTS), SENTENCES);
  cr_assert_eq(list_size(study, "norms", 0), SENTENCES);
  one = json_object_get(study, "subspaces");
  cr_assert_eq(list_size(one, "query", HEADS), HEADS);
  cr_assert_eq(list_size(one, "key", HEADS), HEADS);
  cr_assert_eq(list_size(one, "own", 0), HEADS);
  one = json_object_get(json_object_get(study, "removal"), "greedy");
  cr_assert_eq(list_size(one, "order", 0), HEADS);
  cr_assert_eq(list_size(one, "after", 0), HEADS);
  one = json_object_get(study, "emergence");
  cr_assert_eq(list_size(one, "loss", 0), MOMENTS);
  cr_assert_eq(list_size(one, "heads", 0), HEADS);
  one = json_array_get(json_object_get(one, "heads"), 0);
  cr_assert_eq(list_size(one, "job", 0), MOMENTS);
  cr_assert_eq(list_size(json_object_get(one, "looks"), "diagonal", 0), MOMENTS);
  for (size_t i = 0; i < SENTENCES; i++) {
    size_t wanted = text_of_weights(json_array_get(json_object_get(study, "sentences"), i));
    const json_t *weights = json_array_get(json_object_get(study, "weights"), i);
    cr_assert_eq(json_string_length(json_array_get(weights, MOMENTS - 1)), wanted);
    cr_assert_eq(json_string_length(json_array_get(json_object_get(study, "norms"), i)), wanted);
  }
  json_decref(study);
}

/* ---- arrays and pictures ------------------------------------------------------------------------------------ */

static th_tensor load(const char *name, int ndim, const int64_t *shape) {
  char path[128];
  th_tensor tensor;
  th_error error;
  snprintf(path, sizeof path, "run/heads/%s", name);
  cr_assert_eq(th_npy_load(&tensor, path, &error), TH_OK, "%s", error.text);
  cr_assert_eq(tensor.ndim, ndim, "%s", name);
  for (int i = 0; i < ndim && shape; i++) cr_assert_eq(tensor.shape[i], shape[i], "%s, axis %d", name, i);
  return tensor;
}

static void has_shape(const char *name, int ndim, const int64_t *shape) {
  th_tensor tensor = load(name, ndim, shape);
  th_tensor_free(&tensor);
}

Test(translate_heads, arrays_have_the_shapes_that_are_promised) {
  make_study("");
  has_shape("distance.npy", 2, (int64_t[]){HEADS, HEADS});
  has_shape("query_similarity.npy", 2, (int64_t[]){HEADS, HEADS});
  has_shape("key_similarity.npy", 2, (int64_t[]){HEADS, HEADS});
  has_shape("query_key_similarity.npy", 1, (int64_t[]){HEADS});
  has_shape("removal.npy", 3, (int64_t[]){3, HEADS + 1, 3});
  has_shape("emergence.npy", 3, (int64_t[]){MOMENTS, HEADS, TH_LOOKS});
  has_shape("outcomes.npy", 2, (int64_t[]){MOMENTS, 3});
  th_tensor steps = load("steps.npy", 1, (int64_t[]){MOMENTS});
  for (int i = 0; i < MOMENTS; i++) cr_assert_eq(th_tensor_get(&steps, i), 20 * i);
  th_tensor_free(&steps);
  th_tensor order = load("removal_order.npy", 2, (int64_t[]){3, HEADS});
  for (int way = 0; way < 3; way++) {
    int seen = 0;
    for (int i = 0; i < HEADS; i++) seen |= 1 << (int)th_tensor_get(&order, way * HEADS + i);
    cr_assert_eq(seen, (1 << HEADS) - 1, "every head goes once");
  }
  th_tensor_free(&order);
}

Test(translate_heads, rows_of_weights_sum_to_one_and_end_in_nan) {
  make_study("");
  th_tensor weights = load("weights.npy", 4, NULL);
  cr_assert_eq(weights.shape[0], SENTENCES);
  cr_assert_eq(weights.shape[1], HEADS);
  cr_assert_eq(weights.shape[2], weights.shape[3]);
  int64_t n = weights.shape[3], whole = 0;
  for (int64_t row = 0; row < SENTENCES * HEADS * n; row++) {
    double sum = 0;
    int64_t k = 0;
    for (; k < n && !isnan(th_tensor_get(&weights, row * n + k)); k++)
      sum += th_tensor_get(&weights, row * n + k);
    if (k) cr_assert_float_eq(sum, 1, 1e-5);
    whole += k > 0;
    for (; k < n; k++) cr_assert(isnan(th_tensor_get(&weights, row * n + k)));
  }
  cr_assert_gt(whole, SENTENCES * HEADS);
  th_tensor_free(&weights);
}

Test(translate_heads, pictures_are_whole) {
  char path[64];
  make_study("");
  for (size_t i = 0; i < PICTURES; i++) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    snprintf(path, sizeof path, "run/heads/%s", pictures[i]);
    cr_assert(png_image_begin_read_from_file(&image, path), "%s: %s", path, image.message);
    image.format = PNG_FORMAT_RGB;
    unsigned char *pixels = malloc(PNG_IMAGE_SIZE(image));
    cr_assert(png_image_finish_read(&image, NULL, pixels, 0, NULL), "%s: %s", path, image.message);
    free(pixels);
  }
}

Test(translate_heads, of_a_pruned_run_keep_their_numbers) {
  char text[64];
  size_t size;
  works(TRAIN "--out whole");
  works("prune whole --heads enc0.0,dec0.0,1,cross0.1 --out run");
  works("heads run" STUDY);
  char *table = get("run/heads/heads.csv", &size);
  cr_assert_eq(count_of(table, size, '\n'), 1 + 2);
  cr_assert_str_eq(field(line_of(table, 1), 0, text), "enc0.1");
  cr_assert_str_eq(field(line_of(table, 2), 0, text), "cross0.0");
  free(table);
  cr_assert(exists("run/heads/atlas.png"));
  works("prune run --heads enc0.1,cross0.0 --out none");
  refuses(1, "none: it has no heads left to study", "heads none");
  cr_assert_not(exists("none/heads"));
}

Test(translate_heads, without_snapshots_there_is_no_emergence_and_a_line_says_so) {
  works("train " SMALL " --steps 20 --snapshot-every 0 --out run");
  works("heads run" STUDY);
  assert_says("no weights of earlier steps: train --snapshot-every N keeps them");
  cr_assert(!exists("run/heads/emergence.png"));
  has_shape("emergence.npy", 3, (int64_t[]){1, HEADS, TH_LOOKS});
}

Test(translate_heads, many_snapshots_are_thinned_evenly) {
  works("train " SMALL " --steps 50 --snapshot-every 1 --out run");
  works("heads run" STUDY);
  assert_says("looked at 39 of 50 snapshots");
  th_tensor steps = load("steps.npy", 1, (int64_t[]){40});
  cr_assert_eq(th_tensor_get(&steps, 0), 0);
  for (int i = 1; i < 40; i++) {
    double gap = th_tensor_get(&steps, i) - th_tensor_get(&steps, i - 1);
    cr_assert(gap == 1 || gap == 2, "a gap of %g", gap);
  }
  cr_assert_eq(th_tensor_get(&steps, 39), 50);
  th_tensor_free(&steps);
}

/* ---- the same again ------------------------------------------------------------------------------------------ */

Test(translate_heads, are_the_same_bytes_again_and_with_two_threads) {
  make_study("--threads 1");
  cr_assert_eq(rename("run/heads", "first"), 0);
  works("heads run" STUDY "--threads 2");
  assert_same_tree("first", "run/heads");
  works("heads run" STUDY "--threads 2"); /* in the place of another one */
  assert_same_tree("first", "run/heads");
  assert_nothing_left_over();
}

Test(translate_heads, of_other_weights_and_other_pairs_are_others) {
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --steps 20 --ema 0.9 --out run");
  works("heads run" STUDY);
  cr_assert_eq(rename("run/heads", "first"), 0);
  works("heads run" STUDY "--use ema");
  cr_assert(!same_bytes("first/heads.csv", "run/heads/heads.csv"));
  put_text("some.tsv", "abc\tcba\nbcd\ta\nd\tab\n");
  works("heads run" STUDY "--pairs some.tsv");
  assert_says("over 3 pairs");
  cr_assert(!same_bytes("first/heads.csv", "run/heads/heads.csv"));
}

/* ---- several runs ------------------------------------------------------------------------------------------------ */

Test(translate_heads, of_one_run_go_where_they_are_wanted) {
  works(TRAIN "--out run");
  works("heads run --out its/study/" STUDY);
  assert_says("pictures and arrays: its/study\n");
  works("heads run --out its/study" STUDY); /* in the place of the first */
  cr_assert_not(exists("run/heads"));
  works("heads run" STUDY);
  cr_expect(same_bytes("run/heads/heads.csv", "its/study/heads.csv"));
  put_text("its/study/notes", "mine\n");
  refuses(1, "its/study: notes in it is not of the study: move it away", "heads run --out its/study" STUDY);
}

Test(translate_heads, of_several_runs_are_compared) {
  size_t size;
  char text[64];
  works(TRAIN "--out a");
  works(TRAIN "--seed 2 --out b");
  refuses(1, "c/config.json: cannot read: No such file or directory", "heads a c --out both" STUDY);
  put_text("file", "text\n");
  refuses(1, "--out file: exists and is no directory", "heads a b --out file" STUDY);
  cr_assert_not(exists("a/heads"), "found before the first is studied");
  works("heads a b --out both" STUDY);
  assert_says("what repeats, in all 2 runs:");
  assert_says("both/jobs.csv");
  char *table = get("both/jobs.csv", &size);
  int heads = 0, rows = count_of(table, size, '\n') - 1;
  for (int i = 1; i <= rows; i++) {
    const char *line = line_of(table, i);
    heads += atoi(field(line, column_of(table, "heads"), text));
    int runs = atoi(field(line, column_of(table, "runs"), text));
    cr_assert(runs == 1 || runs == 2);
  }
  cr_assert_eq(heads, 2 * HEADS);
  free(table);
  table = get("both/estimates.csv", &size);
  cr_assert_eq(count_of(table, size, '\n'), 3);
  for (int i = 1; i <= 2; i++) {
    double agrees = atof(field(line_of(table, i), column_of(table, "importance_rank_correlation"), text));
    cr_assert(agrees >= -1 && agrees <= 1);
    size_t own_size;
    char *own = get(i == 1 ? "a/heads/heads.csv" : "b/heads/heads.csv", &own_size);
    int most = 1;
    for (int h = 2; h <= HEADS; h++) {
      double before = atof(field(line_of(own, most), column_of(own, "off_loss"), text));
      if (atof(field(line_of(own, h), column_of(own, "off_loss"), text)) > before) most = h;
    }
    char costly[64];
    field(line_of(own, most), column_of(own, "label"), costly);
    cr_assert_str_eq(field(line_of(table, i), column_of(table, "most_costly"), text), costly);
    free(own);
  }
  free(table);
  cr_assert(exists("both/jobs.png"));
  cr_assert(exists("a/heads/report.html") && exists("b/heads/report.html"));
  works("heads a b --out both --json" STUDY);
  json_t *object = printed();
  cr_assert_eq(list_size(object, "runs", 0), 2);
  cr_assert_eq((int)list_size(object, "jobs", 0), rows);
  json_decref(object);
}

/* ---- what is wrong ------------------------------------------------------------------------------------------------ */

Test(translate_heads, want_a_run_and_numbers_that_are_possible) {
  refuses(2, "want a run's directory, or several: translate heads DIR [DIR...]", "heads");
  refuses(2, "--sequences 0: want a whole number from 1 to ", "heads run --sequences 0");
  refuses(2, "--pruning -1: want a whole number from 1 to ", "heads run --pruning -1");
  refuses(2, "--sentences 101: want a whole number from 1 to 100", "heads run --sentences 101");
  refuses(2, "--threads -1: want a whole number from 0 to ", "heads run --threads -1");
  refuses(2, "--use first: want last, best, average or ema", "heads run --use first");
  refuses(2, "--single: unknown option; see translate heads --help", "heads run --single");
  refuses(2, "--out DIR is missing", "heads a b");
  refuses(2, "--out: want the name of a directory", "heads a --out=");
  refuses(1, "run/config.json: cannot read", "heads run");
  works("heads --help");
  assert_says("--sequences=N");
}

Test(translate_heads, of_a_run_that_lacks_something_are_not_begun) {
  works("train " SMALL " --steps 2 --out run");
  refuses(1, "best.safetensors: there is none", "heads run --use best");
  refuses(1, "none.tsv: cannot read", "heads run --pairs none.tsv");
  refuses(1, "none/config.json: cannot read", "heads none");
  cr_assert_eq(mkdir("run/heads", 0777), 0);
  put_text("run/heads/notes.txt", "mine\n");
  refuses(1, "run/heads: notes.txt in it is not of the study: move it away", "heads run");
  remove_tree("run/heads");
  put_text("run/heads", "mine\n");
  refuses(1, "run/heads: is no directory of ours: move it away", "heads run");
}

Test(translate_heads, that_were_there_stay_when_new_ones_fail) {
  make_study("");
  cr_assert_eq(truncate("run/snapshots/step-00000020.safetensors", 1000), 0);
  refuses(1, "step-00000020.safetensors: ", "heads run" STUDY);
}

/* ---- stopped, killed, failing ------------------------------------------------------------------------------------- */

#define FAULTS 12 /* calls that fail, at even steps */

Test(translate_heads, survive_a_call_that_fails_or_kills) {
  make_study("");
  works("heads run" STUDY);
  cr_assert_eq(rename("run/heads", "whole"), 0);
  works("heads run" STUDY);
  call_list list = count_calls("heads run" STUDY);
  long calls = list.count, step = thorough() ? 1 : calls / FAULTS;
  free(list.calls);
  for (long call = 1 + step / 2; call <= calls; call += step) {
    plan_call(call, call / step % 2 ? "kill" : "ENOSPC");
    int status = translate("heads run" STUDY);
    plan_nothing();
    cr_assert(status == 0 || status == 1 || status == 128 + SIGKILL, "status %d: %s", status, last.err);
    assert_same_tree("whole", "run/heads");
    if (status == 128 + SIGKILL) works("heads run" STUDY);
    assert_nothing_left_over();
    assert_same_tree("whole", "run/heads");
  }
}

Test(translate_heads, stopped_by_a_signal_leave_nothing) {
  char *words[] = {program, "heads", "run", "--pruning", "1000", "--sequences", "1000", NULL};
  char path[64];
  works("train " SMALL " --held-out 1000 --steps 2 --out run");
  uint64_t before = everything_here();
  int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  pid_t child = start_program(words, nowhere, nowhere);
  close(nowhere);
  snprintf(path, sizeof path, "run/heads.unfinished-%d", (int)child);
  while (!exists(path) && !waitpid(child, NULL, WNOHANG)) usleep(1000);
  cr_assert_eq(kill(child, SIGINT), 0);
  cr_assert_eq(wait_for(child), 128 + SIGINT);
  cr_assert_eq(everything_here(), before);
}
