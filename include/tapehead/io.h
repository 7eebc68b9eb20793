/* Files: read whole, written atomically; tensors as safetensors and npy; vocabularies; metrics.
 *
 * Errors: every function that can fail returns a status and fills `error` (which may be NULL) with
 * one line, which begins with the path where there is a file. TH_EIO says that the system refused,
 * TH_EFORMAT that a file or a text is not what it should be, TH_EINVAL that an argument is not,
 * TH_ENOMEM that memory ran out. After a failure nothing is left allocated, and every result is
 * NULL or 0.
 *
 * Files from elsewhere are taken as hostile: each number in them is checked before it is used. */
#ifndef TAPEHEAD_IO_H
#define TAPEHEAD_IO_H

#include <stddef.h>
#include <stdint.h>

#include "tapehead/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- files ----------------------------------------------------------------------------------- */

/* Reads a whole file (a pipe, too) onto the heap. `*bytes` is the caller's to free(); one zero byte,
 * not counted in `*size`, follows the last, so that text can be used as a string.
 * "data.tsv: cannot read: No such file or directory". */
th_status th_file_read(const char *path, char **bytes, size_t *size, th_error *error);

/* JSON through jansson, whose 2.14 does not tell of each allocation that fails: it may complain of a text that is right, or go on
 * with a part of a string, in what it reads and in what it writes. Here that is an error. */
struct json_t;
/* json_dumps: the caller's to free(); NULL: no memory. */
char *th_json_dump(const struct json_t *value, size_t flags);
/* Parses `size` bytes of JSON into a value of jansson's, the caller's to json_decref(); a key given twice is an error. `what` is
 * put before the parser's words: "PATH: WHAT: JSON at line 1, column 5: '}' expected". */
th_status th_json_parse(struct json_t **value, const char *bytes, size_t size, const char *path,
                        const char *what, th_error *error);

/* Writes a whole file atomically: a reader, or a machine that loses power, sees the old file or the
 * new one, never a part. The bytes go to a temporary name in the same directory, are synced, and
 * take the old file's place; then the directory is synced. On an error the temporary is removed and
 * the old file stays as it was, save where the very last step, syncing the directory, fails: then
 * the new file is in place and only its name may not survive a loss of power.
 * A path that leads to something other than a regular file (a directory, a device) is refused; a
 * symbolic link is replaced, not followed. */
th_status th_file_write(const char *path, const void *bytes, size_t size, th_error *error);

/* The same in pieces. After open, write as often as needed, then commit or discard. A failed write
 * or commit has discarded already; a discard after that, after commit or after a failed open, does
 * nothing. So every way out may end in a discard. */
typedef struct th_file_out {
  char *path;      /* the name to be */
  char *temporary; /* the name until then; NULL: nothing to remove */
  int fd;          /* -1: not open */
} th_file_out;

th_status th_file_out_open(th_file_out *out, const char *path, th_error *error);
th_status th_file_out_write(th_file_out *out, const void *bytes, size_t size, th_error *error);
th_status th_file_out_commit(th_file_out *out, th_error *error);
void th_file_out_discard(th_file_out *out);

/* Makes a directory and those above it; one that exists already is no error. */
th_status th_directory_make(const char *path, th_error *error);

/* ---- safetensors ----------------------------------------------------------------------------- */

/* The format of https://github.com/huggingface/safetensors: eight bytes of little-endian header
 * length, a JSON header, the elements. Any shape of up to TH_MAX_DIMS axes; a scalar has none. */

typedef struct th_named_tensor {
  const char *name; /* UTF-8, given once, not "__metadata__" */
  const th_tensor *tensor;
} th_named_tensor;

typedef struct th_text_pair {
  const char *key; /* UTF-8, given once */
  const char *value;
} th_text_pair;

/* Writes the tensors, in the given order, and the metadata to one file, atomically. Elements are
 * written in row-major order whatever the tensor's strides; the header is padded with spaces so
 * that they begin at a multiple of 8 bytes. */
th_status th_safetensors_save(const char *path, const th_named_tensor *tensors, size_t count,
                              const th_text_pair *metadata, size_t metadata_count, th_error *error);

typedef struct th_safetensors th_safetensors; /* a loaded file: names, tensors, metadata */

/* Reads a file of F32, F64, I32, U8 and BOOL (as TH_U8) tensors. The format's own rules are held to:
 * no name twice, every byte after the header in exactly one tensor. The archive owns the elements;
 * free it with th_safetensors_free after the last use of its tensors. */
