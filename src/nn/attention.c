#include "gates.h"
#include "methods.h"
#include "name.h"

#include "../tensor/kernels.h"

#include <math.h>

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

static void check_config(th_params *set, const char *name, const th_nn_attention_config *c, int64_t whole) {
  th_error error;
  if (c->heads < 1 || c->key_width < 0 || c->value_width < 0)
    th_params_refuse(set, TH_EINVAL, name, "heads must be at least 1 and their widths not negative");
  else if ((!c->key_width || !c->value_width) && c->width % whole)
    th_params_refuse(set, TH_EINVAL, name, "the heads do not divide the width");
  else if (!are_some_of(&c->kept, whole))
    th_params_refuse(set, TH_EINVAL, name,
                     "the heads that are kept must be rising numbers below their count");
  else if (th_nn_method_check(&c->method, c->heads, c->kind == TH_CROSS, &error))
    th_params_refuse(set, error.status, name, error.text);
  else if (c->kept.number && !th_attention_traits_of(c->method.kind)->prunes)
    th_params_refuse(set, TH_EINVAL, name, "no single heads can be left out of this method");
}

th_nn_attention th_nn_attention_make(th_params *set, const char *name, const th_nn_attention_config *c) {
  int64_t whole = c->heads > 0 ? c->heads : 1, even = c->width / whole;
  int64_t heads = c->kept.number ? c->kept.count : whole;
  const th_nn_method *method = &c->method;
  const th_attention_traits *traits = th_attention_traits_of(method->kind);
  bool grouped = method->kind == TH_ATTENTION_GROUPED;
  th_nn_attention layer = {.method = *method,
                           .width = c->width,
                           .heads = heads,
                           .key_heads = method->kind == TH_ATTENTION_COLLABORATIVE ? 1
                                        : grouped                                  ? method->key_heads
                                                                                   : heads,
                           .value_heads = grouped ? method->key_heads : heads,
                           .whole = whole,
                           .number = c->kept.number,
                           .key_width = c->key_width ? c->key_width : even,
                           .value_width = c->value_width ? c->value_width : even,
                           .dropout = traits && traits->dropout ? c->dropout : 0,
                           .kind = c->kind,
                           .layer = c->layer,
                           .head_dropout = c->head_dropout};
  char out[TH_NAME_MAX];
  check_config(set, name, c, whole);
  th_name_under(out, name, "out_proj");
  if (!heads) {
    layer.out.bias = th_params_add(set, out, "bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &c->width);
    return layer;
  }
  th_nn_projections_make(set, name, &layer);
  layer.out = th_nn_linear_make(set, out, heads * layer.value_width, c->width, true);
  if (c->gates)
    layer.gate_logits = th_params_add(set, name, "gate_logits",
                                      (th_init){.kind = TH_INIT_CONSTANT, .scale = TH_GATE_LOGIT}, 1, &heads);
  if (layer.gate_logits) layer.gate_logits->rate = TH_GATE_RATE;
  if (method->kind != TH_ATTENTION_TALKING) return layer;
  th_init own = {.kind = TH_INIT_BLOCKS}; /* each head its own: what full attention does */
  layer.mix_scores = th_params_add(set, name, "mix_scores", own, 2, (int64_t[]){heads, heads});
  layer.mix_weights = th_params_add(set, name, "mix_weights", own, 2, (int64_t[]){heads, heads});
  return layer;
}

int64_t th_nn_head_number(const th_nn_attention *layer, int64_t place) {
  return layer->number ? layer->number[place] : place;
}

/* What an attention without heads says of x [B,T,E]: [B,T,E]. */
static th_var *bias_alone(const th_nn_attention *layer, th_var *x) {
  return th_broadcast(th_use(x->tape, layer->out.bias), x->value.ndim, x->value.shape);
}

/* From what the heads said [B,H,T,V] on: gates, tap, output projection. */
static th_var *conclude(const th_nn_attention *layer, th_var *heads, th_seen *seen, const th_packing *packing,
                        const th_tap *tap) {
  seen->heads = th_nn_gated(layer, heads);
  if (th_tape_error(heads->tape)) return heads;
  if (tap) tap->see(tap->context, layer, seen);
  const int64_t *shape = seen->query->value.shape; /* [B,H,T,..] */
  int64_t joined[] = {shape[0], shape[2], layer->heads * layer->value_width};
  th_var *side_by_side = th_permute(seen->heads, (int[]){0, 2, 1, 3});
  return th_nn_linear_forward(&layer->out, th_pack(packing, th_reshape(side_by_side, 3, joined)));
}

/* From query, key and value on. */
static th_var *attend(const th_nn_attention *layer, th_seen *seen, const th_packing *packing,
                      const th_mask *mask, const th_tap *tap) {
  th_attention_options options = {.dropout = layer->dropout, .scale = 1 / sqrt((double)layer->key_width)};
  if (mask) options.mask = *mask;
  options.mask.window = layer->method.window;
  options.bias = th_nn_positions_bias(layer->positions, layer, seen->query, seen->key->value.shape[2]);
  return conclude(layer, th_nn_heads_say(layer, seen, &options, tap), seen, packing, tap);
}

th_var *th_nn_attention_packed(const th_nn_attention *layer, th_var *x, const th_packing *packing,
                               th_var *memory, const th_packing *memory_packing, const th_mask *mask,
                               const th_tap *tap) {
  th_seen seen = {0};
  if (th_tape_error(x->tape)) return x;
  if (!layer->heads) return bias_alone(layer, x);
  th_nn_project(layer, x, packing, memory ? memory : x, memory ? memory_packing : packing, &seen);
  seen.query = th_nn_positions_turn(layer->positions, seen.query, 0);
  seen.key = th_nn_positions_turn(layer->positions, seen.key, 0);
  if (th_tape_error(x->tape)) return x;
  return attend(layer, &seen, packing, mask, tap);
}

th_var *th_nn_attention_forward(const th_nn_attention *layer, th_var *x, th_var *memory, const th_mask *mask,
                                const th_tap *tap) {
  return th_nn_attention_packed(layer, x, NULL, memory, NULL, mask, tap);
}

/* ---- with remembered keys and values ------------------------------------------------------------------- */

th_nn_cache th_nn_cache_new(th_tape *tape, const th_nn_attention *layer, int64_t batch, int64_t room) {
  th_dtype dtype = layer->out.bias->value.dtype;
  int64_t h = layer->heads, d = th_nn_key_depth(layer), v = layer->value_width;
  th_nn_cache cache = {0};
  if (layer->method.kind == TH_ATTENTION_LINEAR) {
    if (th_keep_tensor(tape, &cache.state, dtype, 4, (int64_t[]){batch, h, d, v + 1}))
      th_fill(&cache.state, 0);
  } else if (th_keep_tensor(tape, &cache.key, dtype, 4, (int64_t[]){batch, layer->key_heads, room, d}))
    th_keep_tensor(tape, &cache.value, dtype, 4, (int64_t[]){batch, layer->value_heads, room, v});
  return cache;
}

/* Appends keys and values to those of the cache. */
static void append(th_nn_cache *cache, const th_seen *seen) {
  th_tape *tape = seen->key->tape;
  if (th_tape_error(tape)) return;
  int64_t next = cache->length + seen->key->value.shape[2];
  th_var *keys =
      th_slice(th_constant(tape, &cache->key), 2, cache->length, next); /* fails where there is no room */
  th_var *values = th_slice(th_constant(tape, &cache->value), 2, cache->length, next);
  if (!th_tape_error(tape) && !th_tensor_same_shape(&seen->key->value, &keys->value))
    th_tape_fail(tape, TH_ESHAPE, "attention",
                 "what is to be remembered is of another batch size than the cache");
  if (th_tape_error(tape)) return;
  th_k_copy(NULL, &seen->key->value, &keys->value);
  th_k_copy(NULL, &seen->value->value, &values->value);
  cache->length = next;
}

/* ---- linear attention remembers sums ------------------------------------------------------------------- */

static bool is_linear(const th_nn_attention *layer) { return layer->method.kind == TH_ATTENTION_LINEAR; }

/* seen's keys and values into the sums, and what its queries find there: either may be none. */
static th_var *with_sums(const th_nn_cache *cache, const th_seen *seen, bool causal, const int32_t *length) {
  return th_linear_attention(
      seen->query, seen->key, seen->value,
      &(th_linear_attention_options){.causal = causal, .key_length = length, .state = &cache->state});
}

/* x [B,H,T,..] without its rows: [B,H,0,..]. */
static th_var *none_of(th_var *x) { return th_slice(x, 2, 0, 0); }

static void remember_sums(const th_nn_attention *layer, th_nn_cache *cache, th_var *memory,
                          const int32_t *length) {
  th_seen seen = {0};
  th_nn_project_memory(layer, memory, NULL, &seen);
  seen.query = none_of(seen.key);
  with_sums(cache, &seen, false, length);
  if (!th_tape_error(memory->tape)) cache->length += memory->value.shape[1];
}

static th_var *recall_sums(const th_nn_attention *layer, const th_nn_cache *cache, th_var *x) {
  th_seen seen = {0};
  int64_t none[] = {x->value.shape[0], layer->heads, 0, layer->value_width};
  th_tensor no_values = th_tensor_of(cache->state.data, cache->state.dtype, 4, none);
  th_nn_project_query(layer, x, NULL, &seen);
  seen.key = none_of(seen.query);
  seen.value = th_constant(x->tape, &no_values);
  return conclude(layer, with_sums(cache, &seen, false, NULL), &seen, NULL, NULL);
}

static th_var *step_with_sums(const th_nn_attention *layer, th_nn_cache *cache, th_var *x) {
  th_seen seen = {0};
  th_nn_project(layer, x, NULL, x, NULL, &seen);
  th_var *heads = with_sums(cache, &seen, true, NULL);
  if (!th_tape_error(x->tape)) cache->length += x->value.shape[1];
  return conclude(layer, heads, &seen, NULL, NULL);
}

/* What sums are made of cannot be told from them. */
static bool refuses_tap(const th_nn_attention *layer, th_tape *tape, const th_tap *tap) {
  if (tap && is_linear(layer))
    th_tape_fail(tape, TH_EINVAL, "linear attention",
                 "it remembers sums of keys, which show no weights: look at a whole sequence at once");
  return th_tape_error(tape);
}

/* ---- the others, keys and values ------------------------------------------------------------------------ */

void th_nn_attention_remember(const th_nn_attention *layer, th_nn_cache *cache, th_var *memory,
                              const int32_t *length) {
  th_seen seen = {0};
  if (!layer->heads) return;
  if (is_linear(layer)) {
    remember_sums(layer, cache, memory, length);
    return;
  }
  th_nn_project_memory(layer, memory, NULL, &seen);
  seen.key = th_nn_positions_turn(layer->positions, seen.key, cache->length);
  append(cache, &seen);
}

/* Of what is cached, what n new queries can see at all. */
static void seen_of_cache(const th_nn_attention *layer, const th_nn_cache *cache, th_tape *tape, int64_t n,
                          th_seen *seen) {
  th_tensor keys, values;
  int64_t window = layer->method.window, most = window ? window - 1 + n : cache->length;
  int64_t from = most < cache->length ? cache->length - most : 0;
  th_view_slice(&keys, &cache->key, 2, from, cache->length);
  th_view_slice(&values, &cache->value, 2, from, cache->length);
  seen->key = th_constant(tape, &keys);
  seen->value = th_constant(tape, &values);
}

th_var *th_nn_attention_recall(const th_nn_attention *layer, const th_nn_cache *cache, th_var *x,
                               const th_mask *mask, const th_tap *tap) {
  th_seen seen = {0};
  if (!layer->heads) return bias_alone(layer, x);
  if (refuses_tap(layer, x->tape, tap)) return x;
  if (is_linear(layer)) return recall_sums(layer, cache, x);
  th_nn_project_query(layer, x, NULL, &seen);
  if (th_tape_error(x->tape)) return x;
  int64_t n = x->value.shape[1];
  seen.query = th_nn_positions_turn(layer->positions, seen.query, cache->length - n);
  seen_of_cache(layer, cache, x->tape, n, &seen);
  if (th_tape_error(x->tape)) return x;
  return attend(layer, &seen, NULL, mask, tap);
}

th_var *th_nn_attention_step(const th_nn_attention *layer, th_nn_cache *cache, th_var *x, const th_tap *tap) {
  if (!layer->heads) return bias_alone(layer, x);
  if (refuses_tap(layer, x->tape, tap)) return x;
  if (is_linear(layer)) return step_with_sums(layer, cache, x);
  th_seen seen = {0};
  th_nn_project(layer, x, NULL, x, NULL, &seen);
  seen.query = th_nn_positions_turn(layer->positions, seen.query, cache->length);
  seen.key = th_nn_positions_turn(layer->positions, seen.key, cache->length);
  append(cache, &seen);
  if (th_tape_error(x->tape)) return x;
  seen_of_cache(layer, cache, x->tape, x->value.shape[1], &seen);
  return attend(layer, &seen, NULL, &(th_mask){.causal = true}, tap);
}
