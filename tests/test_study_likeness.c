/* Which heads are alike: distances, redundancy, subspaces, the map, the clusters. */
#include "reference_file.h"
#include "study_desk.h"

enum { MOST = 32 }; /* heads, or points */

static th_error error;

static void expect_close(double got, double wanted, double limit, const char *what, int i, int j) {
  bool same = (isnan(got) && isnan(wanted)) || fabs(got - wanted) <= limit;
  cr_assert(same, "%s [%d,%d] is %.17g, wanted %.17g", what, i, j, got, wanted);
}

/* ---- distances: the definition --------------------------------------------------------------------------- */

TestSuite(study_distances);

static void distances_of(const th_transformer *m, th_tape *tape, const th_batch *batches, int64_t count,
                         double *distance) {
  th_study_data data = {.batches = batches, .count = count};
  cr_assert_eq(th_study_distances(m, tape, &data, distance, &error), TH_OK, "%s", error.text);
}

/* sum p log2 (p / m) */
static double divergence_from(int64_t n, const th_tensor *p, const th_tensor *q, int64_t at) {
  double sum = 0;
  for (int64_t j = 0; j < n; j++) {
    double one = th_tensor_get(p, at + j), mean = (one + th_tensor_get(q, at + j)) / 2;
    if (one > 0) sum += one * log2(one / mean);
  }
  return sum;
}

/* Distances summed up over the rows of one batch that count, and how many these are. */
static double plain_sum(const looked *l, const th_batch *b, int one, int other, int64_t *rows) {
  const th_tensor *p = &l->at[one], *q = &l->at[other];
  bool source_rows = th_head_at(l->model, one).kind == TH_ENCODER_SELF;
  const int32_t *length = source_rows ? b->source_length : b->input_length;
  double sum = 0;
  for (int64_t s = 0; s < p->shape[0]; s++)
    for (int64_t i = 0; i < length[s]; i++, ++*rows) {
      int64_t n = p->shape[2], at = (s * p->shape[1] + i) * n;
      sum += sqrt(fmax(0, (divergence_from(n, p, q, at) + divergence_from(n, q, p, at)) / 2));
    }
  return sum;
}

static void expect_plain_distances(th_transformer_shape shape, th_dtype dtype, double limit) {
  study_desk on = study_desk_open(shape, dtype);
  double distance[MOST * MOST];
  study_desk_prune(&on);
  int heads = on.heads;
  looked l = looked_at(&on);
  distances_of(on.model, on.tape, &on.batch, 1, distance);
  for (int i = 0; i < heads; i++)
    for (int j = 0; j < heads; j++) {
      int64_t rows = 0;
      bool one_kind = th_head_at(on.model, i).kind == th_head_at(on.model, j).kind;
      double wanted = one_kind ? plain_sum(&l, &on.batch, i, j, &rows) / (double)rows : NAN;
      expect_close(distance[i * heads + j], wanted, limit, "distance", i, j);
      cr_assert(i == j || !one_kind || wanted > 0.02, "the heads of this test differ: %g", wanted);
    }
  study_desk_close(&on);
}

/* A difference of entropies knows a distance to the root of rounding, 1e-8. */
Test(study_distances,
     are_the_mean_roots_of_the_divergences_of_rows_in_every_shape_also_where_heads_are_missing) {
  for (int shape = TH_ENCODER_DECODER; shape <= TH_ENCODER_ONLY; shape++) {
    expect_plain_distances((th_transformer_shape)shape, TH_F64, 1e-7);
    expect_plain_distances((th_transformer_shape)shape, TH_F32, 1e-6);
  }
}

Test(study_distances, do_not_depend_on_batching_but_for_rounding) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F64);
  th_batch whole = on.batch;
  th_batch parts[] = {looking_part(&whole, 0, 1), looking_part(&whole, 1, 3)};
  double one[MOST * MOST], other[MOST * MOST];
  int heads = on.heads;
  distances_of(on.model, on.tape, &whole, 1, one);
  distances_of(on.model, on.tape, parts, 2, other);
  for (int i = 0; i < heads * heads; i++)
    expect_close(other[i], one[i], 1e-9, "distance", i / heads, i % heads);
  study_desk_close(&on);
}

