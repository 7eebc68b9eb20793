/* The study as JSON: for the report's page, and for --json. docs/run-directory.md says what each member is. */
#include <stdlib.h>

#include "heads.h"

/* ---- small things ---------------------------------------------------------------------------------------- */

/* Bytes as text: RFC 4648, section 4. */
static json_t *base64(const unsigned char *bytes, size_t count) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char *text = malloc((count + 2) / 3 * 4 + 1), *at = text;
  if (!text) return NULL;
  for (size_t i = 0; i < count; i += 3) {
    unsigned three = (unsigned)bytes[i] << 16;
    if (i + 1 < count) three |= (unsigned)bytes[i + 1] << 8;
    if (i + 2 < count) three |= bytes[i + 2];
    for (int k = 0; k < 4; k++) *at++ = digits[three >> (18 - 6 * k) & 63];
  }
  for (size_t i = count; i % 3; i++) at[-1 - (int)(i - count)] = '=';
  json_t *made = json_stringn(text, (size_t)(at - text));
  free(text);
  return made;
}

/* A tensor of parts of one. */
static json_t *shades_json(const th_tensor *t) {
  if (!t->data) return json_null();
  int64_t count = th_tensor_count(t);
  unsigned char *bytes = calloc((size_t)count + 1, 1);
  for (int64_t i = 0; bytes && i < count; i++) bytes[i] = shade(th_tensor_get(t, i));
  json_t *made = bytes ? base64(bytes, (size_t)count) : NULL;
  free(bytes);
  return made;
}

static json_t *numbers(const double *values, int count) {
  json_t *list = json_array();
  for (int i = 0; i < count; i++) json_array_append_new(list, json_number(values[i]));
  return list;
}

static json_t *rows(const double *values, int count, int columns) {
  json_t *list = json_array();
  for (int i = 0; i < count; i++) json_array_append_new(list, numbers(values + i * columns, columns));
  return list;
}

static json_t *words(const char *const *texts, int64_t count) {
  json_t *list = json_array();
  for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_string(texts[i]));
  return list;
}

static json_t *outcome_json(const th_outcome *o) {
  return json_pack("{s:o, s:o, s:o}", "loss", json_number(o->loss), "token_accuracy",
                   json_number(o->token_accuracy), "exact_match", json_number(o->exact_match));
}

/* ---- looks ------------------------------------------------------------------------------------------------ */

static const char *const about[TH_LOOKS] = {
    "entropy of its weights, in nats",
    "entropy of its weights as a part of the largest there could be: 1 is uniform",
    "its largest weight, end marks aside",
    "how far away what it looks at is, in tokens",
    "how far back what it looks at is, in tokens: below 0, it looks ahead",
    "weight on the key at the query's own place",
    "weight on the key at the mirrored place",
    "weight on the token before",
    "weight on the token after",
    "weight on the first token",
    "weight on the last token",
    "weight on the key at the distance that fits best",
    "weight on the query's own token elsewhere; in cross-attention, on the token to be written",
    "weight on what followed the query's own token: induction",
    "weight on end marks",
    "weight on begin marks",
    "weight on padding: 0, or something is wrong"};

static json_t *look_list(void) {
  json_t *list = json_array();
  for (int i = 0; i < TH_LOOKS; i++)
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", th_look_name((th_look)i), "about", about[i]));
  return list;
}

static json_t *looks_json(const th_head_look *look) {
  json_t *object = json_object();
  for (int i = 0; i < TH_LOOKS; i++)
    json_object_set_new(object, th_look_name((th_look)i),
                        json_pack("{s:o, s:o, s:o}", "mean", json_number(look->value[i].mean), "deviation",
                                  json_number(look->value[i].deviation), "chance",
                                  json_number(look->chance[i])));
  return object;
}

/* ---- heads ------------------------------------------------------------------------------------------------ */

