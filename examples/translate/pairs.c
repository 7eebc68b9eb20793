/* Pairs of lines: a UTF-8 file of source<TAB>target. A pair is in training or held out by the hash of its
 * source, or by the file it stands in, so that no source is in both, whatever the order of the lines. */
#include "data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_SEED 20170612 /* any fixed number: the split must not change with the run's seed */

typedef struct line {
  const char *source, *target;
  size_t source_bytes, target_bytes;
  uint64_t hash; /* of the source */
  bool held_out, left_out;
} line;

typedef struct file {
  const char *path;
  char *bytes;
  size_t size;
  line *lines;
  int64_t count;
  bool whole; /* no line may be left out for its length */
} file;

/* ---- reading ---------------------------------------------------------------------------------------- */

static th_status split_line(const file *f, line *l, int64_t number, const char *begin, const char *end,
                            th_error *error) {
  if (end > begin && end[-1] == '\r') end--;
  const char *tab = memchr(begin, '\t', (size_t)(end - begin));
  size_t valid = th_utf8_valid(begin, (size_t)(end - begin));
  const char *wrong = NULL;
  if (valid < (size_t)(end - begin))
    return th_error_set(error, TH_EFORMAT, "%s:%lld: not valid UTF-8 at byte %zu", f->path, (long long)number,
                        valid + 1);
  if (memchr(begin, 0, (size_t)(end - begin))) wrong = "a zero byte in the text";
  else if (!tab) wrong = "no tab: want source<TAB>target";
  else if (memchr(tab + 1, '\t', (size_t)(end - tab - 1)))
    wrong = "more than one tab: want source<TAB>target";
  else if (tab == begin) wrong = "nothing before the tab: want source<TAB>target";
  else if (tab + 1 == end) wrong = "nothing after the tab: want source<TAB>target";
  if (wrong) return th_error_set(error, TH_EFORMAT, "%s:%lld: %s", f->path, (long long)number, wrong);
  *l = (line){.source = begin,
              .source_bytes = (size_t)(tab - begin),
              .target = tab + 1,
              .target_bytes = (size_t)(end - tab - 1)};
  return TH_OK;
}

static th_status read_lines(file *f, th_error *error) {
  size_t lines = 0;
  th_status status = th_file_read(f->path, &f->bytes, &f->size, error);
  if (status) return status;
  const char *at = f->bytes, *end = f->bytes + f->size;
  if (f->size >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3; /* a byte-order mark says nothing here */
  if (at == end)
    return th_error_set(error, TH_EFORMAT, "%s: empty: want lines of source<TAB>target", f->path);
  for (const char *c = at; c < end; c++) lines += *c == '\n';
  f->lines = calloc(lines + 1, sizeof *f->lines);
  if (!f->lines) return th_error_set(error, TH_ENOMEM, "%s: no memory for %zu lines", f->path, lines);
  while (at < end && !status) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    status = split_line(f, &f->lines[f->count], f->count + 1, at, stop ? stop : end, error);
    f->count++;
    at = stop ? stop + 1 : end;
  }
  return status;
}

/* ---- training or held out --------------------------------------------------------------------------- */

/* Two spellings of the same tokens (normal forms, white space between words) must fall on one side, so what
 * is hashed is the text that the tokens give back. */
static th_status hash_source(line *l, const th_vocabulary *sources, th_error *error) {
  int32_t *ids;
  size_t count;
  char *text = NULL;
  th_status status = th_vocabulary_encode(sources, l->source, l->source_bytes, &ids, &count, error);
  if (!status) status = th_vocabulary_decode(sources, ids, count, &text, error);
  if (!status) {
    l->hash = strlen(text);
    for (const char *c = text; *c; c++)
      l->hash = th_random_u64((th_random){HASH_SEED, l->hash}, (unsigned char)*c);
  }
  free(ids);
  free(text);
  return status;
}

/* The sources of `count` files, each with its hash. */
static th_status hash_sources(file *const *files, int count, th_unit unit, th_error *error) {
  th_vocabulary *sources;
  th_status status = th_vocabulary_new(&sources, unit == TH_UNIT_BPE ? TH_UNIT_WORD : unit, error);
  for (int n = 0; n < count; n++)
    for (int64_t i = 0; i < files[n]->count && !status; i++)
      status = th_vocabulary_add(sources, files[n]->lines[i].source, files[n]->lines[i].source_bytes, error);
  if (!status) status = th_vocabulary_finish(sources, 1, error);
  for (int n = 0; n < count; n++)
    for (int64_t i = 0; i < files[n]->count && !status; i++)
      status = hash_source(&files[n]->lines[i], sources, error);
  th_vocabulary_free(sources);
  return status;
}

