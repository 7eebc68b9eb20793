/* The report of a head study: one page that needs nothing else, neither a network nor a file beside it. */
#ifndef REPORT_H
#define REPORT_H

#include <jansson.h>

#include "tapehead/tensor.h"

/* Writes the page of report/ with `study` in it, atomically. What the page reads of `study`, and what it makes of a
 * null, stands in docs/run-directory.md. TH_EINVAL: not an object; TH_ENOMEM; TH_EIO. */
th_status write_report(const char *path, const json_t *study, th_error *error);

#endif
