/* A model without some heads computes what the whole one does with their gates shut, whatever its shape and
 * positions, at once, token by token and in a search; and it is smaller. */
#include "engine_desk.h"
#include "tapehead/optim.h"
#include "tapehead/io.h"
#include "tapehead/study.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADS = 4, WIDTH = 16, BATCH = 3, SOURCE = 5, TARGET = 6, SOURCES = 11, TARGETS = 13, MANY = 64 };
enum { KINDS = TH_POSITIONS_NONE + 1, SHAPES = TH_ENCODER_ONLY + 1, BEGIN = 1, END = 2 };

TestSuite(prune);

/* ---- a model, its gates, and what it reads --------------------------------------------------- */

typedef struct bench {
  desk d;
  th_transformer *model;
  th_params *gates; /* one [H] for each attention, all 1 */
  th_batch batch;
  th_error error;
} bench;

static th_transformer_config config_of(th_transformer_shape shape, int kind) {
  th_transformer_config c = {.shape = shape,
                             .max_length = 8,
                             .positions = (th_positions)kind,
                             .final_norm = kind & 1,
                             .layer = {.width = WIDTH, .heads = HEADS, .feed_forward = 24}};
  c.layer.norm_first = kind & 1;
  if (kind % 3 == 1) c.layer.key_width = 6, c.layer.value_width = 3;
  if (shape != TH_DECODER_ONLY) c.source_vocabulary = SOURCES, c.encoder_layers = 2;
  if (shape != TH_ENCODER_ONLY) c.target_vocabulary = TARGETS, c.decoder_layers = 2;
  else c.classes = 3;
  return c;
}

/* Biases start at 0, where a mistake can hide: everything gets a random value. */
static th_transformer *model_of(const th_transformer_config *config) {
  th_transformer *model = NULL;
  th_error error = {0};
  cr_assert(th_transformer_new(&model, config, TH_F64, 1, &error) == TH_OK, "%s", error.text);
  for (int i = 0; i < th_params_count(model->params); i++)
    th_fill_uniform(&th_params_at(model->params, i)->value, -0.7, 0.7, (th_random){9, (uint64_t)i});
  return model;
}

static void open_gates(bench *b) {
  char name[16];
  b->gates = th_params_new();
  for (int a = 0; a < th_transformer_attentions(b->model); a++) {
    snprintf(name, sizeof name, "gate%d", a);
    th_transformer_attention(b->model, a)->gate =
        th_params_add(b->gates, NULL, name, (th_init){.kind = TH_INIT_ONES}, SHAPE(HEADS));
  }
  cr_assert(th_params_make(b->gates, TH_F64, 1, NULL) == TH_OK);
}

static bench bench_of(th_transformer_shape shape, int kind) {
  static const int32_t length[BATCH] = {5, 2, 4};
  bench b = {.d = desk_open()};
  th_transformer_config config = config_of(shape, kind);
  b.model = model_of(&config);
  b.batch = (th_batch){.source = desk_ids(&b.d, BATCH, SOURCE, SOURCES),
                       .source_length = length,
                       .input = desk_ids(&b.d, BATCH, TARGET, TARGETS)};
  open_gates(&b);
  return b;
}

static void close_bench(bench *b) {
  th_transformer_free(b->model);
  th_params_free(b->gates);
  desk_close(&b->d);
}

static th_tensor logits_of(bench *b, const th_transformer *model, const th_tap *tap) {
  th_tape_reset(b->d.tape);
  th_var *logits = th_study_forward(model, b->d.tape, &b->batch, tap);
  expect_no_error(b->d.tape);
  return desk_copy(&b->d, TH_F64, &logits->value);
}

/* Of a model that has all its heads: the gates of those that are to go are shut, all others open. */
static void shut(bench *b, const bool *remove) {
  for (int i = 0; i < th_head_count(b->model); i++) {
    th_head head = th_head_at(b->model, i);
    th_tensor_set(&th_head_attention(b->model, head.kind, head.layer)->gate->value, head.head, !remove[i]);
  }
}

