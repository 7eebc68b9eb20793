/* A task of your own: pairs of text on stdout, for `translate train --pairs`. Here a letter says how far the ones after it
 * are to be turned to the left, a by none, b by one: `cvwxyz` becomes `xyzvw`. To turn, a head must look further by
 * as much as the first letter says: it cannot go by place alone.
 *
 *     build/release/own_task 20000 >turns.tsv
 *     build/release/translate train --pairs turns.tsv --out runs/turns */
#include "tapehead/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORTEST = 3, LONGEST = 8, LETTERS = 26 };

/* Anything that makes one text of another. Both are UTF-8 without tab or newline. */
static void turn(const char *source, char *target) {
  const char *letters = source + 1;
  size_t n = strlen(letters), by = (size_t)(source[0] - 'a') % n;
  for (size_t i = 0; i < n; i++) target[i] = letters[(i + by) % n];
  target[n] = 0;
}

/* The same number gives the same source. Random numbers are looked up by seed, stream and position, not drawn in turn. */
static void draw(uint64_t number, char *source) {
  th_random random = {1, number};
  int n = SHORTEST + (int)th_random_below(random, 0, LONGEST - SHORTEST + 1);
  source[0] = (char)('a' + th_random_below(random, 1, n));
  for (int i = 1; i <= n; i++) source[i] = (char)('a' + th_random_below(random, 1 + (uint64_t)i, LETTERS));
  source[n + 1] = 0;
}

int main(int count, char **arguments) {
  char source[LONGEST + 2], target[LONGEST + 1];
  char *end = "x";
  long pairs = count == 2 ? strtol(arguments[1], &end, 10) : 0;
  if (pairs < 1 || *end)
    return fprintf(stderr, "Usage: own_task PAIRS, such as own_task 20000 >turns.tsv\n"), 2;
  for (long i = 0; i < pairs; i++) {
    draw((uint64_t)i, source);
    turn(source, target);
    printf("%s\t%s\n", source, target);
  }
  return fflush(stdout) || ferror(stdout);
}