Test(study_distances, are_the_same_bits_for_any_number_of_threads) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F32);
  double one[MOST * MOST], other[MOST * MOST];
  size_t bytes = (size_t)(on.heads * on.heads) * sizeof *one;
  distances_of(on.model, on.tape, &on.batch, 1, one);
  for (int threads = 2; threads <= 3; threads++) {
    th_pool *pool = th_pool_new(threads);
    th_tape *tape = th_tape_new(pool);
    distances_of(on.model, tape, &on.batch, 1, other);
    cr_expect(!memcmp(one, other, bytes), "%d threads", threads);
    th_tape_free(tape);
    th_pool_free(pool);
  }
  study_desk_close(&on);
}

Test(study_distances, are_a_metric_among_the_heads_of_a_kind) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F64);
  double distance[MOST * MOST];
  int n = on.heads;
  distances_of(on.model, on.tape, &on.batch, 1, distance);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double direct = distance[i * n + j];
      cr_expect(isnan(direct) == (th_head_at(on.model, i).kind != th_head_at(on.model, j).kind));
      if (isnan(direct)) continue;
      cr_expect(direct == distance[j * n + i] && (i == j ? direct == 0 : direct > 0 && direct <= 1));
      for (int k = 0; k < n; k++)
        cr_expect(isnan(distance[i * n + k]) || direct <= distance[i * n + k] + distance[k * n + j] + 1e-7);
    }
  study_desk_close(&on);
}

Test(study_distances, do_not_see_what_lies_beyond_the_lengths) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F64);
  double one[MOST * MOST], other[MOST * MOST];
  size_t bytes = (size_t)(on.heads * on.heads) * sizeof *one;
  distances_of(on.model, on.tape, &on.batch, 1, one);
  for (int64_t i = 0; i < th_tensor_count(&on.batch.source); i++)
    if (i % LOOKING_MOST >= on.batch.source_length[i / LOOKING_MOST]) th_tensor_set(&on.batch.source, i, 0);
  for (int64_t i = 0; i < th_tensor_count(&on.batch.input); i++)
    if (i % (LOOKING_MOST - 1) >= on.batch.input_length[i / (LOOKING_MOST - 1)])
      th_tensor_set(&on.batch.input, i, 0);
  distances_of(on.model, on.tape, &on.batch, 1, other);
  cr_expect(!memcmp(one, other, bytes));
  study_desk_close(&on);
}

/* ---- distances: known ones -------------------------------------------------------------------------------- */

/* An encoder of one layer without positions over tokens 0 .. keys - 1, each a direction of its own; a head's query is
 * 1, its key the logarithm of the weight it is to have. p, q [keys]: the rows of head 0 and head 1. */
static void expect_distance(th_dtype dtype, int keys, const double *p, const double *q, double wanted,
                            double limit) {
  desk d = desk_open();
  double distance[4];
  th_transformer *m = looking_new(
      &(th_transformer_config){
          .shape = TH_ENCODER_ONLY,
          .source_vocabulary = keys,
          .encoder_layers = 1,
          .classes = 2,
          .max_length = keys,
          .layer = {.width = keys, .heads = 2, .key_width = 1, .value_width = 1, .feed_forward = 4},
          .positions = TH_POSITIONS_NONE},
      dtype);
  const th_nn_attention *attention = &m->encoder[0].self;
  const double *row[] = {p, q};
  th_fill(&attention->in_weight->value, 0);
  th_fill(&m->source_embedding.weight->value, 0);
  for (int j = 0; j < keys; j++)
    th_tensor_set(&m->source_embedding.weight->value, j * keys + j, 1 / sqrt((double)keys));
  for (int h = 0; h < 2; h++) {
    th_tensor_set(&attention->in_bias->value, h, 1);
    for (int j = 0; j < keys; j++)
      th_tensor_set(&attention->in_weight->value, (2 + h) * keys + j, row[h][j] > 0 ? log(row[h][j]) : -1e4);
  }
  th_batch b = {.source = desk_counted(&d, TH_I32, SHAPE(1, keys))};
  distances_of(m, d.tape, &b, 1, distance);
  expect_close(distance[1], wanted, limit, "distance", 0, 1);
  th_transformer_free(m);
  desk_close(&d);
}

Test(study_distances, of_heads_that_do_the_same_are_0_and_of_heads_with_nothing_in_common_1) {
  static const double left[] = {0.5, 0, 0.25, 0.25, 0, 0}, right[] = {0, 0.125, 0, 0, 0.75, 0.125};
  for (int type = TH_F32; type <= TH_F64; type++) {
    expect_distance((th_dtype)type, 6, left, left, 0, 0);
    expect_distance((th_dtype)type, 6, left, right, 1, type == TH_F32 ? 1e-6 : 1e-15);
  }
}

