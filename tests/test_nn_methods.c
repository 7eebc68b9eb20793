/* What holds of a model however its heads attend, and what the table of traits says of each way. */
#include "engine_desk.h"
#include "tapehead/nn.h"

TestSuite(methods);

enum { HEADS = 4, WIDTH = 16, BATCH = 3, SOURCE = 7, TARGET = 6, SOURCES = 11, TARGETS = 13 };

static const int32_t lengths[BATCH] = {7, 3, 5};

static const th_nn_method every[] = {
    {.kind = TH_ATTENTION_FULL},
    {.kind = TH_ATTENTION_GROUPED, .key_heads = 2},
    {.kind = TH_ATTENTION_GROUPED, .key_heads = 1},
    {.kind = TH_ATTENTION_COLLABORATIVE, .shared_width = 6},
    {.kind = TH_ATTENTION_LOCAL, .window = 3},
    {.kind = TH_ATTENTION_LINEAR},
    {.kind = TH_ATTENTION_TALKING},
    {.kind = TH_ATTENTION_LSH, .rounds = 2, .buckets = 4, .chunk = 2},
};
enum { EVERY = sizeof every / sizeof *every };

#define FOR_EVERY(m) for (const th_nn_method *m = every; m < every + EVERY; m++)

static const th_attention_traits *traits_of(const th_nn_method *m) { return th_attention_traits_of(m->kind); }

/* ---- a model and what it reads --------------------------------------------------------------------------- */

typedef struct bench {
  desk d;
  th_transformer *model;
  th_tensor source, target;
} bench;

static th_transformer_config config_of(const th_nn_method *m, th_transformer_shape shape) {
  th_nn_layer_config layer = {.width = WIDTH, .heads = HEADS, .feed_forward = 24, .attention = *m};
  th_transformer_config c = {.shape = shape, .max_length = 16, .layer = layer, .decoder_layers = 2};
  if (shape == TH_ENCODER_DECODER) {
    c.source_vocabulary = SOURCES, c.encoder_layers = 2;
    if (traits_of(m)->cross) c.layer.cross_attention = *m;
  }
  c.target_vocabulary = TARGETS;
  return c;
}

static th_transformer *model_of(const th_transformer_config *config) {
  th_transformer *model = NULL;
  th_error error = {0};
  cr_assert(th_transformer_new(&model, config, TH_F64, 1, &error) == TH_OK, "%s", error.text);
  for (int i = 0; i < th_params_count(model->params);
       i++) /* biases and mixings start where a mistake can hide */
    th_fill_uniform(&th_params_at(model->params, i)->value, -0.6, 0.6, (th_random){9, (uint64_t)i});
  return model;
}

static bench bench_of(const th_nn_method *m, th_transformer_shape shape) {
  bench b = {.d = desk_open()};
  th_transformer_config config = config_of(m, shape);
  b.model = model_of(&config);
  b.source = desk_ids(&b.d, BATCH, SOURCE, SOURCES);
  b.target = desk_ids(&b.d, BATCH, TARGET, TARGETS);
  return b;
}

static void close_bench(bench *b) {
  th_transformer_free(b->model);
  desk_close(&b->d);
}

/* Logits of a model of either shape, copied off the tape. */
static th_tensor logits_of(bench *b, const th_transformer *model, const th_tensor *source,
                           const int32_t *length, const th_tensor *target, const th_tap *tap) {
  th_tape *tape = b->d.tape;
  th_tape_reset(tape);
  th_var *logits = model->config.shape == TH_DECODER_ONLY
                       ? th_transformer_language(model, tape, target, tap)
                       : th_transformer_decode(model, th_transformer_encode(model, tape, source, length, tap),
                                               length, target, tap);
  expect_no_error(tape);
  return desk_copy(&b->d, TH_F64, &logits->value);
}

static th_tensor all_logits(bench *b, const th_tap *tap) {
  return logits_of(b, b->model, &b->source, lengths, &b->target, tap);
}

/* ---- the two ways ------------------------------------------------------------------------------------------ */

/* Is query `row` of all rows [B,H,T] one of those that the lengths count? Others may have nothing in sight. */
static bool counts(const th_nn_attention *layer, const th_tensor *w, int64_t row) {
  int64_t queries = w->shape[2];
  return layer->kind != TH_ENCODER_SELF || row % queries < lengths[row / queries / w->shape[1]];
}

