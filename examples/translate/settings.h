/* What a run is: every choice a person can make, named once in a table that serves the command line,
 * config.json and the help. */
#ifndef TRANSLATE_SETTINGS_H
#define TRANSLATE_SETTINGS_H

#include "tapehead/tapehead.h"

#define PATH_TEXT 1024
#define OUT_TEXT (PATH_TEXT / 2 - 32) /* of --out, with room for .unfinished-NUMBER */
#define AVERAGE_MAX 100               /* checkpoints */

typedef struct settings {
  char task[16];         /* a toy task, or pairs */
  char pairs[PATH_TEXT]; /* the file the pairs came from */
  char valid[PATH_TEXT]; /* the file of pairs for validation; empty: a part of the pairs is held out */
  char source_unit[16], target_unit[16]; /* character, word or bpe, of pairs */
  char vocabulary[16];                   /* separate or joint */
  int64_t merges, min_count;
  int64_t symbols, min_length, max_length, room, held_out;
  double held_out_part;
  int64_t width, heads, encoder_layers, decoder_layers, feed_forward;
  char pruned[PATH_TEXT]; /* heads that the model goes without: head_list.h */
  char norm[16], final_norm[16], activation[16], positions[16], tie[16], weights[16];
  char attention[16], cross_attention[16]; /* methods.h */
  int64_t key_heads, shared_width, window, hash_rounds, hash_buckets,
      hash_chunk;      /* 0: what suits the model */
  char reversible[16]; /* no or yes */
  int64_t feed_forward_chunks;
  double dropout, head_dropout, label_smoothing;
  char head_gates[16], disagreement[16]; /* none or l0; none, subspace, positions or outputs */
  double gate_penalty, disagreement_weight;
  int64_t steps, batch, batch_tokens, accumulate, parts, warmup;
  double rate, clip, weight_decay, ema;
  char schedule[16], decay[16];
  int64_t seed, threads, report_every, save_every, snapshot_every;
  int64_t validate_every, validate_most, patience, average;
  int64_t profile; /* of the command, not of the run: steps to profile, 0: none */
} settings;

/* Which settings a person gave, one flag per row of the table. */
#define SETTINGS_MAX 96
typedef struct given {
  bool flag[SETTINGS_MAX];
} given;

/* Reads `train`'s command line: argv[0] is "train". out receives --out. What a --recipe says counts as given,
 * where the command line does not say otherwise. Exits after --help; for anything wrong fills `error` with one
 * line. */
th_status settings_parse(int argc, const char **argv, settings *s, given *g, char out[PATH_TEXT],
                         th_error *error);

/* Whether they say what a new run is to learn: a task, or pairs. */
bool settings_say_task(const given *g);
/* Fills what nobody gave with what suits the task. */
void settings_defaults(settings *s, const given *g);

/* The values of config.json over *s; one that is not there has its default, one that is unknown is an error. So is a flag in
 * `g` (NULL: none) that would change the run; but of a file of pairs only whether there is one counts: its name may be
 * another. */
th_status settings_load(settings *s, const char *path, const given *g, th_error *error);
th_status settings_save(const settings *s, const char *path, th_error *error);

/* What does not fit together, after the vocabularies are known: TH_EINVAL and one line. */
th_status settings_model(const settings *s, const th_vocabulary *source, const th_vocabulary *target,
                         th_transformer_config *config, th_error *error);
th_schedule settings_schedule(const settings *s);

#endif