static void open_all(bench *b) { shut(b, (bool[MANY]){false}); }

static th_transformer *pruned_of(bench *b, const th_transformer *model, const bool *remove) {
  th_transformer *made = NULL;
  cr_assert(th_transformer_prune(&made, model, remove, &b->error) == TH_OK, "%s", b->error.text);
  return made;
}

static void expect_pruned_is_gated(bench *b, const bool *remove, const char *what) {
  open_all(b);
  th_transformer *pruned = pruned_of(b, b->model, remove);
  th_tensor got = logits_of(b, pruned, NULL);
  shut(b, remove);
  th_tensor wanted = logits_of(b, b->model, NULL);
  expect_near(&got, &wanted, 1e-12, what);
  th_transformer_free(pruned);
}

/* Draw number `draw`: about `part` of the heads. */
static void draw_heads(const bench *b, bool *remove, uint64_t draw, double part) {
  for (int i = 0; i < th_head_count(b->model); i++)
    remove[i] = th_random_uniform((th_random){21, draw}, (uint64_t)i) < part;
}

/* An attention of each kind without a head, others with one to four. */
static void draw_uneven(const bench *b, bool *remove) {
  draw_heads(b, remove, 3, 0.4);
  for (int i = 0; i < th_head_count(b->model); i++) {
    th_head head = th_head_at(b->model, i);
    if (head.layer == (head.kind == TH_DECODER_SELF)) remove[i] = true;
    else if (head.kind == TH_CROSS) remove[i] = head.head == 1;
  }
}

/* ---- the same as with gates shut ------------------------------------------------------------- */

Test(prune, without_a_head_a_model_is_what_it_was_with_that_gate_shut) {
  for (int shape = 0; shape < SHAPES; shape++)
    for (int kind = 0; kind < KINDS; kind++) {
      bench b = bench_of((th_transformer_shape)shape, kind);
      for (int i = 0; i < th_head_count(b.model); i++) {
        char label[TH_HEAD_LABEL];
        bool remove[MANY] = {false};
        remove[i] = true;
        expect_pruned_is_gated(&b, remove, th_head_label(label, th_head_at(b.model, i)));
      }
      close_bench(&b);
    }
}

Test(prune, any_of_its_heads_may_go_together) {
  for (int shape = 0; shape < SHAPES; shape++)
    for (int kind = 0; kind < KINDS; kind++) {
      bench b = bench_of((th_transformer_shape)shape, kind);
      bool remove[MANY] = {false};
      for (uint64_t draw = 0; draw < 6; draw++) {
        draw_heads(&b, remove, draw, 0.15 * (double)draw);
        expect_pruned_is_gated(&b, remove, "some");
      }
      draw_uneven(&b, remove);
      expect_pruned_is_gated(&b, remove, "uneven");
      close_bench(&b);
    }
}

Test(prune, all_heads_of_an_attention_may_go_and_all_heads_of_the_model) {
  for (int shape = 0; shape < SHAPES; shape++) {
    bench b = bench_of((th_transformer_shape)shape, TH_POSITIONS_RELATIVE);
    int heads = th_head_count(b.model);
    bool all[MANY];
    memset(all, true, sizeof all);
    for (int first = 0; first < heads; first += HEADS) {
      bool remove[MANY] = {false};
      memset(remove + first, true, HEADS);
      expect_pruned_is_gated(&b, remove, "an attention");
    }
    expect_pruned_is_gated(&b, all, "the model");
    close_bench(&b);
  }
}

