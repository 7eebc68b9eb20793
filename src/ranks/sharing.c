/* An update shared by ranks: sums of gradients over parts of a batch, in an order that does not depend on how many ranks there are,
 * and pieces of the vector of parameters that each rank looks after. */
#include "../autograd/ops.h"
#include "tapehead/ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET (1 << 15) /* elements at least: what is sent at once */
#define CELL 16          /* elements: cuts lie between lines, and between vectors of numbers */
#define LEVELS 20        /* of the tree of parts; more parts than 2^20 there are not */

struct th_sharing {
  th_ranks *ranks;
  th_params *params;
  int64_t parts, each; /* each: of one rank */
  int64_t part;        /* of this rank, from 0, at hand */
  int buckets;
  int64_t *cut;        /* [buckets, parts + 1]: where in the vector each bucket's cells begin */
  int64_t *line;       /* [buckets, ranks + 1]: where its pieces do, in lines */
  th_span *spans;      /* [buckets]: this rank's pieces */
  char *got;           /* what other ranks have sent: for each bucket as many pieces as ranks */
  int64_t *got_at;     /* [buckets]: in bytes */
  void *level[LEVELS]; /* sums of 1, 2, 4.. parts that wait for their neighbours, each as th_params_grads */
  double *squares;     /* [buckets, parts] */
  /* While backward is watched. */
  th_tape *tape;
  bool counted;
  int *uses, *bucket_of; /* [params]: leaves not passed yet; where it lies */
  int *waits;            /* [buckets]: parameters that have such leaves */
  int branches;          /* ops not passed yet that may use parameters out of sight */
  int next;              /* the bucket to set off next, from the last to 0; -1: all have */
  th_error error;        /* of a call that could not say so */
  int64_t sent, early;   /* buckets so far, and those that had come when backward ended */
};

/* ---- what lies where ----------------------------------------------------------------------------------------- */

static int64_t element_of(const th_params *params, const th_param *param) {
  th_tensor values = th_params_values(params);
  return ((const char *)param->value.data - (const char *)values.data) / (int64_t)th_dtype_size(values.dtype);
}

/* A bucket ends where a parameter does. With one part there is nothing to sum, nor to send: all is one. */
static int64_t bucket_size(const th_sharing *s) {
  int64_t elements = th_params_values(s->params).shape[0], least = elements / (TH_RANKS_SLOTS / 2);
  return s->parts == 1 ? elements : least > BUCKET ? least : BUCKET;
}

static int find_buckets(th_sharing *s, int64_t *begin) {
  int64_t size = bucket_size(s);
  int count = 0;
  for (int i = 0; i < th_params_count(s->params); i++) {
    int64_t at = element_of(s->params, th_params_at(s->params, i));
    if (!i || at - begin[count - 1] >= size) begin[count++] = at;
    s->bucket_of[i] = count - 1;
  }
  begin[count] = th_params_values(s->params).shape[0];
  return count;
}

static int64_t *cuts(const th_sharing *s, int bucket) { return s->cut + bucket * (s->parts + 1); }
static int64_t *lines(const th_sharing *s, int bucket) {
  return s->line + bucket * (th_ranks_count(s->ranks) + 1);
}

static int64_t size_of(const th_sharing *s) {
  return (int64_t)th_dtype_size(th_params_values(s->params).dtype);
}

/* Cells of a bucket, one for each part; a rank's piece is as many as it has parts. */
static void cut_bucket(th_sharing *s, int bucket, int64_t begin, int64_t end) {
  int rank = th_ranks_rank(s->ranks), ranks = th_ranks_count(s->ranks);
  int64_t *cut = cuts(s, bucket), *line = lines(s, bucket);
  for (int64_t p = 0; p <= s->parts; p++) cut[p] = begin + (end - begin) / CELL * p / s->parts * CELL;
  for (int r = 0; r <= ranks; r++) line[r] = cut[r * s->each] * size_of(s) / TH_RANKS_LINE;
  s->spans[bucket] = (th_span){cut[rank * s->each], cut[(rank + 1) * s->each]};
}

static int64_t piece_bytes(const th_sharing *s, int bucket) {
  return (s->spans[bucket].end - s->spans[bucket].begin) * size_of(s);
}

