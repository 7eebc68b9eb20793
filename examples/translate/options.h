/* What the commands' command lines have in common: popt's ways, the run's directory, the errors. */
#ifndef TRANSLATE_OPTIONS_H
#define TRANSLATE_OPTIONS_H

#include <popt.h>

#include "tapehead/tensor.h"

/* What a command takes. Options whose `val` is 0 are stored by popt; the others, from 1, go to `take`, with their
 * text if they have one. */
typedef struct options_syntax {
  const struct poptOption *table;
  /* What follows the command's name: begins with DIR where one run's directory is wanted, with [DIR] where there
   * may be one. */
  const char *usage;
  th_status (*take)(void *context, int option, const char *text, th_error *error); /* NULL: there are none */
  void *context;
} options_syntax;

/* Reads a command line; argv[0] is the command's name, as in "translate eval". *directory is the caller's to
 * free(), NULL where none was given; NULL for a command that takes none. TH_EINVAL and one line for what is
 * wrong. Exits after --help. */
th_status options_read(const options_syntax *syntax, int argc, const char **argv, char **directory,
                       th_error *error);

/* The same of a command that takes one run's directory or more: a list that ends with NULL, the caller's to free with
 * options_free_several, whatever the status. */
th_status options_read_several(const options_syntax *syntax, int argc, const char **argv, char ***directories,
                               th_error *error);
void options_free_several(char **directories);

/* Whether a file's name ends in `ending`, with something before it. */
bool name_ends_in(const char *name, const char *ending);

/* Row of a table: which of a run's weights. run_weights_parse says what the text means; the text is free()d. */
#define OPTION_USE(text) \
  { "use", '\0', POPT_ARG_STRING, (text), 0, "which weights (default: last)", "last|best|average|ema" }

#endif
