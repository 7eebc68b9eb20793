/* A run and its directory: config.json, vocab.*.json, pairs.tsv, model.safetensors, optimizer.safetensors,
 * metrics.jsonl, heatmaps/, curve.png. */
#ifndef TRANSLATE_RUN_H
#define TRANSLATE_RUN_H

#include "data.h"

typedef struct run {
  char directory[PATH_TEXT / 2];
  settings settings;
  data data;
  th_transformer *model;
  th_adam adam; /* of a run that trains */
  th_pool *pool;
  th_tape *tape;
  int64_t step; /* updates made */
} run;

/* The name of a file in the run's directory. */
const char *run_path(const run *r, char text[PATH_TEXT], const char *name);

/* Whether the directory holds a run: a config.json. */
bool run_exists(const char *directory);

/* A new run in a directory that holds none: data, model and optimizer in memory; nothing is written. */
th_status run_new(run *r, const settings *s, const char *directory, th_error *error);
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

/* Weights by the name of --use: last (model.safetensors), best, average or ema (their own files). check: TH_EINVAL for
 * another name. */
th_status weights_check(const char *name, th_error *error);
th_status weights_use(run *r, const char *name, th_error *error);

/* One file holds all that is needed to go on (weights, moments, step), so that no crash leaves half of a
 * checkpoint; model.safetensors, written after it, is for those who only want the weights. */
th_status run_save(run *r, th_error *error);

#endif
