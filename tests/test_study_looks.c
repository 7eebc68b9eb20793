/* What heads look at: heads that are known by construction, and every measure against a plain version of it. */
#include "engine_desk.h"
#include "study_models.h"

TestSuite(capture);
TestSuite(looks);
TestSuite(jobs);

/* ---- data -------------------------------------------------------------------------------------------------- */

/* Tokens side by side, each sequence ended by -1; 0 pads. */
static th_tensor tokens_of(desk *d, int64_t sequences, int64_t longest, const int *tokens, int32_t *length) {
  th_tensor made = desk_zeros(d, TH_I32, SHAPE(sequences, longest));
  for (int64_t b = 0; b < sequences; b++) {
    for (length[b] = 0; *tokens >= 0; tokens++)
      th_tensor_set(&made, b * longest + length[b]++, (double)*tokens);
    tokens++;
  }
  return made;
}

typedef struct {
  desk desk;
  int32_t source_length[8], input_length[8];
  th_batch batch;
  th_study_data data;
} scene;

static scene scene_open(void) { return (scene){.desk = desk_open()}; }

/* After everything is in its place: no copies of a scene from here on. */
static void set_data(scene *s) {
  if (s->batch.source.data) s->batch.source_length = s->source_length;
  if (s->batch.input.data) s->batch.input_length = s->input_length;
  s->data = (th_study_data){
      .batches = &s->batch, .count = 1, .begin = HAND_BEGIN, .end = HAND_END, .one_vocabulary = true};
}

static void read_source(scene *s, int64_t sequences, int64_t longest, const int *tokens) {
  s->batch.source = tokens_of(&s->desk, sequences, longest, tokens, s->source_length);
  set_data(s);
}

static void read_input(scene *s, int64_t sequences, int64_t longest, const int *tokens) {
  s->batch.input = tokens_of(&s->desk, sequences, longest, tokens, s->input_length);
  set_data(s);
}

/* The heads of a model, which is freed. */
static void look_at(scene *s, th_transformer *model, th_head_look *looks) {
  th_error error = {0};
  cr_assert(th_study_looks(model, s->desk.tape, &s->data, looks, &error) == TH_OK, "%s", error.text);
  th_transformer_free(model);
}

static void expect_number(double got, double wanted, double limit, const char *what, int which) {
  bool both_nan = isnan(got) && isnan(wanted);
  cr_assert(both_nan || fabs(got - wanted) <= limit, "%s of %s: %.17g, wanted %.17g", what,
            th_look_name((th_look)which), got, wanted);
}

static void expect_look(const th_head_look *look, th_look which, double value, double chance) {
  expect_number(look->value[which].mean, value, 1e-12, "value", which);
  expect_number(look->chance[which], chance, 1e-12, "chance", which);
}

static void expect_job(const th_head_look *look, th_job job, double score) {
  th_named named = th_head_job(look, NAN);
  cr_assert(named.job == job, "%s, wanted %s", th_job_name(named.job), th_job_name(job));
  cr_assert(fabs(named.score - score) < 1e-12, "%s: %.17g", th_job_name(job), named.score);
}

/* ---- heads that are known: an encoder ------------------------------------------------------------------------ */

/* Two sequences, of 6 and 5 keys; the first and third token of each are the same. */
static scene ragged_sources(void) {
  scene s = scene_open();
  read_source(&s, 2, 7, (int[]){3, 4, 3, 5, 6, HAND_END, -1, 7, 8, 7, 9, HAND_END, -1});
  return s;
}

enum { PREVIOUS, NEXT, DIAGONAL, FIRST, SAME, END, UNIFORM, FAR, HEADS };

static void look_at_known_encoder(scene *s, th_dtype dtype, th_head_look looks[HEADS]) {
  th_transformer *model = hand_model(TH_ENCODER_ONLY, dtype, 1, HEADS);
  const th_nn_attention *a = th_head_attention(model, TH_ENCODER_SELF, 0);
  int own[HAND_COUNT];
  hand_line(own, 1, 0, HAND_COUNT - 1);
  hand_places(a, PREVIOUS, 1, -1, HAND_COUNT - 1, 2, 2);
  hand_places(a, NEXT, 1, 1, HAND_COUNT - 1, 2, 2);
  hand_places(a, DIAGONAL, 1, 0, HAND_COUNT - 1, 2, 2);
  hand_places(a, FAR, 1, 2, HAND_COUNT - 1, 2, 2);
  hand_keys(a, FIRST, HAND_PLACE, 2);
  hand_always(a, FIRST, HAND_PLACE, 0, HAND_HARD);
  hand_keys(a, END, HAND_TOKEN, 2);
  hand_always(a, END, HAND_TOKEN, HAND_END, HAND_HARD);
  hand_tokens(a, SAME, HAND_TOKEN, 2, 2);
  hand_keys(a, SAME, HAND_PLACE, 2); /* but not itself */
  hand_query(a, SAME, HAND_PLACE, 2, HAND_PLACE, own, -2 * HAND_HARD);
  set_data(s);
  look_at(s, model, looks);
}

static const double sixth_or_fifth = (1 / 6. + 1 / 5.) / 2; /* uniform over the keys of ragged_sources */

Test(looks, heads_of_places_have_their_whole_share_and_name) {
  scene s = ragged_sources();
  th_head_look looks[HEADS];
  look_at_known_encoder(&s, TH_F64, looks);
  expect_look(&looks[PREVIOUS], TH_LOOK_PREVIOUS, 1, sixth_or_fifth);
  expect_job(&looks[PREVIOUS], TH_JOB_PREVIOUS, 1);
  expect_look(&looks[NEXT], TH_LOOK_NEXT, 1, sixth_or_fifth);
  expect_job(&looks[NEXT], TH_JOB_NEXT, 1);
  expect_look(&looks[DIAGONAL], TH_LOOK_DIAGONAL, 1, sixth_or_fifth);
  expect_look(&looks[DIAGONAL], TH_LOOK_ENTROPY, 0, NAN);
  expect_look(&looks[DIAGONAL], TH_LOOK_DISTANCE, 0, NAN);
  expect_look(&looks[DIAGONAL], TH_LOOK_CONFIDENCE, (5 / 6. + 4 / 5.) / 2,
              NAN); /* not the mark's on itself */
  expect_job(&looks[DIAGONAL], TH_JOB_DIAGONAL, 1);
  expect_look(&looks[FIRST], TH_LOOK_FIRST, 1, sixth_or_fifth);
  expect_look(&looks[FIRST], TH_LOOK_CONFIDENCE, 1, NAN);
  expect_look(&looks[FIRST], TH_LOOK_DISTANCE, (15 / 6. + 10 / 5.) / 2, NAN);
  expect_look(&looks[FIRST], TH_LOOK_BACK, (15 / 6. + 10 / 5.) / 2, NAN);
  expect_job(&looks[FIRST], TH_JOB_FIRST, 1);
  desk_close(&s.desk);
}

