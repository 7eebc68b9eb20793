/* Names of parameters inside layers inside models. */
#ifndef TAPEHEAD_NN_NAME_H
#define TAPEHEAD_NN_NAME_H

#include "tapehead/nn.h"

#include <stdio.h>

/* "prefix.part" into text, or only part where prefix is NULL or empty. Returns the length it wanted. */
static inline int th_name_under(char text[TH_NAME_MAX], const char *prefix, const char *part) {
  bool joined = prefix && *prefix;
  return snprintf(text, TH_NAME_MAX, "%s%s%s", joined ? prefix : "", joined ? "." : "", part);
}

#endif