th_status th_safetensors_load(th_safetensors **archive, const char *path, th_error *error);

/* The same of a file already in memory; `path` only names it in errors. The tensors lie in `bytes`
 * where their alignment allows, so `bytes` must stay until the archive is freed. */
th_status th_safetensors_parse(th_safetensors **archive, const char *path, const void *bytes, size_t size,
                               th_error *error);
void th_safetensors_free(th_safetensors *archive); /* NULL: nothing */

size_t th_safetensors_count(const th_safetensors *archive);

/* In the file's order, contiguous; NULL for an index, a name or a key that is not there. */
const char *th_safetensors_name(const th_safetensors *archive, size_t index);
const th_tensor *th_safetensors_tensor(const th_safetensors *archive, size_t index);
const th_tensor *th_safetensors_find(const th_safetensors *archive, const char *name);
const char *th_safetensors_metadata(const th_safetensors *archive, const char *key);

/* Copies a tensor of the archive into `to`, across types; TH_EFORMAT where it is missing or of another
 * shape. `path` only names the file in errors. */
th_status th_safetensors_read(const th_safetensors *archive, const char *path, const char *name,
                              const th_tensor *to, th_error *error);

/* A parameter set as safetensors, under the parameters' names. Loading wants every parameter in its shape
 * and nothing else; after an error the values are those of neither. */
th_status th_params_save(const th_params *set, const char *path, const th_text_pair *metadata,
                         size_t metadata_count, th_error *error);
th_status th_params_load(th_params *set, const char *path, th_error *error);

/* ---- npy ------------------------------------------------------------------------------------- */

/* NumPy's file of one array (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). */

/* Writes version 1.0, row-major, as '<f4', '<f8', '<i4' or '|u1', atomically. */
th_status th_npy_save(const char *path, const th_tensor *tensor, th_error *error);

/* Reads versions 1.0, 2.0 and 3.0 of these types and '|b1' (as TH_U8), row-major. `*tensor` is made by
 * th_tensor_new: free it with th_tensor_free. */
th_status th_npy_load(th_tensor *tensor, const char *path, th_error *error);

/* ---- vocabulary ------------------------------------------------------------------------------ */

/* How many bytes from the start are whole, valid UTF-8 (Unicode 15, table 3-7: no surrogates, no
 * overlong forms); `length` if all are. */
size_t th_utf8_valid(const char *text, size_t length);

enum { TH_PAD, TH_BOS, TH_EOS, TH_UNK, TH_SPECIALS }; /* ids of "<pad>" "<bos>" "<eos>" "<unk>"; how many */

typedef enum {
  TH_UNIT_CHARACTER, /* a token is a code point of the text in Unicode's normal form C */
  TH_UNIT_WORD,      /* a token is a run without Unicode white space, in normal form C */
  TH_UNIT_BPE        /* a token is a piece of such a run, learned by byte-pair encoding */
} th_unit;

/* Byte-pair encoding (Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword
 * Units", section 3.2, algorithm 1): a word is its characters and a mark of its end; the two tokens that
 * stand side by side most often become one, and so on. The mark, the paper's </w>, is a space here: no word
 * can hold one, so no text is mistaken for it. "lowest " ends a word, "low" goes on. */

/* Tokens and their ids. First it collects (add ...), then it is finished, then it encodes and
 * decodes; a finished one is only read, and may be shared by threads. Text is one line or any other
 * run of UTF-8 without zero bytes. Errors about text name no file, so that the caller can put file
 * and line before them: "not valid UTF-8 at byte 7", the first byte of the text being byte 1. */
typedef struct th_vocabulary th_vocabulary;

th_status th_vocabulary_new(th_vocabulary **vocabulary, th_unit unit, th_error *error);
void th_vocabulary_free(th_vocabulary *vocabulary); /* NULL: nothing */

/* How many merges th_vocabulary_finish may learn, of unit bpe: 0 (characters alone) until this is called.
 * TH_EINVAL for another unit, a finished vocabulary, or merges below 0 or above INT32_MAX. */
th_status th_vocabulary_set_merges(th_vocabulary *vocabulary, int64_t merges, th_error *error);

/* Counts the tokens of a text. Of unit word, one spelt like a special token is passed over. */
th_status th_vocabulary_add(th_vocabulary *vocabulary, const char *text, size_t length, th_error *error);

