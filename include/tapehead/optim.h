/* Adam and AdamW, gradient clipping, averages of weights, learning-rate schedules. */
#ifndef TAPEHEAD_OPTIM_H
#define TAPEHEAD_OPTIM_H

#include "tapehead/nn.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct th_adam_config {
  double beta1, beta2; /* decay of the two moments; 0, 0: 0.9, 0.98 (Vaswani et al. 2017, section 5.3) */
  double epsilon;      /* 0: 1e-9 (the same) */
  double weight_decay;
  bool decoupled; /* AdamW: the decay acts on the weights, not through the moments */
  bool decay_all; /* every parameter decays, not only those that say so (th_param.decays) */
} th_adam_config;

/* Neighbouring parameters that are treated alike: elements up to `end` of th_params_values. */
typedef struct th_adam_run {
  int64_t end;
  bool decays;
  double rate; /* th_param.rate */
} th_adam_run;

/* Elements [begin, end) of the vectors of a set of parameters. */
typedef struct th_span {
  int64_t begin, end;
} th_span;

/* Adam (Kingma & Ba 2015, algorithm 1) with bias correction; decoupled decay: Loshchilov & Hutter 2019,
 * algorithm 2, the decay multiplied by the learning rate. */
typedef struct th_adam {
  th_adam_config config;
  th_params *params; /* borrowed */
  th_tensor moment1,
      moment2;    /* as th_params_values: one vector over all parameters; of spans, over these alone */
  th_span *spans; /* owned [span_count]: what it updates */
  int span_count;
  int64_t step;      /* updates made */
  th_adam_run *runs; /* owned */
} th_adam;

/* After th_params_make; config NULL: all defaults. TH_EINVAL for numbers out of range, TH_ENOMEM. */
th_status th_adam_new(th_adam *adam, th_params *params, const th_adam_config *config, th_error *error);
/* ... of some spans of the vector alone, rising and apart; copied. Each begins at a multiple of 16. */
th_status th_adam_new_spans(th_adam *adam, th_params *params, const th_adam_config *config,
                            const th_span *spans, int count, th_error *error);
void th_adam_free(th_adam *adam);
/* The moments of one parameter, in its shape: for checkpoints. Not of spans. */
void th_adam_moments(const th_adam *adam, const th_param *param, th_tensor *moment1, th_tensor *moment2);
/* One update from the gradients in the set, which stay as they are. pool may be NULL. */
void th_adam_update(th_adam *adam, double rate, th_pool *pool);

/* Scales all gradients so that their norm, as one vector, is at most `limit` (Pascanu et al. 2013,
 * algorithm 1), and returns the norm they had. limit <= 0: only measures. NaN or infinite: changes nothing. */
double th_clip_grad_norm(th_params *params, double limit);

/* A moving average of all parameters, from their values at th_ema_new on. After update number t (from 1)
 * average += (1 - d) (value - average), d = min(decay, (1 + t) / (10 + t)), so that it forgets where it began:
 * TensorFlow's ExponentialMovingAverage with num_updates; the idea: Polyak & Juditsky 1992. */
typedef struct th_ema {
  th_params *params; /* borrowed */
  th_tensor values;  /* as th_params_values */
  double decay;
  int64_t updates; /* made */
} th_ema;

/* After th_params_make. TH_EINVAL unless 0 <= decay < 1, TH_ENOMEM. */
th_status th_ema_new(th_ema *ema, th_params *params, double decay, th_error *error);
void th_ema_free(th_ema *ema);
/* To be called after the update of the weights. pool may be NULL. */
void th_ema_update(th_ema *ema, th_pool *pool);

/* The last `count` checkpoints of all parameters, for their mean (Vaswani et al. 2017, section 6.1). */
typedef struct th_average {
  th_params *params; /* borrowed */
  th_tensor ring;    /* [count,elements]: checkpoint number n (from 0) stands in row n % count */
  int64_t taken;     /* checkpoints in all */
} th_average;

/* After th_params_make. TH_EINVAL for a count below 1, TH_ENOMEM. */
th_status th_average_new(th_average *average, th_params *params, int64_t count, th_error *error);
void th_average_free(th_average *average);
/* The values as they are now become a checkpoint, in the place of the oldest where there are `count`. */
void th_average_take(th_average *average);
int64_t th_average_count(const th_average *average); /* how many there are now */
/* Their mean, summed in double, into `mean`, which is as th_params_values. At least one must be taken. */
void th_average_mean(const th_average *average, const th_tensor *mean);

typedef enum {
  TH_RATE_CONSTANT, /* base, after a linear warm-up */
  TH_RATE_WARMUP, /* base width^-0.5 min(step^-0.5, step warmup^-1.5): Vaswani et al. 2017, equation 3, where base is 1 */
  TH_RATE_COSINE /* linear warm-up to base, then half a cosine down to floor at `total`: Loshchilov & Hutter 2017, eq. 5 */
} th_rate_kind;

typedef struct th_schedule {
  th_rate_kind kind;
  double base, floor;
  int64_t warmup, total; /* steps */
  int64_t width;         /* of the model, for TH_RATE_WARMUP */
} th_schedule;

double th_schedule_rate(const th_schedule *schedule, int64_t step); /* of update number `step`, from 1 */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
