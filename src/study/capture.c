/* What every attention of a model computed for one batch, kept. */
#include "pass.h"

#include "../tensor/kernels.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
  unsigned what;
  th_capture *made;
  th_status status;
  th_error *error;
} capturing;

/* A copy on the heap, of an op's result. */
static void keep(capturing *c, unsigned what, const th_var *var, th_tensor *copy) {
  if (!(c->what & what) || c->status) return;
  const th_tensor *value = &var->value;
  c->status = th_tensor_new(copy, value->dtype, value->ndim, value->shape, c->error);
  if (!c->status) th_k_copy(NULL, value, copy);
}

/* The sizes of what each key's value becomes behind its head's part of the output projection: [B,H,1,S]. */
static th_var *sizes_of_values(const th_nn_attention *layer, th_var *value) {
  int64_t e = layer->width, h = layer->heads, v = layer->value_width;
  th_var *weight = th_reshape(th_use(value->tape, layer->out.weight), 3, (int64_t[]){e, h, v});
  th_var *written = th_matmul(value, th_permute(weight, (int[]){1, 2, 0})); /* [B,H,S,E] */
  return th_transpose(th_sqrt(th_sum(th_mul(written, written), TH_AXIS(3), true)));
}

static th_var *norms_of(const th_nn_attention *layer, const th_seen *seen) {
  th_var *norms = th_mul(seen->weights, sizes_of_values(layer, seen->value));
  double *gate = th_keep(norms->tape, (size_t)layer->heads * sizeof *gate);
  th_tensor sizes;
  if (!gate ||
      !th_keep_tensor(norms->tape, &sizes, seen->weights->value.dtype, 3, (int64_t[]){layer->heads, 1, 1}))
    return norms;
  th_nn_attention_gates(layer, gate);
  for (int64_t h = 0; h < layer->heads; h++) th_tensor_set(&sizes, h, fabs(gate[h]));
  return th_mul(norms, th_constant(norms->tape, &sizes));
}

static th_captured *place_of(th_capture *made, const th_nn_attention *layer) {
  for (int i = 0; i < made->count; i++)
    if (made->attentions[i].kind == layer->kind && made->attentions[i].layer == layer->layer)
      return &made->attentions[i];
  return NULL;
}

static void see(void *context, const th_nn_attention *layer, th_seen *seen) {
  capturing *c = context;
  th_captured *to = place_of(c->made, layer);
  if (!to) return;
  keep(c, TH_CAPTURE_QUERY, seen->query, &to->query);
  keep(c, TH_CAPTURE_KEY, seen->key, &to->key);
  keep(c, TH_CAPTURE_VALUE, seen->value, &to->value);
  keep(c, TH_CAPTURE_WEIGHTS, seen->weights, &to->weights);
  keep(c, TH_CAPTURE_HEADS, seen->heads, &to->heads);
  if (!(c->what & TH_CAPTURE_NORMS)) return;
  const th_var *norms = norms_of(layer, seen);
  if (th_tape_error(norms->tape)) return;
  keep(c, TH_CAPTURE_NORMS, norms, &to->norms);
  for (int64_t i = 0; to->norms.data && i < th_tensor_count(&to->norms);
       i++) /* mixed weights may be below 0 */
    th_tensor_set(&to->norms, i, fabs(th_tensor_get(&to->norms, i)));
}

static th_status make_places(const th_transformer *model, th_capture *made, th_error *error) {
  made->count = th_transformer_attentions(model);
  made->attentions = calloc((size_t)made->count + 1, sizeof *made->attentions);
  if (!made->attentions) return th_error_set(error, TH_ENOMEM, "capture: no memory");
  for (int i = 0; i < made->count; i++) {
    const th_nn_attention *layer = th_transformer_attention(model, i);
    made->attentions[i] = (th_captured){.kind = layer->kind, .layer = layer->layer};
  }
  return TH_OK;
}

th_status th_study_capture(const th_transformer *model, th_tape *tape, const th_batch *batch, unsigned what,
                           th_capture *made, th_error *error) {
  *made = (th_capture){0};
  capturing c = {.what = what, .made = made, .error = error};
  th_status status = make_places(model, made, error);
  if (!status) {
    th_borrowed borrowed = th_borrow(tape);
    status = th_study_pass(model, tape, batch, &(th_tap){see, &c}, error);
    if (!status) status = c.status;
    th_give_back(&borrowed);
  }
  if (status) th_capture_free(made);
  return status;
}

void th_capture_free(th_capture *capture) {
  for (int i = 0; capture->attentions && i < capture->count; i++) {
    th_captured *a = &capture->attentions[i];
    th_tensor *const all[] = {&a->query, &a->key, &a->value, &a->weights, &a->heads, &a->norms};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) th_tensor_free(all[k]);
  }
  free(capture->attentions);
  *capture = (th_capture){0};
}
