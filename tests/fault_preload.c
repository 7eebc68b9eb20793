/* Preloaded into the program by tests: counts its calls on files of the run and, at the one asked for, fails
 * it or kills the process.
 *
 *   TAPEHEAD_FAULT=N:kill      the process ends at call N as by a loss of power; of a write half arrives
 *   TAPEHEAD_FAULT=N:stop      the process stops before call N, until SIGCONT
 *   TAPEHEAD_FAULT=N:ENOSPC    call N fails, once; so do N:EIO, N:ENOLCK
 *   TAPEHEAD_FAULT=N:full      from call N on nothing more can be made or written: ENOSPC
 *   TAPEHEAD_FAULT=N:short     of the write N only half arrives, which is no error
 *   TAPEHEAD_FAULT_LOG=FILE    a line "CALL PATH" for each
 *
 * Counted are calls on relative paths and on what was opened by one: the program gets its run that way, and
 * everything else (fonts, libraries) by absolute ones. Of several writes, or reads, one after another to one
 * file the first counts, unless TAPEHEAD_FAULT_EACH is set. Nothing is synced, which a test cannot see and which takes most of the time. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 256 };

static struct {
  char path[PATH_MAX];
  int tracked, directory;
  const char *last; /* the last call on it */
} files[FILES];

static long asked, calls;
static int problem, deadly, stopping, full, halved, each, log_fd = -1, ready;

#define REAL(result, name, ...) \
  static result (*real)(__VA_ARGS__); \
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

/* ---- the plan ------------------------------------------------------------------------------------------- */

