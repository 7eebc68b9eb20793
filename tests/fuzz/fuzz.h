/* What the targets share. A target takes any bytes, does with them what its reader does with a file, and claims what
 * must then hold. libFuzzer feeds it (make fuzz), or replay.c does, with the files of its corpus (make check). */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static inline void fuzz_found(const char *file, int line, const char *claim) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
  abort();
}
#define FIRST(first, ...) first
#define CLAIM(...) (FIRST(__VA_ARGS__, 0) ? (void)0 : fuzz_found(__FILE__, __LINE__, #__VA_ARGS__))

/* Bytes taken one by one; 0 after the last. */
typedef struct feed {
  const uint8_t *at;
  size_t left;
} feed;

static inline unsigned feed_byte(feed *f) { return f->left ? (f->left--, *f->at++) : 0; }
static inline int feed_below(feed *f, int limit) { return (int)feed_byte(f) % limit; }

/* What is left up to the next zero byte, which is passed over: NULL where nothing is. The caller's to free(). */
static inline __attribute__((unused)) char *feed_text(feed *f) {
  if (!f->left) return NULL;
  const uint8_t *end = memchr(f->at, 0, f->left);
  size_t length = end ? (size_t)(end - f->at) : f->left, taken = end ? length + 1 : length;
  char *text = malloc(length + 1);
  CLAIM(text != NULL);
  memcpy(text, f->at, length);
  text[length] = 0;
  f->at += taken, f->left -= taken;
  return text;
}

/* A file of these bytes that has no place on a disk; its name is good until it is closed. */
typedef struct fuzz_file {
  int fd;
  char path[32];
} fuzz_file;

static inline __attribute__((unused)) fuzz_file fuzz_file_open(const void *bytes, size_t size) {
  fuzz_file f = {.fd = memfd_create("input", MFD_CLOEXEC)};
  CLAIM(f.fd >= 0 && write(f.fd, bytes, size) == (ssize_t)size && lseek(f.fd, 0, SEEK_SET) == 0);
  snprintf(f.path, sizeof f.path, "/proc/self/fd/%d", f.fd);
  return f;
}
static inline __attribute__((unused)) void fuzz_file_close(fuzz_file *f) { close(f->fd); }

/* An error of the library is one line that is not empty. The program's may repeat a word that has a newline: it is made
 * one line where it is printed. */
#define CLAIM_SAID(error) CLAIM((error).status && (error).text[0])
#define CLAIM_ERROR(error) CLAIM((error).status && (error).text[0] && !strchr((error).text, '\n'))

#endif