static json_t *worth_json(const th_head_worth *w) {
  return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "off", outcome_json(&w->off), "mean",
                   outcome_json(&w->mean), "uniform", outcome_json(&w->uniform), "gradient",
                   json_number(w->gradient), "importance", json_number(w->importance), "attribution",
                   json_number(w->attribution), "copying", json_number(w->copying));
}

static json_t *head_list(const head_study *h) {
  json_t *list = json_array();
  for (int i = 0; i < h->count; i++)
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:i, s:i, s:s, s:o, s:I, s:o, s:o}", "label", h->label[i], "kind",
                        th_attention_kind_name(h->head[i].kind), "layer", h->head[i].layer, "head",
                        h->head[i].head, "job", th_job_name(h->named[i].job), "score",
                        json_number(h->named[i].score), "offset", (json_int_t)h->looks[i].offset, "looks",
                        looks_json(&h->looks[i]), "worth", worth_json(&h->worth[i])));
  return list;
}

/* ---- kinds ------------------------------------------------------------------------------------------------ */

static json_t *merges_json(const head_kind *k) {
  json_t *list = json_array();
  for (int i = 0; i < k->count - 1; i++) {
    const th_merge *m = &k->merges[i];
    json_array_append_new(list,
                          json_pack("[i, i, o, i]", m->first, m->second, json_number(m->height), m->leaves));
  }
  return list;
}

static json_t *kind_list(const head_study *h) {
  json_t *list = json_array();
  for (int i = 0; i < h->kinds; i++) {
    const head_kind *k = &h->kind[i];
    json_t *indices = json_array();
    for (int n = 0; n < k->count; n++) json_array_append_new(indices, json_integer(k->first + n));
    json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "kind",
                                          th_attention_kind_name(k->kind), "title", kind_title(k->kind),
                                          "heads", indices, "distance", rows(k->distance, k->count, k->count),
                                          "place", rows(k->place, k->count, 2), "kept", json_number(k->kept),
                                          "merges", merges_json(k)));
  }
  return list;
}

static json_t *redundancy_list(const head_study *h) {
  json_t *list = json_array();
  for (int i = 0; i < h->kinds; i++)
    for (int layer = 0; layer < h->kind[i].layers; layer++)
      json_array_append_new(list,
                            json_pack("{s:s, s:i, s:o}", "kind", th_attention_kind_name(h->kind[i].kind),
                                      "layer", layer, "value", json_number(h->kind[i].redundancy[layer])));
  return list;
}

static json_t *removal_json(const head_study *h) {
  json_t *object = json_object();
  for (int i = 0; i < ORDERS; i++) {
    json_t *order = json_array(), *after = json_array();
    for (int n = 0; n < h->count; n++) {
      json_array_append_new(order, json_integer(h->removal[i].order[n]));
      json_array_append_new(after, outcome_json(&h->removal[i].after[n]));
    }
    json_object_set_new(object, removal_name((removal_order)i),
                        json_pack("{s:o, s:o}", "order", order, "after", after));
  }
  return object;
}

/* ---- examples ---------------------------------------------------------------------------------------------- */

json_t *sentences_json(const head_study *h, bool weights) {
  json_t *list = json_array();
  for (int i = 0; i < h->sentences; i++) {
    const sentence *s = &h->sentence[i];
    json_t *one = json_pack("{s:o, s:o, s:o}", "source", words(s->source, s->source_count), "input",
                            words(s->input, s->target_count), "output", words(s->output, s->target_count));
    if (weights)
      json_object_set_new(one, "rollout",
                          json_pack("{s:o, s:o, s:o}", "encoder", shades_json(&s->rollout.encoder), "target",
                                    shades_json(&s->rollout.target), "source",
                                    shades_json(&s->rollout.source)));
    json_array_append_new(list, one);
  }
  return list;
}

