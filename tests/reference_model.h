/* The model in transformer.safetensors, and its sentences. */
#ifndef TESTS_REFERENCE_MODEL_H
#define TESTS_REFERENCE_MODEL_H

#include "reference_file.h"
#include "tapehead/nn.h"

static inline th_activation activation_of(const reference *r) {
  const char *word = reference_word(r, "activation");
  bool relu = !strcmp(word, "relu");
  cr_assert(relu || !strcmp(word, "gelu_erf"), "%s: no such activation: %s", r->path, word);
  return relu ? TH_ACT_RELU : TH_ACT_GELU;
}

/* What stands before a parameter's name in a file: our encoder and decoder are members of the model, theirs
 * of an nn.Transformer within it. */
static inline const char *before_name(const char *name) {
  return !strncmp(name, "encoder.", 8) || !strncmp(name, "decoder.", 8) ? "transformer." : "";
}

/* Each of our parameters must be in the file; that each of the file's is one of ours, assert_all_used holds. */
static inline void take_parameters(reference *r, th_params *set) {
  char name[TH_NAME_MAX + 32];
  for (int i = 0; i < th_params_count(set); i++) {
    const th_param *param = th_params_at(set, i);
    snprintf(name, sizeof name, "param.%s%s", before_name(param->name), param->name);
    th_tensor theirs = reference_take(r, name);
    cr_assert_eq(th_tensor_copy(&param->value, &theirs, NULL), TH_OK, "%s has another shape", name);
  }
}

typedef struct translation {
  th_transformer *model;
  const th_tensor *source, *target_in;
  th_tensor target_out;
  const int32_t *source_lengths, *target_lengths;
  double smoothing;
  th_var *memory, *logits, *loss; /* of the last forward pass */
} translation;

/* The model at its first parameters, and the sentences. */
static inline translation open_translation(reference *r) {
  th_error error;
  translation t = {.source = reference_find(r, "source"),
                   .target_in = reference_find(r, "target_in"),
                   .target_out = reference_targets(r, "target_out", reference_number(r, "padding_id")),
                   .source_lengths = reference_ids(r, "source_lengths"),
                   .target_lengths = reference_ids(r, "target_lengths"),
                   .smoothing = reference_number(r, "label_smoothing")};
  int64_t layers = (int64_t)reference_number(r, "layers");
  th_transformer_config config = {
      .source_vocabulary = reference_find(r, "param.source_embedding.weight")->shape[0],
      .target_vocabulary = reference_find(r, "param.target_embedding.weight")->shape[0],
      .encoder_layers = layers,
      .decoder_layers = layers,
      .max_length = t.source->shape[1],
      .layer = {.width = (int64_t)reference_number(r, "width"),
                .heads = (int64_t)reference_number(r, "heads"),
                .feed_forward = (int64_t)reference_number(r, "feed_forward"),
                .activation = activation_of(r),
                .norm_first = reference_flag(r, "norm_first")},
      .final_norm = reference_flag(r, "final_norms")};
  cr_assert_eq(th_transformer_new(&t.model, &config, r->dtype, 1, &error), TH_OK, "%s", error.text);
  take_parameters(r, t.model->params);
  return t;
}

#endif
