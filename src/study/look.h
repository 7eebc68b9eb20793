/* The measures of th_look over one sequence's rows of weights. Not public. */
#ifndef TAPEHEAD_STUDY_LOOK_H
#define TAPEHEAD_STUDY_LOOK_H

#include "tapehead/study.h"

/* One sequence, as an attention reads it. */
typedef struct th_sight {
  th_attention_kind kind;
  int64_t rows;           /* queries that count */
  int64_t length, padded; /* keys that count; keys in all */
  int64_t real;           /* keys that count, without an end mark at the end */
  const int32_t *key;     /* the keys' tokens */
  const int32_t *own;     /* [rows] what PREFIX looks for: the queries' own tokens; NULL: nothing */
  const int32_t *wanted;  /* [rows] what SAME looks for; NULL: nothing */
  int32_t begin, end;     /* marks; below 0: there are none */
  bool any_sign;          /* weights may be below 0, and a row's sum is not 1: th_study_make_shares */
} th_sight;

/* Sums over one sequence's rows, and of how many rows each is the sum. */
typedef struct th_look_sums {
  double sum[TH_LOOKS];
  int64_t rows[TH_LOOKS];
  int64_t furthest; /* offsets d from -furthest to furthest .. */
  double *offset;   /* .. are at [furthest + d] */
  int64_t *offset_rows;
} th_look_sums;

/* Adds the rows of weights [B,H,T,S] of sequence b and head h; weights NULL: of uniform attention over the keys
 * in sight. `row` has room for the keys. */
void th_look_at_rows(th_look_sums *sums, const th_sight *sight, const th_tensor *weights, int64_t b,
                     int64_t h, double *row);

#endif
