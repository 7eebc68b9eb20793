/* What a head is worth: gates, means, equal weights, gradients, removal and attribution, each found another way. */
#include "study_desk.h"

TestSuite(study_worth);

static const th_transformer_shape shapes[] = {TH_ENCODER_DECODER, TH_DECODER_ONLY, TH_ENCODER_ONLY};

/* A study desk whose batch has something to say: tokens, or classes. */
typedef struct court {
  study_desk s;
  th_study_data data;
} court;

static void court_open(court *c, th_transformer_shape shape) {
  c->s = study_desk_open(shape, TH_F64);
  th_batch *b = &c->s.batch;
  bool classes = shape == TH_ENCODER_ONLY;
  b->output = classes ? desk_zeros(&c->s.d, TH_I32, SHAPE(LOOKING_BATCH))
                      : desk_zeros(&c->s.d, TH_I32, SHAPE(LOOKING_BATCH, LOOKING_MOST - 1));
  int64_t rows = classes ? 1 : LOOKING_MOST - 1;
  for (int64_t i = 0; i < LOOKING_BATCH * rows; i++) {
    int32_t any = (int32_t)th_random_below((th_random){4, 1}, (uint64_t)i, classes ? 2 : LOOKING_VOCABULARY);
    ((int32_t *)b->output.data)[i] = classes || i % rows < looking_input_length[i / rows] ? any : -1;
  }
  c->data = (th_study_data){.batches = b, .count = 1, .begin = -1, .end = -1, .one_vocabulary = true};
}

static void court_close(court *c) { study_desk_close(&c->s); }

static th_outcome outcome_of(const court *c) {
  th_outcome o;
  th_error error;
  cr_assert_eq(th_study_outcome(c->s.model, c->s.tape, &c->data, &o, &error), TH_OK, "%s", error.text);
  return o;
}

static th_head_worth *worth_of(court *c, th_outcome *whole) {
  th_error error;
  th_head_worth *worth = desk_bytes(&c->s.d, c->s.heads * (int64_t)sizeof *worth);
  cr_assert_eq(th_study_worth(c->s.model, c->s.tape, &c->data, whole, worth, &error), TH_OK, "%s",
               error.text);
  return worth;
}

/* Multiplies a head's columns of the output projection. */
static void scale_head(const court *c, int index, double by) {
  th_head head = th_head_at(c->s.model, index);
  const th_nn_attention *layer = th_head_attention(c->s.model, head.kind, head.layer);
  const th_tensor *w = &layer->out.weight->value;
  for (int64_t i = 0; i < w->shape[0]; i++)
    for (int64_t k = 0; k < layer->value_width; k++) {
      int64_t at = i * w->shape[1] + head.head * layer->value_width + k;
      th_tensor_set(w, at, by * th_tensor_get(w, at));
    }
}

/* The model's outcome with a head's columns scaled; the columns are put back bit for bit. */
static th_outcome outcome_scaled(court *c, int index, double by) {
  th_tensor values = th_params_values(c->s.model->params), kept = desk_copy(&c->s.d, TH_F64, &values);
  scale_head(c, index, by);
  th_outcome o = outcome_of(c);
  th_tensor_copy(&values, &kept, NULL);
  return o;
}

static void expect_close(double a, double b, double limit, const char *what, int head) {
  cr_expect(fabs(a - b) <= limit * fmax(1, fabs(b)), "%s of head %d: %.15g, want %.15g", what, head, a, b);
}

Test(study_worth, a_head_that_is_off_is_a_head_without_its_output_projection) {
  for (int s = 0; s < 3; s++) {
    court c;
    th_outcome whole;
    court_open(&c, shapes[s]);
    th_head_worth *worth = worth_of(&c, &whole);
    th_outcome plain = outcome_of(&c);
    cr_assert_eq(plain.loss, whole.loss);
    double most = 0;
    for (int h = 0; h < c.s.heads; h++) {
      th_outcome without = outcome_scaled(&c, h, 0);
      expect_close(worth[h].off.loss, without.loss, 1e-12, "loss", h);
      cr_expect_eq(worth[h].off.exact_match, without.exact_match);
      cr_expect_eq(worth[h].off.token_accuracy, without.token_accuracy);
      most = fmax(most, fabs(without.loss - whole.loss));
    }
    cr_assert_gt(most, 1e-3, "the heads say something");
    court_close(&c);
  }
}