Test(prune, gates_become_a_part_of_the_weights) {
  bench b = bench_of(TH_ENCODER_DECODER, TH_POSITIONS_ALIBI);
  bool remove[MANY] = {[1] = true, [6] = true, [17] = true};
  th_tensor values = th_params_values(b.gates);
  th_fill_uniform(&values, -2, 2, (th_random){4, 4});
  th_transformer *pruned = pruned_of(&b, b.model, remove);
  th_tensor got = logits_of(&b, pruned, NULL);
  for (int i = 0; i < th_head_count(b.model); i++) {
    th_head head = th_head_at(b.model, i);
    if (remove[i])
      th_tensor_set(&th_head_attention(b.model, head.kind, head.layer)->gate->value, head.head, 0);
  }
  th_tensor wanted = logits_of(&b, b.model, NULL);
  expect_near(&got, &wanted, 1e-12, "logits");
  for (int a = 0; a < th_transformer_attentions(pruned); a++)
    cr_assert_null(th_transformer_attention(pruned, a)->gate);
  th_transformer_free(pruned);
  close_bench(&b);
}

Test(prune, twice_is_once_with_the_heads_of_both) {
  bench b = bench_of(TH_ENCODER_DECODER, TH_POSITIONS_ALIBI);
  bool first[MANY] = {[0] = true, [2] = true, [9] = true}, both[MANY] = {false}, second[MANY] = {false};
  th_transformer *once = pruned_of(&b, b.model, first);
  for (int i = 0, place = 0; i < th_head_count(b.model); i++) {
    both[i] = first[i] || i % 3 == 0;
    if (!first[i]) second[place++] = both[i];
  }
  th_transformer *twice = pruned_of(&b, once, second), *at_once = pruned_of(&b, b.model, both);
  th_tensor got = th_params_values(twice->params), wanted = th_params_values(at_once->params);
  expect_near(&got, &wanted, 0, "weights");
  got = logits_of(&b, twice, NULL), wanted = logits_of(&b, at_once, NULL);
  expect_near(&got, &wanted, 0, "logits");
  th_transformer_free(once);
  th_transformer_free(twice);
  th_transformer_free(at_once);
  close_bench(&b);
}

/* ---- token by token, and in a search --------------------------------------------------------- */

static void expect_steps_are_all_at_once(bench *b, const th_transformer *model) {
  th_tensor all = logits_of(b, model, NULL), token, row;
  th_tape *tape = b->d.tape;
  th_tape_reset(tape);
  th_tape_record(tape, false);
  th_decoding decoding =
      model->config.shape == TH_DECODER_ONLY
          ? th_decoding_begin_language(model, tape, BATCH, TARGET)
          : th_decoding_begin(
                model, th_transformer_encode(model, tape, &b->batch.source, b->batch.source_length, NULL),
                b->batch.source_length, TARGET);
  th_tape_mark(tape);
  for (int64_t t = 0; t < TARGET; t++) {
    th_tape_rewind(tape);
    th_view_slice(&token, &b->batch.input, 1, t, t + 1);
    th_view_slice(&row, &all, 1, t, t + 1);
    th_var *logits = th_decoding_step(&decoding, tape, &token, NULL);
    expect_no_error(tape);
    expect_near(&logits->value, &row, 1e-12, "logits");
  }
}

Test(prune, token_by_token_gives_the_logits_of_all_at_once) {
  for (int shape = 0; shape < TH_ENCODER_ONLY; shape++)
    for (int kind = 0; kind < KINDS; kind++) {
      bench b = bench_of((th_transformer_shape)shape, kind);
      bool remove[MANY];
      draw_uneven(&b, remove);
      th_transformer *pruned = pruned_of(&b, b.model, remove);
      expect_steps_are_all_at_once(&b, pruned);
      th_transformer_free(pruned);
      memset(remove, true, sizeof remove);
      pruned = pruned_of(&b, b.model, remove);
      expect_steps_are_all_at_once(&b, pruned);
      th_transformer_free(pruned);
      close_bench(&b);
    }
}

static th_hypotheses found_by(bench *b, const th_transformer *model, th_search_options o) {
  th_hypotheses found;
  o.begin = BEGIN, o.end = END, o.limit = 8;
  th_status status =
      th_search(model, b->d.tape, &b->batch.source, b->batch.source_length, &o, &found, &b->error);
  cr_assert(status == TH_OK, "%s", b->error.text);
  return found;
}

