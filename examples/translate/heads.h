/* translate heads: the study of one run's heads, and what is made of it. */
#ifndef TRANSLATE_HEADS_H
#define TRANSLATE_HEADS_H

#include <jansson.h>

#include "commands.h"

/* ---- the live line ------------------------------------------------------------------------------------ */

typedef struct stage {
  const char *run, *name; /* of which run, what is being done */
  bool live;              /* standard output is a terminal, and takes such lines */
  double shown;           /* seconds_now() of the last time */
} stage;
void stage_begin(stage *s, const char *name);
/* th_study_data.progress, with a stage as context: false once a signal asks for the end. */
bool stage_progress(void *context, double done);
void stage_clear(const stage *s);

/* ---- data ------------------------------------------------------------------------------------------------- */

/* Held-out examples as the study takes them. */
typedef struct study_set {
  th_study_data data;
  th_batch *batches;
  batch *memory; /* of each batch */
  int32_t *input_length;
  int64_t tokens; /* that count */
} study_set;
/* The first `count` of them, each with others of its length. `s` is told of progress. */
th_status study_set_make(study_set *set, const run *r, int64_t count, stage *s, th_error *error);
void study_set_free(study_set *set);
/* A batch as the study takes it: input_length [B] is filled. */
th_batch study_batch_of(const batch *b, int32_t *input_length);

/* ---- the study ---------------------------------------------------------------------------------------------- */

enum { MOMENTS_MAX = 40, KINDS = 3 };
typedef enum { ORDER_SINGLE, ORDER_IMPORTANCE, ORDER_GREEDY, ORDERS } removal_order;

typedef struct removal { /* of heads, one after another */
  int *order;            /* [heads] */
  th_outcome *after;     /* [heads] */
} removal;

/* The heads of one kind, which stand together in the order of heads. */
typedef struct head_kind {
  th_attention_kind kind;
  int first, count;
  double *distance; /* [count,count] */
  double *place;    /* [count,2] */
  double kept;
  th_merge *merges; /* [count - 1] */
  int layers;
  double *redundancy; /* [layers] */
} head_kind;

/* A held-out example looked at closely. A byte is 255 times a weight, rounded: head by head, row by row. Of weights that
 * may be below 0 it is 128 and 127 times the weight's part of the largest size of that step. */
typedef struct sentence {
  example pair;                           /* its ids are the run's */
  const char **source, **input, **output; /* labels: [columns of the encoder], [rows of the decoder] twice */
  int64_t source_count, target_count;
  th_tensor *weights;                  /* [heads], each TH_F32 [rows,columns], of the studied weights */
  size_t size;                         /* bytes of one step */
  unsigned char *at_step[MOMENTS_MAX]; /* [moments], each [size] */
  double largest[MOMENTS_MAX];         /* [moments]: size of a weight; where they may be below 0 */
  unsigned char *norms;                /* [size]: th_captured.norms, each row scaled to sum 1 */
  th_rollout rollout;
} sentence;

/* The heads at one step of training. */
typedef struct moment {
  int64_t step;
  th_outcome outcome;
  th_head_look *looks; /* [heads] */
  th_named *named;     /* [heads] */
} moment;

typedef struct head_study {
  char directory[PATH_TEXT / 2], title[16];
  int64_t parameters, width, heads, encoder_layers, decoder_layers; /* of the model; heads: in an attention */
  const char *pairs;               /* the file of the sequences, the options'; NULL: held out of training */
  int64_t sequences, tokens, step; /* studied; when the weights were saved */
  int count;                       /* of all heads; arrays are in their order */
  th_head *head;
  char (*label)[TH_HEAD_LABEL];
  th_outcome whole;
  th_head_look *looks;
  th_head_worth *worth;
  th_named *named;
  th_job *pattern;                      /* the job by the looks alone, used or not */
  double *rise;                         /* of the loss, with the head off */
  double *distance, *query, *key, *own; /* [heads,heads]; own [heads] */
  int64_t shared;                       /* dimensions of queries and keys that heads share; 0: they do not */
  double *mixing;                       /* [heads,shared]: how much a head can make of each */
  double gradient_agrees, importance_agrees; /* Spearman's rank correlation of each with `rise` */
  removal removal[ORDERS];
  head_kind kind[KINDS];
  int kinds;
  sentence *sentence;
  int sentences;
  bool any_sign;              /* weights may be below 0: an attention's rows_sum_to_one is false */
  moment moment[MOMENTS_MAX]; /* by step; the last: the studied weights */
  int moments, snapshots;     /* snapshots: how many the run has kept before the studied weights */
  th_arena *arena;            /* of all arrays */
} head_study;