Test(study_worth, the_gradient_of_a_gate_is_the_finite_difference) {
  for (int s = 0; s < 3; s++) {
    court c;
    th_outcome whole;
    court_open(&c, shapes[s]);
    th_head_worth *worth = worth_of(&c, &whole);
    for (int h = 0; h < c.s.heads; h++) {
      double up = outcome_scaled(&c, h, 1 + 1e-5).loss, down = outcome_scaled(&c, h, 1 - 1e-5).loss;
      expect_close(worth[h].gradient, (up - down) / 2e-5, 1e-8, "gradient", h);
    }
    court_close(&c);
  }
}

Test(study_worth, importance_is_the_mean_size_of_the_gradients_of_single_sequences) {
  court c;
  th_outcome whole;
  court_open(&c, TH_ENCODER_DECODER);
  th_head_worth *worth = worth_of(&c, &whole), *one;
  th_batch all = c.s.batch, *b = &c.s.batch;
  double *sum = desk_bytes(&c.s.d, c.s.heads * (int64_t)sizeof *sum);
  for (int64_t i = 0; i < LOOKING_BATCH; i++) {
    th_view_slice(&b->source, &all.source, 0, i, i + 1);
    th_view_slice(&b->input, &all.input, 0, i, i + 1);
    th_view_slice(&b->output, &all.output, 0, i, i + 1);
    b->source_length = all.source_length + i, b->input_length = all.input_length + i;
    one = worth_of(&c, &whole);
    for (int h = 0; h < c.s.heads; h++) sum[h] += fabs(one[h].gradient) / LOOKING_BATCH;
  }
  for (int h = 0; h < c.s.heads; h++) expect_close(worth[h].importance, sum[h], 1e-12, "importance", h);
  court_close(&c);
}

/* ---- mean and equal weights --------------------------------------------------------------------------------- */

/* Against heads whose queries' projections are zero. */
static void expect_equal_weights(court *c) {
  th_outcome whole;
  th_head_worth *worth = worth_of(c, &whole);
  th_tensor values = th_params_values(c->s.model->params), kept = desk_copy(&c->s.d, TH_F64, &values), rows;
  for (int h = 0; h < c->s.heads; h++) {
    th_head head = th_head_at(c->s.model, h);
    const th_nn_attention *layer = th_head_attention(c->s.model, head.kind, head.layer);
    int64_t d = layer->key_width;
    th_view_slice(&rows, &layer->in_weight->value, 0, head.head * d, (head.head + 1) * d);
    th_fill(&rows, 0);
    th_view_slice(&rows, &layer->in_bias->value, 0, head.head * d, (head.head + 1) * d);
    th_fill(&rows, 0);
    expect_close(worth[h].uniform.loss, outcome_of(c).loss, 1e-12, "loss with equal weights", h);
    th_tensor_copy(&values, &kept, NULL);
  }
}

Test(study_worth, equal_weights_are_those_of_a_head_whose_queries_are_zero) {
  for (int s = 0; s < 3; s++) {
    court c;
    court_open(&c, shapes[s]);
    expect_equal_weights(&c);
    court_close(&c);
  }
}

Test(study_worth, equal_weights_leave_a_learned_gate_as_it_is) {
  court c;
  court_open(&c, TH_DECODER_ONLY);
  th_transformer_config gated = c.s.model->config;
  th_transformer_free(c.s.model);
  gated.layer.head_gates = true;
  c.s.model = looking_new(&gated, TH_F64);
  looking_sharpen(c.s.model->params);
  expect_equal_weights(&c);
  court_close(&c);
}

Test(study_worth, a_mean_is_a_head_off_and_what_it_says_on_average_in_the_bias) {
  court c;
  th_outcome whole;
  th_capture seen;
  court_open(&c, TH_ENCODER_DECODER);
  th_head_worth *worth = worth_of(&c, &whole);
  cr_assert_eq(th_study_capture(c.s.model, c.s.tape, &c.s.batch, TH_CAPTURE_HEADS, &seen, NULL), TH_OK);
  th_tensor values = th_params_values(c.s.model->params), kept = desk_copy(&c.s.d, TH_F64, &values);
  for (int h = 0; h < c.s.heads; h++) {
    th_head head = th_head_at(c.s.model, h);
    const th_nn_attention *layer = th_head_attention(c.s.model, head.kind, head.layer);
    const int32_t *length = head.kind == TH_ENCODER_SELF ? looking_source_length : looking_input_length;
    const th_tensor *said = NULL, *bias = &layer->out.bias->value, *w = &layer->out.weight->value;
    for (int a = 0; a < seen.count; a++)
      if (seen.attentions[a].kind == head.kind && seen.attentions[a].layer == head.layer)
        said = &seen.attentions[a].heads;
    int64_t v = layer->value_width;
    for (int64_t k = 0; k < v; k++) {
      double mean = 0, rows = 0;
      for (int64_t b = 0; b < LOOKING_BATCH; b++)
        for (int64_t t = 0; t < length[b]; t++, rows++)
          mean += th_tensor_get(said, ((b * said->shape[1] + head.head) * said->shape[2] + t) * v + k);
      for (int64_t i = 0; i < bias->shape[0]; i++)
        th_tensor_set(bias, i,
                      th_tensor_get(bias, i) +
                          mean / rows * th_tensor_get(w, i * w->shape[1] + head.head * v + k));
    }
    scale_head(&c, h, 0);
    expect_close(worth[h].mean.loss, outcome_of(&c).loss, 1e-12, "loss with the mean", h);
    th_tensor_copy(&values, &kept, NULL);
  }
  th_capture_free(&seen);
  court_close(&c);
}

