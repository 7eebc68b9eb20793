/* Heads gated off one after another. */
#include "worth.h"

#include <stdlib.h>

/* Shuts a head for good. */
static th_status shut(th_judge *j, int head, th_error *error) {
  th_judge_gate(j, head, 0);
  return th_judge_may_use_memory(j, head) ? TH_OK : th_judge_encode(j, error);
}

th_status th_study_remove(const th_transformer *m, th_tape *tape, const th_study_data *data, const int *order,
                          th_outcome *after, th_error *error) {
  th_judge j;
  int heads = th_head_count(m);
  th_status status = th_judge_open(&j, m, tape, data, heads, error);
  if (!status) status = th_judge_encode(&j, error);
  for (int i = 0; i < heads && !status; i++) {
    status = shut(&j, order[i], error);
    if (!status) status = th_judge_outcome(&j, m->config.shape == TH_ENCODER_DECODER, NULL, &after[i], error);
  }
  th_judge_close(&j);
  return status;
}

/* The head that is open and without which the loss is lowest; the first of several. */
static th_status find_next(th_judge *j, const bool *gone, int *best, th_outcome *after, th_error *error) {
  th_status status = TH_OK;
  *best = -1;
  for (int h = 0; h < th_head_count(j->model) && !status; h++) {
    th_outcome without;
    if (gone[h]) continue;
    th_judge_gate(j, h, 0);
    status = th_judge_outcome(j, th_judge_may_use_memory(j, h), NULL, &without, error);
    th_judge_gate(j, h, 1);
    if (!status && (*best < 0 || without.loss < after->loss)) *best = h, *after = without;
  }
  return status;
}

th_status th_study_remove_greedily(const th_transformer *m, th_tape *tape, const th_study_data *data,
                                   int *order, th_outcome *after, th_error *error) {
  th_judge j;
  int heads = th_head_count(m);
  bool *gone = calloc((size_t)heads + 1, sizeof *gone);
  if (!gone) return th_error_set(error, TH_ENOMEM, "head study: no memory for %d heads", heads);
  th_status status = th_judge_open(&j, m, tape, data, (int64_t)heads * (heads + 1) / 2, error);
  if (!status) status = th_judge_encode(&j, error);
  for (int i = 0; i < heads && !status; i++) {
    status = find_next(&j, gone, &order[i], &after[i], error);
    if (status) break;
    gone[order[i]] = true;
    status = shut(&j, order[i], error);
  }
  th_judge_close(&j);
  free(gone);
  return status;
}