Test(looks, the_best_offset_is_found_among_those_that_half_of_the_rows_have) {
  scene s = ragged_sources();
  th_head_look looks[HEADS];
  look_at_known_encoder(&s, TH_F64, looks);
  cr_expect(looks[FAR].offset == 2 && looks[NEXT].offset == 1 && looks[PREVIOUS].offset == -1);
  expect_look(&looks[FAR], TH_LOOK_OFFSET, 1, sixth_or_fifth);
  expect_job(&looks[FAR], TH_JOB_OFFSET, 1);
  cr_expect(looks[UNIFORM].offset == 0, "all are alike: the nearest, not %ld", (long)looks[UNIFORM].offset);
  cr_expect(llabs(looks[FIRST].offset) <= 3, "few rows have %ld", (long)looks[FIRST].offset);
  desk_close(&s.desk);
}

Test(looks, heads_of_tokens_have_their_whole_share_and_name) {
  scene s = ragged_sources();
  th_head_look looks[HEADS];
  look_at_known_encoder(&s, TH_F64, looks);
  expect_look(&looks[SAME], TH_LOOK_SAME, 1, sixth_or_fifth);
  expect_job(&looks[SAME], TH_JOB_SAME, 1);
  expect_look(&looks[END], TH_LOOK_END, 1, sixth_or_fifth);
  expect_look(&looks[END], TH_LOOK_CONFIDENCE, exp(-HAND_HARD), NAN);
  expect_job(&looks[END], TH_JOB_SINK, 1);
  expect_look(&looks[END], TH_LOOK_BEGIN, NAN, NAN); /* a source has none */
  desk_close(&s.desk);
}

Test(looks, a_head_without_queries_is_uniform_and_scores_what_chance_does) {
  scene s = ragged_sources();
  th_head_look looks[HEADS];
  look_at_known_encoder(&s, TH_F64, looks);
  const th_head_look *u = &looks[UNIFORM];
  expect_look(u, TH_LOOK_ENTROPY, (log(6) + log(5)) / 2, NAN);
  cr_expect(fabs(u->value[TH_LOOK_ENTROPY].deviation - (log(6) - log(5)) / 2) < 1e-12);
  expect_look(u, TH_LOOK_SPREAD, 1, NAN);
  expect_look(u, TH_LOOK_CONFIDENCE, sixth_or_fifth, NAN);
  expect_look(u, TH_LOOK_BACK, 0, NAN);
  expect_look(u, TH_LOOK_DISTANCE, (35 / 18. + 8 / 5.) / 2, NAN); /* (n^2 - 1) / 3n */
  for (int k = TH_LOOK_DIAGONAL; k < TH_LOOK_PADDING; k++) {
    double wanted = k == TH_LOOK_BEGIN ? NAN : sixth_or_fifth;
    expect_look(u, (th_look)k, k == TH_LOOK_PREFIX ? u->chance[k] : wanted,
                k == TH_LOOK_PREFIX ? u->chance[k] : wanted);
  }
  expect_job(u, TH_JOB_BROAD, 1);
  for (int h = 0; h < HEADS; h++) expect_look(&looks[h], TH_LOOK_PADDING, 0, 0);
  desk_close(&s.desk);
}

Test(looks, float_agrees_with_double) {
  scene s = ragged_sources();
  th_head_look narrow[HEADS], wide[HEADS];
  look_at_known_encoder(&s, TH_F32, narrow);
  look_at_known_encoder(&s, TH_F64, wide);
  for (int h = 0; h < HEADS; h++)
    for (int k = 0; k < TH_LOOKS; k++)
      expect_number(narrow[h].value[k].mean, wide[h].value[k].mean, 1e-5, "float value", k);
  desk_close(&s.desk);
}

Test(looks, reverse_and_last_leave_the_end_mark_aside) {
  scene s = scene_open();
  th_head_look looks[2];
  read_source(&s, 2, 5, (int[]){3, 4, 5, 6, HAND_END, -1, 8, 8, 9, 9, HAND_END, -1});
  th_transformer *model = hand_model(TH_ENCODER_ONLY, TH_F64, 1, 2);
  const th_nn_attention *a = th_head_attention(model, TH_ENCODER_SELF, 0);
  hand_places(a, 0, -1, 3, 3, 2, 2);
  hand_keys(a, 1, HAND_PLACE, 2);
  hand_always(a, 1, HAND_PLACE, 3, HAND_HARD);
  look_at(&s, model, looks);
  expect_look(&looks[0], TH_LOOK_ANTI_DIAGONAL, 1, 1 / 5.);
  expect_job(&looks[0], TH_JOB_REVERSE, 1);
  expect_look(&looks[1], TH_LOOK_LAST, 1, 1 / 5.);
  expect_job(&looks[1], TH_JOB_LAST, 1);
  desk_close(&s.desk);
}

/* ---- heads that are known: decoders -------------------------------------------------------------------------- */

static scene repeated_inputs(void) {
  scene s = scene_open();
  read_input(&s, 2, 8, (int[]){HAND_BEGIN, 3, 4, 5, 3, 4, 5, -1, HAND_BEGIN, 6, 7, 8, 6, -1});
  return s;
}

