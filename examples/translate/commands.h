/* The subcommands. Each takes what follows its name on the command line, argv[0] being the name, and fills
 * `error` with one line: TH_EINVAL for a wrong command line (exit status 2), anything else for a failure (1). */
#ifndef TRANSLATE_COMMANDS_H
#define TRANSLATE_COMMANDS_H

#include <signal.h>
#include <stdio.h>

#include "evaluate.h"

th_status train_command(int argc, const char **argv, th_error *error);
th_status decode_command(int argc, const char **argv, th_error *error);
th_status eval_command(int argc, const char **argv, th_error *error);
th_status tokens_command(int argc, const char **argv, th_error *error);
th_status logits_command(int argc, const char **argv, th_error *error);
th_status score_command(int argc, const char **argv, th_error *error);
th_status heads_command(int argc, const char **argv, th_error *error);
th_status collaborate_command(int argc, const char **argv, th_error *error);
th_status prune_command(int argc, const char **argv, th_error *error);
th_status gradcheck_command(int argc, const char **argv, th_error *error);

#define STOPPED_BY_SIGNAL \
  128 /* and the signal's number: the shell's word for a program that one ended; 130 after Ctrl-C */

/* From then on Ctrl-C and the like leave their number in stop_signal, for the command to end in order; a second
 * one ends it at once. */
extern volatile sig_atomic_t stop_signal;
void stop_on_signals(void);

const char *kind_title(th_attention_kind kind); /* "encoder self-attention" */
/* heatmaps/ and curve.png; `*count` says how many pictures. */
th_status draw_pictures(run *r, int *count, th_error *error);
/* Of the first held-out examples those that a picture shows best, at most `count`, into picked [count]; returns how
 * many. The first is the heatmaps'. */
int64_t pick_examples(const data *d, int64_t count, const example **picked);
/* Shows the tap every attention while the example's target is read. */
th_status look_inside(run *r, const example *e, const th_tap *tap, th_error *error);
/* The tokens' texts, as labels; before and after are marks or TH_PAD for none. NULL: no memory; else
 * free() it. */
const char **labels_of(const th_vocabulary *v, int32_t before, const int32_t *ids, int64_t count,
                       int32_t after);
/* Says in the log what the pictures lack for want of a font, if anything. */
void tell_of_fonts(const th_plot *plot, FILE *log);
/* What the cross-attention looked at while `made` was written from the source: to a path that ends in .npy all
 * heads, [layers,heads,target,source], to any other a picture of the last layer's. Row: the token written. */
th_status write_attention(run *r, const int32_t *source, int64_t source_length, const th_hypothesis *made,
                          const char *path, th_error *error);

/* Forward and loss of a batch, on the run's tape as it is set. tap may be NULL. */
th_var *batch_loss(run *r, const batch *b, double smoothing, const th_tap *tap);
/* What training makes small: the loss, plus --gate-penalty times the heads whose gates are expected open, less
 * --disagreement-weight times the mean disagreement of an attention's heads. *loss is the loss alone. */
th_var *objective(run *r, const batch *b, th_var **loss);
/* How many gates of heads are expected open now; resets the tape. 0 without gates. */
double open_heads(run *r);

/* The live line, or plain lines where standard output is no terminal. */
typedef struct progress {
  bool live;
  int64_t begin, steps, tokens;
  double started, shown;
  double exact_match; /* of the last report; NAN: none yet */
} progress;
double seconds_now(void);
void progress_start(progress *p, const run *r);
void progress_step(progress *p, const run *r, int64_t tokens); /* after each update, of so many tokens */
void progress_report(progress *p, const run *r, double loss, const score *s);
void progress_validation(const progress *p, const run *r, double loss);
void progress_clear(const progress *p); /* before anything else is printed */

/* summary.c: what training says before its first update, and after the last of this process. `seconds` were
 * spent since step `first_step`. summarise draws the pictures, too. */
void introduce(const run *r, bool resumed);
th_status summarise(run *r, double seconds, int64_t first_step, th_error *error);
void summarise_stop(const run *r); /* of a run that is to go on */

/* --profile: the run profiles so many steps, from the first after a warm-up on; the report prints a table, and writes
 * profile.json. Without it all of these do nothing. */
th_status profile_begin(run *r, int64_t steps, th_error *error);
void profile_step(run *r);                    /* a step begins */
void profile_phase(run *r, const char *name); /* and this part of it, which ends the part before */
void profile_step_end(run *r);
th_status profile_report(run *r, th_error *error);

/* What is due after an update: validation, report, checkpoint, in this order. */
th_status keep_up(run *r, th_metrics *metrics, progress *p, th_error *error);

#endif
