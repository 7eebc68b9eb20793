/* What training makes small: the loss of a batch, and what is asked of the heads besides. */
#include "commands.h"

#include <string.h>

/* As the model takes it, the targets' lengths in the tape's memory. Without any, the tape has an error. */
static th_batch with_lengths(run *r, const batch *b) {
  int32_t *length = th_keep(r->tape, (size_t)b->output.shape[0] * sizeof *length);
  if (length) batch_target_lengths(b, length);
  return (th_batch){b->source, b->source_length, b->input, length, b->output};
}

th_var *batch_loss(run *r, const batch *b, double smoothing, const th_tap *tap) {
  th_batch whole = with_lengths(r, b);
  return th_transformer_loss(r->model, r->tape, &whole, smoothing, tap);
}

/* ---- disagreement between heads --------------------------------------------------------------------------------- */

typedef struct watch {
  th_disagreement of;
  const int32_t *source_length, *target_length; /* [B] */
  th_var *sum;                                  /* over the attentions so far; NULL: there was none */
  int attentions;
} watch;

static void add_disagreement(void *context, const th_nn_attention *layer, th_seen *seen) {
  watch *w = context;
  const int32_t *query = layer->kind == TH_ENCODER_SELF ? w->source_length : w->target_length;
  const int32_t *key = layer->kind == TH_DECODER_SELF ? w->target_length : w->source_length;
  th_var *found = th_nn_disagreement(seen, w->of, query, key);
  if (!found) return;
  w->sum = w->sum ? th_add(w->sum, found) : found;
  w->attentions++;
}

static th_disagreement disagreement_of(const settings *s) {
  return !strcmp(s->disagreement, "subspace")    ? TH_DISAGREE_SUBSPACE
         : !strcmp(s->disagreement, "positions") ? TH_DISAGREE_POSITIONS
                                                 : TH_DISAGREE_OUTPUTS;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

th_var *objective(run *r, const batch *b, th_var **loss) {
  const settings *s = &r->settings;
  th_batch whole = with_lengths(r, b);
  watch w = {disagreement_of(s), whole.source_length, whole.input_length, NULL, 0};
  const th_tap tap = {add_disagreement, &w};
  const th_tap *watching = s->disagreement_weight > 0 ? &tap : NULL;
  th_var *all = *loss = th_transformer_loss(r->model, r->tape, &whole, s->label_smoothing, watching);
  if (w.sum) all = th_sub(all, th_scale(w.sum, s->disagreement_weight / w.attentions));
  th_var *open = s->gate_penalty > 0 ? th_transformer_open_heads(r->model, r->tape) : NULL;
  return open ? th_add(all, th_scale(open, s->gate_penalty)) : all;
}

double open_heads(run *r) {
  th_tape_reset(r->tape);
  th_var *open = th_transformer_open_heads(r->model, r->tape);
  double count = open && !th_tape_error(r->tape) ? th_tensor_get(&open->value, 0) : 0;
  th_tape_reset(r->tape);
  return count;
}
