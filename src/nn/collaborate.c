/* Trained heads made collaborative (Cordonnier et al. 2020, section 4): what a head scores with, W_Q,h' W_K,h, is a slice of
 * a tensor [H,E,E], of which alternating least squares find a canonical polyadic decomposition of as few terms as wanted.
 *
 * The tensor is never made. It has a decomposition already, of H D terms: row p of the queries times row p of the keys, in
 * the head that p belongs to. All that least squares ask of it are products of factors. */
#include "tapehead/nn.h"

#include "../tensor/kernels.h"
#include "../tensor/lapack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* sum over terms of mixing[h,r] query[r,:] x key[r,:]; all row-major. */
typedef struct factors {
  int64_t terms, width, heads;
  double *query, *key; /* [terms,width] */
  double *mixing;      /* [heads,terms] */
} factors;

enum { SWEEPS = 400, STARTS = 3 };
#define SETTLED \
  1e-9 /* what a sweep takes off the squared error, as a part of the tensor's, when it is time to stop */
#define RIDGE 1e-12 /* of the largest entry on a system's diagonal: two terms may come to say the same */

static void free_factors(factors *f) {
  free(f->query);
  *f = (factors){0};
}

static th_status new_factors(factors *f, int64_t terms, int64_t width, int64_t heads, th_error *error) {
  *f = (factors){.terms = terms, .width = width, .heads = heads};
  f->query = calloc((size_t)(2 * terms * width + heads * terms), sizeof *f->query);
  if (!f->query)
    return th_error_set(error, TH_ENOMEM, "collaborate: no memory for %lld terms", (long long)terms);
  f->key = f->query + terms * width;
  f->mixing = f->key + terms * width;
  return TH_OK;
}

/* c [m,n] = a b', of a [m,k] and b [n,k], or with transposed: a' b, of a [k,m] and b [k,n]. */
static void multiply(bool transposed, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                     double *c) {
  th_gemm(TH_F64, transposed, !transposed, m, n, k, 1, a, transposed ? m : k, b, transposed ? n : k, 0, c, n);
}

/* ---- what is wanted of two decompositions ---------------------------------------------------------------------- */

/* Products of their terms, [a's terms, b's terms]: of queries, of keys, of mixings. */
typedef struct grams {
  double *query, *key, *mixing;
} grams;

static void fill_grams(const factors *a, const factors *b, const grams *g) {
  multiply(false, a->terms, b->terms, a->width, a->query, b->query, g->query);
  multiply(false, a->terms, b->terms, a->width, a->key, b->key, g->key);
  multiply(true, a->terms, b->terms, a->heads, a->mixing, b->mixing, g->mixing);
}

/* The inner product of two tensors. */
static double inner(const factors *a, const factors *b, const grams *g) {
  double sum = 0;
  fill_grams(a, b, g);
  for (int64_t i = 0; i < a->terms * b->terms; i++) sum += g->query[i] * g->key[i] * g->mixing[i];
  return sum;
}

/* ---- alternating least squares ------------------------------------------------------------------------------------ */

typedef struct search {
  const factors *wanted;
  factors found;
  grams own, other;       /* of found with itself, and with what is wanted */
  double *system, *right; /* [terms,terms], and right sides [terms, width or heads] */
  double square, error;   /* of the wanted tensor; the relative error of `found` */
  bool no_memory;
} search;

/* Solves system x = right for `columns` columns; system is symmetric and at least nearly positive definite. right
 * [terms,columns] is row-major: to LAPACK its transpose, so that it is turned round on the way in and out. */
static bool solve(search *s, int64_t columns, double *right) {
  int n = (int)s->found.terms, k = (int)columns, info = 0;
  double top = 0, *turned = malloc((size_t)(n * columns) * sizeof *turned);
  if (!turned) return s->no_memory = true, false;
  for (int i = 0; i < n; i++) top = fmax(top, s->system[i * n + i]);
  for (int i = 0; i < n; i++) s->system[i * n + i] += top > 0 ? RIDGE * top : 1;
  for (int64_t i = 0; i < n * columns; i++) turned[i % columns * n + i / columns] = right[i];
  dposv_("L", &n, &k, s->system, &n, turned, &n, &info, 1);
  for (int64_t i = 0; i < n * columns && !info; i++) right[i] = turned[i % columns * n + i / columns];
  free(turned);
  return info == 0;
}

static void times(const double *a, const double *b, int64_t n, double *c) {
  for (int64_t i = 0; i < n; i++) c[i] = a[i] * b[i];
}

