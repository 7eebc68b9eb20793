#include "tapehead/optim.h"

#include <math.h>

double th_schedule_rate(const th_schedule *s, int64_t step) {
  const double pi = 3.14159265358979323846;
  double at = (double)(step < 1 ? 1 : step), warmup = (double)(s->warmup < 1 ? 1 : s->warmup),
         total = (double)s->total;
  if (s->kind == TH_RATE_WARMUP)
    return s->base / sqrt((double)(s->width < 1 ? 1 : s->width)) * fmin(1 / sqrt(at), at * pow(warmup, -1.5));
  if (at < warmup) return s->base * at / warmup;
  if (s->kind == TH_RATE_CONSTANT) return s->base;
  double done = total > warmup ? fmin((at - warmup) / (total - warmup), 1) : 1;
  return s->floor + (s->base - s->floor) * (1 + cos(pi * done)) / 2;
}
