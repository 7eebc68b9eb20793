#include "checksum.h"
#include "head_list.h"
#include "lock.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *run_path(const run *r, char text[PATH_TEXT], const char *name) {
  snprintf(text, PATH_TEXT, "%s/%s", r->directory, name);
  return text;
}

bool run_exists(const char *directory) {
  char path[PATH_TEXT];
  snprintf(path, sizeof path, "%s/config.json", directory);
  return access(path, F_OK) == 0;
}

/* ---- what every run needs ------------------------------------------------------------------------------ */

static th_status make_machine(run *r, th_error *error) {
  r->pool = th_pool_new((int)r->settings.threads);
  r->tape = r->pool ? th_tape_new(r->pool) : NULL;
  return r->tape ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory for threads and tape");
}

th_status run_threads(run *r, int64_t threads, th_error *error) {
  th_tape_free(r->tape);
  th_pool_free(r->pool);
  r->tape = NULL, r->pool = NULL;
  r->settings.threads = threads;
  return make_machine(r, error);
}

static th_status make_model(run *r, th_error *error) {
  th_transformer_config config;
  bool *removed = NULL;
  th_status status = settings_model(&r->settings, r->data.source, r->data.target, &config, error);
  if (!status && r->settings.pruned[0])
    status = head_list_parse("--pruned", r->settings.pruned, &config, &removed, error);
  config.removed = removed;
  if (!status) status = th_transformer_new(&r->model, &config, TH_F32, (uint64_t)r->settings.seed, error);
  free(removed);
  return status;
}

static th_status make_optimizer(run *r, th_error *error) {
  const settings *s = &r->settings;
  th_params *params = r->model->params;
  th_adam_config config = {
      .weight_decay = s->weight_decay, .decoupled = true, .decay_all = !strcmp(s->decay, "all")};
  th_status status = th_adam_new(&r->adam, params, &config, error);
  if (!status && s->ema > 0) status = th_ema_new(&r->ema, params, s->ema, error);
  if (!status && s->average) status = th_average_new(&r->average, params, s->average, error);
  r->history.best_loss = INFINITY;
  return status;
}

static bool is_pairs(const settings *s) { return !strcmp(s->task, "pairs"); }

void run_free(run *r) {
  th_sharing_free(r->sharing);
  th_profile_free(r->profile.all);
  th_tape_free(r->tape);
  th_pool_free(r->pool);
  th_adam_free(&r->adam);
  th_ema_free(&r->ema);
  th_average_free(&r->average);
  th_transformer_free(r->model);
  data_free(&r->data);
}

bool run_ended_early(const run *r) {
  return r->settings.patience && r->history.worse >= r->settings.patience && r->step < r->settings.steps;
}

bool run_ended(const run *r) { return r->step >= r->settings.steps || run_ended_early(r); }

/* ---- a new run ---------------------------------------------------------------------------------------------- */

th_status run_new(run *r, const settings *s, const char *directory, th_error *error) {
  *r = (run){.settings = *s};
  snprintf(r->directory, sizeof r->directory, "%s", directory);
  if (s->valid[0] && !is_pairs(s))
    return th_error_set(error, TH_EINVAL, "--valid %s: a toy task makes its own; want --pairs FILE, too",
                        s->valid);
  th_status status = is_pairs(s) ? data_pairs(&r->data, &r->settings, s->pairs, s->valid, NULL, NULL, error)
                                 : data_toy(&r->data, &r->settings, error);
  if (!status) status = make_model(r, error);
  if (!status) status = make_optimizer(r, error);
  if (!status) status = make_machine(r, error);
  if (status) run_free(r);
  return status;
}

th_status run_anew(run *r, th_transformer *model, const char *directory, th_error *error) {
  th_transformer_free(r->model);
  r->model = model;
  snprintf(r->directory, sizeof r->directory, "%s", directory);
  return make_optimizer(r, error);
}

/* ---- a new directory ---------------------------------------------------------------------------------------------- */

static const char *const start_files[] = {".lock",
                                          "vocab.source.json",
                                          "vocab.target.json",
                                          "pairs.tsv",
                                          "pairs.sum",
                                          "valid.tsv",
                                          "valid.sum",
                                          "config.json",
                                          "model.safetensors",
                                          "ema.safetensors",
                                          "optimizer.safetensors"};