Test(looks, an_induction_pair_is_found) {
  scene s = repeated_inputs();
  th_head_look looks[4];
  set_data(&s);
  look_at(&s, hand_induction(TH_F64), looks);
  double chance =
      ((1 / 2. + 1 / 3. + 1 / 4. + 1 / 5. + 1 / 6. + 1 / 7.) / 6 + (1 / 2. + 1 / 3. + 1 / 4. + 1 / 5.) / 4) /
      2;
  expect_look(&looks[0], TH_LOOK_PREVIOUS, 1, chance);
  expect_job(&looks[0], TH_JOB_PREVIOUS, 1);
  expect_look(&looks[1], TH_LOOK_BEGIN, 1, chance);
  expect_look(&looks[1], TH_LOOK_FIRST, 1, chance);
  expect_job(&looks[1], TH_JOB_SINK, 1);
  expect_look(&looks[2], TH_LOOK_PREFIX, 1, ((1 / 5. + 1 / 6. + 1 / 7.) / 3 + 1 / 5.) / 2);
  expect_job(&looks[2], TH_JOB_INDUCTION, 1);
  expect_job(&looks[3], TH_JOB_BROAD, 1);
  for (int h = 0; h < 4; h++) {
    expect_look(&looks[h], TH_LOOK_NEXT, NAN, NAN); /* out of sight */
    expect_look(&looks[h], TH_LOOK_LAST, NAN, NAN);
  }
  desk_close(&s.desk);
}

Test(looks, the_first_token_is_a_sink_only_where_it_is_a_mark) {
  scene s = repeated_inputs();
  th_head_look looks[4];
  set_data(&s);
  s.data.begin = s.data.end = -1;
  look_at(&s, hand_induction(TH_F64), looks);
  cr_expect(isnan(looks[1].value[TH_LOOK_BEGIN].mean) && isnan(looks[1].value[TH_LOOK_END].mean));
  expect_job(&looks[1], TH_JOB_FIRST, 1);
  desk_close(&s.desk);
}

/* Cross-attention of four heads: diagonal, reverse (of five tokens), the query's token, the end mark. */
static void look_at_known_decoder(scene *s, th_head_look looks[12]) {
  th_transformer *model = hand_model(TH_ENCODER_DECODER, TH_F64, 1, 4);
  const th_nn_attention *a = th_head_attention(model, TH_CROSS, 0);
  hand_places(a, 0, 1, 0, HAND_COUNT - 1, 2, HAND_RAW);
  hand_places(a, 1, -1, 4, 4, 2, HAND_RAW);
  hand_tokens(a, 2, HAND_TOKEN, 2, HAND_RAW);
  hand_keys(a, 3, HAND_TOKEN, HAND_RAW);
  hand_always(a, 3, HAND_TOKEN, HAND_END, HAND_HARD);
  look_at(s, model, looks);
}

Test(looks, copying_is_the_diagonal_of_cross_attention_and_reversing_its_anti_diagonal) {
  scene s = scene_open();
  int32_t length[2];
  th_head_look looks[12];
  read_source(&s, 2, 6, (int[]){3, 4, 5, 6, 7, HAND_END, -1, 9, 8, 9, 8, 9, HAND_END, -1});
  read_input(&s, 2, 6, (int[]){HAND_BEGIN, 3, 4, 5, 6, 7, -1, HAND_BEGIN, 9, 8, 9, 8, 9, -1});
  s.batch.output =
      tokens_of(&s.desk, 2, 6, (int[]){3, 4, 5, 6, 7, HAND_END, -1, 9, 8, 9, 8, 9, HAND_END, -1}, length);
  look_at_known_decoder(&s, looks);
  const th_head_look *cross = looks + 8;
  expect_look(&cross[0], TH_LOOK_DIAGONAL, 1, 1 / 6.);
  expect_look(&cross[0], TH_LOOK_SAME, 1, (1 / 6. + (3 * 3 + 2 * 2 + 1) / 36.) / 2);
  expect_job(&cross[0], TH_JOB_DIAGONAL, 1); /* the token is the same, too: the place says more */
  expect_look(&cross[1], TH_LOOK_ANTI_DIAGONAL, 1, 1 / 6.);
  expect_job(&cross[1], TH_JOB_REVERSE, 1);
  expect_look(&cross[3], TH_LOOK_END, 1, 1 / 6.);
  expect_job(&cross[3], TH_JOB_SINK, 1);
  desk_close(&s.desk);
}

Test(looks, cross_attention_looks_for_the_token_that_is_to_follow_and_after_the_one_that_was_read) {
  scene s = scene_open();
  th_head_look looks[12];
  read_source(&s, 1, 6, (int[]){3, 4, 5, 6, 7, HAND_END, -1});
  read_input(&s, 1, 6, (int[]){6, 3, 7, 4, -1}); /* shorter than its row */
  s.batch.output = s.batch.input;
  look_at_known_decoder(&s, looks);
  expect_look(&looks[10], TH_LOOK_SAME, 1, 1 / 6.);
  expect_look(&looks[10], TH_LOOK_PREFIX, exp(-HAND_HARD), 1 / 6.);
  expect_job(&looks[10], TH_JOB_SAME, 1);
  s.data.one_vocabulary = false;
  look_at_known_decoder(&s, looks);
  expect_look(&looks[10], TH_LOOK_SAME, NAN, NAN);
  expect_look(&looks[10], TH_LOOK_PREFIX, NAN, NAN);
  desk_close(&s.desk);
}

Test(looks, rows_with_one_key_say_nothing) {
  scene s = scene_open();
  th_head_look looks[1];
  read_source(&s, 2, 3, (int[]){HAND_END, -1, -1});
  look_at(&s, hand_model(TH_ENCODER_ONLY, TH_F64, 1, 1), looks);
  for (int k = 0; k < TH_LOOKS; k++) {
    expect_look(&looks[0], (th_look)k, NAN, NAN);
    cr_expect(isnan(looks[0].value[k].deviation));
  }
  cr_expect(looks[0].offset == 0);
  expect_job(&looks[0], TH_JOB_MIXED, 0);
  desk_close(&s.desk);
}

/* ---- random models against plain loops ------------------------------------------------------------------------- */

enum { BATCHES = 3, EACH = 4, WORDS = 7 };

typedef struct {
  desk desk;
  th_transformer *model;
  th_batch batches[BATCHES];
  th_study_data data;
} trial;

static th_tensor random_tokens(desk *d, int64_t sequences, int64_t longest, int below) {
  th_tensor made = desk_zeros(d, TH_I32, SHAPE(sequences, longest));
  for (int64_t i = 0; i < sequences * longest; i++)
    th_tensor_set(&made, i, (double)th_random_below((th_random){23, d->stream}, (uint64_t)i, below));
  d->stream++;
  return made;
}

