#include "ops.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory of the tape that can be given back on its own. */
typedef struct th_kept {
  struct th_kept *next;
  void *data;
  size_t bytes;
} th_kept;

struct th_tape {
  th_arena *arena;
  th_pool *pool;
  th_error error;
  bool located;          /* the error's text says where */
  th_var failed;         /* what ops return once there is an error */
  th_var *last, *marked; /* the newest var, and the one at the mark */
  bool recording, training, anomaly, releasing;
  bool released;   /* a backward gave values back */
  bool graded;     /* a var has a gradient, or had one */
  th_kept **taken; /* where th_keep notes what it hands out; NULL: nowhere */
  uint64_t seed, step, draws;
  int64_t first_row, rows; /* of a batch, on this tape; rows 0: all */
  th_passed *passed;       /* or NULL */
  void *passed_context;
  th_profile *profile; /* borrowed, or NULL */
  th_tape *inner;      /* of what is computed again; NULL until it is wanted */
  size_t inner_peak;   /* the most that earlier runs on it held, since this tape's reset */
};

th_tape *th_tape_new(th_pool *pool) {
  th_tape *tape = calloc(1, sizeof *tape);
  th_arena *arena = th_arena_new();
  if (!tape || !arena) {
    free(tape);
    th_arena_free(arena);
    return NULL;
  }
  *tape = (th_tape){.arena = arena, .pool = pool, .recording = true};
  tape->failed.tape = tape;
  th_blas_one_thread();
  return tape;
}

void th_tape_free(th_tape *tape) {
  if (!tape) return;
  th_tape_free(tape->inner);
  th_arena_free(tape->arena);
  free(tape);
}

void th_tape_reset(th_tape *tape) {
  th_arena_reset(tape->arena);
  tape->last = tape->marked = NULL;
  tape->error.status = TH_OK;
  tape->located = tape->released = tape->graded = false;
  tape->taken = NULL;
  tape->draws = 0;
  tape->inner_peak = 0;
  if (tape->inner) th_tape_reset(tape->inner);
}

/* Of all that ops made; a leaf keeps its own. */
static void clear_gradients(th_tape *tape) {
  for (th_var *v = tape->graded ? tape->last : NULL; v; v = v->previous)
    if (v->op) v->grad.data = NULL;
  tape->graded = false;
}

void th_tape_mark(th_tape *tape) {
  th_arena_mark(tape->arena);
  tape->marked = tape->last;
}

void th_tape_rewind(th_tape *tape) {
  th_arena_rewind(tape->arena);
  tape->last = tape->marked;
  clear_gradients(tape); /* they may lie in what was given back */
}

const th_error *th_tape_error(const th_tape *tape) { return tape->error.status ? &tape->error : NULL; }
th_pool *th_tape_pool(const th_tape *tape) { return tape->pool; }
size_t th_tape_bytes(const th_tape *tape) {
  size_t inner = tape->inner ? th_tape_bytes(tape->inner) : 0;
  return th_arena_used(tape->arena) + (inner > tape->inner_peak ? inner : tape->inner_peak);
}
void th_tape_record(th_tape *tape, bool on) { tape->recording = on; }
bool th_tape_recording(const th_tape *tape) { return tape->recording; }
void th_tape_train(th_tape *tape, bool on) { tape->training = on; }
bool th_tape_training(const th_tape *tape) { return tape->training; }
void th_tape_profile(th_tape *tape, th_profile *profile) { tape->profile = profile; }
void th_tape_release(th_tape *tape, bool on) { tape->releasing = on; }
void th_tape_anomaly(th_tape *tape, bool on) { tape->anomaly = on; }

void th_tape_seed(th_tape *tape, uint64_t seed, uint64_t step) {
  tape->seed = seed;
  tape->step = step;
  tape->draws = 0;
}

void th_tape_rows(th_tape *tape, int64_t first, int64_t rows) {
  tape->first_row = first;
  tape->rows = rows;
}

int64_t th_tape_before(const th_tape *tape, int64_t count) {
  return tape->rows && count % tape->rows == 0 ? count / tape->rows * tape->first_row : 0;
}

