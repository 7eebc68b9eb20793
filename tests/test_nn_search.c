/* Search: what it finds is what plain enumeration, a plain beam and plain frequencies say. */
#include "engine_desk.h"
#include "tapehead/nn.h"

#include <stdlib.h>

enum { BEGIN = 1, END = 2, SOURCES = 4, LENGTH = 5, TARGETS = 13, LIMIT = 8 };

TestSuite(search);

/* ---- models and sources ---------------------------------------------------------------------- */

/* `sharp` makes logits differ; the end is likely but not certain. */
static th_transformer *model_with(th_positions positions, int64_t targets, int64_t longest, double sharp,
                                  double end) {
  th_transformer_config config = {.source_vocabulary = 11,
                                  .target_vocabulary = targets,
                                  .encoder_layers = 1,
                                  .decoder_layers = 2,
                                  .max_length = longest,
                                  .layer = {.width = 12, .heads = 3, .feed_forward = 16},
                                  .positions = positions};
  th_transformer *model = NULL;
  th_error error = {0};
  cr_assert(th_transformer_new(&model, &config, TH_F64, 3, &error) == TH_OK, "%s", error.text);
  th_tensor values = th_params_values(model->params);
  for (int64_t i = 0; i < values.shape[0]; i++) th_tensor_set(&values, i, sharp * th_tensor_get(&values, i));
  th_tensor_set(&model->output.bias->value, END, end);
  return model;
}

static th_transformer *model_of(int64_t targets, int64_t longest, double sharp, double end) {
  return model_with(TH_POSITIONS_LEARNED, targets, longest, sharp, end);
}

typedef struct bench {
  desk d;
  th_transformer *model;
  th_tensor source;
  const int32_t *length;
} bench;

static bench bench_of(th_transformer *model) {
  static const int32_t length[] = {5, 2, 4, 1};
  bench b = {.d = desk_open(), .model = model, .length = length};
  b.source = desk_zeros(&b.d, TH_I32, SHAPE(SOURCES, LENGTH));
  for (int64_t i = 0; i < SOURCES * LENGTH; i++)
    th_tensor_set(&b.source, i, (double)th_random_below((th_random){5, 1}, (uint64_t)i, 11));
  return b;
}

static bench open_bench(void) { return bench_of(model_of(TARGETS, LIMIT, 1.5, 1)); }

static void close_bench(bench *b) {
  th_transformer_free(b->model);
  desk_close(&b->d);
}

static th_hypotheses found_by(bench *b, const th_tensor *source, const int32_t *length, th_search_options o) {
  th_hypotheses found;
  th_error error = {0};
  o.begin = BEGIN;
  o.end = END;
  if (!o.limit) o.limit = LIMIT;
  th_status status = th_search(b->model, b->d.tape, source, length, &o, &found, &error);
  cr_assert(status == TH_OK, "%s", error.text);
  return found;
}

static th_hypotheses search_all(bench *b, th_search_options o) {
  return found_by(b, &b->source, b->length, o);
}

static const th_hypothesis *at(const th_hypotheses *found, int64_t source, int64_t place) {
  cr_assert(place < found->count[source]);
  return &found->list[source * found->most + place];
}

static bool same_tokens(const th_hypothesis *a, const th_hypothesis *b) {
  return a->length == b->length && a->ended == b->ended &&
         !memcmp(a->tokens, b->tokens, (size_t)a->length * sizeof *a->tokens);
}

static void expect_same(const th_hypothesis *got, const th_hypothesis *wanted, const char *what,
                        int64_t source, int64_t place) {
  cr_assert(same_tokens(got, wanted), "%s: source %ld, place %ld: other tokens", what, (long)source,
            (long)place);
  cr_assert(fabs(got->log_probability - wanted->log_probability) < 1e-9 &&
                fabs(got->score - wanted->score) < 1e-9,
            "%s: source %ld, place %ld: score %.12g, wanted %.12g", what, (long)source, (long)place,
            got->score, wanted->score);
}

static void expect_same_found(const th_hypotheses *got, const th_hypotheses *wanted, const char *what) {
  cr_assert(got->sources == wanted->sources);
  for (int64_t i = 0; i < got->sources; i++) {
    cr_assert(got->count[i] == wanted->count[i], "%s: source %ld: %ld outputs, wanted %ld", what, (long)i,
              (long)got->count[i], (long)wanted->count[i]);
    for (int64_t k = 0; k < got->count[i]; k++) expect_same(at(got, i, k), at(wanted, i, k), what, i, k);
  }
}

