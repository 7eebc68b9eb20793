/* ranks: where the time of a training step goes that several processes share (make MPI=1; mpirun -n 2 build/mpi/ranks), and
 * what is sent. As everywhere the least of each time is what other work on the machine has disturbed least. */
#include "tapehead/ranks.h"
#include "timing.h"

#include <popt.h>
#include <stdio.h>

typedef struct {
  int width, heads, layers, ff, batch, length, vocabulary, parts, threads, steps, late;
} options;

typedef struct {
  th_transformer *model;
  th_adam adam;
  th_ranks *ranks;
  th_sharing *sharing;
  th_pool *pool;
  th_tape *tape;
  th_tensor ids; /* TH_I32 [batch,length]: source and target */
} bench;

enum { COMPUTE, GRADIENTS, NORM, ADAM, VALUES, STEP, PROCESSOR, TIMES };
static const char *const times[TIMES] = {"compute", "gradients", "norm",     "adam",
                                         "values",  "step",      "processor"};

static bool parse(int count, const char **arguments, options *o) {
  const int whole = POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT;
  struct poptOption table[] = {
      {"width", 0, whole, &o->width, 0, "of the model", "N"},
      {"heads", 0, whole, &o->heads, 0, "in each layer", "N"},
      {"layers", 0, whole, &o->layers, 0, "of either stack", "N"},
      {"ff", 0, whole, &o->ff, 0, "width inside the feed-forward", "N"},
      {"batch", 0, whole, &o->batch, 0, "sequences of all ranks together", "N"},
      {"length", 0, whole, &o->length, 0, "tokens in each", "N"},
      {"vocabulary", 0, whole, &o->vocabulary, 0, "of either side", "N"},
      {"parts", 0, whole, &o->parts, 0, "of a batch", "N"},
      {"threads", 0, whole, &o->threads, 0, "of each rank", "N"},
      {"steps", 0, whole, &o->steps, 0, "timed, after 3", "N"},
      {"late", 0, POPT_ARG_NONE, &o->late, 0, "nothing is sent before backward ends", NULL},
      POPT_AUTOHELP POPT_TABLEEND};
  poptContext context = poptGetContext("ranks", count, arguments, table, 0);
  int code = poptGetNextOpt(context);
  if (code < -1) fprintf(stderr, "ranks: %s: %s\n", poptBadOption(context, 0), poptStrerror(code));
  poptFreeContext(context);
  return code == -1 && o->steps > 0 && o->parts > 0 && o->batch >= o->parts;
}

static th_status make(bench *b, const options *o, th_error *error) {
  th_transformer_config config = {
      .source_vocabulary = o->vocabulary,
      .target_vocabulary = o->vocabulary,
      .encoder_layers = o->layers,
      .decoder_layers = o->layers,
      .max_length = o->length,
      .layer = {.width = o->width, .heads = o->heads, .feed_forward = o->ff, .norm_first = true},
      .final_norm = true};
  int count;
  th_status status = th_transformer_new(&b->model, &config, TH_F32, 1, error);
  if (!status) status = th_sharing_new(&b->sharing, b->ranks, b->model->params, o->parts, error);
  if (status) return status;
  const th_span *spans = th_sharing_spans(b->sharing, &count);
  status = th_adam_new_spans(&b->adam, b->model->params, NULL, spans, count, error);
  if (!status) status = th_tensor_new(&b->ids, TH_I32, 2, (int64_t[]){o->batch, o->length}, error);
  for (int64_t i = 0; !status && i < th_tensor_count(&b->ids); i++)
    ((int32_t *)b->ids.data)[i] = (int32_t)th_random_below((th_random){1, 2}, (uint64_t)i, o->vocabulary);
  b->pool = th_pool_new(o->threads);
  b->tape = th_tape_new(b->pool);
  if (!status && !b->tape) status = th_error_set(error, TH_ENOMEM, "no memory");
  return status;
}

static th_status add_part(bench *b, const options *o, int64_t part, bool last, th_error *error) {
  th_tensor ids;
  float share = 1 / (float)o->parts;
  th_tensor weight = th_tensor_of(&share, TH_F32, 0, NULL);
  th_view_slice(&ids, &b->ids, 0, part * o->batch / o->parts, (part + 1) * o->batch / o->parts);
  th_tape_reset(b->tape);
  th_var *memory = th_transformer_encode(b->model, b->tape, &ids, NULL, NULL);
  th_var *logits = th_transformer_decode(b->model, memory, NULL, &ids, NULL);
  th_sharing_begin(b->sharing);
  if (last && !o->late) th_sharing_watch(b->sharing, b->tape);
  th_backward(th_cross_entropy(logits, &ids, 0.1), &weight);
  const th_error *failed = th_tape_error(b->tape);
  return failed ? th_error_set(error, failed->status, "%s", failed->text) : TH_OK;
}