typedef struct heads_options {
  char *pairs, *use, *out;
  int sequences, pruning, sentences, threads, json;
  run_weights weights; /* what `use` means */
  char **directories;
} heads_options;

/* Studies an open run, whose weights it leaves changed where there are snapshots. Whatever the status, free
 * it with head_study_free. */
th_status head_study_make(head_study *h, run *r, const heads_options *o, stage *s, th_error *error);
void head_study_free(head_study *h);
/* Zeros in the study's arena; NULL: no memory. */
void *head_study_room(head_study *h, size_t count, size_t size);

/* heads_sentences.c: the examples, and what the heads make of them at a step of training. */
th_status sentences_make(head_study *h, run *r, int count, th_error *error);
th_status sentences_look(head_study *h, run *r, int moment, th_error *error);
void sentences_free(head_study *h);
unsigned char shade(double part); /* 255 times it, rounded */
int64_t sentence_rows(const sentence *s, th_attention_kind kind);
int64_t sentence_columns(const sentence *s, th_attention_kind kind);

/* heads_mixing.c: h->shared and h->mixing, of the weights as they are. */
th_status study_mixing(head_study *h, const th_transformer *model, th_error *error);

/* heads_time.c: h->moment and the sentences' weights at each. */
th_status study_time(head_study *h, run *r, stage *s, th_error *error);
/* The place of the first moment at which the head looked as its job in the end asks for. */
int first_moment(const head_study *h, int head);

/* How many heads go, in that order, before exact match is more than one point below the whole model's. */
int heads_to_spare(const head_study *h, removal_order order);
const char *removal_name(removal_order order); /* "single", "importance", "greedy" */

/* ---- what is made of it ---------------------------------------------------------------------------------------- */

/* The study as one object; NULL: no memory. Without `all` the examples and what goes by step are left out. */
json_t *heads_json(const head_study *h, bool all);
json_t *sentences_json(const head_study *h, bool weights);

/* The name of a file in a directory. */
const char *path_in(char path[PATH_TEXT], const char *directory, const char *name);
/* What `put` prints of a table, as a file in a directory. */
th_status write_table(const char *directory, const char *name, void (*put)(FILE *file, const void *table),
                      const void *table, th_error *error);

/* Each writes its files into a directory. */
th_status write_heads_table(const head_study *h, const char *directory, th_error *error);
th_status write_mixing(const head_study *h, const char *directory, th_error *error); /* if heads share */
th_status write_heads_arrays(const head_study *h, const char *directory, th_error *error);
th_status draw_heads(const head_study *h, const char *directory, stage *s, th_error *error);

void print_heads(const head_study *h, const char *place); /* where it went */
/* Several runs' studies side by side: jobs.csv, jobs.png and estimates.csv in `out`, and in words on standard output, or as
 * JSON into *json where that is no NULL. */
th_status compare_heads(const head_study *studies, int count, const char *out, json_t **json,
                        th_error *error);

/* ---- its directory ----------------------------------------------------------------------------------------------- */

/* DIR/heads, made whole under another name first. */
typedef struct heads_place {
  char path[PATH_TEXT], unfinished[PATH_TEXT + 32];
} heads_place;
th_status heads_place_begin(heads_place *p, const char *path, th_error *error);
th_status heads_place_finish(heads_place *p, th_error *error); /* what was there before is gone then */
void heads_place_discard(heads_place *p);                      /* after finish: nothing */

#endif
