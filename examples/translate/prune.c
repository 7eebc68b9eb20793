/* translate prune DIR: a run without some of its heads, ready to be used or trained on. */
#include "commands.h"
#include "head_list.h"
#include "options.h"
#include "remake.h"

#include "tapehead/study.h"

#include <stdio.h>
#include <stdlib.h>

/* The run's model, pruned. Heads that it has not any more cannot go. */
static th_status prune_model(const run *r, const char *heads, th_transformer **made, th_error *error) {
  const th_transformer_config *c = &r->model->config;
  char label[TH_HEAD_LABEL];
  bool *listed;
  th_status status = head_list_parse("--heads", heads, c, &listed, error);
  if (status) return status;
  int64_t width = c->layer.heads, left = 0;
  for (int a = 0; a < th_transformer_attentions(r->model) && !status; a++) {
    const th_nn_attention *layer = th_transformer_attention(r->model, a);
    for (int64_t h = 0; h < width && !status; h++) {
      bool gone = c->removed && c->removed[a * width + h], go = listed[a * width + h];
      if (gone && go)
        status = th_error_set(error, TH_EINVAL, "--heads: %s is gone already",
                              th_head_label(label, (th_head){layer->kind, layer->layer, (int)h}));
      if (!gone)
        listed[left++] = go; /* from here on of the heads that there are: never ahead of what is read */
    }
  }
  if (!status) status = th_transformer_prune(made, r->model, listed, error);
  free(listed);
  return status;
}

static th_status prune_run(run *r, const char *heads, const char *out, th_error *error) {
  th_transformer *pruned;
  th_status status = prune_model(r, heads, &pruned, error);
  if (status) return status;
  status = head_list_write(pruned->config.removed, &pruned->config, r->settings.pruned, error);
  if (!status) return remake(r, pruned, out, error);
  th_transformer_free(pruned);
  return status;
}

static th_status prune(const char *directory, const char *heads, const char *out, const char *use,
                       th_error *error) {
  run r;
  if (!heads || !*heads)
    return th_error_set(error, TH_EINVAL, "--heads LIST is missing: which heads should go?");
  th_status status = remake_check(out, "the smaller run", error);
  if (!status) status = remake_open(&r, directory, use, error);
  if (status) return status;
  remake_size was = remake_size_of(&r), is = {0};
  status = prune_run(&r, heads, out, error);
  if (!status) is = remake_size_of(&r);
  if (!status)
    printf("%s: without %s, %lld head%s of %lld\n"
           "%lld parameters of %lld, %lld bytes of %lld in model.safetensors\n",
           out, heads, is.heads, is.heads == 1 ? "" : "s", was.heads, is.parameters, was.parameters, is.bytes,
           was.bytes);
  run_free(&r);
  return status;
}

th_status prune_command(int argc, const char **argv, th_error *error) {
  char *directory, *heads = NULL, *out = NULL, *use = NULL;
  struct poptOption options[] = {
      {"heads", '\0', POPT_ARG_STRING, &heads, 0, "the heads to remove, such as enc0.1,3,cross1.0-2", "LIST"},
      {"out", 'o', POPT_ARG_STRING, &out, 0, "the directory of the run to make", "NEW"},
      OPTION_USE(&use),
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status = options_read(&(options_syntax){options, "DIR --heads LIST --out NEW", NULL, NULL}, argc,
                                  argv, &directory, error);
  if (!status) status = prune(directory, heads, out, use, error);
  free(directory);
  free(heads);
  free(out);
  free(use);
  return status;
}
