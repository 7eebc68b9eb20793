/* Edit distance, and the error rates made of it. */
#include "private.h"

#include <stdlib.h>

th_status th_edit_distance(int64_t *distance, const int32_t *a, int64_t n, const int32_t *b, int64_t m,
                           th_error *error) {
  /* of the table, for the symbols of a so far */
  int64_t *row = reallocarray(NULL, (size_t)m + 1, sizeof *row);
  if (!row) return th_measure_no_memory(error);
  for (int64_t j = 0; j <= m; j++) row[j] = j;
  for (int64_t i = 1; i <= n; i++) {
    int64_t diagonal = row[0];
    row[0] = i;
    for (int64_t j = 1; j <= m; j++) {
      int64_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      int64_t moved = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      diagonal = row[j];
      row[j] = substituted < moved ? substituted : moved;
    }
  }
  *distance = row[m];
  free(row);
  return TH_OK;
}

th_status th_errors_count(const char *const *texts, int64_t count, th_cut cut, double *counts,
                          th_error *error) {
  th_sequences s;
  int64_t best = -1, length = 0;
  th_status status = th_sequences_new(&s, texts, count, cut, error);
  if (status) return status;
  for (int64_t i = 1; i < count && !status; i++) {
    int64_t edits;
    status = th_edit_distance(&edits, s.of[0].at, s.of[0].length, s.of[i].at, s.of[i].length, error);
    if (status || (best >= 0 && (edits > best || (edits == best && s.of[i].length >= length)))) continue;
    best = edits;
    length = s.of[i].length;
  }
  counts[0] = (double)best;
  counts[1] = (double)length;
  th_sequences_free(&s);
  return status;
}