/* ---- plain references ------------------------------------------------------------------------ */

/* Log probabilities [n] of what follows `count` tokens, all of them read by the whole decoder. */
static void next_of(bench *b, int64_t source, const int32_t *tokens, int64_t count, double *log_p) {
  int32_t read[32] = {BEGIN};
  th_tensor row;
  for (int64_t i = 0; i < count; i++) read[i + 1] = tokens[i];
  th_tensor target = th_tensor_of(read, TH_I32, SHAPE(1, count + 1));
  th_view_slice(&row, &b->source, 0, source, source + 1);
  th_tape_reset(b->d.tape);
  th_var *memory = th_transformer_encode(b->model, b->d.tape, &row, &b->length[source], NULL);
  th_var *logits = th_transformer_decode(b->model, memory, &b->length[source], &target, NULL);
  th_var *all = th_log_softmax(logits, NULL);
  expect_no_error(b->d.tape);
  int64_t n = all->value.shape[2];
  for (int64_t i = 0; i < n; i++) log_p[i] = th_tensor_get(&all->value, count * n + i);
}

/* A plain output with its own memory. */
typedef struct plain {
  int32_t tokens[LIMIT];
  th_hypothesis h;
} plain;

typedef struct plain_list {
  plain *list;
  int64_t count;
} plain_list;

static plain *add_plain(plain_list *to, const plain *from, int32_t token, double log_p, double alpha) {
  plain *p = &to->list[to->count++];
  *p = *from;
  p->tokens[p->h.length++] = token;
  p->h.log_probability += log_p;
  p->h.score = p->h.log_probability / pow((5 + (double)p->h.length) / 6, alpha);
  p->h.ended = token == END;
  return p;
}

static int by_score(const void *a, const void *b) {
  double x = ((const plain *)a)->h.score, y = ((const plain *)b)->h.score;
  return (x < y) - (x > y);
}

static int by_log_p(const void *a, const void *b) {
  double x = ((const plain *)a)->h.log_probability, y = ((const plain *)b)->h.log_probability;
  return (x < y) - (x > y);
}

static void sort_plain(plain_list *p, int (*order)(const void *, const void *)) {
  qsort(p->list, (size_t)p->count, sizeof *p->list, order);
  for (int64_t i = 0; i < p->count; i++) p->list[i].h.tokens = p->list[i].tokens;
}

/* Every output of up to `limit` tokens. */
static void enumerate(bench *b, int64_t source, const plain *from, int64_t limit, double alpha,
                      plain_list *all) {
  double log_p[TARGETS];
  next_of(b, source, from->tokens, from->h.length, log_p);
  for (int32_t i = 0; i < b->model->config.target_vocabulary; i++) {
    plain *p = add_plain(all, from, i, log_p[i], alpha);
    if (i == END || p->h.length == limit) continue;
    plain open = *p;
    all->count--;
    enumerate(b, source, &open, limit, alpha, all);
  }
}

/* Beam search from its definition: no cache, no early stop, everything sorted. */
static void plain_beam(bench *b, int64_t source, int64_t beam, int64_t limit, double alpha,
                       plain_list *done) {
  plain_list open = {calloc((size_t)beam, sizeof(plain)), 1},
             next = {calloc((size_t)beam * TARGETS, sizeof(plain)), 0};
  int64_t n = b->model->config.target_vocabulary;
  for (int64_t t = 0; t < limit; t++) {
    next.count = 0;
    for (int64_t i = 0; i < open.count; i++) {
      double log_p[TARGETS];
      next_of(b, source, open.list[i].tokens, t, log_p);
      for (int32_t k = 0; k < n; k++) add_plain(&next, &open.list[i], k, log_p[k], alpha);
    }
    sort_plain(&next, by_log_p);
    open.count = 0;
    for (int64_t i = 0; i < next.count; i++) {
      if (open.count == beam) break;
      plain_list *to = next.list[i].h.ended ? done : &open;
      to->list[to->count++] = next.list[i];
    }
  }
  for (int64_t i = 0; i < open.count; i++) done->list[done->count++] = open.list[i];
  sort_plain(done, by_score);
  free(open.list);
  free(next.list);
}

