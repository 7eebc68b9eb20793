/* LSH attention beside a plain version in the paper's own terms, and its limits. */
#include "engine_plain.h"

TestSuite(lsh);

typedef struct shape {
  int64_t batch, heads, tokens, depth, width;
} shape;

/* ---- as in Kitaev, Kaiser & Levskaya 2020, section 2 and appendix A ------------------------------------------- */

enum { MOST = 160, ROUNDS = 8 };

/* One head's rounds: the bucket of each token, and which of the bucket's chunks it is in. */
typedef struct plan {
  int64_t n, rounds, bucket[ROUNDS][MOST], chunk[ROUNDS][MOST];
} plan;

static double key_at(const th_tensor *qk, int64_t head, int64_t token, int64_t d) {
  int64_t depth = qk->shape[3], row = (head * qk->shape[2] + token) * depth;
  double squares = 0;
  for (int64_t c = 0; c < depth; c++) squares += pow(P(qk)[row + c], 2);
  return P(qk)[row + d] / sqrt(squares + 1e-12);
}

/* Of [x R; -x R] the place of the largest; R's columns are one behind the other in the stream. */
static int64_t bucket_of(const th_tensor *qk, const th_lsh_options *o, int64_t head, int64_t round,
                         int64_t token) {
  int64_t best = 0, depth = qk->shape[3], h = head % qk->shape[1];
  double highest = -INFINITY;
  for (int64_t b = 0; b < o->buckets && o->buckets > 1; b++) {
    int64_t column = b % (o->buckets / 2), from = (((h << 10 | round) << 20) + column) * depth;
    double x = 0;
    for (int64_t d = 0; d < depth; d++)
      x += key_at(qk, head, token, d) * th_random_normal(o->random, (uint64_t)(from + d));
    if (b >= o->buckets / 2) x = -x;
    if (x > highest) highest = x, best = b;
  }
  return best;
}

static void make_plan(plan *p, const th_tensor *qk, const th_lsh_options *o, int64_t head) {
  int64_t room = qk->shape[2];
  p->n = o->length ? o->length[head / qk->shape[1]] : room;
  p->rounds = o->rounds;
  for (int64_t r = 0; r < o->rounds; r++) {
    for (int64_t i = 0; i < p->n; i++) p->bucket[r][i] = bucket_of(qk, o, head, r, i);
    for (int64_t i = 0; i < p->n; i++) {
      int64_t before = 0; /* in its bucket */
      for (int64_t j = 0; j < i; j++) before += p->bucket[r][j] == p->bucket[r][i];
      p->chunk[r][i] = before / o->chunk;
    }
  }
}

/* P_i^r, without i itself. */
static bool in_set(const plan *p, const th_lsh_options *o, int64_t r, int64_t i, int64_t j) {
  int64_t back = p->chunk[r][i] - p->chunk[r][j];
  return j != i && (!o->causal || j < i) && p->bucket[r][i] == p->bucket[r][j] && (back == 0 || back == 1);
}

/* sum over rounds of exp(z(i, P_i^r) - z(i, P_i)) o_i^r, each key of a round with 1 / N_ij of its exponential. */
static void say(const plan *p, const th_lsh_options *o, const th_tensor *qk, const th_tensor *v, int64_t head,
                int64_t i, double *out) {
  int64_t depth = qk->shape[3], width = v->shape[3], room = qk->shape[2];
  double all = 0;
  for (int64_t r = 0; r < p->rounds; r++)
    for (int64_t j = 0; j < p->n; j++) {
      if (!in_set(p, o, r, i, j)) continue;
      double score = 0, times = 0;
      for (int64_t d = 0; d < depth; d++)
        score += P(qk)[(head * room + i) * depth + d] * key_at(qk, head, j, d) / sqrt((double)depth);
      for (int64_t s = 0; s < p->rounds; s++) times += in_set(p, o, s, i, j);
      double weight = exp(score) / times;
      all += weight;
      for (int64_t c = 0; c < width; c++) out[c] += weight * P(v)[(head * room + j) * width + c];
    }
  for (int64_t c = 0; c < width; c++)
    out[c] = all > 0 ? out[c] / all : P(v)[(head * room + i) * width + c]; /* itself, if nothing else */
}

