/* Search for outputs: greedy, beam search, sampling. */
#include "decoding.h"

#include "../tensor/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLING_STREAM (1ull << 60) /* apart from streams of weights, data and dropout under the same seed */
#define FEW_LEFT(rows) (3 * (rows) / 4) /* rows left at which the ended ones are worth the copying */

/* All memory but that of what is found is the tape's. Rows of one source stand side by side. */
typedef struct search {
  th_search_options o; /* no zeros for defaults */
  th_reader reader;
  th_hypotheses *found;
  int64_t vocabulary, length;     /* tokens each row has, without the first mark */
  int32_t *tokens, *spare_tokens; /* [room,limit+1] */
  double *log_p, *spare_log_p;    /* [room] */
  int32_t *draw, *parent;         /* [room]: which of its source's draws; which row it comes from */
  bool *ended;                    /* [room] */
  int32_t *likely;                /* [room]: the most likely next token */
  th_tensor log_sum, loss;        /* [room]: log of sum exp(logit - largest logit) */
  double *logits;                 /* [vocabulary], of one row */
  th_top top;
  th_candidate *list; /* of top: [2 beam], or [vocabulary] to sample */
} search;

/* ---- what was found ----------------------------------------------------------------------------------------- */

static th_status new_hypotheses(th_hypotheses *found, int64_t sources, const th_search_options *o,
                                th_error *error) {
  size_t all = (size_t)(sources * o->best);
  found->sources = sources;
  found->most = o->best;
  found->count = calloc((size_t)sources, sizeof *found->count);
  found->list = calloc(all, sizeof *found->list);
  found->tokens = calloc(all * (size_t)o->limit, sizeof *found->tokens);
  if (!found->count || !found->list || !found->tokens)
    return th_error_set(error, TH_ENOMEM, "search: no memory for %lld outputs of %lld tokens", (long long)all,
                        (long long)o->limit);
  for (size_t i = 0; i < all; i++) found->list[i].tokens = found->tokens + i * (size_t)o->limit;
  return TH_OK;
}

void th_hypotheses_free(th_hypotheses *found) {
  free(found->count);
  free(found->list);
  free(found->tokens);
  *found = (th_hypotheses){0};
}

static double penalty(const search *s, int64_t length) { return pow((5 + (double)length) / 6, s->o.alpha); }

/* The place among the source's outputs where this score belongs; the last one makes room. NULL: it is not
 * good enough. Of equal scores the one that was there first stays before. */
static th_hypothesis *place_by_score(th_hypotheses *found, int64_t source, double score) {
  th_hypothesis *list = found->list + source * found->most;
  int64_t *count = &found->count[source], at;
  if (*count == found->most && !(score > list[*count - 1].score)) return NULL;
  if (*count < found->most) ++*count;
  th_hypothesis last = list[*count - 1]; /* whose memory is taken */
  for (at = *count - 1; at > 0 && score > list[at - 1].score; at--) list[at] = list[at - 1];
  list[at] = last;
  return &list[at];
}

/* Keeps an output whose tokens begin at `tokens`, if it is among the best; a draw always is. */
static void keep(search *s, int64_t row, const int32_t *tokens, int64_t length, double log_p) {
  int64_t source = s->reader.source[row];
  double score = log_p / penalty(s, length);
  th_hypothesis *h = NULL;
  if (!s->o.sample) h = place_by_score(s->found, source, score);
  else h = &s->found->list[source * s->found->most + s->draw[row]], s->found->count[source]++;
  if (!h) return;
  int32_t *to = s->found->tokens + (h->tokens - s->found->tokens);
  memcpy(to, tokens, (size_t)length * sizeof *to);
  *h = (th_hypothesis){to, length, tokens[length - 1] == s->o.end, log_p, score};
}

/* ---- what the model says -------------------------------------------------------------------------------------- */

#ifdef __clang__ /* it does not vectorise a maximum that may meet a NaN, and -Werror minds its saying so */
#define LARGEST_OF_MANY
#else
#define LARGEST_OF_MANY _Pragma("omp simd reduction(max : top)")
#endif

