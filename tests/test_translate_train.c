/* translate train: the same run gives the same bytes however it is cut in pieces, and says what it does. */
#include "translate_run.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <sys/ioctl.h>

TestSuite(translate_train, .init = enter_directory, .fini = leave_directory);

/* What must not change a single byte: dropout on, checkpoints at odd places. */
#define TOY "train " SMALL " --dropout 0.1 --batch 16 --save-every 7 --snapshot-every 9"
#define PAIRS "train " SMALL_PAIRS " --dropout 0.1 --save-every 7"
#define ALL PAIRS " --batch-tokens 80 --accumulate 2 --validate-every 3 --average 3 --ema 0.9"
static const char *const tasks[] = {TOY, PAIRS, ALL};
enum { TASKS = sizeof tasks / sizeof *tasks };

/* ---- the same seed ------------------------------------------------------------------------------------- */

Test(translate_train, the_same_seed_gives_the_same_bytes_with_any_number_of_threads) {
  works("train " SMALL " --dropout 0.1 --steps 20 --threads 1 --out one");
  works("train " SMALL " --dropout 0.1 --steps 20 --threads 2 --out two");
  assert_same_run("one", "two");
}

Test(translate_train, a_model_whose_products_are_cut_for_threads_gives_the_same_bytes) {
  works("train --task reverse --width 128 --batch 64 --held-out 20 --steps 3 --threads 1 --out one");
  works("train --task reverse --width 128 --batch 64 --held-out 20 --steps 3 --threads 2 --out two");
  assert_same_run("one", "two");
}

Test(translate_train, another_seed_gives_other_bytes) {
  works("train " SMALL " --steps 2 --out one");
  works("train " SMALL " --steps 2 --seed 2 --out two");
  cr_assert_not(same_bytes("one/model.safetensors", "two/model.safetensors"));
}

Test(translate_train, how_often_it_reports_or_saves_changes_nothing) {
  works("train " SMALL " --dropout 0.1 --steps 12 --out one");
  works("train " SMALL " --dropout 0.1 --steps 12 --report-every 1 --save-every 5 --out two");
  assert_same_run("one", "two");
}

/* ---- a profile ---------------------------------------------------------------------------------------- */

Test(translate_train, a_profile_says_where_the_time_goes_and_changes_nothing_else) {
  works("train " SMALL " --steps 30 --out one");
  works("train " SMALL " --steps 30 --profile 15 --out two");
  static const char *const rows[] = {"\nlinear backward ", "\nattention ", "\nAdam ", "\nbatches ",
                                     "\na step "};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    cr_expect(strstr(last.out, rows[i]), "no row%s in: %s", rows[i], last.out);
  cr_expect(strstr(last.out,
                   "\n15 steps profiled; a trace of each op, for ui.perfetto.dev or chrome://tracing: "
                   "two/profile.json\n"));
  json_error_t where;
  json_t *trace = json_load_file("two/profile.json", JSON_REJECT_DUPLICATES, &where), *event;
  cr_assert_not_null(trace, "%s", where.text);
  size_t i;
  int steps = 0, linears = 0;
  json_array_foreach (json_object_get(trace, "traceEvents"), i, event) {
    const char *name = json_string_value(json_object_get(event, "name"));
    cr_assert(json_number_value(json_object_get(event, "dur")) >= 0);
    steps += !strcmp(name, "step"), linears += !strcmp(name, "linear");
  }
  cr_expect_eq(steps, 15);
  cr_expect(linears > 0 && linears % 15 == 0);
  json_decref(trace);
  cr_assert_eq(unlink("two/profile.json"), 0);
  assert_same_run("one", "two");
}

Test(translate_train, a_profile_of_no_steps_is_refused_or_said) {
  cr_assert_eq(translate("train " SMALL " --steps 2 --profile 0 --out x"), 2);
  assert_complains(2, "--profile 0: want a whole number from 1 to 1000");
  works("train " SMALL " --steps 2 --out x");
  works("train --out x --profile 5");
  cr_expect(strstr(last.out, "no step profiled: the run has none left\n"));
  cr_expect_not(exists("x/profile.json"));
}

/* ---- numbers that are none --------------------------------------------------------------------------- */

#define DIVERGING "train " SMALL " --rate 100 --weight-decay 10 --schedule constant --warmup 1 --steps 40"