static void open_likeness(reference *r) { reference_open(r, "tests/data", "likeness", TH_F64); }

Test(study_distances, are_scipys) {
  reference r;
  open_likeness(&r);
  const th_tensor *p = reference_find(&r, "js.p"), *q = reference_find(&r, "js.q");
  const double *wanted = reference_find(&r, "js.distance")->data;
  int keys = (int)p->shape[1];
  for (int64_t i = 0; i < p->shape[0]; i++) {
    const double *one = (double *)p->data + i * keys, *other = (double *)q->data + i * keys;
    expect_distance(TH_F64, keys, one, other, wanted[i], 1e-12);
    expect_distance(TH_F32, keys, one, other, wanted[i], 1e-4);
  }
  reference_close(&r);
}

/* ---- distances: calls --------------------------------------------------------------------------------------- */

Test(study_distances, of_no_rows_are_none) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F32);
  on.batch.source_length = (int32_t[LOOKING_BATCH]){0}; /* what crosses has then no keys */
  double distance[MOST * MOST];
  int n = on.heads;
  distances_of(on.model, on.tape, &on.batch, 0, distance);
  for (int i = 0; i < n * n; i++) cr_expect(isnan(distance[i]));
  distances_of(on.model, on.tape, &on.batch, 1, distance);
  for (int i = 0; i < n; i++)
    cr_expect(isnan(distance[i * n + i]) == (th_head_at(on.model, i).kind != TH_DECODER_SELF));
  study_desk_close(&on);
}

/* Counts how often it is called, and ends the call at the last of `until` times. */
typedef struct counter {
  int calls, until;
  double last;
} counter;

static bool count_call(void *context, double done) {
  counter *c = context;
  cr_expect(done > c->last && done <= 1);
  c->last = done;
  return ++c->calls < c->until;
}

Test(study_distances, say_how_far_they_are_and_end_when_told_to) {
  study_desk on = study_desk_open(TH_DECODER_ONLY, TH_F32);
  th_batch whole = on.batch, parts[3];
  double distance[MOST * MOST];
  counter c = {.until = 99};
  th_study_data data = {.batches = parts, .count = 3, .progress = count_call, .context = &c};
  for (int i = 0; i < 3; i++) parts[i] = looking_part(&whole, i, 1);
  cr_expect_eq(th_study_distances(on.model, on.tape, &data, distance, &error), TH_OK);
  cr_expect(c.calls == 3 && c.last == 1);
  c = (counter){.until = 2};
  cr_expect_eq(th_study_distances(on.model, on.tape, &data, distance, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "stopped");
  cr_expect_eq(c.calls, 2);
  study_desk_close(&on);
}

Test(study_distances, leave_the_tape_as_it_was) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F64);
  double quiet[MOST * MOST], loud[MOST * MOST];
  distances_of(on.model, on.tape, &on.batch, 1, quiet);
  cr_expect(th_tape_recording(on.tape) && !th_tape_training(on.tape));
  th_tape_record(on.tape, false);
  th_tape_train(on.tape, true); /* dropout has no say */
  distances_of(on.model, on.tape, &on.batch, 1, loud);
  cr_expect(!th_tape_recording(on.tape) && th_tape_training(on.tape));
  cr_expect(!memcmp(quiet, loud, (size_t)(on.heads * on.heads) * sizeof *quiet));
  study_desk_close(&on);
}

static void expect_refused(const th_transformer *m, th_tape *tape, const th_batch *b, th_status status,
                           const char *text) {
  double distance[MOST * MOST];
  th_study_data data = {.batches = b, .count = 1};
  cr_expect_eq(th_study_distances(m, tape, &data, distance, &error), status);
  cr_expect(!strncmp(error.text, text, strlen(text)), "%s, not %s", error.text, text);
  cr_expect_eq(th_study_distances(m, tape, &data, distance, NULL), status, "without a place for the error");
}