static void hold_out_part(file *f, double part) {
  for (int64_t i = 0; i < f->count; i++)
    f->lines[i].held_out = th_random_uniform((th_random){HASH_SEED, f->lines[i].hash}, 0) < part;
}

static int by_hash(const void *a, const void *b) {
  uint64_t x = ((const line *)a)->hash, y = ((const line *)b)->hash;
  return (x > y) - (x < y);
}

/* Every line of `valid`; those of `f` with the same sources are left out. Returns how many. */
static int64_t hold_out_file(file *f, file *valid, th_error *error) {
  int64_t repeated = 0;
  line *sorted = calloc((size_t)valid->count, sizeof *sorted);
  if (!sorted) {
    th_error_set(error, TH_ENOMEM, "%s: no memory for its hashes", valid->path);
    return -1;
  }
  memcpy(sorted, valid->lines, (size_t)valid->count * sizeof *sorted);
  qsort(sorted, (size_t)valid->count, sizeof *sorted, by_hash);
  for (int64_t i = 0; i < f->count; i++) {
    line *l = &f->lines[i];
    l->left_out = bsearch(l, sorted, (size_t)valid->count, sizeof *sorted, by_hash) != NULL;
    repeated += l->left_out;
  }
  for (int64_t i = 0; i < valid->count; i++) valid->lines[i].held_out = true;
  free(sorted);
  return repeated;
}

/* ---- vocabularies ------------------------------------------------------------------------------------- */

static th_unit unit_of(const char *name) {
  return !strcmp(name, "word") ? TH_UNIT_WORD : !strcmp(name, "bpe") ? TH_UNIT_BPE : TH_UNIT_CHARACTER;
}

/* From the sources, the targets, or both, of what is trained on. */
static th_status collect(const file *f, const settings *s, th_unit unit, bool sources, bool targets,
                         th_vocabulary **made, th_error *error) {
  th_status status = th_vocabulary_new(made, unit, error);
  if (!status && unit == TH_UNIT_BPE) status = th_vocabulary_set_merges(*made, s->merges, error);
  for (int64_t i = 0; i < f->count && !status; i++) {
    const line *l = &f->lines[i];
    if (l->held_out || l->left_out) continue;
    if (sources) status = th_vocabulary_add(*made, l->source, l->source_bytes, error);
    if (targets && !status) status = th_vocabulary_add(*made, l->target, l->target_bytes, error);
  }
  return status ? status : th_vocabulary_finish(*made, s->min_count, error);
}

static th_status collect_all(data *d, const file *f, th_error *error) {
  const settings *s = d->settings;
  th_unit source = unit_of(s->source_unit), target = unit_of(s->target_unit);
  bool joint = !strcmp(s->vocabulary, "joint");
  if (joint && source != target)
    return th_error_set(error, TH_EINVAL,
                        "--vocabulary joint: --source-unit %s and --target-unit %s are not the same",
                        s->source_unit, s->target_unit);
  th_status status = collect(f, s, source, true, joint, &d->source, error);
  if (joint) d->target = d->source;
  else if (!status) status = collect(f, s, target, false, true, &d->target, error);
  return status;
}

/* ---- tokens ------------------------------------------------------------------------------------------- */

/* One side of a line as ids; `what` names the side. The ids are kept in `e`, to be freed by free_examples. */
static th_status encode(const file *f, int64_t number, const char *what, const th_vocabulary *v,
                        const char *text, size_t bytes, const int32_t **ids, int64_t *length,
                        th_error *error) {
  int32_t *made;
  size_t count;
  th_error inner;
  th_status status = th_vocabulary_encode(v, text, bytes, &made, &count, &inner);
  if (status) return th_error_set(error, status, "%s:%lld: %s", f->path, (long long)number, inner.text);
  *ids = made;
  *length = (int64_t)count;
  if (!count)
    return th_error_set(error, TH_EFORMAT, "%s:%lld: the %s has no token", f->path, (long long)number, what);
  return TH_OK;
}

static th_status too_long(const file *f, int64_t number, const example *e, int64_t max_length,
                          th_error *error) {
  bool source = e->source_length > max_length;
  return th_error_set(error, TH_EFORMAT,
                      "%s:%lld: the %s has %lld tokens, the model takes %lld (--max-length)", f->path,
                      (long long)number, source ? "source" : "target",
                      (long long)(source ? e->source_length : e->target_length), (long long)max_length);
}

