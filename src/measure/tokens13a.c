/* The tokenizer of NIST's mteval-v13a.pl, as sacreBLEU writes it: five replacements of whole strings, then four of
 * regular expressions. All of what they look for is ASCII, so they work on bytes, and other characters pass whole. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

/* ---- whole strings --------------------------------------------------------------------------- */

/* Every `from` by the shorter `to`, in place, from left to right. */
static void replace(char *text, const char *from, const char *to) {
  size_t length = strlen(from), by = strlen(to);
  char *write = text;
  for (const char *read = text;;) {
    const char *found = strstr(read, from), *end = found ? found : read + strlen(read);
    memmove(write, read, (size_t)(end - read));
    write += end - read;
    if (!found) break;
    memcpy(write, to, by);
    write += by;
    read = found + length;
  }
  *write = 0;
}

static void trim_end(char *text) {
  char *end = text;
  for (const char *at = text; *at;)
    if (!th_point_is_space(th_point_next(&at))) end = text + (at - text);
  *end = 0;
}

static void replace_strings(char *text) {
  static const char *const pairs[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                                         {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};
  trim_end(text);
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) replace(text, pairs[i][0], pairs[i][1]);
}

/* ---- regular expressions --------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_no_digit(char c) { return !is_digit(c); }
static bool is_stop(char c) { return c == '.' || c == ','; }
static bool is_dash(char c) { return c == '-'; }
static bool is_symbol(char c) { /* [\{-\~\[-\` -\&\(-\+\:-\@\/]: ASCII's marks but for ' , - . */
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

/* A space on either side of every symbol. Writes at most three bytes for one. */
static void space_symbols(char *to, const char *from) {
  for (; *from; from++) {
    bool apart = is_symbol(*from);
    if (apart) *to++ = ' ';
    *to++ = *from;
    if (apart) *to++ = ' ';
  }
  *to = 0;
}

/* Two characters in a row that are `first` and `second`: a space between them, and one before or behind. What one
 * match has taken the next cannot. Writes at most four bytes for two. */
static void space_pairs(char *to, const char *from, bool first(char), bool second(char), bool before) {
  while (*from) {
    if (!from[1] || !first(from[0]) || !second(from[1])) {
      *to++ = *from++;
      continue;
    }
    if (before) *to++ = ' ';
    *to++ = from[0];
    *to++ = ' ';
    *to++ = from[1];
    if (!before) *to++ = ' ';
    from += 2;
  }
  *to = 0;
}

/* One space between words, none around them. */
static void join_words(char *text) {
  char *write = text;
  bool gap = false;
  for (const char *at = text, *begin = text; th_point_next(&at), at != begin; begin = at) {
    const char *again = begin;
    if (th_point_is_space(th_point_next(&again))) {
      gap = write > text;
      continue;
    }
    if (gap) *write++ = ' ';
    gap = false;
    memmove(write, begin, (size_t)(at - begin));
    write += at - begin;
  }
  *write = 0;
}

th_status th_measure_tokens(char **tokens, const char *line, th_error *error) {
  enum { GROWTH = 3 * 2 * 2 * 2 }; /* of the four passes at their worst */
  size_t length = strlen(line);
  char *a = malloc(GROWTH * (length + 2) + 1), *b = malloc(GROWTH * (length + 2) + 1);
  *tokens = NULL;
  if (!a || !b) {
    free(a);
    free(b);
    return th_measure_no_memory(error);
  }
  memcpy(a, line, length + 1);
  replace_strings(a);
  length = strlen(a);
  b[0] = ' ';
  memcpy(b + 1, a, length);
  memcpy(b + 1 + length, " ", 2);
  space_symbols(a, b);
  space_pairs(b, a, is_no_digit, is_stop, false);
  space_pairs(a, b, is_stop, is_no_digit, true);
  space_pairs(b, a, is_digit, is_dash, false);
  join_words(b);
  free(a);
  *tokens = b;
  return TH_OK;
}