/* What weights must be like where the traits say that rows sum to one; counts the calls. */
static void look(void *context, const th_nn_attention *layer, th_seen *seen) {
  const th_tensor *w = &seen->weights->value;
  const th_attention_traits *traits = th_attention_traits_of(layer->method.kind);
  int64_t keys = w->shape[3];
  ++*(int *)context;
  cr_expect(w->ndim == 4 && w->shape[1] == layer->heads && seen->value->value.shape[1] == layer->heads);
  for (int64_t row = 0; traits->rows_sum_to_one && row < th_tensor_count(w) / keys; row++) {
    double sum = 0;
    for (int64_t k = 0; k < keys; k++) {
      double weight = th_tensor_get(w, row * keys + k);
      cr_expect(weight >= 0, "%s: %g", traits->name, weight);
      sum += weight;
    }
    cr_expect(fabs(sum - 1) < 1e-12 || (sum == 0 && !counts(layer, w, row)), "%s: row %ld sums to %.17g",
              traits->name, (long)row, sum);
  }
}

Test(methods, who_looks_on_changes_nothing_and_sees_rows_that_sum_to_one) {
  FOR_EVERY(m) for (int shape = 0; shape <= TH_DECODER_ONLY; shape++) {
    bench b = bench_of(m, (th_transformer_shape)shape);
    int calls = 0;
    th_tensor plain = all_logits(&b, NULL), seen = all_logits(&b, &(th_tap){look, &calls});
    cr_expect(calls == (shape == TH_DECODER_ONLY ? 2 : 6));
    expect_near(&seen, &plain, 1e-11, traits_of(m)->name);
    close_bench(&b);
  }
}

/* ---- what is hidden ---------------------------------------------------------------------------------------- */

Test(methods, a_later_token_changes_nothing_that_was_said_before) {
  FOR_EVERY(m) for (int shape = 0; shape <= TH_DECODER_ONLY; shape++) {
    bench b = bench_of(m, (th_transformer_shape)shape);
    th_tensor before = all_logits(&b, NULL), head, head_before;
    for (int64_t i = 0; i < BATCH; i++) {
      int64_t at = i * TARGET + 4;
      th_tensor_set(&b.target, at, (double)(((int)th_tensor_get(&b.target, at) + 1) % TARGETS));
    }
    th_tensor after = all_logits(&b, NULL);
    th_view_slice(&head, &after, 1, 0, 4), th_view_slice(&head_before, &before, 1, 0, 4);
    expect_near(&head, &head_before, 1e-13, traits_of(m)->name);
    cr_expect(first_difference(&after, &before, 1e-6) >= 0, "%s: it changes nothing", traits_of(m)->name);
    close_bench(&b);
  }
}

Test(methods, padding_changes_nothing_and_a_row_of_a_batch_is_what_it_is_alone) {
  FOR_EVERY(m) {
    bench b = bench_of(m, TH_ENCODER_DECODER);
    th_tensor all = all_logits(&b, NULL), source, cut, target, row;
    for (int64_t i = 0; i < BATCH; i++) {
      th_view_slice(&source, &b.source, 0, i, i + 1), th_view_slice(&cut, &source, 1, 0, lengths[i]);
      th_tensor short_source = desk_copy(&b.d, TH_I32, &cut);
      th_view_slice(&target, &b.target, 0, i, i + 1), th_view_slice(&row, &all, 0, i, i + 1);
      th_tensor alone = logits_of(&b, b.model, &short_source, NULL, &target, NULL);
      expect_near(&alone, &row, 1e-11, traits_of(m)->name);
    }
    close_bench(&b);
  }
}

/* ---- token by token ------------------------------------------------------------------------------------------ */

/* What stands before each piece's end, as if nothing had been read: its last rows are those of the piece. */
static void expect_same_in_pieces(bench *b, const int64_t *piece, const th_tap *tap) {
  bool language = b->model->config.shape == TH_DECODER_ONLY;
  th_tensor part, beginning, rows;
  th_tape *other = th_tape_new(NULL), *tape = b->d.tape;
  cr_assert(other != NULL);
  th_tape_record(other, false);
  b->d.tape = other;
  th_decoding decoding =
      language
          ? th_decoding_begin_language(b->model, other, BATCH, TARGET)
          : th_decoding_begin(b->model, th_transformer_encode(b->model, other, &b->source, lengths, NULL),
                              lengths, TARGET);
  th_tape_mark(other);
  for (int64_t at = 0, next; at < TARGET; at = next) {
    next = at + *piece++;
    th_view_slice(&part, &b->target, 1, at, next), th_view_slice(&beginning, &b->target, 1, 0, next);
    b->d.tape = tape;
    th_tensor wanted = logits_of(b, b->model, &b->source, lengths, &beginning, NULL);
    b->d.tape = other;
    th_tape_rewind(other);
    th_var *logits = th_decoding_step(&decoding, other, &part, tap);
    expect_no_error(other);
    th_view_slice(&rows, &wanted, 1, at, next);
    expect_near(&logits->value, &rows, 1e-11,
                th_attention_traits_of(b->model->config.layer.attention.kind)->name);
  }
  b->d.tape = tape;
  th_tape_free(other);
}

