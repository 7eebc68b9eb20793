/* A directory of its own for each test of files, and what those tests say often. */
#ifndef TEST_IO_DIRECTORY_H
#define TEST_IO_DIRECTORY_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tapehead/io.h"

static char directory[64]; /* made before a test, removed after it */

static inline void enter_directory(void) {
  strcpy(directory, "/tmp/tapehead-test-XXXXXX");
  cr_assert_not_null(mkdtemp(directory));
  cr_assert_eq(chdir(directory), 0);
}

static inline int remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)status, (void)flag, (void)walk;
  return remove(path);
}

static inline void leave_directory(void) {
  cr_assert_eq(chdir("/"), 0);
  nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void put(const char *path, const char *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  cr_assert_not_null(file);
  cr_assert_eq(fwrite(bytes, 1, size, file), size);
  cr_assert_eq(fclose(file), 0);
}

static inline void put_text(const char *path, const char *text) { put(path, text, strlen(text)); }

static inline void assert_holds(const char *path, const void *bytes, size_t size) {
  char *found;
  size_t found_size;
  cr_assert_eq(th_file_read(path, &found, &found_size, NULL), TH_OK);
  cr_assert_eq(found_size, size, "%s holds %zu bytes and should hold %zu:\n%s", path, found_size, size,
               found);
  cr_assert(!memcmp(found, bytes, size), "%s holds:\n%s", path, found);
  free(found);
}

static inline void assert_holds_text(const char *path, const char *text) {
  assert_holds(path, text, strlen(text));
}

static inline int files_here(void) {
  int count = 0;
  DIR *here = opendir(".");
  cr_assert_not_null(here);
  for (const struct dirent *file; (file = readdir(here)) != NULL;) count += file->d_name[0] != '.';
  closedir(here);
  return count;
}

static inline void assert_fails(th_status got, th_status wanted, const th_error *error, const char *text) {
  cr_assert_eq(got, wanted, "status %d: %s", (int)got, error->text);
  cr_assert_eq(error->status, wanted);
  cr_assert_str_eq(error->text, text);
}

#endif