/* A copy of a file of pairs, and its sum. */
static th_status write_pairs(const run *r, const char *name, const char *sum, const char *text, size_t size,
                             th_error *error) {
  char path[PATH_TEXT];
  th_status status = th_file_write(run_path(r, path, name), text, size, error);
  return status ? status : checksum_save(run_path(r, path, sum), name, text, size, error);
}

static th_status write_start(run *r, th_error *error) {
  char path[PATH_TEXT];
  const data *d = &r->data;
  th_status status = th_vocabulary_save(d->source, run_path(r, path, "vocab.source.json"), error);
  if (!status) status = th_vocabulary_save(d->target, run_path(r, path, "vocab.target.json"), error);
  if (!status && d->text) status = write_pairs(r, "pairs.tsv", "pairs.sum", d->text, d->text_size, error);
  if (!status && d->valid_text)
    status = write_pairs(r, "valid.tsv", "valid.sum", d->valid_text, d->valid_size, error);
  if (!status) status = settings_save(&r->settings, run_path(r, path, "config.json"), error);
  return status ? status : run_save(r, error);
}

static void remove_start(const run *r) {
  char path[PATH_TEXT];
  lock_drop();
  for (size_t i = 0; i < sizeof start_files / sizeof *start_files; i++)
    unlink(run_path(r, path, start_files[i]));
  rmdir(r->directory);
}

void directory_sync(const char *path) {
  int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  fsync(directory);
  close(directory);
}

/* The whole new directory found its name taken. */
static th_status cannot_place(const run *r, int problem, th_error *error) {
  if (run_exists(r->directory)) { /* a moment ago it was not there */
    th_status status = lock_check(r->directory, error);
    return status ? status
                  : th_error_set(
                        error, TH_EIO,
                        "%s: another training made a run in it meanwhile: train --out %s goes on with it",
                        r->directory, r->directory);
  }
  if (problem == ENOTEMPTY || problem == EEXIST || problem == ENOTDIR)
    return th_error_set(error, TH_EIO, "%s: exists and holds no run (no config.json): choose another --out",
                        r->directory);
  return th_error_set(error, TH_EIO, "%s: cannot make: %s", r->directory, strerror(problem));
}

th_status run_begin(run *r, th_error *error) {
  run temporary = *r;
  char parent[PATH_TEXT];
  size_t length = directory_trim(temporary.directory);
  snprintf(temporary.directory + length, sizeof temporary.directory - length, UNFINISHED "%d", (int)getpid());
  th_status status = th_directory_make(temporary.directory, error);
  if (status) return status;
  status = lock_take(temporary.directory, error);
  if (!status) status = write_start(&temporary, error);
  if (!status && rename(temporary.directory, r->directory)) status = cannot_place(r, errno, error);
  if (status) {
    remove_start(&temporary);
    return status;
  }
  lock_follow(r->directory);
  directory_sync(run_path(r, parent, ".."));
  return TH_OK;
}

/* ---- a run read back ----------------------------------------------------------------------------------------------- */

static th_status open_pairs(run *r, th_vocabulary *source, th_vocabulary *target, th_error *error) {
  char pairs[PATH_TEXT], valid[PATH_TEXT], sum[PATH_TEXT];
  const data *d = &r->data;
  run_path(r, pairs, "pairs.tsv"), run_path(r, valid, "valid.tsv");
  th_status status =
      data_pairs(&r->data, &r->settings, pairs, r->settings.valid[0] ? valid : NULL, source, target, error);
  if (!status) status = checksum_check(run_path(r, sum, "pairs.sum"), pairs, d->text, d->text_size, error);
  if (!status && d->valid_text)
    status = checksum_check(run_path(r, sum, "valid.sum"), valid, d->valid_text, d->valid_size, error);
  return status;
}

/* Puts the vocabularies, which it then owns, and what belongs to them into r->data. */
static th_status open_data(run *r, th_vocabulary *source, th_vocabulary *target, run_parts parts,
                           th_error *error) {
  char path[PATH_TEXT];
  if (parts == RUN_MODEL) {
    r->data = (data){.source = source, .target = target};
    return TH_OK;
  }
  if (is_pairs(&r->settings)) return open_pairs(r, source, target, error);
  int32_t count = th_vocabulary_count(source);
  th_vocabulary_free(source);
  th_vocabulary_free(target);
  th_status status = data_toy(&r->data, &r->settings, error);
  if (!status && th_vocabulary_count(r->data.source) != count)
    status = th_error_set(error, TH_EFORMAT, "%s: %d tokens, where config.json says %d",
                          run_path(r, path, "vocab.source.json"), count, th_vocabulary_count(r->data.source));
  return status;
}

