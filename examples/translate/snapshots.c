/* The weights at chosen steps of training, so that one can see afterwards what happened when. */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "snapshots"

typedef struct snapshot_name {
  char text[64];
} snapshot_name;

static const char *name_of(snapshot_name *name, int64_t step) {
  snprintf(name->text, sizeof name->text, FOLDER "/step-%08lld.safetensors", (long long)step);
  return name->text;
}

/* The step whose snapshot has this name in the folder; -1: it is none. */
static int64_t step_of(const char *file) {
  long long step;
  snapshot_name name = {0};
  if (sscanf(file, "step-%18lld.safetensors", &step) != 1 || step < 0) return -1;
  return strcmp(name_of(&name, step) + sizeof FOLDER, file) ? -1 : step;
}

static int by_step(const void *a, const void *b) {
  int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
  return (i > j) - (i < j);
}

th_status snapshots_list(const run *r, int64_t **steps, int64_t *count, th_error *error) {
  char path[PATH_TEXT];
  *steps = NULL, *count = 0;
  DIR *folder = opendir(run_path(r, path, FOLDER));
  if (!folder && errno == ENOENT) return TH_OK;
  if (!folder) return th_error_set(error, TH_EIO, "%s: cannot read: %s", path, strerror(errno));
  th_status status = TH_OK;
  for (const struct dirent *entry; !status && (entry = readdir(folder)) != NULL;) {
    int64_t step = step_of(entry->d_name), *more;
    if (step < 0) continue;
    if (!(more = reallocarray(*steps, (size_t)*count + 1, sizeof **steps)))
      status = th_error_set(error, TH_ENOMEM, "%s: no memory for its list", path);
    else *steps = more, more[(*count)++] = step;
  }
  closedir(folder);
  if (*count) qsort(*steps, (size_t)*count, sizeof **steps, by_step);
  if (status) free(*steps), *steps = NULL, *count = 0;
  return status;
}

static th_status take(const run *r, th_error *error) {
  char path[PATH_TEXT];
  snapshot_name name = {0};
  th_status status = th_directory_make(run_path(r, path, FOLDER), error);
  return status ? status : run_save_as(r, name_of(&name, r->step), error);
}

static bool is_due(const run *r) {
  int64_t every = r->settings.snapshot_every;
  return every && r->step % every == 0;
}

th_status snapshot_take(const run *r, th_error *error) { return is_due(r) ? take(r, error) : TH_OK; }

th_status snapshots_begin(const run *r, th_error *error) {
  int64_t *steps, count;
  char path[PATH_TEXT];
  snapshot_name name = {0};
  th_status status = snapshots_list(r, &steps, &count, error);
  bool there = false;
  for (int64_t i = 0; i < count && !status; i++) {
    there |= steps[i] == r->step;
    if (steps[i] > r->step && unlink(run_path(r, path, name_of(&name, steps[i]))) && errno != ENOENT)
      status = th_error_set(error, TH_EIO, "%s: cannot remove: %s", path, strerror(errno));
  }
  free(steps);
  return status || there || !is_due(r) ? status : take(r, error);
}

th_status snapshot_use(run *r, int64_t step, th_error *error) {
  char path[PATH_TEXT];
  snapshot_name name = {0};
  return th_params_load(r->model->params, run_path(r, path, name_of(&name, step)), error);
}
