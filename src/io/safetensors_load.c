/* Reading safetensors. Nothing the header says is believed before it is checked. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8         /* the header's length, before the header */
#define HEADER_LIMIT 100000000 /* the format's own */
#define METADATA "__metadata__"

typedef struct entry {
  const char *name; /* lives in the header */
  th_tensor tensor; /* data is NULL until the whole header is checked */
  int64_t begin, end;
} entry;

struct th_safetensors {
  json_t *header;
  entry *entries; /* in the file's order */
  size_t count;
  char *file;    /* the file's bytes, where th_safetensors_load read them */
  char *aligned; /* copies of the tensors that lie askew in the file */
};

/* What is being read, for the checks and their errors. */
typedef struct reading {
  const char *path;
  const char *data; /* the bytes after the header */
  int64_t held;     /* how many there are */
  th_error *error;
} reading;

static th_status wrong(const reading *r, const char *tensor, const char *what) {
  char quoted[TH_QUOTED];
  return th_error_set(r->error, TH_EFORMAT, "%s: tensor \"%s\": %s", r->path, th_io_quoted(quoted, tensor),
                      what);
}

static th_status read_dtype(const reading *r, entry *e, const json_t *value) {
  static const struct {
    const char *name;
    th_dtype dtype;
  } known[] = {{"F32", TH_F32}, {"F64", TH_F64}, {"I32", TH_I32}, {"U8", TH_U8}, {"BOOL", TH_U8}};
  const char *name = json_string_value(value);
  char quoted[TH_QUOTED], what[2 * TH_QUOTED];
  if (!name) return wrong(r, e->name, "\"dtype\" is missing or not a string");
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (!strcmp(name, known[i].name)) {
      e->tensor.dtype = known[i].dtype;
      return TH_OK;
    }
  }
  snprintf(what, sizeof what, "type \"%s\" is not one of F32, F64, I32, U8, BOOL",
           th_io_quoted(quoted, name));
  return wrong(r, e->name, what);
}

/* Fills the shape and the number of bytes it takes. */
static th_status read_shape(const reading *r, entry *e, const json_t *value, int64_t *bytes) {
  char what[TH_QUOTED];
  int64_t shape[TH_MAX_DIMS];
  if (!json_is_array(value)) return wrong(r, e->name, "\"shape\" is missing or not an array");
  if (json_array_size(value) > TH_MAX_DIMS) {
    snprintf(what, sizeof what, "%zu dimensions, more than %d", json_array_size(value), TH_MAX_DIMS);
    return wrong(r, e->name, what);
  }
  int ndim = (int)json_array_size(value);
  for (int i = 0; i < ndim; i++) {
    const json_t *size = json_array_get(value, (size_t)i);
    if (!json_is_integer(size)) return wrong(r, e->name, "\"shape\" holds something that is not an integer");
    shape[i] = json_integer_value(size);
    if (shape[i] < 0) {
      snprintf(what, sizeof what, "\"shape\" holds the negative size %lld", (long long)shape[i]);
      return wrong(r, e->name, what);
    }
  }
  if (!th_elements_bytes(bytes, e->tensor.dtype, ndim, shape))
    return wrong(r, e->name, "\"shape\" has more elements than can be counted");
  e->tensor = th_tensor_of(NULL, e->tensor.dtype, ndim, shape);
  return TH_OK;
}

static th_status read_offsets(const reading *r, entry *e, const json_t *value, int64_t bytes) {
  char what[2 * TH_QUOTED + TH_SHAPE_TEXT], shape[TH_SHAPE_TEXT];
  const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
  if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end))
    return wrong(r, e->name, "\"data_offsets\" is missing or not two integers");
  e->begin = json_integer_value(begin);
  e->end = json_integer_value(end);
  if (e->begin < 0 || e->end < e->begin) {
    snprintf(what, sizeof what, "\"data_offsets\" [%lld,%lld] are not a range", (long long)e->begin,
             (long long)e->end);
    return wrong(r, e->name, what);
  }
  if (e->end - e->begin != bytes) {
    snprintf(what, sizeof what, "%s %s takes %lld bytes, \"data_offsets\" [%lld,%lld] give it %lld",
             th_dtype_name(e->tensor.dtype), th_shape_text(shape, &e->tensor), (long long)bytes,
             (long long)e->begin, (long long)e->end, (long long)(e->end - e->begin));
    return wrong(r, e->name, what);
  }
  return TH_OK;
}

