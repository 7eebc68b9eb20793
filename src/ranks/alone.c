/* One rank, which has nobody to talk to. */
#include "tapehead/ranks.h"

#include <stdlib.h>
#include <string.h>

struct th_ranks {
  char unused;
};

th_status th_ranks_join(th_ranks **ranks, th_error *error) {
  *ranks = calloc(1, sizeof **ranks);
  return *ranks ? TH_OK : th_error_set(error, TH_ENOMEM, "ranks: no memory");
}

void th_ranks_leave(th_ranks *ranks, bool together) { (void)together, free(ranks); }

int th_ranks_rank(const th_ranks *ranks) { return (void)ranks, 0; }
int th_ranks_count(const th_ranks *ranks) { return (void)ranks, 1; }
bool th_ranks_lost(const th_ranks *ranks) { return (void)ranks, false; }
int th_ranks_parts(void) { return 1; }
void th_ranks_ask(th_ranks *ranks, bool (*keep_waiting)(void)) { (void)ranks, (void)keep_waiting; }

th_status th_ranks_sum(th_ranks *ranks, double *numbers, int count, th_error *error) {
  (void)ranks, (void)numbers, (void)count, (void)error;
  return TH_OK;
}

th_status th_ranks_tell(th_ranks *ranks, void *data, size_t bytes, th_error *error) {
  (void)ranks, (void)data, (void)bytes, (void)error;
  return TH_OK;
}

/* Its own piece is all of it. */
th_status th_ranks_deal(th_ranks *ranks, int slot, const void *from, const int64_t *line, void *to,
                        th_error *error) {
  (void)ranks, (void)slot, (void)error;
  memcpy(to, (const char *)from + line[0] * TH_RANKS_LINE, (size_t)(line[1] - line[0]) * TH_RANKS_LINE);
  return TH_OK;
}

th_status th_ranks_spread(th_ranks *ranks, int slot, void *all, const int64_t *line, th_error *error) {
  (void)ranks, (void)slot, (void)all, (void)line, (void)error;
  return TH_OK;
}

th_status th_ranks_push(th_ranks *ranks, th_error *error) { return (void)ranks, (void)error, TH_OK; }

bool th_ranks_done(th_ranks *ranks, int slot) { return (void)ranks, (void)slot, true; }

th_status th_ranks_wait(th_ranks *ranks, int slot, th_error *error) {
  (void)ranks, (void)slot, (void)error;
  return TH_OK;
}

th_ranks_meter th_ranks_read_meter(const th_ranks *ranks) { return (void)ranks, (th_ranks_meter){0}; }
