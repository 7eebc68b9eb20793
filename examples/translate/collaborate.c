/* translate collaborate DIR: a run whose heads share the dimensions of their queries and keys. */
#include "commands.h"
#include "options.h"
#include "remake.h"

#include "tapehead/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_errors(const th_transformer *m, const double *errors) {
  printf("  %-32s  heads   error\n", "attention");
  for (int a = 0; a < th_transformer_attentions(m); a++) {
    const th_nn_attention *layer = th_transformer_attention(m, a);
    char name[64];
    snprintf(name, sizeof name, "%s, layer %d", kind_title(layer->kind), layer->layer);
    if (layer->heads) printf("  %-32s  %5lld  %6.4f\n", name, (long long)layer->heads, errors[a]);
  }
}

static th_status collaborate_run(run *r, int64_t width, const char *out, th_error *error) {
  th_transformer *made;
  remake_size was = remake_size_of(r);
  double *errors = calloc((size_t)th_transformer_attentions(r->model) + 1, sizeof *errors);
  if (!errors) return th_error_set(error, TH_ENOMEM, "no memory");
  int64_t full = r->model->config.layer.heads * r->model->encoder[0].self.key_width;
  th_status status = th_transformer_collaborate(&made, r->model, width, errors, error);
  if (!status) {
    strcpy(r->settings.attention, "collaborative");
    strcpy(r->settings.cross_attention, "auto");
    r->settings.shared_width = width;
    status = remake(r, made, out, error);
  }
  if (!status) {
    printf("%s: heads share %lld dimensions of queries and keys, where they had %lld\n", out,
           (long long)width, (long long)full);
    print_errors(r->model, errors);
    printf("%lld parameters, where there were %lld\n", remake_size_of(r).parameters, was.parameters);
  }
  free(errors);
  return status;
}

static th_status collaborate(const char *directory, int width, const char *out, const char *use,
                             th_error *error) {
  run r;
  if (width < 1)
    return th_error_set(error, TH_EINVAL,
                        "--shared-width N is missing, or below 1: how many dimensions do heads share?");
  th_status status = remake_check(out, "the new run", error);
  if (!status) status = remake_open(&r, directory, use, error);
  if (status) return status;
  status = collaborate_run(&r, width, out, error);
  run_free(&r);
  return status;
}

th_status collaborate_command(int argc, const char **argv, th_error *error) {
  char *directory, *out = NULL, *use = NULL;
  int width = 0;
  struct poptOption options[] = {
      {"shared-width", '\0', POPT_ARG_INT, &width, 0, "dimensions of queries and keys that heads share", "N"},
      {"out", 'o', POPT_ARG_STRING, &out, 0, "the directory of the run to make", "NEW"},
      OPTION_USE(&use),
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status = options_read(&(options_syntax){options, "DIR --shared-width N --out NEW", NULL, NULL},
                                  argc, argv, &directory, error);
  if (!status) status = collaborate(directory, width, out, use, error);
  free(directory);
  free(out);
  free(use);
  return status;
}
