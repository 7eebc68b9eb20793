/* Random numbers in bulk, for the other rooms' inner loops. */
#ifndef TH_TENSOR_RANDOM_H
#define TH_TENSOR_RANDOM_H

#include "tapehead/tensor.h"

/* Numbers the words of a stream one by one: word k is word k % 4 of the block at position k / 4. Sets
 * keep[i] = 1 where word begin + i >= threshold, else 0, for i in [0, count). `begin` is a multiple of
 * 4. An element is dropped with probability threshold / 2^32, whatever cut of the work it falls in. */
void th_random_keep(th_random random, int64_t begin, int64_t count, uint32_t threshold, uint8_t *keep);

#endif
