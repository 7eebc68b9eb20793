/* A run and its directory: config.json, vocab.*.json, pairs.tsv, valid.tsv, model.safetensors, best.safetensors,
 * average.safetensors, ema.safetensors, optimizer.safetensors, snapshots/, metrics.jsonl, heatmaps/, curve.png. */
#ifndef TRANSLATE_RUN_H
#define TRANSLATE_RUN_H

#include "data.h"

/* What training has seen and not yet forgotten. It is saved with the weights, so that a run that is killed and
 * goes on ends with the same files. */
typedef struct history {
  double loss, norm; /* sums over the updates since the last report */
  int64_t updates;
  double best_loss;  /* the lowest of all validations */
  int64_t best_step; /* when that was; 0: there was none yet */
  int64_t worse;     /* validations since then */
} history;

typedef struct run {
  char directory[PATH_TEXT / 2];
  settings settings;
  data data;
  th_transformer *model;
  th_adam adam;       /* this and the next three: of a run that trains */
  th_ema ema;         /* values.data NULL: none */
  th_average average; /* ring.data NULL: none */
  history history;
  th_pool *pool;
  th_tape *tape;
  int64_t step;    /* updates made */
  th_ranks *ranks; /* who trains it, borrowed, and how they share: share.h; NULL: not in training */
  th_sharing *sharing;
  int stop; /* the signal on which they have agreed to end */
  struct {
    th_profile *all, *now; /* NULL without --profile; now: NULL in steps that are not profiled */
    int64_t from, steps;
    bool in_phase;
  } profile;
} run;

/* The name of a file in the run's directory. */
const char *run_path(const run *r, char text[PATH_TEXT], const char *name);

/* Whether the directory holds a run: a config.json. */
bool run_exists(const char *directory);

/* A new run in a directory that holds none: data, model and optimizer in memory; nothing is written. */
th_status run_new(run *r, const settings *s, const char *directory, th_error *error);
/* An open run (RUN_DATA) becomes a new one: this model, which it then owns, before the first update, and the same
 * data, to be written elsewhere. After an error it can only be freed. */
th_status run_anew(run *r, th_transformer *model, const char *directory, th_error *error);
/* Writes its directory whole, or not at all: under another name first, with a checkpoint of step 0. One that
 * exists and is not empty is an error. */
th_status run_begin(run *r, th_error *error);

typedef enum {
  RUN_MODEL,
  RUN_DATA,
  RUN_TRAIN
} run_parts; /* the model alone; with its examples; to train on */
/* A run read back. s and g as in settings_load, or NULL. */
th_status run_open(run *r, const char *directory, const settings *s, const given *g, run_parts parts,
                   th_error *error);
void run_free(run *r);
/* Other threads than the settings say; 0: one per processor. */
th_status run_threads(run *r, int64_t threads, th_error *error);

/* So that names in the directory survive a loss of power, where the file system can promise that. */
void directory_sync(const char *path);

/* Has it made all its steps, or gone on for --patience validations without a lower loss? */
bool run_ended_early(const run *r);
bool run_ended(const run *r);

/* ---- checkpoint.c: what is saved of a run, and read back ------------------------------------------------------ */

/* One file, optimizer.safetensors, holds all that is needed to go on (weights, moments, averages, step, history), so
 * that no crash leaves half of a checkpoint. The files of weights are written after it and never read to go on. */
/* Every rank calls it, and rank 0 writes. */
th_status run_save(run *r, th_error *error);
/* Those files alone: what a run that was killed just after its checkpoint had no time for. */
th_status run_save_weights(run *r, th_error *error);
th_status run_load_state(run *r, th_error *error);
/* The weights as they are, in a file of this name in the run's directory. */
th_status run_save_as(const run *r, const char *file, th_error *error);

/* Which of its weights: model.safetensors, best.safetensors, average.safetensors or ema.safetensors. */
typedef enum { RUN_LAST, RUN_BEST, RUN_AVERAGE, RUN_EMA, RUN_WEIGHTS } run_weights;
const char *run_weights_name(run_weights which); /* "last", "best", "average", "ema" */
/* What --use means; TH_EINVAL and one line for anything else. */
th_status run_weights_parse(const char *name, run_weights *which, th_error *error);
/* Reads these weights into the model of an open run. Where there are none the error says what would have made
 * them. */
th_status run_use(run *r, run_weights which, th_error *error);
/* The step they were saved at, as their file says. */
th_status run_use_step(const run *r, run_weights which, int64_t *step, th_error *error);

/* ---- snapshots.c: the weights at chosen steps ----------------------------------------------------------------- */

/* A snapshot stands before the checkpoint that knows of it. So when a run goes on, those of later steps are removed,
 * and made again: snapshots_begin does that, and sees to the one of the step at hand. */
th_status snapshots_begin(const run *r, th_error *error);
th_status snapshot_take(const run *r, th_error *error); /* if one is due */
/* The steps there are snapshots of, rising, on the heap; none where the run has none. */
th_status snapshots_list(const run *r, int64_t **steps, int64_t *count, th_error *error);
/* Reads the weights of a step into the model of an open run. */
th_status snapshot_use(run *r, int64_t step, th_error *error);

#endif
