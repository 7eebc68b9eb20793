/* Writing safetensors. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_LIMIT 100000000 /* the format's own; longer headers are refused by its readers */
#define ALIGNMENT 8            /* the widest element */
#define METADATA "__metadata__"

static const char *format_name(th_dtype dtype) {
  switch (dtype) {
  case TH_F32: return "F32";
  case TH_F64: return "F64";
  case TH_I32: return "I32";
  case TH_U8: return "U8";
  }
  return NULL;
}

/* Says what is wrong with a key, or NULL. */
static const char *key_fault(const json_t *object, const char *key) {
  if (th_utf8_valid(key, strlen(key)) < strlen(key)) return "is not valid UTF-8";
  return json_object_get(object, key) ? "is given twice" : NULL;
}

static th_status add_metadata(json_t *header, const th_text_pair *metadata, size_t count, const char *path,
                              th_error *error) {
  char quoted[TH_QUOTED];
  json_t *object = json_object();
  if (json_object_set_new(header, METADATA, object)) return th_io_no_memory(error, path);
  for (size_t i = 0; i < count; i++) {
    const char *fault = key_fault(object, metadata[i].key), *value = metadata[i].value;
    if (!fault && th_utf8_valid(value, strlen(value)) < strlen(value))
      fault = "has a value that is not valid UTF-8";
    if (fault)
      return th_error_set(error, TH_EINVAL, "%s: metadata key \"%s\" %s", path,
                          th_io_quoted(quoted, metadata[i].key), fault);
    if (json_object_set_new(object, metadata[i].key, json_string(value))) return th_io_no_memory(error, path);
  }
  return TH_OK;
}

/* NULL: no memory. */
static json_t *integers(const int64_t *values, int count) {
  json_t *array = json_array();
  for (int i = 0; array && i < count; i++) {
    if (json_array_append_new(array, json_integer(values[i]))) {
      json_decref(array);
      return NULL;
    }
  }
  return array;
}

/* Describes a tensor whose elements begin at *end, and moves *end behind them. */
static th_status add_tensor(json_t *header, const th_named_tensor *named, int64_t *end, const char *path,
                            th_error *error) {
  char quoted[TH_QUOTED];
  const th_tensor *tensor = named->tensor;
  int64_t bytes, offsets[2] = {*end, *end};
  const char *dtype = format_name(tensor->dtype);
  const char *fault =
      strcmp(named->name, METADATA) ? key_fault(header, named->name) : "has the metadata's name";
  if (!fault && !dtype) fault = "has an unknown element type";
  if (!fault && (!th_elements_bytes(&bytes, tensor->dtype, tensor->ndim, tensor->shape) ||
                 __builtin_add_overflow(*end, bytes, &offsets[1])))
    fault = "is too large";
  if (fault)
    return th_error_set(error, TH_EINVAL, "%s: tensor \"%s\" %s", path, th_io_quoted(quoted, named->name),
                        fault);
  *end = offsets[1];
  json_t *info = json_object();
  if (json_object_set_new(header, named->name, info) ||
      json_object_set_new(info, "dtype", json_string(dtype)) ||
      json_object_set_new(info, "shape", integers(tensor->shape, tensor->ndim)) ||
      json_object_set_new(info, "data_offsets", integers(offsets, 2)))
    return th_io_no_memory(error, path);
  return TH_OK;
}

/* The header's text, padded; to be freed. */
static th_status header_text(char **text, size_t *length, const json_t *header, const char *path,
                             th_error *error) {
  char *dumped = th_json_dump(header, JSON_COMPACT);
  if (!dumped) return th_io_no_memory(error, path);
  size_t used = strlen(dumped), padded = (used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  if (padded > HEADER_LIMIT) {
    free(dumped);
    return th_error_set(error, TH_EINVAL, "%s: too many tensors: a header of %zu bytes, over the format's %d",
                        path, padded, HEADER_LIMIT);
  }
  char *grown = realloc(dumped, padded + 1);
  if (!grown) {
    free(dumped);
    return th_io_no_memory(error, path);
  }
  memset(grown + used, ' ', padded - used);
  *text = grown;
  *length = padded;
  return TH_OK;
}

static th_status write_file(const char *path, const char *header, size_t header_length,
                            const th_named_tensor *tensors, size_t count, th_error *error) {
  th_file_out out;
  uint64_t length = header_length; /* little-endian: see elements.c */
  th_status status = th_file_out_open(&out, path, error);
  if (status == TH_OK) status = th_file_out_write(&out, &length, sizeof length, error);
  if (status == TH_OK) status = th_file_out_write(&out, header, header_length, error);
  for (size_t i = 0; status == TH_OK && i < count; i++)
    status = th_elements_write(&out, tensors[i].tensor, error);
  if (status == TH_OK) status = th_file_out_commit(&out, error);
  th_file_out_discard(&out);
  return status;
}

th_status th_safetensors_save(const char *path, const th_named_tensor *tensors, size_t count,
                              const th_text_pair *metadata, size_t metadata_count, th_error *error) {
  char *text = NULL;
  size_t length = 0;
  int64_t end = 0;
  json_t *header = json_object();
  th_status status = header ? TH_OK : th_io_no_memory(error, path);
  if (status == TH_OK && metadata_count > 0)
    status = add_metadata(header, metadata, metadata_count, path, error);
  for (size_t i = 0; status == TH_OK && i < count; i++)
    status = add_tensor(header, &tensors[i], &end, path, error);
  if (status == TH_OK) status = header_text(&text, &length, header, path, error);
  json_decref(header);
  if (status == TH_OK) status = write_file(path, text, length, tensors, count, error);
  free(text);
  return status;
}