Test(methods, token_by_token_is_said_what_is_said_at_once) {
  FOR_EVERY(m) for (int shape = 0; shape <= TH_DECODER_ONLY; shape++) {
    bench b = bench_of(m, (th_transformer_shape)shape);
    expect_same_in_pieces(&b, (int64_t[]){1, 1, 1, 1, 1, 1}, NULL);
    expect_same_in_pieces(&b, (int64_t[]){3, 1, 2}, NULL);
    close_bench(&b);
  }
}

/* Beams change places among the remembered rows: kept and computed again must be the same. */
Test(methods, a_search_finds_the_same_from_what_is_remembered_and_from_the_start) {
  FOR_EVERY(m) {
    bench b = bench_of(m, TH_ENCODER_DECODER);
    th_search_options o = {.begin = 1, .end = 2, .limit = 8, .beam = 3, .best = 3, .alpha = 0.6};
    th_hypotheses kept, again;
    th_error error = {0};
    cr_assert(!th_search(b.model, b.d.tape, &b.source, lengths, &o, &kept, &error), "%s", error.text);
    o.recompute = true;
    cr_assert(!th_search(b.model, b.d.tape, &b.source, lengths, &o, &again, &error), "%s", error.text);
    for (int64_t i = 0; i < BATCH * 3; i++) {
      const th_hypothesis *x = &kept.list[i], *y = &again.list[i];
      cr_assert_eq(x->length, y->length, "%s", traits_of(m)->name);
      cr_expect_arr_eq(x->tokens, y->tokens, (size_t)x->length * sizeof *x->tokens);
      cr_expect_float_eq(x->score, y->score, 1e-9);
    }
    th_hypotheses_free(&kept);
    th_hypotheses_free(&again);
    close_bench(&b);
  }
}

/* ---- the limits in which they are full attention ---------------------------------------------------------------- */

static void expect_full(const th_nn_method *m, void (*set)(th_transformer *of, const th_transformer *full)) {
  bench b = bench_of(&every[0], TH_ENCODER_DECODER);
  th_transformer_config config = config_of(m, TH_ENCODER_DECODER);
  th_transformer *model = model_of(&config);
  set(model, b.model);
  th_tensor full = all_logits(&b, NULL), same = logits_of(&b, model, &b.source, lengths, &b.target, NULL);
  expect_near(&same, &full, 1e-11, traits_of(m)->name);
  th_transformer_free(model);
  close_bench(&b);
}

/* All parameters that have the same name in both. */
static void set_alike(th_transformer *of, const th_transformer *full) {
  for (int i = 0; i < th_params_count(of->params); i++) {
    th_param *to = th_params_at(of->params, i);
    const th_param *from = th_params_find(full->params, to->name);
    if (from) cr_assert(th_tensor_copy(&to->value, &from->value, NULL) == TH_OK, "%s", to->name);
  }
}

static void set_identity(th_transformer *of, const th_transformer *full) {
  set_alike(of, full);
  for (int a = 0; a < th_transformer_attentions(of); a++) {
    const th_nn_attention *layer = th_transformer_attention(of, a);
    for (int64_t i = 0; i < HEADS * HEADS; i++) {
      th_tensor_set(&layer->mix_scores->value, i, i / HEADS == i % HEADS);
      th_tensor_set(&layer->mix_weights->value, i, i / HEADS == i % HEADS);
    }
  }
}

static void copy_rows(const th_param *from, int64_t first, const th_param *to) {
  th_tensor rows;
  cr_assert(th_view_slice(&rows, &from->value, 0, first, first + to->value.shape[0]));
  cr_assert(th_tensor_copy(&to->value, &rows, NULL) == TH_OK);
}

/* Blocks for mixing vectors: head h has the h-th part of the shared width to itself. The content bias is what the
 * queries' bias adds: c_h = W_K,h' b_Q,h; what the keys' bias adds is the same for all keys, and softmax drops it. */
static void set_blocks(th_transformer *of, const th_transformer *full) {
  enum { D = WIDTH / HEADS };
  set_alike(of, full);
  for (int a = 0; a < th_transformer_attentions(of); a++) {
    const th_nn_attention *layer = th_transformer_attention(of, a), *f;
    f = th_transformer_attention((th_transformer *)(uintptr_t)full, a);
    copy_rows(f->in_weight, 0, layer->shared.query), copy_rows(f->in_weight, WIDTH, layer->shared.key);
    copy_rows(f->in_weight, 2 * WIDTH, layer->shared.value.weight);
    copy_rows(f->in_bias, 2 * WIDTH, layer->shared.value.bias);
    for (int64_t i = 0; i < HEADS * WIDTH; i++) {
      double bias = 0;
      for (int64_t row = i / WIDTH * D; row < (i / WIDTH + 1) * D; row++)
        bias += th_tensor_get(&f->in_bias->value, row) *
                th_tensor_get(&f->in_weight->value, (WIDTH + row) * WIDTH + i % WIDTH);
      th_tensor_set(&layer->shared.content_bias->value, i, bias);
      th_tensor_set(&layer->shared.mixing->value, i, i % WIDTH / D == i / WIDTH);
    }
  }
}

