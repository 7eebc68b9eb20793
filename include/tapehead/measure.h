/* Measures of an output against what was wanted: error rates, exact match, BLEU, chrF, perplexity, and how sure one
 * may be of them.
 *
 * Every measure works in two steps. An item (a sentence, a word) is counted into a few numbers; the numbers of all
 * items are added up; the score is a function of the sums. So a resample of the corpus, of which a bootstrap makes
 * a thousand, costs additions only.
 *
 * An output may have several references, each of them right: the pronunciations of a word, four translations of a
 * sentence. Text is UTF-8, one line without its end; nothing is normalised and nothing lowercased. White space is what
 * Python's str.split takes for it (Unicode 15: category Zs, bidirectional class WS, B or S).
 *
 * Errors: TH_EINVAL for a measure or a number out of range, TH_EFORMAT for text that is not UTF-8, TH_ENOMEM. */
#ifndef TAPEHEAD_MEASURE_H
#define TAPEHEAD_MEASURE_H

#include "tapehead/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- measures -------------------------------------------------------------------------------- */

typedef enum {
  TH_RATIO,            /* n / d, of what the caller counts: loss over tokens, right tokens over tokens */
  TH_PERPLEXITY,       /* exp(n / d), n being a sum of -log probabilities (Jelinek et al. 1977) */
  TH_EXACT_MATCH,      /* outputs that are one of their references, byte by byte, over items: 0 .. 1 */
  TH_CHARACTER_ERRORS, /* edits over the characters (code points) of the references */
  TH_WORD_ERRORS,      /* edits over the words of the references; a word is a run without white space */
  TH_BLEU,             /* Papineni et al. 2002: 0 .. 100, as sacreBLEU (Post 2018) counts it */
  TH_CHRF              /* Popovic 2015, with words 2017: 0 .. 100, as sacreBLEU counts it */
} th_measure_kind;

/* What BLEU does about orders of which no n-gram is right (Chen & Cherry 2014). */
typedef enum {
  TH_SMOOTH_EXP,   /* their method 3: 1/2, 1/4, .. of a match, for the first such order, the second, .. */
  TH_SMOOTH_NONE,  /* one such order makes the score 0 */
  TH_SMOOTH_FLOOR, /* method 1: smoothing_value (0: 0.1) matches */
  TH_SMOOTH_ADD_K  /* method 2: smoothing_value (0: 1) is added to matches and n-grams above order 1 */
} th_smoothing;

/* A measure and its settings; where a setting is 0 it is sacreBLEU's default, so {.kind = TH_BLEU} will do. */
typedef struct th_measure {
  th_measure_kind kind;
  int order;      /* longest n-grams: of tokens in BLEU (4), of characters in chrF (6) */
  int word_order; /* chrF: longest n-grams of words (0); 2 is chrF++ */
  double beta;    /* chrF: recall is so much more important than precision (2) */
  th_smoothing smoothing;
  double smoothing_value;
} th_measure;

#define TH_COUNTS_MAX 30 /* so many numbers are counted at most */

/* How many numbers are counted for an item; 0: an order is out of range (1 to 14 for BLEU, 1 to 10 together for
 * chrF). The layout, in words for `counts` below:
 *   ratio, perplexity     n, d
 *   exact match           1 or 0, 1
 *   errors                edits, length of the reference
 *   BLEU                  length of the output, of the reference, matches [order], n-grams of the output [order]
 *   chrF                  n-grams of the output, of the reference, matches; for each order, characters first */
int th_measure_width(const th_measure *measure);

/* Counts one output. Of several references
 *   exact match           takes any;
 *   error rates           take the one with the fewest edits, of equal ones the shortest;
 *   BLEU                  clips an n-gram's matches by the reference that has most of it, and takes the length nearest
 *                         to the output's, of equally near ones the shorter;
 *   chrF                  takes the one with the highest score, of equal ones the first.
 * counts [th_measure_width]. TH_EINVAL without a reference, and for kinds that the caller counts. */
