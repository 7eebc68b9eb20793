/* Head study: what each attention head of a Transformer looks at, what is lost without it, and which heads are
 * alike.
 *
 * Every function takes a model, a tape of the model's type, and data; it resets the tape, and leaves model and
 * tape as they were: the same weights, recording and training or not. Arrays over heads are in the order of
 * th_head_at. All results are double; NAN stands for what a head has not got. */
#ifndef TAPEHEAD_STUDY_H
#define TAPEHEAD_STUDY_H

#include "tapehead/nn.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- heads ----------------------------------------------------------------------------------------------- */

typedef struct th_head {
  th_attention_kind kind;
  int layer;
  int head; /* its number in its attention of the whole model: a head keeps it when others are removed */
} th_head;

/* A model's heads, counted: encoder self-attention layer by layer, then decoder self-attention, then
 * cross-attention; in each attention by number. */
int th_head_count(const th_transformer *model);
th_head th_head_at(const th_transformer *model, int index);
/* Where a head stands in its attention's tensors, [B,H,..] or [H]: its number, less the heads before it that were
 * removed (th_transformer_prune). -1: the model has it not. */
int th_head_place(const th_transformer *model, th_head head);
#define TH_HEAD_LABEL 24
/* Writes "enc0.1", "dec0.1" or "cross0.1" (layer 0, head 1) into `text` and returns it. */
const char *th_head_label(char text[TH_HEAD_LABEL], th_head head);
/* The attention a head is in; NULL: the model has no such layer. */
th_nn_attention *th_head_attention(const th_transformer *model, th_attention_kind kind, int layer);

/* ---- data -------------------------------------------------------------------------------------------------- */

typedef struct th_study_data {
  const th_batch *batches; /* [count] */
  int64_t count;
  int32_t begin, end;  /* marks among the tokens; below 0: there are none */
  bool one_vocabulary; /* a token's id means the same in source and target */
  /* Called now and then, with how much of the call's work is done (0 to 1); false ends it with TH_EINVAL, "stopped".
   * NULL: nobody. */
  bool (*progress)(void *context, double done);
  void *context;
} th_study_data;

/* The forward pass of a model of any shape: logits [B,T,target_vocabulary], or [B,classes]. */
th_var *th_study_forward(const th_transformer *model, th_tape *tape, const th_batch *batch,
                         const th_tap *tap);

/* ---- capture ------------------------------------------------------------------------------------------------ */

enum {
  TH_CAPTURE_QUERY = 1,
  TH_CAPTURE_KEY = 2,
  TH_CAPTURE_VALUE = 4,
  TH_CAPTURE_WEIGHTS = 8,
  TH_CAPTURE_HEADS = 16,
  TH_CAPTURE_NORMS = 32 /* of th_captured.norms */
};

/* What one attention computed for a batch, in the model's type, on the heap; data NULL for what was not asked for. */
typedef struct th_captured {
  th_attention_kind kind;
  int layer;
  th_tensor query, key, value, weights, heads; /* as in th_seen */
  th_tensor norms; /* [B,H,T,S]: |weight of key j times (value of key j times the head's output projection)|:
                      ||alpha f(x)|| of Kobayashi et al. 2020, section 3. Times the gate's size, where there is one. */
} th_captured;

typedef struct th_capture {
  th_captured *attentions; /* [count], in the order of heads: encoder, decoder, cross */
  int count;
} th_capture;
/* `what`: TH_CAPTURE_.. or-ed. On failure nothing is left behind. */
th_status th_study_capture(const th_transformer *model, th_tape *tape, const th_batch *batch, unsigned what,
                           th_capture *made, th_error *error);
void th_capture_free(th_capture *capture); /* all zero is fine, and left behind */

/* ---- what a head looks at ------------------------------------------------------------------------------------- */

