/* Reading a whole file. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_PIECE 65536 /* for what has no size beforehand: pipes, /proc */

typedef struct buffer {
  char *bytes;
  size_t used, capacity;
} buffer;

/* Room for at least one byte more and the final zero; returns 0 or an errno. */
static int buffer_grow(buffer *b) {
  if (b->used + 1 < b->capacity) return 0;
  if (b->capacity > SIZE_MAX / 2) return ENOMEM;
  char *bytes = realloc(b->bytes, b->capacity * 2);
  if (!bytes) return ENOMEM;
  b->bytes = bytes;
  b->capacity *= 2;
  return 0;
}

/* Reads to the end; returns 0 or an errno. */
static int read_all(int fd, buffer *b) {
  struct stat status;
  if (fstat(fd, &status)) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  /* One byte for the zero, one so that the read that meets the end needs no growing. */
  bool sized = S_ISREG(status.st_mode) && status.st_size > 0;
  b->capacity = sized ? (size_t)status.st_size + 2 : FIRST_PIECE;
  b->bytes = malloc(b->capacity);
  if (!b->bytes) return ENOMEM;
  for (;;) {
    int problem = buffer_grow(b);
    if (problem) return problem;
    ssize_t got = read(fd, b->bytes + b->used, b->capacity - b->used - 1);
    if (got < 0 && errno != EINTR) return errno;
    if (got == 0) break;
    if (got > 0) b->used += (size_t)got;
  }
  b->bytes[b->used] = '\0';
  return 0;
}

th_status th_file_read(const char *path, char **bytes, size_t *size, th_error *error) {
  buffer b = {0};
  *bytes = NULL;
  *size = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return th_io_refused(error, path, "read", errno);
  int problem = read_all(fd, &b);
  close(fd);
  if (problem) {
    free(b.bytes);
    return th_io_refused(error, path, "read", problem);
  }
  *bytes = b.bytes;
  *size = b.used;
  return TH_OK;
}