/* at [TIMES]: when each began, STEP being the end; and the processor's time for computing alone. */
static th_status step(bench *b, const options *o, double *at, th_error *error) {
  int64_t first, end;
  double norm;
  th_status status = TH_OK;
  th_tensor values = th_params_values(b->model->params);
  th_sharing_parts(b->sharing, &first, &end);
  at[COMPUTE] = seconds_on(CLOCK_MONOTONIC);
  for (int64_t p = first; p < end && !status; p++) {
    double cpu = seconds_on(CLOCK_PROCESS_CPUTIME_ID);
    status = add_part(b, o, p, p == end - 1, error);
    at[PROCESSOR] = seconds_on(CLOCK_PROCESS_CPUTIME_ID) - cpu + (p > first ? at[PROCESSOR] : 0);
    at[GRADIENTS] = seconds_on(CLOCK_MONOTONIC);
    if (!status) status = th_sharing_end(b->sharing, error);
  }
  at[NORM] = seconds_on(CLOCK_MONOTONIC);
  if (!status) status = th_sharing_clip(b->sharing, 1, &norm, error);
  at[ADAM] = seconds_on(CLOCK_MONOTONIC);
  th_adam_update(&b->adam, 1e-3, b->pool);
  at[VALUES] = seconds_on(CLOCK_MONOTONIC);
  if (!status) status = th_sharing_spread(b->sharing, &values, error);
  at[STEP] = seconds_on(CLOCK_MONOTONIC);
  return status;
}

static void report(const bench *b, const options *o, double *spent, th_ranks_meter sent) {
  printf("%d ranks, %d threads, %d parts, %lld parameters%s; %lld bytes in %lld messages of a rank a step; "
         "%.0f %% of the gradients early\n",
         th_ranks_count(b->ranks), o->threads, o->parts, (long long)th_params_elements(b->model->params),
         o->late ? ", late" : "", (long long)sent.bytes / o->steps, (long long)sent.messages / o->steps,
         100 * th_sharing_early(b->sharing));
  for (int t = 0; t < TIMES; t++) {
    double middle = median(spent + t * o->steps, o->steps);
    printf("  %-10s %8.3f ms at best %8.3f\n", times[t], 1e3 * middle, 1e3 * spent[t * o->steps]);
  }
}

static th_status time_steps(bench *b, const options *o, double *spent, th_error *error) {
  double at[TIMES];
  th_status status = TH_OK;
  th_ranks_meter before = {0}, after;
  for (int i = -3; i < o->steps && !status; i++) {
    if (i == 0) before = th_ranks_read_meter(b->ranks);
    status = step(b, o, at, error);
    for (int t = 0; i >= 0 && t < TIMES; t++)
      spent[t * o->steps + i] = t == PROCESSOR ? at[t]
                                : t == STEP    ? at[STEP] - at[COMPUTE]
                                               : at[t + 1] - at[t];
  }
  after = th_ranks_read_meter(b->ranks);
  after.bytes -= before.bytes, after.messages -= before.messages;
  if (!status && th_ranks_rank(b->ranks) == 0) report(b, o, spent, after);
  return status;
}

int main(int count, const char **arguments) {
  options o = {.width = 64,
               .heads = 4,
               .layers = 2,
               .ff = 128,
               .batch = 64,
               .length = 17,
               .vocabulary = 36,
               .parts = 4,
               .threads = 1,
               .steps = 20};
  bench b = {0};
  th_error error = {0};
  if (!parse(count, arguments, &o)) return 2;
  double *spent = calloc((size_t)(TIMES * o.steps), sizeof *spent);
  th_status status = spent ? th_ranks_join(&b.ranks, &error) : TH_ENOMEM;
  if (!status) status = make(&b, &o, &error);
  if (!status) status = time_steps(&b, &o, spent, &error);
  if (status) fprintf(stderr, "ranks: %s\n", error.text);
  free(spent);
  th_adam_free(&b.adam);
  th_sharing_free(b.sharing);
  th_transformer_free(b.model);
  th_tensor_free(&b.ids);
  th_tape_free(b.tape);
  th_pool_free(b.pool);
  th_ranks_leave(b.ranks, !status);
  return status ? 1 : 0;
}