static void expect_same_found(th_hypotheses got, th_hypotheses wanted) {
  for (int64_t i = 0; i < wanted.sources; i++) {
    cr_assert_eq(got.count[i], wanted.count[i]);
    for (int64_t k = i * wanted.most; k < i * wanted.most + wanted.count[i]; k++) {
      const th_hypothesis *g = &got.list[k], *w = &wanted.list[k];
      cr_assert(g->length == w->length &&
                !memcmp(g->tokens, w->tokens, (size_t)g->length * sizeof *g->tokens));
      cr_assert_float_eq(g->score, w->score, 1e-9);
    }
  }
  th_hypotheses_free(&got);
  th_hypotheses_free(&wanted);
}

/* Layers with different numbers of heads, whose caches' rows change places. */
Test(prune, a_search_finds_what_it_found_with_the_gates_shut) {
  const th_search_options ways[] = {
      {.beam = 1}, {.beam = 4, .best = 3, .alpha = 0.6}, {.sample = true, .best = 3}};
  for (int draw = 0; draw < 6; draw++) {
    bench b = bench_of(TH_ENCODER_DECODER, draw % KINDS);
    bool remove[MANY];
    th_tensor_set(&b.model->output.bias->value, END, 0.5); /* some outputs end before others */
    if (draw) draw_heads(&b, remove, (uint64_t)draw, 0.5);
    else draw_uneven(&b, remove);
    th_transformer *pruned = pruned_of(&b, b.model, remove);
    shut(&b, remove);
    for (int i = 0; i < 3; i++) {
      th_search_options again = ways[i];
      again.recompute = true;
      expect_same_found(found_by(&b, pruned, ways[i]), found_by(&b, b.model, ways[i]));
      expect_same_found(found_by(&b, pruned, ways[i]), found_by(&b, pruned, again));
    }
    th_transformer_free(pruned);
    close_bench(&b);
  }
}

/* ---- smaller ---------------------------------------------------------------------------------- */

static off_t bytes_of(const th_transformer *model) {
  char path[] = "/tmp/tapehead-prune-XXXXXX";
  struct stat status;
  th_error error = {0};
  int fd = mkstemp(path);
  cr_assert(fd >= 0 && !close(fd));
  cr_assert(th_params_save(model->params, path, NULL, 0, &error) == TH_OK, "%s", error.text);
  cr_assert_eq(stat(path, &status), 0);
  unlink(path);
  return status.st_size;
}

Test(prune, each_head_takes_its_weights_with_it) {
  bench b = bench_of(TH_ENCODER_DECODER, TH_POSITIONS_RELATIVE);
  const th_nn_attention *a = th_transformer_attention(b.model, 0);
  int64_t head = (2 * a->key_width + a->value_width) * (WIDTH + 1) + a->value_width * WIDTH;
  int64_t whole = th_params_elements(b.model->params);
  off_t bytes = bytes_of(b.model);
  int heads = th_head_count(b.model);
  for (int i = 1; i <= heads; i++) {
    bool remove[MANY] = {false};
    memset(remove, true, (size_t)i);
    th_transformer *pruned = pruned_of(&b, b.model, remove);
    cr_assert_eq(th_head_count(pruned), heads - i);
    cr_assert_eq(th_params_elements(pruned->params), whole - i * head);
    off_t now = bytes_of(pruned);
    cr_assert_leq(now, bytes - head * 8 + 64, "%d heads", i); /* the header may have grown by a digit */
    bytes = now;
    th_transformer_free(pruned);
  }
  close_bench(&b);
}

/* ---- heads keep their numbers ----------------------------------------------------------------- */

static void count_heads(void *context, const th_nn_attention *layer, th_seen *seen) {
  cr_assert_gt(layer->heads, 0);
  cr_assert_eq(seen->weights->value.shape[1], layer->heads);
  *(int64_t *)context += layer->heads;
}

