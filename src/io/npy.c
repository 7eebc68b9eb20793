/* NumPy's npy files: writing, and the reader's checks. The header is a Python dictionary,
 * {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, read here as strictly as it is written. */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define ALIGNMENT 64    /* where the elements begin, by the format */
#define HEADER_ROOM 320 /* TH_MAX_DIMS sizes of up to 20 digits, the words around them, padding */

static const struct {
  const char *name;
  th_dtype dtype;
} types[] = {{"<f4", TH_F32}, {"<f8", TH_F64}, {"<i4", TH_I32}, {"|u1", TH_U8}, {"|b1", TH_U8}};

/* Magic, version, length and dictionary; returns the bytes used of `out`. */
static size_t make_header(char out[HEADER_ROOM], const th_tensor *tensor) {
  const size_t start = MAGIC_BYTES + 4;
  size_t type = 0, used = start;
  while (types[type].dtype != tensor->dtype) type++;
  used += (size_t)snprintf(out + used, HEADER_ROOM - used,
                           "{'descr': '%s', 'fortran_order': False, 'shape': (", types[type].name);
  for (int i = 0; i < tensor->ndim; i++) {
    const char *format = i > 0 ? " %lld," : "%lld,";
    used += (size_t)snprintf(out + used, HEADER_ROOM - used, format, (long long)tensor->shape[i]);
  }
  if (tensor->ndim > 1) /* only a tuple of one keeps its last comma */
    used--;
  used += (size_t)snprintf(out + used, HEADER_ROOM - used, "), }");
  size_t padded = (used + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  memset(out + used, ' ', padded - used);
  out[padded - 1] = '\n';
  memcpy(out, MAGIC "\x01\x00", MAGIC_BYTES + 2);
  out[MAGIC_BYTES + 2] = (char)((padded - start) & 0xFF);
  out[MAGIC_BYTES + 3] = (char)((padded - start) >> 8);
  return padded;
}

th_status th_npy_save(const char *path, const th_tensor *tensor, th_error *error) {
  char header[HEADER_ROOM];
  int64_t bytes;
  if (tensor->dtype < TH_F32 || tensor->dtype > TH_U8 || tensor->ndim < 0 || tensor->ndim > TH_MAX_DIMS ||
      !th_elements_bytes(&bytes, tensor->dtype, tensor->ndim, tensor->shape))
    return th_error_set(error, TH_EINVAL, "%s: not a tensor that can be written", path);
  size_t length = make_header(header, tensor);
  th_file_out out;
  th_status status = th_file_out_open(&out, path, error);
  if (status == TH_OK) status = th_file_out_write(&out, header, length, error);
  if (status == TH_OK) status = th_elements_write(&out, tensor, error);
  if (status == TH_OK) status = th_file_out_commit(&out, error);
  th_file_out_discard(&out);
  return status;
}

/* What is left of the dictionary, [at, end), and what was found in it. */
typedef struct scan {
  const char *path, *at, *end;
  th_error *error;
  th_dtype dtype;
  int ndim;
  int64_t shape[TH_MAX_DIMS];
} scan;

static th_status wrong(const scan *s, const char *what) {
  return th_error_set(s->error, TH_EFORMAT, "%s: header: %s", s->path, what);
}

static void skip_spaces(scan *s) {
  while (s->at < s->end && (*s->at == ' ' || *s->at == '\n')) s->at++;
}

/* Takes `word` and the spaces before it, if it is next. */
static bool take(scan *s, const char *word) {
  size_t length = strlen(word);
  skip_spaces(s);
  if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length)) return false;
  s->at += length;
  return true;
}

/* Takes 'text' or "text". */
static bool take_string(scan *s, char text[TH_QUOTED]) {
  skip_spaces(s);
  if (s->at == s->end || (*s->at != '\'' && *s->at != '"')) return false;
  const char *begin = s->at + 1, *close = memchr(begin, *s->at, (size_t)(s->end - begin));
  if (!close || close - begin >= TH_QUOTED || memchr(begin, '\0', (size_t)(close - begin))) return false;
  memcpy(text, begin, (size_t)(close - begin));
  text[close - begin] = '\0';
  s->at = close + 1;
  return true;
}

static bool take_number(scan *s, int64_t *number) {
  skip_spaces(s);
  const char *begin = s->at;
  *number = 0;
  for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
    if (__builtin_mul_overflow(*number, 10, number) || __builtin_add_overflow(*number, *s->at - '0', number))
      return false;
  return s->at > begin;
}

static th_status scan_type(scan *s) {
  char text[TH_QUOTED], quoted[TH_QUOTED];
  if (!take_string(s, text)) return wrong(s, "'descr' is not a string");
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (!strcmp(text, types[i].name)) {
      s->dtype = types[i].dtype;
      return TH_OK;
    }
  }
  return th_error_set(s->error, TH_EFORMAT, "%s: type '%s' is not one of <f4, <f8, <i4, |u1, |b1", s->path,
                      th_io_quoted(quoted, text));
}

