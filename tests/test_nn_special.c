/* Gates of heads, dropout of heads, disagreement between heads. */
#include "engine_plain.h"
#include "tapehead/optim.h"

#include <stdlib.h>

enum { BATCH = 3, QUERIES = 4, KEYS = 5, WIDTH = 12, HEADS = 4, V = 3 };

/* One attention and its inputs. */
typedef struct bench {
  desk d;
  th_params *params;
  th_nn_attention layer;
  th_tensor x, memory;
  th_seen seen; /* what the tap saw last */
} bench;

static bench open_bench(th_nn_attention_config config) {
  bench b = {.d = desk_open(), .params = th_params_new()};
  config.width = WIDTH, config.heads = config.heads ? config.heads : HEADS;
  b.layer = th_nn_attention_make(b.params, "attention", &config);
  cr_assert(th_params_make(b.params, TH_F64, 1, NULL) == TH_OK);
  b.x = desk_uniform(&b.d, TH_F64, -1, 1, SHAPE(BATCH, QUERIES, WIDTH));
  b.memory = desk_uniform(&b.d, TH_F64, -1, 1, SHAPE(BATCH, KEYS, WIDTH));
  return b;
}

static void close_bench(bench *b) {
  th_params_free(b->params);
  desk_close(&b->d);
}

static void keep_seen(void *context, const th_nn_attention *layer, th_seen *seen) {
  (void)layer;
  *(th_seen *)context = *seen;
}

/* Runs it, as in step `step` of training, or (step 0) as at evaluation; b->seen has what it saw. */
static th_var *attend(bench *b, uint64_t step) {
  th_tape_reset(b->d.tape);
  th_tape_train(b->d.tape, step > 0);
  th_tape_seed(b->d.tape, 3, step);
  th_var *y =
      th_nn_attention_forward(&b->layer, th_constant(b->d.tape, &b->x), th_constant(b->d.tape, &b->memory),
                              NULL, &(th_tap){keep_seen, &b->seen});
  expect_no_error(b->d.tape);
  return y;
}

static void set_logits(bench *b, double a, double c, double e, double g) {
  const double to[] = {a, c, e, g};
  for (int h = 0; h < HEADS; h++) th_tensor_set(&b->layer.gate_logits->value, h, to[h]);
}

/* What multiplies head h of sequence i, read off the head's output beside the one without; asserts that it is one
 * number for the whole head. */
static double factor_of(const th_tensor *with, const th_tensor *without, int64_t i, int64_t h) {
  int64_t from = (i * HEADS + h) * QUERIES * V;
  double factor = P(with)[from] / P(without)[from];
  for (int64_t k = from; k < from + QUERIES * V; k++)
    cr_assert(fabs(P(with)[k] - factor * P(without)[k]) < 1e-12, "head %ld of sequence %ld", (long)h,
              (long)i);
  return factor;
}

/* The heads' outputs, [BATCH,HEADS,QUERIES,V], row-major. */
static th_tensor heads_at(bench *b, uint64_t step) {
  attend(b, step);
  return desk_copy(&b->d, TH_F64, &b->seen.heads->value);
}

static th_tensor plain_heads(bench *b) {
  th_nn_attention with = b->layer;
  b->layer.gate_logits = b->layer.gate = NULL, b->layer.head_dropout = 0;
  th_tensor heads = heads_at(b, 0);
  b->layer = with;
  return heads;
}

/* ---- gates ------------------------------------------------------------------------------------- */

TestSuite(head_gates);

Test(head_gates, are_declared_only_where_they_are_asked_for) {
  bench with = open_bench((th_nn_attention_config){.gates = true}),
        without = open_bench((th_nn_attention_config){0});
  const th_param *logits = th_params_find(with.params, "attention.gate_logits");
  cr_assert(logits && logits == with.layer.gate_logits && logits->value.ndim == 1 &&
            logits->value.shape[0] == HEADS);
  cr_expect(!without.layer.gate_logits && !th_params_find(without.params, "attention.gate_logits"));
  EXPECT_VALUES(&logits->value, 0, 2, 2, 2, 2);
  cr_expect(!logits->decays, "weight decay would open or shut them");
  close_bench(&with), close_bench(&without);
}

Test(head_gates, at_evaluation_are_what_they_are_said_to_be) {
  bench b = open_bench((th_nn_attention_config){.gates = true});
  double gates[HEADS];
  set_logits(&b, -2.5, -1, 1, 2.5);
  th_nn_attention_gates(&b.layer, gates);
  cr_expect(gates[0] == 0 && gates[3] == 1, "shut and open for good");
  cr_expect(fabs(gates[1] - (1.2 / (1 + exp(1)) - 0.1)) < 1e-15);
  th_tensor with = heads_at(&b, 0), without = plain_heads(&b);
  for (int64_t i = 0; i < BATCH; i++)
    for (int64_t h = 0; h < HEADS; h++)
      cr_expect(fabs(factor_of(&with, &without, i, h) - gates[h]) < 1e-12, "head %ld", (long)h);
  close_bench(&b);
}

