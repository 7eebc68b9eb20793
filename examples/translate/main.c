#include "commands.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: %s COMMAND ...\n"
    "\n"
    "Trains a small Transformer to turn one sequence into another, and looks at its heads.\n"
    "\n"
    "  train --task reverse --out DIR    learn a toy task, such as copy or sort\n"
    "  train --pairs FILE --out DIR      learn from lines of source<TAB>target\n"
    "  train --recipe FILE --out DIR     train as a file of settings says\n"
    "  train --out DIR                   go on with the run in DIR\n"
    "  decode DIR                        lines on standard input, outputs on standard output\n"
    "  eval DIR [--pairs FILE] [--json]  how well it does on what it has not seen\n"
    "  tokens DIR [--target] [--ids]     lines on standard input, how they are cut into tokens\n"
    "  logits DIR --pairs FILE --out FILE.npy\n"
    "                                    what it says of every next token, as an array\n"
    "  score --reference A --output B    how near the lines of B come to those of A\n"
    "  heads DIR [DIR...]                what each attention head does, and what it is worth\n"
    "  prune DIR --heads LIST --out NEW  the run without these heads, smaller and faster\n"
    "  collaborate DIR --shared-width N --out NEW\n"
    "                                    the run with queries and keys that its heads share\n"
    "  gradcheck [DIR]                   its gradients against finite differences\n"
    "\n"
    "Each command explains itself with --help.\n"
    "Exit status: 0 well, 1 failure, 2 wrong usage, 130 stopped by Ctrl-C with all saved.\n";

static struct {
  const char *name;
  th_status (*run)(int argc, const char **argv, th_error *error);
} commands[] = {
    {"train", train_command},         {"decode", decode_command}, {"eval", eval_command},
    {"tokens", tokens_command},       {"logits", logits_command}, {"score", score_command},
    {"heads", heads_command},         {"prune", prune_command},   {"collaborate", collaborate_command},
    {"gradcheck", gradcheck_command},
};

/* What the program is called: it is installed as tapehead-translate. */
static const char *program(void) { return program_invocation_short_name; }

/* One line, whatever a file or an argument is called; none where the command said all itself. Returns the exit
 * status. */
static int complain(const char *command, char *text, int status) {
  if (!*text) return status;
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
  fprintf(stderr, "%s%s%s: %s\n", program(), command ? " " : "", command ? command : "", text);
  return status;
}

/* What was printed must have arrived. */
static th_status finish_output(th_error *error) {
  errno = 0;
  if (!fflush(stdout) && !ferror(stdout)) return TH_OK;
  return th_error_set(error, TH_EIO, "standard output: cannot write%s%s", errno ? ": " : "",
                      errno ? strerror(errno) : "");
}

/* OpenBLAS picks its kernels as it is loaded, and has poor ones for a processor newer than itself. Where it has better ones, the
 * program starts again with these; what the user asked for stands. */
static void run_with_better_kernels(char **argv) {
  static const char variable[] = "OPENBLAS_CORETYPE";
  const char *better = getenv(variable) ? NULL : th_blas_better_kernels();
  if (!better || setenv(variable, better, 1)) return;
  execv("/proc/self/exe", argv);
  unsetenv(variable); /* it could not: then with those there are */
}

int main(int argc, char **argv) {
  th_error error = {0};
  if (argc >= 2 && !strcmp(argv[1], "--version")) {
    printf("%s, of tapehead " TH_VERSION "\n", program());
    return finish_output(&error) ? complain(NULL, error.text, 1) : 0;
  }
  if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
    printf(usage, program());
    return finish_output(&error) ? complain(NULL, error.text, 1) : 0;
  }
  for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(argv[1], commands[i].name) != 0) continue;
    run_with_better_kernels(argv);
    char title[NAME_MAX + 16]; /* as popt's help shows it */
    snprintf(title, sizeof title, "%s %s", program(), commands[i].name);
    argv[1] = title;
    th_status status = commands[i].run(argc - 1, (const char **)argv + 1, &error);
    if (!status) status = finish_output(&error);
    return status ? complain(commands[i].name, error.text, status == TH_EINVAL ? 2 : 1) : 0;
  }
  static const char wanted[] = "want train, decode, eval, score, tokens, logits, heads, prune, collaborate "
                               "or gradcheck; see";
  if (argc < 2) th_error_set(&error, TH_EINVAL, "no command: %s %s --help", wanted, program());
  else th_error_set(&error, TH_EINVAL, "unknown command %s: %s %s --help", argv[1], wanted, program());
  return complain(NULL, error.text, 2);
}
