/* What is saved of a run, and read back. A part is a vector over all parameters: weights, a moment, an average. */
#include "share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE "optimizer.safetensors"

typedef struct part {
  char prefix[24]; /* before each parameter's name */
  th_tensor vector;
} part;

/* ---- files of parts ------------------------------------------------------------------------------------- */

typedef struct part_name {
  char text[TH_NAME_MAX + sizeof(((part *)NULL)->prefix)];
} part_name;

static const char *name_of(part_name *name, const part *p, const th_param *param) {
  snprintf(name->text, sizeof name->text, "%s%s", p->prefix, param->name);
  return name->text;
}

/* Parameter by parameter, each with all its parts. */
static th_status save_parts(const run *r, const char *file, const part *parts, size_t kinds,
                            const th_text_pair *metadata, size_t metadata_count, th_error *error) {
  char path[PATH_TEXT];
  const th_params *set = r->model->params;
  size_t count = (size_t)th_params_count(set) * kinds;
  th_tensor *tensors = calloc(count, sizeof *tensors);
  part_name *names = calloc(count, sizeof *names);
  th_named_tensor *list = calloc(count, sizeof *list);
  bool room = tensors && names && list;
  run_path(r, path, file);
  for (size_t i = 0; i < count && room; i++) {
    const th_param *param = th_params_at(set, (int)(i / kinds));
    tensors[i] = th_params_part(set, param, &parts[i % kinds].vector);
    list[i] = (th_named_tensor){name_of(&names[i], &parts[i % kinds], param), &tensors[i]};
  }
  th_status status = room ? th_safetensors_save(path, list, count, metadata, metadata_count, error)
                          : th_error_set(error, TH_ENOMEM, "%s: no memory to save", path);
  free(tensors);
  free(names);
  free(list);
  return status;
}

static th_status load_part(const run *r, const th_safetensors *archive, const char *path, const part *p,
                           th_error *error) {
  const th_params *set = r->model->params;
  th_status status = TH_OK;
  for (int i = 0; i < th_params_count(set) && !status; i++) {
    part_name name = {0};
    th_tensor to = th_params_part(set, th_params_at(set, i), &p->vector);
    status = th_safetensors_read(archive, path, name_of(&name, p, th_params_at(set, i)), &to, error);
  }
  return status;
}

/* ---- the whole state ---------------------------------------------------------------------------------------- */

/* Numbers of the run that stand in the file's metadata. A file from before there was one keeps its first value. */
static const struct {
  const char *key;
  bool whole;
  size_t offset;
} numbers[] = {{"step", true, offsetof(run, step)},
               {"report.loss", false, offsetof(run, history.loss)},
               {"report.gradient_norm", false, offsetof(run, history.norm)},
               {"report.updates", true, offsetof(run, history.updates)},
               {"best.loss", false, offsetof(run, history.best_loss)},
               {"best.step", true, offsetof(run, history.best_step)},
               {"best.worse_since", true, offsetof(run, history.worse)},
               {"average.taken", true, offsetof(run, average.taken)}};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

#define PARTS_MAX (4 + AVERAGE_MAX)

static size_t parts_of(const run *r, const th_tensor moment[2], part parts[PARTS_MAX]) {
  size_t count = 0;
  parts[count++] = (part){"", th_params_values(r->model->params)};
  parts[count++] = (part){"adam.moment1.", moment[0]};
  parts[count++] = (part){"adam.moment2.", moment[1]};
  if (r->ema.values.data) parts[count++] = (part){"ema.", r->ema.values};
  const th_tensor *ring = &r->average.ring;
  for (int64_t k = 0; ring->data && k < th_average_count(&r->average); k++) {
    part *p = &parts[count++];
    th_tensor row;
    snprintf(p->prefix, sizeof p->prefix, "average.%d.", (int)k);
    th_view_slice(&row, ring, 0, k, k + 1);
    th_view_reshape(&p->vector, &row, 1, &ring->shape[1]);
  }
  return count;
}

static th_status save_state(const run *r, const th_tensor moment[2], th_error *error) {
  part parts[PARTS_MAX];
  char text[NUMBERS][32];
  th_text_pair metadata[1 + NUMBERS] = {{"format", "tapehead training state"}};
  for (int i = 0; i < NUMBERS; i++) {
    const void *at = (const char *)r + numbers[i].offset;
    if (numbers[i].whole) snprintf(text[i], sizeof *text, "%lld", (long long)*(const int64_t *)at);
    else
      snprintf(text[i], sizeof *text, "%.17g",
               *(const double *)at); /* so many digits give the same bits back */
    metadata[1 + i] = (th_text_pair){numbers[i].key, text[i]};
  }
  return save_parts(r, STATE, parts, parts_of(r, moment, parts), metadata, 1 + NUMBERS, error);
}

static bool read_number(run *r, int i, const char *text) {
  void *at = (char *)r + numbers[i].offset;
  char *end;
  errno = 0;
  if (numbers[i].whole) *(int64_t *)at = strtoll(text, &end, 10);
  else *(double *)at = strtod(text, &end);
  return end != text && !*end && !errno && (!numbers[i].whole || *(const int64_t *)at >= 0);
}

