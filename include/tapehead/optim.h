/* Adam and AdamW, gradient clipping, learning-rate schedules. */
#ifndef TAPEHEAD_OPTIM_H
#define TAPEHEAD_OPTIM_H

#include "tapehead/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct th_adam_config {
  double beta1, beta2; /* decay of the two moments; 0, 0: 0.9, 0.98 (Vaswani et al. 2017, section 5.3) */
  double epsilon;      /* 0: 1e-9 (the same) */
  double weight_decay;
  bool decoupled; /* AdamW: the decay acts on the weights, not through the moments */
} th_adam_config;

/* Adam (Kingma & Ba 2015, algorithm 1) with bias correction; decoupled decay: Loshchilov & Hutter 2019,
 * algorithm 2, the decay multiplied by the learning rate. */
typedef struct th_adam {
  th_adam_config config;
  th_params *params;          /* borrowed */
  th_tensor moment1, moment2; /* as th_params_values: one vector over all parameters */
  int64_t step;               /* updates made */
} th_adam;

/* After th_params_make; config NULL: all defaults. TH_EINVAL for numbers out of range, TH_ENOMEM. */
th_status th_adam_new(th_adam *adam, th_params *params, const th_adam_config *config, th_error *error);
void th_adam_free(th_adam *adam);
/* The moments of one parameter, in its shape: for checkpoints. */
void th_adam_moments(const th_adam *adam, const th_param *param, th_tensor *moment1, th_tensor *moment2);
/* One update from the gradients in the set, which stay as they are. pool may be NULL. */
void th_adam_update(th_adam *adam, double rate, th_pool *pool);

/* Scales all gradients so that their norm, as one vector, is at most `limit` (Pascanu et al. 2013,
 * algorithm 1), and returns the norm they had. limit <= 0: only measures. NaN or infinite: changes nothing. */
double th_clip_grad_norm(th_params *params, double limit);

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

#ifdef __cplusplus
}
#endif
#endif
