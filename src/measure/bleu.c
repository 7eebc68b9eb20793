/* BLEU (Papineni et al. 2002): n-grams of the output that a reference has, and a penalty for brevity. */
#include "private.h"

#include <math.h>
#include <stdlib.h>

/* ---- counting -------------------------------------------------------------------------------- */

/* The references' length that is nearest to the output's, of equally near ones the shorter. */
static int64_t nearest_length(const th_sequences *s) {
  int64_t best = -1;
  for (int64_t i = 1; i < s->count; i++) {
    int64_t length = s->of[i].length, far = llabs(length - s->of[0].length),
            best_far = llabs(best - s->of[0].length);
    if (best < 0 || far < best_far || (far == best_far && length < best)) best = length;
  }
  return best;
}

static th_status count_tokens(const th_measure *m, const char *const *tokens, int64_t count, double *counts,
                              th_error *error) {
  th_sequences s;
  th_status status = th_sequences_new(&s, tokens, count, TH_CUT_WORDS, error);
  if (status) return status;
  counts[0] = (double)s.of[0].length;
  counts[1] = (double)nearest_length(&s);
  status = th_ngrams_match(&s.of[0], &s.of[1], count - 1, m->order, counts + 2, error);
  for (int n = 1; n <= m->order; n++) counts[1 + m->order + n] = th_ngrams_count(&s.of[0], n);
  th_sequences_free(&s);
  return status;
}

th_status th_bleu_count(const th_measure *measure, const char *const *texts, int64_t count, double *counts,
                        th_error *error) {
  char **tokens = calloc((size_t)count, sizeof *tokens);
  th_status status = tokens ? TH_OK : th_measure_no_memory(error);
  for (int64_t i = 0; i < count && !status; i++) status = th_measure_tokens(&tokens[i], texts[i], error);
  if (!status) status = count_tokens(measure, (const char *const *)tokens, count, counts, error);
  for (int64_t i = 0; tokens && i < count; i++) free(tokens[i]);
  free(tokens);
  return status;
}

/* ---- scoring --------------------------------------------------------------------------------- */

/* The precision of order n; *halved is 1 at first, and doubles with each order that exp has to smooth. */
static double precision(const th_measure *m, int n, double matches, double total, double *halved) {
  bool add = m->smoothing == TH_SMOOTH_ADD_K && n > 1;
  if (add) matches += m->smoothing_value, total += m->smoothing_value;
  if (total <= 0) return 0;
  if (matches > 0) return matches / total;
  if (m->smoothing == TH_SMOOTH_EXP) return 1 / ((*halved *= 2) * total);
  return m->smoothing == TH_SMOOTH_FLOOR ? m->smoothing_value / total : 0;
}

/* Section 2.3: the brevity penalty times the geometric mean of the precisions. */
double th_bleu_score(const th_measure *measure, const double *counts) {
  const double *matches = counts + 2, *totals = matches + measure->order;
  double output = counts[0], reference = counts[1], logs = 0, halved = 1, any = 0;
  for (int n = 0; n < measure->order; n++) any += matches[n];
  if (any <= 0 || output <= 0) return 0;
  for (int n = 1; n <= measure->order; n++)
    logs += log(precision(measure, n, matches[n - 1], totals[n - 1], &halved));
  double penalty = output < reference ? exp(1 - reference / output) : 1;
  return 100 * penalty * exp(logs / measure->order);
}