#define DRAWS_PER_STEP_BITS 20       /* a step may draw about a million masks */
#define DROPOUT_STREAMS (1ull << 63) /* apart from those of weights and data, which share the seed */
th_random th_tape_draw(th_tape *tape) {
  return (th_random){tape->seed, DROPOUT_STREAMS | tape->step << DRAWS_PER_STEP_BITS | tape->draws++};
}

uint64_t th_tape_draws(const th_tape *tape) { return tape->draws; }
void th_tape_draws_from(th_tape *tape, uint64_t draws) { tape->draws = draws; }

th_tape *th_tape_inner(th_tape *tape, uint64_t draws, bool recording) {
  if (!tape->inner && !(tape->inner = th_tape_new(tape->pool))) return NULL;
  th_tape *inner = tape->inner;
  size_t bytes = th_tape_bytes(inner);
  if (bytes > tape->inner_peak) tape->inner_peak = bytes;
  th_tape_reset(inner);
  inner->recording = recording;
  inner->training = tape->training;
  inner->anomaly = tape->anomaly;
  inner->releasing = tape->releasing;
  inner->profile = tape->profile;
  inner->seed = tape->seed, inner->step = tape->step, inner->draws = draws;
  inner->first_row = tape->first_row, inner->rows = tape->rows;
  return inner;
}

/* ---- errors --------------------------------------------------------------------------------------- */

static void keep_error(th_tape *tape, th_status status, const char *op, const char *text) {
  if (!tape->error.status) th_error_set(&tape->error, status, "%s: %s", op, text);
}

bool th_fail(th_var *out, th_status status, const char *format, ...) {
  char text[sizeof out->tape->error.text - 32];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  keep_error(out->tape, status, out->op ? out->op->name : "leaf", text);
  return false;
}

bool th_fail_as(th_var *out, const th_tape *inner) {
  bool first = !out->tape->error.status;
  th_fail(out, inner->error.status, "%s", inner->error.text);
  if (first) out->tape->located = inner->located;
  return false;
}

void th_tape_fail(th_tape *tape, th_status status, const char *what, const char *why) {
  keep_error(tape, status, what, why);
}