static th_status scan_shape(scan *s) {
  bool comma = true;
  if (!take(s, "(")) return wrong(s, "'shape' is not a tuple");
  for (s->ndim = 0; !take(s, ")"); s->ndim++) {
    int64_t size;
    if (!comma || !take_number(s, &size)) return wrong(s, "'shape' is not a tuple of sizes");
    if (s->ndim == TH_MAX_DIMS)
      return th_error_set(s->error, TH_EFORMAT, "%s: more than %d dimensions", s->path, TH_MAX_DIMS);
    s->shape[s->ndim] = size;
    comma = take(s, ",");
  }
  if (s->ndim == 1 && !comma) return wrong(s, "'shape' is not a tuple"); /* (3) is a number */
  return TH_OK;
}

static th_status scan_order(scan *s) {
  if (take(s, "False")) return TH_OK;
  if (take(s, "True"))
    return th_error_set(s->error, TH_EFORMAT, "%s: column-major; save numpy.ascontiguousarray(array)",
                        s->path);
  return wrong(s, "'fortran_order' is neither True nor False");
}

static th_status scan_dictionary(scan *s) {
  static const char *const keys[] = {"descr", "fortran_order", "shape"};
  static th_status (*const values[])(scan *) = {scan_type, scan_order, scan_shape};
  unsigned seen = 0;
  bool comma = true;
  if (!take(s, "{")) return wrong(s, "not a dictionary");
  while (!take(s, "}")) {
    char key[TH_QUOTED];
    if (!comma || !take_string(s, key) || !take(s, ":")) return wrong(s, "not a dictionary");
    size_t k = 0;
    while (k < 3 && strcmp(key, keys[k])) k++;
    if (k == 3 || (seen & 1u << k)) return wrong(s, "a key that is unknown or given twice");
    seen |= 1u << k;
    th_status status = values[k](s);
    if (status != TH_OK) return status;
    comma = take(s, ",");
  }
  skip_spaces(s);
  if (s->at < s->end) return wrong(s, "more than a dictionary");
  return seen == 7 ? TH_OK : wrong(s, "'descr', 'fortran_order' or 'shape' is missing");
}

/* Sets the scan to the dictionary; the elements begin at its end. */
static th_status find_dictionary(scan *s, const char *bytes, size_t size) {
  const unsigned char *b = (const unsigned char *)bytes;
  if (size < MAGIC_BYTES + 4 || memcmp(bytes, MAGIC, MAGIC_BYTES))
    return th_error_set(s->error, TH_EFORMAT, "%s: not an npy file", s->path);
  int version = b[MAGIC_BYTES];
  size_t start = MAGIC_BYTES + (version == 1 ? 4 : 6), length = b[8] | (size_t)b[9] << 8;
  if (version < 1 || version > 3 || b[MAGIC_BYTES + 1] != 0)
    return th_error_set(s->error, TH_EFORMAT, "%s: npy version %d.%d is unknown", s->path, version,
                        b[MAGIC_BYTES + 1]);
  if (version > 1 && size >= start) length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
  if (size < start || length > size - start)
    return th_error_set(s->error, TH_EFORMAT, "%s: truncated: the header is not whole", s->path);
  s->at = bytes + start;
  s->end = s->at + length;
  return TH_OK;
}

static th_status load(th_tensor *tensor, const char *path, const char *bytes, size_t size, th_error *error) {
  scan s = {.path = path, .error = error};
  int64_t needed = 0;
  th_status status = find_dictionary(&s, bytes, size);
  if (status == TH_OK) status = scan_dictionary(&s);
  if (status != TH_OK) return status;
  if (!th_elements_bytes(&needed, s.dtype, s.ndim, s.shape))
    return wrong(&s, "'shape' has more elements than can be counted");
  size_t held = size - (size_t)(s.end - bytes);
  if ((uint64_t)needed != held)
    return th_error_set(error, TH_EFORMAT,
                        "%s: %s: the header announces %lld bytes of elements, the file holds %zu", path,
                        (uint64_t)needed > held ? "truncated" : "too long", (long long)needed, held);
  status = th_tensor_new(tensor, s.dtype, s.ndim, s.shape, error);
  if (status == TH_OK && needed > 0) memcpy(tensor->data, s.end, (size_t)needed);
  return status;
}

th_status th_npy_load(th_tensor *tensor, const char *path, th_error *error) {
  char *bytes;
  size_t size;
  *tensor = (th_tensor){0};
  th_status status = th_file_read(path, &bytes, &size, error);
  if (status == TH_OK) status = load(tensor, path, bytes, size, error);
  free(bytes);
  return status;
}