Test(methods, grouped_with_as_many_groups_as_heads_is_full) {
  expect_full(&(th_nn_method){.kind = TH_ATTENTION_GROUPED, .key_heads = HEADS}, set_alike);
}
Test(methods, a_window_as_long_as_the_sequence_is_full) {
  expect_full(&(th_nn_method){.kind = TH_ATTENTION_LOCAL, .window = SOURCE}, set_alike);
}
Test(methods, talking_heads_that_listen_to_themselves_alone_are_full) {
  expect_full(&(th_nn_method){.kind = TH_ATTENTION_TALKING}, set_identity);
}
Test(methods, collaborative_of_full_width_with_blocks_for_mixing_vectors_is_full) {
  expect_full(&(th_nn_method){.kind = TH_ATTENTION_COLLABORATIVE, .shared_width = WIDTH}, set_blocks);
}

/* ---- beside plain versions, written from the papers ---------------------------------------------------------- */

/* One attention of HEADS heads over x and memory [B,T,E] and [B,S,E], its parameters and its inputs. */
typedef struct layer_bench {
  desk d;
  th_params *params;
  th_nn_attention layer;
  th_tensor x, memory;
} layer_bench;

static layer_bench layer_bench_of(const th_nn_method *m) {
  layer_bench b = {.d = desk_open(), .params = th_params_new()};
  th_nn_attention_config config = {
      .width = WIDTH, .heads = HEADS, .value_width = 3, .key_width = 5, .method = *m};
  b.layer = th_nn_attention_make(b.params, "layer", &config);
  cr_assert(th_params_make(b.params, TH_F64, 1, NULL) == TH_OK);
  th_tensor values = th_params_values(b.params);
  th_fill_uniform(&values, -0.6, 0.6, (th_random){9, 1});
  b.x = desk_uniform(&b.d, TH_F64, -1, 1, SHAPE(BATCH, TARGET, WIDTH));
  b.memory = desk_uniform(&b.d, TH_F64, -1, 1, SHAPE(BATCH, SOURCE, WIDTH));
  return b;
}

static double at(const th_param *p, int64_t row, int64_t column) {
  return th_tensor_get(&p->value, row * p->value.shape[1] + column);
}

/* Row `row` of a projection of token `token`, with its bias, if it has one. */
static double projected(const th_tensor *x, int64_t token, const th_param *weight, const th_param *bias,
                        int64_t row) {
  double sum = bias ? th_tensor_get(&bias->value, row) : 0;
  for (int64_t e = 0; e < WIDTH; e++) sum += at(weight, row, e) * th_tensor_get(x, token * WIDTH + e);
  return sum;
}

typedef double weights_of_sequence[HEADS][TARGET][SOURCE];

static void softmax_rows(weights_of_sequence w, int64_t keys) {
  for (int64_t row = 0; row < HEADS * TARGET; row++) {
    double *r = w[row / TARGET][row % TARGET], sum = 0;
    for (int64_t j = 0; j < SOURCE; j++) sum += r[j] = j < keys ? exp(r[j]) : 0;
    for (int64_t j = 0; j < SOURCE; j++) r[j] /= sum;
  }
}

/* Cordonnier et al. 2020, section 3: Q diag(m_h) K' + 1 (Y c_h)', over sqrt(D), through softmax. */
static void collaborative_weights(const layer_bench *b, int64_t sequence, weights_of_sequence w) {
  const th_nn_collaboration *s = &b->layer.shared;
  for (int64_t h = 0; h < HEADS; h++)
    for (int64_t i = 0; i < TARGET; i++)
      for (int64_t j = 0; j < SOURCE; j++) {
        int64_t query = sequence * TARGET + i, key = sequence * SOURCE + j;
        double score = projected(&b->memory, key, s->content_bias, NULL, h);
        for (int64_t r = 0; r < b->layer.method.shared_width; r++)
          score += at(s->mixing, h, r) * projected(&b->x, query, s->query, NULL, r) *
                   projected(&b->memory, key, s->key, NULL, r);
        w[h][i][j] = score / sqrt(5);
      }
  softmax_rows(w, lengths[sequence]);
}