Test(prune, the_heads_that_are_left_keep_their_numbers) {
  bench b = bench_of(TH_ENCODER_DECODER, TH_POSITIONS_ALIBI);
  bool remove[MANY] = {[0] = true, [2] = true, [4] = true, [5] = true, [6] = true, [7] = true, [23] = true};
  th_transformer *pruned = pruned_of(&b, b.model, remove);
  char label[TH_HEAD_LABEL];
  cr_assert_eq(th_head_count(pruned), 24 - 7);
  cr_assert_str_eq(th_head_label(label, th_head_at(pruned, 0)), "enc0.1");
  cr_assert_str_eq(th_head_label(label, th_head_at(pruned, 1)), "enc0.3");
  cr_assert_str_eq(th_head_label(label, th_head_at(pruned, 2)), "dec0.0");
  cr_assert_str_eq(th_head_label(label, th_head_at(pruned, 16)), "cross1.2");
  cr_assert_eq(th_head_place(pruned, (th_head){TH_ENCODER_SELF, 0, 3}), 1);
  cr_assert_eq(th_head_place(pruned, (th_head){TH_ENCODER_SELF, 0, 2}), -1);
  cr_assert_eq(th_head_place(pruned, (th_head){TH_ENCODER_SELF, 1, 0}), -1);
  cr_assert_eq(th_head_place(pruned, (th_head){TH_CROSS, 2, 0}), -1);
  cr_assert_eq(th_head_place(b.model, (th_head){TH_CROSS, 1, 3}), 3);
  for (int i = 0; i < th_head_count(pruned); i++) {
    th_head head = th_head_at(pruned, i);
    const th_nn_attention *a = th_head_attention(pruned, head.kind, head.layer);
    cr_assert_eq(th_nn_head_number(a, th_head_place(pruned, head)), head.head);
    cr_assert_eq(a->whole, HEADS);
  }
  th_transformer_free(pruned);
  close_bench(&b);
}

Test(prune, a_tap_sees_the_heads_that_are_left_and_changes_nothing) {
  bench b = bench_of(TH_ENCODER_DECODER, TH_POSITIONS_RELATIVE);
  bool remove[MANY];
  int64_t seen = 0;
  draw_uneven(&b, remove);
  th_transformer *pruned = pruned_of(&b, b.model, remove);
  th_tensor plain = logits_of(&b, pruned, NULL),
            tapped = logits_of(&b, pruned, &(th_tap){count_heads, &seen});
  expect_near(&tapped, &plain, 1e-12, "logits");
  cr_assert_eq(seen, th_head_count(pruned));
  th_transformer_free(pruned);
  close_bench(&b);
}

/* ---- trained on ------------------------------------------------------------------------------- */

static int loss_of(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  const bench *b = context;
  (void)in;
  out[0] = th_cross_entropy(th_study_forward(b->model, tape, &b->batch, NULL), &b->batch.output, 0.1);
  return 1;
}

/* The bench with a pruned model in the place of the whole one. */
static bench pruned_bench(th_transformer_shape shape, int kind) {
  bench b = bench_of(shape, kind);
  bool remove[MANY];
  draw_uneven(&b, remove);
  th_transformer *pruned = pruned_of(&b, b.model, remove);
  th_transformer_free(b.model);
  b.model = pruned;
  b.batch.output = shape == TH_ENCODER_ONLY ? desk_counted(&b.d, TH_I32, SHAPE(BATCH))
                                            : desk_ids(&b.d, BATCH, TARGET, TARGETS);
  return b;
}