static void assert_finite(const char *path) {
  th_safetensors *archive;
  cr_assert_eq(th_safetensors_load(&archive, path, NULL), TH_OK);
  for (size_t i = 0; i < th_safetensors_count(archive); i++) {
    const th_tensor *t = th_safetensors_tensor(archive, i);
    for (int64_t k = 0; k < th_tensor_count(t); k++)
      cr_assert(isfinite(th_tensor_get(t, k)), "%s: %s", path, th_safetensors_name(archive, i));
  }
  th_safetensors_free(archive);
}

/* The largest difference between the weights of two runs. */
static double apart(const char *a, const char *b) {
  th_safetensors *x, *y;
  double most = 0;
  cr_assert(th_safetensors_load(&x, a, NULL) == TH_OK && th_safetensors_load(&y, b, NULL) == TH_OK);
  for (size_t i = 0; i < th_safetensors_count(x); i++) {
    const th_tensor *t = th_safetensors_tensor(x, i), *u = th_safetensors_find(y, th_safetensors_name(x, i));
    for (int64_t k = 0; k < th_tensor_count(t); k++)
      most = fmax(most, fabs(th_tensor_get(t, k) - th_tensor_get(u, k)));
  }
  th_safetensors_free(x), th_safetensors_free(y);
  return most;
}

/* Adam divides by a gradient's size: where one is nearly 0 its rounding shows. Other masks would change far more. */
Test(translate_train, batches_in_parts_train_as_whole_ones_do_to_rounding_with_their_dropout) {
  works("train " SMALL " --batch 16 --dropout 0.3 --accumulate 2 --steps 3 --parts 1 --out whole");
  works("train " SMALL " --batch 16 --dropout 0.3 --accumulate 2 --steps 3 --parts 8 --out parts");
  works("train " SMALL " --batch 16 --dropout 0.3 --accumulate 2 --steps 3 --seed 2 --out other");
  double rounding = apart("whole/model.safetensors", "parts/model.safetensors");
  cr_expect(rounding > 0 && rounding < 1e-4, "%g", rounding);
  cr_expect(apart("whole/model.safetensors", "other/model.safetensors") > 0.1);
  works("train --steps 5 --parts 4 --out whole"); /* they may change */
}

Test(translate_train, parts_that_do_not_fit_a_batch_are_refused_before_anything_is_written) {
  refuses(2, "--parts 16: more than the 8 sequences of a batch",
          "train " SMALL " --batch 8 --parts 16 --out x");
  refuses(2, "6 parts for 1 rank: want a power of two, and one for each rank",
          "train " SMALL " --parts 6 --out x");
  cr_expect(!exists("x"));
}

/* Writes a NaN into the file, in the middle of the tensor. */
static void spoil(const char *path, const char *name) {
  size_t size;
  char *bytes = get(path, &size);
  th_safetensors *archive;
  cr_assert_eq(th_safetensors_parse(&archive, path, bytes, size, NULL), TH_OK);
  const th_tensor *t = th_safetensors_find(archive, name);
  cr_assert_not_null(t, "%s", name);
  cr_assert((char *)t->data > bytes && (char *)t->data < bytes + size);
  th_tensor_set(t, th_tensor_count(t) / 2, (double)NAN);
  th_safetensors_free(archive);
  put(path, bytes, size);
  free(bytes);
}

Test(translate_train, a_step_that_is_not_finite_is_refused_with_its_op_and_the_last_checkpoint_stays) {
  cr_assert_eq(translate(DIVERGING " --save-every 3 --out y"), 1);
  assert_complains(1, "; the last checkpoint is kept: a lower --rate may help");
  cr_assert(strstr(last.err, "has a NaN at element") || strstr(last.err, "has an infinity at element"), "%s",
            last.err);
  char *said = strdup(last.err);
  long long step = 0;
  cr_assert_eq(sscanf(said, "translate train: step %lld:", &step), 1, "%s", said);
  cr_assert_gt(step, 3);
  assert_finite("y/optimizer.safetensors");
  assert_finite("y/model.safetensors");
  copy("y/optimizer.safetensors", "kept");
  cr_assert_eq(translate("train --out y"), 1); /* from the checkpoint to the same step and the same words */
  cr_assert_str_eq(last.err, said);
  cr_assert(same_bytes("y/optimizer.safetensors", "kept"));
  free(said);
}

