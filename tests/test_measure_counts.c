/* Edit distance, error rates, and what a measure counts, beside what can be worked out by hand. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tapehead/measure.h"

static th_error error;

/* ---- edit distance --------------------------------------------------------------------------- */

/* By the definition: whatever the last edit is, those before it are a shorter problem. */
static int64_t brute(const int32_t *a, int64_t n, const int32_t *b, int64_t m) {
  if (!n || !m) return n + m;
  int64_t best = brute(a, n - 1, b, m - 1) + (a[n - 1] != b[m - 1]);
  int64_t without_a = 1 + brute(a, n - 1, b, m), without_b = 1 + brute(a, n, b, m - 1);
  if (without_a < best) best = without_a;
  return without_b < best ? without_b : best;
}

static int64_t distance(const int32_t *a, int64_t n, const int32_t *b, int64_t m) {
  int64_t edits = -1;
  cr_assert_eq(th_edit_distance(&edits, a, n, b, m, &error), TH_OK);
  return edits;
}

enum { SYMBOLS = 3, LONGEST = 4 };

/* String number i of the SYMBOLS^n strings of length n, as digits. */
static void spell(int32_t *out, int64_t n, int i) {
  for (int64_t k = 0; k < n; k++, i /= SYMBOLS) out[k] = i % SYMBOLS;
}

static int strings(int64_t n) { return n ? SYMBOLS * strings(n - 1) : 1; }

Test(measure_edits, every_pair_of_short_strings_has_the_distance_of_its_definition) {
  int32_t a[LONGEST], b[LONGEST];
  for (int64_t n = 0; n <= LONGEST; n++)
    for (int64_t m = 0; m <= LONGEST; m++)
      for (int i = 0; i < strings(n); i++)
        for (int j = 0; j < strings(m); j++) {
          spell(a, n, i);
          spell(b, m, j);
          cr_assert_eq(distance(a, n, b, m), brute(a, n, b, m));
          cr_assert_eq(distance(b, m, a, n), distance(a, n, b, m));
        }
}

/* ---- counts ---------------------------------------------------------------------------------- */

static double counts[TH_COUNTS_MAX];