Test(prune, gradients_are_those_of_finite_differences) {
  for (int shape = 0; shape < SHAPES; shape++) {
    bench b = pruned_bench((th_transformer_shape)shape, TH_POSITIONS_RELATIVE);
    th_gradcheck_report report;
    th_status status =
        th_params_gradcheck(b.model->params, loss_of, &b, 0, NULL,
                            &(th_gradcheck_options){.fast = true, .seed = 3}, &report, &b.error);
    cr_assert(status == TH_OK, "%s", b.error.text);
    cr_assert(report.ok, "%s", report.text);
    close_bench(&b);
  }
}

Test(prune, a_pruned_model_learns_on) {
  bench b = pruned_bench(TH_ENCODER_DECODER, TH_POSITIONS_SINUSOIDAL);
  th_adam adam;
  th_var *loss;
  double first = 0, last = 0;
  cr_assert(th_adam_new(&adam, b.model->params, NULL, &b.error) == TH_OK);
  for (int step = 0; step < 60; step++) {
    th_tape_reset(b.d.tape);
    loss_of(b.d.tape, NULL, &loss, &b);
    th_params_zero_grads(b.model->params);
    th_backward(loss, NULL);
    expect_no_error(b.d.tape);
    th_adam_update(&adam, 0.01, NULL);
    last = th_tensor_get(&loss->value, 0);
    if (!step) first = last;
  }
  cr_assert_lt(last, first / 2, "from %g to %g", first, last);
  th_adam_free(&adam);
  close_bench(&b);
}

/* ---- configurations --------------------------------------------------------------------------- */

Test(prune, a_model_may_be_made_without_heads_in_the_first_place) {
  bench b = bench_of(TH_ENCODER_DECODER, TH_POSITIONS_ALIBI);
  bool remove[MANY];
  th_transformer *made;
  draw_uneven(&b, remove);
  th_transformer *pruned = pruned_of(&b, b.model, remove);
  th_transformer_config config = config_of(TH_ENCODER_DECODER, TH_POSITIONS_ALIBI);
  config.removed = remove;
  cr_assert(th_transformer_new(&made, &config, TH_F64, 7, &b.error) == TH_OK, "%s", b.error.text);
  memset(remove, false, sizeof remove); /* it has a copy */
  cr_assert(th_params_copy(made->params, pruned->params, &b.error) == TH_OK, "%s", b.error.text);
  cr_assert_eq(th_params_count(made->params), th_params_count(pruned->params));
  th_tensor got = logits_of(&b, made, NULL), wanted = logits_of(&b, pruned, NULL);
  expect_near(&got, &wanted, 0, "logits");
  th_transformer_free(made);
  th_transformer_free(pruned);
  close_bench(&b);
}

static void expect_refused(th_nn_heads kept) {
  th_params *set = th_params_new();
  th_error error = {0};
  th_nn_attention_make(set, "attention", &(th_nn_attention_config){.width = 8, .heads = 4, .kept = kept});
  cr_assert(th_params_make(set, TH_F32, 1, &error) == TH_EINVAL);
  cr_assert_str_eq(error.text, "attention: the heads that are kept must be rising numbers below their count");
  th_params_free(set);
}

Test(prune, an_attention_wants_numbers_of_heads_that_there_are) {
  expect_refused((th_nn_heads){2, (int32_t[]){1, 4}});
  expect_refused((th_nn_heads){2, (int32_t[]){-1, 2}});
  expect_refused((th_nn_heads){2, (int32_t[]){2, 1}});
  expect_refused((th_nn_heads){2, (int32_t[]){2, 2}});
  expect_refused((th_nn_heads){-1, (int32_t[]){2, 2}});
  expect_refused((th_nn_heads){2, NULL});
}

Test(prune, a_models_configuration_names_heads_in_one_place) {
  th_transformer_config config = config_of(TH_ENCODER_DECODER, TH_POSITIONS_NONE);
  th_error error = {0};
  config.layer.cross = (th_nn_heads){1, (int32_t[]){2}};
  cr_assert(th_transformer_check(&config, &error) == TH_EINVAL);
  cr_assert_str_eq(error.text, "heads of a layer are named: want `removed`, which names the model's");
}