static void mix(weights_of_sequence w, const th_param *mixing) {
  weights_of_sequence from;
  memcpy(from, w, sizeof from);
  for (int64_t h = 0; h < HEADS; h++)
    for (int64_t i = 0; i < TARGET * SOURCE; i++) {
      double sum = 0;
      for (int64_t g = 0; g < HEADS; g++) sum += at(mixing, h, g) * from[g][i / SOURCE][i % SOURCE];
      w[h][i / SOURCE][i % SOURCE] = sum;
    }
}

/* Shazeer et al. 2020, section 4: the projections are between the products and the softmax, on both its sides. */
static void talking_weights(const layer_bench *b, int64_t sequence, weights_of_sequence w) {
  const th_nn_attention *l = &b->layer;
  for (int64_t h = 0; h < HEADS; h++)
    for (int64_t i = 0; i < TARGET; i++)
      for (int64_t j = 0; j < SOURCE; j++) {
        w[h][i][j] = 0;
        for (int64_t d = 0; d < 5; d++)
          w[h][i][j] +=
              projected(&b->x, sequence * TARGET + i, l->in_weight, l->in_bias, h * 5 + d) *
              projected(&b->memory, sequence * SOURCE + j, l->in_weight, l->in_bias, (HEADS + h) * 5 + d) /
              sqrt(5);
      }
  mix(w, l->mix_scores);
  softmax_rows(w, lengths[sequence]);
  mix(w, l->mix_weights);
}

/* W_O times the heads' mixtures of values, side by side. */
static double said(const layer_bench *b, weights_of_sequence w, int64_t sequence, int64_t i, int64_t e) {
  const th_nn_attention *l = &b->layer;
  const th_nn_linear *own = &l->shared.value;
  int64_t first = own->weight ? 0 : 2 * HEADS * 5;
  double sum = th_tensor_get(&l->out.bias->value, e);
  for (int64_t c = 0; c < HEADS * 3; c++)
    for (int64_t j = 0; j < SOURCE; j++)
      sum += at(l->out.weight, e, c) * w[c / 3][i][j] *
             projected(&b->memory, sequence * SOURCE + j, own->weight ? own->weight : l->in_weight,
                       own->weight ? own->bias : l->in_bias, first + c);
  return sum;
}

static void expect_plain(const th_nn_method *m,
                         void (*weights)(const layer_bench *b, int64_t sequence, weights_of_sequence w)) {
  layer_bench b = layer_bench_of(m);
  th_tensor wanted = desk_zeros(&b.d, TH_F64, SHAPE(BATCH, TARGET, WIDTH));
  weights_of_sequence w;
  for (int64_t n = 0; n < BATCH * TARGET * WIDTH; n++) {
    int64_t sequence = n / (TARGET * WIDTH);
    if (n % (TARGET * WIDTH) == 0) weights(&b, sequence, w);
    th_tensor_set(&wanted, n, said(&b, w, sequence, n / WIDTH % TARGET, n % WIDTH));
  }
  th_var *y = th_nn_attention_forward(&b.layer, th_constant(b.d.tape, &b.x), th_constant(b.d.tape, &b.memory),
                                      &(th_mask){.key_length = lengths}, NULL);
  expect_no_error(b.d.tape);
  expect_near(&y->value, &wanted, 1e-12, traits_of(m)->name);
  th_params_free(b.params);
  desk_close(&b.d);
}

Test(methods, collaborative_is_what_its_paper_says) {
  expect_plain(&(th_nn_method){.kind = TH_ATTENTION_COLLABORATIVE, .shared_width = 7}, collaborative_weights);
}
Test(methods, talking_is_what_its_paper_says) {
  expect_plain(&(th_nn_method){.kind = TH_ATTENTION_TALKING}, talking_weights);
}

/* ---- heads that are removed ---------------------------------------------------------------------------------- */

Test(methods, single_heads_are_removed_where_the_traits_say_so) {
  FOR_EVERY(m) {
    bench b = bench_of(m, TH_ENCODER_DECODER);
    bool remove[6 * HEADS] = {[1] = true, [6] = true, [7] = true, [13] = true, [18] = true};
    th_transformer *pruned = NULL;
    th_error error = {0};
    if (!traits_of(m)->prunes) {
      cr_expect(th_transformer_prune(&pruned, b.model, remove, &error) == TH_EINVAL);
      cr_expect(strstr(error.text, traits_of(m)->name), "%s", error.text);
      cr_expect_null(pruned);
    } else {
      th_params *gates = th_params_new();
      cr_assert(th_transformer_prune(&pruned, b.model, remove, &error) == TH_OK, "%s", error.text);
      th_tensor got = logits_of(&b, pruned, &b.source, lengths, &b.target, NULL);
      for (int a = 0; a < 6; a++) {
        char name[16];
        snprintf(name, sizeof name, "gate%d", a);
        th_transformer_attention(b.model, a)->gate =
            th_params_add(gates, NULL, name, (th_init){.kind = TH_INIT_ONES}, SHAPE(HEADS));
      }
      cr_assert(th_params_make(gates, TH_F64, 1, NULL) == TH_OK);
      for (int i = 0; i < 6 * HEADS; i++)
        if (remove[i])
          th_tensor_set(&th_transformer_attention(b.model, i / HEADS)->gate->value, i % HEADS, 0);
      th_tensor wanted = all_logits(&b, NULL);
      expect_near(&got, &wanted, 1e-11, traits_of(m)->name);
      cr_expect(th_params_elements(pruned->params) < th_params_elements(b.model->params));
      th_transformer_free(pruned);
      th_params_free(gates);
    }
    close_bench(&b);
  }
}