Test(translate_train, a_weight_that_is_not_finite_is_named_and_not_trained_on) {
  works("train " SMALL " --steps 2 --out x");
  spoil("x/optimizer.safetensors", "decoder.layers.0.linear1.weight");
  copy("x/optimizer.safetensors", "before");
  cr_assert_eq(translate("train --steps 4 --out x"), 1);
  assert_complains(
      1, "step 3: parameter decoder.layers.0.linear1.weight is not finite; the last checkpoint is kept");
  cr_assert(same_bytes("x/optimizer.safetensors", "before"));
}

/* ---- the model ------------------------------------------------------------------------------------------ */

Test(translate_train, tied_matrices_stand_once_in_the_files_and_are_read_back) {
  works("train " SMALL " --tie all --steps 3 --out tied");
  th_safetensors *file;
  cr_assert_eq(th_safetensors_load(&file, "tied/model.safetensors", NULL), TH_OK);
  cr_assert_not_null(th_safetensors_find(file, "target_embedding.weight"));
  cr_assert_not_null(th_safetensors_find(file, "output.bias"));
  cr_assert_null(th_safetensors_find(file, "source_embedding.weight"));
  cr_assert_null(th_safetensors_find(file, "output.weight"));
  th_safetensors_free(file);
  works("gradcheck tied");
  works("train " SMALL " --tie all --steps 6 --out whole");
  works("train --out tied --steps 6");
  assert_same_run("tied", "whole");
}

Test(translate_train, every_kind_of_positions_trains_and_is_read_back) {
  static const char *const kinds[] = {"sinusoidal", "learned", "rotary", "alibi", "relative", "none"};
  for (int i = 0; i < 6; i++) {
    works("train " SMALL " --positions %s --steps 2 --out %s", kinds[i], kinds[i]);
    works("gradcheck %s", kinds[i]);
    for (int k = 0; k < i; k++) {
      char a[64], b[64];
      snprintf(a, sizeof a, "%s/model.safetensors", kinds[i]);
      snprintf(b, sizeof b, "%s/model.safetensors", kinds[k]);
      cr_assert_not(same_bytes(a, b), "%s and %s", kinds[i], kinds[k]);
    }
  }
}

/* ---- stopped and gone on with --------------------------------------------------------------------------- */

/* Strictly rising steps, whole lines, the last of them at the end of the run. */
static void assert_metrics_rise_to(const char *path, json_int_t last_step) {
  FILE *file = fopen(path, "r");
  cr_assert_not_null(file);
  char line[1024];
  json_int_t before = 0;
  while (fgets(line, sizeof line, file)) {
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    json_int_t step = json_integer_value(json_object_get(object, "step"));
    cr_assert(json_is_object(object), "%s: %s", path, line);
    cr_assert_gt(step, before, "%s: step %d after %d", path, (int)step, (int)before);
    before = step;
    json_decref(object);
  }
  fclose(file);
  cr_assert_eq(before, last_step);
}

Test(translate_train, two_halves_make_the_same_as_one_run) {
  put_pairs("pairs.tsv", 100);
  for (int i = 0; i < TASKS; i++) {
    remove_tree("whole");
    remove_tree("halves");
    works("%s --schedule constant --report-every 3 --steps 20 --out whole", tasks[i]);
    works("%s --schedule constant --report-every 3 --steps 10 --out halves", tasks[i]);
    works("train --out halves --steps 20");
    assert_says("going on in halves from step 10 of 20");
    assert_same_run("halves", "whole");
    assert_metrics_rise_to("halves/metrics.jsonl", 20);
  }
}

Test(translate_train, a_run_that_goes_on_keeps_no_snapshot_of_what_it_has_not_done) {
  works("train " SMALL " --schedule constant --snapshot-every 3 --steps 9 --out run");
  cr_assert(same_bytes("run/snapshots/step-00000009.safetensors", "run/model.safetensors"));
  put_text("run/snapshots/step-00000012.safetensors", "of a step to come\n");
  put_text("run/snapshots/notes.txt", "somebody's\n");
  works("train --out run --steps 11");
  cr_assert_not(exists("run/snapshots/step-00000012.safetensors"));
  cr_assert(exists("run/snapshots/step-00000009.safetensors") && exists("run/snapshots/notes.txt"));
}

Test(translate_train, pairs_keep_no_snapshots_unless_asked) {
  put_pairs("pairs.tsv", 50);
  works("train " SMALL_PAIRS " --steps 2 --out run");
  cr_assert_not(exists("run/snapshots"));
}

Test(translate_train, settings_given_to_go_on_are_kept) {
  works("train " SMALL " --schedule constant --steps 2 --out run");
  works("train --out run --steps 4 --report-every 1");
  works("train --out run");
  assert_says("all 4 steps are made");
}