/* Measures of one head's rows of weights w, row i, keys j. Rows are the queries within the sequence's length
 * (the decoder's: input_length) that have two keys or more in sight: one key leaves no choice. A share is what a row
 * has on the keys named, of the rows that have such a key in sight. A sequence's value is the mean over its rows that
 * have one; a head's is the mean over the sequences that have one, with the deviation between them.
 *
 * Where a method's weights may be of any sign (rows_sum_to_one of its th_attention_traits is false: talking heads), w
 * is |w| over the row's sum of |w|: how much of what a row takes in, added or taken away, is of a key. So it is in
 * distances and rollout. What is captured keeps its sign.
 *
 * n is the number of keys without an end mark at the end. In cross-attention row i is where output i is written, key j
 * is source token j: copying is the diagonal, reversing the anti-diagonal. */
typedef enum {
  TH_LOOK_ENTROPY,       /* -sum w log w, in nats */
  TH_LOOK_SPREAD,        /* the same over log(number of keys in sight): 1 is uniform */
  TH_LOOK_CONFIDENCE,    /* largest weight, end marks' aside: Voita et al. 2019, section 4 */
  TH_LOOK_DISTANCE,      /* sum w |i - j|, in tokens */
  TH_LOOK_BACK,          /* sum w (i - j): above 0, it looks back */
  TH_LOOK_DIAGONAL,      /* share of key i */
  TH_LOOK_ANTI_DIAGONAL, /* share of key n - 1 - i */
  TH_LOOK_PREVIOUS,      /* share of key i - 1 */
  TH_LOOK_NEXT,          /* share of key i + 1 */
  TH_LOOK_FIRST,         /* share of key 0 */
  TH_LOOK_LAST,   /* share of key n - 1; not of decoder self-attention, where that is the last row itself */
  TH_LOOK_OFFSET, /* share of key i + d, for the best d of those that at least half of all rows have; of equal
                   * ones the nearest: th_head_look.offset */
  TH_LOOK_SAME, /* share of keys with the query's own token, elsewhere; of cross-attention: with the token that
                   * is to follow (output), where there is one vocabulary */
  TH_LOOK_PREFIX, /* share of keys just after one with the query's own token: prefix matching, Olsson et al. 2022.
                   * Self-attention: after an earlier one; cross-attention: where there is one vocabulary */
  TH_LOOK_END,     /* share of end marks */
  TH_LOOK_BEGIN,   /* share of begin marks */
  TH_LOOK_PADDING, /* share of keys beyond the length: 0, or something is wrong */
  TH_LOOKS
} th_look;
const char *th_look_name(th_look look); /* "entropy", "anti_diagonal": the name in files */

typedef struct th_statistic {
  double mean, deviation; /* over n sequences, the deviation's divisor n; NAN: no sequence has one */
} th_statistic;

typedef struct th_head_look {
  th_statistic value[TH_LOOKS];
  /* Of the shares: the same measure of attention that is uniform over the keys in sight; of others NAN. */
  double chance[TH_LOOKS];
  int64_t offset; /* d of TH_LOOK_OFFSET, key minus query; 0 where that is NAN */
} th_head_look;

/* looks [heads]. Sequences are measured one by one, in their order: how they are put into batches matters to
 * rounding only, threads not at all. The tape holds one batch's pass at a time.
 * TH_EINVAL or TH_ESHAPE for a batch without what the shape needs, or what the tape met; then looks is as it was. */
th_status th_study_looks(const th_transformer *model, th_tape *tape, const th_study_data *data,
                         th_head_look *looks, th_error *error);

/* What a head does, in a word: the first line of the table that fits.
 *
 *   unused                                 loss_without is below 0.001
 *   diagonal, reverse, previous token,     its share (DIAGONAL, ANTI_DIAGONAL, PREVIOUS, NEXT, PREFIX, SAME, OFFSET, END
 *   next token, induction, same token,     or BEGIN, FIRST, LAST) is at least 0.5 and at least 0.2 above chance. Of
 *   fixed offset, sink, first token,       several the best wins, but the first in this order that is within 0.05 of it.
 *   last token                             Heads rest on a sink, the first or last token: these count for 0.3 less
 *   broad                                  SPREAD is at least 0.8
 *   mixed                                  anything else */
