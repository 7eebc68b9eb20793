/* What the model makes of held-out pairs, and how good it is. Pairs with one source are one item with several
 * references: the source is decoded once, and what is made of it may be any of the targets. */
#include "evaluate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 128          /* sequences in a batch, and */
#define TOKENS_AT_ONCE 16384 /* tokens of either side, padded: the logits of all lie in memory */
/* Unicode's noncharacters, which no text has: an unknown token is wrong even where one was wanted. */
#define UNKNOWN_WANTED "\xEF\xB7\x90" /* U+FDD0 */
#define UNKNOWN_MADE "\xEF\xB7\x91"   /* U+FDD1 */

/* ---- items ---------------------------------------------------------------------------------------------- */

static int by_source(const void *a, const void *b, void *examples) {
  int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
  const example *x = (const example *)examples + i, *y = (const example *)examples + j;
  if (x->source_length != y->source_length) return x->source_length < y->source_length ? -1 : 1;
  int order = memcmp(x->source, y->source, (size_t)x->source_length * sizeof *x->source);
  return order ? order : (i > j) - (i < j);
}

static bool same_ids(const int32_t *a, int64_t n, const int32_t *b, int64_t m) {
  return n == m && !memcmp(a, b, (size_t)n * sizeof *a);
}

/* Sources with an unknown token may have been different ones. */
static bool same_source(const example *x, const example *y) {
  for (int64_t i = 0; i < x->source_length; i++)
    if (x->source[i] == TH_UNK) return false;
  return same_ids(x->source, x->source_length, y->source, y->source_length);
}

static bool same_target(const example *x, const example *y) {
  return same_ids(x->target, x->target_length, y->target, y->target_length);
}

static int by_first_pair(const void *a, const void *b) {
  int32_t i = *((const eval_item *)a)->pair, j = *((const eval_item *)b)->pair;
  return (i > j) - (i < j);
}

/* Puts the item's pairs of different targets first, and counts them. */
static void gather_references(const evaluation *e, eval_item *it) {
  int32_t *pair = (int32_t *)(uintptr_t)it->pair;
  for (int64_t i = 0; i < it->count; i++) {
    int64_t k = 0;
    const example *x = &e->examples[pair[i]];
    while (k < it->references && !same_target(x, &e->examples[pair[k]])) k++;
    if (k < it->references) continue;
    int32_t kept = pair[i];
    pair[i] = pair[it->references];
    pair[it->references++] = kept;
  }
}

/* Items in the order in which their sources stand first. */
static void group(evaluation *e) {
  const example *all = e->examples;
  for (int64_t i = 0; i < e->pairs; i++) e->order[i] = (int32_t)i;
  qsort_r(e->order, (size_t)e->pairs, sizeof *e->order, by_source, (void *)(uintptr_t)all);
  for (int64_t i = 0; i < e->pairs; i++) {
    if (!i || !same_source(&all[e->order[i - 1]], &all[e->order[i]]))
      e->items[e->count++] = (eval_item){.pair = e->order + i};
    e->items[e->count - 1].count++;
  }
  qsort(e->items, (size_t)e->count, sizeof *e->items, by_first_pair);
  for (int64_t i = 0; i < e->count; i++) gather_references(e, &e->items[i]);
}

/* ---- batches of like lengths ------------------------------------------------------------------------------ */

/* A sequence to be run, and what it belongs to. */
typedef struct job {
  example example;
  int64_t item;
} job;

static int by_length(const void *a, const void *b) {
  const job *x = a, *y = b;
  int64_t longer = x->example.source_length + x->example.target_length - y->example.source_length -
                   y->example.target_length;
  return longer ? (longer > 0) - (longer < 0) : (x->item > y->item) - (x->item < y->item);
}

/* How many of jobs [count] make the next batch. They are sorted by length, so that little of it is padding. */
static int64_t fit(const job *jobs, int64_t count) {
  int64_t n = 0, longest = 0;
  for (; n < count && n < AT_ONCE; n++) {
    const example *e = &jobs[n].example;
    if (e->source_length >= longest) longest = e->source_length + 1;
    if (e->target_length >= longest) longest = e->target_length + 1;
    if (n && (n + 1) * longest > TOKENS_AT_ONCE) break;
  }
  return n;
}

typedef struct evaluator {
  run *run;
  evaluation *e;
  batch batch;
  const th_search_options *search;
  job *jobs; /* [pairs] */
} evaluator;

