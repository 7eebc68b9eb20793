/* The wording of errors. */
#include "private.h"

#include <errno.h>
#include <string.h>

th_status th_io_refused(th_error *error, const char *path, const char *what, int errno_value) {
  char reason[128];
  if (errno_value == ENOMEM) return th_io_no_memory(error, path);
  return th_error_set(error, TH_EIO, "%s: cannot %s: %s", path, what,
                      strerror_r(errno_value, reason, sizeof reason));
}

th_status th_io_no_memory(th_error *error, const char *path) {
  return th_error_set(error, TH_ENOMEM, "%s: out of memory", path);
}

const char *th_io_quoted(char out[TH_QUOTED], const char *text) {
  static const char more[] = "...";
  size_t length = strlen(text), kept = length;
  if (length >= TH_QUOTED) {
    kept = TH_QUOTED - sizeof more;
    while (kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80) /* do not cut a character in two */
      kept--;
  }
  memcpy(out, text, kept);
  strcpy(out + kept, kept < length ? more : "");
  for (size_t i = 0; out[i];) {
    size_t valid = th_utf8_valid(out + i, strlen(out + i));
    for (size_t end = i + valid; i < end; i++)
      if ((unsigned char)out[i] < 0x20 || out[i] == 0x7F) out[i] = '?';
    if (out[i]) out[i++] = '?';
  }
  /* C1 controls (U+0080 to U+009F) are two bytes, and some terminals obey them. */
  for (char *c = out; (c = strchr(c, 0xC2)) != NULL; c++)
    if ((unsigned char)c[1] < 0xA0) c[0] = c[1] = '?';
  return out;
}
