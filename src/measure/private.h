/* What the files of this room share and nobody else sees. */
#ifndef TAPEHEAD_MEASURE_PRIVATE_H
#define TAPEHEAD_MEASURE_PRIVATE_H

#include "tapehead/measure.h"

static inline th_status th_measure_no_memory(th_error *error) {
  return th_error_set(error, TH_ENOMEM, "measure: out of memory");
}

/* ---- sequences.c ---- */

/* Texts as symbols that can be compared: code points, or words numbered alike where they are alike. */
typedef struct th_sequence {
  const int32_t *at;
  int64_t length;
} th_sequence;

typedef struct th_sequences {
  th_sequence *of; /* [count]: the output, then its references */
  int64_t count;
  int32_t *memory;
} th_sequences;

typedef enum {
  TH_CUT_CHARACTERS, /* code points */
  TH_CUT_LETTERS,    /* code points without white space */
  TH_CUT_WORDS,      /* runs without white space */
  TH_CUT_PUNCTUATION /* the same, with one ASCII punctuation mark cut off a word's end, or else its beginning */
} th_cut;

/* Of valid UTF-8. After a failure there is nothing to free. */
th_status th_sequences_new(th_sequences *made, const char *const *texts, int64_t count, th_cut cut,
                           th_error *error);
void th_sequences_free(th_sequences *sequences);

/* The next code point of valid UTF-8 at *at, which moves behind it; 0 at the end. */
int32_t th_point_next(const char **at);
bool th_point_is_space(int32_t point);

/* ---- ngrams.c ---- */

/* matches[n - 1], n = 1 .. order: n-grams of the output that a reference has too, each counted at most as often as in
 * the reference that has most of it. */
th_status th_ngrams_match(const th_sequence *output, const th_sequence *references, int64_t count, int order,
                          double *matches, th_error *error);
/* How many n-grams a sequence has. */
double th_ngrams_count(const th_sequence *sequence, int n);

/* ---- the measures: texts [1 + references] begin with the output, and are valid UTF-8 ---- */

th_status th_errors_count(const char *const *texts, int64_t count, th_cut cut, double *counts,
                          th_error *error);
th_status th_bleu_count(const th_measure *measure, const char *const *texts, int64_t count, double *counts,
                        th_error *error);
double th_bleu_score(const th_measure *measure, const double *counts);
th_status th_chrf_count(const th_measure *measure, const char *const *texts, int64_t count, double *counts,
                        th_error *error);
double th_chrf_score(const th_measure *measure, const double *counts);
th_status th_measure_tokens(char **tokens, const char *line, th_error *error); /* th_bleu_tokens, unchecked */

/* Settings with sacreBLEU's defaults for those that are 0. */
th_measure th_measure_settled(const th_measure *measure);

#endif
