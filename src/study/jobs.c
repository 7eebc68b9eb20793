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

typedef struct {
  th_job job;
  th_look look;
} candidate;

/* Keys that move with the query. The order is that of th_named's table. */
static const candidate moving[] = {
    {TH_JOB_DIAGONAL, TH_LOOK_DIAGONAL}, {TH_JOB_REVERSE, TH_LOOK_ANTI_DIAGONAL},
    {TH_JOB_PREVIOUS, TH_LOOK_PREVIOUS}, {TH_JOB_NEXT, TH_LOOK_NEXT},
    {TH_JOB_INDUCTION, TH_LOOK_PREFIX},  {TH_JOB_SAME, TH_LOOK_SAME},
    {TH_JOB_OFFSET, TH_LOOK_OFFSET}};
/* Keys that are the same for all queries. A head may rest on them where it finds nothing to do, so that they count
 * only for one that has no job among the others. */
static const candidate resting[] = {{TH_JOB_SINK, TH_LOOK_END},
                                    {TH_JOB_SINK, TH_LOOK_BEGIN},
                                    {TH_JOB_FIRST, TH_LOOK_FIRST},
                                    {TH_JOB_LAST, TH_LOOK_LAST}};
enum { MOVING = sizeof moving / sizeof *moving, RESTING = sizeof resting / sizeof *resting };

static double share_of(const th_head_look *look, th_look which) { return look->value[which].mean; }

static bool qualifies(const th_head_look *look, th_look which) {
  double share = share_of(look, which), chance = look->chance[which];
  return share >= most && share >= chance + above_chance; /* false of NAN */
}

/* The first of those that are as good as the best; its place in the list, or -1. */
static int best_of(const candidate *list, int count, const th_head_look *look) {
  double best = 0;
  for (int i = 0; i < count; i++)
    if (qualifies(look, list[i].look)) best = fmax(best, share_of(look, list[i].look));
  for (int i = 0; i < count; i++)
    if (qualifies(look, list[i].look) && share_of(look, list[i].look) >= best - as_good) return i;
  return -1;
}

static double largest_share(const th_head_look *look) {
  double largest = 0;
  for (int i = 0; i < MOVING; i++) largest = fmax(largest, share_of(look, moving[i].look)); /* not NAN */
  for (int i = 0; i < RESTING; i++) largest = fmax(largest, share_of(look, resting[i].look));
  return largest;
}

th_named th_head_job(th_attention_kind kind, const th_head_look *look, double loss_without) {
  (void)kind;
  if (loss_without < unused_below) return (th_named){TH_JOB_UNUSED, loss_without};
  int i = best_of(moving, MOVING, look);
  if (i >= 0) return (th_named){moving[i].job, share_of(look, moving[i].look)};
  i = best_of(resting, RESTING, look);
  if (i >= 0) return (th_named){resting[i].job, share_of(look, resting[i].look)};
  if (share_of(look, TH_LOOK_SPREAD) >= broad_from)
    return (th_named){TH_JOB_BROAD, share_of(look, TH_LOOK_SPREAD)};
  return (th_named){TH_JOB_MIXED, largest_share(look)};
}
