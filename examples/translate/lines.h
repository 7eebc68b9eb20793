/* Lines of a file descriptor, one by one as they come: whoever reads ahead can stop where the next line would
 * have to be waited for. */
#ifndef TRANSLATE_LINES_H
#define TRANSLATE_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "tapehead/tensor.h"

typedef struct lines {
  int fd;
  char *bytes; /* read, not yet handed out: begin..end */
  size_t begin, end, room;
  bool ended;
} lines;

typedef enum { LINE_READ, LINE_LATER, LINE_NONE, LINE_FAILED } line_state;

/* The next line without its end (\n or \r\n), in memory of `in` until the next call. LINE_LATER, only without
 * `wait`: none has come yet. LINE_NONE: there are no more. LINE_FAILED: `error` says why. */
line_state lines_next(lines *in, bool wait, char **line, size_t *length, th_error *error);
void lines_free(lines *in);

#endif