typedef enum {
  TH_JOB_UNUSED,
  TH_JOB_DIAGONAL,
  TH_JOB_REVERSE,
  TH_JOB_PREVIOUS,
  TH_JOB_NEXT,
  TH_JOB_INDUCTION,
  TH_JOB_SAME,
  TH_JOB_FIRST,
  TH_JOB_LAST,
  TH_JOB_OFFSET,
  TH_JOB_SINK,
  TH_JOB_BROAD,
  TH_JOB_MIXED,
  TH_JOBS
} th_job;
const char *th_job_name(th_job job); /* "previous token", "reverse", "sink" .. */

typedef struct th_named {
  th_job job;
  double score; /* the measure that earned the name; mixed: the largest share; unused: loss_without */
} th_named;
/* By the thresholds that study/jobs.c states, and why. `loss_without`: the rise of the loss when the head is gated
 * off, in nats per token; NAN: not known, and then no head is unused. One table serves every kind so far. */
th_named th_head_job(const th_head_look *look, double loss_without);
/* The measure that a job asks for, whether it is the head's or not: how far it is on its way there. Of a sink the
 * larger of the two, of mixed the largest share; NAN: unused, or a measure that the head has not got. */
double th_job_score(th_job job, const th_head_look *look);

/* ---- what a head is worth --------------------------------------------------------------------------------------- */

typedef struct th_outcome {
  double loss;           /* nats per token that counts */
  double token_accuracy; /* part of those tokens that have the largest logit, given the right ones before */
  double
      exact_match; /* part of the sequences of which all tokens have: what greedy decoding would get right */
} th_outcome;
/* This and the next three: TH_EINVAL or TH_ESHAPE for a batch without an output for each row; NAN, no token counts. */
th_status th_study_outcome(const th_transformer *model, th_tape *tape, const th_study_data *data,
                           th_outcome *outcome, th_error *error);

typedef struct th_head_worth {
  th_outcome off;     /* its output multiplied by 0 */
  th_outcome mean;    /* its output replaced by its mean over all rows of the data */
  th_outcome uniform; /* its weights made equal over the keys in sight */
  double gradient;    /* d loss / d gate, at 1 */
  double
      importance; /* mean over sequences of |d (loss of the sequence) / d gate|: Michel et al. 2019, section 4.1 */
  double
      attribution; /* mean over tokens of what it adds to the right token's logit by itself, less what it adds to
                         the mean logit; the last norm's deviations held as they are (direct logit attribution:
                         Elhage et al. 2021). Of decoders with pre-norm; NAN for others, and for an encoder's heads */
  double
      copying; /* -1 to 1, after Olsson et al. 2022: of all rise of logits above their mean that the head causes by
                     itself, the part p that falls on the token it attends to most, as 2p - 1; mean over the tokens
                     that count, marks aside. NAN where attribution is, and across two vocabularies */
} th_head_worth;
/* worth [heads]. */
th_status th_study_worth(const th_transformer *model, th_tape *tape, const th_study_data *data,
                         th_outcome *whole, th_head_worth *worth, th_error *error);

/* Heads gated off one after another and left off: after[i] is the outcome without order[0] .. order[i].
 * order, after [heads]. */
th_status th_study_remove(const th_transformer *model, th_tape *tape, const th_study_data *data,
                          const int *order, th_outcome *after, th_error *error);
/* The same in greedy order, which is filled in: each time the head without which the loss is lowest. */
th_status th_study_remove_greedily(const th_transformer *model, th_tape *tape, const th_study_data *data,
                                   int *order, th_outcome *after, th_error *error);

/* ---- who is like whom ------------------------------------------------------------------------------------------- */

