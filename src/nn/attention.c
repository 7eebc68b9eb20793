#include "gates.h"
#include "name.h"

#include "../tensor/kernels.h"

const char *th_attention_kind_name(th_attention_kind kind) {
  static const char *const names[] = {"encoder_self", "decoder_self", "cross"};
  return names[kind];
}

static bool are_some_of(const th_nn_heads *kept, int64_t whole) {
  if (!kept->number) return kept->count == 0;
  for (int64_t i = 0; i < kept->count; i++)
    if (kept->number[i] < 0 || kept->number[i] >= whole || (i && kept->number[i] <= kept->number[i - 1]))
      return false;
  return kept->count >= 0;
}

th_nn_attention th_nn_attention_make(th_params *set, const char *name, const th_nn_attention_config *c) {
  int64_t whole = c->heads > 0 ? c->heads : 1, even = c->width / whole;
  int64_t heads = c->kept.number ? c->kept.count : whole;
  th_nn_attention layer = {.width = c->width,
                           .heads = heads,
                           .whole = whole,
                           .number = c->kept.number,
                           .key_width = c->key_width ? c->key_width : even,
                           .value_width = c->value_width ? c->value_width : even,
                           .dropout = c->dropout,
                           .kind = c->kind,
                           .layer = c->layer,
                           .head_dropout = c->head_dropout};
  if (c->heads < 1 || c->key_width < 0 || c->value_width < 0)
    th_params_refuse(set, TH_EINVAL, name, "heads must be at least 1 and their widths not negative");
  else if ((!c->key_width || !c->value_width) && c->width % whole)
    th_params_refuse(set, TH_EINVAL, name, "the heads do not divide the width");
  else if (!are_some_of(&c->kept, whole))
    th_params_refuse(set, TH_EINVAL, name,
                     "the heads that are kept must be rising numbers below their count");
  int64_t rows = heads * (2 * layer.key_width + layer.value_width);
  char out[TH_NAME_MAX];
  /* with D = V the rows are three square matrices, and each is initialised as one */
  th_init init = {.kind = TH_INIT_XAVIER, .blocks = layer.key_width == layer.value_width ? 3 : 0};
  th_name_under(out, name, "out_proj");
  if (!heads) {
    layer.out.bias = th_params_add(set, out, "bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &c->width);
    return layer;
  }
  layer.in_weight = th_params_add(set, name, "in_proj_weight", init, 2, (int64_t[]){rows, c->width});
  layer.in_bias = th_params_add(set, name, "in_proj_bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &rows);
  layer.out = th_nn_linear_make(set, out, heads * layer.value_width, c->width, true);
  if (c->gates)
    layer.gate_logits = th_params_add(set, name, "gate_logits",
                                      (th_init){.kind = TH_INIT_CONSTANT, .scale = TH_GATE_LOGIT}, 1, &heads);
  if (layer.gate_logits) layer.gate_logits->rate = TH_GATE_RATE;
  return layer;
}

int64_t th_nn_head_number(const th_nn_attention *layer, int64_t place) {
  return layer->number ? layer->number[place] : place;
}

/* What an attention without heads says of x [B,T,E]: [B,T,E]. */
static th_var *bias_alone(const th_nn_attention *layer, th_var *x) {
  return th_broadcast(th_use(x->tape, layer->out.bias), x->value.ndim, x->value.shape);
}

/* x [B,T,E] times rows begin..end of the projections: [B,T,end-begin]. */
static th_var *project(const th_nn_attention *layer, th_var *x, int64_t begin, int64_t end) {
  th_var *weight = th_use(x->tape, layer->in_weight), *bias = th_use(x->tape, layer->in_bias);
  return th_linear(x, th_slice(weight, 0, begin, end), th_slice(bias, 0, begin, end));
}

/* Columns begin..begin+H*width of x [B,T,..] seen as [B,H,T,width]: a view. */
static th_var *split_heads(th_var *x, int64_t begin, int64_t heads, int64_t width) {
  th_var *part = th_slice(x, 2, begin, begin + heads * width);
  th_var *split = th_reshape(part, 4, (int64_t[]){part->value.shape[0], part->value.shape[1], heads, width});
  return th_permute(split, (int[]){0, 2, 1, 3});
}

/* Query, key and value [B,H,T,width] in as few products as the inputs allow. */
static void project_all(const th_nn_attention *layer, th_var *x, th_var *memory, th_seen *seen) {
  int64_t h = layer->heads, d = layer->key_width, v = layer->value_width, end = h * (2 * d + v);
  th_var *q, *k, *values;
  int64_t k_from = 0, v_from = 0; /* where key and value begin in what `k` and `values` name */
  if (layer->separate) {
    q = project(layer, x, 0, h * d);
    k = project(layer, memory, h * d, 2 * h * d);
    values = project(layer, memory, 2 * h * d, end);
  } else if (memory == x) {
    q = k = values = project(layer, x, 0, end);
    k_from = h * d, v_from = 2 * h * d;
  } else {
    q = project(layer, x, 0, h * d);
    k = values = project(layer, memory, h * d, end);
    v_from = h * d;
  }
  seen->query = split_heads(q, 0, h, d);
  seen->key = split_heads(k, k_from, h, d);
  seen->value = split_heads(values, v_from, h, v);
}

/* From query, key and value on: attention, gate, output projection. */
static th_var *attend(const th_nn_attention *layer, th_seen *seen, const th_mask *mask, const th_tap *tap) {
  th_tape *tape = seen->query->tape;
  th_attention_options options = {.dropout = layer->dropout};
  if (mask) options.mask = *mask;
  seen->mask = mask;
  options.bias = th_nn_positions_bias(layer->positions, layer, seen->query, seen->key->value.shape[2]);
  if (tap) {
    seen->weights = th_attention_weights(seen->query, seen->key, &options);
    seen->heads = th_matmul(th_dropout(seen->weights, layer->dropout), seen->value);
  } else seen->heads = th_attention(seen->query, seen->key, seen->value, &options);
  seen->heads = th_nn_gated(layer, seen->heads);
  if (th_tape_error(tape)) return seen->heads;
  if (tap) tap->see(tap->context, layer, seen);
  const int64_t *shape = seen->query->value.shape; /* [B,H,T,D] */
  int64_t joined[] = {shape[0], shape[2], layer->heads * layer->value_width};
  th_var *side_by_side = th_permute(seen->heads, (int[]){0, 2, 1, 3});
  return th_nn_linear_forward(&layer->out, th_reshape(side_by_side, 3, joined));
}

th_var *th_nn_attention_forward(const th_nn_attention *layer, th_var *x, th_var *memory, const th_mask *mask,
                                const th_tap *tap) {
  th_seen seen = {0};
  if (th_tape_error(x->tape)) return x;
  if (!layer->heads) return bias_alone(layer, x);
  project_all(layer, x, memory ? memory : x, &seen);
  seen.query = th_nn_positions_turn(layer->positions, seen.query, 0);
  seen.key = th_nn_positions_turn(layer->positions, seen.key, 0);
  if (th_tape_error(x->tape)) return x;
  return attend(layer, &seen, mask, tap);
}

/* ---- with remembered keys and values ------------------------------------------------------------------- */

th_nn_cache th_nn_cache_new(th_tape *tape, const th_nn_attention *layer, int64_t batch, int64_t room) {
  th_dtype dtype = layer->out.bias->value.dtype;
  th_nn_cache cache = {0};
  if (th_keep_tensor(tape, &cache.key, dtype, 4, (int64_t[]){batch, layer->heads, room, layer->key_width}))
    th_keep_tensor(tape, &cache.value, dtype, 4, (int64_t[]){batch, layer->heads, room, layer->value_width});
  return cache;
}

void th_nn_attention_remember(const th_nn_attention *layer, th_nn_cache *cache, th_var *memory) {
  int64_t h = layer->heads, d = layer->key_width, v = layer->value_width, end = h * (2 * d + v);
  th_tape *tape = memory->tape;
  if (!h) return;
  th_var *both = project(layer, memory, h * d, end);
  th_var *value = split_heads(both, h * d, h, v);
  th_var *key = th_nn_positions_turn(layer->positions, split_heads(both, 0, h, d), cache->length);
  if (th_tape_error(tape)) return;
  int64_t next = cache->length + memory->value.shape[1];
  th_var *keys =
      th_slice(th_constant(tape, &cache->key), 2, cache->length, next); /* fails where there is no room */
  th_var *values = th_slice(th_constant(tape, &cache->value), 2, cache->length, next);
  if (!th_tape_error(tape) && !th_tensor_same_shape(&key->value, &keys->value))
    th_tape_fail(tape, TH_ESHAPE, "attention",
                 "what is to be remembered is of another batch size than the cache");
  if (th_tape_error(tape)) return;
  th_k_copy(NULL, &key->value, &keys->value);
  th_k_copy(NULL, &value->value, &values->value);
  cache->length = next;
}

th_var *th_nn_attention_recall(const th_nn_attention *layer, const th_nn_cache *cache, th_var *x,
                               const th_mask *mask, const th_tap *tap) {
  th_tensor keys, values;
  if (!layer->heads) return bias_alone(layer, x);
  th_seen seen = {.query = split_heads(project(layer, x, 0, layer->heads * layer->key_width), 0, layer->heads,
                                       layer->key_width)};
  if (th_tape_error(x->tape)) return x;
  seen.query = th_nn_positions_turn(layer->positions, seen.query, cache->length - x->value.shape[1]);
  th_view_slice(&keys, &cache->key, 2, 0, cache->length);
  th_view_slice(&values, &cache->value, 2, 0, cache->length);
  seen.key = th_constant(x->tape, &keys);
  seen.value = th_constant(x->tape, &values);
  if (th_tape_error(x->tape)) return x;
  return attend(layer, &seen, mask, tap);
}