/* ---- what a method cannot do, and what does not fit ----------------------------------------------------------- */

static void expect_refused(const th_transformer_config *config, const char *text) {
  th_error error = {0};
  cr_expect(th_transformer_check(config, &error) == TH_EINVAL, "wanted: %s", text);
  cr_expect_str_eq(error.text, text);
}

Test(methods, what_the_traits_deny_is_refused_by_name) {
  char text[200];
  FOR_EVERY(m) {
    const th_attention_traits *t = traits_of(m);
    th_error error = {0};
    cr_expect((th_nn_method_check(m, HEADS, true, &error) == TH_OK) == t->cross, "%s", t->name);
    if (!t->cross) {
      snprintf(text, sizeof text,
               "%s attention has no cross-attention: its queries and keys are of one sequence", t->name);
      cr_expect_str_eq(error.text, text);
    }
    th_transformer_config config = config_of(m, TH_DECODER_ONLY);
    config.positions = TH_POSITIONS_ROTARY;
    cr_expect((th_transformer_check(&config, &error) == TH_OK) == t->rotary, "%s", t->name);
    config.positions = TH_POSITIONS_ALIBI;
    cr_expect((th_transformer_check(&config, &error) == TH_OK) == t->biases, "%s", t->name);
  }
  th_transformer_config config = config_of(&(th_nn_method){.kind = TH_ATTENTION_LINEAR}, TH_DECODER_ONLY);
  config.positions = TH_POSITIONS_RELATIVE;
  expect_refused(&config, "self-attention: linear attention has no scores for ALiBi or relative positions");
  config.positions = TH_POSITIONS_ROTARY;
  expect_refused(&config, "self-attention: linear attention has no queries and keys for rotary positions");
}

static void expect_tape_says(th_tape *tape, const char *text) {
  const th_error *error = th_tape_error(tape);
  cr_assert_not_null(error, "wanted: %s", text);
  cr_expect(!strncmp(error->text, text, strlen(text)), "%s", error->text);
}

Test(methods, linear_attention_says_what_it_cannot_show_or_hide) {
  bench b = bench_of(&(th_nn_method){.kind = TH_ATTENTION_LINEAR}, TH_DECODER_ONLY);
  int calls = 0;
  th_tape_record(b.d.tape, false);
  th_decoding decoding = th_decoding_begin_language(b.model, b.d.tape, BATCH, TARGET);
  th_decoding_step(&decoding, b.d.tape, &b.target, &(th_tap){look, &calls});
  expect_tape_says(b.d.tape, "linear attention: it remembers sums of keys, which show no weights: look at a "
                             "whole sequence at once");
  for (int tapped = 0; tapped < 2; tapped++) {
    th_tape_reset(b.d.tape);
    th_tensor allowed = desk_zeros(&b.d, TH_U8, SHAPE(TARGET, TARGET)),
              x = desk_uniform(&b.d, TH_F64, -1, 1, SHAPE(BATCH, TARGET, WIDTH));
    th_nn_attention_forward(th_transformer_attention(b.model, 0), th_constant(b.d.tape, &x), NULL,
                            &(th_mask){.allowed = &allowed}, tapped ? &(th_tap){look, &calls} : NULL);
    expect_tape_says(b.d.tape, "linear attention: keys cannot be hidden one by one, by a mask of them");
  }
  close_bench(&b);
}

