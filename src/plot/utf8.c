#include "utf8.h"

/* What a first byte says of its sequence (RFC 3629, section 4). */
typedef struct lead {
  uint8_t first, last; /* the bytes it stands for */
  int more;            /* continuation bytes that follow */
  uint8_t low, high;   /* bounds of the first of them, against overlong forms and surrogates */
} lead;

static const lead leads[] = {
    {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF}, {0xE1, 0xEC, 2, 0x80, 0xBF},
    {0xED, 0xED, 2, 0x80, 0x9F}, {0xEE, 0xEF, 2, 0x80, 0xBF}, {0xF0, 0xF0, 3, 0x90, 0xBF},
    {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F},
};

#define LEADS (sizeof leads / sizeof leads[0])
#define PAYLOAD 0x3F /* the bits of a code point in a continuation byte */

static const lead *find_lead(uint8_t byte) {
  for (unsigned i = 0; i < LEADS; i++)
    if (byte >= leads[i].first && byte <= leads[i].last) return &leads[i];
  return 0;
}

uint32_t th_utf8_next(const char **text) {
  const uint8_t *byte = (const uint8_t *)*text;
  if (*byte == 0) return 0;
  const lead *kind = find_lead(*byte);
  uint32_t code = *byte < 0x80 ? *byte : TH_REPLACEMENT;
  if (kind) {
    code = *byte & (PAYLOAD >> kind->more);
    for (int i = 0; i < kind->more; i++) {
      uint8_t low = i == 0 ? kind->low : 0x80;
      uint8_t high = i == 0 ? kind->high : 0xBF;
      /* A NUL is below `low`, so reading never passes the end of the text. */
      if (byte[1] < low || byte[1] > high) {
        code = TH_REPLACEMENT;
        break;
      }
      byte++;
      code = code << 6 | (*byte & PAYLOAD);
    }
  }
  *text = (const char *)byte + 1;
  return code;
}
