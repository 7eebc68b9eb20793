/* tapehead: small Transformers from scratch, gradients proved, heads studied. */
#ifndef TAPEHEAD_H
#define TAPEHEAD_H

#include "tapehead/autograd.h"
#include "tapehead/io.h"
#include "tapehead/measure.h"
#include "tapehead/nn.h"
#include "tapehead/optim.h"
#include "tapehead/plot.h"
#include "tapehead/ranks.h"
#include "tapehead/study.h"
#include "tapehead/tensor.h"

#define TH_VERSION "0.1.0"

#endif