static void count(th_measure measure, const char *output, const char *const *references, int64_t n) {
  memset(counts, 0, sizeof counts);
  cr_assert_eq(th_measure_count(&measure, output, references, n, counts, &error), TH_OK, "%s", error.text);
}
#define COUNT(KIND, output, ...) \
  count((th_measure){.kind = KIND}, output, (const char *[]){__VA_ARGS__}, \
        sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static void counted(double first, double second) {
  cr_assert_eq(counts[0], first, "%g, wanted %g", counts[0], first);
  cr_assert_eq(counts[1], second, "of %g, wanted %g", counts[1], second);
}

Test(measure_counts, a_kitten_is_three_edits_from_sitting) {
  COUNT(TH_CHARACTER_ERRORS, "kitten", "sitting");
  counted(3, 7);
}

Test(measure_counts, a_character_is_a_code_point) {
  COUNT(TH_CHARACTER_ERRORS, "日本", "日光");
  counted(1, 2);
  COUNT(TH_CHARACTER_ERRORS, "e\xCC\x81", "\xC3\xA9"); /* e and an accent, or both in one */
  counted(2, 1);
}

Test(measure_counts, white_space_counts_among_characters_and_parts_words) {
  COUNT(TH_CHARACTER_ERRORS, "a  b", "a b");
  counted(1, 3);
  COUNT(TH_WORD_ERRORS, " a\xE3\x80\x80 b ", "a b");
  counted(0, 2);
}

Test(measure_counts, words_are_compared_whole) {
  COUNT(TH_WORD_ERRORS, "K AE1 T S", "K AH0 T");
  counted(2, 3);
  COUNT(TH_WORD_ERRORS, "", "K AH0 T");
  counted(3, 3);
}

Test(measure_counts, the_nearest_reference_counts) {
  COUNT(TH_WORD_ERRORS, "R EH1 D", "R IY1 D", "R EH1 D", "R EH1 D S");
  counted(0, 3);
  COUNT(TH_WORD_ERRORS, "a b", "a b c d e", "x y", "a");
  counted(1, 1);
  COUNT(TH_EXACT_MATCH, "b", "a", "b");
  counted(1, 1);
  COUNT(TH_EXACT_MATCH, "b ", "a", "b");
  counted(0, 1);
}

Test(measure_counts, of_equally_near_references_the_shortest_counts_in_any_order) {
  COUNT(TH_CHARACTER_ERRORS, "ab", "abc", "a");
  counted(1, 1);
  COUNT(TH_CHARACTER_ERRORS, "ab", "a", "abc");
  counted(1, 1);
}

/* Papineni et al. 2002, section 2.1: the examples and their modified precisions. */
#define REFERENCES \
  "It is a guide to action that ensures that the military will forever heed Party commands", \
      "It is the guiding principle which guarantees the military forces always being under the " \
      "command of the Party", \
      "It is the practical guide for the army always to heed the directions of the party"

static void precision(int n, double matches, double total) {
  cr_assert_eq(counts[1 + n], matches, "%d-grams: %g, wanted %g", n, counts[1 + n], matches);
  cr_assert_eq(counts[5 + n], total, "%d-grams: of %g, wanted %g", n, counts[5 + n], total);
}

Test(measure_counts, the_examples_of_the_paper_on_bleu) {
  COUNT(TH_BLEU,
        "It is a guide to action which ensures that the military always obeys the commands of the party",
        REFERENCES);
  precision(1, 17, 18);
  precision(2, 10, 17);
  COUNT(TH_BLEU, "It is to insure the troops forever hearing the activity guidebook that party direct",
        REFERENCES);
  precision(1, 8, 14);
  precision(2, 1, 13);
  COUNT(TH_BLEU, "the the the the the the the", "the cat is on the mat", "there is a cat on the mat");
  precision(1, 2, 7);
}

Test(measure_counts, text_that_is_not_utf8) {
  for (th_measure_kind kind = TH_EXACT_MATCH; kind <= TH_CHRF; kind++) {
    th_measure m = {.kind = kind};
    cr_assert_eq(th_measure_count(&m, "ab\xFF", (const char *[]){"a"}, 1, counts, &error), TH_EFORMAT);
    cr_assert_str_eq(error.text, "not valid UTF-8 at byte 3");
    cr_assert_eq(th_measure_count(&m, "a", (const char *[]){"a", "\xE2\x82"}, 2, counts, &error), TH_EFORMAT);
  }
  char *tokens;
  cr_assert_eq(th_bleu_tokens(&tokens, "\xFF", &error), TH_EFORMAT);
  cr_assert_null(tokens);
}

Test(measure_counts, what_cannot_be_counted) {
  const char *reference = "a";
  th_counts c;
  cr_assert_eq(th_measure_count(&(th_measure){.kind = TH_RATIO}, "a", &reference, 1, counts, &error),
               TH_EINVAL);
  cr_assert_eq(th_measure_count(&(th_measure){.kind = TH_BLEU}, "a", &reference, 0, counts, &error),
               TH_EINVAL);
  cr_assert_eq(th_measure_count(&(th_measure){TH_BLEU, .order = 15}, "a", &reference, 1, counts, &error),
               TH_EINVAL);
  cr_assert_eq(th_measure_width(&(th_measure){TH_CHRF, .order = 6, .word_order = 5}), 0);
  cr_assert_eq(th_counts_new(&c, &(th_measure){TH_CHRF, .order = -1}, 1, &error), TH_EINVAL);
  cr_assert_null(c.at);
}

/* ---- scores ---------------------------------------------------------------------------------- */

static double score(th_measure measure, const char *const *outputs, const char *const *references,
                    int64_t n) {
  th_counts c;
  cr_assert_eq(th_counts_new(&c, &measure, n, &error), TH_OK);
  for (int64_t i = 0; i < n; i++)
    cr_assert_eq(th_measure_count(&measure, outputs[i], &references[i], 1, th_counts_item(&c, i), &error),
                 TH_OK);
  double value = th_counts_score(&c);
  th_counts_free(&c);
  return value;
}

static const char *const some[] = {"The dog bit the man.", "It was not unexpected.",
                                   "日本語の文です。 はい。"};
static const char *const other[] = {"xyz", "", "0 0 0"};

Test(measure_scores, a_corpus_against_itself_has_no_errors_and_full_marks) {
  double full[] = {[TH_EXACT_MATCH] = 1, [TH_BLEU] = 100, [TH_CHRF] = 100};
  for (th_measure_kind kind = TH_EXACT_MATCH; kind <= TH_CHRF; kind++)
    cr_assert_float_eq(score((th_measure){.kind = kind}, some, some, 3), full[kind], 1e-12);
  cr_assert_float_eq(score((th_measure){TH_CHRF, .word_order = 2}, some, some, 3), 100, 1e-12);
}

Test(measure_scores, a_corpus_with_nothing_in_common_has_none) {
  cr_assert_eq(score((th_measure){.kind = TH_BLEU}, other, some, 3), 0);
  cr_assert_eq(score((th_measure){.kind = TH_CHRF}, other, some, 3), 0);
  cr_assert_eq(score((th_measure){.kind = TH_EXACT_MATCH}, other, some, 3), 0);
  cr_assert_geq(score((th_measure){.kind = TH_WORD_ERRORS}, other, some, 3), 1);
}

Test(measure_scores, rates_are_of_the_corpus_not_means_of_sentences) {
  const char *outputs[] = {"a", "b b b b b b b b b"}, *references[] = {"x", "b b b b b b b b b"};
  cr_assert_float_eq(score((th_measure){.kind = TH_WORD_ERRORS}, outputs, references, 2), 0.1, 1e-15);
}

Test(measure_scores, perplexity_is_the_exponential_of_the_mean_loss) {
  th_measure m = {.kind = TH_PERPLEXITY};
  cr_assert_float_eq(th_measure_score(&m, (double[]){3 * log(7), 3}), 7, 1e-12);
}

Test(measure_scores, nothing_to_divide_by) {
  th_measure m = {.kind = TH_WORD_ERRORS};
  cr_assert_eq(th_measure_score(&m, (double[]){0, 0}), 0);
  cr_assert(isinf(th_measure_score(&m, (double[]){2, 0})));
}
