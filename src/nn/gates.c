/* Gates of heads, given or learned (Voita et al. 2019), and dropout of whole heads (Zhou et al. 2020). */
#include "gates.h"

/* ---- while computing ------------------------------------------------------------------------------------------- */

/* [B,H,1,1]: 0 for a head that is dropped from a sequence, H / (number of heads kept) for the others: Zhou et al.
 * 2020, section 3.1, whose sum of heads so keeps its size. A sequence that loses all its heads gets zeros. */
static th_var *kept_heads(const th_nn_attention *layer, th_tape *tape, const th_tensor *heads) {
  th_tensor ones, scaled;
  int64_t batch = heads->shape[0], h = layer->heads, shape[] = {batch, h, 1, 1};
  if (!th_keep_tensor(tape, &ones, heads->dtype, 4, shape) ||
      !th_keep_tensor(tape, &scaled, heads->dtype, 4, shape))
    return NULL;
  th_fill(&ones, 1);
  th_var *kept = th_dropout(th_constant(tape, &ones), layer->head_dropout);
  if (th_tape_error(tape)) return NULL;
  for (int64_t b = 0; b < batch; b++) {
    int64_t count = 0;
    for (int64_t i = b * h; i < (b + 1) * h; i++) count += th_tensor_get(&kept->value, i) > 0;
    for (int64_t i = b * h; i < (b + 1) * h; i++)
      th_tensor_set(&scaled, i, th_tensor_get(&kept->value, i) > 0 ? (double)h / (double)count : 0);
  }
  return th_constant(tape, &scaled);
}

th_var *th_nn_gated(const th_nn_attention *layer, th_var *heads) {
  th_tape *tape = heads->tape;
  if (th_tape_error(tape)) return heads;
  th_var *factor[3], *product = NULL;
  int count = 0;
  if (layer->gate) factor[count++] = th_use(tape, layer->gate);
  if (layer->gate_logits) factor[count++] = th_hard_concrete(th_use(tape, layer->gate_logits));
  for (int i = 0; i < count; i++) {
    factor[i] = th_reshape(factor[i], 4, (int64_t[]){1, layer->heads, 1, 1});
    product = product ? th_mul(product, factor[i]) : factor[i];
  }
  if (layer->head_dropout > 0 && th_tape_training(tape)) {
    th_var *kept = kept_heads(layer, tape, &heads->value);
    product = product && kept ? th_mul(product, kept) : kept;
  }
  return product ? th_mul(heads, product) : heads;
}

/* ---- looked at from outside ------------------------------------------------------------------------------------ */

void th_nn_attention_gates(const th_nn_attention *layer, double *gates) {
  for (int64_t h = 0; h < layer->heads; h++) {
    gates[h] = layer->gate ? th_tensor_get(&layer->gate->value, h) : 1;
    if (layer->gate_logits) gates[h] *= th_quiet_gate(th_tensor_get(&layer->gate_logits->value, h));
  }
}

th_var *th_transformer_open_heads(const th_transformer *m, th_tape *tape) {
  th_var *sum = NULL;
  for (int i = 0; i < th_transformer_attentions(m); i++) {
    const th_nn_attention *layer = th_transformer_attention(m, i);
    if (!layer->gate_logits) continue;
    th_var *open = th_expected_open(th_use(tape, layer->gate_logits));
    sum = sum ? th_add(sum, open) : open;
  }
  return sum;
}