/* Calls `work` with the batch of every few jobs. */
static th_status in_batches(evaluator *v, int64_t count, th_status work(evaluator *, const job *, th_error *),
                            th_error *error) {
  example picked[AT_ONCE];
  th_status status = TH_OK;
  qsort(v->jobs, (size_t)count, sizeof *v->jobs, by_length);
  for (int64_t i = 0, n; i < count && !status; i += n) {
    n = fit(v->jobs + i, count - i);
    for (int64_t k = 0; k < n; k++) picked[k] = v->jobs[i + k].example;
    batch_fill(&v->batch, picked, n);
    status = work(v, v->jobs + i, error);
  }
  return status;
}

/* ---- loss ----------------------------------------------------------------------------------------------- */

static int32_t best_of(const float *row, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (row[i] > row[best]) best = i;
  return (int32_t)best;
}

/* Adds what sequence b of the batch lost, and its right tokens, to item `to`. log_p [B,T,n]. */
static void count_tokens(evaluator *v, int64_t b, int64_t to, const th_tensor *log_p) {
  int64_t time = log_p->shape[1], n = log_p->shape[2];
  const int32_t *wanted = (const int32_t *)v->batch.output.data + b * time;
  const float *row = (const float *)log_p->data + b * time * n;
  double loss = 0, right = 0, tokens = 0;
  for (int64_t t = 0; t < time && wanted[t] >= 0; t++, row += n) {
    loss -= (double)row[wanted[t]];
    right += best_of(row, n) == wanted[t];
    tokens++;
  }
  scorecard_add(&v->e->card, LOSS, to, loss, tokens);
  scorecard_add(&v->e->card, PERPLEXITY, to, loss, tokens);
  scorecard_add(&v->e->card, TOKEN_ACCURACY, to, right, tokens);
}

/* Loss and right tokens, each token given the right ones before it. */
static th_status teacher_forced(evaluator *v, const job *jobs, th_error *error) {
  run *r = v->run;
  const batch *b = &v->batch;
  th_tape_reset(r->tape);
  th_tape_record(r->tape, false);
  th_tape_train(r->tape, false);
  th_var *memory = th_transformer_encode(r->model, r->tape, &b->source, b->source_length, NULL);
  th_var *logits = th_transformer_decode(r->model, memory, b->source_length, &b->input, NULL);
  th_var *log_p = th_log_softmax(logits, NULL);
  const th_error *failed = th_tape_error(r->tape);
  th_status status = failed ? th_error_set(error, failed->status, "%s", failed->text) : TH_OK;
  for (int64_t i = 0; i < b->source.shape[0] && !status; i++) count_tokens(v, i, jobs[i].item, &log_p->value);
  th_tape_record(r->tape, true);
  th_tape_reset(r->tape);
  return status;
}

static th_status count_loss(evaluator *v, th_error *error) {
  int64_t n = 0;
  for (int64_t i = 0; i < v->e->count; i++)
    for (int64_t k = 0; k < v->e->items[i].count; k++)
      v->jobs[n++] = (job){v->e->examples[v->e->items[i].pair[k]], i};
  return in_batches(v, n, teacher_forced, error);
}

/* ---- texts ---------------------------------------------------------------------------------------------- */

static th_status decode_jobs(evaluator *v, const job *jobs, th_error *error) {
  run *r = v->run;
  th_hypotheses found;
  th_search_options search = *v->search;
  int64_t number[AT_ONCE], count = v->batch.source.shape[0], limit = v->e->made.shape[1];
  for (int64_t i = 0; i < count; i++) number[i] = jobs[i].item;
  search.number = number;
  th_status status =
      th_search(r->model, r->tape, &v->batch.source, v->batch.source_length, &search, &found, error);
  for (int64_t i = 0; i < count && !status; i++) {
    const th_hypothesis *h = &found.list[i * found.most];
    memcpy((int32_t *)v->e->made.data + jobs[i].item * limit, h->tokens,
           (size_t)h->length * sizeof *h->tokens);
  }
  if (!status) th_hypotheses_free(&found);
  return status;
}

static th_status decode_items(evaluator *v, th_error *error) {
  for (int64_t i = 0; i < v->e->count; i++) {
    example source = v->e->examples[*v->e->items[i].pair];
    source.target_length = 0; /* its targets are not to be seen */
    v->jobs[i] = (job){source, i};
  }
  return in_batches(v, v->e->count, decode_jobs, error);
}

