/* Signals that ask a command to end. */
#include "commands.h"

volatile sig_atomic_t stop_signal;
static void note_signal(int number) { stop_signal = number; }

void stop_on_signals(void) {
  struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESETHAND | SA_RESTART};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  /* a closed pipe takes the progress lines, not the work; main says that output failed */
  signal(SIGPIPE, SIG_IGN);
}
