/* Canvas to PNG file, whole or not at all. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "canvas.h"

#define NAME_ROOM 64       /* longest temporary file name, without its directory */
#define NAME_TRIES 100     /* names tried when others of this process are at work in the directory */
#define NEW_FILE_MODE 0666 /* as fopen does; the umask takes away from it */

static th_status cannot_write(const char *path, th_error *error) {
  return th_error_set(error, TH_EIO, "%s: cannot write: %s", path, strerror(errno));
}

/* libpng's own handlers print and abort; these keep silent and jump back. */
static void on_png_error(png_structp png, png_const_charp message) {
  (void)message;
  png_longjmp(png, 1);
}

static void on_png_warning(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

static void on_png_write(png_structp png, png_bytep data, size_t size) {
  if (fwrite(data, 1, size, png_get_io_ptr(png)) != size) png_error(png, "write");
}

static void on_png_flush(png_structp png) {
  if (fflush(png_get_io_ptr(png)) != 0) png_error(png, "flush");
}

/* The jump comes back here, so no local variable may change after setjmp. */
static bool put_picture(const th_canvas *canvas, FILE *file, png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_write_fn(png, file, on_png_write, on_png_flush);
  png_set_IHDR(png, info, (png_uint_32)canvas->width, (png_uint_32)canvas->height, 8, PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int row = 0; row < canvas->height; row++)
    png_write_row(png, canvas->pixels + (size_t)row * (size_t)canvas->width * 3);
  png_write_end(png, info);
  return true;
}

/* Fills `file` and syncs it. False with errno set; ENOMEM where libpng failed for want of memory. */
static bool encode(const th_canvas *canvas, FILE *file) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_png_error, on_png_warning);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  errno = 0;
  bool good = info && put_picture(canvas, file, png, info);
  if (!good && errno == 0) errno = ENOMEM;
  int why = errno;
  png_destroy_write_struct(&png, &info);
  errno = why;
  return good && fflush(file) == 0 && fsync(fileno(file)) == 0;
}

/* The part of `path` up to and with its last slash; 0 for a bare file name. */
static size_t directory_length(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? (size_t)(slash - path) + 1 : 0;
}

/* Opens a new file in the directory of `path` and puts its name into `name`, which has
 * directory_length + NAME_ROOM bytes. NULL with errno set. */
static FILE *open_beside(const char *path, char *name) {
  size_t directory = directory_length(path);
  memcpy(name, path, directory);
  for (int i = 0; i < NAME_TRIES; i++) {
    snprintf(name + directory, NAME_ROOM, ".plot-%ld-%d.tmp", (long)getpid(), i);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, NEW_FILE_MODE);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return NULL;
    FILE *file = fdopen(fd, "wb");
    if (!file) {
      int why = errno;
      close(fd);
      unlink(name);
      errno = why;
    }
    return file;
  }
  return NULL;
}

/* The new name is in the directory for good only when that is synced too. A file system that cannot
 * sync directories is no reason to fail: the picture is in place. */
static void sync_directory(const char *path, char *name) {
  size_t directory = directory_length(path);
  memcpy(name, directory ? path : "./", directory ? directory : 2);
  name[directory ? directory : 2] = '\0';
  int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

static bool write_beside_and_rename(const th_canvas *canvas, const char *path, char *name) {
  FILE *file = open_beside(path, name);
  if (!file) return false;
  bool good = encode(canvas, file);
  int why = errno;
  if (fclose(file) != 0 && good) {
    good = false;
    why = errno;
  }
  if (good && rename(name, path) != 0) {
    good = false;
    why = errno;
  }
  if (good) sync_directory(path, name);
  else unlink(name);
  errno = why;
  return good;
}

th_status th_canvas_write_png(const th_canvas *canvas, const char *path, th_error *error) {
  struct stat old;
  /* A rename would replace a device such as /dev/stdout by a file. */
  if (stat(path, &old) == 0 && !S_ISREG(old.st_mode))
    return th_error_set(error, TH_EIO, "%s: cannot write: not a regular file", path);
  char *name = malloc(directory_length(path) + NAME_ROOM);
  if (!name) return th_error_set(error, TH_ENOMEM, "%s: no memory for its name", path);
  bool good = write_beside_and_rename(canvas, path, name);
  int why = errno;
  free(name);
  errno = why;
  if (good) return TH_OK;
  if (why == ENOMEM) return th_error_set(error, TH_ENOMEM, "%s: no memory to write it", path);
  return cannot_write(path, error);
}
