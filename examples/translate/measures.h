/* The measures that are printed: names, counts over a corpus, intervals; as a table and as JSON. */
#ifndef TRANSLATE_MEASURES_H
#define TRANSLATE_MEASURES_H

#include "tapehead/tapehead.h"

#include <jansson.h>

typedef enum {
  EXACT_MATCH,
  CHARACTER_ERRORS,
  WORD_ERRORS,
  TOKEN_ERRORS, /* the same, where words are the model's tokens, phonemes say */
  BLEU,
  CHRF,
  CHRF_WORDS,
  TOKEN_ACCURACY, /* from here on not of texts: counted by `evaluate` */
  LOSS,
  PERPLEXITY,
  MEASURES
} measure_id;

/* Some measures of one system's outputs. */
typedef struct scorecard {
  int count;
  measure_id which[MEASURES];
  th_counts counts[MEASURES]; /* [count] */
} scorecard;

/* Counts of zero for `items` items. */
th_status scorecard_new(scorecard *card, const measure_id *which, int count, int64_t items, th_error *error);
void scorecard_free(scorecard *card);
/* Counts one output under every measure of texts. */
th_status scorecard_count(scorecard *card, int64_t item, const char *output, const char *const *references,
                          int64_t reference_count, th_error *error);
/* Counts of the caller's: adds n and d to the item's; nothing where the card has no such measure. */
void scorecard_add(scorecard *card, measure_id m, int64_t item, double n, double d);
double scorecard_score(const scorecard *card, measure_id m); /* NaN: not on the card */

/* Of 1000 resamples at 95 %, the same ones every time. */
th_status scorecard_intervals(const scorecard *card, th_pool *pool, th_interval intervals[MEASURES],
                              th_error *error);
th_status scorecard_compare(const scorecard *a, const scorecard *b, th_pool *pool,
                            th_comparison comparisons[MEASURES], th_error *error);

/* A line for each measure. */
void print_intervals(const scorecard *card, const th_interval *intervals);
void print_comparisons(const scorecard *card, const th_interval *a, const th_interval *b,
                       const th_comparison *comparisons);

/* The same as JSON; where memory runs out objects are NULL, and print_json says so. Intervals are added to `object`:
 * each measure by its name, and "intervals" with [low, high]. */
void intervals_to_json(json_t *object, const scorecard *card, const th_interval *intervals);
json_t *comparisons_to_json(const scorecard *card, const th_comparison *comparisons);
/* What makes the numbers comparable: "signatures", "resamples", "level". references 0: their number varies. */
void settings_to_json(json_t *object, const scorecard *card, int64_t references);
json_t *json_number(double value);                     /* null for what JSON has no number for */
th_status print_json(json_t *object, th_error *error); /* in one line; takes the object */

#endif
