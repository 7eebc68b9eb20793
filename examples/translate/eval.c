/* translate eval DIR: the model of a run on its held-out examples, those it was trained on, or another file. */
#include "commands.h"
#include "search_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
  char *pairs, *directory;
  int training, json, show, min_length, max_length; /* lengths 0: the run's own */
  search_flags search;
} eval_options;

static th_status parse(int argc, const char **argv, eval_options *o, th_error *error) {
  struct poptOption search[SEARCH_FLAGS];
  search_flags_table(&o->search, search);
  struct poptOption options[] = {
      {"pairs", '\0', POPT_ARG_STRING, &o->pairs, 0,
       "evaluate on every pair of FILE, not on the held-out examples", "FILE"},
      {"training", '\0', POPT_ARG_NONE, &o->training, 0, "evaluate on the pairs it was trained on", NULL},
      {"min-length", '\0', POPT_ARG_INT, &o->min_length, 0,
       "make held-out toy sequences of at least this length, not the run's", "N"},
      {"max-length", '\0', POPT_ARG_INT, &o->max_length, 0, "and of at most this", "N"},
      {NULL, '\0', POPT_ARG_INCLUDE_TABLE, search, 0, "Search:", NULL},
      {"show", '\0', POPT_ARG_INT, &o->show, 0, "print the first N examples: source, wanted, made", "N"},
      {"json", '\0', POPT_ARG_NONE, &o->json, 0, "print one line of JSON", NULL},
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status = options_read(&(options_syntax){options, "DIR [OPTION...]", NULL, NULL}, argc, argv,
                                  &o->directory, error);
  if (!status && o->pairs && o->training)
    status = th_error_set(error, TH_EINVAL, "--pairs and --training: want one of the two");
  if (!status && o->pairs && (o->min_length || o->max_length))
    status = th_error_set(error, TH_EINVAL, "--pairs and lengths of toy sequences: want one of the two");
  if (!status && (o->min_length < 0 || o->max_length < 0))
    status = th_error_set(error, TH_EINVAL, "--min-length and --max-length: want whole numbers above 0");
  if (!status && o->show < 0)
    status = th_error_set(error, TH_EINVAL, "--show %d: want a whole number from 0", o->show);
  if (!status) status = search_flags_check(&o->search, 1, error);
  return status;
}

/* ---- printing ------------------------------------------------------------------------------------------- */

static int64_t references_of(const evaluation *e) {
  for (int64_t i = 1; i < e->count; i++)
    if (e->items[i].references != e->items[0].references) return 0;
  return e->count ? e->items[0].references : 0;
}

static th_status print_evaluation(const evaluation *e, run *r, const eval_options *o, th_error *error) {
  th_interval intervals[MEASURES];
  th_status status = scorecard_intervals(&e->card, r->pool, intervals, error);
  if (status) return status;
  if (o->json) {
    json_t *object = json_pack("{s: I, s: I, s: s}", "count", (json_int_t)e->count, "pairs",
                               (json_int_t)e->pairs, "weights", run_weights_name(o->search.weights));
    intervals_to_json(object, &e->card, intervals);
    settings_to_json(object, &e->card, references_of(e));
    return print_json(object, error);
  }
  printf("%-20s  %8lld    95 %% interval\n", "sequences", (long long)e->count);
  if (e->pairs != e->count) printf("%-20s  %8lld\n", "pairs", (long long)e->pairs);
  print_intervals(&e->card, intervals);
  return TH_OK;
}

static void print_text(const th_vocabulary *v, const int32_t *ids, int64_t count, const char *before) {
  char *text;
  if (th_vocabulary_decode(v, ids, (size_t)count, &text, NULL)) return;
  printf("%s%s", before, text);
  free(text);
}

/* source, wanted and made, by tabs; several references with a bar between. */
static void show_item(const run *r, const evaluation *e, int64_t i) {
  int64_t limit = e->made.shape[1];
  for (int64_t k = 0; k < e->items[i].references; k++) {
    const example *x = &e->examples[e->items[i].pair[k]];
    if (!k) print_text(r->data.source, x->source, x->source_length, "");
    print_text(r->data.target, x->target, x->target_length, k ? " | " : "\t");
  }
  print_text(r->data.target, (const int32_t *)e->made.data + i * limit, limit, "\t");
  putchar('\n');
}

/* What the command line asks for in place of the run's held-out examples, if anything. */
static th_status replace_examples(run *r, const eval_options *o, th_error *error) {
  int64_t room = r->model->config.max_length - 1;
  const settings *s = &r->settings;
  if (o->training && !r->data.train)
    return th_error_set(error, TH_EINVAL,
                        "--training: a toy task keeps no training sequences, it makes them");
  if (o->pairs) return data_replace(&r->data, o->pairs, room, error);
  if (!o->min_length && !o->max_length) return TH_OK;
  if (r->data.train)
    return th_error_set(error, TH_EINVAL, "--min-length and --max-length are for toy tasks, not for pairs");
  return toy_replace(&r->data, o->min_length ? o->min_length : s->min_length,
                     o->max_length ? o->max_length : s->max_length, room, error);
}

static th_status evaluate_and_print(run *r, const eval_options *o, th_error *error) {
  const data *d = &r->data;
  evaluation e;
  th_search_options search = search_options(&o->search, r, 1);
  th_status status = replace_examples(r, o, error);
  if (!status)
    status = evaluation_make(&e, r, &search, o->training ? d->train : d->held_out,
                             o->training ? d->train_count : d->held_out_count, error);
  if (status) return status;
  status = print_evaluation(&e, r, o, error);
  for (int64_t i = 0; i < o->show && i < e.count && !status; i++) show_item(r, &e, i);
  evaluation_free(&e);
  return status;
}

th_status eval_command(int argc, const char **argv, th_error *error) {
  eval_options o = {0};
  run r;
  th_status status = parse(argc, argv, &o, error);
  if (!status && !(status = run_open(&r, o.directory, NULL, NULL, o.pairs ? RUN_MODEL : RUN_DATA, error))) {
    if (o.search.weights != RUN_LAST) status = run_use(&r, o.search.weights, error);
    if (!status) status = evaluate_and_print(&r, &o, error);
    run_free(&r);
  }
  free(o.pairs);
  search_flags_free(&o.search);
  free(o.directory);
  return status;
}