static int32_t *random_lengths(desk *d, int64_t sequences, int64_t longest) {
  int32_t *made = desk_bytes(d, sequences * (int64_t)sizeof *made);
  for (int64_t b = 0; b < sequences; b++)
    made[b] = (int32_t)(1 + th_random_below((th_random){29, d->stream}, (uint64_t)b, longest));
  d->stream++;
  return made;
}

/* Tokens 0 and up, with marks among them anywhere; an end mark at the end of some sources. */
static void make_batch(trial *t, int i) {
  desk *d = &t->desk;
  int64_t s = 5 + i, n = 8 - i;
  bool ragged = i != 1; /* one batch says no lengths */
  th_batch *b = &t->batches[i];
  if (t->model->config.shape != TH_DECODER_ONLY) {
    b->source = random_tokens(d, EACH, s, WORDS);
    b->source_length = ragged ? random_lengths(d, EACH, s) : NULL;
    for (int64_t k = 0; k < EACH; k += 2)
      th_tensor_set(&b->source, k * s + (ragged ? b->source_length[k] : s) - 1, HAND_END);
  }
  if (t->model->config.shape == TH_ENCODER_ONLY) return;
  b->input = random_tokens(d, EACH, n, WORDS);
  b->input_length = ragged ? random_lengths(d, EACH, n) : NULL;
  b->output = random_tokens(d, EACH, n, WORDS);
  for (int64_t k = 0; k < EACH * n; k += 5) th_tensor_set(&b->output, k, -1);
}

static trial *trial_of(th_transformer_shape shape, th_attention_method method) {
  desk d = desk_open();
  trial *t = desk_bytes(&d, sizeof *t);
  bool source = shape != TH_DECODER_ONLY, target = shape != TH_ENCODER_ONLY;
  th_transformer_config config = {.shape = shape,
                                  .source_vocabulary = source ? WORDS : 0,
                                  .target_vocabulary = target ? WORDS : 0,
                                  .encoder_layers = source ? 2 : 0,
                                  .decoder_layers = target ? 2 : 0,
                                  .classes = target ? 0 : 3,
                                  .max_length = 12,
                                  .layer = {.width = 12,
                                            .heads = 3,
                                            .feed_forward = 16,
                                            .attention = {.kind = method},
                                            .cross_attention = {.kind = method}}};
  t->desk = d;
  cr_assert(th_transformer_new(&t->model, &config, TH_F64, 5, NULL) == TH_OK);
  for (int i = 0; i < th_params_count(t->model->params); i++) { /* looks that are neither even nor hard */
    const th_param *p = th_params_at(t->model->params, i);
    if (strstr(p->name, "in_proj") || strstr(p->name, "mix_"))
      th_fill_normal(&p->value, 0, 0.8, (th_random){31, (uint64_t)i});
  }
  for (int i = 0; i < BATCHES; i++) make_batch(t, i);
  t->data = (th_study_data){t->batches, BATCHES, HAND_BEGIN, HAND_END, true, NULL, NULL};
  return t;
}

static trial *trial_open(th_transformer_shape shape) { return trial_of(shape, TH_ATTENTION_FULL); }

static void trial_close(trial *t) {
  desk d = t->desk;
  th_transformer_free(t->model);
  desk_close(&d);
}

static void look_at_trial(trial *t, th_tape *tape, const th_study_data *data, th_head_look *looks) {
  th_error error = {0};
  cr_assert(th_study_looks(t->model, tape, data, looks, &error) == TH_OK, "%s", error.text);
}

/* One head in one sequence, from the captured weights: everything by its definition, one element at a time. */
typedef struct {
  const th_captured *seen;
  const th_batch *batch;
  int64_t b, h, rows, keys; /* that count */
  int32_t begin, end;
} plain;

static int token_at(const th_tensor *ids, int64_t b, int64_t i) {
  return (int)th_tensor_get(ids, b * ids->shape[1] + i);
}
static const th_tensor *keys_of(const plain *p) {
  return p->seen->kind == TH_DECODER_SELF ? &p->batch->input : &p->batch->source;
}
static int key_token(const plain *p, int64_t j) { return token_at(keys_of(p), p->b, j); }
static int own_token(const plain *p, int64_t i) {
  return token_at(p->seen->kind == TH_ENCODER_SELF ? &p->batch->source : &p->batch->input, p->b, i);
}
/* Its size's part of the row's: of weights that make a sum of 1, the weight. */
static double weight_at(const plain *p, int64_t i, int64_t j) {
  const int64_t *shape = p->seen->weights.shape;
  int64_t row = ((p->b * shape[1] + p->h) * shape[2] + i) * shape[3];
  double sum = 0;
  for (int64_t k = 0; k < shape[3]; k++) sum += fabs(th_tensor_get(&p->seen->weights, row + k));
  return fabs(th_tensor_get(&p->seen->weights, row + j)) / sum;
}
static bool in_sight(const plain *p, int64_t i, int64_t j) {
  return j >= 0 && j < p->keys && (p->seen->kind != TH_DECODER_SELF || j <= i);
}
static int64_t sights(const plain *p, int64_t i) {
  int64_t count = 0;
  for (int64_t j = 0; j < p->keys; j++) count += in_sight(p, i, j);
  return count;
}

/* Is key j one of those that a share is about? `offset` is TH_LOOK_OFFSET's. */
static bool is_named(const plain *p, th_look look, int64_t i, int64_t j, int64_t offset) {
  bool self = p->seen->kind != TH_CROSS;
  int64_t n = p->keys && key_token(p, p->keys - 1) == p->end ? p->keys - 1 : p->keys;
  switch (look) {
  case TH_LOOK_DIAGONAL: return j == i;
  case TH_LOOK_ANTI_DIAGONAL: return j + i == n - 1;
  case TH_LOOK_PREVIOUS: return j == i - 1;
  case TH_LOOK_NEXT: return j == i + 1;
  case TH_LOOK_FIRST: return j == 0;
  case TH_LOOK_LAST: return j == n - 1 && p->seen->kind != TH_DECODER_SELF;
  case TH_LOOK_OFFSET: return j - i == offset;
  case TH_LOOK_SAME:
    return self ? j != i && key_token(p, j) == own_token(p, i)
                : key_token(p, j) == token_at(&p->batch->output, p->b, i);
  case TH_LOOK_PREFIX: return j > 0 && key_token(p, j - 1) == own_token(p, i) && (!self || j - 1 < i);
  case TH_LOOK_END: return key_token(p, j) == p->end;
  case TH_LOOK_BEGIN: return key_token(p, j) == p->begin;
  default: return false;
  }
}

