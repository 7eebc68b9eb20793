/* What is lost when a head's output is shut, replaced by its mean, or made of equal weights; and the gradient of
 * its gate. */
#include "worth.h"

#include <math.h>
#include <stdlib.h>

/* ---- replacing one head's output ------------------------------------------------------------------------------ */

typedef struct replacing {
  const th_judge *judge;
  th_head head;
  const double *mean; /* [V]: what it always says; NULL: equal weights */
} replacing;

/* The values of its keys in sight, equally weighed: [B,H,T,V]. */
static th_var *equal_weights(const th_seen *seen) {
  th_tape *tape = seen->weights->tape;
  th_tensor zeros;
  const th_tensor *w = &seen->weights->value;
  if (!th_keep_tensor(tape, &zeros, w->dtype, 4, w->shape)) return seen->heads;
  th_fill(&zeros, 0);
  return th_matmul(th_softmax(th_constant(tape, &zeros), seen->mask), seen->value);
}

/* A tensor [1,H,1,columns] of the tape, filled with `value`. */
static bool new_row(th_tensor *row, th_tape *tape, const th_nn_attention *layer, int64_t columns,
                    double value) {
  if (!th_keep_tensor(tape, row, layer->out.bias->value.dtype, 4, (int64_t[]){1, layer->heads, 1, columns}))
    return false;
  th_fill(row, value);
  return true;
}

static void replace(void *context, const th_nn_attention *layer, th_seen *seen) {
  const replacing *r = context;
  th_tape *tape = seen->heads->tape;
  th_tensor keep, put;
  int64_t v = layer->value_width, place = th_head_place(r->judge->model, r->head);
  if (layer->kind != r->head.kind || layer->layer != r->head.layer) return;
  if (!new_row(&keep, tape, layer, 1, 1) || !new_row(&put, tape, layer, r->mean ? v : 1, 0)) return;
  th_tensor_set(&keep, place, 0);
  for (int64_t i = 0; i < v && r->mean; i++) th_tensor_set(&put, place * v + i, r->mean[i]);
  th_var *kept = th_mul(seen->heads, th_constant(tape, &keep)), *other = th_constant(tape, &put);
  if (!r->mean) {
    double *gates = th_keep(tape, (size_t)layer->heads * sizeof *gates);
    if (!gates) return;
    th_nn_attention_gates(layer, gates); /* the learned ones with them */
    th_tensor_set(&put, place, gates[place]);
    other = th_mul(equal_weights(seen), other);
  }
  seen->heads = th_add(kept, other);
}

/* ---- means ------------------------------------------------------------------------------------------------------ */

typedef struct means {
  const th_transformer *model;
  const th_batch *batch;
  double **mean; /* [heads] of [V] */
  int64_t *rows; /* [heads] */
} means;

static void add_rows(const means *m, int index, const th_nn_attention *layer, const th_tensor *all,
                     int64_t place) {
  int64_t v = layer->value_width;
  const int32_t *length = th_study_query_length(layer->kind, m->batch);
  th_tensor one, row;
  th_view_slice(&one, all, 1, place, place + 1);
  for (int64_t b = 0; b < all->shape[0]; b++) {
    int64_t rows = th_study_length(length, b, all->shape[2]);
    th_view_slice(&row, &one, 0, b, b + 1);
    for (int64_t t = 0; t < rows; t++)
      for (int64_t i = 0; i < v; i++) m->mean[index][i] += th_tensor_get(&row, t * v + i);
    m->rows[index] += rows;
  }
}

static void add_means(void *context, const th_nn_attention *layer, th_seen *seen) {
  const means *m = context;
  int first = th_study_first_head(m->model, layer);
  for (int h = 0; h < layer->heads; h++) add_rows(m, first + h, layer, &seen->heads->value, h);
}

static void free_means(means *m) {
  for (int i = 0; m->mean && i < th_head_count(m->model); i++) free(m->mean[i]);
  free(m->mean);
  free(m->rows);
}

static th_status take_means(th_judge *j, means *m, th_error *error) {
  int heads = th_head_count(j->model);
  *m = (means){.model = j->model,
               .mean = calloc((size_t)heads + 1, sizeof *m->mean),
               .rows = calloc((size_t)heads + 1, sizeof *m->rows)};
  bool room = m->mean && m->rows;
  for (int i = 0; i < heads && room; i++) {
    th_head head = th_head_at(j->model, i);
    int64_t v = th_head_attention(j->model, head.kind, head.layer)->value_width;
    room = (m->mean[i] = calloc((size_t)v, sizeof **m->mean)) != NULL;
  }
  if (!room) return th_error_set(error, TH_ENOMEM, "head study: no memory for the means of %d heads", heads);
  for (int64_t i = 0; i < j->data->count; i++) {
    m->batch = &j->data->batches[i];
    th_status status = th_study_pass(j->model, j->borrowed.tape, m->batch, &(th_tap){add_means, m}, error);
    if (status) return status;
  }
  for (int i = 0; i < heads; i++) {
    th_head head = th_head_at(j->model, i);
    int64_t v = th_head_attention(j->model, head.kind, head.layer)->value_width;
    for (int64_t k = 0; k < v; k++) m->mean[i][k] /= (double)m->rows[i];
  }
  return th_judge_passed(j, error) ? TH_OK : TH_EINVAL;
}

/* ---- the gradient of a gate --------------------------------------------------------------------------------- */

typedef struct gating {
  const th_transformer *model;
  th_var **gate; /* [heads]: its attention's leaf [B,H,1,1] */
} gating;

