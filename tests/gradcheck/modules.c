/* Gradcheck cases for the layers: every parameter and every input, against central differences. */
#include "cases.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 2, LENGTH = 3, SOURCE = 4, WIDTH = 8, HEADS = 2, HIDDEN = 12, VOCABULARY = 7 };

static const int32_t source_length[] = {4, 2};

typedef struct fixture fixture;
typedef th_var *forward_function(const fixture *f, th_var *x, th_var *memory);

/* One layer and what calls it; the inputs of a check are x [B,T,E] and memory [B,S,E]. */
struct fixture {
  forward_function *forward;
  th_nn_linear linear;
  th_nn_norm norm;
  th_nn_attention attention;
  th_nn_feed_forward feed_forward;
  th_nn_encoder_layer encoder;
  th_nn_decoder_layer decoder;
};

static int call(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  const fixture *f = context;
  (void)tape;
  out[0] = f->forward(f, in[0], in[1]);
  return 1;
}

/* Norms start at 1 and biases at 0, where a mistake can hide: everything gets a random value. */
static void shake(th_params *set) {
  for (int i = 0; i < th_params_count(set); i++)
    th_fill_uniform(&th_params_at(set, i)->value, -0.8, 0.8, (th_random){9, (uint64_t)i});
}

static th_status check_layer(th_params *set, fixture *f, bool fast, th_gradcheck_report *report,
                             th_error *error) {
  th_tensor x = {0}, memory = {0};
  th_gradcheck_options options = {.fast = fast, .seed = 3};
  th_status status = th_params_make(set, TH_F64, 1, error);
  if (!status) status = th_tensor_new(&x, TH_F64, 3, (int64_t[]){BATCH, LENGTH, WIDTH}, error);
  if (!status) status = th_tensor_new(&memory, TH_F64, 3, (int64_t[]){BATCH, SOURCE, WIDTH}, error);
  if (!status) {
    shake(set);
    th_fill_uniform(&x, -1.5, 1.5, (th_random){8, 0});
    th_fill_uniform(&memory, -1.5, 1.5, (th_random){8, 1});
    status = th_params_gradcheck(set, call, f, 2, (th_tensor *[]){&x, &memory}, &options, report, error);
  }
  th_tensor_free(&x);
  th_tensor_free(&memory);
  th_params_free(set);
  return status;
}

#define LAYER(function) static th_status function(th_error *error, th_gradcheck_report *report, bool fast)

/* ---- the small ones --------------------------------------------------------------------------------- */

static th_var *forward_linear(const fixture *f, th_var *x, th_var *memory) {
  (void)memory;
  return th_nn_linear_forward(&f->linear, x);
}

LAYER(linear) {
  th_params *set = th_params_new();
  fixture f = {.forward = forward_linear, .linear = th_nn_linear_make(set, "linear", WIDTH, 5, true)};
  return check_layer(set, &f, fast, report, error);
}

static th_var *forward_norm(const fixture *f, th_var *x, th_var *memory) {
  (void)memory;
  return th_nn_norm_forward(&f->norm, x);
}

LAYER(norm) {
  th_params *set = th_params_new();
  fixture f = {.forward = forward_norm, .norm = th_nn_norm_make(set, "norm", WIDTH)};
  return check_layer(set, &f, fast, report, error);
}

static th_var *forward_feed_forward(const fixture *f, th_var *x, th_var *memory) {
  (void)memory;
  return th_nn_feed_forward_forward(&f->feed_forward, x);
}

LAYER(feed_forward) {
  th_params *set = th_params_new();
  fixture f = {.forward = forward_feed_forward,
               .feed_forward = th_nn_feed_forward_make(set, "ff", WIDTH, HIDDEN, TH_ACT_GELU, 0)};
  return check_layer(set, &f, fast, report, error);
}

/* ---- attention ---------------------------------------------------------------------------------------- */

static void ignore(void *context, const th_nn_attention *layer, th_seen *seen) {
  (void)context, (void)layer, (void)seen;
}