th_status th_measure_count(const th_measure *measure, const char *output, const char *const *references,
                           int64_t reference_count, double *counts, th_error *error);

/* The score of counts, of one item or added up over many. Where there is nothing to divide by, 0 errors of 0 are 0
 * and others infinite; BLEU and chrF without a match are 0. */
double th_measure_score(const th_measure *measure, const double *counts);

/* What sacreBLEU prints so that a score can be compared, without its version: for one reference an output,
 * "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp". references 0: their number varies. Empty for other measures than
 * BLEU and chrF. Returns `text`. */
#define TH_SIGNATURE_TEXT 96
char *th_measure_signature(char text[TH_SIGNATURE_TEXT], const th_measure *measure, int64_t references);

/* ---- what they stand on ---------------------------------------------------------------------- */

/* Fewest insertions, deletions and substitutions that turn a [n] into b [m] (Levenshtein 1966). TH_ENOMEM only. */
th_status th_edit_distance(int64_t *distance, const int32_t *a, int64_t n, const int32_t *b, int64_t m,
                           th_error *error);

/* A line as BLEU sees it: mteval-v13a's tokens, with one space between. `*tokens` is the caller's to free(). */
th_status th_bleu_tokens(char **tokens, const char *line, th_error *error);

/* Spearman's rank correlation of a [n] and b [n] (Spearman 1904): Pearson's of the ranks, equal values having the
 * mean of theirs. -1 to 1; NAN where one of the two has no two different values, or holds NAN. In n^2 steps. */
double th_rank_correlation(int64_t n, const double *a, const double *b);

/* ---- a corpus -------------------------------------------------------------------------------- */

/* The counts of all items under one measure. */
typedef struct th_counts {
  th_measure measure;
  int64_t items;
  int width;
  double *at; /* [items, width] */
} th_counts;

/* All zero; free with th_counts_free. */
th_status th_counts_new(th_counts *counts, const th_measure *measure, int64_t items, th_error *error);
void th_counts_free(th_counts *counts);
double *th_counts_item(const th_counts *counts, int64_t item);
double th_counts_score(const th_counts *counts); /* of the whole corpus */

/* ---- how sure ---------------------------------------------------------------------------------- */

/* Bootstrap: the corpus is drawn anew from its own items, with replacement, many times over, and each time scored
 * (Efron & Tibshirani 1993; for BLEU Koehn 2004). Which items are drawn depends on the seed and the number of items
 * alone, so any two measures or systems are scored on the same resamples. */
typedef struct th_bootstrap {
  int64_t resamples; /* 0: 1000 */
  double level;      /* of the interval, between 0 and 1; 0: 0.95 */
  uint64_t seed;
  th_pool *pool; /* NULL: the caller's thread alone; the numbers are the same */
} th_bootstrap;

typedef struct th_interval {
  double value; /* on the corpus itself */
  /* Percentile interval (section 13.3): of B scores in order, the k-th from either end, where k is
   * (B + 1)(1 - level)/2 rounded down, and 1 at least (page 160). */
  double low, high;
} th_interval;

/* intervals [count] of counts [count], which have equally many items. */
th_status th_bootstrap_intervals(const th_bootstrap *bootstrap, const th_counts *counts, int64_t count,
                                 th_interval *intervals, th_error *error);

/* Two systems on the same items: `b` less `a`. */
typedef struct th_comparison {
  th_interval difference;
  /* How often chance alone would bring as large a difference, up or down: the differences of the resamples, shifted
   * so that they lie around zero (sections 16.2 and 16.4), (1 + #{|d* - d| >= |d|}) / (1 + B). */
  double p_value;
} th_comparison;

/* comparisons [count] of a [count] and b [count], measure by measure. */
th_status th_bootstrap_compare(const th_bootstrap *bootstrap, const th_counts *a, const th_counts *b,
                               int64_t count, th_comparison *comparisons, th_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
