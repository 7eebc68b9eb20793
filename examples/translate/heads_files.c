/* What a study's numbers are for other programs: heads.csv, and arrays as NumPy reads them. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "heads.h"

const char *path_in(char path[PATH_TEXT], const char *directory, const char *name) {
  snprintf(path, PATH_TEXT, "%s/%s", directory, name);
  return path;
}

/* ---- tables ---------------------------------------------------------------------------------------------- */

th_status write_table(const char *directory, const char *name, void (*put)(FILE *file, const void *table),
                      const void *table, th_error *error) {
  char path[PATH_TEXT], *text = NULL;
  size_t size = 0;
  FILE *file = open_memstream(&text, &size);
  path_in(path, directory, name);
  if (!file) return th_error_set(error, TH_ENOMEM, "%s: no memory", path);
  put(file, table);
  bool failed = ferror(file);
  failed |= fclose(file) != 0;
  th_status status =
      failed ? th_error_set(error, TH_ENOMEM, "%s: no memory", path) : th_file_write(path, text, size, error);
  free(text);
  return status;
}

/* ---- the table ------------------------------------------------------------------------------------------ */

static void put_number(FILE *file, double value) {
  if (isnan(value)) putc(',', file);
  else fprintf(file, ",%.10g", value);
}

static void put_title(FILE *file) {
  static const char *const ways[] = {"off", "mean", "uniform"};
  fputs("label,kind,layer,head,job,score,offset", file);
  for (int i = 0; i < TH_LOOKS; i++) {
    const char *name = th_look_name((th_look)i);
    fprintf(file, ",%s_mean,%s_deviation,%s_chance", name, name, name);
  }
  for (int i = 0; i < 3; i++)
    fprintf(file, ",%s_loss,%s_token_accuracy,%s_exact_match", ways[i], ways[i], ways[i]);
  fputs(",gradient,importance,attribution,copying\n", file);
}

static void put_head(FILE *file, const head_study *h, int i) {
  const th_head_look *look = &h->looks[i];
  const th_head_worth *w = &h->worth[i];
  const th_outcome *ways[] = {&w->off, &w->mean, &w->uniform};
  const double rest[] = {w->gradient, w->importance, w->attribution, w->copying};
  fprintf(file, "%s,%s,%d,%d,%s", h->label[i], th_attention_kind_name(h->head[i].kind), h->head[i].layer,
          h->head[i].head, th_job_name(h->named[i].job));
  put_number(file, h->named[i].score);
  put_number(file, isnan(look->value[TH_LOOK_OFFSET].mean) ? NAN : (double)look->offset);
  for (int k = 0; k < TH_LOOKS; k++) {
    put_number(file, look->value[k].mean);
    put_number(file, look->value[k].deviation);
    put_number(file, look->chance[k]);
  }
  for (int k = 0; k < 3; k++) {
    put_number(file, ways[k]->loss);
    put_number(file, ways[k]->token_accuracy);
    put_number(file, ways[k]->exact_match);
  }
  for (int k = 0; k < 4; k++) put_number(file, rest[k]);
  putc('\n', file);
}

static void put_heads(FILE *file, const void *study) {
  const head_study *h = study;
  put_title(file);
  for (int i = 0; i < h->count; i++) put_head(file, h, i);
}

th_status write_heads_table(const head_study *h, const char *directory, th_error *error) {
  return write_table(directory, "heads.csv", put_heads, h, error);
}

/* ---- arrays ------------------------------------------------------------------------------------------------ */

static th_status save(const char *directory, const char *name, void *numbers, th_dtype dtype, int ndim,
                      const int64_t *shape, th_error *error) {
  char path[PATH_TEXT];
  th_tensor t = th_tensor_of(numbers, dtype, ndim, shape);
  return th_npy_save(path_in(path, directory, name), &t, error);
}

static th_status save_squares(const head_study *h, const char *directory, th_error *error) {
  const int64_t n = h->count, square[] = {n, n};
  th_status status = save(directory, "distance.npy", h->distance, TH_F64, 2, square, error);
  if (!status) status = save(directory, "query_similarity.npy", h->query, TH_F64, 2, square, error);
  if (!status) status = save(directory, "key_similarity.npy", h->key, TH_F64, 2, square, error);
  return status ? status : save(directory, "query_key_similarity.npy", h->own, TH_F64, 1, square, error);
}

static void put_outcome(double *at, const th_outcome *o) {
  at[0] = o->loss, at[1] = o->token_accuracy, at[2] = o->exact_match;
}