Test(study_distances, refuse_a_batch_that_the_model_cannot_read) {
  study_desk on = study_desk_open(TH_ENCODER_DECODER, TH_F32);
  th_batch good = on.batch, bad = good;
  bad.source = (th_tensor){0};
  expect_refused(on.model, on.tape, &bad, TH_EINVAL,
                 "study: source is missing: want token ids, i32 [sequences,tokens]");
  bad = good, bad.input.ndim = 1;
  expect_refused(on.model, on.tape, &bad, TH_EINVAL,
                 "study: input [4]: want token ids, i32 [sequences,tokens]");
  bad = good, bad.input.shape[0] = 1;
  expect_refused(on.model, on.tape, &bad, TH_ESHAPE, "study: 4 sources beside 1 inputs: want as many");
  th_tensor_set(&good.source, 3, LOOKING_VOCABULARY);
  expect_refused(on.model, on.tape, &good, TH_EINVAL, "gather: id 11 at element 3 is not below 11");
  cr_expect(th_tape_recording(on.tape) && !th_tape_training(on.tape));
  study_desk_close(&on);
}

/* ---- redundancy ------------------------------------------------------------------------------------------------ */

Test(study_redundancy, is_1_less_the_mean_distance_in_one_attention) {
  th_transformer *m = looking_model(TH_ENCODER_DECODER, TH_F32);
  int n = th_head_count(m);
  double distance[MOST * MOST];
  for (int i = 0; i < n * n; i++) distance[i] = 0.9;
  int first = 6 + LOOKING_HEADS; /* dec1.0, behind two encoder layers and a decoder layer */
  cr_assert(th_head_at(m, first).kind == TH_DECODER_SELF && th_head_at(m, first).layer == 1);
  distance[first * n + first + 1] = 0.1;
  distance[first * n + first + 2] = 0.2;
  distance[(first + 1) * n + first + 2] = 0.6;
  cr_expect_float_eq(th_study_redundancy(m, distance, TH_DECODER_SELF, 1), 0.7, 1e-15);
  cr_expect_float_eq(th_study_redundancy(m, distance, TH_CROSS, 1), 0.1, 1e-15);
  cr_expect(isnan(th_study_redundancy(m, distance, TH_ENCODER_SELF, 2)), "there is no such layer");
  th_transformer_free(m);
}

/* ---- subspaces ------------------------------------------------------------------------------------------------- */

TestSuite(study_subspaces);

/* A model of one encoder layer of two heads with `rows` queries and keys. */
static th_transformer *two_heads(th_dtype dtype, int64_t rows, int64_t width) {
  return looking_new(
      &(th_transformer_config){
          .shape = TH_ENCODER_ONLY,
          .source_vocabulary = 3,
          .encoder_layers = 1,
          .classes = 2,
          .max_length = 2,
          .layer = {.width = width, .heads = 2, .key_width = rows, .value_width = 1, .feed_forward = 2}},
      dtype);
}

/* Block 0, 1: the queries of the heads; 2, 3: their keys. */
static void set_block(const th_transformer *m, int block, const double *rows) {
  const th_nn_attention *attention = &m->encoder[0].self;
  int64_t n = attention->key_width * attention->width;
  for (int64_t i = 0; i < n; i++) th_tensor_set(&attention->in_weight->value, block * n + i, rows[i]);
}

static void subspaces_of(const th_transformer *m, double *query, double *key, double *own) {
  cr_assert_eq(th_study_subspaces(m, query, key, own, &error), TH_OK, "%s", error.text);
}

static void expect_scipys_angles(reference *r, int i, th_dtype dtype, double limit) {
  char name[3][32];
  double query[4], key[4], own[2];
  snprintf(name[0], sizeof name[0], "angles.%d.a", i);
  snprintf(name[1], sizeof name[1], "angles.%d.b", i);
  snprintf(name[2], sizeof name[2], "angles.%d.likeness", i);
  const th_tensor *a = reference_find(r, name[0]), *b = reference_find(r, name[1]);
  double wanted = th_tensor_get(reference_find(r, name[2]), 0);
  th_transformer *m = two_heads(dtype, a->shape[0], a->shape[1]);
  for (int block = 0; block < 4; block++) /* queries a and b, keys b and b */
    set_block(m, block, block == 0 ? a->data : b->data);
  subspaces_of(m, query, key, own);
  expect_close(query[1], wanted, limit, "query", i, 1);
  expect_close(query[2], wanted, limit, "query", i, 2);
  expect_close(own[0], wanted, limit, "own", i, 0);
  cr_expect_float_eq(key[1], 1, limit);
  cr_expect_float_eq(own[1], 1, limit);
  cr_expect(fabs(query[0] - 1) < limit && fabs(query[3] - 1) < limit);
  th_transformer_free(m);
}

