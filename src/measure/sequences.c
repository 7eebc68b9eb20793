/* Texts cut into characters or words. */
#include "private.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int32_t th_point_next(const char **at) {
  utf8proc_int32_t point;
  utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)*at, -1, &point);
  if (took < 1 || !point) return 0;
  *at += took;
  return point;
}

bool th_point_is_space(int32_t point) {
  if (point < 0x80) return (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x20);
  utf8proc_category_t category = utf8proc_category(point);
  return point == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

void th_sequences_free(th_sequences *sequences) {
  free(sequences->of);
  free(sequences->memory);
  *sequences = (th_sequences){0};
}

/* Room for `count` texts with a symbol for each of their bytes, which is enough for any cut. */
static th_status make_room(th_sequences *made, const char *const *texts, int64_t count, th_error *error) {
  size_t bytes = 1;
  for (int64_t i = 0; i < count; i++) bytes += strlen(texts[i]);
  *made = (th_sequences){.count = count,
                         .of = reallocarray(NULL, (size_t)count, sizeof *made->of),
                         .memory = reallocarray(NULL, bytes, sizeof *made->memory)};
  if (made->of && made->memory) return TH_OK;
  th_sequences_free(made);
  return th_measure_no_memory(error);
}

/* ---- characters ------------------------------------------------------------------------------ */

static int64_t put_points(int32_t *to, const char *text, bool with_space) {
  int64_t n = 0;
  for (int32_t point; (point = th_point_next(&text));)
    if (with_space || !th_point_is_space(point)) to[n++] = point;
  return n;
}

/* ---- words ----------------------------------------------------------------------------------- */

typedef struct word {
  const char *text;
  size_t length;
  int32_t *symbol; /* where its number goes */
} word;

static int by_bytes(const void *a, const void *b) {
  const word *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
  return order ? order : (x->length > y->length) - (x->length < y->length);
}

/* Like words get like numbers. */
static void number_words(word *words, int64_t count) {
  int32_t number = 0;
  qsort(words, (size_t)count, sizeof *words, by_bytes);
  for (int64_t i = 0; i < count; i++)
    *words[i].symbol = i && by_bytes(&words[i - 1], &words[i]) ? ++number : number;
}

static bool is_punctuation(char c) { return c && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c); }

/* As chrF++ cuts a word (Popovic 2017, its script chrF++.py): "hello," is "hello" and ","; a mark at the beginning is
 * cut off only where there is none at the end. Returns how many words it makes of one. */
static int cut_punctuation(word *words) {
  const char *text = words[0].text, *end = text + words[0].length;
  size_t head = 0;
  if (th_point_next(&text), text == end) return 1;
  if (is_punctuation(end[-1])) head = words[0].length - 1;
  else if (is_punctuation(*words[0].text)) head = 1;
  if (!head) return 1;
  words[1] = (word){.text = words[0].text + head, .length = words[0].length - head};
  words[0].length = head;
  return 2;
}

static int64_t put_words(word *words, const char *text, bool punctuation) {
  int64_t n = 0;
  for (const char *at = text, *begin = NULL, *before = text;; before = at) {
    int32_t point = th_point_next(&at);
    bool inside = point && !th_point_is_space(point);
    if (inside && !begin) begin = before;
    if (!inside && begin) {
      words[n] = (word){.text = begin, .length = (size_t)(before - begin)};
      n += punctuation ? cut_punctuation(&words[n]) : 1;
      begin = NULL;
    }
    if (!point) return n;
  }
}

static th_status put_all_words(th_sequences *made, const char *const *texts, bool punctuation,
                               th_error *error) {
  size_t room = 1;
  int64_t total = 0;
  for (int64_t i = 0; i < made->count; i++) room += strlen(texts[i]);
  word *words = reallocarray(NULL, room, sizeof *words);
  if (!words) return th_measure_no_memory(error);
  for (int64_t i = 0; i < made->count; i++) {
    int64_t n = put_words(words + total, texts[i], punctuation);
    made->of[i] = (th_sequence){made->memory + total, n};
    total += n;
  }
  for (int64_t i = 0; i < total; i++) words[i].symbol = made->memory + i;
  number_words(words, total);
  free(words);
  return TH_OK;
}

th_status th_sequences_new(th_sequences *made, const char *const *texts, int64_t count, th_cut cut,
                           th_error *error) {
  th_status status = make_room(made, texts, count, error);
  if (status) return status;
  int32_t *at = made->memory;
  if (cut == TH_CUT_WORDS || cut == TH_CUT_PUNCTUATION)
    status = put_all_words(made, texts, cut == TH_CUT_PUNCTUATION, error);
  else
    for (int64_t i = 0; i < count; at += made->of[i++].length)
      made->of[i] = (th_sequence){at, put_points(at, texts[i], cut == TH_CUT_CHARACTERS)};
  if (status) th_sequences_free(made);
  return status;
}
