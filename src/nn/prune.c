/* Heads removed from a Transformer: a smaller model with the weights that are left. */
#include "tapehead/nn.h"

#include <stdlib.h>
#include <string.h>

/* ---- one attention's tensors ------------------------------------------------------------------------------ */

/* A part of a parameter with its heads on one axis: rows first..first+heads*width of a [rows,..], or columns. */
static th_tensor by_head(const th_param *param, int axis, int64_t first, int64_t heads, int64_t width) {
  th_tensor part, split;
  int ndim = param->value.ndim;
  int64_t shape[TH_MAX_DIMS];
  th_view_slice(&part, &param->value, axis, first, first + heads * width);
  for (int i = 0; i <= ndim; i++) shape[i] = part.shape[i > axis ? i - 1 : i];
  shape[axis] = heads, shape[axis + 1] = width;
  th_view_reshape(&split, &part, ndim + 1, shape);
  return split;
}

/* Head i of `to` becomes head place[i] of `from`; both have their heads on this axis. */
static void take_heads(const th_tensor *to, const th_tensor *from, int axis, const int64_t *place) {
  th_tensor mine, theirs;
  for (int64_t i = 0; i < to->shape[axis]; i++) {
    th_view_slice(&mine, to, axis, i, i + 1);
    th_view_slice(&theirs, from, axis, place[i], place[i] + 1);
    th_tensor_copy(&mine, &theirs, NULL);
  }
}

/* The blocks of rows of in_proj_weight, or of in_proj_bias: queries, keys unless they are the queries, values. */
static void take_projections(const th_nn_attention *to, const th_param *mine, const th_nn_attention *from,
                             const th_param *theirs, const int64_t *place) {
  int64_t d = to->key_width, blocks = to->method.kind == TH_ATTENTION_LSH ? 2 : 3;
  for (int64_t i = 0; i < blocks; i++) {
    int64_t width = i + 1 < blocks ? d : to->value_width;
    th_tensor t = by_head(mine, 0, i * to->heads * d, to->heads, width);
    th_tensor f = by_head(theirs, 0, i * from->heads * d, from->heads, width);
    take_heads(&t, &f, 0, place);
  }
}

/* Collaborative: what is each head's own; the shared queries and keys are the same in both. */
static void take_mixing(const th_nn_attention *to, const th_nn_attention *from, const int64_t *place) {
  int64_t v = to->value_width;
  const th_nn_collaboration *t = &to->shared, *f = &from->shared;
  take_heads(&t->mixing->value, &f->mixing->value, 0, place);
  take_heads(&t->content_bias->value, &f->content_bias->value, 0, place);
  th_param *const mine[] = {t->value.weight, t->value.bias}, *const theirs[] = {f->value.weight,
                                                                                f->value.bias};
  for (int i = 0; i < 2; i++) {
    th_tensor to_rows = by_head(mine[i], 0, 0, to->heads, v), rows = by_head(theirs[i], 0, 0, from->heads, v);
    take_heads(&to_rows, &rows, 0, place);
  }
}

/* Each head's columns of out_proj.weight, times its gate. */
static void take_output(const th_nn_attention *to, const th_nn_attention *from, const int64_t *place) {
  int64_t v = to->value_width;
  th_tensor t = by_head(to->out.weight, 1, 0, to->heads, v), head;
  th_tensor f = by_head(from->out.weight, 1, 0, from->heads, v);
  take_heads(&t, &f, 1, place);
  for (int64_t h = 0; h < to->heads && from->gate; h++) {
    double gate = th_tensor_get(&from->gate->value, place[h]);
    th_view_slice(&head, &t, 1, h, h + 1);
    for (int64_t i = 0, n = th_tensor_count(&head); i < n; i++)
      th_tensor_set(&head, i, gate * th_tensor_get(&head, i));
  }
}

/* What an attention has for each head. */
static void take_attention(const th_nn_attention *to, const th_nn_attention *from, const bool *remove,
                           int64_t *place) {
  int64_t left = 0;
  for (int64_t h = 0; h < from->heads; h++)
    if (!remove[h]) place[left++] = h;
  if (!left) return;
  if (to->method.kind == TH_ATTENTION_COLLABORATIVE) take_mixing(to, from, place);
  else {
    take_projections(to, to->in_weight, from, from->in_weight, place);
    take_projections(to, to->in_bias, from, from->in_bias, place);
  }
  take_output(to, from, place);
  if (to->gate_logits) take_heads(&to->gate_logits->value, &from->gate_logits->value, 0, place);
}

/* ---- the whole model ---------------------------------------------------------------------------------------- */

/* Of the whole model's heads, [attentions,heads], those that the model has not, and those that are to go. */
static void write_removed(const th_transformer *m, const bool *remove, bool *removed) {
  int64_t heads = m->config.layer.heads;
  memset(removed, true, (size_t)(th_transformer_attentions(m) * heads) * sizeof *removed);
  for (int a = 0; a < th_transformer_attentions(m); a++) {
    const th_nn_attention *layer = th_transformer_attention(m, a);
    for (int64_t h = 0; h < layer->heads; h++) removed[a * heads + th_nn_head_number(layer, h)] = *remove++;
  }
}

/* Parameters that have no heads are the same in both; those that have are written over by take_attention, or of
 * another shape. */
static void take_all(const th_transformer *to, const th_transformer *from, const bool *remove,
                     int64_t *place) {
  for (int i = 0; i < th_params_count(to->params); i++) {
    const th_param *param = th_params_at(to->params, i);
    const th_param *source = th_params_find(from->params, param->name);
    if (th_tensor_same_shape(&param->value, &source->value))
      th_tensor_copy(&param->value, &source->value, NULL);
  }
  for (int a = 0; a < th_transformer_attentions(from); a++) {
    const th_nn_attention *layer = th_transformer_attention(from, a);
    take_attention(th_transformer_attention(to, a), layer, remove, place);
    remove += layer->heads;
  }
}

th_status th_transformer_prune(th_transformer **made, const th_transformer *m, const bool *remove,
                               th_error *error) {
  th_transformer_config config = m->config;
  size_t heads = (size_t)config.layer.heads;
  bool *removed = calloc((size_t)th_transformer_attentions(m) * heads, sizeof *removed);
  int64_t *place = calloc(heads, sizeof *place);
  th_status status = TH_OK;
  if (!removed || !place) status = th_error_set(error, TH_ENOMEM, "prune: no memory");
  if (!status) {
    write_removed(m, remove, removed);
    config.removed = removed;
    status = th_transformer_new(made, &config, th_params_values(m->params).dtype, 0, error);
  }
  if (!status) take_all(*made, m, remove, place);
  free(removed);
  free(place);
  return status;
}