/* The first of the largest, or 0 where they are not numbers. */
#define FIRST_LARGEST(name, real) \
  static int32_t name(const real *x, int64_t n) { \
    real top = x[0]; \
    LARGEST_OF_MANY \
    for (int64_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top; \
    for (int64_t i = 0; i < n; i++) \
      if (x[i] == top) return (int32_t)i; \
    return 0; \
  }
FIRST_LARGEST(first_largest_float, float)
FIRST_LARGEST(first_largest_double, double)

static th_status look(search *s, const th_tensor *logits, th_error *error) {
  int64_t n = s->vocabulary, rows = s->reader.rows;
  for (int64_t r = 0; r < rows; r++)
    s->likely[r] = logits->dtype == TH_F32 ? first_largest_float((const float *)logits->data + r * n, n)
                                           : first_largest_double((const double *)logits->data + r * n, n);
  if (s->o.unscored) return TH_OK;
  /* the cross-entropy of the most likely token is the log of the sum, which each log probability wants */
  s->log_sum.shape[0] = s->loss.shape[0] = rows;
  th_k_cross_entropy(th_tape_pool(s->reader.tape), 0, logits, s->likely, &s->loss, &s->log_sum);
  for (int64_t r = 0; r < rows; r++)
    if (!isfinite(th_tensor_get(&s->loss, r)))
      return th_error_set(error, TH_ENAN, "search: the logits of token %lld are not all finite",
                          (long long)s->length + 1);
  return TH_OK;
}

static double log_probability(const search *s, const th_tensor *logits, int64_t row, int32_t token) {
  int64_t first = row * s->vocabulary;
  return th_tensor_get(logits, first + token) - th_tensor_get(logits, first + s->likely[row]) -
         th_tensor_get(&s->log_sum, row);
}

static void read_row(search *s, const th_tensor *logits, int64_t row) {
  int64_t n = s->vocabulary, first = row * n;
  if (logits->dtype == TH_F32)
    for (int64_t i = 0; i < n; i++) s->logits[i] = ((const float *)logits->data)[first + i];
  else memcpy(s->logits, (const double *)logits->data + first, (size_t)n * sizeof *s->logits);
}

static int32_t *tokens_of(const search *s, int32_t *tokens, int64_t row) {
  return tokens + row * (s->o.limit + 1);
}

/* ---- greedy and sampling: each row by itself -------------------------------------------------------------------- */

static int32_t choose(search *s, const th_tensor *logits, int64_t row) {
  const th_search_options *o = &s->o;
  if (!o->sample || !(o->temperature > 0)) return s->likely[row];
  int64_t source = s->reader.source[row], number = o->number ? o->number[source] : source;
  uint64_t position = (uint64_t)s->draw[row] << 32 | (uint64_t)s->length;
  read_row(s, logits, row);
  return th_sample(s->logits, s->vocabulary, o,
                   th_random_uniform((th_random){o->seed, SAMPLING_STREAM | (uint64_t)number}, position),
                   s->list);
}

/* Ended rows go when they are many: until then each costs a token, and to go the copying of all others. */
static int64_t drop_ended(search *s) {
  int64_t left = 0;
  for (int32_t r = 0; r < s->reader.rows; r++)
    if (!s->ended[r]) s->parent[left++] = r;
  if (left > FEW_LEFT(s->reader.rows)) return left;
  for (int64_t i = 0; i < left; i++) {
    int64_t from = s->parent[i];
    memmove(tokens_of(s, s->tokens, i), tokens_of(s, s->tokens, from),
            (size_t)(s->length + 1) * sizeof *s->tokens);
    s->log_p[i] = s->log_p[from];
    s->draw[i] = s->draw[from];
    s->ended[i] = false;
  }
  if (left) th_reader_select(&s->reader, left, s->parent);
  return left;
}

/* Another token for every row; how many rows still want one. */
static int64_t extend_rows(search *s, const th_tensor *logits) {
  int64_t next = s->length + 1;
  for (int64_t r = 0; r < s->reader.rows; r++) {
    int32_t *tokens = tokens_of(s, s->tokens, r);
    tokens[next] = s->ended[r] ? s->o.end : choose(s, logits, r);
    if (s->ended[r]) continue;
    if (!s->o.unscored) s->log_p[r] += log_probability(s, logits, r, tokens[next]);
    s->ended[r] = tokens[next] == s->o.end || next == s->o.limit;
    if (s->ended[r]) keep(s, r, tokens + 1, next, s->log_p[r]);
  }
  s->length = next;
  return drop_ended(s);
}

/* ---- beam search: rows of a source compete ------------------------------------------------------------------------ */

/* The 2 beam most likely continuations of rows first..last. */
static void rank(search *s, const th_tensor *logits, int64_t first, int64_t last) {
  th_top *top = &s->top;
  top->count = 0;
  for (int64_t r = first; r < last; r++) {
    read_row(s, logits, r);
    double base = s->logits[s->likely[r]] + th_tensor_get(&s->log_sum, r), sum = s->log_p[r];
    double floor = top->count == top->room ? top->list[0].value : -INFINITY;
    for (int32_t i = 0; i < s->vocabulary; i++) {
      double value = sum + (s->logits[i] - base);
      if (value < floor) continue;
      th_top_offer(top, (th_candidate){value, (int32_t)r, i});
      if (top->count == top->room) floor = top->list[0].value;
    }
  }
  th_top_sort(top);
}

/* Whether no row with this log probability, or a smaller one, can be among the source's best any more. */
static bool is_done(const search *s, int64_t source, double log_p) {
  const th_hypotheses *found = s->found;
  return found->count[source] == found->most &&
         found->list[(source + 1) * found->most - 1].score >= log_p / penalty(s, s->o.limit);
}

/* The candidate's tokens, as the new row `to`. */
static void write_row(search *s, const th_candidate *c, int64_t to) {
  int32_t *tokens = tokens_of(s, s->spare_tokens, to);
  memcpy(tokens, tokens_of(s, s->tokens, c->row), (size_t)(s->length + 1) * sizeof *tokens);
  tokens[s->length + 1] = c->token;
  s->spare_log_p[to] = c->value;
  s->parent[to] = c->row;
}

/* The next beam of the source of rows first..last, as new rows from `to` on; how many. */
static int64_t extend_source(search *s, const th_tensor *logits, int64_t first, int64_t last, int64_t to) {
  int64_t open = 0, source = s->reader.source[first], next = s->length + 1;
  rank(s, logits, first, last);
  for (int64_t i = 0; i < s->top.count && open < s->o.beam; i++) {
    const th_candidate *c = &s->top.list[i];
    bool ends = c->token == s->o.end;
    write_row(s, c, to + open);
    if (ends || next == s->o.limit)
      keep(s, c->row, tokens_of(s, s->spare_tokens, to + open) + 1, next, c->value);
    open += !ends;
  }
  return next == s->o.limit || !open || is_done(s, source, s->spare_log_p[to]) ? 0 : open;
}

/* The same for every source; how many rows there are now. */
static int64_t extend_beams(search *s, const th_tensor *logits) {
  int64_t rows = s->reader.rows, count = 0;
  for (int64_t first = 0, last; first < rows; first = last) {
    for (last = first + 1; last < rows && s->reader.source[last] == s->reader.source[first];) last++;
    count += extend_source(s, logits, first, last, count);
  }
  int32_t *tokens = s->tokens;
  double *log_p = s->log_p;
  s->tokens = s->spare_tokens, s->spare_tokens = tokens;
  s->log_p = s->spare_log_p, s->spare_log_p = log_p;
  if (count) th_reader_select(&s->reader, count, s->parent);
  s->length++;
  return count;
}

/* ---- all of it -------------------------------------------------------------------------------------------------------- */

static th_status check(const th_transformer *model, const th_search_options *o, int64_t sources,
                       th_error *error) {
  int64_t n = model->config.target_vocabulary, most = o->sample ? o->best : o->beam;
  const char *wrong = NULL;
  if (o->begin < 0 || o->begin >= n || o->end < 0 || o->end >= n) wrong = "a mark is not in the vocabulary";
  else if (o->limit < 1) wrong = "the limit must be at least 1";
  else if (o->beam < 1 || o->best < 1) wrong = "beam and best must not be negative";
  else if (o->sample && o->beam > 1) wrong = "a sample has no beam";
  else if (o->best > most) wrong = "best must not be more than beam";
  else if (!(o->alpha >= 0 && o->alpha < INFINITY)) wrong = "alpha must be at least 0";
  else if (!(o->temperature >= 0 && o->temperature < INFINITY)) wrong = "the temperature must be at least 0";
  else if (o->top_k < 0) wrong = "top_k must not be negative";
  else if (!(o->top_p >= 0 && o->top_p <= 1)) wrong = "top_p must be from 0 to 1";
  else if (o->unscored && (o->sample || o->beam > 1)) wrong = "only greedy search goes without scores";
  else if (most > TH_MAX_ELEMENTS / 2 || o->limit >= TH_MAX_ELEMENTS || sources > TH_MAX_ELEMENTS / most ||
           sources * most > TH_MAX_ELEMENTS / (o->limit + 1))
    wrong = "sources, beam or best, and limit are too many tokens together";
  return wrong ? th_error_set(error, TH_EINVAL, "search: %s", wrong) : TH_OK;
}

/* Memory for `room` rows, which first are one for each source, or for each draw. */
static void make_room(search *s, th_tape *tape, th_dtype dtype, int64_t room) {
  const th_search_options *o = &s->o;
  size_t rows = (size_t)room, tokens = rows * (size_t)(o->limit + 1) * sizeof *s->tokens;
  bool beams = o->beam > 1;
  s->top.room = o->sample ? s->vocabulary : 2 * o->beam;
  s->tokens = th_keep(tape, tokens);
  s->spare_tokens = beams ? th_keep(tape, tokens) : NULL;
  s->log_p = th_keep(tape, rows * sizeof *s->log_p);
  s->spare_log_p = beams ? th_keep(tape, rows * sizeof *s->log_p) : NULL;
  s->draw = th_keep(tape, rows * sizeof *s->draw);
  s->parent = th_keep(tape, rows * sizeof *s->parent);
  s->ended = th_keep(tape, rows * sizeof *s->ended);
  s->likely = th_keep(tape, rows * sizeof *s->likely);
  th_keep_tensor(tape, &s->log_sum, dtype, 1, &room);
  th_keep_tensor(tape, &s->loss, dtype, 1, &room);
  s->logits = th_keep(tape, (size_t)s->vocabulary * sizeof *s->logits);
  s->list = s->top.list = th_keep(tape, (size_t)s->top.room * sizeof *s->list);
  if (th_tape_error(tape)) return;
  for (int64_t r = 0; r < room; r++) {
    *tokens_of(s, s->tokens, r) = o->begin;
    s->log_p[r] = 0;
    s->draw[r] = o->sample ? (int32_t)(r % o->best) : 0;
    s->ended[r] = false;
    s->parent[r] = o->sample ? (int32_t)(r / o->best) : 0;
  }
}

static th_status run(search *s, th_tape *tape, th_error *error) {
  th_status status = TH_OK;
  for (int64_t open = s->reader.rows; open > 0 && !status && !th_tape_error(tape);) {
    int64_t shape[] = {s->reader.rows, s->length + 1};
    th_tensor tokens = th_tensor_of(s->tokens, TH_I32, 2, shape);
    tokens.stride[0] = s->o.limit + 1;
    th_tape_rewind(tape);
    const th_var *logits = th_reader_step(&s->reader, &tokens);
    if (th_tape_error(tape)) break;
    status = look(s, &logits->value, error);
    if (!status) open = s->o.beam > 1 ? extend_beams(s, &logits->value) : extend_rows(s, &logits->value);
  }
  return status;
}

static th_status begin_and_run(search *s, const th_transformer *model, th_tape *tape, const th_tensor *source,
                               const int32_t *source_length, th_error *error) {
  int64_t sources = s->found->sources, room = sources * (s->o.sample ? s->o.best : s->o.beam);
  th_var *memory = th_transformer_encode(model, tape, source, source_length, NULL);
  if (th_tape_error(tape)) return TH_OK; /* th_search looks at the tape */
  make_room(s, tape, memory->value.dtype, room);
  if (th_tape_error(tape)) return TH_OK;
  s->reader = th_reader_begin(model, memory, source_length, room, s->o.limit, !s->o.recompute);
  if (th_tape_error(tape)) return TH_OK;
  if (s->o.sample) th_reader_select(&s->reader, room, s->parent);
  th_tape_mark(tape);
  return run(s, tape, error);
}

th_status th_search(const th_transformer *model, th_tape *tape, const th_tensor *source,
                    const int32_t *source_length, const th_search_options *options, th_hypotheses *found,
                    th_error *error) {
  bool recording = th_tape_recording(tape), training = th_tape_training(tape);
  search s = {.o = *options, .found = found, .vocabulary = model->config.target_vocabulary};
  s.o.beam += !s.o.beam;
  s.o.best += !s.o.best;
  *found = (th_hypotheses){0};
  int64_t sources = source->ndim > 0 ? source->shape[0] : 0;
  th_status status = check(model, &s.o, sources, error);
  if (!status) status = new_hypotheses(found, sources, &s.o, error);
  if (status) {
    th_hypotheses_free(found);
    return status;
  }
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_tape_train(tape, false);
  status = begin_and_run(&s, model, tape, source, source_length, error);
  const th_error *failed = th_tape_error(tape);
  if (failed) status = th_error_set(error, failed->status, "%s", failed->text);
  th_tape_reset(tape);
  th_tape_record(tape, recording);
  th_tape_train(tape, training);
  if (status) th_hypotheses_free(found);
  return status;
}

th_status th_transformer_greedy(const th_transformer *model, th_tape *tape, const th_tensor *source,
                                const int32_t *source_length, int32_t begin, int32_t end,
                                const th_tensor *out, th_error *error) {
  th_search_options options = {.begin = begin, .end = end, .limit = out->shape[1], .unscored = true};
  char text[TH_SHAPE_TEXT];
  th_hypotheses found;
  if (source->ndim < 1 || source->shape[0] != out->shape[0])
    return th_error_set(error, TH_ESHAPE, "greedy: room for %lld outputs, sources are %s",
                        (long long)out->shape[0], th_shape_text(text, source));
  th_status status = th_search(model, tape, source, source_length, &options, &found, error);
  if (status) return status;
  th_fill(out, end);
  for (int64_t b = 0; b < found.sources; b++)
    for (int64_t t = 0; t < found.list[b].length; t++)
      th_tensor_set(out, b * out->shape[1] + t, found.list[b].tokens[t]);
  th_hypotheses_free(&found);
  return status;
}
