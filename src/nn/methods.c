/* The family of attention: what each method can do, and what its heads say. */
#include "methods.h"

#include "../autograd/ops.h"

#include <string.h>

/* ---- what each can do ------------------------------------------------------------------------------------- */

static const th_attention_traits traits[TH_ATTENTION_METHODS] = {
    [TH_ATTENTION_FULL] = {.name = "full",
                           .source = "Vaswani et al. 2017, section 3.2.2",
                           .cross = true,
                           .causal = true,
                           .padding = true,
                           .allowed = true,
                           .biases = true,
                           .rotary = true,
                           .dropout = true,
                           .rows_sum_to_one = true,
                           .prunes = true,
                           .time = "T S (D + V)",
                           .memory = "T + S",
                           .cache = "S H (D + V)"},
    [TH_ATTENTION_GROUPED] = {.name = "grouped",
                              .source = "Shazeer 2019, section 3; Ainslie et al. 2023, section 2.2",
                              .cross = true,
                              .causal = true,
                              .padding = true,
                              .allowed = true,
                              .biases = true,
                              .rotary = true,
                              .dropout = true,
                              .rows_sum_to_one = true,
                              .time = "T S (D + V)",
                              .memory = "T + S",
                              .cache = "S K (D + V)"},
    [TH_ATTENTION_COLLABORATIVE] = {.name = "collaborative",
                                    .source = "Cordonnier et al. 2020, section 3",
                                    .cross = true,
                                    .causal = true,
                                    .padding = true,
                                    .allowed = true,
                                    .biases = true,
                                    .dropout = true,
                                    .rows_sum_to_one = true,
                                    .prunes = true,
                                    .time = "T S (shared + V)",
                                    .memory = "T + S",
                                    .cache = "S (shared + H + H V)"},
    [TH_ATTENTION_LOCAL] = {.name = "local",
                            .source = "Beltagy et al. 2020, section 3.1",
                            .causal = true,
                            .padding = true,
                            .allowed = true,
                            .biases = true,
                            .rotary = true,
                            .dropout = true,
                            .rows_sum_to_one = true,
                            .prunes = true,
                            .time = "T window (D + V)",
                            .memory = "T",
                            .cache = "S H (D + V), of which a step reads a window"},
    [TH_ATTENTION_LINEAR] = {.name = "linear",
                             .source = "Katharopoulos et al. 2020, section 3.2",
                             .cross = true,
                             .causal = true,
                             .padding = true,
                             .rows_sum_to_one = true,
                             .prunes = true,
                             .time = "(T + S) D V",
                             .memory = "T + S",
                             .cache = "H D (V + 1)"},
    [TH_ATTENTION_TALKING] = {.name = "talking",
                              .source = "Shazeer et al. 2020, section 4",
                              .cross = true,
                              .causal = true,
                              .padding = true,
                              .allowed = true,
                              .biases = true,
                              .rotary = true,
                              .dropout = true,
                              .time = "T S (D + V + 2 H)",
                              .memory = "T S",
                              .cache = "S H (D + V)"},
    [TH_ATTENTION_LSH] = {.name = "lsh",
                          .source = "Kitaev et al. 2020, section 2",
                          .causal = true,
                          .padding = true,
                          .rows_sum_to_one = true,
                          .prunes = true,
                          .time = "T rounds (log T + chunk (D + V))",
                          .memory = "T rounds",
                          .cache = "S H (D + V)"},
};

const th_attention_traits *th_attention_traits_of(th_attention_method kind) {
  return (unsigned)kind < TH_ATTENTION_METHODS ? &traits[kind] : NULL;
}

/* ---- what fits a method ------------------------------------------------------------------------------------- */

enum { LARGEST = 1 << 24 };

static th_status check_own(const th_nn_method *m, int64_t heads, th_error *error) {
  if (m->kind == TH_ATTENTION_GROUPED && (m->key_heads > heads || heads % m->key_heads))
    return th_error_set(error, TH_EINVAL, "%lld key heads do not divide %lld heads", (long long)m->key_heads,
                        (long long)heads);
  if (m->kind == TH_ATTENTION_LSH && m->buckets != 1 && m->buckets % 2)
    return th_error_set(error, TH_EINVAL, "%lld buckets: want an even number, or 1 for no hashing",
                        (long long)m->buckets);
  return TH_OK;
}

