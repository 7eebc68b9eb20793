/* The words of criterion that tests/engine_desk.h uses, for targets, which have no runner of tests around them. */
#ifndef TESTS_FUZZ_CRITERION_H
#define TESTS_FUZZ_CRITERION_H

#include <stdarg.h>

#include "../fuzz.h"

/* What follows the claim says in what way it does not hold. */
static inline void fuzz_refuted(const char *file, int line, int claim, const char *format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  (void)claim;
  fuzz_found(file, line, text);
}
#define cr_assert(...) \
  (FIRST(__VA_ARGS__, 0) ? (void)0 : fuzz_refuted(__FILE__, __LINE__, __VA_ARGS__, "not what it should be"))
#define cr_assert_str_eq(a, b) CLAIM(!strcmp(a, b))

#endif
