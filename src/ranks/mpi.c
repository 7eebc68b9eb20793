/* Ranks that talk through MPI. All is done by calls that do not block, and waiting by asking them: so whoever waits can give up,
 * which a rank must be able to do when another has died. */
#include "tapehead/ranks.h"

#include <mpi.h>
#include <stdlib.h>
#include <time.h>

#define PARTS 4 /* costs a rank alone little, and is enough for the ranks of a small machine */

typedef struct one_call { /* in a slot */
  int *count, *place;     /* [4, ranks]: what goes to and comes from each, in lines; MPI reads them until it ends */
  MPI_Request request;
} one_call;

struct th_ranks {
  MPI_Comm comm;
  MPI_Datatype line;
  int rank, count;
  bool (*keep_waiting)(void);
  bool lost;
  one_call slot[TH_RANKS_SLOTS];
  int *numbers; /* [slots, 4, ranks]: what the slots point into */
  int used;     /* slots that may be at work lie below */
  th_ranks_meter meter;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What MPI says of it, where it has failed. */
static th_status check(th_ranks *ranks, int code, const char *what, th_error *error) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length;
  if (code == MPI_SUCCESS) return TH_OK;
  ranks->lost = true;
  MPI_Error_string(code, text, &length);
  return th_error_set(error, TH_EIO, "rank %d of %d: %s: %s", ranks->rank, ranks->count, what, text);
}

/* ---- together ------------------------------------------------------------------------------------------ */

static th_status make_slots(th_ranks *ranks, th_error *error) {
  size_t each = 4 * (size_t)ranks->count;
  ranks->numbers = calloc(TH_RANKS_SLOTS * each, sizeof *ranks->numbers);
  if (!ranks->numbers) return th_error_set(error, TH_ENOMEM, "ranks: no memory");
  for (size_t i = 0; i < TH_RANKS_SLOTS; i++) {
    int *count = ranks->numbers + i * each;
    ranks->slot[i] = (one_call){count, count + 2 * (size_t)ranks->count, MPI_REQUEST_NULL};
  }
  return TH_OK;
}

th_status th_ranks_join(th_ranks **made, th_error *error) {
  th_ranks *ranks = *made = calloc(1, sizeof *ranks);
  int given;
  if (!ranks) return th_error_set(error, TH_ENOMEM, "ranks: no memory");
  /* One thread of each rank talks, the one that trains. */
  th_status status = check(ranks, MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given), "joining", error);
  if (status) return free(ranks), status;
  MPI_Comm_dup(MPI_COMM_WORLD, &ranks->comm);
  MPI_Comm_set_errhandler(ranks->comm, MPI_ERRORS_RETURN);
  MPI_Comm_rank(ranks->comm, &ranks->rank);
  MPI_Comm_size(ranks->comm, &ranks->count);
  MPI_Type_contiguous(TH_RANKS_LINE, MPI_BYTE, &ranks->line);
  MPI_Type_commit(&ranks->line);
  status = make_slots(ranks, error);
  if (status) th_ranks_leave(ranks, false);
  return status;
}

/* MPI_Finalize waits for all: not for who does not come. */
void th_ranks_leave(th_ranks *ranks, bool together) {
  if (!ranks) return;
  if (together && !ranks->lost) {
    MPI_Type_free(&ranks->line);
    MPI_Comm_free(&ranks->comm);
    MPI_Finalize();
  }
  free(ranks->numbers);
  free(ranks);
}

int th_ranks_rank(const th_ranks *ranks) { return ranks->rank; }
int th_ranks_count(const th_ranks *ranks) { return ranks->count; }
bool th_ranks_lost(const th_ranks *ranks) { return ranks->lost; }
int th_ranks_parts(void) { return PARTS; }
void th_ranks_ask(th_ranks *ranks, bool (*keep_waiting)(void)) { ranks->keep_waiting = keep_waiting; }
th_ranks_meter th_ranks_read_meter(const th_ranks *ranks) { return ranks->meter; }

/* ---- waiting ------------------------------------------------------------------------------------------- */

