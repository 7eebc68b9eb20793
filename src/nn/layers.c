/* The small layers: linear, layer norm, embedding, feed-forward. */
#include "blocks.h"
#include "name.h"

#include <math.h>

/* ---- linear ----------------------------------------------------------------------------------------- */

th_nn_linear th_nn_linear_make(th_params *set, const char *name, int64_t in, int64_t out, bool bias) {
  th_nn_linear layer = {0};
  layer.weight =
      th_params_add(set, name, "weight", (th_init){.kind = TH_INIT_XAVIER}, 2, (int64_t[]){out, in});
  if (bias) layer.bias = th_params_add(set, name, "bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &out);
  return layer;
}

th_var *th_nn_linear_forward(const th_nn_linear *layer, th_var *x) {
  return th_linear(x, th_use(x->tape, layer->weight), layer->bias ? th_use(x->tape, layer->bias) : NULL);
}

/* ---- layer norm --------------------------------------------------------------------------------------- */

th_nn_norm th_nn_norm_make(th_params *set, const char *name, int64_t n) {
  th_nn_norm layer = {0};
  layer.weight = th_params_add(set, name, "weight", (th_init){.kind = TH_INIT_ONES}, 1, &n);
  layer.bias = th_params_add(set, name, "bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &n);
  return layer;
}

th_var *th_nn_norm_forward(const th_nn_norm *layer, th_var *x) {
  return th_layer_norm(x, th_use(x->tape, layer->weight), th_use(x->tape, layer->bias), TH_NORM_EPSILON);
}

/* ---- embedding ---------------------------------------------------------------------------------------- */

th_nn_embedding th_nn_embedding_make(th_params *set, const char *name, int64_t vocabulary, int64_t width,
                                     th_init init) {
  return (th_nn_embedding){th_params_add(set, name, "weight", init, 2, (int64_t[]){vocabulary, width})};
}

th_var *th_nn_embedding_forward(const th_nn_embedding *layer, th_tape *tape, const th_tensor *ids) {
  return th_scale(th_gather(th_use(tape, layer->weight), ids), sqrt((double)layer->weight->value.shape[1]));
}

/* ---- feed-forward ------------------------------------------------------------------------------------- */

th_nn_feed_forward th_nn_feed_forward_make(th_params *set, const char *name, int64_t width, int64_t hidden,
                                           th_activation activation, double dropout) {
  char first[TH_NAME_MAX], second[TH_NAME_MAX];
  th_name_under(first, name, "linear1");
  th_name_under(second, name, "linear2");
  return (th_nn_feed_forward){.first = th_nn_linear_make(set, first, width, hidden, true),
                              .second = th_nn_linear_make(set, second, hidden, width, true),
                              .activation = activation,
                              .dropout = dropout};
}

static th_var *feed_forward(const th_nn_feed_forward *layer, th_var *x, const th_packing *packing) {
  th_var *weight = th_use(x->tape, layer->first.weight), *bias = th_use(x->tape, layer->first.bias);
  th_var *hidden = layer->activation == TH_ACT_RELU   ? th_linear_relu(x, weight, bias)
                   : layer->activation == TH_ACT_GELU ? th_linear_gelu_erf(x, weight, bias)
                                                      : th_linear_gelu_tanh(x, weight, bias);
  return th_nn_linear_forward(&layer->second, th_packed_dropout(packing, th_spent(hidden), layer->dropout));
}

static th_var *chunk_again(th_var *x, th_var *const *others, const void *context) {
  (void)others;
  return feed_forward(context, x, NULL);
}

th_var *th_nn_feed_forward_forward(const th_nn_feed_forward *layer, th_var *x) {
  return th_nn_feed_forward_packed(layer, x, NULL);
}

th_var *th_nn_feed_forward_packed(const th_nn_feed_forward *layer, th_var *x, const th_packing *packing) {
  int64_t width = layer->first.weight->value.shape[1], rows = width ? th_tensor_count(&x->value) / width : 0;
  int64_t chunks = layer->chunks < rows ? layer->chunks : rows;
  if (chunks < 2 || th_tape_error(x->tape)) return feed_forward(layer, x, packing);
  th_var *flat = th_reshape(x, 2, (int64_t[]){rows, width}),
         **part = th_keep(x->tape, (size_t)chunks * sizeof *part);
  if (!part) return x;
  for (int64_t i = 0; i < chunks; i++)
    part[i] = th_recompute(th_slice(flat, 0, i * rows / chunks, (i + 1) * rows / chunks), 0, NULL,
                           chunk_again, layer, sizeof *layer);
  return th_reshape(th_concat((int)chunks, part, 0), x->value.ndim, x->value.shape);
}
