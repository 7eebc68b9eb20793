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

/* ---- bpe.c ---- */

typedef struct th_pair_slot {
  uint64_t key; /* left and right; 0: empty */
  int32_t number;
} th_pair_slot;

typedef struct th_pairs { /* a hash table from pairs of ids to numbers */
  th_pair_slot *slots;
  size_t count, room;
} th_pairs;

typedef struct th_merge {
  int32_t left, right;
} th_merge;

/* Merges by rank; number r makes the token first + r. Zeros: none. */
typedef struct th_bpe {
  int32_t first;
  th_merge *merges;
  size_t count, room;
  th_pairs ranks;
} th_bpe;

void th_bpe_free(th_bpe *bpe);

/* The next merge, of a pair that is none yet. False: no memory. */
bool th_bpe_add(th_bpe *bpe, int32_t left, int32_t right);

/* Joins what merges join, the lowest rank first, from left to right; special tokens are joined to nothing.
 * False: no memory. */
bool th_bpe_apply(const th_bpe *bpe, int32_t *ids, size_t *count);

/* Learns up to `merges` merges of pairs seen `least` times (at least twice), and appends their tokens to
 * the vocabulary, which has the characters. ids: words, with TH_PAD between two; weights: for each id, how
 * often its word was seen. Fails for want of memory only. */
th_status th_bpe_learn(th_bpe *bpe, th_vocabulary *vocabulary, const int32_t *ids, const int64_t *weights,
                       size_t count, int64_t merges, int64_t least);

/* ---- vocabulary.c ---- */

#define TH_WORD_END ' ' /* ends a word's last token: no word can hold it, so no text is taken for it */

const char *th_special_text(int32_t id);

/* How a file's tokens come in: each with the next id (TH_EFORMAT "given twice" for one that is there),
 * then merges into th_vocabulary_bpe, then seal. */
th_status th_vocabulary_append(th_vocabulary *vocabulary, const char *token, size_t length, th_error *error);
int32_t th_vocabulary_find(const th_vocabulary *vocabulary, const char *token, size_t length); /* or TH_UNK */
th_bpe *th_vocabulary_bpe(th_vocabulary *vocabulary);
void th_vocabulary_seal(th_vocabulary *vocabulary);
bool th_vocabulary_finished(const th_vocabulary *vocabulary);

/* ---- metrics_read.c ---- */

/* The line at `*at`, which moves behind it and its newline; NULL at the end. */
char *th_metrics_line(char **at, char *end);

/* `*object` is NULL for a line that is not an object with an integer "step"; only memory fails. */
th_status th_metrics_parse(json_t **object, int64_t *step, const char *line, size_t length, const char *path,
                           th_error *error);

#endif