/* ---- removal -------------------------------------------------------------------------------------------------- */

Test(study_worth, heads_removed_one_by_one_stay_removed) {
  court c;
  court_open(&c, TH_ENCODER_DECODER);
  int *order = desk_bytes(&c.s.d, c.s.heads * (int64_t)sizeof *order);
  th_outcome *after = desk_bytes(&c.s.d, c.s.heads * (int64_t)sizeof *after);
  for (int i = 0; i < c.s.heads; i++) order[i] = i * 5 % c.s.heads;
  cr_assert_neq(c.s.heads % 5, 0);
  cr_assert_eq(th_study_remove(c.s.model, c.s.tape, &c.data, order, after, NULL), TH_OK);
  for (int i = 0; i < c.s.heads; i++) {
    scale_head(&c, order[i], 0);
    expect_close(after[i].loss, outcome_of(&c).loss, 1e-12, "loss after", i);
  }
  court_close(&c);
}

Test(study_worth, greedy_removal_takes_the_head_that_costs_least_each_time) {
  for (int s = 0; s < 2; s++) {
    court c;
    court_open(&c, shapes[s]);
    int *order = desk_bytes(&c.s.d, c.s.heads * (int64_t)sizeof *order);
    th_outcome *after = desk_bytes(&c.s.d, c.s.heads * (int64_t)sizeof *after);
    bool *gone = desk_bytes(&c.s.d, c.s.heads);
    cr_assert_eq(th_study_remove_greedily(c.s.model, c.s.tape, &c.data, order, after, NULL), TH_OK);
    for (int i = 0; i < c.s.heads; i++) {
      int best = -1;
      double least = INFINITY;
      for (int h = 0; h < c.s.heads; h++) {
        double loss = gone[h] ? INFINITY : outcome_scaled(&c, h, 0).loss;
        if (loss < least) best = h, least = loss;
      }
      cr_assert_eq(order[i], best, "place %d: %d, want %d", i, order[i], best);
      expect_close(after[i].loss, least, 1e-12, "loss after", i);
      gone[best] = true;
      scale_head(&c, best, 0);
    }
    court_close(&c);
  }
}

/* ---- attribution ---------------------------------------------------------------------------------------------- */

/* The logits without the last norm, which are linear in what the heads of the last layer say if nothing else reads
 * those: [B*T,vocabulary]. */
static th_tensor logits_of(court *c) {
  th_tape_reset(c->s.tape);
  th_var *logits = th_study_forward(c->s.model, c->s.tape, &c->s.batch, NULL);
  expect_no_error(c->s.tape);
  return desk_copy(&c->s.d, TH_F64, &logits->value);
}

/* Of row `row` of what a head adds: a logit less the mean of all. */
static double above_mean(const th_tensor *added, int64_t row, int64_t token) {
  double mean = 0;
  for (int64_t v = 0; v < LOOKING_VOCABULARY; v++)
    mean += th_tensor_get(added, row * LOOKING_VOCABULARY + v) / LOOKING_VOCABULARY;
  return th_tensor_get(added, row * LOOKING_VOCABULARY + token) - mean;
}

/* 2p - 1 for the part p of the rise that is of the input token that has the largest weight in this row. */
static double copying_of(const court *c, const th_tensor *added, const th_tensor *weights, int64_t row) {
  int64_t keys = LOOKING_MOST - 1, best = 0;
  double rise = 0;
  for (int64_t k = 0; k < keys; k++)
    if (th_tensor_get(weights, row * keys + k) > th_tensor_get(weights, row * keys + best)) best = k;
  for (int64_t v = 0; v < LOOKING_VOCABULARY; v++) rise += fmax(0, above_mean(added, row, v));
  int32_t token = ((const int32_t *)c->s.batch.input.data)[row / keys * keys + best];
  return 2 * fmax(0, above_mean(added, row, token)) / rise - 1;
}