th_status th_nn_method_check(const th_nn_method *m, int64_t heads, bool cross, th_error *error) {
  const th_attention_traits *own = th_attention_traits_of(m->kind);
  if (!own) return th_error_set(error, TH_EINVAL, "the attention's method is none that there is");
  const struct {
    const char *name;
    th_attention_method of;
    int64_t value, least, most;
  } numbers[] = {{"key heads", TH_ATTENTION_GROUPED, m->key_heads, 1, LARGEST},
                 {"the shared width", TH_ATTENTION_COLLABORATIVE, m->shared_width, 1, LARGEST},
                 {"the window", TH_ATTENTION_LOCAL, m->window, 1, LARGEST},
                 {"rounds", TH_ATTENTION_LSH, m->rounds, 1, TH_LSH_ROUNDS_MAX},
                 {"buckets", TH_ATTENTION_LSH, m->buckets, 1, TH_LSH_BUCKETS_MAX},
                 {"the chunk", TH_ATTENTION_LSH, m->chunk, 1, LARGEST}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    long long value = (long long)numbers[i].value, least = (long long)numbers[i].least,
              most = (long long)numbers[i].most;
    if (numbers[i].of != m->kind && value)
      return th_error_set(error, TH_EINVAL, "%s: %lld, but %s attention has none: want 0", numbers[i].name,
                          value, own->name);
    if (numbers[i].of == m->kind && (value < least || value > most))
      return th_error_set(error, TH_EINVAL, "%s: %lld: want %lld to %lld", numbers[i].name, value, least,
                          most);
  }
  if (cross && !own->cross)
    return th_error_set(error, TH_EINVAL,
                        "%s attention has no cross-attention: its queries and keys are of one sequence",
                        own->name);
  return check_own(m, heads, error);
}

/* ---- talking heads -------------------------------------------------------------------------------------------- */

/* x [B,H,T,S], of which head h becomes the sum over g of mixing_hg times head g. */
static th_var *mixed(th_var *x, const th_param *mixing) {
  const int64_t *s = x->value.shape;
  if (th_tape_error(x->tape)) return x;
  th_var *flat = th_reshape(x, 3, (int64_t[]){s[0], s[1], s[2] * s[3]});
  return th_reshape(th_matmul(th_use(x->tape, mixing), flat), 4, s);
}

static th_var *talking_weights(const th_nn_attention *layer, const th_seen *seen,
                               const th_attention_options *o) {
  th_var *scores = th_scale(th_matmul(seen->query, th_transpose(seen->key)), o->scale);
  if (o->bias) scores = th_add(scores, o->bias);
  th_var *weights = th_softmax(mixed(scores, layer->mix_scores), &o->mask);
  return mixed(weights, layer->mix_weights);
}

/* ---- all ------------------------------------------------------------------------------------------------------ */

/* Linear attention sees by length and causally, or an error says that it cannot. */
static bool hides_one_by_one(th_tape *tape, const th_attention_options *o) {
  if (o->mask.allowed)
    th_tape_fail(tape, TH_EINVAL, "linear attention", "keys cannot be hidden one by one, by a mask of them");
  return o->mask.allowed;
}

static th_var *linear_say(const th_seen *seen, const th_attention_options *o) {
  th_linear_attention_options options = {.causal = o->mask.causal, .key_length = o->mask.key_length};
  hides_one_by_one(seen->query->tape, o);
  return th_linear_attention(seen->query, seen->key, seen->value, &options);
}

static th_var *linear_weights(const th_seen *seen, const th_attention_options *o) {
  hides_one_by_one(seen->query->tape, o);
  return th_linear_attention_weights(seen->query, seen->key, &o->mask);
}