static th_status save_removal(const head_study *h, const char *directory, th_error *error) {
  int64_t n = h->count;
  double *after = calloc((size_t)(ORDERS * (n + 1) * 3), sizeof *after);
  int32_t *order = calloc((size_t)(ORDERS * n), sizeof *order);
  th_status status = after && order ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory for removal.npy");
  for (int i = 0; i < ORDERS && !status; i++) {
    put_outcome(after + i * (n + 1) * 3, &h->whole);
    for (int64_t k = 0; k < n; k++) {
      order[i * n + k] = h->removal[i].order[k];
      put_outcome(after + (i * (n + 1) + k + 1) * 3, &h->removal[i].after[k]);
    }
  }
  if (!status)
    status = save(directory, "removal.npy", after, TH_F64, 3, (int64_t[]){ORDERS, n + 1, 3}, error);
  if (!status) status = save(directory, "removal_order.npy", order, TH_I32, 2, (int64_t[]){ORDERS, n}, error);
  free(after);
  free(order);
  return status;
}

static th_status save_emergence(const head_study *h, const char *directory, th_error *error) {
  int64_t n = h->count, m = h->moments;
  double *looks = calloc((size_t)(m * n * TH_LOOKS), sizeof *looks), outcomes[MOMENTS_MAX * 3];
  int32_t steps[MOMENTS_MAX];
  if (!looks) return th_error_set(error, TH_ENOMEM, "no memory for emergence.npy");
  for (int64_t i = 0; i < m; i++) {
    steps[i] = (int32_t)h->moment[i].step;
    put_outcome(outcomes + 3 * i, &h->moment[i].outcome);
    for (int64_t k = 0; k < n * TH_LOOKS; k++)
      looks[i * n * TH_LOOKS + k] = h->moment[i].looks[k / TH_LOOKS].value[k % TH_LOOKS].mean;
  }
  th_status status = save(directory, "emergence.npy", looks, TH_F64, 3, (int64_t[]){m, n, TH_LOOKS}, error);
  if (!status) status = save(directory, "outcomes.npy", outcomes, TH_F64, 2, (int64_t[]){m, 3}, error);
  if (!status) status = save(directory, "steps.npy", steps, TH_I32, 1, &m, error);
  free(looks);
  return status;
}

/* [sentences,heads,longest,longest], NaN behind a sentence's own rows and columns. */
static th_status save_weights(const head_study *h, const char *directory, th_error *error) {
  int64_t longest = 0;
  th_tensor all;
  for (int i = 0; i < h->sentences; i++) {
    const sentence *s = &h->sentence[i];
    longest = s->source_count > longest ? s->source_count : longest;
    longest = s->target_count > longest ? s->target_count : longest;
  }
  int64_t shape[] = {h->sentences, h->count, longest, longest};
  th_status status = th_tensor_new(&all, TH_F32, 4, shape, error);
  if (status) return status;
  th_fill(&all, NAN);
  for (int64_t i = 0; i < h->sentences * h->count; i++) {
    const th_tensor *from = &h->sentence[i / h->count].weights[i % h->count];
    float *to = (float *)all.data + i * longest * longest;
    for (int64_t row = 0; row < from->shape[0]; row++)
      memcpy(to + row * longest, (const float *)from->data + row * from->shape[1],
             (size_t)from->shape[1] * sizeof *to);
  }
  char path[PATH_TEXT];
  status = th_npy_save(path_in(path, directory, "weights.npy"), &all, error);
  th_tensor_free(&all);
  return status;
}

/* Which tokens the rows and columns of weights.npy are. */
static th_status save_sentences(const head_study *h, const char *directory, th_error *error) {
  char path[PATH_TEXT];
  json_t *list = sentences_json(h, false);
  char *text = th_json_dump(list, JSON_COMPACT);
  path_in(path, directory, "sentences.json");
  th_status status = text ? th_file_write(path, text, strlen(text), error)
                          : th_error_set(error, TH_ENOMEM, "%s: no memory", path);
  free(text);
  json_decref(list);
  return status;
}

th_status write_heads_arrays(const head_study *h, const char *directory, th_error *error) {
  th_status status = save_squares(h, directory, error);
  if (!status) status = save_removal(h, directory, error);
  if (!status) status = save_emergence(h, directory, error);
  if (!status) status = save_weights(h, directory, error);
  return status ? status : save_sentences(h, directory, error);
}
