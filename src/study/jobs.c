/* What a head does, in a word: names for what it looks at, and the thresholds that they ask for. */
#include "tapehead/study.h"

#include <math.h>

/* A head that costs less is not used: a thousandth of a nat is a perplexity a thousandth higher. */
static const double unused_below = 0.001;
/* A job is where most of the weight goes: more than everything else together. */
static const double most = 0.5;
/* In short sequences chance alone comes near `most`: of 2 keys it is there. So much more than chance is asked for, too;
 * of 4 keys and more, `most` is the stricter. */
static const double above_chance = 0.2;
/* Where one and the same key answers to several names (copying a token that stands at the same place), their
 * shares differ by what chance adds: within this much of the best share, the first in order has the name. */
static const double as_good = 0.05;
/* Where it finds nothing to do, a head rests on keys that are the same for all queries. A share of such keys counts for
 * so much less beside others: an induction head that mostly rests is one still, but a head that does nothing else is
 * not named after the few rows where the key it rests on happens to be another one, too. */
static const double resting_less = 0.3;
/* Of the entropy that uniform attention has. A head with 4/10 of its weight on one of 20 keys, the rest spread evenly,
 * is at 0.81. */
static const double broad_from = 0.8;

const char *th_job_name(th_job job) {
  static const char *const names[] = {
      "unused",      "diagonal",   "reverse",      "previous token", "next token", "induction", "same token",
      "first token", "last token", "fixed offset", "sink",           "broad",      "mixed"};
  _Static_assert(sizeof names / sizeof *names == TH_JOBS, "one name each");
  return names[job];
}

/* The shares that have names, in order. */
static const struct candidate {
  th_job job;
  th_look look;
  bool resting;
} candidates[] = {{TH_JOB_DIAGONAL, TH_LOOK_DIAGONAL, false}, {TH_JOB_REVERSE, TH_LOOK_ANTI_DIAGONAL, false},
                  {TH_JOB_PREVIOUS, TH_LOOK_PREVIOUS, false}, {TH_JOB_NEXT, TH_LOOK_NEXT, false},
                  {TH_JOB_INDUCTION, TH_LOOK_PREFIX, false},  {TH_JOB_SAME, TH_LOOK_SAME, false},
                  {TH_JOB_OFFSET, TH_LOOK_OFFSET, false},     {TH_JOB_SINK, TH_LOOK_END, true},
                  {TH_JOB_SINK, TH_LOOK_BEGIN, true},         {TH_JOB_FIRST, TH_LOOK_FIRST, true},
                  {TH_JOB_LAST, TH_LOOK_LAST, true}};
enum { CANDIDATES = sizeof candidates / sizeof *candidates };

static double share_of(const th_head_look *look, int i) { return look->value[candidates[i].look].mean; }

static double rank_of(const th_head_look *look, int i) {
  return share_of(look, i) - (candidates[i].resting ? resting_less : 0);
}

static bool qualifies(const th_head_look *look, int i) {
  double share = share_of(look, i), chance = look->chance[candidates[i].look];
  return share >= most && share >= chance + above_chance; /* false of NAN */
}

/* The first of those that are as good as the best, or -1. */
static int best_candidate(const th_head_look *look) {
  double best = 0;
  for (int i = 0; i < CANDIDATES; i++)
    if (qualifies(look, i)) best = fmax(best, rank_of(look, i));
  for (int i = 0; i < CANDIDATES; i++)
    if (qualifies(look, i) && rank_of(look, i) >= best - as_good) return i;
  return -1;
}

static double largest_share(const th_head_look *look) {
  double largest = 0;
  for (int i = 0; i < CANDIDATES; i++) largest = fmax(largest, share_of(look, i)); /* passes over NAN */
  return largest;
}

th_named th_head_job(const th_head_look *look, double loss_without) {
  double spread = look->value[TH_LOOK_SPREAD].mean;
  int best = best_candidate(look);
  if (loss_without < unused_below) return (th_named){TH_JOB_UNUSED, loss_without};
  if (best >= 0) return (th_named){candidates[best].job, share_of(look, best)};
  if (spread >= broad_from) return (th_named){TH_JOB_BROAD, spread};
  return (th_named){TH_JOB_MIXED, largest_share(look)};
}

double th_job_score(th_job job, const th_head_look *look) {
  double score = NAN;
  if (job == TH_JOB_BROAD) return look->value[TH_LOOK_SPREAD].mean;
  if (job == TH_JOB_MIXED) return largest_share(look);
  for (int i = 0; i < CANDIDATES; i++)
    if (candidates[i].job == job) score = fmax(score, share_of(look, i));
  return score;
}