static bool make_room(th_sharing *s) {
  int ranks = th_ranks_count(s->ranks);
  int64_t elements = th_params_values(s->params).shape[0], bytes = 0;
  s->got_at = calloc((size_t)s->buckets + 1, sizeof *s->got_at);
  s->waits = calloc((size_t)s->buckets + 1, sizeof *s->waits);
  s->squares = calloc((size_t)(s->buckets * s->parts + 1), sizeof *s->squares);
  if (!s->got_at || !s->waits || !s->squares) return false;
  for (int b = 0; b < s->buckets; b++) s->got_at[b] = bytes, bytes += ranks * piece_bytes(s, b);
  s->got = malloc(ranks > 1 ? (size_t)bytes + 1 : 1);
  for (int k = 0; 1ll << k < s->each; k++)
    if (!(s->level[k] = malloc((size_t)(elements * size_of(s)) + 1))) return false;
  return s->got != NULL;
}

static bool make(th_sharing *s) {
  size_t params = (size_t)th_params_count(s->params);
  int64_t *begin = calloc(params + 1, sizeof *begin);
  s->uses = calloc(params + 1, sizeof *s->uses);
  s->bucket_of = calloc(params + 1, sizeof *s->bucket_of);
  bool done = false;
  if (begin && s->uses && s->bucket_of) {
    s->buckets = find_buckets(s, begin);
    size_t buckets = (size_t)s->buckets + 1; /* none would be no memory to ask for */
    s->cut = calloc(buckets * (size_t)(s->parts + 1), sizeof *s->cut);
    s->line = calloc(buckets * (size_t)(th_ranks_count(s->ranks) + 1), sizeof *s->line);
    s->spans = calloc(buckets, sizeof *s->spans);
    done = s->cut && s->line && s->spans;
    for (int b = 0; b < s->buckets && done; b++) cut_bucket(s, b, begin[b], begin[b + 1]);
    done = done && make_room(s);
  }
  free(begin);
  return done;
}

static bool is_power_of_two(int64_t n) { return n > 0 && !(n & (n - 1)); }

th_status th_sharing_new(th_sharing **made, th_ranks *ranks, th_params *params, int64_t parts,
                         th_error *error) {
  int count = th_ranks_count(ranks);
  *made = NULL;
  if (!is_power_of_two(count))
    return th_error_set(error, TH_EINVAL, "%d ranks: want a power of two: they add as a tree does", count);
  if (!is_power_of_two(parts) || parts < count || parts >= 1ll << LEVELS)
    return th_error_set(error, TH_EINVAL,
                        "%lld parts for %d rank%s: want a power of two, and one for each rank",
                        (long long)parts, count, count == 1 ? "" : "s");
  th_sharing *s = calloc(1, sizeof *s);
  if (s) *s = (th_sharing){.ranks = ranks, .params = params, .parts = parts, .each = parts / count};
  if (!s || !make(s)) {
    th_sharing_free(s);
    return th_error_set(error, TH_ENOMEM, "ranks: no memory for sums of gradients");
  }
  *made = s;
  return TH_OK;
}

void th_sharing_free(th_sharing *s) {
  if (!s) return;
  for (int k = 0; k < LEVELS; k++) free(s->level[k]);
  free(s->cut), free(s->line), free(s->spans), free(s->got), free(s->got_at);
  free(s->squares), free(s->uses), free(s->bucket_of), free(s->waits);
  free(s);
}

void th_sharing_parts(const th_sharing *s, int64_t *first, int64_t *end) {
  *first = th_ranks_rank(s->ranks) * s->each;
  *end = *first + s->each;
}

