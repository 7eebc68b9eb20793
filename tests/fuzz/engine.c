/* Random graphs of ops. Bytes are a program: which leaves there are, then steps of eight bytes, each an op, its
 * operands among what was made before, and its settings. A step that the tape refuses is left out and the program
 * runs again, so what remains is a graph. Each op is held against its plain version, the whole against finite
 * differences. */
#include "fuzz.h"

#include "../engine_plain.h"

#include "engine_ops.h"

enum { STEPS = 12, STEP_BYTES = 8, LEAF_BYTES = 5, HEAD_BYTES = 2 + LEAVES * LEAF_BYTES };
#define ELEMENTS_MOST 2000 /* of a result: a program stops where it grows larger */

typedef struct program {
  const uint8_t *bytes;
  size_t size;
  int leaves;
  th_dtype dtype;
  bool train;
  th_tensor leaf[LEAVES];
  bool skip[STEPS];
} program;

static void read_head(program *p, desk *d) {
  feed f = {p->bytes, p->size};
  int flags = (int)feed_byte(&f);
  double low = flags & 1 ? 0.3 : -2;
  p->leaves = 1 + (flags >> 1 & 3) % LEAVES;
  p->dtype = flags & 8 ? TH_F32 : TH_F64;
  p->train = flags & 16;
  d->stream = feed_byte(&f);
  for (int i = 0; i < p->leaves; i++) {
    int64_t shape[4];
    int ndim = feed_below(&f, 5);
    for (int k = 0; k < 4; k++) shape[k] = (int64_t[]){2, 3, 1, 4, 2, 3, 4, 0}[feed_below(&f, 8)];
    p->leaf[i] = desk_uniform(d, p->dtype, low, 2, ndim, shape);
  }
}

/* Runs the program on the leaves' vars. Returns the step that failed, or -1; *last is what was made last. With
 * `check` each op is compared, and `calm` says whether its numbers suit finite differences. */
static int run(const program *p, desk *d, th_tape *tape, th_var *const *in, th_var **last, bool check,
               bool *calm) {
  th_var *made[LEAVES + STEPS];
  int count = p->leaves;
  memcpy(made, in, (size_t)count * sizeof *made);
  th_tape_train(tape, p->train);
  th_tape_seed(tape, 7, 1);
  *last = made[count - 1];
  for (int i = 0; i < STEPS && HEAD_BYTES + (size_t)i * STEP_BYTES < p->size; i++) {
    size_t begin = HEAD_BYTES + (size_t)i * STEP_BYTES, rest = p->size - begin;
    if (p->skip[i]) continue;
    step s = {.feed = {p->bytes + begin, rest < STEP_BYTES ? rest : STEP_BYTES}, .desk = d, .tape = tape};
    const op_case *op = &cases[feed_below(&s.feed, CASES)];
    for (int k = 0; k < 3; k++) s.in[k] = made[feed_below(&s.feed, count)];
    op->apply(&s);
    if (th_tape_error(tape)) return i;
    if (check) *calm = check_step(op, &s) && *calm;
    *last = made[count++] = s.y;
    if (th_tensor_count(&s.y->value) > ELEMENTS_MOST) break;
  }
  return -1;
}

typedef struct graph {
  const program *program;
  desk *desk;
} graph;

static int differentiate(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  graph *g = context;
  bool calm;
  run(g->program, g->desk, tape, in, out, false, &calm);
  return 1;
}

/* A kink may lie within one step of a difference, but hardly within three of other sizes. */
static void gradcheck(const program *p, desk *d) {
  static const double eps[] = {1e-5, 1e-4, 1e-6};
  th_tensor leaf[LEAVES], *pointer[LEAVES];
  graph g = {p, d};
  bool ok = false;
  th_gradcheck_report report;
  th_error error;
  for (int i = 0; i < p->leaves; i++) leaf[i] = p->leaf[i], pointer[i] = &leaf[i];
  for (size_t i = 0; i < sizeof eps / sizeof *eps && !ok; i++) {
    th_gradcheck_options options = {.eps = eps[i], .atol = 1e-5, .rtol = 1e-3, .fast = true, .seed = i};
    CLAIM(th_gradcheck(differentiate, &g, p->leaves, pointer, &options, &report, &error) == TH_OK);
    ok = report.ok;
  }
  if (!ok) fuzz_found(__FILE__, __LINE__, report.text);
}

static bool is_known(const char *name) {
  bool known = !strncmp(name, "linear_gelu", 11); /* linear_relu's case makes them, too */
  for (int k = 0; k < CASES; k++) known = known || !strcmp(cases[k].name, name);
  return known || !strcmp(name, "stream") || !strcmp(name, "streams_end"); /* reversible makes them */
}

static void claim_all_ops(void) {
  int count;
  const th_op *const *ops = th_ops(&count);
  for (int i = 0; i < count; i++)
    if (!is_known(ops[i]->name)) fuzz_found(__FILE__, __LINE__, ops[i]->name);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static desk d; /* kept, so that its memory is asked for once */
  if (!d.tape) {
    d = desk_open();
    claim_all_ops();
  }
  th_arena_reset(d.memory);
  program p = {.bytes = bytes, .size = size};
  read_head(&p, &d);
  th_var *in[LEAVES], *last;
  th_tensor grad[LEAVES];
  bool calm;
  int failed;
  for (;;) {
    calm = p.dtype == TH_F64;
    th_tape_reset(d.tape);
    for (int i = 0; i < p.leaves; i++) in[i] = desk_leaf(&d, &p.leaf[i], &grad[i]);
    failed = run(&p, &d, d.tape, in, &last, true, &calm);
    if (failed < 0) break;
    CLAIM_ERROR(*th_tape_error(d.tape));
    p.skip[failed] = true;
  }
  if (!last->needs_grad) return 0;
  th_tensor seed = desk_uniform(&d, p.dtype, -1, 1, last->value.ndim, last->value.shape);
  CLAIM(th_backward(last, &seed) == TH_OK);
  if (calm && th_tensor_count(&last->value)) gradcheck(&p, &d);
  return 0;
}