/* One row's value; NAN: it has none. */
static double plain_row(const plain *p, th_look look, int64_t i, int64_t offset, bool uniform) {
  double sum = 0, largest = NAN, count = (double)sights(p, i);
  int64_t found = 0;
  if (count < 2) return NAN;
  for (int64_t j = 0; j < keys_of(p)->shape[1]; j++) {
    double w = uniform ? in_sight(p, i, j) / count : weight_at(p, i, j);
    if (look == TH_LOOK_PADDING) sum += j >= p->keys ? w : 0, found++;
    if (!in_sight(p, i, j)) continue;
    if (look >= TH_LOOK_DIAGONAL && is_named(p, look, i, j, offset)) sum += w, found++;
    if (look == TH_LOOK_ENTROPY || look == TH_LOOK_SPREAD) sum -= w > 0 ? w * log(w) : 0, found++;
    if (look == TH_LOOK_DISTANCE) sum += w * (double)llabs(i - j), found++;
    if (look == TH_LOOK_BACK) sum += w * (double)(i - j), found++;
    if (look == TH_LOOK_CONFIDENCE && key_token(p, j) != p->end) largest = fmax(largest, w);
  }
  if (look == TH_LOOK_CONFIDENCE) return largest;
  if (look == TH_LOOK_SPREAD) sum /= log(count);
  return found ? sum : NAN;
}

typedef struct {
  double values[BATCHES * EACH];
  int count;
  int64_t rows; /* that have one */
} plain_values;

static void plain_sequence(const plain *p, th_look look, int64_t offset, bool uniform, plain_values *to) {
  double sum = 0;
  int64_t rows = 0;
  for (int64_t i = 0; i < p->rows; i++) {
    double value = plain_row(p, look, i, offset, uniform);
    if (!isnan(value)) sum += value, rows++;
  }
  if (rows) to->values[to->count++] = sum / (double)rows;
  to->rows += rows;
}

static plain_values plain_head(trial *t, const th_capture *seen, int attention, int64_t h, th_look look,
                               int64_t offset, bool uniform) {
  plain_values values = {.count = 0};
  for (int i = 0; i < BATCHES; i++)
    for (int64_t b = 0; b < EACH; b++) {
      const th_batch *batch = &t->batches[i];
      plain p = {&seen[i].attentions[attention], batch, b, h, 0, 0, HAND_BEGIN, HAND_END};
      bool from_source = p.seen->kind == TH_ENCODER_SELF, to_source = p.seen->kind != TH_DECODER_SELF;
      const int32_t *rows = from_source ? batch->source_length : batch->input_length,
                    *keys = to_source ? batch->source_length : batch->input_length;
      p.rows = rows ? rows[b] : (from_source ? &batch->source : &batch->input)->shape[1];
      p.keys = keys ? keys[b] : keys_of(&p)->shape[1];
      plain_sequence(&p, look, offset, uniform, &values);
    }
  return values;
}

static th_statistic plain_statistic(const plain_values *v) {
  th_statistic s = {0, 0};
  if (!v->count) return (th_statistic){NAN, NAN};
  for (int i = 0; i < v->count; i++) s.mean += v->values[i] / v->count;
  for (int i = 0; i < v->count; i++) s.deviation += pow(v->values[i] - s.mean, 2) / v->count;
  return (th_statistic){s.mean, sqrt(s.deviation)};
}

static void expect_plain(trial *t, const th_capture *seen, int attention, int64_t h,
                         const th_head_look *got) {
  for (int k = 0; k < TH_LOOKS; k++) {
    plain_values v = plain_head(t, seen, attention, h, (th_look)k, got->offset, false);
    plain_values u = plain_head(t, seen, attention, h, (th_look)k, got->offset, true);
    th_statistic wanted = plain_statistic(&v);
    expect_number(got->value[k].mean, wanted.mean, 1e-12, "mean", k);
    expect_number(got->value[k].deviation, wanted.deviation, 1e-12, "deviation", k);
    expect_number(got->chance[k], k < TH_LOOK_DIAGONAL ? NAN : plain_statistic(&u).mean, 1e-12, "chance", k);
  }
}

static void expect_best_offset(trial *t, const th_capture *seen, int attention, int64_t h,
                               const th_head_look *got) {
  int64_t rows = plain_head(t, seen, attention, h, TH_LOOK_ENTROPY, 0, false).rows;
  double best = got->value[TH_LOOK_OFFSET].mean;
  for (int64_t d = -10; d <= 10; d++) {
    plain_values v = plain_head(t, seen, attention, h, TH_LOOK_OFFSET, d, false);
    if (2 * v.rows >= rows)
      cr_assert(plain_statistic(&v).mean <= best + 1e-9, "offset %ld is better", (long)d);
    if (d == got->offset)
      cr_assert(2 * v.rows >= rows, "offset %ld: %ld of %ld rows", (long)d, (long)v.rows, (long)rows);
  }
}

static void expect_all_plain(th_transformer_shape shape, th_attention_method method) {
  trial *t = trial_of(shape, method);
  th_head_look looks[18];
  th_capture seen[BATCHES];
  look_at_trial(t, t->desk.tape, &t->data, looks);
  for (int i = 0; i < BATCHES; i++)
    cr_assert(th_study_capture(t->model, t->desk.tape, &t->batches[i], TH_CAPTURE_WEIGHTS, &seen[i], NULL) ==
              TH_OK);
  for (int a = 0, k = 0; a < seen[0].count; a++)
    for (int h = 0; h < 3; h++, k++) {
      expect_plain(t, seen, a, h, &looks[k]);
      expect_best_offset(t, seen, a, h, &looks[k]);
      cr_expect(looks[k].value[TH_LOOK_PADDING].mean == 0);
    }
  for (int i = 0; i < BATCHES; i++) th_capture_free(&seen[i]);
  trial_close(t);
}

