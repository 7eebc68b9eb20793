#include "lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 65536

/* Room for a piece more behind what is there, which moves to the front. */
static bool make_room(lines *in) {
  memmove(in->bytes, in->bytes + in->begin, in->end - in->begin);
  in->end -= in->begin;
  in->begin = 0;
  if (in->room - in->end >= PIECE) return true;
  size_t room = 2 * in->room + PIECE;
  char *bytes = realloc(in->bytes, room);
  if (!bytes) return false;
  in->bytes = bytes;
  in->room = room;
  return true;
}

/* A file is always ready, and so is a pipe that was closed. */
static bool is_ready(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLIN};
  return poll(&one, 1, 0) != 0;
}

static bool read_more(lines *in, th_error *error) {
  ssize_t got;
  if (!in->bytes && !(in->bytes = malloc(in->room = PIECE))) in->room = 0;
  if (!in->bytes || !make_room(in)) {
    th_error_set(error, TH_ENOMEM, "standard input: no memory for a line");
    return false;
  }
  do got = read(in->fd, in->bytes + in->end, in->room - in->end);
  while (got < 0 && errno == EINTR);
  if (got < 0) {
    th_error_set(error, TH_EIO, "standard input: cannot read: %s", strerror(errno));
    return false;
  }
  in->end += (size_t)got;
  in->ended = got == 0;
  return true;
}

line_state lines_next(lines *in, bool wait, char **line, size_t *length, th_error *error) {
  size_t seen = 0; /* of what is there, without a line's end in it */
  char *end;
  for (;;) {
    end = in->bytes ? memchr(in->bytes + in->begin + seen, '\n', in->end - in->begin - seen) : NULL;
    seen = in->end - in->begin;
    if (end || in->ended) break;
    if (!wait && !is_ready(in->fd)) return LINE_LATER;
    if (!read_more(in, error)) return LINE_FAILED;
  }
  if (!in->bytes || (!end && !seen)) return LINE_NONE;
  *line = in->bytes + in->begin;
  *length = end ? (size_t)(end - *line) : seen;
  in->begin += *length + (end != NULL);
  if (*length && (*line)[*length - 1] == '\r') --*length;
  return LINE_READ;
}

void lines_free(lines *in) {
  free(in->bytes);
  in->bytes = NULL;
}
