/* A model's outcome over data, with gates on its heads. */
#include "worth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- gates ---------------------------------------------------------------------------------------------------- */

static th_status hang_gates(th_judge *j, th_error *error) {
  const th_transformer *m = j->model;
  int at = 0;
  for (int a = 0; a < th_transformer_attentions(m); a++) {
    char name[24];
    th_nn_attention *layer = th_transformer_attention(m, a);
    if (!layer->heads) continue;
    snprintf(name, sizeof name, "gate%d", a);
    th_params_add(j->gates, NULL, name, (th_init){.kind = TH_INIT_ONES}, 1, &layer->heads);
  }
  th_status status = th_params_make(j->gates, th_params_values(m->params).dtype, 0, error);
  for (int a = 0, next = 0; a < th_transformer_attentions(m) && !status; a++) {
    th_nn_attention *layer = th_transformer_attention(m, a);
    j->had[a] = layer->gate;
    if (!layer->heads) continue;
    for (int64_t h = 0; h < layer->heads; h++)
      j->first[at++] = layer->gate ? th_tensor_get(&layer->gate->value, h) : 1;
    layer->gate = th_params_at(j->gates, next++);
  }
  for (int i = 0; i < at && !status; i++) th_judge_gate(j, i, 1);
  return status;
}

/* What is to come out must be there, one for each row of logits. */
static th_status check_outputs(const th_transformer *m, const th_study_data *data, th_error *error) {
  bool classes = m->config.shape == TH_ENCODER_ONLY;
  for (int64_t i = 0; i < data->count; i++) {
    char text[TH_SHAPE_TEXT], want[TH_SHAPE_TEXT];
    const th_tensor *output = &data->batches[i].output,
                    *input = classes ? &data->batches[i].source : &data->batches[i].input;
    if (!output->data || !input->data)
      return th_error_set(error, TH_EINVAL, "batch %lld has no %s", (long long)i,
                          output->data ? classes ? "source" : "input" : "output");
    bool fits = classes ? output->ndim == 1 && output->shape[0] == input->shape[0]
                        : th_tensor_same_shape(output, input);
    if (output->dtype != TH_I32 || !fits || !th_tensor_is_contiguous(output))
      return th_error_set(error, TH_ESHAPE, "batch %lld: output is %s %s, want a dense i32 %s %s",
                          (long long)i, th_dtype_name(output->dtype), th_shape_text(text, output),
                          classes ? "class for each sequence of source" : "token for each of input",
                          th_shape_text(want, input));
  }
  return TH_OK;
}

th_status th_judge_open(th_judge *j, const th_transformer *m, th_tape *tape, const th_study_data *data,
                        int64_t passes, th_error *error) {
  int attentions = th_transformer_attentions(m);
  *j = (th_judge){.model = m, .data = data, .borrowed = th_borrow(tape), .all = passes};
  th_params *gates = th_params_new();
  j->first = calloc((size_t)th_head_count(m) + 1, sizeof *j->first);
  j->memory = calloc((size_t)data->count + 1, sizeof *j->memory);
  j->had = calloc((size_t)attentions + 1, sizeof *j->had);
  j->gates = gates;
  if (!gates || !j->first || !j->memory || !j->had)
    return th_error_set(error, TH_ENOMEM, "head study: no memory for %d heads", th_head_count(m));
  th_status status = check_outputs(m, data, error);
  for (int a = 0; a < attentions; a++) j->had[a] = th_transformer_attention(m, a)->gate;
  return status || !th_head_count(m) ? status : hang_gates(j, error);
}

void th_judge_close(th_judge *j) {
  for (int a = 0; j->had && a < th_transformer_attentions(j->model); a++)
    th_transformer_attention(j->model, a)->gate = j->had[a];
  for (int64_t i = 0; j->memory && i < j->data->count; i++) th_tensor_free(&j->memory[i]);
  th_give_back(&j->borrowed);
  th_params_free(j->gates);
  free(j->first);
  free(j->memory);
  free(j->had);
}

void th_judge_gate(const th_judge *j, int head, double open) {
  th_head h = th_head_at(j->model, head);
  const th_nn_attention *layer = th_head_attention(j->model, h.kind, h.layer);
  th_tensor_set(&layer->gate->value, th_head_place(j->model, h), open * j->first[head]);
}