Test(methods, numbers_that_do_not_fit_are_refused_with_what_would) {
  const struct {
    th_nn_method method;
    const char *text;
  } wrong[] = {
      {{.kind = (th_attention_method)TH_ATTENTION_METHODS}, "the attention's method is none that there is"},
      {{.kind = TH_ATTENTION_GROUPED, .key_heads = 3}, "3 key heads do not divide 4 heads"},
      {{.kind = TH_ATTENTION_GROUPED}, "key heads: 0: want 1 to 16777216"},
      {{.kind = TH_ATTENTION_COLLABORATIVE}, "the shared width: 0: want 1 to 16777216"},
      {{.kind = TH_ATTENTION_LOCAL, .window = -1}, "the window: -1: want 1 to 16777216"},
      {{.kind = TH_ATTENTION_LINEAR, .window = 2}, "the window: 2, but linear attention has none: want 0"},
      {{.kind = TH_ATTENTION_LSH, .chunk = 4, .buckets = 2}, "rounds: 0: want 1 to 1024"},
      {{.kind = TH_ATTENTION_LSH, .rounds = 1025, .chunk = 4, .buckets = 2}, "rounds: 1025: want 1 to 1024"},
      {{.kind = TH_ATTENTION_LSH, .rounds = 1, .chunk = 4, .buckets = 1 << 21},
       "buckets: 2097152: want 1 to 1048576"},
      {{.kind = TH_ATTENTION_LSH, .rounds = 1, .chunk = 4, .buckets = 3},
       "3 buckets: want an even number, or 1 for no hashing"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    th_error error = {0};
    cr_expect(th_nn_method_check(&wrong[i].method, HEADS, false, &error) == TH_EINVAL);
    cr_expect_str_eq(error.text, wrong[i].text);
    th_params *set = th_params_new();
    th_nn_attention_config config = {.width = WIDTH, .heads = HEADS, .method = wrong[i].method};
    th_nn_attention_make(set, "layer", &config);
    cr_expect(th_params_make(set, TH_F64, 1, &error) == TH_EINVAL);
    th_params_free(set);
  }
}

Test(methods, each_has_a_name_and_a_source_of_its_own) {
  for (int i = 0; i < TH_ATTENTION_METHODS; i++) {
    const th_attention_traits *t = th_attention_traits_of((th_attention_method)i);
    cr_expect(t->name && t->source && t->time && t->memory && t->cache && t->causal && t->padding);
    for (int k = 0; k < i; k++)
      cr_expect_str_neq(t->name, th_attention_traits_of((th_attention_method)k)->name);
  }
  cr_expect_null(th_attention_traits_of((th_attention_method)TH_ATTENTION_METHODS));
  cr_expect_null(th_attention_traits_of((th_attention_method)-1));
}

/* ---- without padding -------------------------------------------------------------------------------------------- */

static void see_nothing(void *context, const th_nn_attention *layer, th_seen *seen) {
  (void)context, (void)layer, (void)seen;
}

static void count_packing(void *context, const th_var *var) {
  *(int *)context += var->op && !strcmp(var->op->name, "take_rows");
}

/* The loss and all gradients of a step of training; with a tap nothing is packed. */
static double step_of(desk *d, const th_transformer *m, const th_batch *batch, const th_tap *tap,
                      th_tensor *gradient) {
  th_tape_reset(d->tape);
  th_tape_train(d->tape, true);
  th_tape_seed(d->tape, 3, 4);
  th_params_zero_grads(m->params);
  th_var *loss = th_transformer_loss(m, d->tape, batch, 0.1, tap);
  expect_no_error(d->tape);
  int packings = 0;
  th_tape_watch(d->tape, count_packing, &packings);
  th_backward(loss, NULL);
  expect_no_error(d->tape);
  bool again = m->config.reversible || m->config.layer.feed_forward_chunks;
  cr_expect(tap || again ? packings == 0 : packings > 0);
  th_tensor all = th_params_grads(m->params);
  *gradient = desk_copy(d, TH_F64, &all);
  return th_tensor_get(&loss->value, 0);
}

static th_batch batch_of(desk *d) {
  static const int32_t input_length[BATCH] = {2, 6, 0};
  th_batch batch = {.source = desk_ids(d, BATCH, SOURCE, SOURCES),
                    .source_length = lengths,
                    .input = desk_ids(d, BATCH, TARGET, TARGETS),
                    .input_length = input_length,
                    .output = desk_ids(d, BATCH, TARGET, TARGETS)};
  for (int i = 0; i < BATCH * TARGET; i++)
    if (i % TARGET >= input_length[i / TARGET]) ((int32_t *)batch.output.data)[i] = -1;
  return batch;
}

static void expect_padding_is_nothing(const th_transformer_config *config, const char *what) {
  desk d = desk_open();
  th_transformer *m = model_of(config);
  th_batch batch = batch_of(&d);
  th_tensor packed, padded;
  double loss = step_of(&d, m, &batch, NULL, &packed);
  double wanted = step_of(&d, m, &batch, &(th_tap){see_nothing, NULL}, &padded);
  cr_expect(fabs(loss - wanted) < 1e-13 && wanted > 1, "%s: loss %.17g, wanted %.17g", what, loss, wanted);
  expect_near(&packed, &padded, 1e-12, what);
  th_transformer_free(m);
  desk_close(&d);
}

Test(methods, the_loss_of_a_packed_batch_is_that_of_the_padded_one) {
  FOR_EVERY(m) {
    for (int shape = TH_ENCODER_DECODER; shape <= TH_DECODER_ONLY; shape++) {
      th_transformer_config config = config_of(m, (th_transformer_shape)shape);
      config.final_norm = config.layer.norm_first = shape == TH_DECODER_ONLY;
      expect_padding_is_nothing(&config, traits_of(m)->name);
      config.layer.dropout = 0.2; /* of which masks are those of the whole batch */
      config.layer.feed_forward = 23;
      expect_padding_is_nothing(&config, traits_of(m)->name);
    }
    th_transformer_config config = config_of(m, TH_ENCODER_DECODER);
    for (int kind = TH_POSITIONS_LEARNED; kind <= TH_POSITIONS_NONE; kind++) {
      bool turns = kind == TH_POSITIONS_ROTARY,
           biased = kind == TH_POSITIONS_ALIBI || kind == TH_POSITIONS_RELATIVE;
      config.positions = (th_positions)kind;
      if ((!turns || traits_of(m)->rotary) && (!biased || traits_of(m)->biases))
        expect_padding_is_nothing(&config, "positions");
    }
  }
}

Test(methods, memory_given_back_while_going_backward_changes_no_bit) {
  FOR_EVERY(m) {
    for (int kind = 0; kind < 3; kind++) {
      th_transformer_config config = config_of(m, TH_ENCODER_DECODER);
      config.layer.dropout = 0.2;
      config.layer.width = 64, config.layer.feed_forward = 200; /* so that there is something to give back */
      config.reversible = config.layer.norm_first = kind == 1;
      config.layer.feed_forward_chunks = kind == 2 ? 2 : 0;
      desk d = desk_open();
      th_transformer *model = model_of(&config);
      th_batch batch = batch_of(&d);
      th_tensor kept, released;
      double wanted = step_of(&d, model, &batch, NULL, &kept);
      th_tape_release(d.tape, true);
      double loss = step_of(&d, model, &batch, NULL, &released);
      cr_expect(loss == wanted && first_difference(&released, &kept, 0) < 0, "%s, %d", traits_of(m)->name,
                kind);
      th_transformer_free(model);
      desk_close(&d);
    }
  }
}

Test(methods, a_packed_memory_has_zeros_for_padding) {
  bench b = bench_of(&every[0], TH_ENCODER_DECODER);
  th_tensor memory =
      desk_copy(&b.d, TH_F64, &th_transformer_encode(b.model, b.d.tape, &b.source, lengths, NULL)->value);
  th_tape_reset(b.d.tape);
  th_var *seen = th_transformer_encode(b.model, b.d.tape, &b.source, lengths, &(th_tap){see_nothing, NULL});
  expect_no_error(b.d.tape);
  for (int64_t i = 0; i < th_tensor_count(&memory); i++) {
    bool token = i / WIDTH % SOURCE < lengths[i / WIDTH / SOURCE];
    double wanted = token ? th_tensor_get(&seen->value, i) : 0;
    cr_assert(fabs(th_tensor_get(&memory, i) - wanted) < 1e-13, "element %ld", (long)i);
  }
  close_bench(&b);
}

Test(methods, a_batch_whose_output_does_not_fit_its_input_is_refused) {
  bench b = bench_of(&every[0], TH_ENCODER_DECODER);
  th_batch batch = {.source = b.source, .input = b.target, .output = b.source};
  th_transformer_loss(b.model, b.d.tape, &batch, 0, NULL);
  cr_assert_not_null(th_tape_error(b.d.tape));
  cr_expect_str_eq(th_tape_error(b.d.tape)->text,
                   "transformer: input [3,6] and output [3,7]: want i32 [B,T] twice");
  close_bench(&b);
}

/* ---- the table in docs/attention.md --------------------------------------------------------------------------- */

static const char *answer(bool yes) { return yes ? "yes" : "no"; }

Test(methods, the_documented_table_is_the_one_that_programs_read) {
  static char text[1 << 16];
  FILE *file = fopen("docs/attention.md", "r");
  cr_assert_not_null(file, "docs/attention.md: run this from the root of the tree");
  fread(text, 1, sizeof text - 1, file);
  fclose(file);
  for (int i = 0; i < TH_ATTENTION_METHODS; i++) {
    const th_attention_traits *t = th_attention_traits_of((th_attention_method)i);
    char row[400];
    snprintf(row, sizeof row, "\n| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
             t->name, answer(t->cross), answer(t->causal), answer(t->padding), answer(t->allowed),
             answer(t->biases), answer(t->rotary), answer(t->dropout), answer(t->rows_sum_to_one),
             answer(t->prunes), t->time, t->memory, t->cache);
    cr_expect(strstr(text, row), "no row%s", row);
    cr_expect(strstr(text, t->source), "no source: %s", t->source);
  }
}