/* ---- beam search ----------------------------------------------------------------------------- */

enum { FEW = 5, SHORT = 4, OUTPUTS = 1 + 4 + 16 + 64 + 256 }; /* outputs of 5 tokens, up to 4 of them */

Test(search, a_beam_as_wide_as_all_outputs_finds_what_enumeration_finds) {
  bench b = bench_of(model_of(FEW, LENGTH, 1.5, 0.5));
  plain_list all = {calloc(OUTPUTS + 1, sizeof(plain)), 0};
  const double alphas[] = {0, 0.6, 1, 2.5};
  for (int a = 0; a < 4; a++)
    for (int64_t source = 0; source < 2; source++) {
      th_tensor one;
      th_view_slice(&one, &b.source, 0, source, source + 1);
      all.count = 0;
      enumerate(&b, source, &(plain){0}, SHORT, alphas[a], &all);
      sort_plain(&all, by_score);
      cr_assert(all.count == OUTPUTS);
      for (int64_t best = 1; best <= OUTPUTS; best += OUTPUTS - 1) {
        th_search_options o = {.beam = 400, .best = best, .alpha = alphas[a], .limit = SHORT};
        th_hypotheses found = found_by(&b, &one, &b.length[source], o);
        cr_assert(found.count[0] == best);
        for (int64_t k = 0; k < best; k++) expect_same(at(&found, 0, k), &all.list[k].h, "all", source, k);
        th_hypotheses_free(&found);
      }
    }
  free(all.list);
  close_bench(&b);
}

Test(search, all_outputs_together_have_probability_1_and_no_more_are_found) {
  bench b = bench_of(model_of(FEW, LENGTH, 1.5, 0.5));
  th_hypotheses found = search_all(&b, (th_search_options){.beam = 500, .best = 500, .limit = SHORT});
  for (int64_t source = 0; source < SOURCES; source++) {
    double sum = 0;
    cr_assert(found.count[source] == OUTPUTS);
    for (int64_t k = 0; k < OUTPUTS; k++) sum += exp(at(&found, source, k)->log_probability);
    cr_expect(fabs(sum - 1) < 1e-12, "%.15g", sum);
  }
  th_hypotheses_free(&found);
  close_bench(&b);
}

/* What a plain beam leaves, by score, against what is found with a `best` of 1 and of beam. */
static void expect_as_plain(bench *b, int64_t beam, double alpha, plain_list *done) {
  th_search_options o = {.beam = beam, .best = beam, .alpha = alpha}, first = {.beam = beam, .alpha = alpha};
  th_hypotheses all = search_all(b, o), one = search_all(b, first);
  for (int64_t source = 0; source < SOURCES; source++) {
    done->count = 0;
    plain_beam(b, source, beam, LIMIT, alpha, done);
    cr_assert(all.count[source] == beam && done->count >= beam && one.count[source] == 1);
    for (int64_t k = 0; k < beam; k++) expect_same(at(&all, source, k), &done->list[k].h, "beam", source, k);
    expect_same(at(&one, source, 0), &done->list[0].h, "beam, best 1", source, 0);
  }
  th_hypotheses_free(&all);
  th_hypotheses_free(&one);
}

Test(search, a_narrow_beam_finds_what_a_plain_one_finds_that_never_stops_early) {
  const double alphas[] = {0, 0.6, 3}, sharp[] = {1.5, 2.5, 4};
  plain_list done = {calloc(100, sizeof(plain)), 0};
  for (int m = 0; m < 3; m++) {
    bench b = bench_of(model_of(TARGETS, LIMIT, sharp[m], 3));
    for (int a = 0; a < 3; a++)
      for (int64_t beam = 2; beam <= 4; beam += 2) expect_as_plain(&b, beam, alphas[a], &done);
    close_bench(&b);
  }
  free(done.list);
}

