/* Which of a run's files the weights are read from. */
#include "run.h"

#include <string.h>

static const struct {
  const char *name, *file;
} files[] = {{"last", "model.safetensors"},
             {"best", "best.safetensors"},
             {"average", "average.safetensors"},
             {"ema", "ema.safetensors"}};

static const char *file_of(const char *name) {
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (!strcmp(name, files[i].name)) return files[i].file;
  return NULL;
}

th_status weights_check(const char *name, th_error *error) {
  if (file_of(name)) return TH_OK;
  return th_error_set(error, TH_EINVAL, "--use %s: want last, best, average or ema", name);
}

th_status weights_use(run *r, const char *name, th_error *error) {
  char path[PATH_TEXT];
  th_error inner = {0};
  th_status status = weights_check(name, error);
  if (status) return status;
  status = th_params_load(r->model->params, run_path(r, path, file_of(name)), &inner);
  return status ? th_error_set(error, status, "--use %s: %s", name, inner.text) : TH_OK;
}