/* The best query of all, or key, with the two other factors as they are. */
static bool improve_rows(search *s, bool key) {
  factors *f = &s->found;
  const factors *w = s->wanted;
  int64_t r = f->terms, p = w->terms, e = f->width;
  double *rows = key ? f->key : f->query;
  const double *theirs = key ? w->key : w->query;
  fill_grams(f, f, &s->own);
  fill_grams(f, w, &s->other);
  times(s->own.mixing, key ? s->own.query : s->own.key, r * r, s->system);
  times(s->other.mixing, key ? s->other.query : s->other.key, r * p, s->other.mixing);
  th_gemm(TH_F64, false, false, r, e, p, 1, s->other.mixing, p, theirs, e, 0, s->right, e);
  if (!solve(s, e, s->right)) return false;
  memcpy(rows, s->right, (size_t)(r * e) * sizeof *rows);
  return true;
}

static bool improve_mixing(search *s) {
  factors *f = &s->found;
  const factors *w = s->wanted;
  int64_t r = f->terms, p = w->terms, h = f->heads;
  fill_grams(f, f, &s->own);
  fill_grams(f, w, &s->other);
  times(s->own.query, s->own.key, r * r, s->system);
  times(s->other.query, s->other.key, r * p, s->other.query);
  th_gemm(TH_F64, false, true, r, h, p, 1, s->other.query, p, w->mixing, p, 0, s->right, h);
  if (!solve(s, h, s->right)) return false;
  for (int64_t i = 0; i < r * h; i++) f->mixing[i % h * r + i / h] = s->right[i];
  return true;
}

static double square_error(const search *s) {
  double own = inner(&s->found, &s->found, &s->own), both = inner(&s->found, s->wanted, &s->other);
  return fmax(s->square - 2 * both + own, 0) / s->square;
}

/* Until a sweep brings next to nothing. What a sweep does can only make the error less. */
static bool sweep(search *s) {
  double before = square_error(s), after = before;
  for (int i = 0; i < SWEEPS; i++) {
    if (!improve_rows(s, false) || !improve_rows(s, true) || !improve_mixing(s)) return false;
    after = square_error(s);
    if (before - after < SETTLED) break;
    before = after;
  }
  s->error = sqrt(after);
  return true;
}

/* ---- where to begin --------------------------------------------------------------------------------------------------- */

typedef struct triple {
  double size;
  int64_t head, place;
} triple;

static int by_size(const void *a, const void *b) {
  const triple *x = a, *y = b;
  return x->size < y->size ? 1 : x->size > y->size ? -1 : (int)(x->head - y->head);
}

/* Singular values and vectors of one head's slice; u and vt [width,width], column by column. */
static bool decompose_head(const factors *w, int64_t head, double *slice, double *values, double *u,
                           double *vt, double *work) {
  int e = (int)w->width, room = 10 * e, info = 0;
  memset(slice, 0, (size_t)(e * e) * sizeof *slice);
  for (int64_t p = 0; p < w->terms; p++) {
    double m = w->mixing[head * w->terms + p];
    for (int64_t i = 0; i < e && m != 0; i++) /* column j, row i: query_i key_j */
      for (int64_t j = 0; j < e; j++) slice[j * e + i] += m * w->query[p * e + i] * w->key[p * e + j];
  }
  dgesvd_("S", "S", &e, &e, slice, &e, values, u, &e, vt, &e, work, &room, &info, 1, 1);
  return info == 0;
}

/* The largest of all heads' singular triples: the best that can be had without sharing. */
static bool start_from_heads(search *s) {
  const factors *w = s->wanted;
  factors *f = &s->found;
  int64_t e = w->width, h = w->heads;
  triple *all = malloc((size_t)(h * e) * sizeof *all);
  double *work = malloc((size_t)(e * e + 10 * e + h * (2 * e * e + e)) * sizeof *work);
  bool done = all && work;
  double *slice = work, *room = work + (done ? e * e : 0), *each = room + (done ? 10 * e : 0);
  for (int64_t i = 0; i < h && done; i++) {
    double *u = each + i * (2 * e * e + e), *vt = u + e * e, *values = vt + e * e;
    done = decompose_head(w, i, slice, values, u, vt, room);
    for (int64_t k = 0; k < e && done; k++) all[i * e + k] = (triple){values[k], i, k};
  }
  if (done) qsort(all, (size_t)(h * e), sizeof *all, by_size);
  memset(f->query, 0, (size_t)(2 * f->terms * e + h * f->terms) * sizeof *f->query);
  for (int64_t r = 0; r < f->terms && r < h * e && done; r++) {
    const double *u = each + all[r].head * (2 * e * e + e), *vt = u + e * e;
    double root = sqrt(all[r].size);
    for (int64_t i = 0; i < e; i++) {
      f->query[r * e + i] = root * u[all[r].place * e + i];
      f->key[r * e + i] = root * vt[i * e + all[r].place];
    }
    f->mixing[all[r].head * f->terms + r] = 1;
  }
  free(all);
  free(work);
  return done;
}

