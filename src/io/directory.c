/* Directories. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Returns 0 or an errno. */
static int make_one(const char *path) {
  struct stat status;
  if (!mkdir(path, 0777)) return 0;
  int problem = errno;
  /* Not only EEXIST: for "/" or a read-only file system the answer may be another. */
  if (!stat(path, &status) && S_ISDIR(status.st_mode)) return 0;
  return problem;
}

th_status th_directory_make(const char *path, th_error *error) {
  char *name = strdup(path);
  if (!name) return th_io_no_memory(error, path);
  int problem = 0;
  for (char *c = name; *c && !problem; c++) {
    if (*c != '/' || c == name) continue;
    *c = '\0';
    problem = make_one(name);
    *c = '/';
  }
  if (!problem) problem = make_one(name);
  free(name);
  return problem ? th_io_refused(error, path, "make the directory", problem) : TH_OK;
}
