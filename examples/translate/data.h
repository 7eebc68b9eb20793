/* What a run learns from: a toy task, or pairs of lines. */
#ifndef TRANSLATE_DATA_H
#define TRANSLATE_DATA_H

#include "settings.h"

/* One source and its target, without marks. The ids belong to whoever made the example. */
typedef struct example {
  const int32_t *source, *target;
  int64_t source_length, target_length;
} example;

typedef struct data {
  const settings *settings;
  th_vocabulary *source, *target; /* the same one in a toy task */
  char *text, *valid_text;        /* of pairs: the files as they were read, for the run's own copies */
  size_t text_size, valid_size;
  int32_t *ids, *drawn;      /* of toys: the held-out ones', and one batch's */
  example *train, *held_out; /* toys to train on are made as they are wanted: train is NULL */
  int64_t train_count, held_out_count;
  example *picked;            /* the batch being made */
  int64_t longest;            /* tokens on either side */
  int64_t too_long, repeated; /* pairs left out: above max_length; in the file for validation, too */
  int32_t *order;             /* the epoch's order of train, and of its batches */
  int64_t epoch;
} data;

/* A toy task: makes its symbols and its held-out sequences. */
th_status data_toy(data *d, const settings *s, th_error *error);
/* Other held-out sequences, of these lengths, in place of the ones there are; at most `room` tokens a side. */
th_status toy_replace(data *d, int64_t min_length, int64_t max_length, int64_t room, th_error *error);
/* Pairs from a file, and those to hold out from another (`valid` NULL or empty: a part of the first).
 * Vocabularies NULL: collected from the training part. s->max_length 0 is set to the longest there is. */
th_status data_pairs(data *d, settings *s, const char *path, const char *valid, th_vocabulary *source,
                     th_vocabulary *target, th_error *error);
/* Every pair of another file, with d's vocabularies, in place of the held-out examples. */
th_status data_replace(data *d, const char *path, int64_t max_length, th_error *error);
void data_free(data *d);
void free_example(const example *e);                  /* its ids */
void free_examples(example *examples, int64_t count); /* and the ids of each */

/* Sequences side by side, padded to the longest: with <eos> after the source, <bos> before what the decoder
 * reads, <eos> after what it should say. Holds room for `capacity` sequences of the longest kind. */
typedef struct batch {
  int64_t capacity, longest;
  th_tensor source, input, output; /* TH_I32 [B,S], [B,T], [B,T]; padding in output is -1 */
  int32_t *source_length;          /* [B] */
  int64_t tokens;                  /* of output that count */
  int32_t *memory;
} batch;
th_status batch_new(batch *b, int64_t capacity, int64_t longest, th_error *error);
void batch_free(batch *b);
void batch_fill(batch *b, const example *examples, int64_t count);

/* The examples of update number `step` into d->picked; pairs_pick says how many. */
th_status toy_pick(data *d, int64_t step, th_error *error);
int64_t pairs_pick(data *d, int64_t step);

/* Update number `step`'s batch (from 1): a function of the seed and the step alone. */
th_status data_train_batch(data *d, int64_t step, batch *b, th_error *error);

#endif
