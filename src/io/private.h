/* What the files of this room share and nobody else sees. */
#ifndef TAPEHEAD_IO_PRIVATE_H
#define TAPEHEAD_IO_PRIVATE_H

#include <jansson.h>

#include "tapehead/io.h"

/* ---- message.c ---- */

/* "PATH: cannot DO: REASON", TH_EIO; TH_ENOMEM where that is the reason. */
th_status th_io_refused(th_error *error, const char *path, const char *what, int errno_value);
th_status th_io_no_memory(th_error *error, const char *path);

/* Text from a file, fit for one line of an error: cut to TH_QUOTED bytes, control characters and
 * bytes that are not UTF-8 replaced by '?'. Returns `out`. */
#define TH_QUOTED 96
const char *th_io_quoted(char out[TH_QUOTED], const char *text);

/* ---- json.c ---- */

/* Parses `size` bytes, refusing a key given twice. `what` is put before the parser's words:
 * "PATH: WHAT: JSON at line 1, column 5: '}' expected". */
th_status th_json_parse(json_t **value, const char *bytes, size_t size, const char *path, const char *what,
                        th_error *error);

/* ---- elements.c ---- */

/* Writes a tensor's elements in row-major order, little-endian. */
th_status th_elements_write(th_file_out *out, const th_tensor *tensor, th_error *error);

/* The bytes of a shape's elements. False where that number, or the product of any of its sizes, is
 * more than a th_tensor can count, or where a size is negative. */
bool th_elements_bytes(int64_t *bytes, th_dtype dtype, int ndim, const int64_t *shape);

/* ---- text.c ---- */

/* A heap copy of the text in normal form C, ended by a zero byte. TH_EFORMAT where it is not UTF-8 or
 * holds a zero byte. */
th_status th_text_normalise(const char *text, size_t length, char **normal, size_t *normal_length,
                            th_error *error);

/* Takes the next token off [*at, end), which is valid UTF-8. False: none is left. */
bool th_text_next(th_unit unit, const char **at, const char *end, const char **token, size_t *length);

/* ---- vocabulary.c ---- */

const char *th_special_text(int32_t id);

/* How a file's tokens come in: each with the next id (TH_EFORMAT "given twice" for one that is there),
 * then seal, which is the end of th_vocabulary_finish. */
th_status th_vocabulary_append(th_vocabulary *vocabulary, const char *token, size_t length, th_error *error);
th_status th_vocabulary_seal(th_vocabulary *vocabulary, th_error *error);
bool th_vocabulary_finished(const th_vocabulary *vocabulary);

/* ---- metrics_read.c ---- */

/* The line at `*at`, which moves behind it and its newline; NULL at the end. */
char *th_metrics_line(char **at, char *end);

/* `*object` is NULL for a line that is not an object with an integer "step"; only memory fails. */
th_status th_metrics_parse(json_t **object, int64_t *step, const char *line, size_t length, const char *path,
                           th_error *error);

#endif