static th_var *forward_self(const fixture *f, th_var *x, th_var *memory) {
  (void)memory;
  return th_nn_attention_forward(&f->attention, x, NULL, &(th_mask){.causal = true}, NULL);
}

static th_var *forward_cross(const fixture *f, th_var *x, th_var *memory) {
  return th_nn_attention_forward(&f->attention, x, memory, &(th_mask){.key_length = source_length}, NULL);
}

static th_var *forward_tapped(const fixture *f, th_var *x, th_var *memory) {
  return th_nn_attention_forward(&f->attention, x, memory, NULL, &(th_tap){.see = ignore});
}

static th_status attention(forward_function *forward, th_nn_attention_config config, bool separate, bool gate,
                           bool fast, th_gradcheck_report *report, th_error *error) {
  th_params *set = th_params_new();
  config.width = WIDTH, config.heads = HEADS;
  fixture f = {.forward = forward, .attention = th_nn_attention_make(set, "attention", &config)};
  f.attention.separate = separate;
  if (gate)
    f.attention.gate =
        th_params_add(set, "attention", "gate", (th_init){.kind = TH_INIT_ONES}, 1, (int64_t[]){HEADS});
  return check_layer(set, &f, fast, report, error);
}

LAYER(self_fused) {
  return attention(forward_self, (th_nn_attention_config){0}, false, false, fast, report, error);
}
LAYER(self_separate) {
  return attention(forward_self, (th_nn_attention_config){0}, true, true, fast, report, error);
}
LAYER(cross) {
  return attention(forward_cross, (th_nn_attention_config){0}, false, true, fast, report, error);
}
LAYER(cross_widths) {
  return attention(forward_cross, (th_nn_attention_config){.key_width = 3, .value_width = 2}, false, false,
                   fast, report, error);
}
LAYER(tapped) {
  return attention(forward_tapped, (th_nn_attention_config){0}, false, true, fast, report, error);
}

/* ---- other ways to attend ------------------------------------------------------------------------------ */

#define METHOD(function, forward, ...) \
  LAYER(function) { \
    th_nn_attention_config config = {.method = {__VA_ARGS__}}; \
    return attention(forward, config, false, true, fast, report, error); \
  }

METHOD(multi_query_self, forward_self, .kind = TH_ATTENTION_GROUPED, .key_heads = 1)
METHOD(multi_query_cross, forward_cross, .kind = TH_ATTENTION_GROUPED, .key_heads = 1)
METHOD(collaborative_self, forward_self, .kind = TH_ATTENTION_COLLABORATIVE, .shared_width = 5)
METHOD(collaborative_cross, forward_cross, .kind = TH_ATTENTION_COLLABORATIVE, .shared_width = 5)
METHOD(collaborative_tapped, forward_tapped, .kind = TH_ATTENTION_COLLABORATIVE, .shared_width = 3)
METHOD(local_self, forward_self, .kind = TH_ATTENTION_LOCAL, .window = 2)
METHOD(linear_self, forward_self, .kind = TH_ATTENTION_LINEAR)
METHOD(linear_cross, forward_cross, .kind = TH_ATTENTION_LINEAR)
METHOD(linear_tapped, forward_tapped, .kind = TH_ATTENTION_LINEAR)
METHOD(lsh_self, forward_self, .kind = TH_ATTENTION_LSH, .rounds = 2, .buckets = 2, .chunk = 2)
METHOD(talking_self, forward_self, .kind = TH_ATTENTION_TALKING)
METHOD(talking_cross, forward_cross, .kind = TH_ATTENTION_TALKING)

/* ---- gates, dropout of heads, disagreement ------------------------------------------------------------- */

static th_var *forward_special(const fixture *f, th_var *x, th_var *memory) {
  th_tape_train(x->tape, true);
  th_tape_seed(x->tape, 6, 1); /* which drops one head of one sequence */
  return forward_cross(f, x, memory);
}

