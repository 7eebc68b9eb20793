/* The best of many candidates, and a token drawn from logits. */
#include "decoding.h"

#include <math.h>
#include <stdlib.h>

/* ---- the best few ----------------------------------------------------------------------------------------- */

static bool better(const th_candidate *a, const th_candidate *b) {
  if (a->value != b->value) return a->value > b->value;
  return a->row != b->row ? a->row < b->row : a->token < b->token;
}

/* Puts `candidate` where place `at` of the heap is free, and what is worse than it above. */
static void sink(th_top *top, int64_t at, th_candidate candidate) {
  for (int64_t child; (child = 2 * at + 1) < top->count; at = child) {
    if (child + 1 < top->count && better(&top->list[child], &top->list[child + 1])) child++;
    if (!better(&candidate, &top->list[child])) break;
    top->list[at] = top->list[child];
  }
  top->list[at] = candidate;
}

static void rise(th_top *top, int64_t at, th_candidate candidate) {
  for (int64_t parent; at > 0 && better(&top->list[parent = (at - 1) / 2], &candidate); at = parent)
    top->list[at] = top->list[parent];
  top->list[at] = candidate;
}

void th_top_offer(th_top *top, th_candidate candidate) {
  if (top->count < top->room) rise(top, top->count++, candidate);
  else if (better(&candidate, &top->list[0])) sink(top, 0, candidate);
}

static int by_rank(const void *a, const void *b) { return better(a, b) ? -1 : better(b, a); }

void th_top_sort(th_top *top) { qsort(top->list, (size_t)top->count, sizeof *top->list, by_rank); }

/* ---- a draw ------------------------------------------------------------------------------------------------- */

/* The first candidate up to which there is more than `wanted` of the weight; the last where rounding leaves
 * none. */
static int64_t pick(const th_candidate *list, int64_t count, double wanted) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    if ((sum += list[i].value) > wanted) return i;
  return count - 1;
}

int32_t th_sample(const double *logits, int64_t n, const th_search_options *o, double uniform,
                  th_candidate *scratch) {
  bool nucleus = o->top_p > 0 && o->top_p < 1;
  th_top top = {.list = scratch, .room = o->top_k > 0 && o->top_k < n ? o->top_k : n};
  double largest = logits[0], total = 0;
  for (int32_t i = 0; i < n; i++) {
    if (logits[i] > largest) largest = logits[i];
    if (top.room < n || nucleus) th_top_offer(&top, (th_candidate){logits[i], 0, i});
    else scratch[i] = (th_candidate){logits[i], 0, i};
  }
  if (top.count) th_top_sort(&top);
  for (int64_t i = 0; i < top.room; i++) {
    scratch[i].value = exp((scratch[i].value - largest) / o->temperature);
    total += scratch[i].value;
  }
  int64_t kept = top.room;
  if (nucleus) {
    double sum = 0;
    for (kept = 0; kept < top.room && (!kept || sum < o->top_p * total); kept++) sum += scratch[kept].value;
    total = sum;
  }
  return scratch[pick(scratch, kept, uniform * total)].token;
}