static void start_from_noise(search *s, int start) {
  factors *f = &s->found;
  int64_t count = 2 * f->terms * f->width + f->heads * f->terms;
  for (int64_t i = 0; i < count; i++)
    f->query[i] = th_random_normal((th_random){1, (uint64_t)start}, (uint64_t)i) / sqrt((double)f->width);
}

/* ---- one attention ------------------------------------------------------------------------------------------------------ */

static th_status new_search(search *s, const factors *wanted, int64_t terms, th_error *error) {
  int64_t p = wanted->terms, sides = wanted->width > wanted->heads ? wanted->width : wanted->heads;
  *s = (search){.wanted = wanted};
  th_status status = new_factors(&s->found, terms, wanted->width, wanted->heads, error);
  if (status) return status;
  double *block = malloc((size_t)(3 * terms * terms + 3 * terms * (p > terms ? p : terms) + terms * terms +
                                  terms * sides + 3 * p * p) *
                         sizeof *block);
  if (!block) {
    free_factors(&s->found);
    return th_error_set(error, TH_ENOMEM, "collaborate: no memory for %lld terms", (long long)terms);
  }
  s->own = (grams){block, block + terms * terms, block + 2 * terms * terms};
  double *next = block + 3 * terms * terms;
  s->other = (grams){next, next + terms * p, next + 2 * terms * p};
  s->system = next + 3 * terms * (p > terms ? p : terms);
  s->right = s->system + terms * terms;
  double *whole = s->right + terms * sides;
  grams g = {whole, whole + p * p, whole + 2 * p * p};
  s->square = inner(wanted, wanted, &g);
  return TH_OK;
}

/* As many terms as the tensor has, or more: it is found already. */
static void take_whole(const factors *wanted, factors *found) {
  int64_t e = wanted->width;
  memcpy(found->query, wanted->query, (size_t)(wanted->terms * e) * sizeof *found->query);
  memcpy(found->key, wanted->key, (size_t)(wanted->terms * e) * sizeof *found->key);
  for (int64_t i = 0; i < wanted->heads * wanted->terms; i++)
    found->mixing[i / wanted->terms * found->terms + i % wanted->terms] = wanted->mixing[i];
}

/* Terms of like size in queries and keys, mixings of size 1: what training goes on from best. */
static void balance(factors *f) {
  for (int64_t r = 0; r < f->terms; r++) {
    double q = 0, k = 0, m = 0;
    for (int64_t i = 0; i < f->width; i++)
      q += pow(f->query[r * f->width + i], 2), k += pow(f->key[r * f->width + i], 2);
    for (int64_t h = 0; h < f->heads; h++) m = fmax(m, fabs(f->mixing[h * f->terms + r]));
    if (!(q > 0 && k > 0 && m > 0)) continue;
    double both = sqrt(sqrt(q) * sqrt(k) * m);
    for (int64_t i = 0; i < f->width; i++) {
      f->query[r * f->width + i] *= both / sqrt(q);
      f->key[r * f->width + i] *= both / sqrt(k);
    }
    for (int64_t h = 0; h < f->heads; h++) f->mixing[h * f->terms + r] /= m;
  }
}

/* The best of several beginnings. */
static th_status decompose(const factors *wanted, factors *found, double *relative, th_error *error) {
  search s;
  *relative = 0;
  if (found->terms >= wanted->terms) {
    take_whole(wanted, found);
    return TH_OK;
  }
  th_status status = new_search(&s, wanted, found->terms, error);
  if (status) return status;
  double best = INFINITY;
  for (int start = 0; start < STARTS && !status && s.square > 0; start++) {
    bool begun = start ? (start_from_noise(&s, start), true) : start_from_heads(&s);
    if (!begun || !sweep(&s)) {
      status = s.no_memory ? th_error_set(error, TH_ENOMEM, "collaborate: no memory for a decomposition")
                           : th_error_set(error, TH_EINVAL,
                                          "collaborate: LAPACK found no decomposition of %lld terms",
                                          (long long)found->terms);
    } else if (s.error < best) {
      int64_t count = 2 * found->terms * found->width + found->heads * found->terms;
      best = s.error;
      memcpy(found->query, s.found.query, (size_t)count * sizeof *found->query);
    }
  }
  if (!status && s.square > 0) *relative = best;
  balance(found);
  free(s.own.query);
  free_factors(&s.found);
  return status;
}

/* ---- from a layer, and into one ------------------------------------------------------------------------------------------ */