Test(looks, agree_with_plain_loops_in_an_encoder_decoder) {
  expect_all_plain(TH_ENCODER_DECODER, TH_ATTENTION_FULL);
}
Test(looks, agree_with_plain_loops_in_a_decoder) { expect_all_plain(TH_DECODER_ONLY, TH_ATTENTION_FULL); }
Test(looks, agree_with_plain_loops_in_an_encoder) { expect_all_plain(TH_ENCODER_ONLY, TH_ATTENTION_FULL); }
Test(looks, of_weights_of_any_sign_are_those_of_their_sizes) {
  expect_all_plain(TH_ENCODER_DECODER, TH_ATTENTION_TALKING);
}

/* ---- what they must not depend on ------------------------------------------------------------------------------ */

/* The first `sequences` of a batch from `b` on, in rows that are `more` longer. */
static th_batch part_of(desk *d, const th_batch *of, int64_t b, int64_t more) {
  th_batch part = {0};
  const th_tensor *from[] = {&of->source, &of->input, &of->output};
  th_tensor *to[] = {&part.source, &part.input, &part.output};
  for (int k = 0; k < 3; k++) {
    int64_t width = from[k]->shape[1];
    *to[k] = desk_zeros(d, TH_I32, SHAPE(1, width + more));
    for (int64_t i = 0; i < width; i++) th_tensor_set(to[k], i, token_at(from[k], b, i));
  }
  int32_t *lengths = desk_bytes(d, 2 * (int64_t)sizeof *lengths);
  lengths[0] = of->source_length ? of->source_length[b] : (int32_t)of->source.shape[1];
  lengths[1] = of->input_length ? of->input_length[b] : (int32_t)of->input.shape[1];
  part.source_length = &lengths[0];
  part.input_length = &lengths[1];
  return part;
}

Test(looks, do_not_depend_on_how_sequences_are_batched) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_head_look together[18], apart[18];
  th_batch alone[BATCHES * EACH];
  for (int i = 0; i < BATCHES * EACH; i++)
    alone[i] = part_of(&t->desk, &t->batches[i / EACH], i % EACH, i % 3);
  th_study_data data = t->data;
  data.batches = alone;
  data.count = BATCHES * EACH;
  look_at_trial(t, t->desk.tape, &t->data, together);
  look_at_trial(t, t->desk.tape, &data, apart);
  for (int h = 0; h < 18; h++) {
    cr_expect(together[h].offset == apart[h].offset);
    for (int k = 0; k < TH_LOOKS; k++) {
      expect_number(apart[h].value[k].mean, together[h].value[k].mean, 1e-12, "mean", k);
      expect_number(apart[h].value[k].deviation, together[h].value[k].deviation, 1e-12, "deviation", k);
      expect_number(apart[h].chance[k], together[h].chance[k], 1e-12, "chance", k);
    }
  }
  trial_close(t);
}

Test(looks, are_the_same_bits_for_any_number_of_threads) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_head_look one[18], three[18];
  memset(one, 0, sizeof one);
  memset(three, 0, sizeof three);
  th_pool *pool = th_pool_new(3);
  th_tape *tape = th_tape_new(pool);
  look_at_trial(t, t->desk.tape, &t->data, one);
  look_at_trial(t, tape, &t->data, three);
  cr_expect(!memcmp(one, three, sizeof one));
  th_tape_free(tape);
  th_pool_free(pool);
  trial_close(t);
}

Test(looks, leave_model_and_tape_as_they_were) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_head_look looks[18], again[18];
  th_tensor values = th_params_values(t->model->params);
  th_tensor before = desk_copy(&t->desk, TH_F64, &values);
  th_capture seen;
  for (int on = 0; on < 2; on++) {
    th_tape_record(t->desk.tape, on);
    th_tape_train(t->desk.tape, on);
    look_at_trial(t, t->desk.tape, &t->data, on ? again : looks);
    cr_assert(th_study_capture(t->model, t->desk.tape, t->batches, TH_CAPTURE_KEY, &seen, NULL) == TH_OK);
    th_capture_free(&seen);
    cr_expect(th_tape_recording(t->desk.tape) == on && th_tape_training(t->desk.tape) == on);
    cr_expect(th_tape_bytes(t->desk.tape) == 0);
  }
  expect_near(&values, &before, 0, "weights");
  cr_expect(looks[0].value[TH_LOOK_ENTROPY].mean == again[0].value[TH_LOOK_ENTROPY].mean);
  trial_close(t);
}

/* ---- progress and errors --------------------------------------------------------------------------------------- */

static bool count_up_to_two(void *context, double done) {
  double *last = context;
  cr_expect(done > *last && done <= 1);
  *last = done;
  return done < 0.6;
}

Test(looks, can_be_stopped) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_head_look looks[18];
  th_error error = {0};
  double last = 0;
  t->data.progress = count_up_to_two;
  t->data.context = &last;
  cr_expect(th_study_looks(t->model, t->desk.tape, &t->data, looks, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "stopped");
  cr_expect(fabs(last - 2 / 3.) < 1e-12);
  cr_expect(th_tape_recording(t->desk.tape));
  trial_close(t);
}

static void expect_refusal(trial *t, th_status status, const char *text) {
  th_head_look looks[18];
  th_error error = {0};
  cr_expect(th_study_looks(t->model, t->desk.tape, &t->data, looks, &error) == status);
  cr_expect_str_eq(error.text, text);
}

Test(looks, say_what_a_batch_lacks) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_batch whole = t->batches[2];
  t->batches[2].source.data = NULL;
  expect_refusal(t, TH_EINVAL, "batch 2 has no source");
  t->batches[2] = whole;
  t->batches[2].input.data = NULL;
  expect_refusal(t, TH_EINVAL, "batch 2 has no input");
  t->batches[2] = whole;
  t->batches[2].source.shape[0] = 3;
  expect_refusal(t, TH_ESHAPE, "batch 2 has 3 sources and 4 inputs");
  t->batches[2] = whole;
  t->batches[2].output.shape[1] = t->batches[2].output.stride[0] = 2;
  expect_refusal(t, TH_ESHAPE, "batch 2: input [4,6] and output [4,2] are of different shapes");
  t->batches[2] = whole;
  t->batches[2].source.dtype = TH_F32;
  expect_refusal(t, TH_ESHAPE, "batch 2: source is f32 [4,7], want a dense i32 [sequences,tokens]");
  trial_close(t);
}