LAYER(gates_and_head_dropout) {
  return attention(forward_special, (th_nn_attention_config){.gates = true, .head_dropout = 0.4}, false, true,
                   fast, report, error);
}
LAYER(quiet_gates) {
  return attention(forward_cross, (th_nn_attention_config){.gates = true, .head_dropout = 0.4}, false, false,
                   fast, report, error);
}

typedef struct watch {
  th_disagreement of;
  th_var *found;
} watch;

static void keep_disagreement(void *context, const th_nn_attention *layer, th_seen *seen) {
  watch *w = context;
  (void)layer;
  w->found = th_nn_disagreement(seen, w->of, (const int32_t[]){3, 1}, source_length);
}

static th_var *disagree(const fixture *f, th_var *x, th_var *memory, th_disagreement of) {
  watch w = {.of = of};
  th_nn_attention_forward(&f->attention, x, memory, &(th_mask){.key_length = source_length},
                          &(th_tap){keep_disagreement, &w});
  return w.found;
}

static th_var *forward_subspace(const fixture *f, th_var *x, th_var *memory) {
  return disagree(f, x, memory, TH_DISAGREE_SUBSPACE);
}
static th_var *forward_positions(const fixture *f, th_var *x, th_var *memory) {
  return disagree(f, x, memory, TH_DISAGREE_POSITIONS);
}
static th_var *forward_outputs(const fixture *f, th_var *x, th_var *memory) {
  return disagree(f, x, memory, TH_DISAGREE_OUTPUTS);
}

LAYER(subspace) {
  return attention(forward_subspace, (th_nn_attention_config){0}, false, false, fast, report, error);
}
LAYER(attended_positions) {
  return attention(forward_positions, (th_nn_attention_config){0}, false, false, fast, report, error);
}
LAYER(outputs) {
  return attention(forward_outputs, (th_nn_attention_config){0}, false, false, fast, report, error);
}

/* ---- encoder and decoder layers ------------------------------------------------------------------------- */

static th_nn_layer_config layer_config(bool pre) {
  return (th_nn_layer_config){.width = WIDTH,
                              .heads = HEADS,
                              .feed_forward = HIDDEN,
                              .norm_first = pre,
                              .activation = pre ? TH_ACT_GELU_TANH : TH_ACT_RELU};
}

static th_var *forward_encoder(const fixture *f, th_var *x, th_var *memory) {
  (void)memory;
  const int32_t length[] = {3, 2};
  return th_nn_encoder_layer_forward(&f->encoder, x, &(th_mask){.key_length = length}, NULL);
}

static th_status encoder(bool pre, bool fast, th_gradcheck_report *report, th_error *error) {
  th_params *set = th_params_new();
  th_nn_layer_config config = layer_config(pre);
  fixture f = {.forward = forward_encoder, .encoder = th_nn_encoder_layer_make(set, "encoder", &config, 0)};
  return check_layer(set, &f, fast, report, error);
}

LAYER(encoder_pre) { return encoder(true, fast, report, error); }
LAYER(encoder_post) { return encoder(false, fast, report, error); }

static th_var *forward_decoder(const fixture *f, th_var *x, th_var *memory) {
  return th_nn_decoder_layer_forward(&f->decoder, x, memory, &(th_mask){.causal = true},
                                     &(th_mask){.key_length = source_length}, NULL);
}

static th_status decoder(bool pre, bool fast, th_gradcheck_report *report, th_error *error) {
  th_params *set = th_params_new();
  th_nn_layer_config config = layer_config(pre);
  fixture f = {.forward = forward_decoder, .decoder = th_nn_decoder_layer_make(set, "decoder", &config, 0)};
  return check_layer(set, &f, fast, report, error);
}

LAYER(decoder_pre) { return decoder(true, fast, report, error); }
LAYER(decoder_post) { return decoder(false, fast, report, error); }

/* ---- the whole Transformer, down to the loss ---------------------------------------------------------------- */

