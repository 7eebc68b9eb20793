#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "translate trains a small Transformer to turn one sequence into another, and looks at its heads.\n"
    "\n"
    "  translate train --task reverse --out DIR    learn a toy task, such as copy or sort\n"
    "  translate train --pairs FILE --out DIR      learn from lines of source<TAB>target\n"
    "  translate train --recipe FILE --out DIR     train as a file of settings says\n"
    "  translate train --out DIR                   go on with the run in DIR\n"
    "  translate decode DIR                        lines on standard input, outputs on standard output\n"
    "  translate eval DIR [--pairs FILE] [--json]  how well it does on what it has not seen\n"
    "  translate tokens DIR [--target] [--ids]     lines on standard input, how they are cut into tokens\n"
    "  translate logits DIR --pairs FILE --out FILE.npy\n"
    "                                              what it says of every next token, as an array\n"
    "  translate score --reference A --output B    how near the lines of B come to those of A\n"
    "  translate heads DIR [DIR...]                what each attention head does, and what it is worth\n"
    "  translate prune DIR --heads LIST --out NEW\n"
    "                                              the run without these heads, smaller and faster\n"
    "  translate collaborate DIR --shared-width N --out NEW\n"
    "                                              the run with queries and keys that its heads share\n"
    "  translate gradcheck [DIR]                   its gradients against finite differences\n"
    "\n"
    "Each command explains itself with --help. Exit status: 0 well, 1 failure, 2 wrong usage,\n"
    "130 stopped by Ctrl-C with all saved.\n";

static struct {
  const char *name;
  char title[24]; /* argv[0] of the command, as popt's help shows it */
  th_status (*run)(int argc, const char **argv, th_error *error);
} commands[] = {
    {"train", "translate train", train_command},
    {"decode", "translate decode", decode_command},
    {"eval", "translate eval", eval_command},
    {"tokens", "translate tokens", tokens_command},
    {"logits", "translate logits", logits_command},
    {"score", "translate score", score_command},
    {"heads", "translate heads", heads_command},
    {"prune", "translate prune", prune_command},
    {"collaborate", "translate collaborate", collaborate_command},
    {"gradcheck", "translate gradcheck", gradcheck_command},
};

/* One line, whatever a file or an argument is called; none where the command said all itself. Returns the exit
 * status. */
static int complain(const char *command, char *text, int status) {
  if (!*text) return status;
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
  fprintf(stderr, "translate%s%s: %s\n", command ? " " : "", command ? command : "", text);
  return status;
}

/* What was printed must have arrived. */
static th_status finish_output(th_error *error) {
  errno = 0;
  if (!fflush(stdout) && !ferror(stdout)) return TH_OK;
  return th_error_set(error, TH_EIO, "standard output: cannot write%s%s", errno ? ": " : "",
                      errno ? strerror(errno) : "");
}

int main(int argc, char **argv) {
  th_error error = {0};
  if (argc >= 2 && !strcmp(argv[1], "--version")) {
    puts("translate, of tapehead " TH_VERSION);
    return finish_output(&error) ? complain(NULL, error.text, 1) : 0;
  }
  if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
    fputs(usage, stdout);
    return finish_output(&error) ? complain(NULL, error.text, 1) : 0;
  }
  for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(argv[1], commands[i].name) != 0) continue;
    argv[1] = commands[i].title;
    th_status status = commands[i].run(argc - 1, (const char **)argv + 1, &error);
    if (!status) status = finish_output(&error);
    return status ? complain(commands[i].name, error.text, status == TH_EINVAL ? 2 : 1) : 0;
  }
  static const char wanted[] = "want train, decode, eval, score, tokens, logits, heads, prune, collaborate "
                               "or gradcheck; see translate --help";
  if (argc < 2) th_error_set(&error, TH_EINVAL, "no command: %s", wanted);
  else th_error_set(&error, TH_EINVAL, "unknown command %s: %s", argv[1], wanted);
  return complain(NULL, error.text, 2);
}
