/* Attention rollout beside plain products of matrices. */
#include "study_desk.h"

static th_error error;

enum { SIDE = LOOKING_MOST };
typedef struct square {
  double at[SIDE][SIDE];
} square;

static square product(const square *a, const square *b) {
  square c = {0};
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++)
      for (int k = 0; k < SIDE; k++) c.at[i][j] += a->at[i][k] * b->at[k][j];
  return c;
}

static square half_sum(const square *a, const square *b) {
  square c;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) c.at[i][j] = (a->at[i][j] + b->at[i][j]) / 2;
  return c;
}

static square unit(int n) {
  square c = {0};
  for (int i = 0; i < n; i++) c.at[i][i] = 1;
  return c;
}

/* The mean of an attention's heads in sequence s, its first `rows` rows. */
static square mean_of(const looked *l, th_attention_kind kind, int layer, int s, int rows) {
  int64_t heads = th_head_attention(l->model, kind, layer)->heads;
  square mean = {0};
  for (int h = 0; h < th_head_count(l->model); h++) {
    th_head head = th_head_at(l->model, h);
    const th_tensor *w = &l->at[h];
    if (head.kind != kind || head.layer != layer) continue;
    for (int i = 0; i < rows; i++)
      for (int j = 0; j < w->shape[2]; j++)
        mean.at[i][j] += th_tensor_get(w, (s * w->shape[1] + i) * w->shape[2] + j) / (double)heads;
  }
  return mean;
}

static void expect_square(const th_tensor *got, int s, const square *wanted, double limit, const char *what) {
  int64_t rows = got->shape[1], columns = got->shape[2];
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      double here = th_tensor_get(got, (s * rows + i) * columns + j);
      cr_assert(fabs(here - wanted->at[i][j]) <= limit, "%s of sequence %d, [%d,%d]: %.17g, wanted %.17g",
                what, s, (int)i, (int)j, here, wanted->at[i][j]);
    }
}

/* Two streams, as Gomez et al. have them: each sublayer reads one, is added to the other, and they change places. An
 * ordinary stack has one, which a feed-forward leaves where it is. */
typedef struct pair {
  square x, other;
} pair;

static pair changed(const looked *l, const pair *s, const square *x) {
  return l->model->config.reversible ? (pair){s->other, *x} : (pair){*x, *x};
}

static pair attended(const looked *l, const pair *s, const square *weights) {
  square said = product(weights, &s->other), sum = half_sum(&s->x, &said);
  return changed(l, s, &sum);
}

static pair fed(const looked *l, const pair *s) {
  square sum = half_sum(&s->x, &s->other);
  return changed(l, s, &sum);
}

static square plain_encoder(const looked *l, int s) {
  int n = looking_source_length[s];
  pair through = {unit(n), unit(n)};
  for (int layer = 0; layer < LOOKING_LAYERS - 1; layer++) {
    square weights = mean_of(l, TH_ENCODER_SELF, layer, s, n);
    through = attended(l, &through, &weights);
    through = fed(l, &through);
  }
  return half_sum(&through.x, &through.other);
}

static void plain_decoder(const looked *l, int s, const square *encoder, square *target, square *source) {
  int n = looking_input_length[s];
  pair to = {unit(n), unit(n)}, from = {0};
  for (int layer = 0; layer < LOOKING_LAYERS; layer++) {
    square weights = mean_of(l, TH_DECODER_SELF, layer, s, n), none = {0};
    to = attended(l, &to, &weights), from = attended(l, &from, &weights);
    if (encoder) {
      square across = mean_of(l, TH_CROSS, layer, s, n), carried = product(&across, encoder);
      square kept = half_sum(&to.x, &none), sum = half_sum(&from.x, &carried);
      to = changed(l, &to, &kept), from = changed(l, &from, &sum);
    }
    to = fed(l, &to), from = fed(l, &from);
  }
  *target = half_sum(&to.x, &to.other), *source = half_sum(&from.x, &from.other);
}

static th_rollout rollout_of(const th_transformer *m, th_tape *tape, const th_batch *b) {
  th_rollout made;
  cr_assert_eq(th_study_rollout(m, tape, b, &made, &error), TH_OK, "%s", error.text);
  return made;
}

static void expect_plain_rollout(th_transformer_shape shape, bool reversible, th_dtype dtype, double limit) {
  study_desk on = study_desk_open(shape, dtype);
  on.model->config.reversible = reversible;
  study_desk_prune(&on);
  looked l = looked_at(&on);
  th_rollout made = rollout_of(on.model, on.tape, &on.batch);
  bool reads = shape != TH_DECODER_ONLY, writes = shape != TH_ENCODER_ONLY;
  cr_assert(!made.encoder.data == !reads && !made.target.data == !writes &&
            !made.source.data == !(reads && writes));
  for (int s = 0; s < LOOKING_BATCH; s++) {
    square encoder = {0}, target = {0}, source = {0};
    if (reads) encoder = plain_encoder(&l, s);
    if (writes) plain_decoder(&l, s, reads ? &encoder : NULL, &target, &source);
    if (reads) expect_square(&made.encoder, s, &encoder, limit, "encoder");
    if (writes) expect_square(&made.target, s, &target, limit, "target");
    if (reads && writes) expect_square(&made.source, s, &source, limit, "source");
  }
  th_rollout_free(&made);
  study_desk_close(&on);
}

