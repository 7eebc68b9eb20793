#include "remake.h"

#include "lock.h"

#include "tapehead/study.h"

#include <string.h>
#include <sys/stat.h>

th_status remake_check(const char *out, const char *what, th_error *error) {
  if (!out) return th_error_set(error, TH_EINVAL, "--out NEW is missing: where should %s go?", what);
  if (!*out || strlen(out) >= OUT_TEXT)
    return th_error_set(error, TH_EINVAL, "--out: want the name of a directory");
  if (run_exists(out))
    return th_error_set(error, TH_EIO, "%s: holds a run already: choose another --out", out);
  return TH_OK;
}

th_status remake_open(run *r, const char *directory, const char *use, th_error *error) {
  run_weights which = RUN_LAST;
  th_status status = use ? run_weights_parse(use, &which, error) : TH_OK;
  if (!status) status = run_open(r, directory, NULL, NULL, RUN_DATA, error);
  if (status || which == RUN_LAST) return status;
  status = run_use(r, which, error);
  if (status) run_free(r);
  return status;
}

th_status remake(run *r, th_transformer *model, const char *out, th_error *error) {
  th_status status = run_anew(r, model, out, error);
  leftovers_remove(out);
  return status ? status : run_begin(r, error);
}

remake_size remake_size_of(const run *r) {
  char path[PATH_TEXT];
  struct stat file = {0};
  stat(run_path(r, path, "model.safetensors"), &file);
  return (remake_size){th_head_count(r->model), th_params_elements(r->model->params), file.st_size};
}
