/* BLEU and chrF beside sacreBLEU's, from tests/data/measures.tsv (tests/data/README.md says what is in there). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tapehead/io.h"
#include "tapehead/measure.h"

#define FIELDS 5 /* a row has at most */
#define LINES 200

static const struct {
  const char *name;
  th_measure measure;
} measures[] = {{"bleu exp", {.kind = TH_BLEU}},
                {"bleu none", {.kind = TH_BLEU, .smoothing = TH_SMOOTH_NONE}},
                {"bleu floor", {.kind = TH_BLEU, .smoothing = TH_SMOOTH_FLOOR}},
                {"bleu floor 0.5", {.kind = TH_BLEU, .smoothing = TH_SMOOTH_FLOOR, .smoothing_value = 0.5}},
                {"bleu add-k", {.kind = TH_BLEU, .smoothing = TH_SMOOTH_ADD_K}},
                {"bleu add-k 2", {.kind = TH_BLEU, .smoothing = TH_SMOOTH_ADD_K, .smoothing_value = 2}},
                {"bleu order 2", {.kind = TH_BLEU, .order = 2}},
                {"chrf", {.kind = TH_CHRF}},
                {"chrf++", {.kind = TH_CHRF, .word_order = 2}},
                {"chrf order 4 beta 1", {.kind = TH_CHRF, .order = 4, .beta = 1}}};
#define MEASURES (sizeof measures / sizeof *measures)

static char *file;
static th_error error;

/* The rows so far of one corpus: of each line its output and references. */
static struct {
  const char *name, *line[LINES][FIELDS];
  int64_t references[LINES], count;
} corpus;

static void open_file(void) {
  size_t size;
  cr_assert_eq(th_file_read("tests/data/measures.tsv", &file, &size, &error), TH_OK, "%s", error.text);
}

static void close_file(void) { free(file); }

TestSuite(measure_scores, .init = open_file, .fini = close_file);

/* The next row's fields, which take the line's place; how many, 0 at the end. */
static int next_row(char **at, const char *field[FIELDS]) {
  char *line = strsep(at, "\n");
  int count = 0;
  if (!line || !*line) return 0;
  for (char *one; (one = strsep(&line, "\t"));) {
    cr_assert_lt(count, FIELDS);
    field[count++] = one;
  }
  return count;
}

static th_counts counts_of(const char *name) {
  th_counts counts;
  size_t m = 0;
  while (m < MEASURES && strcmp(name, measures[m].name)) m++;
  cr_assert_lt(m, MEASURES, "%s", name);
  cr_assert_eq(th_counts_new(&counts, &measures[m].measure, corpus.count, &error), TH_OK);
  for (int64_t i = 0; i < corpus.count; i++)
    cr_assert_eq(th_measure_count(&counts.measure, corpus.line[i][0], &corpus.line[i][1],
                                  corpus.references[i], th_counts_item(&counts, i), &error),
                 TH_OK, "%s", error.text);
  return counts;
}

static void check_score(const char *name, const char *value) {
  th_counts counts = counts_of(name);
  double wanted = strtod(value, NULL), got = th_counts_score(&counts);
  cr_assert_leq(fabs(got - wanted), 1e-13 * wanted, "%s, %s: %.17g, wanted %s", corpus.name, name, got,
                value);
  th_counts_free(&counts);
}

static void check_counts(const char *name, const char *values) {
  th_counts counts = counts_of(name);
  char *at = (char *)(uintptr_t)values;
  for (int j = 0; j < counts.width; j++) {
    double wanted = strtod(at, &at), got = 0;
    for (int64_t i = 0; i < counts.items; i++) got += th_counts_item(&counts, i)[j];
    cr_assert_eq(got, wanted, "%s, %s, count %d: %g, wanted %g", corpus.name, name, j, got, wanted);
  }
  cr_assert_eq(*at, 0, "%s: more counts than %d", name, counts.width);
  th_counts_free(&counts);
}

static void begin_corpus(const char *name) {
  corpus.name = name;
  corpus.count = 0;
}

static void add_line(const char *const *fields, int count) {
  cr_assert_lt(corpus.count, LINES);
  memcpy(corpus.line[corpus.count], fields, (size_t)count * sizeof *fields);
  corpus.references[corpus.count++] = count - 1;
}

/* Calls `check` for every row of its kind and returns how many there were. */
static int each_row(const char *kind, void check(const char *, const char *)) {
  const char *field[FIELDS];
  char *at = file;
  int count, rows = 0;
  while ((count = next_row(&at, field))) {
    if (!strcmp(field[0], "corpus")) begin_corpus(field[1]);
    if (!strcmp(field[0], "line")) add_line(field + 1, count - 1);
    if (strcmp(field[0], kind)) continue;
    cr_assert_eq(count, 3);
    check(field[1], field[2]);
    rows++;
  }
  return rows;
}

Test(measure_scores, scores_are_those_of_sacrebleu) { cr_assert_eq(each_row("score", check_score), 80); }

Test(measure_scores, counts_are_those_of_sacrebleu) { cr_assert_eq(each_row("counts", check_counts), 80); }

static void check_tokens(const char *line, const char *wanted) {
  char *tokens;
  cr_assert_eq(th_bleu_tokens(&tokens, line, &error), TH_OK);
  cr_assert_str_eq(tokens, wanted, "of \"%s\"", line);
  free(tokens);
}

Test(measure_scores, tokens_are_those_of_sacrebleu) { cr_assert_gt(each_row("tokens", check_tokens), 100); }

/* ---- signatures ------------------------------------------------------------------------------ */

static void check_signature(size_t m, int64_t references, const char *wanted) {
  char text[TH_SIGNATURE_TEXT];
  cr_assert_str_eq(th_measure_signature(text, &measures[m].measure, references), wanted);
}

Test(measure_signature, says_what_sacrebleu_says) {
  check_signature(0, 1, "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp");
  check_signature(1, 0, "nrefs:var|case:mixed|eff:no|tok:13a|smooth:none");
  check_signature(2, 2, "nrefs:2|case:mixed|eff:no|tok:13a|smooth:floor[0.10]");
  check_signature(4, 1, "nrefs:1|case:mixed|eff:no|tok:13a|smooth:add-k[1.00]");
  check_signature(7, 1, "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no");
  check_signature(8, 4, "nrefs:4|case:mixed|eff:yes|nc:6|nw:2|space:no");
}
