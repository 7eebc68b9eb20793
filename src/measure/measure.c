/* Measures by their kind: what is counted, and the score of the counts. */
#include "private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

th_measure th_measure_settled(const th_measure *measure) {
  th_measure m = *measure;
  if (!m.order) m.order = m.kind == TH_CHRF ? 6 : 4;
  if (m.beta <= 0) m.beta = 2;
  if (m.smoothing_value <= 0) m.smoothing_value = m.smoothing == TH_SMOOTH_FLOOR ? 0.1 : 1;
  return m;
}

int th_measure_width(const th_measure *measure) {
  th_measure m = th_measure_settled(measure);
  int width = 2;
  if (m.order < 1 || m.word_order < 0 || m.order > TH_COUNTS_MAX || m.word_order > TH_COUNTS_MAX) return 0;
  if (m.kind == TH_BLEU) width = 2 + 2 * m.order;
  else if (m.kind == TH_CHRF) width = 3 * (m.order + m.word_order);
  return width <= TH_COUNTS_MAX ? width : 0;
}

static th_status check_width(const th_measure *m, th_error *error) {
  if (th_measure_width(m)) return TH_OK;
  return th_error_set(error, TH_EINVAL,
                      "measure: n-grams of order %d and words of order %d: want 1 to 14 for BLEU, 1 to 10 "
                      "together for chrF",
                      m->order, m->word_order);
}

/* ---- counting -------------------------------------------------------------------------------- */

static th_status check_text(const char *text, th_error *error) {
  const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
  utf8proc_int32_t point;
  for (utf8proc_ssize_t took; *at; at += took)
    if ((took = utf8proc_iterate(at, -1, &point)) < 1)
      return th_error_set(error, TH_EFORMAT, "not valid UTF-8 at byte %td", (const char *)at - text + 1);
  return TH_OK;
}

static th_status count_texts(const th_measure *m, const char *const *texts, int64_t count, double *counts,
                             th_error *error) {
  switch (m->kind) {
  case TH_EXACT_MATCH:
    counts[0] = 0;
    counts[1] = 1;
    for (int64_t i = 1; i < count; i++)
      if (!strcmp(texts[0], texts[i])) counts[0] = 1;
    return TH_OK;
  case TH_CHARACTER_ERRORS: return th_errors_count(texts, count, TH_CUT_CHARACTERS, counts, error);
  case TH_WORD_ERRORS: return th_errors_count(texts, count, TH_CUT_WORDS, counts, error);
  case TH_BLEU: return th_bleu_count(m, texts, count, counts, error);
  case TH_CHRF: return th_chrf_count(m, texts, count, counts, error);
  default: return th_error_set(error, TH_EINVAL, "measure: kind %d is the caller's to count", (int)m->kind);
  }
}

th_status th_measure_count(const th_measure *measure, const char *output, const char *const *references,
                           int64_t reference_count, double *counts, th_error *error) {
  th_measure m = th_measure_settled(measure);
  th_status status = check_width(measure, error);
  if (status) return status;
  if (reference_count < 1) return th_error_set(error, TH_EINVAL, "measure: an output without a reference");
  const char **texts = reallocarray(NULL, (size_t)reference_count + 1, sizeof *texts);
  if (!texts) return th_measure_no_memory(error);
  texts[0] = output;
  memcpy(texts + 1, references, (size_t)reference_count * sizeof *texts);
  for (int64_t i = 0; i <= reference_count && !status; i++) status = check_text(texts[i], error);
  if (!status) status = count_texts(&m, texts, reference_count + 1, counts, error);
  free(texts);
  return status;
}

th_status th_bleu_tokens(char **tokens, const char *line, th_error *error) {
  th_status status = check_text(line, error);
  *tokens = NULL;
  return status ? status : th_measure_tokens(tokens, line, error);
}

/* ---- scoring --------------------------------------------------------------------------------- */

double th_measure_score(const th_measure *measure, const double *counts) {
  th_measure m = th_measure_settled(measure);
  if (m.kind == TH_BLEU) return th_bleu_score(&m, counts);
  if (m.kind == TH_CHRF) return th_chrf_score(&m, counts);
  double ratio = counts[1] > 0 ? counts[0] / counts[1] : counts[0] > 0 ? INFINITY : 0;
  return m.kind == TH_PERPLEXITY ? exp(ratio) : ratio;
}

char *th_measure_signature(char text[TH_SIGNATURE_TEXT], const th_measure *measure, int64_t references) {
  static const char *const smoothings[] = {"exp", "none", "floor", "add-k"};
  th_measure m = th_measure_settled(measure);
  char number[24] = "var", value[16] = "";
  if (references) snprintf(number, sizeof number, "%lld", (long long)references);
  if (m.smoothing == TH_SMOOTH_FLOOR || m.smoothing == TH_SMOOTH_ADD_K)
    snprintf(value, sizeof value, "[%.2f]", m.smoothing_value);
  text[0] = 0;
  if (m.kind == TH_BLEU)
    snprintf(text, TH_SIGNATURE_TEXT, "nrefs:%s|case:mixed|eff:no|tok:13a|smooth:%s%s", number,
             smoothings[m.smoothing], value);
  else if (m.kind == TH_CHRF)
    snprintf(text, TH_SIGNATURE_TEXT, "nrefs:%s|case:mixed|eff:yes|nc:%d|nw:%d|space:no", number, m.order,
             m.word_order);
  return text;
}

/* ---- a corpus -------------------------------------------------------------------------------- */

th_status th_counts_new(th_counts *counts, const th_measure *measure, int64_t items, th_error *error) {
  *counts = (th_counts){.measure = *measure, .items = items, .width = th_measure_width(measure)};
  th_status status = check_width(measure, error);
  if (status) return status;
  if (items < 0) return th_error_set(error, TH_EINVAL, "measure: %lld items", (long long)items);
  counts->at = calloc((size_t)items * (size_t)counts->width + 1, sizeof *counts->at);
  return counts->at ? TH_OK : th_measure_no_memory(error);
}

void th_counts_free(th_counts *counts) {
  free(counts->at);
  counts->at = NULL;
}

double *th_counts_item(const th_counts *counts, int64_t item) { return counts->at + item * counts->width; }

double th_counts_score(const th_counts *counts) {
  double sum[TH_COUNTS_MAX] = {0};
  for (int64_t i = 0; i < counts->items; i++)
    for (int j = 0; j < counts->width; j++) sum[j] += th_counts_item(counts, i)[j];
  return th_measure_score(&counts->measure, sum);
}