/* A training process whose standard output is a pipe too small for all its lines, so that it cannot run
 * ahead of who reads them. */
typedef struct trainee {
  pid_t child;
  int out;
} trainee;

static __attribute__((format(printf, 1, 2))) trainee start(const char *format, ...) {
  command_line a;
  int ends[2], errors = open("errors", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  va_list values;
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
  cr_assert_geq(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
  pid_t child = start_program(a.word, ends[1], errors);
  close(ends[1]);
  close(errors);
  return (trainee){child, ends[0]};
}

/* Reads on until a line says that step `step` is made. */
static void read_to_step(const trainee *t, int step) {
  char line[256];
  size_t length = 0;
  int made = 0;
  while (made < step) {
    cr_assert_eq(read(t->out, line + length, 1), 1, "it ended before step %d", step);
    if (line[length++] != '\n' && length < sizeof line - 1) continue;
    line[length] = 0;
    length = 0;
    sscanf(line, "step %d", &made);
  }
}

/* Until nothing more goes into the pipe: the program then waits in write(). */
static void wait_until_full(const trainee *t) {
  int before = 0, now = 0;
  read_to_step(t, 1);
  do {
    usleep(50000);
    before = now;
    cr_assert_eq(ioctl(t->out, FIONREAD, &now), 0);
  } while (now < 3000 || now > before);
}

/* Reads what is left and waits; the status as in `last`. */
static int end_of(const trainee *t, char *text, size_t room) {
  size_t length = 0;
  for (ssize_t got; (got = read(t->out, text + length, room - 1 - length)) > 0;) length += (size_t)got;
  text[length] = 0;
  close(t->out);
  return wait_for(t->child);
}

Test(translate_train, commands_to_paste_are_quoted_for_a_shell) {
  works("train " SMALL " --steps 5 --out it's");
  assert_says("/translate decode 'it'\\''s'\n");
}

Test(translate_train, a_run_stopped_by_ctrl_c_goes_on_to_the_same_bytes) {
  static char text[65536];
  put_pairs("pairs.tsv", 100);
  for (int i = 0; i < TASKS; i++) {
    remove_tree("whole");
    remove_tree("run");
    works("%s --steps 120 --report-every 4 --out whole", tasks[i]);
    trainee t = start("%s --steps 120 --report-every 4 --out run", tasks[i]);
    read_to_step(&t, 10);
    cr_assert_eq(kill(t.child, SIGINT), 0);
    cr_assert_eq(end_of(&t, text, sizeof text), 130, "%s", text);
    cr_assert(strstr(text, "all saved. To go on: ") && strstr(text, "/translate train --out run\n"), "%s",
              text);
    cr_assert_not(exists("run/curve.png"), "it was stopped in the middle");
    works("train --out run");
    assert_says("going on in run from step ");
    assert_same_run("run", "whole");
    assert_same_file("run", "whole", "metrics.jsonl");
    assert_metrics_rise_to("run/metrics.jsonl", 120);
  }
}

Test(translate_train, a_stop_while_its_output_is_not_read_loses_no_line) {
  static char text[65536];
  trainee t = start(TOY " --steps 500 --report-every 1 --out run");
  wait_until_full(&t);
  cr_assert_eq(kill(t.child, SIGTERM), 0);
  cr_assert_eq(end_of(&t, text, sizeof text), 128 + SIGTERM, "%s", text);
  int before = 1, step;
  double loss;
  for (const char *line = text; (line = strstr(line, "step ")) != NULL; line++)
    if (sscanf(line, "step %d  loss %lf", &step, &loss) == 2)
      cr_assert_eq(step, ++before, "a line is lost:\n%s", text);
  cr_assert_gt(before, 1);
}

Test(translate_train, a_second_ctrl_c_ends_it_at_once) {
  static char text[65536];
  trainee t = start(TOY " --steps 500 --report-every 1 --out run");
  wait_until_full(&t);
  cr_assert_eq(kill(t.child, SIGINT), 0);
  usleep(20000); /* two signals that are both pending are one */
  cr_assert_eq(kill(t.child, SIGINT), 0);
  cr_assert_eq(end_of(&t, text, sizeof text), 128 + SIGINT);
  cr_assert_not(strstr(text, "all saved"), "%s", text);
  works("train --out run --steps 60");
}

Test(translate_train, a_run_that_is_complete_says_so_and_stays_as_it_is) {
  works("train " SMALL " --steps 3 --out run");
  works("train " SMALL " --steps 3 --out twin");
  works("train --out run");
  assert_says("the run in run is complete: all 3 steps are made; a higher --steps goes on");
  assert_same_run("run", "twin");
  cr_assert(same_bytes("run/metrics.jsonl", "twin/metrics.jsonl"));
  works("train " SMALL " --steps 3 --out run");
  assert_same_run("run", "twin");
}

/* ---- what it shows ----------------------------------------------------------------------------------------- */

static void assert_is_png(const char *path) {
  static const char begin[] = "\x89PNG\r\n\x1a\n", end[] = "IEND\xAE\x42\x60\x82";
  size_t size;
  char *bytes = get(path, &size);
  cr_assert_gt(size, 100, "%s", path);
  cr_assert(!memcmp(bytes, begin, 8) && !memcmp(bytes + size - 8, end, 8), "%s is no PNG", path);
  free(bytes);
}

static void assert_pictures_are_as_said(void) {
  int said, found = 0;
  char directory_said[256], curve_said[256], path[600];
  const char *line = strstr(last.out, " pictures: ");
  while (line > last.out && line[-1] != '\n') line--;
  cr_assert_eq(sscanf(line, "%d pictures: %255[^,], %255s", &said, directory_said, curve_said), 3, "%s",
               last.out);
  DIR *pictures = opendir(directory_said);
  cr_assert_not_null(pictures, "%s", directory_said);
  for (const struct dirent *file; (file = readdir(pictures)) != NULL;) {
    if (file->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", directory_said, file->d_name);
    assert_is_png(path);
    found++;
  }
  closedir(pictures);
  assert_is_png(curve_said);
  cr_assert_eq(found + 1, said);
}

Test(translate_train, every_picture_it_speaks_of_is_there) {
  works("train " SMALL " --steps 3 --out run");
  assert_says("10 pictures: run/heatmaps, run/curve.png");
  assert_pictures_are_as_said();
  put_pairs("pairs.tsv", 100);
  works("train " SMALL_PAIRS " --encoder-layers 2 --steps 3 --out pairs");
  assert_says("13 pictures: pairs/heatmaps, pairs/curve.png");
  assert_pictures_are_as_said();
}

Test(translate_train, progress_is_plain_lines_where_nobody_watches) {
  works("train " SMALL " --steps 6 --report-every 2 --out run");
  cr_assert_null(strpbrk(last.out, "\r\033"), "%s", last.out);
  assert_says("\nstep      2  loss ");
  assert_says("\nstep      4  loss ");
  assert_says("\nstep      6  loss ");
  cr_assert_eq(last.out[last.out_size - 1], '\n');
}

/* What the program writes where standard output is a terminal. */
static __attribute__((format(printf, 3, 4))) void run_on_terminal(char *text, size_t room, const char *format,
                                                                  ...) {
  command_line a;
  va_list values;
  va_start(values, format);
  cut(&a, format, values);
  va_end(values);
  size_t length = 0;
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) cr_skip_test("this machine has no pseudo-terminals");
  cr_assert(!grantpt(master) && !unlockpt(master));
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  cr_assert_geq(slave, 0);
  pid_t child = start_program(a.word, slave, slave);
  close(slave);
  for (ssize_t got; (got = read(master, text + length, room - 1 - length)) > 0;) length += (size_t)got;
  text[length] = 0;
  close(master);
  cr_assert_eq(wait_for(child), 0, "%s", text);
}

Test(translate_train, a_full_output_is_an_error_but_does_not_cost_the_run) {
  works("train " SMALL " --steps 3 --out run");
  output_path = "/dev/full";
  translate("train " SMALL " --steps 3 --out full");
  assert_complains(1, "translate train: standard output: cannot write");
  assert_same_run("full", "run");
}

Test(translate_train, progress_is_one_live_line_on_a_terminal) {
  static char text[65536];
  run_on_terminal(text, sizeof text, "train " SMALL " --steps 6 --report-every 3 --out run");
  cr_assert(strstr(text, "\r\033[Kstep 1 of 6  loss "), "%s", text);
  cr_assert(strstr(text, "tokens/s  0:0"), "%s", text);
  cr_assert(strstr(text, "\r\033[Kstep      3  loss "), "the live line is cleared before another: %s", text);
  cr_assert_null(strstr(text, "left\r\n"), "the live line stays one: %s", text);
}