static th_status read_entry(const reading *r, entry *e, const char *name, const json_t *info) {
  int64_t bytes = 0;
  e->name = name;
  if (!json_is_object(info)) return wrong(r, name, "not described by an object");
  th_status status = read_dtype(r, e, json_object_get(info, "dtype"));
  if (status == TH_OK) status = read_shape(r, e, json_object_get(info, "shape"), &bytes);
  if (status == TH_OK) status = read_offsets(r, e, json_object_get(info, "data_offsets"), bytes);
  return status;
}

static th_status check_metadata(const reading *r, json_t *metadata) {
  char quoted[TH_QUOTED];
  const char *key;
  json_t *value;
  if (!json_is_object(metadata))
    return th_error_set(r->error, TH_EFORMAT, "%s: \"" METADATA "\" is not an object", r->path);
  json_object_foreach (metadata, key, value)
    if (!json_is_string(value))
      return th_error_set(r->error, TH_EFORMAT, "%s: metadata \"%s\" is not a string", r->path,
                          th_io_quoted(quoted, key));
  return TH_OK;
}

static th_status read_entries(const reading *r, th_safetensors *archive) {
  const char *name;
  json_t *value;
  archive->entries = calloc(json_object_size(archive->header) + 1, sizeof *archive->entries);
  if (!archive->entries) return th_io_no_memory(r->error, r->path);
  json_object_foreach (archive->header, name, value) {
    th_status status = strcmp(name, METADATA)
                           ? read_entry(r, &archive->entries[archive->count++], name, value)
                           : check_metadata(r, value);
    if (status != TH_OK) return status;
  }
  return TH_OK;
}

