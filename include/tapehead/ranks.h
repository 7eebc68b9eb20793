/* Training by several processes, ranks, each of which holds the whole model and computes its share of every batch. Without MPI
 * (make MPI=1) there is one rank, and none of this costs anything.
 *
 * Ranks that make the same calls in the same order get the same bits as one rank alone: docs/mpi.md says why. */
#ifndef TAPEHEAD_RANKS_H
#define TAPEHEAD_RANKS_H

#include "tapehead/optim.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- between ranks ---------------------------------------------------------------------------------------
 * Every rank makes these calls, alike and in the same order. A failure is TH_EIO: where another rank is gone, where MPI says
 * so, or when whoever is asked while waiting (th_ranks_ask) gives up. After one the ranks can only be left. */

typedef struct th_ranks th_ranks;

/* Joins those that were started together; once in a process. */
th_status th_ranks_join(th_ranks **ranks, th_error *error);
/* NULL is fine. `together`: all leave; else, and after a failure, this process alone, which then must end. */
void th_ranks_leave(th_ranks *ranks, bool together);
int th_ranks_rank(const th_ranks *ranks); /* which one this is, from 0 */
int th_ranks_count(const th_ranks *ranks);
bool th_ranks_lost(const th_ranks *ranks); /* after such a failure */
/* How many parts to cut a batch into (below), where nobody says: 1 without MPI, and with it enough for a few ranks, however many
 * there are now. */
int th_ranks_parts(void);
/* `keep_waiting` is called now and then while this rank waits; once it says false that is an error. NULL: wait for ever. */
void th_ranks_ask(th_ranks *ranks, bool (*keep_waiting)(void));

/* Each number becomes its sum over the ranks: exact where at most one of them has another than 0. */
th_status th_ranks_sum(th_ranks *ranks, double *numbers, int count, th_error *error);
/* The bytes become those of rank 0. */
th_status th_ranks_tell(th_ranks *ranks, void *data, size_t bytes, th_error *error);

/* What goes on while the caller computes: it begins, it needs a th_ranks_push now and then, and it ends in th_ranks_wait, until
 * when its memory is its own. At most TH_RANKS_SLOTS at once, each in a slot. Sizes count lines of TH_RANKS_LINE bytes. */
#define TH_RANKS_SLOTS 256
#define TH_RANKS_LINE 64
/* Lines [line[r], line[r + 1]) of `from` go to rank r. What the ranks have for this one lies one after another in `to`. */
th_status th_ranks_deal(th_ranks *ranks, int slot, const void *from, const int64_t *line, void *to,
                        th_error *error);
/* Lines [line[r], line[r + 1]) of `all` become those of rank r. */
th_status th_ranks_spread(th_ranks *ranks, int slot, void *all, const int64_t *line, th_error *error);
th_status th_ranks_push(th_ranks *ranks, th_error *error);
bool th_ranks_done(th_ranks *ranks, int slot); /* without waiting: has it ended? */
th_status th_ranks_wait(th_ranks *ranks, int slot, th_error *error);

/* What was sent since they were joined, and how long this rank has waited. */
typedef struct th_ranks_meter {
  int64_t messages, bytes; /* to other ranks, of th_ranks_deal and th_ranks_spread */
  double waited;           /* seconds in th_ranks_wait */
} th_ranks_meter;
th_ranks_meter th_ranks_read_meter(const th_ranks *ranks);

/* ---- an update shared ------------------------------------------------------------------------------------
 * A batch is cut into parts, a power of two of them, of which each rank has equally many, neighbours. A part's gradient is
 * computed from zero by itself, and parts are added as a binary tree: so a sum does not ask which rank had which part. The
 * vector of gradients is cut into buckets, and these into a piece for each rank: a rank gets, from all, the gradients of its
 * pieces as soon as backward is through with a bucket, updates these pieces, and gives the new values to all. */

typedef struct th_sharing th_sharing;

/* `params` are made, and borrowed, like `ranks`. TH_EINVAL unless ranks and parts are powers of two, and ranks <= parts. */
th_status th_sharing_new(th_sharing **sharing, th_ranks *ranks, th_params *params, int64_t parts,
                         th_error *error);
void th_sharing_free(th_sharing *sharing);                                      /* NULL is fine */
void th_sharing_parts(const th_sharing *sharing, int64_t *first, int64_t *end); /* this rank's */

/* Backward of one part: clears the gradients; add to them by th_backward, as often as there is something to add. */
void th_sharing_begin(th_sharing *sharing);
/* Before the last th_backward of this rank's last part: its tape is watched, and what is ready sets off. Without
 * the call all sets off in th_sharing_end. */
void th_sharing_watch(th_sharing *sharing, th_tape *tape);
/* After a part. After the last: in this rank's pieces of th_params_grads stands the sum over all parts of all ranks, elsewhere
 * nothing of use. */
th_status th_sharing_end(th_sharing *sharing, th_error *error);

/* Of all buckets so far, the part whose gradients had come from all ranks when backward ended: what overlapped. */
double th_sharing_early(const th_sharing *sharing);

/* As th_clip_grad_norm, for the sum: every rank gets the norm of the whole. */
th_status th_sharing_clip(th_sharing *sharing, double limit, double *norm, th_error *error);
/* This rank's pieces, for th_adam_new_spans. */
const th_span *th_sharing_spans(const th_sharing *sharing, int *count);
/* After the update: each rank's pieces of `vector`, which is as th_params_values, go to all. */
th_status th_sharing_spread(th_sharing *sharing, const th_tensor *vector, th_error *error);
/* From a vector of pieces alone, such as a moment, to a whole one that every rank gets; and from a whole one its pieces. */
th_status th_sharing_whole(th_sharing *sharing, const th_tensor *pieces, const th_tensor *whole,
                           th_error *error);
void th_sharing_pieces(const th_sharing *sharing, const th_tensor *whole, const th_tensor *pieces);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