Test(search, a_beam_of_1_without_penalty_is_greedy) {
  bench b = open_bench();
  plain_list done = {calloc(20, sizeof(plain)), 0};
  th_tensor out = desk_zeros(&b.d, TH_I32, SHAPE(SOURCES, LIMIT));
  th_hypotheses found = search_all(&b, (th_search_options){.beam = 1});
  cr_assert(th_transformer_greedy(b.model, b.d.tape, &b.source, b.length, BEGIN, END, &out, NULL) == TH_OK);
  for (int64_t source = 0; source < SOURCES; source++) {
    const th_hypothesis *h = at(&found, source, 0);
    done.count = 0;
    plain_beam(&b, source, 1, LIMIT, 0, &done);
    expect_same(h, &done.list[0].h, "greedy", source, 0);
    for (int64_t t = 0; t < LIMIT; t++)
      cr_assert(th_tensor_get(&out, source * LIMIT + t) == (t < h->length ? h->tokens[t] : END));
  }
  free(done.list);
  th_hypotheses_free(&found);
  close_bench(&b);
}

/* The sum over tokens, each given those before. */
static double teacher_forced(bench *b, int64_t source, const th_hypothesis *h) {
  double sum = 0, log_p[TARGETS];
  for (int64_t t = 0; t < h->length; t++) {
    next_of(b, source, h->tokens, t, log_p);
    sum += log_p[h->tokens[t]];
  }
  return sum;
}

static void expect_scored(bench *b, int64_t source, const th_hypothesis *h, double alpha) {
  double log_p = teacher_forced(b, source, h);
  cr_assert(fabs(h->log_probability - log_p) < 1e-9, "log probability %.12g, wanted %.12g",
            h->log_probability, log_p);
  cr_assert(fabs(h->score - log_p / pow((5 + (double)h->length) / 6, alpha)) < 1e-9);
  cr_assert(h->ended == (h->tokens[h->length - 1] == END) && (h->ended || h->length == LIMIT));
}

Test(search, the_best_few_are_sorted_and_distinct_and_scored_as_by_teacher_forcing) {
  bench b = open_bench();
  th_hypotheses found = search_all(&b, (th_search_options){.beam = 6, .best = 6, .alpha = 0.6});
  int ended = 0, cut = 0;
  for (int64_t source = 0; source < SOURCES; source++) {
    cr_assert(found.count[source] == 6);
    for (int64_t k = 0; k < 6; k++) {
      const th_hypothesis *h = at(&found, source, k);
      expect_scored(&b, source, h, 0.6);
      cr_assert(!k || h->score <= at(&found, source, k - 1)->score, "sorted");
      for (int64_t i = 0; i < k; i++) cr_assert(!same_tokens(h, at(&found, source, i)), "distinct");
      if (h->ended) ended++;
      else cut++;
    }
  }
  cr_expect(ended > 0 && cut > 0, "the test wants both: %d ended, %d at the limit", ended, cut);
  th_hypotheses_free(&found);
  close_bench(&b);
}

Test(search, a_longer_output_wins_under_a_penalty) {
  bench b = open_bench();
  th_hypotheses likeliest = search_all(&b, (th_search_options){.beam = 8}),
                longer = search_all(&b, (th_search_options){.beam = 8, .alpha = 3});
  int64_t lengths[2] = {0};
  for (int64_t source = 0; source < SOURCES; source++) {
    lengths[0] += at(&likeliest, source, 0)->length;
    lengths[1] += at(&longer, source, 0)->length;
    cr_assert(at(&likeliest, source, 0)->log_probability >= at(&longer, source, 0)->log_probability - 1e-12);
  }
  cr_expect(lengths[1] > lengths[0]);
  th_hypotheses_free(&likeliest);
  th_hypotheses_free(&longer);
  close_bench(&b);
}

/* ---- one by one, all at once, with and without a cache ---------------------------------------- */

static const th_search_options ways[] = {
    {.beam = 1},
    {.beam = 4, .best = 3, .alpha = 0.6},
    {.beam = 7, .best = 7},
    {.sample = true, .best = 5, .temperature = 1, .seed = 3},
    {.sample = true, .best = 2, .temperature = 1.3, .top_k = 6, .top_p = 0.9, .seed = 4}};
enum { WAYS = sizeof ways / sizeof *ways };

Test(search, with_the_cache_and_without_the_same_is_found_whatever_the_positions) {
  for (th_positions kind = TH_POSITIONS_SINUSOIDAL; kind <= TH_POSITIONS_NONE; kind++) {
    bench b = bench_of(model_with(kind, TARGETS, LIMIT, 1.5, 1));
    for (int i = 0; i < WAYS; i++) {
      th_search_options o = ways[i];
      th_hypotheses cached = search_all(&b, o);
      o.recompute = true;
      th_hypotheses anew = search_all(&b, o);
      expect_same_found(&cached, &anew, "recomputed");
      th_hypotheses_free(&cached);
      th_hypotheses_free(&anew);
    }
    close_bench(&b);
  }
}

