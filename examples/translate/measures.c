#include "measures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RESAMPLES 1000
#define LEVEL 0.95
#define SEED 1
#define COLUMN 20 /* of an interval that something follows */

static const struct {
  const char *title, *key;
  double scale;
  const char *unit;
  int digits;
  th_measure measure;
} rows[MEASURES] = {
    [EXACT_MATCH] = {"exact match", "exact_match", 100, "%", 2, {.kind = TH_EXACT_MATCH}},
    [CHARACTER_ERRORS] =
        {"character error rate", "character_error_rate", 100, "%", 2, {.kind = TH_CHARACTER_ERRORS}},
    [WORD_ERRORS] = {"word error rate", "word_error_rate", 100, "%", 2, {.kind = TH_WORD_ERRORS}},
    [TOKEN_ERRORS] = {"token error rate", "token_error_rate", 100, "%", 2, {.kind = TH_WORD_ERRORS}},
    [BLEU] = {"BLEU", "bleu", 1, "", 2, {.kind = TH_BLEU}},
    [CHRF] = {"chrF", "chrf", 1, "", 2, {.kind = TH_CHRF}},
    [CHRF_WORDS] = {"chrF++", "chrf++", 1, "", 2, {.kind = TH_CHRF, .word_order = 2}},
    [TOKEN_ACCURACY] = {"token accuracy", "token_accuracy", 100, "%", 2, {.kind = TH_RATIO}},
    [LOSS] = {"loss", "loss", 1, "", 5, {.kind = TH_RATIO}},
    [PERPLEXITY] = {"perplexity", "perplexity", 1, "", 5, {.kind = TH_PERPLEXITY}},
};

/* ---- counts --------------------------------------------------------------------------------------------- */

th_status scorecard_new(scorecard *card, const measure_id *which, int count, int64_t items, th_error *error) {
  *card = (scorecard){.count = count};
  th_status status = TH_OK;
  for (int i = 0; i < count && !status; i++) {
    card->which[i] = which[i];
    status = th_counts_new(&card->counts[i], &rows[which[i]].measure, items, error);
  }
  if (status) scorecard_free(card);
  return status;
}

void scorecard_free(scorecard *card) {
  for (int i = 0; i < card->count; i++) th_counts_free(&card->counts[i]);
}

th_status scorecard_count(scorecard *card, int64_t item, const char *output, const char *const *references,
                          int64_t reference_count, th_error *error) {
  th_status status = TH_OK;
  for (int i = 0; i < card->count && !status; i++)
    if (card->which[i] < TOKEN_ACCURACY)
      status = th_measure_count(&card->counts[i].measure, output, references, reference_count,
                                th_counts_item(&card->counts[i], item), error);
  return status;
}

static const th_counts *find(const scorecard *card, measure_id m) {
  for (int i = 0; i < card->count; i++)
    if (card->which[i] == m) return &card->counts[i];
  return NULL;
}

void scorecard_add(scorecard *card, measure_id m, int64_t item, double n, double d) {
  const th_counts *counts = find(card, m);
  if (!counts) return;
  double *at = th_counts_item(counts, item);
  at[0] += n;
  at[1] += d;
}

double scorecard_score(const scorecard *card, measure_id m) {
  const th_counts *counts = find(card, m);
  return counts ? th_counts_score(counts) : NAN;
}

th_status scorecard_intervals(const scorecard *card, th_pool *pool, th_interval intervals[MEASURES],
                              th_error *error) {
  th_bootstrap b = {.resamples = RESAMPLES, .level = LEVEL, .seed = SEED, .pool = pool};
  return th_bootstrap_intervals(&b, card->counts, card->count, intervals, error);
}

th_status scorecard_compare(const scorecard *a, const scorecard *b, th_pool *pool,
                            th_comparison comparisons[MEASURES], th_error *error) {
  th_bootstrap settings = {.resamples = RESAMPLES, .level = LEVEL, .seed = SEED, .pool = pool};
  return th_bootstrap_compare(&settings, a->counts, b->counts, a->count, comparisons, error);
}

/* ---- tables --------------------------------------------------------------------------------------------- */

static void print_interval(measure_id m, const th_interval *i, int width) {
  int digits = rows[m].digits;
  double scale = rows[m].scale;
  char between[64];
  snprintf(between, sizeof between, "[%.*f, %.*f]", digits, scale * i->low, digits, scale * i->high);
  printf("  %8.*f %-1s  %-*s", digits, scale * i->value, rows[m].unit, width, between);
}

void print_intervals(const scorecard *card, const th_interval *intervals) {
  for (int i = 0; i < card->count; i++) {
    printf("%-20s", rows[card->which[i]].title);
    print_interval(card->which[i], &intervals[i], 0);
    putchar('\n');
  }
}

void print_comparisons(const scorecard *card, const th_interval *a, const th_interval *b,
                       const th_comparison *comparisons) {
  for (int i = 0; i < card->count; i++) {
    printf("%-20s", rows[card->which[i]].title);
    print_interval(card->which[i], &a[i], COLUMN);
    print_interval(card->which[i], &b[i], COLUMN);
    print_interval(card->which[i], &comparisons[i].difference, COLUMN);
    printf("  %.3f\n", comparisons[i].p_value);
  }
}

/* ---- JSON ------------------------------------------------------------------------------------------------- */

/* JSON has no infinity, and no number for what is not one. */
json_t *json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *ends(const th_interval *i) {
  return json_pack("[o, o]", json_number(i->low), json_number(i->high));
}

void intervals_to_json(json_t *object, const scorecard *card, const th_interval *intervals) {
  json_t *both = json_object();
  for (int i = 0; i < card->count; i++) {
    json_object_set_new(object, rows[card->which[i]].key, json_number(intervals[i].value));
    json_object_set_new(both, rows[card->which[i]].key, ends(&intervals[i]));
  }
  json_object_set_new(object, "intervals", both);
}

json_t *comparisons_to_json(const scorecard *card, const th_comparison *comparisons) {
  json_t *object = json_object();
  for (int i = 0; i < card->count; i++) {
    const th_comparison *c = &comparisons[i];
    json_object_set_new(object, rows[card->which[i]].key,
                        json_pack("{s: o, s: o, s: o}", "value", json_number(c->difference.value), "interval",
                                  ends(&c->difference), "p_value", json_number(c->p_value)));
  }
  return object;
}

void settings_to_json(json_t *object, const scorecard *card, int64_t references) {
  json_t *signatures = json_object();
  char text[TH_SIGNATURE_TEXT];
  for (int i = 0; i < card->count; i++)
    if (*th_measure_signature(text, &card->counts[i].measure, references))
      json_object_set_new(signatures, rows[card->which[i]].key, json_string(text));
  json_object_set_new(object, "signatures", signatures);
  json_object_set_new(object, "resamples", json_integer(RESAMPLES));
  json_object_set_new(object, "level", json_real(LEVEL));
}

th_status print_json(json_t *object, th_error *error) {
  char *text = th_json_dump(object, JSON_REAL_PRECISION(15));
  json_decref(object);
  if (!text) return th_error_set(error, TH_ENOMEM, "no memory for the JSON");
  puts(text);
  free(text);
  return TH_OK;
}