Test(study_subspaces, are_alike_as_scipys_principal_angles_say) {
  reference r;
  open_likeness(&r);
  for (int i = 0; i < 4; i++) {
    expect_scipys_angles(&r, i, TH_F64, 1e-12);
    expect_scipys_angles(&r, i, TH_F32, 1e-5);
  }
  reference_close(&r);
}

Test(study_subspaces, without_a_common_direction_are_0_and_of_nothing_at_all_none) {
  static const double left[] = {1, 2, 0, 0, 3, -1, 0, 0}, right[] = {0, 0, 1, 1, 0, 0, 2, 5}, nothing[8];
  double query[4], key[4], own[2];
  th_transformer *m = two_heads(TH_F64, 2, 4);
  set_block(m, 0, left);
  set_block(m, 1, right);
  set_block(m, 2, left);
  set_block(m, 3, nothing);
  subspaces_of(m, query, key, own);
  cr_expect_float_eq(query[1], 0, 1e-15);
  cr_expect_float_eq(own[0], 1, 1e-14);
  cr_expect(isnan(key[1]) && isnan(key[3]) && isnan(own[1]));
  th_transformer_free(m);
}

Test(study_subspaces, are_compared_where_one_residual_stream_is_read) {
  th_transformer *m = looking_model(TH_ENCODER_DECODER, TH_F32);
  int n = th_head_count(m);
  double query[MOST * MOST], key[MOST * MOST], own[MOST];
  subspaces_of(m, query, key, own);
  for (int i = 0; i < n; i++) {
    th_attention_kind one = th_head_at(m, i).kind;
    cr_expect(isnan(own[i]) == (one == TH_CROSS), "its queries are the decoder's, its keys the encoder's");
    for (int j = 0; j < n; j++) {
      th_attention_kind other = th_head_at(m, j).kind;
      double q = query[i * n + j], k = key[i * n + j];
      cr_expect(isnan(q) == ((one == TH_ENCODER_SELF) != (other == TH_ENCODER_SELF)));
      cr_expect(isnan(k) == ((one == TH_DECODER_SELF) != (other == TH_DECODER_SELF)));
      cr_expect((isnan(q) || (q >= 0 && q <= 1)) && (isnan(k) || (k >= 0 && k <= 1)));
      cr_expect((isnan(q) && isnan(query[j * n + i])) || q == query[j * n + i]);
    }
  }
  th_transformer_free(m);
}

Test(study_subspaces, of_weights_that_are_no_numbers_are_an_error) {
  th_transformer *m = two_heads(TH_F32, 2, 4);
  double query[4], key[4], own[2];
  th_tensor_set(&m->encoder[0].self.in_weight->value, 9, NAN);
  cr_expect_eq(th_study_subspaces(m, query, key, own, &error), TH_ENAN);
  cr_expect(strstr(error.text, "subspaces: a weight of a projection is") == error.text);
  th_transformer_free(m);
}

/* ---- the map --------------------------------------------------------------------------------------------------- */

TestSuite(study_map);

static void distances_between(int n, double (*point)[2], double *distance) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      distance[i * n + j] = hypot(point[i][0] - point[j][0], point[i][1] - point[j][1]);
}

static void map_of(int n, const double *distance, double (*place)[2], double *kept) {
  cr_assert_eq(th_study_map(n, distance, &place[0][0], kept, &error), TH_OK, "%s", error.text);
}

/* Wider than high, about the centre, by the rule of signs. */
static double ground[][2] = {{4, 0.5}, {-3, 1}, {1, -2}, {-2, -0.5}, {0, 1}};

Test(study_map, finds_points_of_the_plane_again) {
  double turned[5][2], distance[25], place[5][2], kept;
  double axes[2] = {0}, centre[2] = {0};
  for (int i = 0; i < 5; i++) {
    turned[i][0] = 7 + 0.6 * ground[i][0] + 0.8 * ground[i][1]; /* moved and mirrored as well */
    turned[i][1] = -2 + 0.8 * ground[i][0] - 0.6 * ground[i][1];
  }
  distances_between(5, turned, distance);
  map_of(5, distance, place, &kept);
  cr_expect_float_eq(kept, 1, 1e-12);
  for (int i = 0; i < 5; i++)
    for (int axis = 0; axis < 2; axis++) {
      centre[axis] += place[i][axis];
      axes[axis] += place[i][axis] * place[i][axis];
      for (int j = 0; j < 5; j++)
        expect_close(hypot(place[i][0] - place[j][0], place[i][1] - place[j][1]), distance[i * 5 + j], 1e-12,
                     "distance", i, j);
    }
  cr_expect(fabs(centre[0]) < 1e-12 && fabs(centre[1]) < 1e-12 && axes[0] > axes[1]);
}