static int32_t source_ids[] = {3, 5, 2, 6, /**/ 4, 2, 0, 0}, begin_ids[] = {1, 4, 5, /**/ 1, 6, 0},
               target_ids[] = {4, 5, 2, /**/ 6, 2, -1}, class_ids[] = {2, 0};

static int transformer_loss(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  static const int32_t begin_length[] = {3, 2};
  const th_transformer *m = context;
  th_tensor target = th_tensor_of(target_ids, TH_I32, 2, (int64_t[]){BATCH, LENGTH});
  th_batch batch = {.source = th_tensor_of(source_ids, TH_I32, 2, (int64_t[]){BATCH, SOURCE}),
                    .source_length = source_length,
                    .input = th_tensor_of(begin_ids, TH_I32, 2, (int64_t[]){BATCH, LENGTH}),
                    .input_length = begin_length,
                    .output = target};
  if (m->config.shape == TH_ENCODER_ONLY)
    batch.output = th_tensor_of(class_ids, TH_I32, 1, (int64_t[]){BATCH});
  (void)in;
  th_tape_train(tape, true);
  th_tape_seed(tape, 4, 1);
  out[0] = th_transformer_loss(m, tape, &batch, 0.1, NULL);
  th_var *open = th_transformer_open_heads(m, tape);
  if (open) out[0] = th_add(out[0], th_scale(open, 0.3));
  return 1;
}

static th_status transformer(th_transformer_config config, bool pre, double dropout, bool fast,
                             th_gradcheck_report *report, th_error *error) {
  if (config.shape != TH_DECODER_ONLY) config.source_vocabulary = VOCABULARY, config.encoder_layers = 2;
  if (config.shape != TH_ENCODER_ONLY) config.target_vocabulary = VOCABULARY, config.decoder_layers = 2;
  else config.classes = 3;
  config.max_length = 6;
  config.final_norm = pre;
  th_nn_layer_config given = config.layer;
  config.layer = layer_config(pre);
  config.layer.dropout = dropout;
  config.layer.attention = given.attention;
  config.layer.feed_forward_chunks = given.feed_forward_chunks;
  config.layer.head_gates = given.head_gates;
  config.layer.head_dropout = given.head_gates ? 0.3 : 0;
  th_transformer *model = NULL;
  th_gradcheck_options options = {.fast = fast, .seed = 3};
  th_status status = th_transformer_new(&model, &config, TH_F64, 1, error);
  if (status) return status;
  shake(model->params);
  status = th_params_gradcheck(model->params, transformer_loss, model, 0, NULL, &options, report, error);
  th_transformer_free(model);
  return status;
}

#define TRANSFORMER(name, pre, dropout, ...) \
  LAYER(name) { return transformer((th_transformer_config){__VA_ARGS__}, pre, dropout, fast, report, error); }
TRANSFORMER(transformer_post, false, 0, .positions = TH_POSITIONS_SINUSOIDAL)
TRANSFORMER(transformer_pre, true, 0.2, .positions = TH_POSITIONS_LEARNED)
TRANSFORMER(transformer_rotary, true, 0, .positions = TH_POSITIONS_ROTARY)
TRANSFORMER(transformer_alibi, true, 0, .positions = TH_POSITIONS_ALIBI)
TRANSFORMER(transformer_relative, true, 0.2, .positions = TH_POSITIONS_RELATIVE)
TRANSFORMER(transformer_none, true, 0, .positions = TH_POSITIONS_NONE)
TRANSFORMER(transformer_tied, false, 0, .tie_source = true, .tie_output = true)
TRANSFORMER(transformer_gated, true, 0.2, .layer.head_gates = true)
TRANSFORMER(reversible, true, 0.2, .reversible = true, .positions = TH_POSITIONS_RELATIVE)
TRANSFORMER(reversible_chunks, true, 0.2, .reversible = true, .layer.feed_forward_chunks = 3)
TRANSFORMER(chunks, false, 0.2, .layer.feed_forward_chunks = 2)
TRANSFORMER(reversible_decoder_only, true, 0.2, .shape = TH_DECODER_ONLY, .reversible = true,
            .layer.attention = {.kind = TH_ATTENTION_LSH, .rounds = 2, .buckets = 2, .chunk = 2})
