/* What a search stands on: a decoder that reads a token for each of a set of rows that changes on the way. */
#ifndef TH_NN_DECODING_H
#define TH_NN_DECODING_H

#include "tapehead/nn.h"

/* Rows are beginnings of outputs, each of one of B sources; several rows may belong to one. All memory is the
 * tape's, from before its mark. */
typedef struct th_reader {
  const th_transformer *model;
  th_tape *tape;
  th_var *memory;               /* [B,S,E] */
  const int32_t *source_length; /* [B], the caller's, or NULL */
  int64_t rows, room;           /* now, and at most */
  int32_t *source;              /* [room]: whose row it is */
  int32_t *row_length;          /* [room]: source_length of that, or NULL */
  int32_t *spare;               /* [room] */
  bool cached;
  th_decoding decoding; /* cached */
  /* [layers]: room for a layer's rows, to be copied into; layers with as many heads share the first one's. */
  th_nn_cache *spare_self, *spare_cross;
} th_reader;

/* One row for each source, and room for `room` in all, that read up to `limit` tokens. What fails is on the
 * tape. */
th_reader th_reader_begin(const th_transformer *model, th_var *memory, const int32_t *source_length,
                          int64_t room, int64_t limit, bool cached);
/* Row i becomes what row rows[i] was, for i below count; any row may be taken often or not at all. */
void th_reader_select(th_reader *reader, int64_t count, const int32_t *rows);
/* tokens TH_I32 [rows,t]: all that was read and one more. Contiguous logits [rows,target_vocabulary] of the
 * next. */
th_var *th_reader_step(th_reader *reader, const th_tensor *tokens);

/* A token that may follow, and the row it would follow. */
typedef struct th_candidate {
  double value;
  int32_t row, token;
} th_candidate;

/* The best `room` of what was offered; of equals the first row, then the first token. */
typedef struct th_top {
  th_candidate *list; /* [room], a heap with the worst on top, until it is sorted */
  int64_t count, room;
} th_top;
void th_top_offer(th_top *top, th_candidate candidate);
void th_top_sort(th_top *top); /* best first; nothing may be offered afterwards */

/* The token that a uniform number in [0,1) picks from logits [n], under temperature (above 0), top_k and top_p.
 * scratch [n]. */
int32_t th_sample(const double *logits, int64_t n, const th_search_options *options, double uniform,
                  th_candidate *scratch);

#endif
