/* translate eval DIR: the model of a run on its held-out examples, those it was trained on, or another file. */
#include "commands.h"

#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
  char *pairs, *use, *directory;
  int training, json, show, min_length, max_length; /* lengths 0: the run's own */
} eval_options;

static th_status parse(int argc, const char **argv, eval_options *o, th_error *error) {
  struct poptOption options[] = {
      {"pairs", '\0', POPT_ARG_STRING, &o->pairs, 0,
       "evaluate on every pair of FILE, not on the held-out examples", "FILE"},
      {"use", '\0', POPT_ARG_STRING, &o->use, 0, "which weights of the run (default: last)",
       "last|best|average|ema"},
      {"training", '\0', POPT_ARG_NONE, &o->training, 0, "evaluate on the pairs it was trained on", NULL},
      {"min-length", '\0', POPT_ARG_INT, &o->min_length, 0,
       "make held-out toy sequences of at least this length, not the run's", "N"},
      {"max-length", '\0', POPT_ARG_INT, &o->max_length, 0, "and of at most this", "N"},
      {"show", '\0', POPT_ARG_INT, &o->show, 0, "print the first N examples: source, wanted, made", "N"},
      {"json", '\0', POPT_ARG_NONE, &o->json, 0, "print one line of JSON", NULL},
      POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("translate eval", argc, argv, options, 0);
  if (!context) return th_error_set(error, TH_ENOMEM, "no memory for the command line");
  poptSetOtherOptionHelp(context, "DIR [OPTION...]");
  int option = poptGetNextOpt(context);
  th_status status = TH_OK;
  if (option < -1)
    status = th_error_set(error, TH_EINVAL, "%s: %s; see translate eval --help", poptBadOption(context, 0),
                          poptStrerror(option));
  const char *directory = status ? NULL : poptGetArg(context);
  if (!status && (!directory || poptPeekArg(context)))
    status = th_error_set(error, TH_EINVAL, "want one run's directory: translate eval DIR");
  if (!status && o->pairs && (o->min_length || o->max_length))
    status = th_error_set(error, TH_EINVAL, "--pairs and lengths of toy sequences: want one of the two");
  if (!status && o->pairs && o->training)
    status = th_error_set(error, TH_EINVAL, "--pairs and --training: want one of the two");
  if (!status && (o->min_length < 0 || o->max_length < 0))
    status = th_error_set(error, TH_EINVAL, "--min-length and --max-length: want whole numbers above 0");
  if (!status && !(o->directory = strdup(directory)))
    status = th_error_set(error, TH_ENOMEM, "no memory for the command line");
  poptFreeContext(context);
  return status;
}

static void print_score(const score *s, bool json) {
  if (json)
    printf("{\"count\": %lld, \"exact_match\": %.6f, \"token_accuracy\": %.6f, \"character_error_rate\": "
           "%.6f, \"loss\": %.6f}\n",
           (long long)s->count, s->exact_match, s->token_accuracy, s->character_errors, s->loss);
  else
    printf("sequences             %8lld\nexact match           %8.2f %%\ntoken accuracy        %8.2f "
           "%%\ncharacter error rate  %8.2f %%\n"
           "loss                  %8.5f\n",
           (long long)s->count, 100 * s->exact_match, 100 * s->token_accuracy, 100 * s->character_errors,
           s->loss);
}

static void print_text(const th_vocabulary *v, const int32_t *ids, int64_t count, const char *end) {
  char *text;
  if (th_vocabulary_decode(v, ids, (size_t)count, &text, NULL)) return;
  printf("%s%s", text, end);
  free(text);
}

/* source, wanted and made, by tabs; the first `count` examples, one at a time. */
static th_status show_examples(run *r, const example *examples, int64_t count, th_error *error) {
  batch b;
  th_tensor out = {0};
  int64_t limit = r->model->config.max_length;
  th_status status = batch_new(&b, 1, r->data.longest, error);
  if (!status) status = th_tensor_new(&out, TH_I32, 2, (int64_t[]){1, limit}, error);
  for (int64_t i = 0; i < count && !status; i++) {
    batch_fill(&b, &examples[i], 1);
    status =
        th_transformer_greedy(r->model, r->tape, &b.source, b.source_length, TH_BOS, TH_EOS, &out, error);
    if (status) break;
    print_text(r->data.source, examples[i].source, examples[i].source_length, "\t");
    print_text(r->data.target, examples[i].target, examples[i].target_length, "\t");
    print_text(r->data.target, out.data, limit, "\n");
  }
  th_tensor_free(&out);
  batch_free(&b);
  return status;
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

th_status eval_command(int argc, const char **argv, th_error *error) {
  eval_options o = {0};
  run r;
  score s;
  run_weights which = RUN_LAST;
  th_status status = parse(argc, argv, &o, error);
  if (!status && o.use) status = run_weights_parse(o.use, &which, error);
  if (!status) status = run_open(&r, o.directory, NULL, NULL, RUN_DATA, error);
  if (status) {
    free(o.pairs);
    free(o.use);
    free(o.directory);
    return status;
  }
  const data *d = &r.data;
  status = run_use(&r, which, error);
  if (!status) status = replace_examples(&r, &o, error);
  const example *examples = o.training ? d->train : d->held_out;
  int64_t count = o.training ? d->train_count : d->held_out_count;
  if (!status) status = evaluate(&r, examples, count, &s, error);
  if (!status) print_score(&s, o.json);
  if (!status && o.show > 0) status = show_examples(&r, examples, o.show < count ? o.show : count, error);
  run_free(&r);
  free(o.pairs);
  free(o.use);
  free(o.directory);
  return status;
}
