/* When each head took its job: the study's looks at the weights of earlier steps. */
#include "heads.h"

#include <math.h>
#include <stdlib.h>

#define SEQUENCES 300 /* looked at for each step */

static th_status look_at_moment(head_study *h, run *r, study_set *few, int index, th_error *error) {
  moment *m = &h->moment[index];
  m->looks = head_study_room(h, (size_t)h->count, sizeof *m->looks);
  m->named = head_study_room(h, (size_t)h->count, sizeof *m->named);
  if (!m->looks || !m->named)
    return th_error_set(error, TH_ENOMEM, "no memory for the heads of step %lld", (long long)m->step);
  th_status status = th_study_looks(r->model, r->tape, &few->data, m->looks, error);
  if (!status) status = th_study_outcome(r->model, r->tape, &few->data, &m->outcome, error);
  for (int i = 0; i < h->count && !status; i++)
    m->named[i] = index == h->moments - 1 ? h->named[i] : th_head_job(&m->looks[i], NAN);
  return status ? status : sentences_look(h, r, index, error);
}

/* The moments before the last: of the snapshots all, or so many at even steps, first and last among them. */
static th_status choose_moments(head_study *h, const run *r, th_error *error) {
  int64_t *steps, count;
  th_status status = snapshots_list(r, &steps, &count, error);
  if (status) return status;
  while (count && steps[count - 1] >= h->step) count--; /* later than, or the same as, what is studied */
  h->snapshots = (int)count;
  int most = MOMENTS_MAX - 1, n = count < most ? (int)count : most;
  for (int i = 0; i < n; i++) h->moment[i].step = steps[n > 1 ? i * (count - 1) / (n - 1) : 0];
  h->moments = n + 1;
  h->moment[n].step = h->step;
  free(steps);
  return TH_OK;
}

/* The shown progress is that of all moments: within one the library's own is passed over. */
static bool only_stop(void *context, double done) {
  (void)context, (void)done;
  return !stop_signal;
}

th_status study_time(head_study *h, run *r, stage *s, th_error *error) {
  study_set few;
  th_status status = choose_moments(h, r, error);
  if (!status) status = study_set_make(&few, r, SEQUENCES, s, error);
  if (status) return status;
  few.data.progress = only_stop;
  stage_begin(s, "when each head took its job");
  status = look_at_moment(h, r, &few, h->moments - 1, error);
  for (int i = 0; i < h->moments - 1 && !status; i++) {
    stage_progress(s, (double)i / h->moments);
    status = snapshot_use(r, h->moment[i].step, error);
    if (!status) status = look_at_moment(h, r, &few, i, error);
  }
  study_set_free(&few);
  return status;
}

int first_moment(const head_study *h, int head) {
  int i = 0;
  while (i < h->moments - 1 && h->moment[i].named[head].job != h->pattern[head]) i++;
  return i;
}
