/* What multiplies the outputs of heads. */
#ifndef TAPEHEAD_NN_GATES_H
#define TAPEHEAD_NN_GATES_H

#include "tapehead/nn.h"

/* heads [B,H,T,V] times gate, hard concrete gate and dropout of heads, where the layer has them. */
th_var *th_nn_gated(const th_nn_attention *layer, th_var *heads);

#endif
