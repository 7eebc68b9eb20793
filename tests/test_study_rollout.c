/* Attention rollout beside plain products of matrices. */
#include "study_tape.h"

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
  square mean = {0};
  for (int h = 0; h < th_head_count(l->model); h++) {
    th_head head = th_head_at(l->model, h);
    const th_tensor *w = &l->at[h];
    if (head.kind != kind || head.layer != layer) continue;
    for (int i = 0; i < rows; i++)
      for (int j = 0; j < w->shape[2]; j++)
        mean.at[i][j] += th_tensor_get(w, (s * w->shape[1] + i) * w->shape[2] + j) / LOOKING_HEADS;
  }
  return mean;
}

static square step(const square *weights, int n) {
  square one = unit(n);
  return half_sum(weights, &one);
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

static square plain_encoder(const looked *l, int s) {
  int n = looking_source_length[s];
  square through = unit(n);
  for (int layer = 0; layer < LOOKING_LAYERS - 1; layer++) {
    square weights = mean_of(l, TH_ENCODER_SELF, layer, s, n), one = step(&weights, n);
    through = product(&one, &through);
  }
  return through;
}

static void plain_decoder(const looked *l, int s, const square *encoder, square *target, square *source) {
  int n = looking_input_length[s];
  *target = unit(n);
  *source = (square){0};
  for (int layer = 0; layer < LOOKING_LAYERS; layer++) {
    square weights = mean_of(l, TH_DECODER_SELF, layer, s, n), one = step(&weights, n), none = {0};
    *target = product(&one, target);
    *source = product(&one, source);
    if (!encoder) continue;
    square across = mean_of(l, TH_CROSS, layer, s, n), carried = product(&across, encoder);
    *target = half_sum(target, &none);
    *source = half_sum(source, &carried);
  }
}

static th_rollout rollout_of(const th_transformer *m, th_tape *tape, const th_study_batch *b) {
  th_rollout made;
  cr_assert_eq(th_study_rollout(m, tape, b, &made, &error), TH_OK, "%s", error.text);
  return made;
}

static void expect_plain_rollout(th_transformer_shape shape, th_dtype dtype, double limit) {
  desk d = desk_open();
  th_transformer *m = looking_model(shape, dtype);
  th_study_batch b = looking_batch(&d);
  looked l = looked_at(&d, m, &b);
  th_rollout made = rollout_of(m, d.tape, &b);
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
  th_transformer_free(m);
  desk_close(&d);
}

Test(study_rollout, is_the_product_of_the_layers_in_every_shape) {
  for (int shape = TH_ENCODER_DECODER; shape <= TH_ENCODER_ONLY; shape++) {
    expect_plain_rollout((th_transformer_shape)shape, TH_F64, 1e-13);
    expect_plain_rollout((th_transformer_shape)shape, TH_F32, 1e-6);
  }
}

/* Row i of sequence s of x [B,rows,columns], added up. x without data: 0. */
static double row_sum(const th_tensor *x, int64_t s, int64_t i) {
  double sum = 0;
  for (int64_t j = 0; x->data && j < x->shape[2]; j++)
    sum += th_tensor_get(x, (s * x->shape[1] + i) * x->shape[2] + j);
  return sum;
}

Test(study_rollout, has_rows_that_sum_to_1_and_rows_beyond_the_length_of_0) {
  desk d = desk_open();
  th_transformer *m = looking_model(TH_ENCODER_DECODER, TH_F32);
  th_study_batch b = looking_batch(&d);
  th_rollout made = rollout_of(m, d.tape, &b);
  for (int64_t s = 0; s < LOOKING_BATCH; s++) {
    for (int64_t i = 0; i < made.encoder.shape[1]; i++)
      cr_expect_float_eq(row_sum(&made.encoder, s, i), i < b.source_length[s], 1e-14);
    for (int64_t i = 0; i < made.target.shape[1]; i++)
      cr_expect_float_eq(row_sum(&made.target, s, i) + row_sum(&made.source, s, i), i < b.input_length[s],
                         1e-14);
    for (int64_t j = b.source_length[s]; j < LOOKING_MOST; j++)
      for (int64_t i = 0; i < made.source.shape[1]; i++)
        cr_expect(th_tensor_get(&made.source, (s * made.source.shape[1] + i) * LOOKING_MOST + j) == 0,
                  "nothing comes from a key beyond the length");
  }
  th_rollout_free(&made);
  th_transformer_free(m);
  desk_close(&d);
}

Test(study_rollout, keeps_what_has_nothing_to_look_at) {
  desk d = desk_open();
  th_transformer *m = looking_model(TH_ENCODER_DECODER, TH_F64);
  th_study_batch b = looking_batch(&d);
  b.source_length = (int32_t[LOOKING_BATCH]){0};
  th_rollout made = rollout_of(m, d.tape, &b);
  cr_expect(largest_size(&made.encoder) == 0 && largest_size(&made.source) == 0);
  for (int64_t s = 0; s < LOOKING_BATCH; s++) cr_expect_float_eq(row_sum(&made.target, s, 0), 1, 1e-15);
  th_rollout_free(&made);
  th_transformer_free(m);
  desk_close(&d);
}

Test(study_rollout, of_a_sequence_alone_is_that_in_a_batch_and_any_threads_give_the_same_bits) {
  desk d = desk_open();
  th_transformer *m = looking_model(TH_ENCODER_DECODER, TH_F64);
  th_study_batch b = looking_batch(&d);
  th_pool *pool = th_pool_new(3);
  th_tape *threaded = th_tape_new(pool);
  th_rollout whole = rollout_of(m, d.tape, &b), again = rollout_of(m, threaded, &b);
  expect_near(&again.encoder, &whole.encoder, 0, "encoder");
  expect_near(&again.target, &whole.target, 0, "target");
  expect_near(&again.source, &whole.source, 0, "source");
  for (int64_t s = 0; s < LOOKING_BATCH; s++) {
    th_study_batch one = looking_part(&b, s, 1);
    th_rollout alone = rollout_of(m, d.tape, &one);
    th_tensor part;
    th_view_slice(&part, &whole.source, 0, s, s + 1);
    expect_near(&alone.source, &part, 1e-14, "source");
    th_rollout_free(&alone);
  }
  th_rollout_free(&whole);
  th_rollout_free(&again);
  th_tape_free(threaded);
  th_pool_free(pool);
  th_transformer_free(m);
  desk_close(&d);
}

Test(study_rollout, refuses_a_batch_that_the_model_cannot_read_and_leaves_nothing_behind) {
  desk d = desk_open();
  th_transformer *m = looking_model(TH_DECODER_ONLY, TH_F32);
  th_study_batch b = looking_batch(&d);
  th_rollout made;
  b.input.dtype = TH_F32;
  cr_expect_eq(th_study_rollout(m, d.tape, &b, &made, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "study: input [4,6]: want token ids, i32 [sequences,tokens]");
  cr_expect(!made.encoder.data && !made.target.data && !made.source.data);
  th_rollout_free(&made);
  th_transformer_free(m);
  desk_close(&d);
}