/* Drops tokens seen fewer than `min_count` times and numbers the others from TH_SPECIALS on in order
 * of their UTF-8 bytes, which is the order of their code points: the same texts in any order give
 * the same ids. After a failure for want of memory the vocabulary can only be freed.
 *
 * Of unit bpe these are the characters and the mark; then merges are learned, and what each makes has the
 * next id. Of pairs equally frequent the one comes first whose left token, then right, is first by bytes.
 * A pair is not joined that stands together fewer than `min_count` times, or only once, or that would be
 * spelt like a special token. */
th_status th_vocabulary_finish(th_vocabulary *vocabulary, int64_t min_count, th_error *error);

/* A text's ids, without <bos> and <eos>; what is not in the vocabulary, and a word spelt like a
 * special token, becomes TH_UNK. Of unit bpe that is one TH_UNK for each unknown character, and the merges
 * are applied in the order in which they were learned. `*ids` is the caller's to free(), and not NULL for
 * an empty text. */
th_status th_vocabulary_encode(const th_vocabulary *vocabulary, const char *text, size_t length,
                               int32_t **ids, size_t *count, th_error *error);

/* The ids' text, up to the first TH_EOS or `count`; other special tokens are left out, words are
 * joined by one space. `*text` is the caller's to free(). TH_EINVAL for an id out of range. */
th_status th_vocabulary_decode(const th_vocabulary *vocabulary, const int32_t *ids, size_t count, char **text,
                               th_error *error);
/* The same with `special` in the place of each special token before the end. */
th_status th_vocabulary_decode_marked(const th_vocabulary *vocabulary, const int32_t *ids, size_t count,
                                      const char *special, char **text, th_error *error);

th_unit th_vocabulary_unit(const th_vocabulary *vocabulary);
int32_t th_vocabulary_count(const th_vocabulary *vocabulary);                 /* with the special tokens */
const char *th_vocabulary_token(const th_vocabulary *vocabulary, int32_t id); /* NULL: out of range */
int32_t th_vocabulary_id(const th_vocabulary *vocabulary, const char *token); /* TH_UNK: not there */

/* How many merges there are; number `rank` makes the token with id count - merges + rank of `left` and
 * `right`. False: out of range. */
int32_t th_vocabulary_merges(const th_vocabulary *vocabulary);
bool th_vocabulary_merge(const th_vocabulary *vocabulary, int32_t rank, int32_t *left, int32_t *right);

/* JSON: {"format": "tapehead vocabulary", "version": 1, "unit": "character", "word" or "bpe", "tokens":
 * [...]}, the tokens in order of their ids; of unit bpe also "merges": ["e s", "es t", ...], left and right
 * of each with a space between (the left one never ends a word). Saved atomically. A loaded one is finished;
 * its tokens may stand in any order after the specials, save those that merges make: they come last, in
 * the order of the merges. */
th_status th_vocabulary_save(const th_vocabulary *vocabulary, const char *path, th_error *error);
th_status th_vocabulary_load(th_vocabulary **vocabulary, const char *path, th_error *error);

/* ---- metrics --------------------------------------------------------------------------------- */

/* A file of one JSON object per line (https://jsonlines.org): {"step": 100, "loss": 1.25, ...}. */
typedef struct th_metrics th_metrics;

typedef struct th_metric {
  const char *key; /* UTF-8, given once per line, not "step" */
  double value;    /* NaN and the infinities, which JSON lacks, become null */
} th_metric;

#define TH_METRICS_FRESH INT64_MIN /* keep no line */

/* Opens a file to append to, and makes it if needed. Of a file that is there only the whole,
 * well-formed lines with "step" <= keep_until_step stay (it is rewritten atomically): what an
 * interrupted run wrote after its last checkpoint goes, and so does a half-written last line. */
th_status th_metrics_open(th_metrics **metrics, const char *path, int64_t keep_until_step, th_error *error);

/* Appends one line with one write and syncs it, so that a checkpoint written later never outlives it. Where
 * that fails, no part of the line stays in the file. */
th_status th_metrics_append(th_metrics *metrics, int64_t step, const th_metric *values, size_t count,
                            th_error *error);
void th_metrics_close(th_metrics *metrics); /* NULL: nothing */

/* One key's values, from the lines that have it, in the file's order; null is read as NaN. `*steps`
 * and `*values` are the caller's to free(), and not NULL when `*count` is 0. A last line without its
 * end is passed over where it is not whole, as another process may be writing it; any other line
 * that is not well-formed is an error. */
th_status th_metrics_read(const char *path, const char *key, int64_t **steps, double **values, size_t *count,
                          th_error *error);

#ifdef __cplusplus
}
#endif
#endif
