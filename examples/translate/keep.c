/* What is kept of a run as it goes: reports, the best weights so far, checkpoints. */
#include "commands.h"
#include "share.h"

#include <math.h>

#define GLANCE 256  /* held-out sequences in a progress report; the summary takes all */
#define AT_ONCE 128 /* in a batch of validation */

static bool is_due(const run *r, int64_t every) { return every && r->step % every == 0; }

/* ---- reports ------------------------------------------------------------------------------------------- */

#define VALUES_MAX 9

typedef struct line { /* of metrics.jsonl */
  th_metric value[VALUES_MAX];
  size_t count;
} line;

static void add(line *l, const char *key, double value) { l->value[l->count++] = (th_metric){key, value}; }

static th_status report(run *r, progress *p, line *l, th_error *error) {
  th_schedule schedule = settings_schedule(&r->settings);
  int64_t count = r->data.held_out_count < GLANCE ? r->data.held_out_count : GLANCE;
  history *h = &r->history;
  score s;
  th_status status = evaluate(r, r->data.held_out, count, &s, error);
  if (status) return status;
  double loss = h->loss / (double)h->updates, norm = h->norm / (double)h->updates;
  add(l, "loss", loss);
  add(l, "gradient_norm", norm);
  add(l, "rate", th_schedule_rate(&schedule, r->step));
  add(l, "held_out_loss", s.loss);
  add(l, "token_accuracy", s.token_accuracy);
  add(l, "exact_match", s.exact_match);
  add(l, "character_errors", s.character_errors);
  if (r->model->config.layer.head_gates) add(l, "open_heads", open_heads(r));
  h->loss = h->norm = 0, h->updates = 0;
  progress_report(p, r, loss, &s);
  return TH_OK;
}

/* ---- validation ------------------------------------------------------------------------------------------ */

/* Adds the loss of each token, without label smoothing or dropout. */
static th_status add_losses(run *r, const batch *b, double *sum, th_error *error) {
  th_tape_reset(r->tape);
  th_tape_record(r->tape, false);
  th_tape_train(r->tape, false);
  th_var *mean = batch_loss(r, b, 0, NULL);
  const th_error *failed = th_tape_error(r->tape);
  th_status status = failed ? th_error_set(error, failed->status, "%s", failed->text) : TH_OK;
  if (!status) *sum += th_tensor_get(&mean->value, 0) * (double)b->tokens;
  th_tape_record(r->tape, true);
  th_tape_reset(r->tape);
  return status;
}

/* The mean loss of a token over the first --validate-most held-out examples: the same ones each time. */
static th_status validation_loss(run *r, double *loss, th_error *error) {
  const data *d = &r->data;
  int64_t most = r->settings.validate_most, count = d->held_out_count < most ? d->held_out_count : most;
  int64_t tokens = 0;
  batch b;
  th_status status = batch_new(&b, AT_ONCE, d->longest, error);
  *loss = 0;
  for (int64_t i = 0; i < count && !status; i += AT_ONCE) {
    batch_fill(&b, d->held_out + i, count - i < AT_ONCE ? count - i : AT_ONCE);
    status = add_losses(r, &b, loss, error);
    tokens += b.tokens;
  }
  *loss /= (double)tokens;
  batch_free(&b);
  return status;
}

static th_status validate(run *r, progress *p, line *l, th_error *error) {
  history *h = &r->history;
  double loss;
  th_status status = validation_loss(r, &loss, error);
  if (status) return status;
  if (loss < h->best_loss) h->best_loss = loss, h->best_step = r->step, h->worse = 0;
  else h->worse++;
  add(l, "validation_loss", loss);
  progress_validation(p, r, loss);
  return TH_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

/* Rank 0 looks, and says what it has seen. */
static th_status look_at(run *r, th_metrics *metrics, progress *p, th_error *error) {
  const settings *s = &r->settings;
  line l = {0};
  if (!is_due(r, s->snapshot_every) && !is_due(r, s->validate_every) && !is_due(r, s->report_every) &&
      !run_ended(r))
    return TH_OK;
  if (!share_leads(r)) return share_history(r, TH_OK, error);
  th_status status = snapshot_take(r, error);
  if (!status && is_due(r, s->validate_every)) status = validate(r, p, &l, error);
  if (!status && (is_due(r, s->report_every) || run_ended(r))) status = report(r, p, &l, error);
  if (!status && l.count) status = th_metrics_append(metrics, r->step, l.value, l.count, error);
  return share_history(r, status, error);
}

/* The line of metrics stands before the checkpoint does: what a later checkpoint does not know of is cut off when a
 * run goes on, and made again. New best weights are a checkpoint, too, and their file is written after it: so
 * best.safetensors is never ahead of the state, and a run killed between the two writes it when it goes on. */
th_status keep_up(run *r, th_metrics *metrics, progress *p, th_error *error) {
  const settings *s = &r->settings;
  th_status status = look_at(r, metrics, p, error);
  bool checkpoint = is_due(r, s->save_every);
  if (checkpoint && r->average.ring.data) th_average_take(&r->average);
  if (!status && (checkpoint || r->history.best_step == r->step)) status = run_save(r, error);
  return status;
}