Test(study_worth, attribution_and_copying_are_what_the_logits_lose_where_nothing_else_reads_the_head) {
  court c;
  th_outcome whole;
  court_open(&c, TH_DECODER_ONLY);
  c.s.model->decoder_norm = (th_nn_norm){0};
  th_fill(&c.s.model->encoder[LOOKING_LAYERS - 1].feed_forward.second.weight->value, 0);
  th_head_worth *worth = worth_of(&c, &whole);
  th_tensor values = th_params_values(c.s.model->params), kept = desk_copy(&c.s.d, TH_F64, &values),
            with = logits_of(&c);
  looked seen = looked_at(&c.s);
  const int32_t *wanted = c.s.batch.output.data;
  for (int h = c.s.heads - LOOKING_HEADS; h < c.s.heads; h++) {
    scale_head(&c, h, 0);
    th_tensor added = logits_of(&c);
    th_tensor_copy(&values, &kept, NULL);
    for (int64_t i = 0; i < th_tensor_count(&added); i++)
      th_tensor_set(&added, i, th_tensor_get(&with, i) - th_tensor_get(&added, i));
    double right = 0, copied = 0, rows = 0;
    for (int64_t row = 0; row < LOOKING_BATCH * (LOOKING_MOST - 1); row++) {
      if (wanted[row] < 0) continue;
      rows++;
      right += above_mean(&added, row, wanted[row]);
      copied += copying_of(&c, &added, &seen.at[h], row);
    }
    expect_close(worth[h].attribution, right / rows, 1e-12, "attribution", h);
    expect_close(worth[h].copying, copied / rows, 1e-12, "copying", h);
  }
  court_close(&c);
}

Test(study_worth, an_encoder_has_no_direct_path) {
  for (int s = 0; s < 3; s++) {
    court c;
    th_outcome whole;
    court_open(&c, shapes[s]);
    th_head_worth *worth = worth_of(&c, &whole);
    for (int h = 0; h < c.s.heads; h++) {
      bool none = th_head_at(c.s.model, h).kind == TH_ENCODER_SELF;
      cr_expect_eq(isnan(worth[h].attribution), none);
      cr_expect(!none || isnan(worth[h].copying));
    }
    court_close(&c);
  }
}

/* ---- manners ---------------------------------------------------------------------------------------------------- */

static bool stop_at_half(void *context, double done) {
  (void)context;
  return done < 0.5;
}

Test(study_worth, the_model_is_left_as_it_was_even_when_somebody_says_stop) {
  court c;
  th_error error;
  court_open(&c, TH_ENCODER_DECODER);
  th_outcome whole = outcome_of(&c);
  th_tensor values = th_params_values(c.s.model->params), kept = desk_copy(&c.s.d, TH_F64, &values),
            grads = th_params_grads(c.s.model->params);
  th_head_worth *worth = desk_bytes(&c.s.d, c.s.heads * (int64_t)sizeof *worth);
  th_fill(&grads, 3);
  c.data.progress = stop_at_half;
  cr_assert_eq(th_study_worth(c.s.model, c.s.tape, &c.data, &whole, worth, &error), TH_EINVAL);
  cr_expect_str_eq(error.text, "stopped");
  cr_expect_eq(memcmp(values.data, kept.data, (size_t)th_tensor_count(&values) * sizeof(double)), 0);
  for (int64_t i = 0; i < th_tensor_count(&grads); i++) cr_assert_eq(th_tensor_get(&grads, i), 3);
  for (int a = 0; a < th_transformer_attentions(c.s.model); a++)
    cr_expect_null(th_transformer_attention(c.s.model, a)->gate);
  court_close(&c);
}

Test(study_worth, a_batch_without_its_outputs_is_refused) {
  for (int s = 0; s < 3; s++) {
    court c;
    th_outcome o;
    th_error error;
    court_open(&c, shapes[s]);
    th_tensor output = c.s.batch.output;
    c.s.batch.output = (th_tensor){0};
    cr_expect_eq(th_study_outcome(c.s.model, c.s.tape, &c.data, &o, &error), TH_EINVAL);
    cr_expect_str_eq(error.text, "batch 0 has no output");
    th_view_slice(&c.s.batch.output, &output, 0, 0, 1);
    cr_expect_eq(th_study_outcome(c.s.model, c.s.tape, &c.data, &o, &error), TH_ESHAPE);
    for (int a = 0; a < th_transformer_attentions(c.s.model); a++)
      cr_expect_null(th_transformer_attention(c.s.model, a)->gate);
    court_close(&c);
  }
}