static void prepare(void) {
  REAL(int, open, const char *, int, ...);
  const char *plan = getenv("TAPEHEAD_FAULT"), *log = getenv("TAPEHEAD_FAULT_LOG");
  ready = 1;
  each = getenv("TAPEHEAD_FAULT_EACH") != NULL;
  if (log) log_fd = real(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (!plan) return;
  char *what;
  asked = strtol(plan, &what, 10);
  deadly = !strcmp(what, ":kill");
  stopping = !strcmp(what, ":stop");
  full = !strcmp(what, ":full");
  halved = !strcmp(what, ":short");
  problem = !strcmp(what, ":EIO") ? EIO : !strcmp(what, ":ENOLCK") ? ENOLCK : ENOSPC;
}

typedef enum { GO_ON, FAIL, HALF, HALF_AND_DIE } verdict;

static void die(void) { kill(getpid(), SIGKILL); }

/* A call that counts. Of a call that takes room, `room`; of one that may be done by half, `parts`. */
static verdict meet(const char *call, const char *path, int room, int parts) {
  REAL(ssize_t, write, int, const void *, size_t);
  if (!ready) prepare();
  calls++;
  if (log_fd >= 0) {
    char line[PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    if (real(log_fd, line, (size_t)length) < 0) die();
  }
  if (!asked || calls < asked || (calls > asked && !(full && room))) return GO_ON;
  if (deadly && parts) return HALF_AND_DIE;
  if (deadly) die();
  if (stopping) {
    kill(getpid(), SIGSTOP);
    return GO_ON;
  }
  if (halved) return parts ? HALF : GO_ON;
  if (full && !room) return GO_ON;
  errno = problem;
  return FAIL;
}

static verdict meet_file(const char *call, int fd, int room, int parts) {
  if (fd < 0 || fd >= FILES || !files[fd].tracked) return GO_ON;
  if (!ready) prepare();
  int again = !each && files[fd].last && !strcmp(files[fd].last, call);
  files[fd].last = call;
  /* A disk that is full is so for the second write, too. */
  if (again && full && asked && calls >= asked && room) return errno = ENOSPC, FAIL;
  return again ? GO_ON : meet(call, files[fd].path, room, parts);
}

static int is_ours(const char *path) { return path && path[0] != '/'; }

/* ---- calls on names -------------------------------------------------------------------------------------- */

int open(const char *path, int flags, ...) {
  REAL(int, open, const char *, int, ...);
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (!is_ours(path)) return real(path, flags, mode);
  int directory = (flags & O_DIRECTORY) != 0;
  if (meet(directory ? "open-directory" : "open", path, (flags & O_CREAT) != 0, 0) == FAIL) return -1;
  int fd = real(path, flags, mode);
  if (fd < 0 || fd >= FILES) return fd;
  snprintf(files[fd].path, sizeof files[fd].path, "%s", path);
  files[fd].tracked = 1;
  files[fd].directory = directory;
  files[fd].last = NULL;
  return fd;
}

int mkdir(const char *path, mode_t mode) {
  REAL(int, mkdir, const char *, mode_t);
  return is_ours(path) && meet("mkdir", path, 1, 0) == FAIL ? -1 : real(path, mode);
}

int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  return is_ours(from) && meet("rename", from, 1, 0) == FAIL ? -1 : real(from, to);
}

int unlink(const char *path) {
  REAL(int, unlink, const char *);
  return is_ours(path) && meet("unlink", path, 0, 0) == FAIL ? -1 : real(path);
}

/* ---- calls on what is open --------------------------------------------------------------------------------- */

ssize_t write(int fd, const void *bytes, size_t size) {
  REAL(ssize_t, write, int, const void *, size_t);
  verdict v = meet_file("write", fd, 1, 1);
  if (v == FAIL) return -1;
  ssize_t wrote = real(fd, bytes, v == GO_ON || size < 2 ? size : size / 2);
  if (v == HALF_AND_DIE) die();
  return wrote;
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *file) {
  REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
  verdict v = meet_file("fwrite", fileno(file), 1, 1);
  if (v == FAIL) return 0;
  size_t wrote = real(bytes, size, v == HALF_AND_DIE ? count / 2 : count, file);
  if (v == HALF_AND_DIE) fflush(file), die();
  return wrote;
}

ssize_t read(int fd, void *bytes, size_t size) {
  REAL(ssize_t, read, int, void *, size_t);
  return meet_file("read", fd, 0, 0) == FAIL ? -1 : real(fd, bytes, size);
}

int fsync(int fd) {
  REAL(int, fsync, int);
  if (fd < 0 || fd >= FILES || !files[fd].tracked) return real(fd);
  return meet_file(files[fd].directory ? "fsync-directory" : "fsync", fd, !files[fd].directory, 0) == FAIL
             ? -1
             : 0;
}

int ftruncate(int fd, off_t size) {
  REAL(int, ftruncate, int, off_t);
  return meet_file("ftruncate", fd, 0, 0) == FAIL ? -1 : real(fd, size);
}

off_t lseek(int fd, off_t to, int from) {
  REAL(off_t, lseek, int, off_t, int);
  return meet_file("lseek", fd, 0, 0) == FAIL ? -1 : real(fd, to, from);
}

int fcntl(int fd, int command, ...) {
  REAL(int, fcntl, int, int, ...);
  va_list rest;
  va_start(rest, command);
  void *argument = va_arg(rest, void *); /* an int goes the same way on every machine that preloads */
  va_end(rest);
  if (command == F_SETLK && meet_file("lock", fd, 0, 0) == FAIL) return -1;
  return real(fd, command, argument);
}

/* Linux closes the descriptor whatever it says. */
int close(int fd) {
  REAL(int, close, int);
  int tracked = fd >= 0 && fd < FILES && files[fd].tracked;
  verdict v = meet_file(tracked && files[fd].directory ? "close-directory" : "close", fd, 0, 0);
  if (tracked) files[fd].tracked = 0;
  int why = errno, closed = real(fd);
  if (v != FAIL) return closed;
  errno = why;
  return -1;
}

int fclose(FILE *file) {
  REAL(int, fclose, FILE *);
  int fd = fileno(file);
  verdict v = meet_file("fclose", fd, 0, 0);
  if (fd >= 0 && fd < FILES) files[fd].tracked = 0;
  int why = errno, closed = real(file);
  if (v != FAIL) return closed;
  errno = why;
  return EOF;
}