Test(search, a_batch_gives_each_source_what_it_gets_alone) {
  bench b = open_bench();
  const int64_t number[] = {7, 1000, 3, 0};
  for (int i = 0; i < WAYS; i++) {
    th_search_options o = ways[i];
    o.number = number;
    th_hypotheses together = search_all(&b, o);
    for (int64_t source = 0; source < SOURCES; source++) {
      th_tensor row, one;
      th_view_slice(&row, &b.source, 0, source, source + 1);
      th_view_slice(&one, &row, 1, 0, b.length[source]); /* no padding either */
      o.number = &number[source];
      th_hypotheses alone = found_by(&b, &one, NULL, o);
      cr_assert(alone.count[0] == together.count[source]);
      for (int64_t k = 0; k < alone.count[0]; k++)
        expect_same(at(&alone, 0, k), at(&together, source, k), "alone", source, k);
      th_hypotheses_free(&alone);
    }
    th_hypotheses_free(&together);
  }
  close_bench(&b);
}

Test(search, a_batch_that_has_ended_asks_for_no_more_tokens) {
  for (int i = 0; i < WAYS; i++) {
    bench b = bench_of(model_of(TARGETS, LENGTH, 1, 100)); /* a sixth token would be an error */
    th_search_options o = ways[i];
    o.limit = 50;
    if (!o.sample) o.best = 1;
    th_hypotheses found = search_all(&b, o);
    for (int64_t source = 0; source < SOURCES; source++) {
      const th_hypothesis *h = at(&found, source, 0);
      cr_assert(h->length == 1 && h->ended && h->tokens[0] == END);
    }
    th_hypotheses_free(&found);
    close_bench(&b);
  }
}

/* ---- sampling --------------------------------------------------------------------------------- */

enum { DRAWS = 20000 };

/* What `o` makes of log probabilities: of each token, from its rank alone. */
static void cut_off(const double *log_p, int64_t n, const th_search_options *o, double *p) {
  double total = 0, kept = 0, whole = 0;
  for (int64_t i = 0; i < n; i++) p[i] = exp(log_p[i] / o->temperature);
  for (int64_t i = 0; i < n; i++) {
    int64_t rank = 0;
    for (int64_t k = 0; k < n; k++) rank += log_p[k] > log_p[i];
    if (o->top_k && rank >= o->top_k) p[i] = 0;
  }
  for (int64_t i = 0; i < n; i++) whole += p[i];
  double all[TARGETS];
  memcpy(all, p, (size_t)n * sizeof *p);
  for (int64_t i = 0; i < n && o->top_p > 0; i++) {
    double before = 0; /* of what is more likely: with p of it, this one is not needed */
    for (int64_t k = 0; k < n; k++) before += all[k] > all[i] ? all[k] : 0;
    if (before >= o->top_p * whole) p[i] = 0;
  }
  for (int64_t i = 0; i < n; i++) total += p[i];
  for (int64_t i = 0; i < n; i++) kept += p[i] /= total;
  cr_assert(fabs(kept - 1) < 1e-12);
}

/* Pearson's statistic of counts against probabilities is below what chance passes once in 1000. */
static void expect_drawn(const int64_t *seen, const double *p, int64_t n, int64_t draws, const char *what) {
  static const double limit[] = {0,     10.83, 13.82, 16.27, 18.47, 20.52, 22.46,
                                 24.32, 26.12, 27.88, 29.59, 31.26, 32.91};
  double sum = 0;
  int freedom = -1;
  for (int64_t i = 0; i < n; i++) {
    double wanted = p[i] * (double)draws;
    if (p[i] == 0) cr_assert(seen[i] == 0, "%s: token %ld was cut off, and drawn", what, (long)i);
    if (p[i] == 0) continue;
    sum += pow((double)seen[i] - wanted, 2) / wanted;
    freedom++;
  }
  cr_expect(sum <= limit[freedom], "%s: %g with %d degrees of freedom", what, sum, freedom);
}

