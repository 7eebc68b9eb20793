/* translate logits DIR: what the model says of every next token, as an array that other programs read. */
#include "commands.h"
#include "options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 32 /* pairs in one pass */

typedef struct logits_options {
  char *pairs, *out, *use, *directory;
  int in_double;
  run_weights weights; /* what `use` means */
} logits_options;

static th_status check(logits_options *o, th_error *error) {
  if (!o->pairs) return th_error_set(error, TH_EINVAL, "--pairs FILE is missing: which pairs?");
  if (!o->out) return th_error_set(error, TH_EINVAL, "--out FILE.npy is missing: where to?");
  if (!name_ends_in(o->out, ".npy"))
    return th_error_set(error, TH_EINVAL, "--out %s: want a name that ends in .npy", o->out);
  return o->use ? run_weights_parse(o->use, &o->weights, error) : TH_OK;
}

static th_status parse(int argc, const char **argv, logits_options *o, th_error *error) {
  struct poptOption options[] = {
      {"pairs", '\0', POPT_ARG_STRING, &o->pairs, 0, "lines of source<TAB>target", "FILE"},
      {"out", 'o', POPT_ARG_STRING, &o->out, 0,
       "an array [pairs, longest target + 1, target vocabulary]: at [i,t] the logits of pair i's token t, "
       "given the right ones before it; NaN after <eos>",
       "FILE.npy"},
      {"double", '\0', POPT_ARG_NONE, &o->in_double, 0, "compute in double", NULL},
      OPTION_USE(&o->use),
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status =
      options_read(&(options_syntax){options, "DIR --pairs FILE --out FILE.npy [OPTION...]", NULL, NULL},
                   argc, argv, &o->directory, error);
  return status ? status : check(o, error);
}

/* The same model in double, still without its weights: read from a file that is in double, they lose nothing. */
static th_status to_double(run *r, th_error *error) {
  th_transformer *model;
  th_status status = th_transformer_new(&model, &r->model->config, TH_F64, 0, error);
  if (status) return status;
  th_transformer_free(r->model);
  r->model = model;
  return TH_OK;
}

/* The first b.tokens of each of the batch's pairs into its place in `out`. */
static th_status keep_logits(const th_tensor *logits, const batch *b, const example *examples,
                             const th_tensor *out, int64_t first, th_error *error) {
  th_status status = TH_OK;
  for (int64_t i = 0; i < b->source.shape[0] && !status; i++) {
    th_tensor from, to;
    int64_t tokens = examples[i].target_length + 1;
    th_view_slice(&from, logits, 0, i, i + 1);
    th_view_slice(&from, &from, 1, 0, tokens);
    th_view_slice(&to, out, 0, first + i, first + i + 1);
    th_view_slice(&to, &to, 1, 0, tokens);
    status = th_tensor_copy(&to, &from, error);
  }
  return status;
}

static th_status fill(run *r, const th_tensor *out, th_error *error) {
  const data *d = &r->data;
  batch b;
  th_status status = batch_new(&b, AT_ONCE, d->longest, error);
  if (status) return status;
  th_fill(out, NAN);
  th_tape_record(r->tape, false);
  th_tape_train(r->tape, false);
  for (int64_t i = 0; i < d->held_out_count && !status; i += AT_ONCE) {
    int64_t count = d->held_out_count - i < AT_ONCE ? d->held_out_count - i : AT_ONCE;
    batch_fill(&b, d->held_out + i, count);
    th_tape_reset(r->tape);
    th_var *memory = th_transformer_encode(r->model, r->tape, &b.source, b.source_length, NULL);
    th_var *logits = th_transformer_decode(r->model, memory, b.source_length, &b.input, NULL);
    const th_error *failed = th_tape_error(r->tape);
    status = failed ? th_error_set(error, failed->status, "%s", failed->text)
                    : keep_logits(&logits->value, &b, d->held_out + i, out, i, error);
  }
  batch_free(&b);
  return status;
}

static th_status write_logits(run *r, const logits_options *o, th_error *error) {
  const data *d = &r->data;
  th_status status = data_replace(&r->data, o->pairs, r->model->config.max_length - 1, error);
  if (!status && o->in_double) status = to_double(r, error);
  if (!status) status = run_use(r, o->weights, error);
  if (status) return status;
  int64_t longest = 0;
  for (int64_t i = 0; i < d->held_out_count; i++)
    if (d->held_out[i].target_length > longest) longest = d->held_out[i].target_length;
  th_tensor out;
  int64_t shape[] = {d->held_out_count, longest + 1, r->model->config.target_vocabulary};
  th_error inner;
  if ((status = th_tensor_new(&out, o->in_double ? TH_F64 : TH_F32, 3, shape, &inner)))
    return th_error_set(error, status, "%s: %s: fewer pairs may fit", o->pairs, inner.text);
  status = fill(r, &out, error);
  if (!status) status = th_npy_save(o->out, &out, error);
  th_tensor_free(&out);
  return status;
}

th_status logits_command(int argc, const char **argv, th_error *error) {
  logits_options o = {0};
  run r;
  th_status status = parse(argc, argv, &o, error);
  if (!status && !(status = run_open(&r, o.directory, NULL, NULL, RUN_MODEL, error))) {
    status = write_logits(&r, &o, error);
    run_free(&r);
  }
  free(o.pairs);
  free(o.out);
  free(o.use);
  free(o.directory);
  return status;
}
