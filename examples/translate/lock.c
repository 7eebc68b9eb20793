#include "lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "settings.h"

#define WALK_DEPTH 8 /* directories that nftw holds open */

static struct {
  int fd;
  char path[PATH_TEXT];
} held = {.fd = -1};

/* ---- the lock --------------------------------------------------------------------------------------------- */

static void lock_path(char path[PATH_TEXT], const char *directory) {
  snprintf(path, PATH_TEXT, "%s/.lock", directory);
}

/* Whether the open file still bears this name. */
static bool is_at(int fd, const char *path) {
  struct stat open_one, named;
  return !fstat(fd, &open_one) && !stat(path, &named) && open_one.st_dev == named.st_dev &&
         open_one.st_ino == named.st_ino;
}

static struct flock whole_file(void) { return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET}; }

static th_status taken(const char *directory, int fd, th_error *error) {
  struct flock other = whole_file();
  char who[32] = "";
  /* On another machine or in another container it has no number here. */
  if (!fcntl(fd, F_GETLK, &other) && other.l_type != F_UNLCK && other.l_pid > 0)
    snprintf(who, sizeof who, " (process %ld)", (long)other.l_pid);
  return th_error_set(error, TH_EIO, "%s: another training%s is at work in it", directory, who);
}

/* `problem` is fcntl's. */
static th_status not_locked(const char *directory, const char *path, int fd, int problem, th_error *error) {
  if (problem == EACCES || problem == EAGAIN) return taken(directory, fd, error);
  if (problem != ENOLCK && problem != ENOSYS && problem != EOPNOTSUPP && problem != EINVAL)
    return th_error_set(error, TH_EIO, "%s: cannot lock: %s", path, strerror(problem));
  unlink(path); /* it keeps nobody out */
  printf("%s: its file system has no locks: see to it that no other training is at work in it\n", directory);
  return TH_OK;
}

th_status lock_take(const char *directory, th_error *error) {
  static bool at_exit;
  char path[PATH_TEXT];
  lock_path(path, directory);
  lock_drop();
  for (;;) {
    struct flock lock = whole_file();
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return th_error_set(error, TH_EIO, "%s: cannot make: %s", path, strerror(errno));
    if (fcntl(fd, F_SETLK, &lock)) {
      th_status status = not_locked(directory, path, fd, errno, error);
      close(fd);
      return status;
    }
    if (is_at(fd, path)) {
      held.fd = fd;
      strcpy(held.path, path);
      if (!at_exit) at_exit = !atexit(lock_drop);
      return TH_OK;
    }
    close(fd); /* its last holder removed it between our open and our lock */
  }
}

void lock_follow(const char *directory) {
  if (held.fd >= 0) lock_path(held.path, directory);
}

void lock_drop(void) {
  if (held.fd < 0) return;
  if (is_at(held.fd, held.path)) unlink(held.path); /* while it is locked, so that nobody's is removed */
  close(held.fd);
  held.fd = -1;
}

/* Not for the directory that is locked: a process loses its locks on a file with any descriptor of it that it
 * closes. */
th_status lock_check(const char *directory, th_error *error) {
  char path[PATH_TEXT];
  lock_path(path, directory);
  struct flock other = whole_file();
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return TH_OK; /* every training makes one before anything else */
  th_status status =
      fcntl(fd, F_GETLK, &other) || other.l_type == F_UNLCK ? TH_OK : taken(directory, fd, error);
  close(fd);
  return status;
}

/* ---- left-overs --------------------------------------------------------------------------------------------- */

/* This process has made nothing yet: what bears its number is of an earlier one. */
static bool is_dead(long process) {
  return process > 0 && (process == getpid() || (kill((pid_t)process, 0) && errno == ESRCH));
}

/* NAME.tmp-PROCESS-N of th_file_out, or .plot-PROCESS-N.tmp of the pictures, letter by letter. */
static bool is_temporary(const char *name, long *process) {
  char again[64];
  int number;
  const char *mark = NULL;
  for (const char *at = name; (at = strstr(at, ".tmp-")) != NULL; at++) mark = at;
  if (mark && mark > name && sscanf(mark, ".tmp-%9ld-%9d", process, &number) == 2) {
    snprintf(again, sizeof again, ".tmp-%ld-%d", *process, number);
    return !strcmp(again, mark);
  }
  if (sscanf(name, ".plot-%9ld-%9d", process, &number) != 2) return false;
  snprintf(again, sizeof again, ".plot-%ld-%d.tmp", *process, number);
  return !strcmp(again, name);
}

static int remove_temporary(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  long process;
  if (flag == FTW_F && S_ISREG(status->st_mode) && is_temporary(path + walk->base, &process) &&
      is_dead(process))
    unlink(path);
  return 0;
}

/* An unfinished run is flat: nothing is looked for below it, and with anything below it it stays. */
static void remove_unfinished(const char *path) {
  char file[PATH_TEXT];
  DIR *directory = lock_check(path, NULL) ? NULL : opendir(path);
  if (!directory) return;
  for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    int length = snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
    if (length < (int)sizeof file && entry->d_name[strspn(entry->d_name, ".")]) unlink(file);
  }
  closedir(directory);
  rmdir(path);
}

/* Whether `name` is BASE.unfinished-PROCESS of a process that is dead. */
static bool is_unfinished(const char *name, const char *base, size_t length) {
  long process;
  char again[64];
  if (strncmp(name, base, length) != 0 || sscanf(name + length, UNFINISHED "%9ld", &process) != 1)
    return false;
  snprintf(again, sizeof again, UNFINISHED "%ld", process);
  return !strcmp(again, name + length) && is_dead(process);
}

size_t directory_trim(char *path) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') path[--length] = 0;
  return length;
}

static void remove_unfinished_beside(const char *directory) {
  char parent[PATH_TEXT], path[PATH_TEXT];
  if (strlen(directory) >= sizeof parent) return;
  strcpy(parent, directory);
  directory_trim(parent);
  const char *slash = strrchr(parent, '/'), *base = slash ? slash + 1 : parent;
  size_t before = (size_t)(base - parent);
  DIR *beside =
      before ? (snprintf(path, sizeof path, "%.*s", (int)before, parent), opendir(path)) : opendir(".");
  if (!beside) return;
  for (const struct dirent *entry; (entry = readdir(beside)) != NULL;) {
    if (!is_unfinished(entry->d_name, base, strlen(base))) continue;
    if (snprintf(path, sizeof path, "%.*s%s", (int)before, parent, entry->d_name) < (int)sizeof path)
      remove_unfinished(path);
  }
  closedir(beside);
}

void leftovers_remove(const char *directory) {
  char inside[PATH_TEXT];
  remove_unfinished_beside(directory);
  if (held.fd < 0) return;
  snprintf(inside, sizeof inside, "%s/.", directory); /* also where the name is a symbolic link */
  nftw(inside, remove_temporary, WALK_DEPTH, FTW_PHYS);
}
