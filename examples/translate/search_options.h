/* How outputs are looked for, and with which weights: the flags of every command that decodes. */
#ifndef TRANSLATE_SEARCH_OPTIONS_H
#define TRANSLATE_SEARCH_OPTIONS_H

#include "options.h"
#include "run.h"

typedef struct search_flags {
  int beam, sample, top_k, no_cache; /* sample and no_cache are set or not */
  double alpha, temperature, top_p;
  long long seed;
  char *use;           /* popt's: free with search_flags_free */
  run_weights weights; /* what it means, once checked */
} search_flags;

/* For a table of popt's: {NULL, '\0', POPT_ARG_INCLUDE_TABLE, table, 0, "Search:", NULL}. Sets the defaults. */
#define SEARCH_FLAGS 10
void search_flags_table(search_flags *f, struct poptOption table[SEARCH_FLAGS]);
/* After the command line was read: what does not fit together, TH_EINVAL and one line in words of the flags.
 * `best` outputs are wanted of each source. */
th_status search_flags_check(search_flags *f, int64_t best, th_error *error);
void search_flags_free(search_flags *f);

th_search_options search_options(const search_flags *f, const run *r, int64_t best);

#endif