/* The decomposition that ordinary heads are: blocks of ones for mixings. */
static void read_heads(const th_nn_attention *layer, factors *f) {
  int64_t d = layer->key_width, half = layer->heads * d * f->width;
  for (int64_t i = 0; i < half; i++) {
    f->query[i] = th_tensor_get(&layer->in_weight->value, i);
    f->key[i] = th_tensor_get(&layer->in_weight->value, half + i);
  }
  for (int64_t p = 0; p < f->terms; p++) f->mixing[p / d * f->terms + p] = 1;
}

static void write_shared(const th_nn_attention *layer, const factors *f) {
  const th_nn_collaboration *to = &layer->shared;
  for (int64_t i = 0; i < f->terms * f->width; i++) {
    th_tensor_set(&to->query->value, i, f->query[i]);
    th_tensor_set(&to->key->value, i, f->key[i]);
  }
  for (int64_t i = 0; i < f->heads * f->terms; i++) th_tensor_set(&to->mixing->value, i, f->mixing[i]);
}

/* What the queries' bias adds to a score: W_K,h' b_Q,h. */
static void write_content_bias(const th_nn_attention *layer, const th_nn_attention *from) {
  int64_t d = from->key_width, e = from->width, keys = from->heads * d;
  for (int64_t i = 0; i < from->heads * e; i++) {
    double sum = 0;
    for (int64_t row = i / e * d; row < (i / e + 1) * d; row++)
      sum += th_tensor_get(&from->in_bias->value, row) *
             th_tensor_get(&from->in_weight->value, (keys + row) * e + i % e);
    th_tensor_set(&layer->shared.content_bias->value, i, sum);
  }
}

static void copy_values(const th_nn_attention *layer, const th_nn_attention *from) {
  int64_t first = 2 * from->heads * from->key_width, last = first + from->heads * from->value_width;
  th_tensor rows;
  th_view_slice(&rows, &from->in_weight->value, 0, first, last);
  th_tensor_copy(&layer->shared.value.weight->value, &rows, NULL);
  th_view_slice(&rows, &from->in_bias->value, 0, first, last);
  th_tensor_copy(&layer->shared.value.bias->value, &rows, NULL);
}

static th_status convert(const th_nn_attention *layer, const th_nn_attention *from, double *relative,
                         th_error *error) {
  factors wanted = {0}, found = {0};
  int64_t terms = from->heads * from->key_width;
  th_status status = new_factors(&wanted, terms, from->width, from->heads, error);
  if (!status) status = new_factors(&found, layer->method.shared_width, from->width, from->heads, error);
  if (!status) {
    read_heads(from, &wanted);
    status = decompose(&wanted, &found, relative, error);
  }
  if (!status) {
    write_shared(layer, &found);
    write_content_bias(layer, from);
    copy_values(layer, from);
  }
  free_factors(&found);
  free_factors(&wanted);
  return status;
}

/* ---- the whole model ------------------------------------------------------------------------------------------------------ */

static th_status check(const th_transformer_config *c, th_error *error) {
  const th_attention_method kinds[] = {c->layer.attention.kind, c->layer.cross_attention.kind};
  for (int i = 0; i < (c->shape == TH_ENCODER_DECODER ? 2 : 1); i++)
    if (kinds[i] != TH_ATTENTION_FULL)
      return th_error_set(error, TH_EINVAL, "%s is %s: only full attention can be made collaborative",
                          i ? "cross-attention" : "self-attention", th_attention_traits_of(kinds[i])->name);
  return TH_OK;
}

/* Parameters of the same name and shape are the same. */
static void copy_alike(const th_transformer *to, const th_transformer *from) {
  for (int i = 0; i < th_params_count(to->params); i++) {
    const th_param *mine = th_params_at(to->params, i), *theirs = th_params_find(from->params, mine->name);
    if (theirs && th_tensor_same_shape(&mine->value, &theirs->value))
      th_tensor_copy(&mine->value, &theirs->value, NULL);
  }
}

th_status th_transformer_collaborate(th_transformer **made, const th_transformer *m, int64_t shared_width,
                                     double *errors, th_error *error) {
  th_transformer_config config = m->config;
  th_status status = check(&config, error);
  *made = NULL;
  config.layer.attention = (th_nn_method){.kind = TH_ATTENTION_COLLABORATIVE, .shared_width = shared_width};
  if (config.shape == TH_ENCODER_DECODER) config.layer.cross_attention = config.layer.attention;
  if (!status) status = th_transformer_new(made, &config, th_params_values(m->params).dtype, 0, error);
  if (status) return status;
  copy_alike(*made, m);
  th_blas_one_thread();
  for (int a = 0; a < th_transformer_attentions(m) && !status; a++) {
    const th_nn_attention *from = th_transformer_attention(m, a);
    errors[a] = 0;
    if (from->heads) status = convert(th_transformer_attention(*made, a), from, &errors[a], error);
  }
  if (!status) return TH_OK;
  th_transformer_free(*made);
  *made = NULL;
  return status;
}