static th_status wait_for(th_ranks *ranks, MPI_Request *request, th_error *error) {
  for (int done = 0; !done;) {
    th_status status = check(ranks, MPI_Test(request, &done, MPI_STATUS_IGNORE), "waiting for the others", error);
    if (status) return status;
    if (done || !ranks->keep_waiting || ranks->keep_waiting()) continue;
    ranks->lost = true;
    return th_error_set(error, TH_EIO, "rank %d of %d: another rank is gone", ranks->rank, ranks->count);
  }
  return TH_OK;
}

th_status th_ranks_sum(th_ranks *ranks, double *numbers, int count, th_error *error) {
  MPI_Request request;
  int code = MPI_Iallreduce(MPI_IN_PLACE, numbers, count, MPI_DOUBLE, MPI_SUM, ranks->comm, &request);
  th_status status = check(ranks, code, "a sum", error);
  return status ? status : wait_for(ranks, &request, error); // NOLINT(*mpi*): it knows MPI_Wait alone
}

th_status th_ranks_tell(th_ranks *ranks, void *data, size_t bytes, th_error *error) {
  MPI_Request request;
  int code = MPI_Ibcast(data, (int)bytes, MPI_BYTE, 0, ranks->comm, &request);
  th_status status = check(ranks, code, "hearing rank 0", error);
  return status ? status : wait_for(ranks, &request, error); // NOLINT(*mpi*): it knows MPI_Wait alone
}

/* ---- while computing ----------------------------------------------------------------------------------- */

static one_call *take_slot(th_ranks *ranks, int slot) {
  if (slot >= ranks->used) ranks->used = slot + 1;
  return &ranks->slot[slot];
}

static void count_sent(th_ranks *ranks, int64_t lines) {
  ranks->meter.messages += ranks->count - 1;
  ranks->meter.bytes += lines * TH_RANKS_LINE;
}

th_status th_ranks_deal(th_ranks *ranks, int slot, const void *from, const int64_t *line, void *to,
                        th_error *error) {
  one_call *call = take_slot(ranks, slot);
  int *sent = call->count, *sent_at = call->place, *got = sent + ranks->count, *got_at = sent_at + ranks->count;
  int mine = (int)(line[ranks->rank + 1] - line[ranks->rank]);
  for (int r = 0; r < ranks->count; r++) {
    sent[r] = (int)(line[r + 1] - line[r]), sent_at[r] = (int)line[r];
    got[r] = mine, got_at[r] = r * mine;
  }
  count_sent(ranks, line[ranks->count] - line[0] - mine);
  int code = MPI_Ialltoallv(from, sent, sent_at, ranks->line, to, got, got_at, ranks->line, ranks->comm,
                            &call->request);
  return check(ranks, code, "sending gradients", error);
}

th_status th_ranks_spread(th_ranks *ranks, int slot, void *all, const int64_t *line, th_error *error) {
  one_call *call = take_slot(ranks, slot);
  for (int r = 0; r < ranks->count; r++)
    call->count[r] = (int)(line[r + 1] - line[r]), call->place[r] = (int)line[r];
  count_sent(ranks, (ranks->count - 1) * (line[ranks->rank + 1] - line[ranks->rank]));
  int code = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, call->count, call->place, ranks->line,
                             ranks->comm, &call->request);
  return check(ranks, code, "sending values", error);
}

/* Open MPI moves data only while it is called. One call moves what there is to move in all of them. */
th_status th_ranks_push(th_ranks *ranks, th_error *error) {
  for (int i = 0, done; i < ranks->used; i++) {
    if (ranks->slot[i].request == MPI_REQUEST_NULL) continue;
    return check(ranks, MPI_Test(&ranks->slot[i].request, &done, MPI_STATUS_IGNORE), "sending", error);
  }
  return TH_OK;
}

/* A failure is told by th_ranks_wait, which meets it again. */
bool th_ranks_done(th_ranks *ranks, int slot) {
  int done = 0;
  return MPI_Test(&ranks->slot[slot].request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done;
}

th_status th_ranks_wait(th_ranks *ranks, int slot, th_error *error) {
  double began = now();
  th_status status = wait_for(ranks, &ranks->slot[slot].request, error);
  ranks->meter.waited += now() - began;
  return status;
}