/* ---- outcome -------------------------------------------------------------------------------------------------- */

typedef struct tally {
  double loss;
  int64_t tokens, right, exact, sequences;
} tally;

/* The loss of the token `wanted`, and whether it has the largest logit: logits x [n] from `at` on. */
static double token_loss(const th_tensor *x, int64_t at, int64_t n, int32_t wanted, bool *right) {
  double most = -INFINITY, sum = 0, own = 0;
  int64_t best = 0;
  for (int64_t v = 0; v < n; v++) {
    double logit = x->dtype == TH_F32 ? ((const float *)x->data)[at + v] : ((const double *)x->data)[at + v];
    if (logit > most) sum = sum * exp(most - logit) + 1, most = logit, best = v;
    else sum += exp(logit - most);
    if (v == wanted) own = logit;
  }
  *right = best == wanted;
  return log(sum) + most - own;
}

static void count_batch(tally *t, const th_batch *b, const th_tensor *logits) {
  int64_t n = logits->shape[logits->ndim - 1], rows = logits->ndim == 2 ? 1 : logits->shape[1];
  const int32_t *wanted = b->output.data;
  for (int64_t i = 0; i < logits->shape[0]; i++) {
    bool exact = true, any = false;
    for (int64_t k = i * rows; k < (i + 1) * rows; k++) {
      bool right;
      if (wanted[k] < 0) continue;
      t->loss += token_loss(logits, k * n, n, wanted[k], &right);
      t->tokens++, t->right += right, any = true;
      exact &= right;
    }
    t->sequences += any, t->exact += any && exact;
  }
}

bool th_judge_may_use_memory(const th_judge *j, int head) {
  return j->model->config.shape == TH_ENCODER_DECODER && th_head_at(j->model, head).kind != TH_ENCODER_SELF;
}

bool th_judge_passed(th_judge *j, th_error *error) {
  j->done++;
  if (!j->data->progress || j->data->progress(j->data->context, (double)j->done / (double)j->all))
    return true;
  th_error_set(error, TH_EINVAL, "stopped");
  return false;
}

th_status th_judge_encode(th_judge *j, th_error *error) {
  th_tape *tape = j->borrowed.tape;
  th_status status = TH_OK;
  if (j->model->config.shape != TH_ENCODER_DECODER) return TH_OK;
  for (int64_t i = 0; i < j->data->count && !status; i++) {
    const th_batch *b = &j->data->batches[i];
    th_tape_reset(tape);
    th_var *memory = th_transformer_encode(j->model, tape, &b->source, b->source_length, NULL);
    const th_error *failed = th_tape_error(tape);
    if (failed) return th_error_set(error, failed->status, "%s", failed->text);
    if (!j->memory[i].data)
      status = th_tensor_new(&j->memory[i], memory->value.dtype, 3, memory->value.shape, error);
    if (!status) status = th_tensor_copy(&j->memory[i], &memory->value, error);
  }
  return status;
}

th_status th_judge_outcome(th_judge *j, bool encoded, const th_tap *tap, th_outcome *outcome,
                           th_error *error) {
  th_tape *tape = j->borrowed.tape;
  tally t = {0};
  for (int64_t i = 0; i < j->data->count; i++) {
    const th_batch *b = &j->data->batches[i];
    th_tape_reset(tape);
    th_var *logits = encoded ? th_transformer_decode(j->model, th_constant(tape, &j->memory[i]),
                                                     b->source_length, &b->input, tap)
                             : th_study_forward(j->model, tape, b, tap);
    const th_error *failed = th_tape_error(tape);
    if (failed) return th_error_set(error, failed->status, "%s", failed->text);
    count_batch(&t, b, &logits->value);
  }
  *outcome = (th_outcome){t.loss / (double)t.tokens, (double)t.right / (double)t.tokens,
                          (double)t.exact / (double)t.sequences};
  return th_judge_passed(j, error) ? TH_OK : TH_EINVAL;
}

th_status th_study_outcome(const th_transformer *m, th_tape *tape, const th_study_data *data,
                           th_outcome *outcome, th_error *error) {
  th_judge j;
  th_status status = th_judge_open(&j, m, tape, data, 1, error);
  if (!status) status = th_judge_outcome(&j, false, NULL, outcome, error);
  th_judge_close(&j);
  return status;
}