TRANSFORMER(decoder_only_gated, true, 0, .shape = TH_DECODER_ONLY, .layer.head_gates = true)
TRANSFORMER(decoder_only, true, 0.2, .shape = TH_DECODER_ONLY, .tie_output = true)
TRANSFORMER(encoder_only, false, 0, .shape = TH_ENCODER_ONLY, .positions = TH_POSITIONS_RELATIVE)
/* One head of the first attention and both of the fourth. */
TRANSFORMER(pruned, true, 0.2, .positions = TH_POSITIONS_RELATIVE,
            .removed = (const bool[6 * HEADS]){[0] = true, [3 * HEADS] = true, [3 * HEADS + 1] = true})

#define MODULE(name, what, check) \
  { name, what, NULL, 0, {{0}}, 0, 0, check }
const gradcheck_case module_cases[] = {
    MODULE("linear layer", "", linear),
    MODULE("layer norm layer", "", norm),
    MODULE("feed-forward", "gelu", feed_forward),
    MODULE("multi-head attention", "self, fused", self_fused),
    MODULE("multi-head attention", "self, separate, gated", self_separate),
    MODULE("multi-head attention", "cross, gated", cross),
    MODULE("multi-head attention", "cross, own widths", cross_widths),
    MODULE("multi-head attention", "tapped, gated", tapped),
    MODULE("multi-head attention", "gates, head dropout", gates_and_head_dropout),
    MODULE("multi-head attention", "gates without noise", quiet_gates),
    MODULE("multi-query attention", "self", multi_query_self),
    MODULE("multi-query attention", "cross", multi_query_cross),
    MODULE("collaborative attention", "self", collaborative_self),
    MODULE("collaborative attention", "cross", collaborative_cross),
    MODULE("collaborative attention", "tapped", collaborative_tapped),
    MODULE("local attention", "self", local_self),
    MODULE("linear attention", "self", linear_self),
    MODULE("linear attention", "cross", linear_cross),
    MODULE("linear attention", "tapped", linear_tapped),
    MODULE("LSH attention", "self", lsh_self),
    MODULE("talking heads", "self", talking_self),
    MODULE("talking heads", "cross", talking_cross),
    MODULE("disagreement", "subspace", subspace),
    MODULE("disagreement", "positions", attended_positions),
    MODULE("disagreement", "outputs", outputs),
    MODULE("encoder layer", "post-norm", encoder_post),
    MODULE("encoder layer", "pre-norm", encoder_pre),
    MODULE("decoder layer", "post-norm", decoder_post),
    MODULE("decoder layer", "pre-norm", decoder_pre),
    MODULE("Transformer", "post-norm", transformer_post),
    MODULE("Transformer", "pre-norm, dropout", transformer_pre),
    MODULE("Transformer", "rotary", transformer_rotary),
    MODULE("Transformer", "ALiBi", transformer_alibi),
    MODULE("Transformer", "relative, dropout", transformer_relative),
    MODULE("Transformer", "no positions", transformer_none),
    MODULE("Transformer", "all tied", transformer_tied),
    MODULE("Transformer", "gates, head dropout", transformer_gated),
    MODULE("Transformer", "reversible, dropout", reversible),
    MODULE("Transformer", "reversible, chunks", reversible_chunks),
    MODULE("Transformer", "chunks", chunks),
    MODULE("Transformer", "reversible, LSH", reversible_decoder_only),
    MODULE("Transformer", "decoder-only, gates", decoder_only_gated),
    MODULE("Transformer", "decoder-only, tied", decoder_only),
    MODULE("Transformer", "encoder-only, relative", encoder_only),
    MODULE("Transformer", "pruned, relative, dropout", pruned),
    {NULL, NULL, NULL, 0, {{0}}, 0, 0, NULL}};
