/* What several ranks do together in one training. Rank 0 leads: it alone writes files, prints, evaluates and holds the lock. All
 * take every step alike, so each function here is called by all of them. With one rank most do nothing. */
#ifndef TRANSLATE_SHARE_H
#define TRANSLATE_SHARE_H

#include "run.h"

/* Joins the ranks of this training. What the others print goes nowhere. */
th_status share_join(th_ranks **ranks, th_error *error);

/* TH_OK where it is that of all ranks. Else the failure of the first rank that has one, with its line on that rank, and on all
 * others an empty one. */
th_status share_status(th_ranks *ranks, th_status mine, th_error *error);

/* The run in `out`, new or gone on with (*resumed), for all ranks to train. */
th_status share_begin(run *r, const char *out, settings *asked, const given *flags, th_ranks *ranks,
                      bool *resumed, th_error *error);

/* Sees that a run has parts for all ranks, before it is written: raises --parts where nobody has said otherwise. */
th_status share_parts(settings *s, const th_ranks *ranks, th_error *error);
/* Whether these ranks can train it: an error where they do not have the same settings, data and weights. */
th_status share_ready(run *r, th_ranks *ranks, th_error *error);
/* After it: each keeps its pieces of Adam's moments alone. */
th_status share_run(run *r, th_ranks *ranks, th_error *error);

bool share_is_split(const run *r); /* there are several */
bool share_leads(const run *r);
bool share_stops(const run *r); /* a signal has asked for it, and all ranks know */
/* Adam's moments, whole: adam's own of a run that is not shared, else made; share_moments_free. */
th_status share_moments(const run *r, th_tensor moment[2], th_error *error);
void share_moments_free(const run *r, th_tensor moment[2]);

/* At the end of a step: loss [parts], of which each rank has its own and 0 elsewhere, becomes that of all. What this rank
 * could not do ends the step for all; so does a signal to any of them: it becomes r->stop. */
th_status share_step(run *r, double *loss, th_status mine, th_error *error);
/* What rank 0 has found out about the run, or that it could not. */
th_status share_history(run *r, th_status mine, th_error *error);

/* What rank 0 says where another is gone, and the others do not; else `status`. */
th_status share_lost(const run *r, th_status status, th_error *error);
/* How much was sent, and waited for, in so many steps. */
void share_report(const run *r, int64_t steps, double seconds);

#endif