Test(study_map, makes_the_largest_coordinate_of_each_axis_positive) {
  double mirrored[5][2], distance[25], place[5][2], again[5][2];
  for (int i = 0; i < 5; i++) mirrored[i][0] = -ground[i][0], mirrored[i][1] = -ground[i][1];
  distances_between(5, mirrored, distance);
  map_of(5, distance, place, NULL);
  for (int axis = 0; axis < 2; axis++) {
    double largest = 0;
    for (int i = 0; i < 5; i++)
      if (fabs(place[i][axis]) > fabs(largest)) largest = place[i][axis];
    cr_expect_gt(largest, 0);
  }
  distances_between(5, ground, distance);
  map_of(5, distance, again, NULL);
  for (int i = 0; i < 10; i++) cr_expect_float_eq(place[i / 2][i % 2], again[i / 2][i % 2], 1e-12);
}

Test(study_map, of_distances_that_no_points_have_is_the_definitions) {
  reference r;
  double place[MOST][2], kept;
  open_likeness(&r);
  const th_tensor *wanted = reference_find(&r, "map.place");
  map_of((int)wanted->shape[0], reference_find(&r, "map.distance")->data, place, &kept);
  for (int64_t i = 0; i < 2 * wanted->shape[0]; i++)
    expect_close(place[i / 2][i % 2], th_tensor_get(wanted, i), 1e-12, "place", (int)(i / 2), (int)(i % 2));
  cr_expect_float_eq(kept, th_tensor_get(reference_find(&r, "map.kept"), 0), 1e-12);
  reference_close(&r);
}

Test(study_map, of_one_point_or_two_or_all_alike_lies_on_a_line) {
  double place[3][2], kept;
  map_of(1, (double[]){0}, place, &kept);
  cr_expect(place[0][0] == 0 && place[0][1] == 0 && kept == 1);
  map_of(2, (double[]){0, 3, 3, 0}, place, &kept);
  cr_expect(fabs(place[0][0] - 1.5) < 1e-15 && fabs(place[1][0] + 1.5) < 1e-15,
            "of two equal ones the first");
  cr_expect(place[0][1] == 0 && place[1][1] == 0 && kept == 1);
  map_of(3, (double[9]){0}, place, &kept);
  for (int i = 0; i < 3; i++) cr_expect(place[i][0] == 0 && place[i][1] == 0 && kept == 1);
}

Test(study_map, of_points_on_a_line_has_no_height_at_all) {
  double line[5][2] = {{0.1}, {0.7}, {1.3}, {-2.9}, {0.35}}, distance[25], place[5][2], kept;
  distances_between(5, line, distance);
  map_of(5, distance, place, &kept);
  for (int i = 0; i < 5; i++) cr_expect(place[i][1] == 0);
  cr_expect_eq(kept, 1);
}