const th_span *th_sharing_spans(const th_sharing *s, int *count) {
  *count = s->buckets;
  return s->spans;
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

/* Elements [begin, end) of a vector like th_params_grads. */
static th_tensor span_of(const th_sharing *s, const void *vector, int64_t begin, int64_t end) {
  int64_t count = end - begin;
  return th_tensor_of((char *)(uintptr_t)vector + begin * size_of(s), th_params_values(s->params).dtype, 1,
                      &count);
}

static void add_level(th_sharing *s, int k, int64_t begin, int64_t end) {
  th_tensor sum = span_of(s, th_params_grads(s->params).data, begin, end),
            waiting = span_of(s, s->level[k], begin, end);
  th_k_axpy(NULL, 1, &waiting, &sum);
}

/* The pieces that came, as ranks' leaves of the same tree, into the gradients. */
static void join_bucket(th_sharing *s, int bucket) {
  int ranks = th_ranks_count(s->ranks);
  const th_span *own = &s->spans[bucket];
  int64_t n = own->end - own->begin;
  const char *got = s->got + s->got_at[bucket];
  for (int apart = 1; apart < ranks; apart *= 2)
    for (int r = 0; r < ranks; r += 2 * apart) {
      th_tensor sum = span_of(s, got, r * n, (r + 1) * n),
                other = span_of(s, got, (r + apart) * n, (r + apart + 1) * n);
      th_k_axpy(NULL, 1, &other, &sum);
    }
  memcpy(span_of(s, th_params_grads(s->params).data, own->begin, own->end).data, got,
         (size_t)(n * size_of(s)));
}

/* A bucket whose gradients are final: what waits of this rank's other parts comes to it, and it sets off. */
static th_status set_off(th_sharing *s, int bucket, th_error *error) {
  for (int k = 0; 1ll << k < s->each; k++) add_level(s, k, cuts(s, bucket)[0], cuts(s, bucket)[s->parts]);
  if (th_ranks_count(s->ranks) == 1) return TH_OK;
  return th_ranks_deal(s->ranks, bucket, th_params_grads(s->params).data, lines(s, bucket),
                       s->got + s->got_at[bucket], error);
}

/* ---- when a gradient is final --------------------------------------------------------------------------------- */

/* The parameter to whose gradient a leaf adds; -1: none of ours. They lie in memory as they are numbered. */
static int param_of(const th_sharing *s, const th_var *leaf) {
  int low = 0, high = th_params_count(s->params) - 1;
  const char *at = leaf->grad.data;
  while (low <= high) {
    int middle = (low + high) / 2;
    const char *here = th_params_at(s->params, middle)->grad.data;
    if (here == at) return middle;
    if (here < at) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/* Its parameters are leaves of another tape, out of sight. */
static bool is_branch(const th_var *v) { return v->op == &th_op_recompute || v->op == &th_op_reversible; }

static void count_uses(th_sharing *s, const th_var *last) {
  memset(s->uses, 0, (size_t)th_params_count(s->params) * sizeof *s->uses);
  memset(s->waits, 0, (size_t)s->buckets * sizeof *s->waits);
  s->branches = 0;
  for (const th_var *v = last; v; v = v->previous) {
    int param = v->op ? -1 : param_of(s, v);
    s->branches += is_branch(v);
    if (param >= 0 && !s->uses[param]++) s->waits[s->bucket_of[param]]++;
  }
  s->counted = true;
}

/* Buckets set off from the last to the first, on every rank alike; backward comes to them in about this order. */
static void passed(void *context, const th_var *v) {
  th_sharing *s = context;
  if (!s->counted) count_uses(s, v);
  int param = v->op ? -1 : param_of(s, v);
  s->branches -= is_branch(v);
  if (param >= 0 && !--s->uses[param]) s->waits[s->bucket_of[param]]--;
  for (; s->next >= 0 && !s->branches && !s->waits[s->next] && !s->error.status; s->next--)
    set_off(s, s->next, &s->error);
  if (!s->error.status) th_ranks_push(s->ranks, &s->error);
}

void th_sharing_watch(th_sharing *s, th_tape *tape) {
  if (th_ranks_count(s->ranks) == 1) return;
  s->tape = tape;
  s->counted = false;
  th_tape_watch(tape, passed, s);
}

/* ---- a part after another ------------------------------------------------------------------------------------------ */

void th_sharing_begin(th_sharing *s) {
  th_params_zero_grads(s->params);
  s->next = s->buckets - 1;
}

/* The sum of this part, and of those before it that make a whole branch of the tree with it, waits for the next branch. */
static void keep_part(th_sharing *s) {
  th_tensor grads = th_params_grads(s->params);
  int k = 0;
  for (; s->part >> k & 1; k++) add_level(s, k, 0, grads.shape[0]);
  memcpy(s->level[k], grads.data, (size_t)(grads.shape[0] * size_of(s)));
  s->part++;
}

static void count_early(th_sharing *s) {
  for (int b = s->buckets - 1; b > s->next; b--) s->early += th_ranks_done(s->ranks, b);
  s->sent += s->buckets;
}

double th_sharing_early(const th_sharing *s) { return s->sent ? (double)s->early / (double)s->sent : 0; }

static th_status join_all(th_sharing *s, th_error *error) {
  th_status status = TH_OK;
  if (th_ranks_count(s->ranks) > 1) count_early(s);
  for (; s->next >= 0 && !status; s->next--) status = set_off(s, s->next, error);
  for (int b = s->buckets - 1; b >= 0 && !status && th_ranks_count(s->ranks) > 1; b--) {
    status = th_ranks_wait(s->ranks, b, error);
    if (!status) join_bucket(s, b);
  }
  s->part = 0;
  return status;
}

th_status th_sharing_end(th_sharing *s, th_error *error) {
  if (s->tape) th_tape_watch(s->tape, NULL, NULL);
  s->tape = NULL;
  if (s->error.status) return th_error_set(error, s->error.status, "%s", s->error.text);
  if (s->part == s->each - 1) return join_all(s, error);
  keep_part(s);
  return TH_OK;
}

/* ---- the sum, and what becomes of it -------------------------------------------------------------------------------- */

static void scale_pieces(th_sharing *s, double factor) {
  for (int b = 0; b < s->buckets; b++) {
    th_tensor piece = span_of(s, th_params_grads(s->params).data, s->spans[b].begin, s->spans[b].end);
    th_k_unary(NULL, TH_SCALE, factor, &piece, &piece);
  }
}

/* Squares are added cell by cell, which are the same for any number of ranks, and the cells' sums in order. */
th_status th_sharing_clip(th_sharing *s, double limit, double *norm, th_error *error) {
  int64_t first, end, cells = s->buckets * s->parts;
  double sum = 0;
  th_sharing_parts(s, &first, &end);
  memset(s->squares, 0, (size_t)cells * sizeof *s->squares);
  for (int b = 0; b < s->buckets; b++)
    for (int64_t p = first; p < end; p++) {
      th_tensor cell = span_of(s, th_params_grads(s->params).data, cuts(s, b)[p], cuts(s, b)[p + 1]);
      s->squares[b * s->parts + p] = th_k_sum_of_squares(&cell);
    }
  th_status status = th_ranks_sum(s->ranks, s->squares, (int)cells, error);
  if (status) return status;
  for (int64_t i = 0; i < cells; i++) sum += s->squares[i];
  *norm = sqrt(sum);
  if (limit > 0 && isfinite(*norm) && *norm > limit) scale_pieces(s, limit / *norm);
  return TH_OK;
}

th_status th_sharing_spread(th_sharing *s, const th_tensor *vector, th_error *error) {
  th_status status = TH_OK;
  if (th_ranks_count(s->ranks) == 1) return TH_OK;
  for (int b = 0; b < s->buckets && !status; b++)
    status = th_ranks_spread(s->ranks, b, vector->data, lines(s, b), error);
  for (int b = 0; b < s->buckets && !status; b++) status = th_ranks_wait(s->ranks, b, error);
  return status;
}

th_status th_sharing_whole(th_sharing *s, const th_tensor *pieces, const th_tensor *whole, th_error *error) {
  int64_t at = 0;
  for (int b = 0; b < s->buckets; at += piece_bytes(s, b++))
    memcpy(span_of(s, whole->data, s->spans[b].begin, s->spans[b].end).data, (char *)pieces->data + at,
           (size_t)piece_bytes(s, b));
  return th_sharing_spread(s, whole, error);
}

void th_sharing_pieces(const th_sharing *s, const th_tensor *whole, const th_tensor *pieces) {
  int64_t at = 0;
  for (int b = 0; b < s->buckets; at += piece_bytes(s, b++))
    memcpy((char *)pieces->data + at, span_of(s, whole->data, s->spans[b].begin, s->spans[b].end).data,
           (size_t)piece_bytes(s, b));
}