/* By sentence and step. */
static json_t *largest_list(const head_study *h) {
  json_t *list = json_array();
  for (int i = 0; i < h->sentences; i++)
    json_array_append_new(list, numbers(h->sentence[i].largest, h->moments));
  return list;
}

static void add_weights(json_t *object, const head_study *h) {
  json_t *weights = json_array(), *norms = json_array();
  for (int i = 0; i < h->sentences; i++) {
    const sentence *s = &h->sentence[i];
    json_t *by_step = json_array();
    for (int m = 0; m < h->moments; m++) json_array_append_new(by_step, base64(s->at_step[m], s->size));
    json_array_append_new(weights, by_step);
    json_array_append_new(norms, base64(s->norms, s->size));
  }
  json_object_set_new(object, "weights", weights);
  if (h->any_sign) json_object_set_new(object, "largest", largest_list(h));
  json_object_set_new(object, "norms", norms);
}

/* ---- through training ---------------------------------------------------------------------------------------- */

static json_t *growth_of(const head_study *h, int head) {
  json_t *jobs = json_array(), *scores = json_array(), *looks = json_object();
  for (int m = 0; m < h->moments; m++) {
    json_array_append_new(jobs, json_string(th_job_name(h->moment[m].named[head].job)));
    json_array_append_new(scores, json_number(h->moment[m].named[head].score));
  }
  for (int i = 0; i < TH_LOOKS; i++) {
    json_t *values = json_array();
    for (int m = 0; m < h->moments; m++)
      json_array_append_new(values, json_number(h->moment[m].looks[head].value[i].mean));
    json_object_set_new(looks, th_look_name((th_look)i), values);
  }
  return json_pack("{s:o, s:o, s:o}", "job", jobs, "score", scores, "looks", looks);
}

static void add_emergence(json_t *object, const head_study *h) {
  json_t *steps = json_array(), *loss = json_array(), *exact = json_array(), *tokens = json_array(),
         *heads = json_array();
  for (int m = 0; m < h->moments; m++) {
    const th_outcome *o = &h->moment[m].outcome;
    json_array_append_new(steps, json_integer(h->moment[m].step));
    json_array_append_new(loss, json_number(o->loss));
    json_array_append_new(exact, json_number(o->exact_match));
    json_array_append_new(tokens, json_number(o->token_accuracy));
  }
  for (int i = 0; i < h->count; i++) json_array_append_new(heads, growth_of(h, i));
  json_object_set_new(object, "steps", steps);
  json_object_set_new(object, "emergence",
                      json_pack("{s:o, s:o, s:o, s:o}", "loss", loss, "exact_match", exact, "token_accuracy",
                                tokens, "heads", heads));
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static json_t *model_json(const head_study *h) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I}", "parameters", (json_int_t)h->parameters, "width",
                   (json_int_t)h->width, "heads", (json_int_t)h->heads, "encoder_layers",
                   (json_int_t)h->encoder_layers, "decoder_layers", (json_int_t)h->decoder_layers);
}

json_t *heads_json(const head_study *h, bool all) {
  json_t *object = json_pack(
      "{s:s, s:s, s:o, s:{s:I, s:I}, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:{s:o, s:o}}", "title",
      h->title, "run", h->directory, "model", model_json(h), "data", "sequences", (json_int_t)h->sequences,
      "tokens", (json_int_t)h->tokens, "whole", outcome_json(&h->whole), "looks", look_list(), "heads",
      head_list(h), "kinds", kind_list(h), "redundancy", redundancy_list(h), "subspaces", "query",
      rows(h->query, h->count, h->count), "key", rows(h->key, h->count, h->count), "own",
      numbers(h->own, h->count), "removal", removal_json(h), "agreement", "gradient",
      json_number(h->gradient_agrees), "importance", json_number(h->importance_agrees));
  if (!object || !all) return object;
  json_object_set_new(object, "sentences", sentences_json(h, true));
  add_emergence(object, h);
  add_weights(object, h);
  return object;
}
