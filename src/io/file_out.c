/* Writing a file atomically: a temporary name, sync, rename, sync of the directory. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_TRIED 1000 /* temporaries of this process number that a crash may have left behind */

void th_file_out_discard(th_file_out *out) {
  if (out->fd >= 0) close(out->fd);
  if (out->temporary) unlink(out->temporary);
  free(out->temporary);
  free(out->path);
  *out = (th_file_out){.fd = -1};
}

static th_status fail(th_file_out *out, th_error *error, const char *what, int errno_value) {
  th_status status = th_io_refused(error, out->path, what, errno_value);
  th_file_out_discard(out);
  return status;
}

/* mkstemp would do, but for its mode 0600; the file's mode should come from the umask, as with open,
 * and the umask cannot be read without setting it for the whole process. */
static int open_temporary(th_file_out *out, const char *path) {
  size_t room = strlen(path) + 40;
  char *name = malloc(room);
  if (!name) return ENOMEM;
  for (int i = 0; i < NAMES_TRIED; i++) {
    snprintf(name, room, "%s.tmp-%ld-%d", path, (long)getpid(), i);
    out->fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out->fd >= 0) {
      out->temporary = name;
      return 0;
    }
    if (errno != EEXIST) break;
  }
  int problem = errno;
  free(name);
  return problem;
}

th_status th_file_out_open(th_file_out *out, const char *path, th_error *error) {
  struct stat status;
  *out = (th_file_out){.fd = -1};
  out->path = strdup(path);
  if (!out->path) return th_io_no_memory(error, path);
  /* A rename would put a plain file where a device or a pipe was. */
  if (!stat(path, &status) && !S_ISREG(status.st_mode)) {
    th_file_out_discard(out);
    return th_error_set(error, TH_EIO, "%s: cannot write: %s", path,
                        S_ISDIR(status.st_mode) ? "Is a directory" : "not a regular file");
  }
  int problem = open_temporary(out, path);
  return problem ? fail(out, error, "write", problem) : TH_OK;
}

th_status th_file_out_write(th_file_out *out, const void *bytes, size_t size, th_error *error) {
  if (out->fd < 0) return th_error_set(error, TH_EINVAL, "a write to a file that is not open");
  const char *at = bytes;
  while (size > 0) {
    ssize_t wrote = write(out->fd, at, size);
    if (wrote < 0 && errno != EINTR) return fail(out, error, "write", errno);
    if (wrote > 0) {
      at += wrote;
      size -= (size_t)wrote;
    }
  }
  return TH_OK;
}

/* The directory that holds `path`, open, or -1 with errno. */
static int open_directory_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char *name = strndup(path, slash == path ? 1 : (size_t)(slash - path));
  if (!name) return -1;
  int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int problem = errno;
  free(name);
  errno = problem;
  return fd;
}

/* Renames and syncs the directory, which is opened first so that what can fail does so in time. */
static th_status take_place(th_file_out *out, th_error *error) {
  int directory = open_directory_of(out->path);
  if (directory < 0 && errno != EACCES) /* a directory may be writable without being readable */
    return fail(out, error, "open the directory", errno);
  if (rename(out->temporary, out->path)) {
    int problem = errno;
    if (directory >= 0) close(directory);
    return fail(out, error, "rename into place", problem);
  }
  free(out->temporary);
  out->temporary = NULL;
  int synced = directory < 0 ? 0 : fsync(directory);
  int problem = errno;
  if (directory >= 0) close(directory);
  if (synced && problem != EINVAL) /* EINVAL: a file system that cannot sync directories */
    return fail(out, error, "sync the directory", problem);
  th_file_out_discard(out);
  return TH_OK;
}

th_status th_file_out_commit(th_file_out *out, th_error *error) {
  if (out->fd < 0) return th_error_set(error, TH_EINVAL, "a commit of a file that is not open");
  if (fsync(out->fd)) return fail(out, error, "sync", errno);
  int closed = close(out->fd);
  out->fd = -1;
  if (closed && errno != EINTR) return fail(out, error, "write", errno);
  return take_place(out, error);
}

th_status th_file_write(const char *path, const void *bytes, size_t size, th_error *error) {
  th_file_out out;
  th_status status = th_file_out_open(&out, path, error);
  if (status == TH_OK) status = th_file_out_write(&out, bytes, size, error);
  if (status == TH_OK) status = th_file_out_commit(&out, error);
  return status; // NOLINT(clang-analyzer-unix.Malloc): a failed write has discarded, freeing out.path
}
