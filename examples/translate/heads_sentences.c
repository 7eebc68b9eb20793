/* Held-out examples looked at closely: every head's weights on them, step by step. */
#include "heads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t sentence_rows(const sentence *s, th_attention_kind kind) {
  return kind == TH_ENCODER_SELF ? s->source_count : s->target_count;
}

int64_t sentence_columns(const sentence *s, th_attention_kind kind) {
  return kind == TH_DECODER_SELF ? s->target_count : s->source_count;
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

static const char **labels(head_study *h, const th_vocabulary *v, const th_tensor *ids) {
  int64_t count = ids->shape[1];
  const char **made = head_study_room(h, (size_t)count, sizeof *made);
  for (int64_t i = 0; made && i < count; i++) {
    const char *token = th_vocabulary_token(v, ((const int32_t *)ids->data)[i]);
    char *copy = head_study_room(h, strlen(token) + 1, 1);
    if (!copy) return NULL;
    made[i] = strcpy(copy, token);
  }
  return made;
}

static bool make_room(head_study *h, sentence *s) {
  bool enough = (s->weights = head_study_room(h, (size_t)h->count, sizeof *s->weights)) != NULL;
  for (int i = 0; i < h->count && enough; i++) {
    int64_t shape[] = {sentence_rows(s, h->head[i].kind), sentence_columns(s, h->head[i].kind)};
    size_t elements = (size_t)(shape[0] * shape[1]);
    float *weights = head_study_room(h, elements, sizeof *weights);
    s->weights[i] = th_tensor_of(weights, TH_F32, 2, shape);
    s->size += elements;
    enough = weights != NULL;
  }
  return enough && (s->norms = head_study_room(h, s->size, 1));
}

/* The example as a batch of one. */
static th_status one_batch(batch *b, const example *e, th_error *error) {
  int64_t longest = e->source_length > e->target_length ? e->source_length : e->target_length;
  th_status status = batch_new(b, 1, longest, error);
  if (!status) batch_fill(b, e, 1);
  return status;
}

static th_status make_sentence(head_study *h, const run *r, sentence *s, const example *e, th_error *error) {
  batch b;
  th_status status = one_batch(&b, e, error);
  if (status) return status;
  *s = (sentence){.pair = *e,
                  .source = labels(h, r->data.source, &b.source),
                  .input = labels(h, r->data.target, &b.input),
                  .output = labels(h, r->data.target, &b.output),
                  .source_count = b.source.shape[1],
                  .target_count = b.input.shape[1]};
  batch_free(&b);
  return s->source && s->input && s->output && make_room(h, s)
             ? TH_OK
             : th_error_set(error, TH_ENOMEM, "no memory for the example sentences");
}

th_status sentences_make(head_study *h, run *r, int count, th_error *error) {
  const example **picked = calloc((size_t)count, sizeof *picked);
  h->sentence = head_study_room(h, (size_t)count, sizeof *h->sentence);
  if (!picked || !h->sentence) {
    free(picked);
    return th_error_set(error, TH_ENOMEM, "no memory for the example sentences");
  }
  th_status status = TH_OK;
  for (int i = 0; i < th_transformer_attentions(r->model); i++)
    h->any_sign |=
        !th_attention_traits_of(th_transformer_attention(r->model, i)->method.kind)->rows_sum_to_one;
  int64_t found = pick_examples(&r->data, count, picked);
  for (; h->sentences < found && !status; h->sentences++)
    status = make_sentence(h, r, &h->sentence[h->sentences], picked[h->sentences], error);
  free(picked);
  return status;
}

void sentences_free(head_study *h) {
  for (int i = 0; i < h->sentences; i++) th_rollout_free(&h->sentence[i].rollout);
}

/* ---- looking ------------------------------------------------------------------------------------------------ */

unsigned char shade(double part) {
  return (unsigned char)lround(255 * (part < 0   ? 0
                                      : part > 1 ? 1
                                                 : part)); /* rounding goes a little over 1 */
}

/* Rows of one head's captured [1,H,T,S] into bytes, each row divided by its sum if `scaled`. */
static unsigned char *put_shades(unsigned char *at, const th_tensor *all, int64_t head, bool scaled) {
  int64_t rows = all->shape[2], columns = all->shape[3], first = head * rows * columns;
  for (int64_t row = 0; row < rows; row++, first += columns) {
    double sum = 0;
    for (int64_t i = 0; i < columns; i++) sum += th_tensor_get(all, first + i);
    if (!scaled || sum <= 0) sum = 1;
    for (int64_t i = 0; i < columns; i++) *at++ = shade(th_tensor_get(all, first + i) / sum);
  }
  return at;
}

/* The largest size of a weight in all attentions. */
static double largest_size(const th_capture *c) {
  double most = 0;
  for (int i = 0; i < c->count; i++)
    for (int64_t k = 0; k < th_tensor_count(&c->attentions[i].weights); k++)
      most = fmax(most, fabs(th_tensor_get(&c->attentions[i].weights, k)));
  return most > 0 ? most : 1;
}

/* One head's weights of any sign: 128 is 0. */
static unsigned char *put_signed(unsigned char *at, const th_tensor *all, int64_t head, double largest) {
  int64_t n = all->shape[2] * all->shape[3];
  for (int64_t i = head * n; i < (head + 1) * n; i++)
    *at++ = (unsigned char)(128 + lround(127 * th_tensor_get(all, i) / largest));
  return at;
}

static void keep_weights(const th_tensor *to, const th_tensor *all, int64_t head) {
  th_tensor one;
  th_view_slice(&one, all, 1, head, head + 1);
  th_view_reshape(&one, &one, 2, to->shape);
  th_tensor_copy(to, &one, NULL);
}

static void keep_capture(const head_study *h, sentence *s, const th_capture *c, int when) {
  unsigned char *at = s->at_step[when], *norms = s->norms;
  int index = 0;
  if (h->any_sign) s->largest[when] = largest_size(c);
  for (int i = 0; i < c->count; i++)
    for (int64_t head = 0; head < c->attentions[i].weights.shape[1]; head++, index++) {
      const th_tensor *weights = &c->attentions[i].weights;
      at = h->any_sign ? put_signed(at, weights, head, s->largest[when])
                       : put_shades(at, weights, head, false);
      if (when != h->moments - 1) continue;
      norms = put_shades(norms, &c->attentions[i].norms, head, true);
      keep_weights(&s->weights[index], weights, head);
    }
}

static th_status look_at(head_study *h, run *r, sentence *s, int when, th_error *error) {
  batch b;
  int32_t length;
  th_capture capture;
  bool last = when == h->moments - 1;
  if (!(s->at_step[when] = head_study_room(h, s->size, 1)))
    return th_error_set(error, TH_ENOMEM, "no memory for the example sentences");
  th_status status = one_batch(&b, &s->pair, error);
  if (status) return status;
  th_batch one = study_batch_of(&b, &length);
  status = th_study_capture(r->model, r->tape, &one, TH_CAPTURE_WEIGHTS | (last ? TH_CAPTURE_NORMS : 0),
                            &capture, error);
  if (!status) {
    keep_capture(h, s, &capture, when);
    th_capture_free(&capture);
    if (last) status = th_study_rollout(r->model, r->tape, &one, &s->rollout, error);
  }
  batch_free(&b);
  return status;
}

th_status sentences_look(head_study *h, run *r, int when, th_error *error) {
  th_status status = TH_OK;
  for (int i = 0; i < h->sentences && !status; i++) status = look_at(h, r, &h->sentence[i], when, error);
  return status;
}