Test(search, tokens_are_drawn_as_often_as_they_are_likely) {
  const th_search_options options[] = {{.temperature = 1},
                                       {.temperature = 0.5},
                                       {.temperature = 2},
                                       {.temperature = 1, .top_k = 4},
                                       {.temperature = 1, .top_k = 1},
                                       {.temperature = 1, .top_p = 0.7},
                                       {.temperature = 1, .top_p = 1e-9},
                                       {.temperature = 0.8, .top_k = 6, .top_p = 0.8}};
  bench b = open_bench();
  double log_p[TARGETS], p[TARGETS];
  th_tensor one;
  th_view_slice(&one, &b.source, 0, 0, 1);
  next_of(&b, 0, NULL, 0, log_p);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    th_search_options o = options[i];
    char what[64];
    int64_t seen[TARGETS] = {0};
    o.sample = true, o.best = DRAWS, o.limit = 1, o.seed = i;
    th_hypotheses found = found_by(&b, &one, b.length, o);
    cr_assert(found.count[0] == DRAWS);
    for (int64_t k = 0; k < DRAWS; k++) seen[at(&found, 0, k)->tokens[0]]++;
    cut_off(log_p, TARGETS, &o, p);
    snprintf(what, sizeof what, "temperature %g, k %ld, p %g", o.temperature, (long)o.top_k, o.top_p);
    expect_drawn(seen, p, TARGETS, DRAWS, what);
    th_hypotheses_free(&found);
  }
  close_bench(&b);
}

Test(search, a_later_token_is_drawn_given_those_before) {
  bench b = open_bench();
  th_tensor one;
  th_view_slice(&one, &b.source, 0, 1, 2);
  th_search_options o = {.sample = true, .best = DRAWS, .temperature = 1, .limit = 3, .seed = 2};
  th_hypotheses found = found_by(&b, &one, &b.length[1], o);
  double log_p[TARGETS], p[TARGETS];
  int64_t seen[TARGETS] = {0}, draws = 0;
  int32_t first = at(&found, 0, 0)->tokens[0];
  for (int64_t k = 0; k < DRAWS && first == END; k++) first = at(&found, 0, k)->tokens[0];
  for (int64_t k = 0; k < DRAWS; k++) {
    const th_hypothesis *h = at(&found, 0, k);
    if (h->tokens[0] == first) seen[h->tokens[1]]++, draws++;
  }
  next_of(&b, 1, &first, 1, log_p);
  cut_off(log_p, TARGETS, &(th_search_options){.temperature = 1}, p);
  cr_assert(draws > 500);
  expect_drawn(seen, p, TARGETS, draws, "second token");
  th_hypotheses_free(&found);
  close_bench(&b);
}

Test(search, near_temperature_0_and_at_it_sampling_is_greedy) {
  bench b = open_bench();
  th_hypotheses greedy = search_all(&b, (th_search_options){0});
  const double temperatures[] = {0, 1e-4, 1e-300};
  for (int i = 0; i < 3; i++) {
    th_search_options o = {.sample = true, .best = 3, .temperature = temperatures[i]};
    th_hypotheses found = search_all(&b, o);
    for (int64_t source = 0; source < SOURCES; source++)
      for (int64_t k = 0; k < 3; k++)
        expect_same(at(&found, source, k), at(&greedy, source, 0), "cold", source, k);
    th_hypotheses_free(&found);
  }
  th_hypotheses_free(&greedy);
  close_bench(&b);
}

Test(search, draws_have_the_models_own_log_probability) {
  bench b = open_bench();
  th_search_options o = {.sample = true, .best = 4, .temperature = 1.5, .top_k = 8, .alpha = 1};
  th_hypotheses found = search_all(&b, o);
  for (int64_t source = 0; source < SOURCES; source++)
    for (int64_t k = 0; k < 4; k++) expect_scored(&b, source, at(&found, source, k), 1);
  th_hypotheses_free(&found);
  close_bench(&b);
}