static int by_range(const void *a, const void *b) {
  const entry *x = *(entry *const *)a, *y = *(entry *const *)b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

/* Every byte after the header belongs to exactly one tensor. */
static th_status check_cover(const reading *r, entry *const *sorted, size_t count) {
  char what[2 * TH_QUOTED];
  int64_t covered = 0;
  for (size_t i = 0; i < count; i++) {
    const entry *e = sorted[i];
    if (e->begin < covered) {
      snprintf(what, sizeof what, "bytes %lld to %lld overlap with another tensor's", (long long)e->begin,
               (long long)e->end);
      return wrong(r, e->name, what);
    }
    if (e->begin > covered) {
      snprintf(what, sizeof what, "begins at byte %lld, but no tensor has those from %lld",
               (long long)e->begin, (long long)covered);
      return wrong(r, e->name, what);
    }
    covered = e->end;
  }
  if (covered > r->held)
    return th_error_set(r->error, TH_EFORMAT,
                        "%s: truncated: the header announces %lld bytes of tensors, the file holds %lld",
                        r->path, (long long)covered, (long long)r->held);
  if (covered < r->held)
    return th_error_set(r->error, TH_EFORMAT, "%s: %lld bytes after the last tensor belong to none", r->path,
                        (long long)(r->held - covered));
  return TH_OK;
}

static th_status check_ranges(const reading *r, th_safetensors *archive) {
  entry **sorted = calloc(archive->count + 1, sizeof *sorted);
  if (!sorted) return th_io_no_memory(r->error, r->path);
  for (size_t i = 0; i < archive->count; i++) sorted[i] = &archive->entries[i];
  qsort(sorted, archive->count, sizeof *sorted, by_range);
  th_status status = check_cover(r, sorted, archive->count);
  free(sorted);
  return status;
}

/* Points the tensors at their elements; those that lie askew for their type are copied aside. The
 * ranges are disjoint, so the copies take no more than the file does, and 8 bytes each. */
static th_status place_elements(const reading *r, th_safetensors *archive) {
  size_t room = 0;
  for (int pass = 0; pass < 2; pass++) {
    size_t used = 0;
    for (size_t i = 0; i < archive->count; i++) {
      entry *e = &archive->entries[i];
      size_t size = th_dtype_size(e->tensor.dtype), bytes = (size_t)(e->end - e->begin);
      const char *data = r->data + e->begin;
      if (pass == 1) e->tensor.data = (void *)(uintptr_t)data; /* handed out as const th_tensor */
      if ((uintptr_t)data % size == 0) continue;
      if (pass == 1) {
        e->tensor.data = archive->aligned + used;
        memcpy(e->tensor.data, data, bytes);
      }
      used += (bytes + 7) / 8 * 8;
    }
    room = used;
    if (pass == 0 && !(archive->aligned = malloc(room + 1))) return th_io_no_memory(r->error, r->path);
  }
  return TH_OK;
}

/* Finds the header between its length and the data, and leaves in `r` where the data is. */
static th_status read_header(reading *r, json_t **header, const char *bytes, size_t size) {
  uint64_t length = 0;
  if (size < LENGTH_BYTES)
    return th_error_set(r->error, TH_EFORMAT,
                        "%s: truncated: %zu bytes, fewer than the %d of a header's length", r->path, size,
                        LENGTH_BYTES);
  memcpy(&length, bytes, LENGTH_BYTES); /* little-endian: see elements.c */
  if (length > HEADER_LIMIT)
    return th_error_set(
        r->error, TH_EFORMAT,
        "%s: not a safetensors file: its header would be %llu bytes long, over the format's %d", r->path,
        (unsigned long long)length, HEADER_LIMIT);
  if (length > size - LENGTH_BYTES)
    return th_error_set(r->error, TH_EFORMAT,
                        "%s: truncated: the header should be %llu bytes long, the file holds %zu of it",
                        r->path, (unsigned long long)length, size - LENGTH_BYTES);
  r->data = bytes + LENGTH_BYTES + length;
  r->held = (int64_t)(size - LENGTH_BYTES - length);
  if (length == 0 || bytes[LENGTH_BYTES] != '{')
    return th_error_set(r->error, TH_EFORMAT, "%s: not a safetensors file: its header is not a JSON object",
                        r->path);
  return th_json_parse(header, bytes + LENGTH_BYTES, (size_t)length, r->path, "header", r->error);
}

th_status th_safetensors_parse(th_safetensors **archive, const char *path, const void *bytes, size_t size,
                               th_error *error) {
  reading r = {.path = path, .error = error};
  *archive = NULL;
  th_safetensors *made = calloc(1, sizeof *made);
  if (!made) return th_io_no_memory(error, path);
  th_status status = read_header(&r, &made->header, bytes, size);
  if (status == TH_OK) status = read_entries(&r, made);
  if (status == TH_OK) status = check_ranges(&r, made);
  if (status == TH_OK) status = place_elements(&r, made);
  if (status == TH_OK) *archive = made;
  else th_safetensors_free(made);
  return status;
}

th_status th_safetensors_load(th_safetensors **archive, const char *path, th_error *error) {
  char *bytes;
  size_t size;
  *archive = NULL;
  th_status status = th_file_read(path, &bytes, &size, error);
  if (status == TH_OK) status = th_safetensors_parse(archive, path, bytes, size, error);
  if (status == TH_OK) (*archive)->file = bytes; // NOLINT(clang-analyzer-core.NullDereference): parse made it
  else free(bytes);
  return status;
}

void th_safetensors_free(th_safetensors *archive) {
  if (!archive) return;
  json_decref(archive->header);
  free(archive->entries);
  free(archive->aligned);
  free(archive->file);
  free(archive);
}

size_t th_safetensors_count(const th_safetensors *archive) { return archive->count; }

const char *th_safetensors_name(const th_safetensors *archive, size_t index) {
  return index < archive->count ? archive->entries[index].name : NULL;
}

const th_tensor *th_safetensors_tensor(const th_safetensors *archive, size_t index) {
  return index < archive->count ? &archive->entries[index].tensor : NULL;
}

const th_tensor *th_safetensors_find(const th_safetensors *archive, const char *name) {
  for (size_t i = 0; i < archive->count; i++)
    if (!strcmp(archive->entries[i].name, name)) return &archive->entries[i].tensor;
  return NULL;
}

const char *th_safetensors_metadata(const th_safetensors *archive, const char *key) {
  return json_string_value(json_object_get(json_object_get(archive->header, METADATA), key));
}