/* Adds the file's pairs to those of d; at most so many held out. */
static th_status encode_all(data *d, const file *f, int64_t max_length, int64_t held_out_most,
                            th_error *error) {
  th_status status = TH_OK;
  example *train = reallocarray(d->train, (size_t)(d->train_count + f->count) + 1, sizeof *train);
  if (train) d->train = train;
  example *held_out = reallocarray(d->held_out, (size_t)(d->held_out_count + f->count) + 1, sizeof *held_out);
  if (held_out) d->held_out = held_out;
  if (!train || !held_out)
    return th_error_set(error, TH_ENOMEM, "%s: no memory for %lld pairs", f->path, (long long)f->count);
  for (int64_t i = 0; i < f->count && !status; i++) {
    const line *l = &f->lines[i];
    if (l->left_out || (l->held_out && d->held_out_count == held_out_most)) continue;
    int64_t *count = l->held_out ? &d->held_out_count : &d->train_count;
    example *e = (l->held_out ? held_out : train) + (*count)++;
    *e = (example){0};
    status = encode(f, i + 1, "source", d->source, l->source, l->source_bytes, &e->source, &e->source_length,
                    error);
    if (!status)
      status = encode(f, i + 1, "target", d->target, l->target, l->target_bytes, &e->target,
                      &e->target_length, error);
    int64_t longest = e->source_length > e->target_length ? e->source_length : e->target_length;
    if (!status && max_length && longest > max_length) {
      if (f->whole) status = too_long(f, i + 1, e, max_length, error);
      else free_example(e), (*count)--, d->too_long++;
    } else if (longest > d->longest) d->longest = longest;
  }
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static th_status too_few(const data *d, const file *f, th_error *error) {
  char long_ones[64] = "";
  if (d->too_long) snprintf(long_ones, sizeof long_ones, ", %lld too long", (long long)d->too_long);
  return th_error_set(
      error, TH_EFORMAT, "%s: %lld pairs are too few: %lld to train on, %lld held out%s; want some of both",
      f->path, (long long)f->count, (long long)d->train_count, (long long)d->held_out_count, long_ones);
}

/* Says of each line whether it is trained on, held out, or left out. `valid` without a path: no file. */
static th_status split(data *d, file *f, file *valid, th_error *error) {
  const settings *s = d->settings;
  th_status status = read_lines(f, error);
  if (!status && valid->path) status = read_lines(valid, error);
  if (!status)
    status = hash_sources((file *[]){f, valid}, valid->path ? 2 : 1, unit_of(s->source_unit), error);
  if (status) return status;
  if (!valid->path) hold_out_part(f, s->held_out_part);
  else if ((d->repeated = hold_out_file(f, valid, error)) < 0) status = TH_ENOMEM;
  return status;
}

th_status data_pairs(data *d, settings *s, const char *path, const char *valid_path, th_vocabulary *source,
                     th_vocabulary *target, th_error *error) {
  file f = {.path = path}, valid = {.path = valid_path && *valid_path ? valid_path : NULL, .whole = true};
  *d = (data){.settings = s, .source = source, .target = target, .epoch = -1};
  th_status status = split(d, &f, &valid, error);
  if (!status && !source) status = collect_all(d, &f, error);
  if (!status) status = encode_all(d, &f, s->max_length, s->held_out, error);
  if (!status && valid.path) status = encode_all(d, &valid, s->max_length, valid.count, error);
  if (!status && (!d->train_count || !d->held_out_count)) status = too_few(d, &f, error);
  if (!status) status = data_make_order(d, error);
  if (!status && !s->max_length) s->max_length = d->longest;
  d->text = f.bytes;
  d->text_size = f.size;
  d->valid_text = valid.bytes;
  d->valid_size = valid.size;
  free(f.lines);
  free(valid.lines);
  if (status) data_free(d);
  return status;
}

th_status data_replace(data *d, const char *path, int64_t max_length, th_error *error) {
  file f = {.path = path, .whole = true};
  data all = {.source = d->source, .target = d->target};
  th_status status = read_lines(&f, error);
  for (int64_t i = 0; i < f.count; i++) f.lines[i].held_out = true;
  if (!status) status = encode_all(&all, &f, max_length, f.count, error);
  free(f.bytes);
  free(f.lines);
  free_examples(all.train, 0);
  if (status) {
    free_examples(all.held_out, all.held_out_count);
    return status;
  }
  if (d->ids) {
    free(d->held_out);
    free(d->ids);
    d->ids = NULL; /* from here on the examples own their ids, as pairs do */
  } else free_examples(d->held_out, d->held_out_count);
  d->held_out = all.held_out;
  d->held_out_count = all.held_out_count;
  if (all.longest > d->longest) d->longest = all.longest;
  return TH_OK;
}