/* The hash of training is another at each step, that of evaluation always one. */
static th_lsh_options lsh_options(const th_nn_attention *layer, th_tape *tape,
                                  const th_attention_options *o) {
  const th_nn_method *m = &layer->method;
  if (o->mask.allowed)
    th_tape_fail(tape, TH_EINVAL, "LSH attention", "keys cannot be hidden one by one, by a mask of them");
  return (th_lsh_options){.rounds = m->rounds,
                          .buckets = m->buckets,
                          .chunk = m->chunk,
                          .causal = o->mask.causal,
                          .length = o->mask.key_length,
                          .scale = o->scale,
                          .head_number = layer->number,
                          .random = th_tape_training(tape) ? th_tape_draw(tape) : (th_random){0}};
}

/* Of x [B,H,S,..] the rows of the newest queries: [B,H,T,..]. */
static th_var *newest(th_var *x, const th_seen *seen) {
  int64_t all = x->value.shape[2], asked = seen->query->value.shape[2];
  return th_tape_error(x->tape) || all == asked ? x : th_slice(x, 2, all - asked, all);
}

static th_var *lsh_say(const th_nn_attention *layer, const th_seen *seen, const th_attention_options *o) {
  th_lsh_options options = lsh_options(layer, seen->key->tape, o);
  return newest(th_lsh_attention(seen->key, seen->value, &options), seen);
}

/* seen->mask becomes what the rounds let it see. */
static th_var *lsh_weights(const th_nn_attention *layer, th_seen *seen, const th_attention_options *o) {
  th_tape *tape = seen->key->tape;
  th_lsh_options options = lsh_options(layer, tape, o);
  th_mask *mask = th_keep(tape, sizeof *mask);
  th_tensor *visible = th_keep(tape, 2 * sizeof *visible);
  if (!mask || !visible || !th_lsh_visible(seen->key, &options, visible)) return seen->key;
  int64_t all = visible->shape[2];
  th_view_slice(&visible[1], &visible[0], 2, all - seen->query->value.shape[2], all);
  *mask = (th_mask){.allowed = &visible[1]};
  seen->mask = mask;
  seen->key = th_unit_length(seen->key);
  return th_attention_weights(seen->query, seen->key,
                              &(th_attention_options){.mask = *mask, .scale = o->scale});
}

static th_var *weights_of(const th_nn_attention *layer, th_seen *seen, const th_attention_options *o) {
  switch (layer->method.kind) {
  case TH_ATTENTION_LSH: return lsh_weights(layer, seen, o);
  case TH_ATTENTION_LINEAR: return linear_weights(seen, o);
  case TH_ATTENTION_TALKING: return talking_weights(layer, seen, o);
  default: return th_attention_weights(seen->query, seen->key, o);
  }
}

/* What hides keys, for as long as the tape has it. */
static const th_mask *kept_mask(th_tape *tape, const th_mask *mask) {
  th_mask *kept =
      mask->causal || mask->key_length || mask->allowed || mask->window ? th_keep(tape, sizeof *kept) : NULL;
  if (kept) *kept = *mask;
  return kept;
}

static th_var *say_openly(const th_nn_attention *layer, th_seen *seen, const th_attention_options *o) {
  seen->value = th_repeat_heads(seen->value, layer->heads);
  seen->mask = kept_mask(seen->query->tape, &o->mask);
  seen->weights = weights_of(layer, seen, o);
  return th_matmul(th_dropout(seen->weights, o->dropout), seen->value);
}

th_var *th_nn_heads_say(const th_nn_attention *layer, th_seen *seen, const th_attention_options *o,
                        bool open) {
  if (open) return say_openly(layer, seen, o);
  switch (layer->method.kind) {
  case TH_ATTENTION_LSH: return lsh_say(layer, seen, o);
  case TH_ATTENTION_LINEAR: return linear_say(seen, o);
  case TH_ATTENTION_TALKING:
    return th_matmul(th_dropout(talking_weights(layer, seen, o), o->dropout), seen->value);
  default: return th_attention(seen->query, seen->key, seen->value, o);
  }
}