static th_status read_numbers(run *r, const th_safetensors *archive, const char *path, th_error *error) {
  for (int i = 0; i < NUMBERS; i++) {
    const char *text = th_safetensors_metadata(archive, numbers[i].key);
    if ((!text && i == 0) || (text && !read_number(r, i, text)))
      return th_error_set(error, TH_EFORMAT, "%s: the metadata have no %s", path, numbers[i].key);
  }
  r->adam.step = r->ema.updates = r->step;
  return TH_OK;
}

th_status run_load_state(run *r, th_error *error) {
  char path[PATH_TEXT];
  part parts[PARTS_MAX];
  const th_tensor moment[2] = {r->adam.moment1, r->adam.moment2};
  th_safetensors *archive;
  th_status status = th_safetensors_load(&archive, run_path(r, path, STATE), error);
  if (status) return status;
  status = read_numbers(r, archive, path, error);
  for (size_t k = 0, count = parts_of(r, moment, parts); k < count && !status; k++)
    status = load_part(r, archive, path, &parts[k], error);
  th_safetensors_free(archive);
  return status;
}

/* ---- weights ---------------------------------------------------------------------------------------------- */

static const struct {
  const char *name, *file, *flag; /* the flag that makes a run keep them */
} kept[RUN_WEIGHTS] = {{"last", "model.safetensors", NULL},
                       {"best", "best.safetensors", "--validate-every"},
                       {"average", "average.safetensors", "--average"},
                       {"ema", "ema.safetensors", "--ema"}};

static th_status save_vector(const run *r, const char *file, const th_tensor *vector, th_error *error) {
  part weights = {"", *vector};
  char step[24];
  snprintf(step, sizeof step, "%lld", (long long)r->step);
  th_text_pair metadata[] = {{"format", "tapehead model"}, {"step", step}};
  return save_parts(r, file, &weights, 1, metadata, 2, error);
}

static th_status save_weights(const run *r, run_weights which, const th_tensor *vector, th_error *error) {
  return save_vector(r, kept[which].file, vector, error);
}

th_status run_save_as(const run *r, const char *file, th_error *error) {
  th_tensor values = th_params_values(r->model->params);
  return save_vector(r, file, &values, error);
}

static th_status save_average(const run *r, th_error *error) {
  th_tensor mean;
  th_status status = th_tensor_new(&mean, r->average.ring.dtype, 1, &r->average.ring.shape[1], error);
  if (status) return status;
  th_average_mean(&r->average, &mean);
  status = save_weights(r, RUN_AVERAGE, &mean, error);
  th_tensor_free(&mean);
  return status;
}

th_status run_save_weights(run *r, th_error *error) {
  th_tensor values = th_params_values(r->model->params);
  th_status status = save_weights(r, RUN_LAST, &values, error);
  if (!status && r->step && r->history.best_step == r->step)
    status = save_weights(r, RUN_BEST, &values, error);
  if (!status && r->average.ring.data && r->average.taken) status = save_average(r, error);
  if (!status && r->ema.values.data) status = save_weights(r, RUN_EMA, &r->ema.values, error);
  return status;
}

th_status run_save(run *r, th_error *error) {
  th_tensor moment[2];
  th_status status = share_moments(r, moment, error);
  if (status) return status;
  if (share_leads(r)) status = save_state(r, moment, error);
  if (share_leads(r) && !status) status = run_save_weights(r, error);
  share_moments_free(r, moment);
  return share_history(r, status, error);
}

const char *run_weights_name(run_weights which) { return kept[which].name; }

th_status run_weights_parse(const char *name, run_weights *which, th_error *error) {
  for (int i = 0; i < RUN_WEIGHTS; i++) {
    if (strcmp(name, kept[i].name) != 0) continue;
    *which = (run_weights)i;
    return TH_OK;
  }
  return th_error_set(error, TH_EINVAL, "--use %s: want last, best, average or ema", name);
}

th_status run_use(run *r, run_weights which, th_error *error) {
  char path[PATH_TEXT];
  const settings *s = &r->settings;
  const bool asked[RUN_WEIGHTS] = {true, s->validate_every > 0, s->average > 0, s->ema > 0};
  run_path(r, path, kept[which].file);
  if (which != RUN_LAST && access(path, F_OK) && errno == ENOENT)
    return asked[which] ? th_error_set(error, TH_EIO,
                                       "%s: there is none: the run has not come so far, or has lost it", path)
                        : th_error_set(error, TH_EIO, "%s: there is none: the run was trained without %s",
                                       path, kept[which].flag);
  return th_params_load(r->model->params, path, error);
}

th_status run_use_step(const run *r, run_weights which, int64_t *step, th_error *error) {
  char path[PATH_TEXT];
  th_safetensors *archive;
  th_status status = th_safetensors_load(&archive, run_path(r, path, kept[which].file), error);
  if (status) return status;
  const char *text = th_safetensors_metadata(archive, "step");
  char *end = NULL;
  *step = text ? strtoll(text, &end, 10) : -1;
  if (*step < 0 || end == text || *end)
    status = th_error_set(error, TH_EFORMAT, "%s: the metadata have no step", path);
  th_safetensors_free(archive);
  return status;
}
