#include "tapehead/tensor.h"

#include <stdarg.h>
#include <stdio.h>

th_status(th_error_set)(th_error *error, th_status status, const char *format, ...) {
  if (!error) return status;
  error->status = status;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->text, sizeof error->text, format, arguments);
  va_end(arguments);
  return status;
}
