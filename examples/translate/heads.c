/* translate heads DIR [DIR...]: what each attention head does, what is lost without it, which are alike. */
#include "heads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "options.h"
#include "report.h"

/* ---- the command line -------------------------------------------------------------------------------------- */

static th_status check(heads_options *o, th_error *error) {
  const struct {
    const char *flag;
    int value, least, most;
  } numbers[] = {{"--sequences", o->sequences, 1, 10000000},
                 {"--pruning", o->pruning, 1, 10000000},
                 {"--sentences", o->sentences, 1, 100},
                 {"--threads", o->threads, 0, 256}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (numbers[i].value < numbers[i].least || numbers[i].value > numbers[i].most)
      return th_error_set(error, TH_EINVAL, "%s %d: want a whole number from %d to %d", numbers[i].flag,
                          numbers[i].value, numbers[i].least, numbers[i].most);
  if (o->directories[1] && !o->out)
    return th_error_set(error, TH_EINVAL, "--out DIR is missing: where is the comparison of the runs to go?");
  if (o->out && (!*o->out || strlen(o->out) >= OUT_TEXT))
    return th_error_set(error, TH_EINVAL, "--out: want the name of a directory");
  if (o->out) directory_trim(o->out);
  return o->use ? run_weights_parse(o->use, &o->weights, error) : TH_OK;
}

static th_status parse(int argc, const char **argv, heads_options *o, th_error *error) {
  struct poptOption options[] = {
      {"sequences", '\0', POPT_ARG_INT, &o->sequences, 0,
       "study over the first N held-out sequences, or as many as there are (default: 1000)", "N"},
      {"pairs", '\0', POPT_ARG_STRING, &o->pairs, 0,
       "study over lines of source<TAB>target, not over the held-out sequences", "FILE"},
      OPTION_USE(&o->use),
      {"pruning", '\0', POPT_ARG_INT, &o->pruning, 0,
       "look for the greedy order of removal over the first N sequences (default: 200)", "N"},
      {"sentences", '\0', POPT_ARG_INT, &o->sentences, 0, "show N examples in the report (default: 6)", "N"},
      {"threads", '\0', POPT_ARG_INT, &o->threads, 0,
       "compute with N threads; the numbers are the same (default, and 0: as the run was trained)", "N"},
      {"json", '\0', POPT_ARG_NONE, &o->json, 0, "print the numbers as one line of JSON", NULL},
      {"out", 'o', POPT_ARG_STRING, &o->out, 0,
       "where the study goes (default: DIR/heads); of several runs: jobs.csv, jobs.png and estimates.csv",
       "OUT"},
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status = options_read_several(&(options_syntax){options, "DIR [DIR...] [OPTION...]", NULL, NULL},
                                          argc, argv, &o->directories, error);
  return status ? status : check(o, error);
}

/* Where a run's own study goes. */
static const char *place_of(char path[PATH_TEXT], const heads_options *o, const char *directory) {
  if (!o->out || o->directories[1]) return path_in(path, directory, "heads");
  snprintf(path, PATH_TEXT, "%s", o->out);
  return path;
}

/* ---- one run -------------------------------------------------------------------------------------------------- */

static th_status write_study(const head_study *h, const char *directory, stage *s, th_error *error) {
  char path[PATH_TEXT];
  th_status status = write_heads_table(h, directory, error);
  if (!status) status = write_heads_arrays(h, directory, error);
  if (!status) status = write_mixing(h, directory, error);
  if (!status) status = draw_heads(h, directory, s, error);
  if (status) return status;
  stage_begin(s, "the report");
  json_t *all = heads_json(h, true);
  path_in(path, directory, "report.html");
  status = all ? write_report(path, all, error) : th_error_set(error, TH_ENOMEM, "%s: no memory", path);
  json_decref(all);
  return status;
}

static th_status study_open_run(head_study *h, run *r, const heads_options *o, stage *s, th_error *error) {
  heads_place place;
  char path[PATH_TEXT];
  th_status status = o->weights == RUN_LAST ? TH_OK : run_use(r, o->weights, error);
  if (!status && o->pairs) status = data_replace(&r->data, o->pairs, r->model->config.max_length - 1, error);
  if (!status && o->threads) status = run_threads(r, o->threads, error);
  if (!status) status = heads_place_begin(&place, place_of(path, o, r->directory), error);
  if (status) return status;
  status = head_study_make(h, r, o, s, error);
  if (!status) status = write_study(h, place.unfinished, s, error);
  if (!status && stop_signal) status = th_error_set(error, TH_EINVAL, "stopped");
  if (!status) status = heads_place_finish(&place, error);
  heads_place_discard(&place);
  return status;
}

static th_status study_run(head_study *h, const char *directory, const heads_options *o, th_error *error) {
  run r;
  stage s = {.run = directory, .name = "", .live = isatty(STDOUT_FILENO) && !o->json};
  th_status status = run_open(&r, directory, NULL, NULL, o->pairs ? RUN_MODEL : RUN_DATA, error);
  if (status) return status;
  status = study_open_run(h, &r, o, &s, error);
  stage_clear(&s);
  run_free(&r);
  return status;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static th_status say(const head_study *studies, int count, const heads_options *o, th_error *error) {
  json_t *comparison = NULL;
  th_status status = TH_OK;
  if (count > 1) status = compare_heads(studies, count, o->out, o->json ? &comparison : NULL, error);
  if (status || !o->json) return status;
  if (count == 1) return print_json(heads_json(studies, false), error);
  json_t *runs = json_array();
  for (int i = 0; i < count; i++) json_array_append_new(runs, heads_json(&studies[i], false));
  return print_json(json_pack("{s:o, s:o}", "runs", runs, "jobs", comparison), error);
}

/* Before the first of several is studied: all can be read, and the comparison has a place. */
static th_status check_runs(const heads_options *o, th_error *error) {
  struct stat out;
  th_status status = TH_OK;
  if (!stat(o->out, &out) && !S_ISDIR(out.st_mode))
    status = th_error_set(error, TH_EIO, "--out %s: exists and is no directory", o->out);
  for (int i = 0; o->directories[i] && !status; i++) {
    run r;
    status = run_open(&r, o->directories[i], NULL, NULL, RUN_MODEL, error);
    if (!status) run_free(&r);
  }
  return status;
}

static th_status study_all(const heads_options *o, th_error *error) {
  int count = 0, made = 0;
  char path[PATH_TEXT];
  th_status status = o->directories[1] ? check_runs(o, error) : TH_OK;
  if (status) return status;
  while (o->directories[count]) count++;
  head_study *studies = calloc((size_t)count + 1, sizeof *studies);
  if (!studies) return th_error_set(error, TH_ENOMEM, "no memory for the studies");
  while (!status && made < count) {
    head_study *h = &studies[made++];
    status = study_run(h, o->directories[made - 1], o, error);
    const char *place = place_of(path, o, h->directory);
    if (!status && !o->json && count == 1) print_heads(h, place);
    else if (!status && !o->json)
      printf("%s: exact match %.1f %%; %s\n", h->directory, 100 * h->whole.exact_match, place);
    fflush(stdout);
  }
  if (!status) status = say(studies, count, o, error);
  for (int i = 0; i < made; i++) head_study_free(&studies[i]);
  free(studies);
  return status;
}

th_status heads_command(int argc, const char **argv, th_error *error) {
  heads_options o = {.sequences = 1000, .pruning = 200, .sentences = 6};
  th_status status = parse(argc, argv, &o, error);
  if (!status) {
    stop_on_signals();
    status = study_all(&o, error);
  }
  options_free_several(o.directories);
  free(o.pairs);
  free(o.use);
  free(o.out);
  if (status && stop_signal) exit(STOPPED_BY_SIGNAL + stop_signal);
  return status;
}