Test(looks, pass_on_what_the_tape_met) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_head_look looks[18];
  th_error error = {0};
  th_tensor_set(&t->batches[1].input, 3, WORDS);
  cr_expect(th_study_looks(t->model, t->desk.tape, &t->data, looks, &error) == TH_EINVAL);
  cr_expect(strstr(error.text, "id 7 at element 3 is not below 7"), "%s", error.text);
  cr_expect(!th_tape_error(t->desk.tape));
  trial_close(t);
}

Test(looks, of_no_data_have_nothing) {
  trial *t = trial_open(TH_DECODER_ONLY);
  th_head_look looks[18];
  t->data.count = 0;
  look_at_trial(t, t->desk.tape, &t->data, looks);
  for (int k = 0; k < TH_LOOKS; k++) cr_expect(isnan(looks[5].value[k].mean));
  trial_close(t);
}

Test(looks, have_names) {
  cr_expect_str_eq(th_look_name(TH_LOOK_ENTROPY), "entropy");
  cr_expect_str_eq(th_look_name(TH_LOOK_ANTI_DIAGONAL), "anti_diagonal");
  cr_expect_str_eq(th_look_name(TH_LOOK_OFFSET), "offset");
  cr_expect_str_eq(th_look_name(TH_LOOK_PADDING), "padding");
}

/* ---- jobs ---------------------------------------------------------------------------------------------------- */

/* A head of which nothing is known. */
static th_head_look unknown(void) {
  th_head_look look = {.offset = 0};
  for (int k = 0; k < TH_LOOKS; k++) look.value[k].mean = look.value[k].deviation = look.chance[k] = NAN;
  return look;
}

static void give(th_head_look *look, th_look which, double share, double chance) {
  look->value[which].mean = share;
  look->chance[which] = chance;
}

Test(jobs, a_share_must_be_large_and_clear_of_chance) {
  th_head_look look = unknown();
  give(&look, TH_LOOK_PREVIOUS, 0.49, 0.1);
  expect_job(&look, TH_JOB_MIXED, 0.49);
  give(&look, TH_LOOK_PREVIOUS, 0.51, 0.1);
  expect_job(&look, TH_JOB_PREVIOUS, 0.51);
  give(&look, TH_LOOK_PREVIOUS, 0.65, 0.5);
  expect_job(&look, TH_JOB_MIXED, 0.65);
  give(&look, TH_LOOK_PREVIOUS, 1, 1); /* where there is nothing else to see */
  expect_job(&look, TH_JOB_MIXED, 1);
}

Test(jobs, the_best_wins_but_of_those_as_good_the_first) {
  th_head_look look = unknown();
  give(&look, TH_LOOK_DIAGONAL, 0.9, 0.1);
  give(&look, TH_LOOK_SAME, 0.94, 0.15);
  expect_job(&look, TH_JOB_DIAGONAL, 0.9);
  give(&look, TH_LOOK_SAME, 0.96, 0.15);
  expect_job(&look, TH_JOB_SAME, 0.96);
  give(&look, TH_LOOK_PREFIX, 0.93, 0.1);
  expect_job(&look, TH_JOB_INDUCTION, 0.93);
}

Test(jobs, a_head_that_rests_on_the_first_token_is_named_for_its_work_unless_it_hardly_works) {
  th_head_look look = unknown();
  give(&look, TH_LOOK_FIRST, 0.9, 0.1);
  expect_job(&look, TH_JOB_FIRST, 0.9);
  give(&look, TH_LOOK_PREFIX, 0.7, 0.1);
  expect_job(&look, TH_JOB_INDUCTION, 0.7);
  give(&look, TH_LOOK_PREFIX, 0.5, 0.1);
  expect_job(&look, TH_JOB_FIRST, 0.9);
  give(&look, TH_LOOK_BEGIN, 0.9, 0.1); /* the first token is a mark */
  expect_job(&look, TH_JOB_SINK, 0.9);
}

Test(jobs, a_head_that_is_not_missed_is_unused_whatever_it_looks_at) {
  th_head_look look = unknown();
  give(&look, TH_LOOK_DIAGONAL, 1, 0.1);
  cr_expect(th_head_job(&look, 0.0009).job == TH_JOB_UNUSED);
  cr_expect(th_head_job(&look, -0.5).score == -0.5);
  cr_expect(th_head_job(&look, 0.0011).job == TH_JOB_DIAGONAL);
  cr_expect(th_head_job(&look, NAN).job == TH_JOB_DIAGONAL);
}

Test(jobs, broad_is_nearly_uniform) {
  th_head_look look = unknown();
  look.value[TH_LOOK_SPREAD].mean = 0.81;
  give(&look, TH_LOOK_DIAGONAL, 0.3, 0.1);
  expect_job(&look, TH_JOB_BROAD, 0.81);
  look.value[TH_LOOK_SPREAD].mean = 0.79;
  expect_job(&look, TH_JOB_MIXED, 0.3);
}

Test(jobs, have_names) {
  cr_expect_str_eq(th_job_name(TH_JOB_UNUSED), "unused");
  cr_expect_str_eq(th_job_name(TH_JOB_PREVIOUS), "previous token");
  cr_expect_str_eq(th_job_name(TH_JOB_SINK), "sink");
  cr_expect_str_eq(th_job_name(TH_JOB_MIXED), "mixed");
}

/* ---- capture --------------------------------------------------------------------------------------------------- */

static th_capture captured(trial *t, unsigned what) {
  th_capture made;
  th_error error = {0};
  cr_assert(th_study_capture(t->model, t->desk.tape, t->batches, what, &made, &error) == TH_OK, "%s",
            error.text);
  return made;
}