/* Jensen-Shannon distances between the heads of one kind: distance [heads,heads] row-major, 0 to 1, NAN between
 * kinds. The distance of two rows is the square root of their divergence in bits (Lin 1991; Endres & Schindelin
 * 2003), that of two heads its mean over all rows of the data. (Clark et al. 2019, section 6, add up divergences.)
 * Rows count within their sequence's length, where there is a key to see; of no rows the distance is NAN. Below 1e-8
 * a distance is rounding; heads that do the same to the last bit are at 0. */
th_status th_study_distances(const th_transformer *model, th_tape *tape, const th_study_data *data,
                             double *distance, th_error *error);
/* 1 - mean distance between the heads of one attention; NAN of a single head. */
double th_study_redundancy(const th_transformer *model, const double *distance, th_attention_kind kind,
                           int layer);

/* How much two heads' queries (keys) are read from the same directions of the residual stream: mean squared cosine of
 * the principal angles between the row spaces of their projections (Bjorck & Golub 1973), 0 to 1; by chance, of D
 * directions in a stream of E, about D / E. query, key [heads,heads]; own [heads]: a head's queries with its own keys.
 * NAN where the two read different streams, the encoder's and the decoder's (so `own` of cross-attention), or where
 * a projection is 0. TH_ENAN for weights that are no numbers. */
th_status th_study_subspaces(const th_transformer *model, double *query, double *key, double *own,
                             th_error *error);

/* Classical multidimensional scaling (Torgerson 1952): places [n,2] whose inner products about their centre are nearest
 * to those that distance [n,n] stands for. The first axis is the wider; each axis's sign makes its largest coordinate
 * positive, of equally large ones the first. `kept` (may be NULL): the two axes' part of the sum of the positive
 * eigenvalues; 1 where all is in one place. Distances are read above the diagonal, which a symmetric matrix repeats
 * below it. TH_EINVAL for n below 1, or a distance anywhere that is NaN, infinite or negative. */
th_status th_study_map(int n, const double *distance, double *place, double *kept, th_error *error);

/* Two clusters join. 0 .. n-1 are the leaves, n + i is what merge i made: SciPy's linkage. */
typedef struct th_merge {
  int first, second; /* first < second */
  double height;     /* their distance */
  int leaves;        /* in what they make */
} th_merge;
/* Average linkage (Sokal & Michener 1958) over distance [n,n]: merges [n - 1], by rising height. Of equally near pairs
 * the one with the first leaf joins first. Errors as th_study_map. */
th_status th_study_cluster(int n, const double *distance, th_merge *merges, th_error *error);

/* ---- through depth ------------------------------------------------------------------------------------------------ */

/* Attention rollout (Abnar & Zuidema 2020, section 3): attention from the last layer's rows to the first
 * layer's inputs, A = (mean over heads of the weights + I) / 2 multiplied through the layers. In a decoder with
 * cross-attention the same step mixes a row's target part with its source part, which the encoder's rollout
 * carries on; target and source parts of a row sum to 1 together. Rows, and so columns, beyond a length are 0. A row
 * that sees no key keeps all of itself. The paper warns (section 5) that under a causal mask early tokens gather
 * attention by their place alone. Of a reversible stack's two streams each has rows of its own: an attention mixes what
 * it reads of the one into the other by halves, and so does a feed-forward, which in an ordinary stack moves nothing;
 * the mean of both comes out. TH_F64, on the heap. */
typedef struct th_rollout {
  th_tensor encoder; /* [B,S,S]; data NULL: no encoder */
  th_tensor target;  /* [B,T,T]; data NULL: no decoder */
  th_tensor source;  /* [B,T,S]; data NULL: no cross-attention */
} th_rollout;
th_status th_study_rollout(const th_transformer *model, th_tape *tape, const th_batch *batch,
                           th_rollout *made, th_error *error);
void th_rollout_free(th_rollout *rollout);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