Test(search, seed_and_number_choose_the_draw) {
  bench b = open_bench();
  const int64_t same[] = {5, 5, 5, 5}, other[] = {6, 6, 6, 6};
  th_search_options o = {.sample = true, .best = 8, .temperature = 2, .number = same};
  th_hypotheses first = search_all(&b, o), again = search_all(&b, o);
  expect_same_found(&first, &again, "again");
  o.seed = 1;
  th_hypotheses seeded = search_all(&b, o);
  o.seed = 0, o.number = other;
  th_hypotheses numbered = search_all(&b, o);
  int differ[3] = {0};
  for (int64_t k = 0; k < 8; k++) {
    differ[0] += !same_tokens(at(&first, 0, k), at(&seeded, 0, k));
    differ[1] += !same_tokens(at(&first, 0, k), at(&numbered, 0, k));
    differ[2] += k && !same_tokens(at(&first, 0, k), at(&first, 0, 0));
  }
  cr_expect(differ[0] > 4 && differ[1] > 4 && differ[2] > 4);
  th_hypotheses_free(&first);
  th_hypotheses_free(&again);
  th_hypotheses_free(&seeded);
  th_hypotheses_free(&numbered);
  close_bench(&b);
}

/* ---- what goes wrong --------------------------------------------------------------------------- */

Test(search, options_that_do_not_fit_are_refused) {
  const struct {
    th_search_options o;
    const char *text;
  } bad[] = {{{.end = TARGETS}, "search: a mark is not in the vocabulary"},
             {{.begin = -1}, "search: a mark is not in the vocabulary"},
             {{.limit = -1}, "search: the limit must be at least 1"},
             {{.beam = -1}, "search: beam and best must not be negative"},
             {{.beam = 2, .best = 3}, "search: best must not be more than beam"},
             {{.best = 2}, "search: best must not be more than beam"},
             {{.sample = true, .beam = 2}, "search: a sample has no beam"},
             {{.alpha = -0.1}, "search: alpha must be at least 0"},
             {{.alpha = NAN}, "search: alpha must be at least 0"},
             {{.sample = true, .temperature = -1}, "search: the temperature must be at least 0"},
             {{.sample = true, .top_k = -1}, "search: top_k must not be negative"},
             {{.sample = true, .top_p = 1.5}, "search: top_p must be from 0 to 1"},
             {{.beam = 2, .unscored = true}, "search: only greedy search goes without scores"},
             {{.beam = INT64_MAX}, "search: sources, beam or best, and limit are too many tokens together"}};
  bench b = open_bench();
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    th_search_options o = bad[i].o;
    th_hypotheses found;
    th_error error = {0};
    if (!o.limit) o.limit = LIMIT;
    cr_assert(th_search(b.model, b.d.tape, &b.source, b.length, &o, &found, &error) == TH_EINVAL, "%s",
              bad[i].text);
    cr_expect_str_eq(error.text, bad[i].text);
    cr_expect(!found.list && !found.tokens && !found.count && !found.sources);
  }
  close_bench(&b);
}

Test(search, logits_that_are_no_numbers_are_an_error) {
  bench b = open_bench();
  th_search_options o = {.begin = BEGIN, .end = END, .limit = LIMIT, .beam = 3};
  th_hypotheses found;
  th_error error = {0};
  th_tensor_set(&b.model->output.bias->value, 4, NAN);
  cr_assert(th_search(b.model, b.d.tape, &b.source, b.length, &o, &found, &error) == TH_ENAN);
  cr_expect_str_eq(error.text, "search: the logits of token 1 are not all finite");
  cr_expect(!found.list);
  close_bench(&b);
}

Test(search, an_error_on_the_way_leaves_nothing_and_the_tape_as_it_was) {
  for (int i = 0; i < WAYS; i++) {
    bench b = bench_of(model_of(TARGETS, LENGTH, 1, -100)); /* never the end, and no sixth token */
    th_search_options o = ways[i];
    th_hypotheses found;
    th_error error = {0};
    o.begin = BEGIN, o.end = END, o.limit = LIMIT;
    th_tape_train(b.d.tape, true);
    cr_assert(th_search(b.model, b.d.tape, &b.source, NULL, &o, &found, &error) == TH_ESHAPE, "%d", i);
    cr_expect(!strncmp(error.text, "slice: ", 7), "%s", error.text);
    cr_expect(!found.list && !th_tape_error(b.d.tape) && th_tape_bytes(b.d.tape) == 0);
    cr_expect(th_tape_recording(b.d.tape) && th_tape_training(b.d.tape));
    close_bench(&b);
  }
}

Test(search, freeing_nothing_does_nothing) {
  th_hypotheses none = {0};
  th_hypotheses_free(&none);
  cr_expect(!none.list);
}