th_var *(th_here)(th_var *made, const char *file, int line) {
  th_tape *tape = made->tape;
  if (made == &tape->failed && !tape->located) {
    size_t used = strlen(tape->error.text);
    snprintf(tape->error.text + used, sizeof tape->error.text - used, " (%s:%d)", file, line);
    tape->located = true;
  }
  if (!made->file) made->file = file, made->line = line;
  return made;
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static bool note(th_tape *tape, void *memory, size_t bytes) {
  th_kept *kept = th_arena_alloc(tape->arena, sizeof *kept);
  if (!kept) return false;
  *kept = (th_kept){*tape->taken, memory, bytes};
  *tape->taken = kept;
  return true;
}

void *th_keep(th_tape *tape, size_t bytes) {
  void *memory = th_arena_alloc(tape->arena, bytes ? bytes : 1);
  if (memory && tape->taken && bytes >= TH_ARENA_PIECE && !note(tape, memory, bytes)) memory = NULL;
  if (!memory)
    th_error_set(tape->error.status ? NULL : &tape->error, TH_ENOMEM, "tape: no memory for %zu bytes", bytes);
  return memory;
}

/* From here on what th_keep hands out is noted in `list` (NULL: nowhere); returns where it was noted before. */
static th_kept **note_in(th_tape *tape, th_kept **list) {
  th_kept **before = tape->taken;
  tape->taken = tape->releasing ? list : NULL;
  return before;
}

static void give_back(th_tape *tape, th_kept **list) {
  for (; *list; *list = (*list)->next) th_arena_give_back(tape->arena, (*list)->data, (*list)->bytes);
}

bool th_keep_tensor(th_tape *tape, th_tensor *made, th_dtype dtype, int ndim, const int64_t *shape) {
  if (th_shape_count(ndim, shape) < 0) {
    th_tape_fail(tape, TH_ESHAPE, "tape", "a tensor of this size does not exist");
    return false;
  }
  void *data = th_keep(tape, (size_t)th_shape_count(ndim, shape) * th_dtype_size(dtype));
  th_tensor_lay_out(made, data, dtype, ndim, shape);
  return data != NULL;
}

bool th_make(th_var *out, int ndim, const int64_t *shape) {
  if (ndim > TH_MAX_DIMS) return th_fail(out, TH_ESHAPE, "%d axes are more than %d", ndim, TH_MAX_DIMS);
  if (th_shape_count(ndim, shape) < 0) return th_fail(out, TH_ESHAPE, "a result of this size does not exist");
  return th_keep_tensor(out->tape, &out->value, out->in[0]->value.dtype, ndim, shape);
}

bool th_make_like(th_var *out, const th_tensor *like) { return th_make(out, like->ndim, like->shape); }

bool th_make_view(th_var *out, th_var *of, const th_tensor *view) {
  out->value = *view;
  out->base = of->base ? of->base : of;
  return true;
}

/* Of a var that is no view and has none; not cleared. */
static bool make_gradient(th_var *x) {
  th_tensor made;
  th_kept **list = note_in(x->tape, &x->kept);
  bool kept = th_keep_tensor(x->tape, &made, x->value.dtype, x->value.ndim, x->value.shape);
  x->tape->taken = list;
  if (!kept) return false;
  x->grad = made;
  return true;
}

static void clear_gradient(const th_var *x) {
  memset(x->grad.data, 0, (size_t)th_tensor_count(&x->grad) * th_dtype_size(x->grad.dtype));
}

th_tensor *th_grad_first(th_var *x, bool *first) {
  *first = false;
  if (!x->needs_grad) return NULL;
  if (x->grad.data) return &x->grad;
  x->tape->graded = true;
  th_var *whole = x->base ? x->base : x;
  if (!whole->grad.data) {
    *first = th_tensor_count(&x->value) == th_tensor_count(&whole->value); /* a view has each element once */
    if (!make_gradient(whole)) return NULL;
    if (!*first) clear_gradient(whole);
  }
  if (x->base) {
    x->grad = x->value;
    x->grad.data = (char *)whole->grad.data + ((char *)x->value.data - (char *)whole->value.data);
  }
  return &x->grad;
}

th_tensor *th_grad(th_var *x) {
  bool first;
  th_tensor *g = th_grad_first(x, &first);
  if (g && first) clear_gradient(x->base ? x->base : x);
  return g;
}

bool th_grad_add(th_var *x, const th_tensor *g) {
  bool first = false;
  const th_tensor *to = th_tensor_same_shape(&x->value, g) ? th_grad_first(x, &first) : th_grad(x);
  if (to && first) th_k_copy(x->tape->pool, g, to);
  else if (to) th_k_axpy(x->tape->pool, 1, g, to);
  return to != NULL;
}

bool th_grad_pass(th_var *out, th_var *x) {
  if (!x->needs_grad || x->grad.data || x->base || out->base || !th_tensor_same_shape(&x->value, &out->value))
    return false;
  th_kept **at = &out->kept; /* empty unless the tape releases */
  while (*at && (*at)->data != out->grad.data) at = &(*at)->next;
  th_kept *moved = *at;
  if (!moved) return false;
  *at = moved->next;
  moved->next = x->kept;
  x->kept = moved;
  x->grad = out->grad;
  return true;
}

bool th_tape_releases(const th_tape *tape) { return tape->releasing; }

th_tensor th_grad_or_none(th_var *x) {
  const th_tensor *g = th_grad(x);
  return g ? *g : (th_tensor){0};
}

th_var *th_spent(th_var *x) {
  x->spent = true;
  return x;
}

bool th_make_over(th_var *out, th_var *x) {
  bool spare = x->op == &th_op_dropout || x->op == &th_op_add || th_is_linear(x->op);
  if (x->op == &th_op_linear_relu) spare = out->op == &th_op_dropout; /* the sign is left, or no gradient */
  if (!x->spent || !x->tape->releasing || !spare || x->base) return false;
  out->value = x->value;
  return true;
}

/* ---- leaves -------------------------------------------------------------------------------------------- */

/* And behind it `more` bytes. */
static th_var *new_var(th_tape *tape, size_t more) {
  if (tape->error.status) return &tape->failed;
  th_var *var = th_keep(tape, sizeof *var + more);
  if (!var) return &tape->failed;
  *var = (th_var){.tape = tape};
  return var;
}

static void link_var(th_var *var) {
  var->previous = var->tape->last;
  var->tape->last = var;
}

static bool is_real(th_dtype dtype) { return dtype == TH_F32 || dtype == TH_F64; }

th_var *th_constant(th_tape *tape, const th_tensor *value) {
  th_var *leaf = new_var(tape, 0);
  if (leaf == &tape->failed) return leaf;
  leaf->value = *value;
  if (!is_real(value->dtype)) {
    th_fail(leaf, TH_EDTYPE, "%s is no type to compute with; f32 and f64 are", th_dtype_name(value->dtype));
    return &tape->failed;
  }
  return leaf;
}

th_var *th_leaf(th_tape *tape, const th_tensor *value, const th_tensor *grad) {
  th_var *leaf = th_constant(tape, value);
  if (leaf == &tape->failed) return leaf;
  bool fits = th_tensor_is_contiguous(value);
  if (grad)
    fits = fits && grad->dtype == value->dtype && th_tensor_same_shape(grad, value) &&
           th_tensor_is_contiguous(grad);
  if (!fits) {
    th_fail(leaf, TH_ESHAPE, "value and gradient must be contiguous, of one shape and type");
    return &tape->failed;
  }
  leaf->needs_grad = tape->recording;
  if (grad) leaf->grad = *grad;
  else if (!th_grad(leaf) && tape->error.status)
    return &tape->failed; /* now, so that no rewind takes it away */
  link_var(leaf);
  return leaf;
}

th_var *th_detach(th_var *x) {
  if (x->tape->error.status) return &x->tape->failed;
  return th_constant(x->tape, &x->value);
}

/* ---- forward ------------------------------------------------------------------------------------------------ */

/* The first element that is NaN, or unless allowed infinite; -1: none. */
static int64_t first_wrong(const th_tensor *x, bool may_be_infinite) {
  if (th_tensor_is_contiguous(x) && (!may_be_infinite || th_k_first_not_finite(x) < 0))
    return th_k_first_not_finite(x);
  for (int64_t i = 0, n = th_tensor_count(x); i < n; i++) {
    double value = fabs(th_tensor_get(x, i));
    if (!(value <= (may_be_infinite ? INFINITY : DBL_MAX))) return i;
  }
  return -1;
}

static void check_finite(th_var *out, const th_tensor *x, const char *what) {
  int64_t index = first_wrong(x, out->op->may_be_infinite);
  if (index < 0) return;
  char shape[TH_SHAPE_TEXT];
  double value = th_tensor_get(x, index);
  char where[96] = "";
  if (out->file) snprintf(where, sizeof where, " (%s:%d)", out->file, out->line);
  th_fail(out, TH_ENAN, "%s %s has %s at element %lld%s", what, th_shape_text(shape, x),
          value != value ? "a NaN" : "an infinity", (long long)index, where);
  if (out->file) out->tape->located = true;
}

/* A leaf that was wrong before the op is the one to name: there is no op before it. */
static void check_result(th_var *out) {
  char what[32];
  if (first_wrong(&out->value, out->op->may_be_infinite) < 0) return;
  for (int i = 0; i < out->inputs && !out->tape->error.status; i++) {
    if (out->in[i]->op) continue;
    snprintf(what, sizeof what, "input %d", i);
    check_finite(out, &out->in[i]->value, what);
  }
  check_finite(out, &out->value, "result");
}

static bool inputs_fit(th_var *out) {
  for (int i = 0; i < out->inputs; i++) {
    const th_var *in = out->in[i];
    if (in->tape != out->tape) return th_fail(out, TH_EINVAL, "input %d is on another tape", i);
    if (in->value.dtype != out->in[0]->value.dtype)
      return th_fail(out, TH_EDTYPE, "input 0 is %s, input %d is %s", th_dtype_name(out->in[0]->value.dtype),
                     i, th_dtype_name(in->value.dtype));
    if (in->needs_grad && out->tape->recording) out->needs_grad = true;
  }
  return true;
}

th_var *(th_apply)(const th_op *op, int inputs, th_var *const *in, const void *settings,
                   size_t settings_bytes) {
  th_tape *tape = in[0]->tape;
  for (int i = 1; i < inputs; i++)
    if (in[i]->tape->error.status) tape = in[i]->tape;
  size_t settings_room = (settings_bytes + sizeof *in - 1) / sizeof *in * sizeof *in;
  th_var *out = new_var(tape, settings_room + (size_t)inputs * sizeof *in);
  if (out == &tape->failed) return out;
  out->op = op;
  out->inputs = inputs;
  out->settings = out + 1;
  if (settings_bytes) memcpy(out + 1, settings, settings_bytes);
  out->in = memcpy((char *)(out + 1) + settings_room, in, (size_t)inputs * sizeof *in);
  if (!inputs_fit(out)) return &tape->failed;
  th_kept **list = note_in(tape, &out->kept);
  th_profile_begin_op(tape->profile, out, false);
  bool made = op->forward(out);
  th_profile_end_op(tape->profile, out);
  tape->taken = list;
  if (!made) return &tape->failed;
  if (tape->anomaly) check_result(out);
  if (tape->error.status) return &tape->failed;
  link_var(out);
  return out;
}

/* ---- backward ------------------------------------------------------------------------------------------------- */

static void check_input_gradients(th_var *v) {
  char what[64];
  for (int i = 0; i < v->inputs; i++) {
    if (!v->in[i]->grad.data) continue;
    snprintf(what, sizeof what, "gradient of input %d", i);
    check_finite(v, &v->in[i]->grad, what);
  }
}

static bool seed_root(th_var *root, const th_tensor *seed) {
  char a[TH_SHAPE_TEXT], b[TH_SHAPE_TEXT];
  if (!root->needs_grad) return th_fail(root, TH_EINVAL, "backward: nothing it depends on needs a gradient");
  if (!seed && th_tensor_count(&root->value) != 1)
    return th_fail(root, TH_ESHAPE, "backward: %s is not one element; give its gradient",
                   th_shape_text(a, &root->value));
  if (seed && seed->dtype != root->value.dtype)
    return th_fail(root, TH_EDTYPE, "backward: the result is %s, the gradient given %s",
                   th_dtype_name(root->value.dtype), th_dtype_name(seed->dtype));
  if (seed && !th_tensor_same_shape(seed, &root->value))
    return th_fail(root, TH_ESHAPE, "backward: the result is %s, the gradient given %s",
                   th_shape_text(a, &root->value), th_shape_text(b, seed));
  if (seed) return th_grad_add(root, seed);
  const th_tensor *grad = th_grad(root);
  if (grad) th_tensor_set(grad, 0, 1 + th_tensor_get(grad, 0));
  return grad != NULL;
}

/* A view shares its gradient, and has nothing to do, unless it changed what it views. */
static bool has_backward(th_var *v) {
  if (!v->op || !v->op->backward) return false;
  if (v->op == &th_op_reversible) return v->base && v->base->grad.data && th_grad(v);
  return !v->base && v->grad.data;
}

static void one_backward(th_var *v) {
  if (!has_backward(v)) return;
  th_kept *scratch = NULL, **list = note_in(v->tape, &scratch);
  th_profile_begin_op(v->tape->profile, v, true);
  v->op->backward(v);
  th_profile_end_op(v->tape->profile, v);
  v->tape->taken = list;
  give_back(v->tape, &scratch);
  if (v->tape->anomaly) check_input_gradients(v);
}

/* From the last op to the first, each once: all that uses a var stands after it. */
static void run_backward(th_tape *tape) {
  for (th_var *v = tape->last; v && !tape->error.status; v = v->previous) {
    one_backward(v);
    if (tape->passed && !tape->error.status) tape->passed(tape->passed_context, v);
    if (v->op) give_back(tape, &v->kept);
  }
}

void th_tape_watch(th_tape *tape, th_passed *passed, void *context) {
  tape->passed = passed;
  tape->passed_context = context;
}

th_status th_backward(th_var *root, const th_tensor *seed) {
  th_tape *tape = root->tape;
  if (tape->error.status) return tape->error.status;
  if (tape->released)
    th_fail(root, TH_EINVAL, "backward: the values were given back by the one before (th_tape_release)");
  tape->released = tape->releasing;
  clear_gradients(tape);
  if (!tape->error.status && seed_root(root, seed)) run_backward(tape);
  if (tape->error.status) tape->located = true; /* the line of a later op is not the error's */
  return tape->error.status;
}