Test(capture, keeps_every_attention_in_the_order_of_heads) {
  for (int shape = 0; shape <= TH_ENCODER_ONLY; shape++) {
    trial *t = trial_open((th_transformer_shape)shape);
    th_capture made = captured(t, TH_CAPTURE_WEIGHTS);
    cr_assert(made.count * 3 == th_head_count(t->model));
    for (int i = 0; i < made.count; i++) {
      th_head head = th_head_at(t->model, 3 * i);
      cr_expect(made.attentions[i].kind == head.kind && made.attentions[i].layer == head.layer);
      cr_expect(made.attentions[i].weights.data != NULL);
    }
    th_capture_free(&made);
    trial_close(t);
  }
}

Test(capture, keeps_nothing_that_was_not_asked_for) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  for (unsigned what = 0; what < 64; what++) {
    th_capture made = captured(t, what);
    for (int i = 0; i < made.count; i++) {
      const th_captured *a = &made.attentions[i];
      const th_tensor *all[] = {&a->query, &a->key, &a->value, &a->weights, &a->heads, &a->norms};
      for (unsigned k = 0; k < 6; k++)
        cr_assert((all[k]->data != NULL) == (bool)(what & 1u << k), "%u of %u", k, what);
    }
    th_capture_free(&made);
    cr_expect(made.attentions == NULL && made.count == 0);
  }
  trial_close(t);
}

/* Element [b,h,i,j]. */
static double at4(const th_tensor *x, int64_t b, int64_t h, int64_t i, int64_t j) {
  return th_tensor_get(x, ((b * x->shape[1] + h) * x->shape[2] + i) * x->shape[3] + j);
}

static void expect_products(const th_captured *a, int64_t b, int64_t h, int64_t i, double gate) {
  int64_t keys = a->weights.shape[3];
  for (int64_t v = 0; v < a->value.shape[3]; v++) {
    double sum = 0;
    for (int64_t j = 0; j < keys; j++) sum += at4(&a->weights, b, h, i, j) * at4(&a->value, b, h, j, v);
    cr_assert(fabs(gate * sum - at4(&a->heads, b, h, i, v)) < 1e-12);
  }
}

/* Scores are of the query and key; differences of scores are logarithms of quotients of weights. */
static void expect_scores(const th_captured *a, int64_t b, int64_t h, int64_t i) {
  double first = 0;
  for (int64_t j = 0; j < a->weights.shape[3] && at4(&a->weights, b, h, i, j) > 0; j++) {
    double score = 0, width = (double)a->query.shape[3];
    for (int64_t d = 0; d < a->query.shape[3]; d++)
      score += at4(&a->query, b, h, i, d) * at4(&a->key, b, h, j, d) / sqrt(width);
    if (j == 0) first = score;
    double quotient = at4(&a->weights, b, h, i, j) / at4(&a->weights, b, h, i, 0);
    cr_assert(fabs(score - first - log(quotient)) < 1e-10);
  }
}

static void expect_norm(const th_captured *a, const th_nn_attention *layer, int64_t b, int64_t h, int64_t i,
                        int64_t j, double gate) {
  double squares = 0;
  for (int64_t e = 0; e < layer->width; e++) {
    double written = 0;
    for (int64_t v = 0; v < layer->value_width; v++)
      written += at4(&a->value, b, h, j, v) *
                 th_tensor_get(&layer->out.weight->value, (e * layer->heads + h) * layer->value_width + v);
    squares += pow(gate * at4(&a->weights, b, h, i, j) * written, 2);
  }
  double got = at4(&a->norms, b, h, i, j);
  cr_assert(fabs(got - sqrt(squares)) < 1e-12, "%.17g, wanted %.17g", got, sqrt(squares));
}

static void expect_consistent(trial *t, const th_capture *made, double gate) {
  for (int n = 0; n < made->count; n++) {
    const th_captured *a = &made->attentions[n];
    const th_nn_attention *layer = th_head_attention(t->model, a->kind, a->layer);
    for (int64_t b = 0; b < EACH; b++)
      for (int64_t h = 0; h < 3; h++)
        for (int64_t i = 0; i < a->weights.shape[2]; i++) {
          expect_products(a, b, h, i, layer->gate || layer->gate_logits ? gate : 1);
          expect_scores(a, b, h, i);
          for (int64_t j = 0; j < a->weights.shape[3]; j++)
            expect_norm(a, layer, b, h, i, j, layer->gate || layer->gate_logits ? gate : 1);
        }
  }
}

Test(capture, queries_keys_values_weights_heads_and_norms_fit_together) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_capture made = captured(t, 63);
  expect_consistent(t, &made, 1);
  th_capture_free(&made);
  trial_close(t);
}

Test(capture, a_gate_scales_heads_and_norms) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_tensor value = desk_zeros(&t->desk, TH_F64, SHAPE(3)), grad = desk_zeros(&t->desk, TH_F64, SHAPE(3));
  th_param gate = {.value = value, .grad = grad};
  th_fill(&value, -0.5);
  th_head_attention(t->model, TH_CROSS, 1)->gate = &gate;
  th_capture made = captured(t, 63);
  expect_consistent(t, &made, -0.5);
  th_capture_free(&made);
  trial_close(t);
}

Test(capture, a_learned_gate_scales_heads_and_norms) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_tensor value = desk_zeros(&t->desk, TH_F64, SHAPE(3)), grad = desk_zeros(&t->desk, TH_F64, SHAPE(3));
  th_param logits = {.value = value, .grad = grad};
  th_fill(&value, -1);
  cr_assert(th_quiet_gate(-1) > 0.1 && th_quiet_gate(-1) < 0.9);
  th_head_attention(t->model, TH_CROSS, 1)->gate_logits = &logits;
  th_capture made = captured(t, 63);
  expect_consistent(t, &made, th_quiet_gate(-1));
  th_capture_free(&made);
  trial_close(t);
}

Test(capture, leaves_nothing_behind_where_it_fails) {
  trial *t = trial_open(TH_ENCODER_DECODER);
  th_capture made = {.count = 7};
  th_error error = {0};
  th_tensor_set(&t->batches[0].input, 0, -1);
  cr_expect(th_study_capture(t->model, t->desk.tape, t->batches, 63, &made, &error) == TH_EINVAL);
  cr_expect(strstr(error.text, "is negative"), "%s", error.text);
  cr_expect(made.attentions == NULL && made.count == 0);
  th_capture_free(&made);
  cr_expect(!th_tape_error(t->desk.tape) && th_tape_recording(t->desk.tape));
  trial_close(t);
}
