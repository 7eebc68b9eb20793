/* chrF (Popovic 2015) and, with n-grams of words, chrF++ (Popovic 2017). */
#include "private.h"

#include <string.h>

/* ---- counting -------------------------------------------------------------------------------- */

/* Output's n-grams, reference's, matches, for each order up to `order`. N-grams of an order that the reference has none
 * of do not count against the output. */
static th_status count_orders(const th_sequence *output, const th_sequence *reference, int order,
                              double *counts, th_error *error) {
  double matches[TH_COUNTS_MAX];
  th_status status = th_ngrams_match(output, reference, 1, order, matches, error);
  for (int n = 1; n <= order && !status; n++, counts += 3) {
    counts[1] = th_ngrams_count(reference, n);
    counts[0] = counts[1] > 0 ? th_ngrams_count(output, n) : 0;
    counts[2] = matches[n - 1];
  }
  return status;
}

static th_status count_best(const th_measure *m, const th_sequences *letters, const th_sequences *words,
                            double *counts, th_error *error) {
  double some[TH_COUNTS_MAX] = {0}, best = -1;
  for (int64_t i = 1; i < letters->count; i++) {
    th_status status = count_orders(&letters->of[0], &letters->of[i], m->order, some, error);
    if (!status && m->word_order)
      status = count_orders(&words->of[0], &words->of[i], m->word_order, some + 3 * m->order, error);
    if (status) return status;
    double score = th_chrf_score(m, some);
    if (score <= best) continue;
    best = score;
    memcpy(counts, some, (size_t)th_measure_width(m) * sizeof *some);
  }
  return TH_OK;
}

th_status th_chrf_count(const th_measure *measure, const char *const *texts, int64_t count, double *counts,
                        th_error *error) {
  th_sequences letters, words = {0};
  th_status status = th_sequences_new(&letters, texts, count, TH_CUT_LETTERS, error);
  if (status) return status;
  if (measure->word_order) status = th_sequences_new(&words, texts, count, TH_CUT_PUNCTUATION, error);
  if (!status) status = count_best(measure, &letters, &words, counts, error);
  th_sequences_free(&letters);
  th_sequences_free(&words);
  return status;
}

/* ---- scoring --------------------------------------------------------------------------------- */

/* Precision and recall, each the mean over the orders that both sides have, joined as F_beta (Popovic 2015, section 2).
 */
double th_chrf_score(const th_measure *measure, const double *counts) {
  double precision = 0, recall = 0, square = measure->beta * measure->beta;
  int orders = 0;
  for (int n = 0; n < measure->order + measure->word_order; n++, counts += 3) {
    if (counts[0] <= 0 || counts[1] <= 0) continue;
    precision += counts[2] / counts[0];
    recall += counts[2] / counts[1];
    orders++;
  }
  if (precision + recall <= 0) return 0;
  precision /= orders;
  recall /= orders;
  return 100 * ((1 + square) * precision * recall / (square * precision + recall));
}