Test(head_gates, given_and_learned_ones_multiply) {
  bench b = open_bench((th_nn_attention_config){.gates = true});
  double gates[HEADS];
  th_params *set = th_params_new();
  b.layer.gate =
      th_params_add(set, NULL, "gate", (th_init){.kind = TH_INIT_CONSTANT, .scale = 0.5}, SHAPE(HEADS));
  cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
  set_logits(&b, 9, 9, -9, 9);
  th_nn_attention_gates(&b.layer, gates);
  cr_expect(gates[0] == 0.5 && gates[2] == 0);
  th_tensor with = heads_at(&b, 0), without = plain_heads(&b);
  for (int64_t h = 0; h < HEADS; h++) cr_expect(fabs(factor_of(&with, &without, 1, h) - gates[h]) < 1e-12);
  th_params_free(set);
  close_bench(&b);
}

Test(head_gates, while_training_are_drawn_once_for_a_batch_and_anew_for_the_next) {
  bench b = open_bench((th_nn_attention_config){.gates = true});
  set_logits(&b, 0, 0, 0, 0);
  th_tensor without = plain_heads(&b), first = heads_at(&b, 1), again = heads_at(&b, 1),
            next = heads_at(&b, 2);
  for (int64_t h = 0; h < HEADS; h++)
    for (int64_t i = 1; i < BATCH; i++)
      cr_expect(fabs(factor_of(&first, &without, i, h) - factor_of(&first, &without, 0, h)) < 1e-12);
  expect_near(&again, &first, 0, "the same step");
  cr_expect(first_difference(&next, &first, 0) >= 0, "another step");
  close_bench(&b);
}

Test(head_gates, are_open_as_often_as_the_penalty_counts) {
  desk d = desk_open();
  const double at[] = {-4, -1.6, 0, 2};
  for (int i = 0; i < 4; i++) {
    th_tensor logits = desk_zeros(&d, TH_F64, SHAPE(40000));
    double open = 0;
    th_fill(&logits, at[i]);
    th_tape_train(d.tape, true);
    th_tape_seed(d.tape, 5, 1);
    th_var *gates = th_hard_concrete(th_constant(d.tape, &logits));
    th_var *expected = th_expected_open(th_constant(d.tape, &logits));
    expect_no_error(d.tape);
    for (int64_t k = 0; k < 40000; k++) {
      double gate = P(&gates->value)[k];
      cr_assert(gate >= 0 && gate <= 1);
      open += gate > 0;
    }
    /* four deviations of a count of 40,000 */
    cr_expect(fabs(open - th_tensor_get(&expected->value, 0)) < 400, "logit %g: %g open, %g expected", at[i],
              open, th_tensor_get(&expected->value, 0));
    th_tape_reset(d.tape);
  }
  desk_close(&d);
}

static th_transformer *model_of(th_transformer_shape shape, bool gates) {
  th_transformer *m;
  th_error error;
  th_transformer_config c = {
      .shape = shape, .max_length = 8, .layer = {.width = 8, .heads = 2, .feed_forward = 8}};
  if (shape != TH_DECODER_ONLY) c.source_vocabulary = 9, c.encoder_layers = 2;
  if (shape != TH_ENCODER_ONLY) c.target_vocabulary = 9, c.decoder_layers = 3;
  else c.classes = 3;
  c.layer.head_gates = gates;
  cr_assert(th_transformer_new(&m, &c, TH_F64, 1, &error) == TH_OK, "%s", error.text);
  return m;
}

Test(head_gates, of_every_attention_of_a_model_are_counted) {
  const int attentions[] = {2 + 3 + 3, 3, 2}; /* by shape */
  th_tape *tape = th_tape_new(NULL);
  double one = 1 / (1 + exp(-2 + 2.0 / 3 * log(0.1 / 1.1)));
  for (int shape = TH_ENCODER_DECODER; shape <= TH_ENCODER_ONLY; shape++) {
    th_transformer *m = model_of((th_transformer_shape)shape, true);
    th_var *open = th_transformer_open_heads(m, tape);
    expect_no_error(tape);
    cr_expect(fabs(th_tensor_get(&open->value, 0) - 2 * attentions[shape] * one) < 1e-12, "shape %d", shape);
    th_tape_reset(tape);
    th_transformer_free(m);
  }
  th_transformer *plain = model_of(TH_ENCODER_DECODER, false);
  cr_expect(th_transformer_open_heads(plain, tape) == NULL);
  th_transformer_free(plain);
  th_tape_free(tape);
}

