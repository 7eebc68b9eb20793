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
  /* Of pairs, the epoch at hand (begin_epoch in data.c). */
  int32_t *order, *batch_order; /* of train; of its batches [batches] */
  int32_t *first;               /* where in `order` each batch begins [batches + 1] */
  int64_t epoch, batches;
  int64_t epoch_first; /* the number of its first batch, from 1 */
} data;

int64_t toy_longest(const settings *s); /* tokens on either side of a toy task's longest pair */
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
 * reads, <eos> after what it should say. */
typedef struct batch {
  th_tensor source, input, output; /* TH_I32 [B,S], [B,T], [B,T]; padding in output is -1 */
  int32_t *source_length;          /* [B] */
  int64_t tokens;                  /* of output that count */
  int64_t first;                   /* of a part: its first sequence's place in the whole batch */
  int32_t *memory;
} batch;
/* Room for `capacity` sequences of at most `longest` tokens a side; for any batch that training makes. */
th_status batch_new(batch *b, int64_t capacity, int64_t longest, th_error *error);
th_status batch_new_training(batch *b, const data *d, th_error *error);
void batch_free(batch *b);
void batch_fill(batch *b, const example *examples, int64_t count);
/* Part number `part` of `parts` of a batch, in the whole one's memory and padded as it is. It may be empty. */
batch batch_part(const batch *b, int64_t part, int64_t parts);
/* How many tokens each target has, with its mark: length [B]. */
void batch_target_lengths(const batch *b, int32_t *length);

/* Training's batch `number`, from 1: a function of the settings and the number alone. */
th_status data_train_batch(data *d, int64_t number, batch *b, th_error *error);

/* Its examples into d->picked; pairs_pick says how many. */
th_status toy_pick(data *d, int64_t number, th_error *error);
int64_t pairs_pick(data *d, int64_t number);
/* Memory for the above, once the pairs are read. */
th_status data_make_order(data *d, th_error *error);

#endif