static th_tensor plain_lsh(desk *d, const th_tensor *qk, const th_tensor *v, const th_lsh_options *o) {
  static plan p;
  int64_t room = qk->shape[2], width = v->shape[3];
  th_tensor y = desk_zeros(d, TH_F64, 4, v->shape);
  for (int64_t head = 0; head < qk->shape[0] * qk->shape[1]; head++) {
    make_plan(&p, qk, o, head);
    for (int64_t i = 0; i < p.n; i++) say(&p, o, qk, v, head, i, P(&y) + (head * room + i) * width);
  }
  return y;
}

/* ---- beside it ---------------------------------------------------------------------------------------------------- */

static const th_random stream = {3, 14};
static const int32_t lengths[] = {7, 0, 23, 1};

static const struct {
  const char *what;
  shape shape;
  th_lsh_options options;
} cases[] = {
    {"one round", {2, 3, 16, 4, 5}, {.rounds = 1, .buckets = 4, .chunk = 4}},
    {"causal", {2, 3, 16, 4, 5}, {.rounds = 1, .buckets = 4, .chunk = 4, .causal = true}},
    {"rounds", {2, 2, 24, 6, 3}, {.rounds = 4, .buckets = 6, .chunk = 4}},
    {"rounds, causal", {2, 2, 24, 6, 3}, {.rounds = 8, .buckets = 8, .chunk = 3, .causal = true}},
    {"no multiple of a chunk", {1, 2, 23, 4, 4}, {.rounds = 3, .buckets = 2, .chunk = 5, .causal = true}},
    {"many tokens", {1, 2, 150, 8, 8}, {.rounds = 2, .buckets = 10, .chunk = 16, .causal = true}},
    {"lengths", {4, 2, 23, 4, 4}, {.rounds = 3, .buckets = 6, .chunk = 4, .length = lengths}},
    {"lengths, causal",
     {4, 2, 23, 4, 4},
     {.rounds = 2, .buckets = 4, .chunk = 4, .causal = true, .length = lengths}},
    {"one token", {2, 2, 1, 4, 4}, {.rounds = 2, .buckets = 2, .chunk = 4, .causal = true}},
    {"chunks of one", {1, 2, 9, 4, 4}, {.rounds = 2, .buckets = 2, .chunk = 1}},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct bench {
  desk d;
  th_tensor qk, v;
  th_lsh_options options;
} bench;

static bench bench_of(int i) {
  shape s = cases[i].shape;
  bench b = {.d = desk_open(), .options = cases[i].options};
  b.options.random = stream;
  b.qk = desk_uniform(&b.d, TH_F64, -2, 2, SHAPE(s.batch, s.heads, s.tokens, s.depth));
  b.v = desk_uniform(&b.d, TH_F64, -1, 1, SHAPE(s.batch, s.heads, s.tokens, s.width));
  return b;
}

Test(lsh, is_what_its_paper_says) {
  for (int i = 0; i < CASES; i++) {
    bench b = bench_of(i);
    th_tensor wanted = plain_lsh(&b.d, &b.qk, &b.v, &b.options);
    th_var *y = th_lsh_attention(th_constant(b.d.tape, &b.qk), th_constant(b.d.tape, &b.v), &b.options);
    expect_no_error(b.d.tape);
    expect_near(&y->value, &wanted, 1e-12, cases[i].what);
    desk_close(&b.d);
  }
}

Test(lsh, in_float_it_is_the_same_to_rounding) {
  bench b = bench_of(5);
  th_tensor qk = desk_copy(&b.d, TH_F32, &b.qk), v = desk_copy(&b.d, TH_F32, &b.v);
  th_tensor wanted = plain_lsh(&b.d, &b.qk, &b.v, &b.options);
  th_var *y = th_lsh_attention(th_constant(b.d.tape, &qk), th_constant(b.d.tape, &v), &b.options);
  expect_no_error(b.d.tape);
  expect_near(&y->value, &wanted, 1e-5, "float");
  desk_close(&b.d);
}

/* What it is built of, from small ops: weights under the mask of what is seen. */
static th_var *openly(th_var *qk, th_var *v, const th_lsh_options *o, th_tensor *visible) {
  cr_assert(th_lsh_visible(qk, o, visible));
  th_mask mask = {.allowed = visible};
  return th_matmul(th_attention_weights(qk, th_unit_length(qk), &(th_attention_options){.mask = mask}), v);
}

Test(lsh, built_from_small_ops_it_is_the_same_and_so_are_its_gradients) {
  for (int i = 0; i < CASES; i++) {
    bench b = bench_of(i);
    th_tensor gqk[2], gv[2], visible, upstream = desk_uniform(&b.d, TH_F64, -1, 1, 4, b.v.shape);
    th_var *fused =
        th_lsh_attention(desk_leaf(&b.d, &b.qk, &gqk[0]), desk_leaf(&b.d, &b.v, &gv[0]), &b.options);
    th_backward(fused, &upstream);
    th_var *open =
        openly(desk_leaf(&b.d, &b.qk, &gqk[1]), desk_leaf(&b.d, &b.v, &gv[1]), &b.options, &visible);
    th_backward(open, &upstream);
    expect_no_error(b.d.tape);
    expect_near(&fused->value, &open->value, 1e-12, cases[i].what);
    expect_near(&gqk[0], &gqk[1], 1e-11, cases[i].what);
    expect_near(&gv[0], &gv[1], 1e-12, cases[i].what);
    desk_close(&b.d);
  }
}

Test(lsh, one_bucket_and_one_chunk_is_full_attention_with_queries_for_keys) {
  for (int causal = 0; causal < 2; causal++) {
    bench b = bench_of(2);
    int64_t t = b.qk.shape[2];
    b.options = (th_lsh_options){.rounds = 2, .buckets = 1, .chunk = t, .causal = causal};
    th_tensor others = desk_zeros(&b.d, TH_U8, SHAPE(t, t));
    for (int64_t i = 0; i < t * t; i++) th_tensor_set(&others, i, i / t != i % t || (causal && i == 0));
    th_var *qk = th_constant(b.d.tape, &b.qk), *v = th_constant(b.d.tape, &b.v);
    th_attention_options full = {.mask = {.causal = causal, .allowed = &others}};
    th_var *wanted = th_attention(qk, th_unit_length(qk), v, &full), *y = th_lsh_attention(qk, v, &b.options);
    expect_no_error(b.d.tape);
    expect_near(&y->value, &wanted->value, 1e-13, causal ? "causal" : "both ways");
    desk_close(&b.d);
  }
}

Test(lsh, more_rounds_never_see_less) {
  for (int i = 0; i < CASES; i++) {
    bench b = bench_of(i);
    th_tensor before = {0}, visible;
    th_var *qk = th_constant(b.d.tape, &b.qk);
    for (b.options.rounds = 1; b.options.rounds <= 4; b.options.rounds++) {
      int64_t room = b.qk.shape[2];
      cr_assert(th_lsh_visible(qk, &b.options, &visible));
      for (int64_t k = 0; before.data && k < th_tensor_count(&visible); k++)
        cr_expect(th_tensor_get(&visible, k) >= th_tensor_get(&before, k) || k / room % room == k % room,
                  "%s", cases[i].what);
      before = visible;
    }
    desk_close(&b.d);
  }
}

Test(lsh, a_later_token_moves_no_border_before_it) {
  bench b = bench_of(5);
  int64_t room = b.qk.shape[2], cut = room - 17;
  th_tensor shorter, part, visible, of_shorter;
  th_view_slice(&part, &b.qk, 2, 0, cut);
  shorter = desk_copy(&b.d, TH_F64, &part);
  cr_assert(th_lsh_visible(th_constant(b.d.tape, &b.qk), &b.options, &visible));
  cr_assert(th_lsh_visible(th_constant(b.d.tape, &shorter), &b.options, &of_shorter));
  th_view_slice(&part, &visible, 2, 0, cut), th_view_slice(&part, &part, 3, 0, cut);
  expect_near(&of_shorter, &part, 0, "what is seen");
  desk_close(&b.d);
}

Test(lsh, a_head_has_the_rotations_of_its_number) {
  bench b = bench_of(3);
  th_tensor all, one, part;
  cr_assert(th_lsh_visible(th_constant(b.d.tape, &b.qk), &b.options, &all));
  th_view_slice(&part, &b.qk, 1, 1, 2);
  th_tensor second = desk_copy(&b.d, TH_F64, &part);
  b.options.head_number = (const int32_t[]){1};
  cr_assert(th_lsh_visible(th_constant(b.d.tape, &second), &b.options, &one));
  th_view_slice(&part, &all, 1, 1, 2);
  expect_near(&one, &part, 0, "what is seen");
  desk_close(&b.d);
}

Test(lsh, threads_change_no_bit) {
  bench b = bench_of(5);
  th_tensor g[2], out[2], gv;
  th_pool *pool = th_pool_new(3);
  for (int i = 0; i < 2; i++) {
    th_tape *tape = th_tape_new(i ? pool : NULL), *old = b.d.tape;
    b.d.tape = tape;
    th_var *y = th_lsh_attention(desk_leaf(&b.d, &b.qk, &g[i]), desk_leaf(&b.d, &b.v, &gv), &b.options);
    th_backward(th_sum(th_mul(y, y), TH_ALL_AXES, false), NULL);
    expect_no_error(tape);
    out[i] = desk_copy(&b.d, TH_F64, &y->value);
    b.d.tape = old;
    th_tape_free(tape);
  }
  expect_near(&out[1], &out[0], 0, "forward");
  expect_near(&g[1], &g[0], 0, "gradient");
  th_pool_free(pool);
  desk_close(&b.d);
}

Test(lsh, memory_grows_with_the_length_not_its_square) {
  size_t bytes[2];
  for (int i = 0; i < 2; i++) {
    desk d = desk_open();
    int64_t t = i ? 8192 : 2048;
    th_tensor x = desk_uniform(&d, TH_F32, -1, 1, SHAPE(1, 2, t, 8)), g;
    th_lsh_options o = {.rounds = 2, .buckets = t / 32, .chunk = 32, .causal = true, .random = stream};
    th_var *leaf = desk_leaf(&d, &x, &g), *y = th_lsh_attention(leaf, leaf, &o);
    th_backward(th_sum(y, TH_ALL_AXES, false), NULL);
    expect_no_error(d.tape);
    bytes[i] = th_tape_bytes(d.tape);
    desk_close(&d);
  }
  cr_expect(bytes[1] < 5 * bytes[0], "%zu, then %zu bytes", bytes[0], bytes[1]);
}

Test(lsh, zeros_hash_to_something_and_stay_finite) {
  desk d = desk_open();
  th_tensor x = desk_zeros(&d, TH_F32, SHAPE(1, 1, 9, 4)), g;
  th_var *leaf = desk_leaf(&d, &x, &g);
  th_tape_anomaly(d.tape, true);
  th_lsh_options o = {.rounds = 2, .buckets = 4, .chunk = 2, .causal = true};
  th_backward(th_sum(th_lsh_attention(leaf, leaf, &o), TH_ALL_AXES, false), NULL);
  expect_no_error(d.tape);
  desk_close(&d);
}

Test(lsh, a_nan_is_not_taken_for_a_hidden_key) {
  for (int all = 0; all < 2; all++) {
    bench b = bench_of(3);
    int64_t bad = 20, depth = b.qk.shape[3], room = b.qk.shape[2];
    for (int64_t i = 0; i < (all ? room * depth : 1); i++)
      th_tensor_set(&b.qk, (all ? 0 : bad * depth) + i, (double)NAN);
    th_tensor visible;
    th_var *qk = th_constant(b.d.tape, &b.qk), *v = th_constant(b.d.tape, &b.v);
    cr_assert(th_lsh_visible(qk, &b.options, &visible));
    th_var *y = th_lsh_attention(qk, v, &b.options);
    expect_no_error(b.d.tape);
    int64_t width = b.v.shape[3], reached = 0;
    for (int64_t i = 0; i < room; i++) { /* of the first head */
      bool meets = !th_tensor_get(&visible, i * room + i) &&
                   (all || i == bad || th_tensor_get(&visible, i * room + bad));
      cr_expect_eq(isnan(th_tensor_get(&y->value, i * width)), meets, "query %d", (int)i);
      reached += meets;
    }
    cr_expect(reached > 0);
    desk_close(&b.d);
  }
}
