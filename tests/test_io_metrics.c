#include "test_io_directory.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

TestSuite(metrics, .init = enter_directory, .fini = leave_directory);

static void append(th_metrics *metrics, int64_t step, double loss) {
  th_error error;
  cr_assert_eq(th_metrics_append(metrics, step, (th_metric[]){{"loss", loss}}, 1, &error), TH_OK, "%s",
               error.text);
}

static void resume(int64_t keep_until_step) {
  th_metrics *metrics;
  th_error error;
  cr_assert_eq(th_metrics_open(&metrics, "m.jsonl", keep_until_step, &error), TH_OK, "%s", error.text);
  th_metrics_close(metrics);
}

Test(metrics, each_step_is_one_line) {
  th_metrics *metrics;
  cr_assert_eq(th_metrics_open(&metrics, "m.jsonl", TH_METRICS_FRESH, NULL), TH_OK);
  assert_holds_text("m.jsonl", "");
  append(metrics, 1, 2.5);
  append(metrics, 2, NAN);
  append(metrics, 3, -INFINITY);
  cr_assert_eq(th_metrics_append(metrics, 4, NULL, 0, NULL), TH_OK);
  cr_assert_eq(th_metrics_append(metrics, 5, (th_metric[]){{"b", 1}, {"a\n", 1e-9}}, 2, NULL), TH_OK);
  assert_holds_text("m.jsonl",
                    "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":null}\n{\"step\":3,\"loss\":null}\n"
                    "{\"step\":4}\n{\"step\":5,\"b\":1.0,\"a\\n\":1.0000000000000001e-9}\n");
  th_metrics_close(metrics);
  th_metrics_close(NULL);
}

Test(metrics, resuming_keeps_the_lines_up_to_its_step) {
  th_metrics *metrics;
  put_text("m.jsonl",
           "{\"step\":0}\n{\"step\":10, \"loss\":1}\n{\"step\":20,\"loss\":2}\n{\"step\":30,\"loss\":3}\n");
  cr_assert_eq(th_metrics_open(&metrics, "m.jsonl", 20, NULL), TH_OK);
  append(metrics, 21, 4);
  th_metrics_close(metrics);
  assert_holds_text("m.jsonl", "{\"step\":0}\n{\"step\":10, \"loss\":1}\n{\"step\":20,\"loss\":2}\n"
                               "{\"step\":21,\"loss\":4.0}\n");
  cr_assert_eq(files_here(), 1);
}

Test(metrics, resuming_drops_lines_that_are_not_well_formed) {
  put_text("m.jsonl",
           "{\"step\":1}\nnonsense\n[1]\n{\"step\":\"2\"}\n{\"loss\":2}\n\n{\"step\":3,\"step\":3}\n"
           "{\"step\":2.0}\n\xFF\n{\"step\":4}\n{\"step\":5,\"lo");
  resume(100);
  assert_holds_text("m.jsonl", "{\"step\":1}\n{\"step\":4}\n");
}

Test(metrics, a_whole_last_line_without_its_end_gets_it) {
  put_text("m.jsonl", "{\"step\":1}\n{\"step\":2}");
  resume(2);
  assert_holds_text("m.jsonl", "{\"step\":1}\n{\"step\":2}\n");
  put_text("m.jsonl", "{\"step\":1}\n{\"step\":20}");
  resume(2);
  assert_holds_text("m.jsonl", "{\"step\":1}\n");
}

Test(metrics, starting_afresh_keeps_nothing) {
  put_text("m.jsonl", "{\"step\":-9223372036854775808}\n{\"step\":1}\n");
  resume(TH_METRICS_FRESH);
  assert_holds_text("m.jsonl", "");
}

Test(metrics, a_key_given_twice_or_broken_is_refused) {
  th_error error;
  th_metrics *metrics;
  cr_assert_eq(th_metrics_open(&metrics, "m.jsonl", 0, NULL), TH_OK);
  assert_fails(th_metrics_append(metrics, 1, (th_metric[]){{"step", 2}}, 1, &error), TH_EINVAL, &error,
               "m.jsonl: key \"step\" is given twice or not valid UTF-8");
  assert_fails(th_metrics_append(metrics, 1, (th_metric[]){{"a\xFF", 2}}, 1, &error), TH_EINVAL, &error,
               "m.jsonl: key \"a?\" is given twice or not valid UTF-8");
  th_metrics_close(metrics);
  assert_holds_text("m.jsonl", "");
}

