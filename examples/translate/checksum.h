/* The sum of a file, as cksum prints it, kept beside the file: half a file of lines is still a file of lines. */
#ifndef TRANSLATE_CHECKSUM_H
#define TRANSLATE_CHECKSUM_H

#include "tapehead/io.h"

/* Writes "SUM SIZE NAME", as `cksum NAME` prints it for these bytes. */
th_status checksum_save(const char *path, const char *name, const char *bytes, size_t size, th_error *error);

/* TH_EFORMAT, named `file`, where the bytes are not those that `path` speaks of. Where there is no such file
 * nothing is known, and nothing wrong. */
th_status checksum_check(const char *path, const char *file, const char *bytes, size_t size, th_error *error);

#endif
