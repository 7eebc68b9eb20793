/* translate decode DIR: lines on standard input to lines on standard output. */
#include "commands.h"
#include "lines.h"
#include "search_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_MAX 4096

/* ---- the command line ------------------------------------------------------------------------------------ */

typedef struct decode_options {
  char *directory, *attention;
  int n_best, scores, batch;
  search_flags search;
} decode_options;

static th_status check(decode_options *o, th_error *error) {
  if (o->n_best < 0 || o->n_best > 10000)
    return th_error_set(error, TH_EINVAL, "--n-best %d: want 1 to 10000", o->n_best);
  if (o->batch < 1 || o->batch > BATCH_MAX)
    return th_error_set(error, TH_EINVAL, "--batch %d: want 1 to %d", o->batch, BATCH_MAX);
  if (o->attention && !name_ends_in(o->attention, ".png") && !name_ends_in(o->attention, ".npy"))
    return th_error_set(error, TH_EINVAL, "--attention %s: want a name that ends in .png or .npy",
                        o->attention);
  return search_flags_check(&o->search, o->n_best, error);
}

static th_status parse(int argc, const char **argv, decode_options *o, th_error *error) {
  struct poptOption search[SEARCH_FLAGS];
  *o = (decode_options){.batch = 32};
  search_flags_table(&o->search, search);
  struct poptOption options[] = {
      {NULL, '\0', POPT_ARG_INCLUDE_TABLE, search, 0, "Search:", NULL},
      {"n-best", '\0', POPT_ARG_INT, &o->n_best, 0,
       "print the N outputs of highest score, or N draws, each on a line: line number, rank, output, with "
       "tabs between",
       "N"},
      {"scores", '\0', POPT_ARG_NONE, &o->scores, 0,
       "print score and log probability before each output, with tabs between", NULL},
      {"batch", '\0', POPT_ARG_INT, &o->batch, 0,
       "read up to N lines ahead, as far as they have come (default: 32)", "N"},
      {"attention", '\0', POPT_ARG_STRING, &o->attention, 0,
       "for a single line: draw what the last layer's cross-attention looks at (.png), or save all "
       "layers and heads (.npy)",
       "FILE"},
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status = options_read(&(options_syntax){options, "DIR [OPTION...] < LINES", NULL, NULL}, argc,
                                  argv, &o->directory, error);
  return status ? status : check(o, error);
}

static void free_options(decode_options *o) {
  free(o->directory);
  free(o->attention);
  search_flags_free(&o->search);
}

/* ---- a batch of lines ---------------------------------------------------------------------------------------- */

/* Of the lines read ahead, some are to be decoded; the others, empty or refused, give an empty output. */
typedef struct pending {
  int64_t count, wanted, first; /* lines; of those to be decoded; the number of the first, from 1 */
  int64_t *place;               /* [batch]: of each line, which of the wanted it is, or -1 */
  int64_t *number;              /* [batch]: of each wanted one, its line */
  example *examples;            /* [batch]: its tokens, ours to free */
  batch ids;
  bool refused; /* any line so far */
} pending;

static th_status pending_new(pending *p, const run *r, int64_t lines_ahead, th_error *error) {
  *p = (pending){.first = 1};
  p->place = calloc((size_t)lines_ahead, sizeof *p->place);
  p->number = calloc((size_t)lines_ahead, sizeof *p->number);
  p->examples = calloc((size_t)lines_ahead, sizeof *p->examples);
  if (!p->place || !p->number || !p->examples)
    return th_error_set(error, TH_ENOMEM, "no memory for %lld lines", (long long)lines_ahead);
  return batch_new(&p->ids, lines_ahead, r->model->config.max_length - 1, error);
}

static void forget(pending *p) {
  for (int64_t i = 0; i < p->wanted; i++) free((int32_t *)(uintptr_t)p->examples[i].source);
  p->first += p->count;
  p->count = p->wanted = 0;
}

static void pending_free(pending *p) {
  forget(p);
  free(p->place);
  free(p->number);
  free(p->examples);
  batch_free(&p->ids);
}

/* What cannot be decoded is said at once, by its number, and is no reason to stop, as having no memory is. */
static th_status add_line(pending *p, const run *r, const char *line, size_t length, th_error *error) {
  int32_t *ids = NULL;
  size_t count = 0;
  int64_t number = p->first + p->count,
          longest = r->model->config.max_length - 1; /* a place for the end mark */
  th_error failure;
  th_status status = th_vocabulary_encode(r->data.source, line, length, &ids, &count, &failure);
  if (status == TH_ENOMEM)
    return th_error_set(error, status, "standard input:%lld: %s", (long long)number, failure.text);
  if (!status && (int64_t)count > longest)
    status =
        th_error_set(&failure, TH_EFORMAT, "%zu tokens, the model takes %lld", count, (long long)longest);
  if (status)
    fprintf(stderr, "%s decode: standard input:%lld: %s\n", program_invocation_short_name, (long long)number,
            failure.text);
  p->refused |= status != TH_OK;
  bool wanted = !status && count;
  p->place[p->count++] = wanted ? p->wanted : -1;
  if (!wanted) {
    free(ids);
    return TH_OK;
  }
  p->number[p->wanted] = number;
  p->examples[p->wanted++] = (example){.source = ids, .source_length = (int64_t)count};
  return TH_OK;
}

/* ---- what is printed -------------------------------------------------------------------------------------------- */

/* One line; h NULL: there is no output. */
static th_status print_output(const run *r, const decode_options *o, int64_t number, int64_t rank,
                              const th_hypothesis *h, th_error *error) {
  char *text = NULL;
  th_status status =
      h ? th_vocabulary_decode(r->data.target, h->tokens, (size_t)h->length, &text, error) : TH_OK;
  if (status) return status;
  if (o->n_best) printf("%lld\t%lld\t", (long long)number, (long long)rank);
  if (o->scores && h) printf("%.6f\t%.6f\t", h->score, h->log_probability);
  else if (o->scores) printf("\t\t");
  puts(text ? text : "");
  free(text);
  return TH_OK;
}

static th_status print_outputs(const run *r, const decode_options *o, const pending *p,
                               const th_hypotheses *found, th_error *error) {
  th_status status = TH_OK;
  for (int64_t i = 0; i < p->count && !status; i++) {
    int64_t place = p->place[i], number = p->first + i;
    bool decoded = place >= 0 && place < found->sources;
    if (!decoded) status = print_output(r, o, number, 1, NULL, error);
    for (int64_t k = 0; decoded && k < found->count[place] && !status; k++)
      status = print_output(r, o, number, k + 1, &found->list[place * found->most + k], error);
  }
  if (!status && fflush(stdout))
    status = th_error_set(error, TH_EIO, "standard output: cannot write: %s", strerror(errno));
  return status;
}

static th_status decode_pending(run *r, const decode_options *o, pending *p, th_error *error) {
  th_hypotheses found = {0};
  th_status status = TH_OK;
  if (p->wanted) {
    th_search_options options = search_options(&o->search, r, o->n_best);
    options.number = p->number;
    if (o->scores) options.unscored = false;
    batch_fill(&p->ids, p->examples, p->wanted);
    status = th_search(r->model, r->tape, &p->ids.source, p->ids.source_length, &options, &found, error);
  }
  if (!status) status = print_outputs(r, o, p, &found, error);
  if (!status && o->attention && p->wanted)
    status =
        write_attention(r, p->examples->source, p->examples->source_length, found.list, o->attention, error);
  th_hypotheses_free(&found);
  forget(p);
  return status;
}

/* ---- all lines ----------------------------------------------------------------------------------------------------- */

/* A picture is of one line, which is decoded when it is known to be the only one. */
static th_status check_single(const pending *p, th_error *error) {
  if (p->first > 1 || p->count > 1)
    return th_error_set(error, TH_EFORMAT, "--attention: want a single line on standard input");
  if (!p->wanted && !p->refused)
    return th_error_set(error, TH_EFORMAT, "--attention: want a line on standard input that is not empty");
  return TH_OK;
}

static th_status decode_lines(run *r, const decode_options *o, pending *p, th_error *error) {
  lines in = {.fd = STDIN_FILENO};
  int64_t ahead = o->attention ? 2 : o->batch;
  line_state state = LINE_READ;
  th_status status = TH_OK;
  while (!status && state != LINE_NONE) {
    char *line;
    size_t length;
    th_error failure;
    state = lines_next(&in, !p->count || o->attention, &line, &length, &failure);
    if (state == LINE_READ) status = add_line(p, r, line, length, error);
    if (state == LINE_READ && p->count < ahead) continue;
    if (!status && o->attention) status = check_single(p, error);
    if (!status && p->count) status = decode_pending(r, o, p, error);
    if (!status && state == LINE_FAILED) status = th_error_set(error, failure.status, "%s", failure.text);
  }
  lines_free(&in);
  return status;
}

th_status decode_command(int argc, const char **argv, th_error *error) {
  decode_options o;
  run r;
  pending p;
  th_status status = parse(argc, argv, &o, error);
  if (!status && !(status = run_open(&r, o.directory, NULL, NULL, RUN_MODEL, error))) {
    if (o.search.weights != RUN_LAST) status = run_use(&r, o.search.weights, error);
    if (!status) {
      status = pending_new(&p, &r, o.batch > 1 ? o.batch : 2, error);
      if (!status) status = decode_lines(&r, &o, &p, error);
      if (!status && p.refused) status = TH_EFORMAT; /* each was said */
      pending_free(&p);
    }
    run_free(&r);
  }
  free_options(&o);
  return status;
}
