/* UTF-8 to code points. */
#ifndef TAPEHEAD_PLOT_UTF8_H
#define TAPEHEAD_PLOT_UTF8_H

#include <stdint.h>

#define TH_REPLACEMENT 0xFFFD

/* Reads one code point of the NUL-terminated `*text` and moves `*text` behind it; 0 at the end, where
 * it stays. Bytes that are no UTF-8 (overlong, surrogate, cut short) give TH_REPLACEMENT. */
uint32_t th_utf8_next(const char **text);

#endif