static th_status count_item(evaluation *e, const th_vocabulary *v, int64_t i, char **texts, th_error *error) {
  const eval_item *it = &e->items[i];
  int64_t limit = e->made.shape[1], n = 0;
  th_status status = th_vocabulary_decode_marked(v, (const int32_t *)e->made.data + i * limit, (size_t)limit,
                                                 UNKNOWN_MADE, &texts[n++], error);
  for (int64_t k = 0; k < it->references && !status; k++) {
    const example *wanted = &e->examples[it->pair[k]];
    status = th_vocabulary_decode_marked(v, wanted->target, (size_t)wanted->target_length, UNKNOWN_WANTED,
                                         &texts[n++], error);
  }
  if (!status)
    status = scorecard_count(&e->card, i, texts[0], (const char *const *)texts + 1, it->references, error);
  while (n) free(texts[--n]);
  return status;
}

static th_status count_texts(evaluation *e, const th_vocabulary *v, th_error *error) {
  char **texts = calloc((size_t)e->pairs + 1, sizeof *texts);
  th_status status = texts ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory to evaluate");
  for (int64_t i = 0; i < e->count && !status; i++) status = count_item(e, v, i, texts, error);
  free(texts);
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

static th_status make_room(evaluator *v, th_error *error) {
  evaluation *e = v->e;
  const data *d = &v->run->data;
  int64_t limit = v->run->model->config.max_length;
  measure_id which[] = {EXACT_MATCH, CHARACTER_ERRORS, WORD_ERRORS, BLEU,      CHRF,
                        CHRF_WORDS,  TOKEN_ACCURACY,   LOSS,        PERPLEXITY};
  if (th_vocabulary_unit(d->target) == TH_UNIT_WORD) which[2] = TOKEN_ERRORS;
  e->order = calloc((size_t)e->pairs + 1, sizeof *e->order);
  e->items = calloc((size_t)e->pairs + 1, sizeof *e->items);
  v->jobs = calloc((size_t)e->pairs + 1, sizeof *v->jobs);
  if (!e->order || !e->items || !v->jobs)
    return th_error_set(error, TH_ENOMEM, "no memory to evaluate %lld pairs", (long long)e->pairs);
  group(e);
  th_status status = scorecard_new(&e->card, which, sizeof which / sizeof *which, e->count, error);
  if (!status) status = th_tensor_new(&e->made, TH_I32, 2, (int64_t[]){e->count, limit}, error);
  if (!status) th_fill(&e->made, TH_EOS);
  return status ? status : batch_new(&v->batch, AT_ONCE, d->longest, error);
}

th_status evaluation_make(evaluation *e, run *r, const th_search_options *search, const example *examples,
                          int64_t count, th_error *error) {
  *e = (evaluation){.examples = examples, .pairs = count};
  evaluator v = {.run = r, .e = e, .search = search};
  th_status status = make_room(&v, error);
  if (!status) status = count_loss(&v, error);
  if (!status) status = decode_items(&v, error);
  if (!status) status = count_texts(e, r->data.target, error);
  free(v.jobs);
  batch_free(&v.batch);
  if (status) evaluation_free(e);
  return status;
}

void evaluation_free(evaluation *e) {
  free(e->order);
  free(e->items);
  th_tensor_free(&e->made);
  scorecard_free(&e->card);
  *e = (evaluation){0};
}

th_status evaluate(run *r, const example *examples, int64_t count, score *result, th_error *error) {
  evaluation e;
  th_search_options greedy = {
      .begin = TH_BOS, .end = TH_EOS, .limit = r->model->config.max_length, .unscored = true};
  th_status status = evaluation_make(&e, r, &greedy, examples, count, error);
  if (status) return status;
  const scorecard *card = &e.card;
  bool words = th_vocabulary_unit(r->data.target) == TH_UNIT_WORD;
  *result = (score){.count = e.count,
                    .loss = scorecard_score(card, LOSS),
                    .perplexity = scorecard_score(card, PERPLEXITY),
                    .token_accuracy = scorecard_score(card, TOKEN_ACCURACY),
                    .exact_match = scorecard_score(card, EXACT_MATCH),
                    .character_errors = scorecard_score(card, CHARACTER_ERRORS),
                    .word_errors = scorecard_score(card, words ? TOKEN_ERRORS : WORD_ERRORS),
                    .bleu = scorecard_score(card, BLEU),
                    .chrf = scorecard_score(card, CHRF)};
  result->exact = (int64_t)(result->exact_match * (double)e.count + 0.5);
  evaluation_free(&e);
  return TH_OK;
}