Test(head_gates, move_at_a_rate_of_their_own) {
  th_params *set = th_params_new();
  th_adam adam;
  th_param *plain = th_params_add(set, NULL, "plain", (th_init){.kind = TH_INIT_ONES}, SHAPE(2, 3));
  th_param *fast = th_params_add(set, NULL, "fast", (th_init){.kind = TH_INIT_ONES}, SHAPE(2, 3));
  fast->rate = 7;
  cr_assert(th_params_make(set, TH_F64, 1, NULL) == TH_OK);
  cr_assert(th_adam_new(&adam, set, &(th_adam_config){.weight_decay = 0.1, .decoupled = true}, NULL) ==
            TH_OK);
  th_fill(&plain->grad, 0.3), th_fill(&fast->grad, 0.3);
  th_adam_update(&adam, 0.01, NULL);
  for (int64_t i = 0; i < 6; i++) { /* the first step of Adam is the rate's length */
    cr_expect(fabs(th_tensor_get(&plain->value, i) - (1 - 0.01 * 0.1 - 0.01)) < 1e-9);
    cr_expect(fabs(th_tensor_get(&fast->value, i) - (1 - 0.07 * 0.1 - 0.07)) < 1e-9);
  }
  th_adam_free(&adam);
  th_params_free(set);
}

/* ---- dropout of heads ---------------------------------------------------------------------------- */

TestSuite(head_dropout);

Test(head_dropout, drops_whole_heads_of_single_sequences_and_keeps_the_size_of_their_sum) {
  bench b = open_bench((th_nn_attention_config){.head_dropout = 0.3});
  th_tensor without = plain_heads(&b);
  int dropped = 0, mixed = 0, steps = 400;
  for (int step = 1; step <= steps; step++) {
    th_tensor with = heads_at(&b, (uint64_t)step);
    int kept[BATCH] = {0};
    for (int64_t i = 0; i < BATCH; i++) {
      double sum = 0;
      for (int64_t h = 0; h < HEADS; h++) {
        double factor = factor_of(&with, &without, i, h);
        kept[i] += factor > 0, sum += factor;
      }
      cr_expect(kept[i] ? fabs(sum - HEADS) < 1e-9 : sum == 0, "%d kept: %g", kept[i], sum);
      dropped += HEADS - kept[i];
    }
    mixed += kept[0] != kept[1];
  }
  double part = dropped / (double)(steps * BATCH * HEADS);
  cr_expect(fabs(part - 0.3) < 0.03, "%g", part);
  cr_expect(mixed > steps / 4, "each sequence has its own");
  close_bench(&b);
}

Test(head_dropout, is_not_there_at_evaluation_or_with_probability_0) {
  bench b = open_bench((th_nn_attention_config){.head_dropout = 0.3});
  th_tensor without = plain_heads(&b), with = heads_at(&b, 0);
  expect_near(&with, &without, 0, "evaluation");
  b.layer.head_dropout = 0;
  with = heads_at(&b, 1);
  expect_near(&with, &without, 0, "probability 0");
  close_bench(&b);
}

Test(head_dropout, of_a_probability_that_is_none_is_refused) {
  th_error error;
  const double bad[] = {-0.1, 1, NAN};
  for (int i = 0; i < 3; i++) {
    th_transformer_config c = {.shape = TH_DECODER_ONLY,
                               .target_vocabulary = 9,
                               .decoder_layers = 1,
                               .max_length = 8,
                               .layer = {.width = 8, .heads = 2, .feed_forward = 8, .head_dropout = bad[i]}};
    cr_expect(th_transformer_check(&c, &error) == TH_EINVAL);
    cr_expect(!strncmp(error.text, "head dropout is ", 16), "%s", error.text);
  }
}

/* ---- disagreement ---------------------------------------------------------------------------------- */

TestSuite(disagreement);

static const int32_t query_length[] = {4, 2, 1}, key_length[] = {5, 1, 3};

static double number_of(th_var *x) { return th_tensor_get(&x->value, 0); }

static double disagreement_in(bench *b, th_disagreement of) {
  th_var *found = th_nn_disagreement(&b->seen, of, query_length, key_length);
  expect_no_error(b->d.tape);
  return number_of(found);
}

/* From the definition: over each row that counts and each pair of different heads, the dot product, for a cosine
 * over the lengths. x [BATCH,HEADS,rows,n]. */
