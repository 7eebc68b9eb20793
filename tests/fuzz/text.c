/* Text: lines of a file descriptor, UTF-8, and what measures make of two lines. */
#include "fuzz.h"

#include <math.h>
#include <utf8proc.h>

#include "../../examples/translate/lines.h"
#include "tapehead/io.h"
#include "tapehead/measure.h"

/* How many bytes another reader of UTF-8 takes. */
static size_t plain_valid(const uint8_t *bytes, size_t size) {
  size_t at = 0;
  utf8proc_int32_t point;
  while (at < size) {
    utf8proc_ssize_t length = utf8proc_iterate(bytes + at, (utf8proc_ssize_t)(size - at), &point);
    if (length < 1) break;
    at += (size_t)length;
  }
  return at;
}

static void read_lines(const uint8_t *bytes, size_t size) {
  fuzz_file file = fuzz_file_open(bytes, size);
  lines in = {.fd = file.fd};
  char *line;
  size_t length, read = 0;
  th_error error = {0};
  line_state state;
  while ((state = lines_next(&in, true, &line, &length, &error)) == LINE_READ) {
    CLAIM(!memchr(line, '\n', length));
    read += length;
  }
  CLAIM(state == LINE_NONE && read <= size);
  lines_free(&in);
  fuzz_file_close(&file);
}

static void measure(const char *output, const char *reference) {
  for (int kind = TH_EXACT_MATCH; kind <= TH_CHRF; kind++) {
    th_measure m = {.kind = (th_measure_kind)kind, .word_order = kind == TH_CHRF ? 2 : 0};
    double counts[TH_COUNTS_MAX];
    th_error error = {0};
    if (th_measure_count(&m, output, &reference, 1, counts, &error)) CLAIM_ERROR(error);
    else {
      double score = th_measure_score(&m, counts);
      CLAIM(score >= 0 && (score <= 100.000001 || kind == TH_CHARACTER_ERRORS || kind == TH_WORD_ERRORS));
      if (kind == TH_EXACT_MATCH) CLAIM(score == !strcmp(output, reference));
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  CLAIM(th_utf8_valid((const char *)bytes, size) == plain_valid(bytes, size));
  read_lines(bytes, size);
  feed f = {bytes, size};
  char *output = feed_text(&f), *reference = feed_text(&f);
  if (output && reference) measure(output, reference);
  free(output);
  free(reference);
  return 0;
}
