/* translate gradcheck [DIR]: the parameters of a run's model, or of a small new one, against finite differences
 * in double; of a large one by a random direction through each tensor. */
#include "commands.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  SEQUENCES = 3,
  FAST_FROM = 20000
}; /* above so many parameters, random directions instead of each one */

typedef struct problem {
  const th_transformer *model;
  const batch *batch;
  double smoothing;
} problem;

static int loss(th_tape *tape, th_var *const *in, th_var **out, void *context) {
  const problem *p = context;
  (void)in;
  th_var *memory = th_transformer_encode(p->model, tape, &p->batch->source, p->batch->source_length, NULL);
  th_var *logits = th_transformer_decode(p->model, memory, p->batch->source_length, &p->batch->input, NULL);
  out[0] = th_cross_entropy(logits, &p->batch->output, p->smoothing);
  return 1;
}

static th_status check(run *r, th_gradcheck_report *report, bool *fast, th_error *error) {
  th_transformer *model;
  batch b;
  th_status status = th_transformer_new(&model, &r->model->config, TH_F64, 1, error);
  if (status) return status;
  status = th_params_copy(model->params, r->model->params, error);
  if (!status) status = batch_new(&b, SEQUENCES, r->data.longest, error);
  if (!status) {
    batch_fill(&b, r->data.held_out, r->data.held_out_count < SEQUENCES ? r->data.held_out_count : SEQUENCES);
    problem p = {model, &b, r->settings.label_smoothing};
    *fast = th_params_elements(model->params) > FAST_FROM;
    th_gradcheck_options options = {.fast = *fast, .seed = 1, .pool = r->pool};
    status = th_params_gradcheck(model->params, loss, &p, 0, NULL, &options, report, error);
    batch_free(&b);
  }
  th_transformer_free(model);
  return status;
}

/* The toy task and a model small enough to check every parameter one by one. */
static th_status small_run(run *r, th_error *error) {
  settings s = {0};
  given none = {0};
  settings_defaults(&s, &none);
  s.width = 16, s.feed_forward = 32, s.symbols = 8, s.encoder_layers = s.decoder_layers = 1,
  s.held_out = SEQUENCES;
  return run_new(r, &s, "", error);
}

th_status gradcheck_command(int argc, const char **argv, th_error *error) {
  struct poptOption options[] = {POPT_AUTOHELP POPT_TABLEEND};
  char *directory;
  run r;
  bool fast;
  th_gradcheck_report report;
  th_status status =
      options_read(&(options_syntax){options, "[DIR]", NULL, NULL}, argc, argv, &directory, error);
  if (status) return status;
  status = directory ? run_open(&r, directory, NULL, NULL, RUN_DATA, error) : small_run(&r, error);
  free(directory);
  if (status) return status;
  status = check(&r, &report, &fast, error);
  if (!status) {
    printf("%lld parameters in %d tensors, %s: worst relative error %.1e\n",
           (long long)th_params_elements(r.model->params), th_params_count(r.model->params),
           fast ? "one random direction through each tensor" : "each one", report.relative_error);
    if (!report.ok) status = th_error_set(error, TH_EFORMAT, "the gradient is wrong: %s", report.text);
  }
  run_free(&r);
  return status;
}