Test(study_rollout, is_the_product_of_the_layers_in_every_shape_also_where_one_has_fewer_heads) {
  for (int shape = TH_ENCODER_DECODER; shape <= TH_ENCODER_ONLY; shape++) {
    expect_plain_rollout((th_transformer_shape)shape, false, TH_F64, 1e-13);
    expect_plain_rollout((th_transformer_shape)shape, false, TH_F32, 1e-6);
  }
}

Test(study_rollout, follows_both_streams_of_a_reversible_stack) {
  for (int shape = TH_ENCODER_DECODER; shape <= TH_ENCODER_ONLY; shape++)
    expect_plain_rollout((th_transformer_shape)shape, true, TH_F64, 1e-13);
}

/* Row i of sequence s of x [B,rows,columns], added up. x without data: 0. */
static double row_sum(const th_tensor *x, int64_t s, int64_t i) {
  double sum = 0;
  for (int64_t j = 0; x->data && j < x->shape[2]; j++)
    sum += th_tensor_get(x, (s * x->shape[1] + i) * x->shape[2] + j);
  return sum;
}

Test(study_rollout, has_rows_that_sum_to_1_and_rows_beyond_the_length_of_0) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F32);
  th_rollout made = rollout_of(on.model, on.tape, &on.batch);
  for (int64_t s = 0; s < LOOKING_BATCH; s++) {
    for (int64_t i = 0; i < made.encoder.shape[1]; i++)
      cr_expect_float_eq(row_sum(&made.encoder, s, i), i < on.batch.source_length[s], 1e-14);
    for (int64_t i = 0; i < made.target.shape[1]; i++)
      cr_expect_float_eq(row_sum(&made.target, s, i) + row_sum(&made.source, s, i),
                         i < on.batch.input_length[s], 1e-14);
    for (int64_t j = on.batch.source_length[s]; j < LOOKING_MOST; j++)
      for (int64_t i = 0; i < made.source.shape[1]; i++)
        cr_expect(th_tensor_get(&made.source, (s * made.source.shape[1] + i) * LOOKING_MOST + j) == 0,
                  "nothing comes from a key beyond the length");
  }
  th_rollout_free(&made);
  study_desk_close(&on);
}

Test(study_rollout, keeps_what_has_nothing_to_look_at) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F64);
  on.batch.source_length = (int32_t[LOOKING_BATCH]){0};
  th_rollout made = rollout_of(on.model, on.tape, &on.batch);
  cr_expect(largest_size(&made.encoder) == 0 && largest_size(&made.source) == 0);
  for (int64_t s = 0; s < LOOKING_BATCH; s++) cr_expect_float_eq(row_sum(&made.target, s, 0), 1, 1e-15);
  th_rollout_free(&made);
  study_desk_close(&on);
}

Test(study_rollout, of_a_sequence_alone_is_that_in_a_batch_and_any_threads_give_the_same_bits) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F64);
  th_pool *pool = th_pool_new(3);
  th_tape *threaded = th_tape_new(pool);
  th_rollout whole = rollout_of(on.model, on.tape, &on.batch),
             again = rollout_of(on.model, threaded, &on.batch);
  expect_near(&again.encoder, &whole.encoder, 0, "encoder");
  expect_near(&again.target, &whole.target, 0, "target");
  expect_near(&again.source, &whole.source, 0, "source");
  for (int64_t s = 0; s < LOOKING_BATCH; s++) {
    th_batch one = looking_part(&on.batch, s, 1);
    th_rollout alone = rollout_of(on.model, on.tape, &one);
    th_tensor part;
    th_view_slice(&part, &whole.source, 0, s, s + 1);
    expect_near(&alone.source, &part, 1e-14, "source");
    th_rollout_free(&alone);
  }
  th_rollout_free(&whole);
  th_rollout_free(&again);
  th_tape_free(threaded);
  th_pool_free(pool);
  study_desk_close(&on);
}

Test(study_rollout, refuses_a_batch_that_the_model_cannot_read_and_leaves_nothing_behind) {
  study_desk on = study_desk_open(TH_DECODER_ONLY, TH_F32);
  th_rollout made;
  on.batch.input.dtype = TH_F32;
  cr_expect_eq(th_study_rollout(on.model, on.tape, &on.batch, &made, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "study: input [4,6]: want token ids, i32 [sequences,tokens]");
  cr_expect(!made.encoder.data && !made.target.data && !made.source.data);
  th_rollout_free(&made);
  study_desk_close(&on);
}
