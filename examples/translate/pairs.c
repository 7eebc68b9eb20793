/* Pairs of lines: a UTF-8 file of source<TAB>target. A pair is in training or held out by the hash of its
 * source, so that no source is in both, whatever the order of the lines. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

#define HASH_SEED 20170612 /* any fixed number: the split must not change with the run's seed */
#define ORDER_STREAM (1ull << 61)

typedef struct line {
  const char *source, *target;
  size_t source_bytes, target_bytes;
  bool held_out;
} line;

typedef struct file {
  const char *path;
  char *bytes;
  size_t size;
  line *lines;
  int64_t count;
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

static bool is_held_out(const char *source, double part) {
  size_t bytes = strlen(source);
  uint64_t hash = bytes;
  for (size_t i = 0; i < bytes; i++)
    hash = th_random_u64((th_random){HASH_SEED, hash}, (unsigned char)source[i]);
  return th_random_uniform((th_random){HASH_SEED, hash}, 0) < part;
}

/* Two spellings of the same tokens (normal forms, white space between words) must fall on one side, so what
 * is hashed is the text that the tokens give back. */
static th_status split_source(line *l, const th_vocabulary *sources, double part, th_error *error) {
  int32_t *ids;
  size_t count;
  char *text = NULL;
  th_status status = th_vocabulary_encode(sources, l->source, l->source_bytes, &ids, &count, error);
  if (!status) status = th_vocabulary_decode(sources, ids, count, &text, error);
  if (!status) l->held_out = is_held_out(text, part);
  free(ids);
  free(text);
  return status;
}

static th_status split_lines(file *f, th_unit unit, double part, th_error *error) {
  th_vocabulary *sources;
  th_status status = th_vocabulary_new(&sources, unit, error);
  for (int64_t i = 0; i < f->count && !status; i++)
    status = th_vocabulary_add(sources, f->lines[i].source, f->lines[i].source_bytes, error);
  if (!status) status = th_vocabulary_finish(sources, 1, error);
  for (int64_t i = 0; i < f->count && !status; i++) status = split_source(&f->lines[i], sources, part, error);
  th_vocabulary_free(sources);
  return status;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

static th_status collect(const file *f, th_unit unit, bool target, th_vocabulary **made, th_error *error) {
  th_status status = th_vocabulary_new(made, unit, error);
  for (int64_t i = 0; i < f->count && !status; i++) {
    const line *l = &f->lines[i];
    if (l->held_out) continue;
    status = th_vocabulary_add(*made, target ? l->target : l->source,
                               target ? l->target_bytes : l->source_bytes, error);
  }
  return status ? status : th_vocabulary_finish(*made, 1, error);
}

/* One side of a line as ids; `what` names the side. The ids are kept in `e`, to be freed by free_examples. */
static th_status encode(const file *f, int64_t number, const char *what, const th_vocabulary *v,
                        const char *text, size_t bytes, int64_t max_length, const int32_t **ids,
                        int64_t *length, th_error *error) {
  int32_t *made;
  size_t count;
  th_error inner;
  th_status status = th_vocabulary_encode(v, text, bytes, &made, &count, &inner);
  if (status) return th_error_set(error, status, "%s:%lld: %s", f->path, (long long)number, inner.text);
  *ids = made;
  *length = (int64_t)count;
  if (max_length && (int64_t)count > max_length)
    return th_error_set(error, TH_EFORMAT,
                        "%s:%lld: the %s has %zu tokens, the model takes %lld (--max-length)", f->path,
                        (long long)number, what, count, (long long)max_length);
  if (!count)
    return th_error_set(error, TH_EFORMAT, "%s:%lld: the %s has no token", f->path, (long long)number, what);
  return TH_OK;
}

static th_status encode_all(data *d, const file *f, int64_t max_length, int64_t held_out_most,
                            th_error *error) {
  th_status status = TH_OK;
  d->train = calloc((size_t)f->count + 1, sizeof *d->train);
  d->held_out = calloc((size_t)f->count + 1, sizeof *d->held_out);
  if (!d->train || !d->held_out)
    return th_error_set(error, TH_ENOMEM, "%s: no memory for %lld pairs", f->path, (long long)f->count);
  for (int64_t i = 0; i < f->count && !status; i++) {
    const line *l = &f->lines[i];
    if (l->held_out && d->held_out_count == held_out_most) continue;
    example *e = l->held_out ? &d->held_out[d->held_out_count++] : &d->train[d->train_count++];
    status = encode(f, i + 1, "source", d->source, l->source, l->source_bytes, max_length, &e->source,
                    &e->source_length, error);
    if (!status)
      status = encode(f, i + 1, "target", d->target, l->target, l->target_bytes, max_length, &e->target,
                      &e->target_length, error);
    if (e->source_length > d->longest) d->longest = e->source_length;
    if (e->target_length > d->longest) d->longest = e->target_length;
  }
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static th_unit unit_of(const char *name) { return !strcmp(name, "word") ? TH_UNIT_WORD : TH_UNIT_CHARACTER; }

th_status data_pairs(data *d, settings *s, const char *path, th_vocabulary *source, th_vocabulary *target,
                     th_error *error) {
  file f = {.path = path};
  th_unit source_unit = unit_of(s->source_unit), target_unit = unit_of(s->target_unit);
  *d = (data){.settings = s, .source = source, .target = target, .epoch = -1};
  th_status status = read_lines(&f, error);
  if (!status) status = split_lines(&f, source_unit, s->held_out_part, error);
  if (!status && !source) status = collect(&f, source_unit, false, &d->source, error);
  if (!status && !target) status = collect(&f, target_unit, true, &d->target, error);
  if (!status) status = encode_all(d, &f, s->max_length, s->held_out, error);
  if (!status && (!d->train_count || !d->held_out_count))
    status = th_error_set(error, TH_EFORMAT, "%s: %lld pairs are too few: %lld to train on, %lld held out",
                          path, (long long)f.count, (long long)d->train_count, (long long)d->held_out_count);
  if (!status) {
    d->order = calloc(2 * (size_t)d->train_count, sizeof *d->order);
    d->picked = calloc((size_t)s->batch, sizeof *d->picked);
    if (!d->order || !d->picked)
      status = th_error_set(error, TH_ENOMEM, "%s: no memory for the order of the pairs", path);
  }
  if (!status && !s->max_length) s->max_length = d->longest;
  d->text = f.bytes;
  d->text_size = f.size;
  free(f.lines);
  if (status) data_free(d);
  return status;
}

th_status data_replace(data *d, const char *path, int64_t max_length, th_error *error) {
  file f = {.path = path};
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

/* ---- batches ---------------------------------------------------------------------------------------------- */

#define POOL_BATCHES 32 /* so many batches' worth of pairs are sorted by length together, to save padding */

static void shuffle(int32_t *items, int64_t count, th_random random, uint64_t position) { /* Fisher & Yates */
  for (int64_t i = count - 1; i > 0; i--) {
    int64_t j = th_random_below(random, position++, i + 1);
    int32_t kept = items[i];
    items[i] = items[j];
    items[j] = kept;
  }
}

/* By length; those of one length stay as they were shuffled. */
static int by_length(const void *a, const void *b, void *context) {
  const data *d = context;
  int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
  const example *x = &d->train[i], *y = &d->train[j];
  const int32_t *place = d->order + d->train_count;
  int64_t longer = x->source_length + x->target_length - y->source_length - y->target_length;
  return longer ? (longer > 0) - (longer < 0) : (place[i] > place[j]) - (place[i] < place[j]);
}

/* The epoch's pairs in d->order and, behind them, the order of its batches (while sorting, each pair's place):
 * from the seed and the epoch alone. What makes no whole batch is left over by chance, not by its length. */
static void begin_epoch(data *d, int64_t epoch, int64_t batches, int64_t size) {
  th_random random = {(uint64_t)d->settings->seed, ORDER_STREAM + (uint64_t)epoch};
  int64_t n = d->train_count, used = batches * size, pool = POOL_BATCHES * size;
  int32_t *place = d->order + n, *batch_order = place;
  for (int64_t i = 0; i < n; i++) d->order[i] = (int32_t)i;
  shuffle(d->order, n, random, 0);
  for (int64_t i = 0; i < n; i++) place[d->order[i]] = (int32_t)i;
  for (int64_t i = 0; i < used; i += pool)
    qsort_r(d->order + i, (size_t)(used - i < pool ? used - i : pool), sizeof *d->order, by_length, d);
  for (int64_t i = 0; i < batches; i++) batch_order[i] = (int32_t)i;
  shuffle(batch_order, batches, random, (uint64_t)n);
  d->epoch = epoch;
}

int64_t pairs_pick(data *d, int64_t step) {
  int64_t n = d->train_count, size = d->settings->batch < n ? d->settings->batch : n;
  int64_t batches = n / size,
          epoch = (step - 1) / batches; /* what is left over has its turn in another epoch */
  if (epoch != d->epoch) begin_epoch(d, epoch, batches, size);
  const int32_t *first = d->order + d->order[n + (step - 1) % batches] * size;
  for (int64_t i = 0; i < size; i++) d->picked[i] = d->train[first[i]];
  return size;
}