static void expect_bad(int n, const double *distance, const char *map, const char *cluster) {
  double place[4];
  th_merge merges[1];
  cr_expect_eq(th_study_map(n, distance, place, NULL, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, map);
  cr_expect_eq(th_study_cluster(n, distance, merges, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, cluster);
}

Test(study_map, and_clusters_refuse_what_is_no_distance) {
  expect_bad(0, NULL, "map: 0 points: want at least 1", "cluster: 0 points: want at least 1");
  expect_bad(2, (double[]){0, 1, -1, 0}, "map: distance -1 between points 1 and 0: want 0 or more",
             "cluster: distance -1 between points 1 and 0: want 0 or more");
  expect_bad(2, (double[]){0, INFINITY, 1, 0}, "map: distance inf between points 0 and 1: want 0 or more",
             "cluster: distance inf between points 0 and 1: want 0 or more");
  expect_bad(2, (double[]){0, copysign(NAN, 1), 1, 0},
             "map: distance nan between points 0 and 1: want 0 or more",
             "cluster: distance nan between points 0 and 1: want 0 or more");
}

/* ---- clusters -------------------------------------------------------------------------------------------------- */

TestSuite(study_cluster);

static void cluster_of(int n, const double *distance, th_merge *merges) {
  cr_assert_eq(th_study_cluster(n, distance, merges, &error), TH_OK, "%s", error.text);
}

static void expect_merge(th_merge got, int first, int second, double height, int leaves, int i) {
  bool same = got.first == first && got.second == second && got.leaves == leaves;
  cr_assert(same && fabs(got.height - height) < 1e-14,
            "merge %d: %d and %d at %.17g, %d leaves; wanted %d and %d at %.17g, %d leaves", i, got.first,
            got.second, got.height, got.leaves, first, second, height, leaves);
}

Test(study_cluster, is_scipys_average_linkage) {
  reference r;
  open_likeness(&r);
  for (int tree = 0; tree < 4; tree++) {
    char distance[32], merges[32];
    th_merge got[MOST];
    snprintf(distance, sizeof distance, "tree.%d.distance", tree);
    snprintf(merges, sizeof merges, "tree.%d.merges", tree);
    const th_tensor *between = reference_find(&r, distance);
    const double *wanted = reference_find(&r, merges)->data;
    cluster_of((int)between->shape[0], between->data, got);
    for (int i = 0; i < between->shape[0] - 1; i++, wanted += 4)
      expect_merge(got[i], (int)wanted[0], (int)wanted[1], wanted[2], (int)wanted[3], i);
  }
  reference_close(&r);
}

/* By the definition: a cluster is the set of its leaves, two are as far apart as their leaves on the average. */
static double apart(int n, const double *distance, uint32_t one, uint32_t other) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      if (one >> i & 1 && other >> j & 1) sum += distance[i * n + j];
  return sum / (__builtin_popcount(one) * __builtin_popcount(other));
}

static void expect_plain_clusters(int n, const double *distance) {
  uint32_t leaves[2 * MOST] = {0}; /* of each cluster; 0: it has joined another */
  th_merge got[MOST];
  cluster_of(n, distance, got);
  for (int i = 0; i < n; i++) leaves[i] = 1u << i;
  for (int m = 0; m < n - 1; m++) {
    int first = 0, second = 0;
    double nearest = INFINITY;
    for (int i = 0; i < n + m; i++)
      for (int j = i + 1; j < n + m; j++)
        if (leaves[i] && leaves[j] && apart(n, distance, leaves[i], leaves[j]) < nearest)
          nearest = apart(n, distance, leaves[first = i], leaves[second = j]);
    leaves[n + m] = leaves[first] | leaves[second];
    leaves[first] = leaves[second] = 0;
    expect_merge(got[m], first, second, nearest, __builtin_popcount(leaves[n + m]), m);
  }
}

Test(study_cluster, joins_what_is_nearest_on_the_average) {
  double distance[20 * 20];
  for (uint64_t tree = 0; tree < 8; tree++) {
    int n = 3 + 2 * (int)tree;
    for (int i = 0; i < n; i++)
      for (int j = 0; j <= i; j++)
        distance[i * n + j] = distance[j * n + i] =
            i == j ? 0 : th_random_uniform((th_random){tree, 1}, (uint64_t)(i * n + j));
    expect_plain_clusters(n, distance);
  }
}

/* The mean of equal distances is not always that distance to the last bit: it may come out lower. */
Test(study_cluster, of_equally_near_ones_takes_the_first_and_heights_do_not_fall) {
  double distance[7 * 7];
  th_merge got[6];
  for (int k = 1; k < 100; k++) {
    for (int i = 0; i < 49; i++) distance[i] = i / 7 == i % 7 ? 0 : 0.01 * k;
    cluster_of(7, distance, got);
    expect_merge(got[0], 0, 1, 0.01 * k, 2, 0);
    for (int i = 1; i < 6; i++) cr_expect_geq(got[i].height, got[i - 1].height);
    cr_expect_eq(got[5].leaves, 7);
  }
}

Test(study_cluster, of_one_is_nothing_and_of_two_one_merge) {
  th_merge got;
  cluster_of(1, (double[]){0}, NULL);
  cluster_of(2, (double[]){0, 0.25, 0.25, 0}, &got);
  expect_merge(got, 0, 1, 0.25, 2, 0);
}