Test(metrics, a_full_disk_leaves_no_part_of_a_line) {
  th_error error;
  th_metrics *metrics;
  struct rlimit limit = {.rlim_cur = 30, .rlim_max = RLIM_INFINITY};
  cr_assert_eq(th_metrics_open(&metrics, "m.jsonl", 0, NULL), TH_OK);
  append(metrics, 1, 2.5);
  signal(SIGXFSZ, SIG_IGN);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  th_status status = th_metrics_append(metrics, 2, (th_metric[]){{"loss", 0.5}}, 1, &error);
  limit.rlim_cur = RLIM_INFINITY;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_fails(status, TH_EIO, &error, "m.jsonl: cannot append: No space left on device");
  append(metrics, 3, 0.5);
  th_metrics_close(metrics);
  assert_holds_text("m.jsonl", "{\"step\":1,\"loss\":2.5}\n{\"step\":3,\"loss\":0.5}\n");
}

Test(metrics, a_place_that_cannot_be_written_is_refused) {
  th_error error;
  th_metrics *metrics;
  assert_fails(th_metrics_open(&metrics, "no/m.jsonl", 0, &error), TH_EIO, &error,
               "no/m.jsonl: cannot write: No such file or directory");
  assert_fails(th_metrics_open(&metrics, ".", 0, &error), TH_EIO, &error, ".: cannot read: Is a directory");
  cr_assert_null(metrics);
}

Test(metrics, a_series_is_read_from_the_lines_that_have_its_key) {
  int64_t *steps;
  double *values;
  size_t count;
  put_text("m.jsonl",
           "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"other\":\"text\"}\n{\"step\":3,\"loss\":null}\n"
           "{\"step\":4,\"loss\":7}\n{\"step\":5,\"lo");
  cr_assert_eq(th_metrics_read("m.jsonl", "loss", &steps, &values, &count, NULL), TH_OK);
  cr_assert_eq(count, 3);
  cr_assert(steps[0] == 1 && steps[1] == 3 && steps[2] == 4);
  cr_assert(values[0] == 2.5 && isnan(values[1]) && values[2] == 7);
  free(steps);
  free(values);
  cr_assert_eq(th_metrics_read("m.jsonl", "accuracy", &steps, &values, &count, NULL), TH_OK);
  cr_assert(count == 0 && steps && values);
  free(steps);
  free(values);
}

Test(metrics, a_long_series_comes_back_to_the_bit) {
  int64_t *steps;
  double *values;
  size_t count;
  th_metrics *metrics;
  cr_assert_eq(th_metrics_open(&metrics, "m.jsonl", 0, NULL), TH_OK);
  for (int i = 0; i < 1000; i++) append(metrics, i, 1.0 / (i + 1));
  th_metrics_close(metrics);
  cr_assert_eq(th_metrics_read("m.jsonl", "loss", &steps, &values, &count, NULL), TH_OK);
  cr_assert_eq(count, 1000);
  for (int i = 0; i < 1000; i++) cr_assert(steps[i] == i && values[i] == 1.0 / (i + 1));
  free(steps);
  free(values);
}

Test(metrics, a_broken_line_is_named_by_its_number) {
  th_error error;
  int64_t *steps;
  double *values;
  size_t count;
  put_text("m.jsonl", "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\n{\"step\":3}\n");
  assert_fails(th_metrics_read("m.jsonl", "loss", &steps, &values, &count, &error), TH_EFORMAT, &error,
               "m.jsonl:2: not a JSON object with an integer \"step\"");
  cr_assert(!steps && !values && count == 0);
  put_text("m.jsonl", "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":\"low\"}\n");
  assert_fails(th_metrics_read("m.jsonl", "loss", &steps, &values, &count, &error), TH_EFORMAT, &error,
               "m.jsonl:2: \"loss\" is not a number");
  assert_fails(th_metrics_read("no.jsonl", "loss", &steps, &values, &count, &error), TH_EIO, &error,
               "no.jsonl: cannot read: No such file or directory");
}
