#include "checksum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLYNOMIAL 0x04C11DB7u
#define LINE_ROOM 64

/* POSIX.1-2017, cksum: a CRC of 32 bits, highest first, over the bytes and then those of the size, lowest first. */
static uint32_t checksum(const char *bytes, size_t size) {
  uint32_t table[256], sum = 0;
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t rest = i << 24;
    for (int bit = 0; bit < 8; bit++) rest = rest << 1 ^ (rest >> 31 ? POLYNOMIAL : 0);
    table[i] = rest;
  }
  for (size_t i = 0; i < size; i++) sum = sum << 8 ^ table[sum >> 24 ^ (unsigned char)bytes[i]];
  for (size_t left = size; left; left >>= 8) sum = sum << 8 ^ table[sum >> 24 ^ (left & 0xFF)];
  return ~sum;
}

static void make_line(char line[LINE_ROOM], const char *name, const char *bytes, size_t size) {
  snprintf(line, LINE_ROOM, "%lu %zu %s\n", (unsigned long)checksum(bytes, size), size, name);
}

th_status checksum_save(const char *path, const char *name, const char *bytes, size_t size, th_error *error) {
  char line[LINE_ROOM];
  make_line(line, name, bytes, size);
  return th_file_write(path, line, strlen(line), error);
}

th_status checksum_check(const char *path, const char *file, const char *bytes, size_t size,
                         th_error *error) {
  char *said, wanted[LINE_ROOM];
  const char *slash = strrchr(file, '/');
  size_t length, known;
  unsigned long sum;
  int end = 0;
  if (access(path, F_OK)) return TH_OK;
  th_status status = th_file_read(path, &said, &length, error);
  if (status) return status;
  make_line(wanted, slash ? slash + 1 : file, bytes, size);
  if (sscanf(said, "%lu %zu%n", &sum, &known, &end) != 2 || strcmp(said + end, strrchr(wanted, ' ')) != 0)
    status = th_error_set(error, TH_EFORMAT, "%s: not the line that cksum prints for %s", path, file);
  else if (strcmp(said, wanted) != 0)
    status = th_error_set(error, TH_EFORMAT, "%s: %zu bytes that are not the %zu the run began with", file,
                          size, known);
  free(said);
  return status;
}
