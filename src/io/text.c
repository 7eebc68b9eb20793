/* UTF-8: validity, normal form C, and the cuts into characters and words. */
#include "private.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

size_t th_utf8_valid(const char *text, size_t length) {
  size_t at = 0;
  while (at < length) {
    utf8proc_int32_t point;
    utf8proc_ssize_t left = length - at > 4 ? 4 : (utf8proc_ssize_t)(length - at);
    utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)text + at, left, &point);
    if (took < 1) break;
    at += (size_t)took;
  }
  return at;
}

th_status th_text_normalise(const char *text, size_t length, char **normal, size_t *normal_length,
                            th_error *error) {
  size_t valid = th_utf8_valid(text, length);
  const char *zero = valid > 0 ? memchr(text, '\0', valid) : NULL; /* an empty text may be NULL */
  *normal = NULL;
  *normal_length = 0;
  if (zero) return th_error_set(error, TH_EFORMAT, "a zero byte at byte %zu", (size_t)(zero - text) + 1);
  if (valid < length) return th_error_set(error, TH_EFORMAT, "not valid UTF-8 at byte %zu", valid + 1);
  utf8proc_uint8_t *made;
  utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &made,
                                       UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (size < 0) /* valid text fails for want of memory only */
    return th_error_set(error, TH_ENOMEM, "out of memory");
  *normal = (char *)made;
  *normal_length = (size_t)size;
  return TH_OK;
}

/* Unicode's property White_Space (PropList.txt): the separators, and the controls that act as such. */
static bool is_space(utf8proc_int32_t point) {
  utf8proc_category_t category = utf8proc_category(point);
  return (point >= 0x09 && point <= 0x0D) || point == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
         category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

bool th_text_next(th_unit unit, const char **at, const char *end, const char **token, size_t *length) {
  const char *begin = NULL, *c = *at;
  while (c < end) {
    utf8proc_int32_t point;
    utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)c, end - c, &point);
    if (took < 1) break;
    bool space = unit == TH_UNIT_WORD && is_space(point);
    if (space && begin) break;
    if (!space && !begin) begin = c;
    c += took;
    if (unit == TH_UNIT_CHARACTER) break;
  }
  *at = c;
  *token = begin;
  *length = begin ? (size_t)(c - begin) : 0;
  return begin != NULL;
}