static double plain_disagreement(const th_tensor *x, bool cosine, const int32_t *length) {
  int64_t rows = x->shape[2], n = x->shape[3], counted = 0;
  double sum = 0;
  for (int64_t b = 0; b < BATCH; b++)
    for (int64_t t = 0; t < length[b]; t++, counted++)
      for (int64_t i = 0; i < HEADS; i++)
        for (int64_t j = 0; j < HEADS; j++) {
          double both = 0, one = 0, other = 0;
          const double *u = P(x) + ((b * HEADS + i) * rows + t) * n,
                       *v = P(x) + ((b * HEADS + j) * rows + t) * n;
          for (int64_t k = 0; k < n; k++) both += u[k] * v[k], one += u[k] * u[k], other += v[k] * v[k];
          if (i != j) sum += cosine ? both / sqrt(one * other) : both;
        }
  return -sum / (double)(counted * HEADS * (HEADS - 1));
}

Test(disagreement, is_what_its_definition_says) {
  bench b = open_bench((th_nn_attention_config){0});
  attend(&b, 0);
  th_tensor value = desk_copy(&b.d, TH_F64, &b.seen.value->value);
  th_tensor weights = desk_copy(&b.d, TH_F64, &b.seen.weights->value);
  th_tensor heads = desk_copy(&b.d, TH_F64, &b.seen.heads->value);
  cr_expect(fabs(disagreement_in(&b, TH_DISAGREE_SUBSPACE) - plain_disagreement(&value, true, key_length)) <
            1e-6);
  cr_expect(fabs(disagreement_in(&b, TH_DISAGREE_POSITIONS) -
                 plain_disagreement(&weights, false, query_length)) < 1e-12);
  cr_expect(fabs(disagreement_in(&b, TH_DISAGREE_OUTPUTS) - plain_disagreement(&heads, true, query_length)) <
            1e-6);
  close_bench(&b);
}

Test(disagreement, does_not_count_padding) {
  bench b = open_bench((th_nn_attention_config){0});
  double before[3], after[3];
  th_mask mask = {.key_length = key_length};
  for (int round = 0; round < 2; round++) {
    th_tape_reset(b.d.tape);
    th_nn_attention_forward(&b.layer, th_constant(b.d.tape, &b.x), th_constant(b.d.tape, &b.memory), &mask,
                            &(th_tap){keep_seen, &b.seen});
    for (int k = 0; k < 3; k++) (round ? after : before)[k] = disagreement_in(&b, (th_disagreement)k);
    for (int64_t i = 0; i < BATCH; i++) {
      for (int64_t t = query_length[i]; t < QUERIES; t++) P(&b.x)[(i * QUERIES + t) * WIDTH + 1] += 3;
      for (int64_t t = key_length[i]; t < KEYS; t++) P(&b.memory)[(i * KEYS + t) * WIDTH + 1] += 3;
    }
  }
  for (int k = 0; k < 3; k++)
    cr_expect(fabs(before[k] - after[k]) < 1e-12, "%d: %g, %g", k, before[k], after[k]);
  close_bench(&b);
}

Test(disagreement, of_heads_that_are_one_is_least_and_of_a_head_alone_there_is_none) {
  bench b = open_bench((th_nn_attention_config){0});
  const th_tensor *w = &b.layer.in_weight->value;
  for (int64_t row = 0; row < 3 * WIDTH; row++) /* each head's rows those of the first */
    for (int64_t k = 0; k < WIDTH; k++)
      P(w)[row * WIDTH + k] = P(w)[(row / WIDTH * WIDTH + row % V) * WIDTH + k];
  attend(&b, 0);
  cr_expect(fabs(disagreement_in(&b, TH_DISAGREE_SUBSPACE) + 1) < 1e-6);
  cr_expect(fabs(disagreement_in(&b, TH_DISAGREE_OUTPUTS) + 1) < 1e-6);
  close_bench(&b);
  b = open_bench((th_nn_attention_config){.heads = 1});
  attend(&b, 0);
  for (int k = 0; k < 3; k++) cr_expect(!th_nn_disagreement(&b.seen, (th_disagreement)k, NULL, NULL));
  close_bench(&b);
}

Test(disagreement, of_heads_that_are_shut_is_a_number_with_a_finite_gradient) {
  bench b = open_bench((th_nn_attention_config){.gates = true});
  set_logits(&b, -9, -9, 9, 9);
  attend(&b, 0);
  th_var *found = th_nn_disagreement(&b.seen, TH_DISAGREE_OUTPUTS, NULL, NULL);
  cr_assert(th_backward(found, NULL) == TH_OK);
  th_tensor grads = th_params_grads(b.params);
  cr_expect(isfinite(number_of(found)) && isfinite(largest_size(&grads)) && largest_size(&grads) > 0);
  for (int64_t h = 0; h < HEADS; h++)
    cr_expect(th_tensor_get(&b.layer.gate_logits->grad, h) == 0, "%ld", (long)h);
  close_bench(&b);
}