static void put_gates(void *context, const th_nn_attention *layer, th_seen *seen) {
  const gating *g = context;
  th_tape *tape = seen->heads->tape;
  const th_tensor *x = &seen->heads->value;
  th_tensor ones;
  if (!th_keep_tensor(tape, &ones, x->dtype, 4, (int64_t[]){x->shape[0], layer->heads, 1, 1})) return;
  th_fill(&ones, 1);
  th_var *leaf = th_leaf(tape, &ones, NULL);
  seen->heads = th_mul(seen->heads, leaf);
  int first = th_study_first_head(g->model, layer);
  for (int64_t h = 0; h < layer->heads; h++) g->gate[first + h] = leaf;
}

static int64_t tokens_of(const th_batch *b, int64_t sequence) {
  int64_t rows = b->output.ndim == 1 ? 1 : b->output.shape[1], count = 0;
  const int32_t *wanted = (const int32_t *)b->output.data + sequence * rows;
  for (int64_t t = 0; t < rows; t++) count += wanted[t] >= 0;
  return count;
}

/* Adds a batch's part: worth's gradient is that of the sum over tokens so far, importance a sum over sequences. */
static void add_gradients(const gating *g, const th_batch *b, th_head_worth *worth, int64_t *tokens,
                          int64_t *sequences) {
  int64_t batch = b->output.shape[0], all = 0;
  for (int64_t s = 0; s < batch; s++) all += tokens_of(b, s);
  for (int64_t s = 0; s < batch; s++) {
    int64_t own = tokens_of(b, s);
    *sequences += own > 0;
    for (int i = 0; i < th_head_count(g->model) && own; i++) {
      const th_tensor *grad = &g->gate[i]->grad;
      int64_t at = s * grad->shape[1] + th_head_place(g->model, th_head_at(g->model, i));
      double sum = th_tensor_get(grad, at) * (double)all;
      worth[i].gradient += sum;
      worth[i].importance += fabs(sum) / (double)own;
    }
  }
  *tokens += all;
}

static th_status differentiate(th_judge *j, th_head_worth *worth, th_error *error) {
  th_tape *tape = j->borrowed.tape;
  int heads = th_head_count(j->model);
  int64_t tokens = 0, sequences = 0;
  gating g = {j->model, calloc((size_t)heads + 1, sizeof *g.gate)};
  th_status status =
      g.gate ? TH_OK : th_error_set(error, TH_ENOMEM, "head study: no memory for %d heads", heads);
  for (int64_t i = 0; i < j->data->count && !status; i++) {
    const th_batch *b = &j->data->batches[i];
    th_tape_reset(tape);
    th_tape_record(tape, true);
    th_var *logits = th_study_forward(j->model, tape, b, &(th_tap){put_gates, &g});
    th_backward(th_cross_entropy(logits, &b->output, 0), NULL);
    const th_error *failed = th_tape_error(tape);
    if (failed) status = th_error_set(error, failed->status, "%s", failed->text);
    else add_gradients(&g, b, worth, &tokens, &sequences);
  }
  th_tape_record(tape, false);
  free(g.gate);
  for (int i = 0; i < heads; i++)
    worth[i].gradient /= (double)tokens, worth[i].importance /= (double)sequences;
  if (!status && !th_judge_passed(j, error)) status = TH_EINVAL;
  return status;
}

/* Backward adds to the gradients of the model's parameters, too, which are not ours. */
static th_status differentiate_aside(th_judge *j, th_head_worth *worth, th_error *error) {
  th_tensor theirs = th_params_grads(j->model->params), kept;
  th_status status = th_tensor_new(&kept, theirs.dtype, 1, theirs.shape, error);
  if (status) return status;
  th_tensor_copy(&kept, &theirs, NULL);
  status = differentiate(j, worth, error);
  th_tensor_copy(&theirs, &kept, NULL);
  th_tensor_free(&kept);
  return status;
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static th_status judge_head(th_judge *j, int index, const means *m, th_head_worth *worth, th_error *error) {
  bool encoded = th_judge_may_use_memory(j, index);
  replacing r = {.judge = j, .head = th_head_at(j->model, index), .mean = m->mean[index]};
  th_tap tap = {replace, &r};
  th_judge_gate(j, index, 0);
  th_status status = th_judge_outcome(j, encoded, NULL, &worth->off, error);
  th_judge_gate(j, index, 1);
  if (!status) status = th_judge_outcome(j, encoded, &tap, &worth->mean, error);
  r.mean = NULL;
  return status ? status : th_judge_outcome(j, encoded, &tap, &worth->uniform, error);
}

th_status th_study_worth(const th_transformer *model, th_tape *tape, const th_study_data *data,
                         th_outcome *whole, th_head_worth *worth, th_error *error) {
  th_judge j;
  means m = {.model = model};
  int heads = th_head_count(model);
  for (int i = 0; i < heads; i++) worth[i] = (th_head_worth){.attribution = NAN, .copying = NAN};
  th_status status = th_judge_open(&j, model, tape, data, 3 * (int64_t)heads + 4, error);
  if (!status) status = th_judge_outcome(&j, false, NULL, whole, error);
  if (!status) status = take_means(&j, &m, error);
  if (!status) status = differentiate_aside(&j, worth, error);
  if (!status) status = th_judge_attribute(&j, worth, error);
  if (!status) status = th_judge_encode(&j, error);
  for (int i = 0; i < heads && !status; i++) status = judge_head(&j, i, &m, &worth[i], error);
  free_means(&m);
  th_judge_close(&j);
  return status;
}