/* A file of pairs that was named again must still be the one that the run has its copy of. */
static th_status check_again(const char *flag, const char *path, const char *copy, size_t size,
                             th_error *error) {
  char *bytes;
  size_t found;
  th_error inner;
  if (!*path || !copy) return TH_OK;
  if (th_file_read(path, &bytes, &found, &inner))
    return th_error_set(error, TH_EINVAL, "%s: %s: the run has its own copy: leave %s out", flag, inner.text,
                        flag);
  bool same = found == size && !memcmp(bytes, copy, size);
  free(bytes);
  return same
             ? TH_OK
             : th_error_set(error, TH_EINVAL,
                            "%s %s differs from what the run learns from: use another --out, or leave it out",
                            flag, path);
}

static th_status load_vocabularies(const run *r, th_vocabulary **source, th_vocabulary **target,
                                   th_error *error) {
  char path[PATH_TEXT];
  th_status status = th_vocabulary_load(source, run_path(r, path, "vocab.source.json"), error);
  if (status) return status;
  status = th_vocabulary_load(target, run_path(r, path, "vocab.target.json"), error);
  if (status) th_vocabulary_free(*source);
  return status;
}

static th_status open_parts(run *r, const char *directory, const settings *s, const given *g, run_parts parts,
                            th_error *error) {
  char path[PATH_TEXT];
  th_vocabulary *source, *target;
  *r = (run){0};
  if (s) r->settings = *s;
  if (strlen(directory) >= sizeof r->directory)
    return th_error_set(error, TH_EINVAL, "the directory's name is too long");
  strcpy(r->directory, directory);
  th_status status = settings_load(&r->settings, run_path(r, path, "config.json"), g, error);
  if (!status) status = load_vocabularies(r, &source, &target, error);
  if (status) return status;
  th_error inner = {0};
  status = open_data(r, source, target, parts, &inner);
  if (!status) status = make_model(r, &inner);
  if (status == TH_EINVAL) /* nobody typed it: it stands in the file */
    status = th_error_set(error, TH_EFORMAT, "%s: %s", run_path(r, path, "config.json"), inner.text);
  else if (status && error) *error = inner;
  if (!status && s) status = check_again("--pairs", s->pairs, r->data.text, r->data.text_size, error);
  if (!status && s) status = check_again("--valid", s->valid, r->data.valid_text, r->data.valid_size, error);
  if (!status && parts == RUN_TRAIN) status = make_optimizer(r, error);
  if (!status && parts == RUN_TRAIN) status = run_load_state(r, error);
  else if (!status) status = run_use(r, RUN_LAST, error);
  if (!status) status = make_machine(r, error);
  if (status) run_free(r);
  return status;
}

/* What to do about a file that is lost or damaged, by its name in the error. */
static th_status advise(const run *r, th_error *error) {
  const char *state = "optimizer.safetensors", *weights = "model.safetensors", *advice = "put back a copy";
  char path[PATH_TEXT], more[PATH_TEXT + 64];
  th_error found = *error;
  if (!run_exists(r->directory)) {
    snprintf(more, sizeof more, "%s holds no run, or has lost it: put back a copy", r->directory);
    advice = more;
  } else if (strstr(found.text, state))
    advice = "put back a copy; without it training cannot go on exactly, though model.safetensors still "
             "translates";
  else if (strstr(found.text, weights) && !access(run_path(r, path, state), F_OK)) {
    snprintf(more, sizeof more, "train --out %s writes it anew", r->directory);
    advice = more;
  }
  return th_error_set(error, found.status, "%s: %s", found.text, advice);
}

th_status run_open(run *r, const char *directory, const settings *s, const given *g, run_parts parts,
                   th_error *error) {
  th_status status = open_parts(r, directory, s, g, parts, error);
  return status == TH_EIO || status == TH_EFORMAT ? advise(r, error) : status;
}
