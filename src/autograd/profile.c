/* Where the time goes: an event for each op, forward and backward, and for whatever else a program names. */
#include "ops.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_EVENTS 1024
#define DEPTH_MAX 32

struct th_profile {
  th_profile_event *events;
  int64_t count, room;
  struct timespec started;
  int depth;
  int64_t open[DEPTH_MAX]; /* events that have not ended, the innermost last; -1: one that found no room */
};

static double seconds_since(const struct timespec *start) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
}

th_profile *th_profile_new(void) {
  th_profile *p = calloc(1, sizeof *p);
  if (p) clock_gettime(CLOCK_MONOTONIC, &p->started);
  return p;
}

void th_profile_free(th_profile *profile) {
  if (profile) free(profile->events);
  free(profile);
}

const th_profile_event *th_profile_events(const th_profile *profile, int64_t *count) {
  *count = profile->count;
  return profile->events;
}

static bool has_room(th_profile *p) {
  if (p->count < p->room) return true;
  int64_t room = p->room ? 2 * p->room : FIRST_EVENTS;
  th_profile_event *more = realloc(p->events, (size_t)room * sizeof *more);
  if (!more) return false;
  p->events = more, p->room = room;
  return true;
}

static void begin(th_profile *p, th_profile_event event) {
  int64_t index = p->depth < DEPTH_MAX && has_room(p) ? p->count++ : -1;
  if (p->depth < DEPTH_MAX) p->open[p->depth] = index;
  event.depth = p->depth++;
  event.begin = seconds_since(&p->started);
  if (index >= 0) p->events[index] = event;
}

void th_profile_begin(th_profile *profile, const char *name) {
  if (profile) begin(profile, (th_profile_event){.name = name});
}

void th_profile_end(th_profile *profile) {
  if (!profile || !profile->depth || --profile->depth >= DEPTH_MAX) return;
  int64_t index = profile->open[profile->depth];
  if (index < 0) return;
  th_profile_event *e = &profile->events[index];
  e->seconds = seconds_since(&profile->started) - e->begin;
  e->self += e->seconds; /* which the events in it have made smaller */
  int64_t outer = profile->depth ? profile->open[profile->depth - 1] : -1;
  if (outer >= 0) profile->events[outer].self -= e->seconds;
}

/* ---- an op ------------------------------------------------------------------------------------------------------- */

static double bytes_of(const th_tensor *x) {
  return (double)th_tensor_count(x) * (double)th_dtype_size(x->dtype);
}

static double last_but(const th_tensor *x, int from_end) {
  return x->ndim >= from_end ? (double)x->shape[x->ndim - from_end] : 1;
}

/* Of the products of matrices in forward, a multiplication and an addition each. */
static double product_flops(const th_var *v) {
  const th_tensor *x = &v->in[0]->value, *y = &v->value;
  if (th_is_linear(v->op)) return 2 * (double)th_tensor_count(y) * last_but(&v->in[1]->value, 1);
  if (v->op == &th_op_matmul) return 2 * (double)th_tensor_count(y) * last_but(x, 1);
  if (v->op == &th_op_attention) /* y is [B,Tq,H,V] */
    return 2 * (double)th_tensor_count(x) / last_but(x, 1) * last_but(&v->in[1]->value, 2) *
           (last_but(x, 1) + last_but(y, 1));
  return 0;
}

/* Backward has as many products again for each factor that wants a gradient; attention's weights want one, too. */
static double flops_of(const th_var *v, bool backward) {
  double factors = 1;
  if (backward && v->op == &th_op_attention) factors = 2;
  else if (backward) factors = v->in[0]->needs_grad + (v->inputs > 1 && v->in[1]->needs_grad);
  return factors * product_flops(v);
}

/* What it takes and makes, once each; backward takes the same, and reads and writes a gradient for each that wants one. */
static double bytes_moved(const th_var *v, bool backward) {
  if (v->base) return 0; /* a view */
  double bytes = bytes_of(&v->value);
  for (int i = 0; i < v->inputs; i++)
    bytes += bytes_of(&v->in[i]->value) * (backward && v->in[i]->needs_grad ? 3 : 1);
  return bytes;
}

void th_profile_begin_op(th_profile *profile, const th_var *v, bool backward) {
  if (profile) begin(profile, (th_profile_event){.name = v->op->name, .backward = backward});
}

void th_profile_end_op(th_profile *profile, const th_var *v) {
  if (!profile) return;
  int64_t index = profile->depth <= DEPTH_MAX ? profile->open[profile->depth - 1] : -1;
  th_profile_end(profile);
  if (index < 0 || !v->value.data) return;
  th_profile_event *e = &profile->events[index];
  e->ndim = v->value.ndim;
  memcpy(e->shape, v->value.shape, sizeof e->shape);
  e->flops = flops_of(v, e->backward);
  e->bytes = bytes_moved(v, e->backward);
}
