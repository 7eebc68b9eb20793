#include "options.h"

#include <stdlib.h>
#include <string.h>

static th_status no_memory(th_error *error) {
  return th_error_set(error, TH_ENOMEM, "no memory for the command line");
}

/* Of a value that will not do popt names the value alone, where it is a word of its own: its option stands before
 * it. */
static const char *option_before(const char *word, int argc, const char **argv) {
  for (int i = 2; i < argc && *word != '-'; i++)
    if (!strcmp(argv[i], word) && argv[i - 1][0] == '-') return argv[i - 1];
  return "";
}

static th_status bad_option(poptContext context, int problem, int argc, const char **argv, th_error *error) {
  const char *bad = poptBadOption(context, 0), *option = option_before(bad, argc, argv);
  return th_error_set(error, TH_EINVAL, "%s%s%s: %s; see %s --help", option, *option ? " " : "", bad,
                      poptStrerror(problem), argv[0]);
}

static th_status take_options(poptContext context, const options_syntax *syntax, int argc, const char **argv,
                              th_error *error) {
  th_status status = TH_OK;
  int option;
  while (!status && (option = poptGetNextOpt(context)) > 0) {
    char *text = poptGetOptArg(context);
    status = text ? syntax->take(syntax->context, option, text, error) : no_memory(error);
    free(text);
  }
  return status || option == -1 ? status : bad_option(context, option, argc, argv, error);
}

static th_status take_directory(poptContext context, const options_syntax *syntax, const char *command,
                                char **directory, th_error *error) {
  const char *first = poptGetArg(context);
  if (first && !directory)
    return th_error_set(error, TH_EINVAL, "%s: unexpected; see %s --help", first, command);
  if (directory && (first ? poptPeekArg(context) != NULL : syntax->usage[0] != '['))
    return th_error_set(error, TH_EINVAL, "want one run's directory: %s %s", command, syntax->usage);
  if (first && !(*directory = strdup(first))) return no_memory(error);
  return TH_OK;
}

static th_status take_directories(poptContext context, const options_syntax *syntax, const char *command,
                                  char ***directories, th_error *error) {
  const char **rest = poptGetArgs(context);
  size_t count = 0;
  while (rest && rest[count]) count++;
  if (!count)
    return th_error_set(error, TH_EINVAL, "want a run's directory, or several: %s %s", command,
                        syntax->usage);
  if (!(*directories = calloc(count + 1, sizeof **directories))) return no_memory(error);
  for (size_t i = 0; i < count; i++)
    if (!((*directories)[i] = strdup(rest[i]))) return no_memory(error);
  return TH_OK;
}

static th_status begin(poptContext *context, const options_syntax *syntax, int argc, const char **argv,
                       th_error *error) {
  if (argc > 1 && !strcmp(argv[1], "-h")) argv[1] = "--help"; /* popt calls it -? */
  *context = poptGetContext(argv[0], argc, argv, syntax->table, 0);
  if (!*context) return no_memory(error);
  poptSetOtherOptionHelp(*context, syntax->usage);
  return take_options(*context, syntax, argc, argv, error);
}

th_status options_read(const options_syntax *syntax, int argc, const char **argv, char **directory,
                       th_error *error) {
  poptContext context;
  if (directory) *directory = NULL;
  th_status status = begin(&context, syntax, argc, argv, error);
  if (!status) status = take_directory(context, syntax, argv[0], directory, error);
  poptFreeContext(context);
  return status;
}

th_status options_read_several(const options_syntax *syntax, int argc, const char **argv, char ***directories,
                               th_error *error) {
  poptContext context;
  *directories = NULL;
  th_status status = begin(&context, syntax, argc, argv, error);
  if (!status) status = take_directories(context, syntax, argv[0], directories, error);
  poptFreeContext(context);
  return status;
}

void options_free_several(char **directories) {
  for (char **d = directories; d && *d; d++) free(*d);
  free(directories);
}

bool name_ends_in(const char *name, const char *ending) {
  size_t length = strlen(name), wanted = strlen(ending);
  return length > wanted && !strcmp(name + length - wanted, ending);
}
