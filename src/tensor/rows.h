/* What rows.c shares with attention_kernel.c: softmax of one row under a mask. */
#ifndef TAPEHEAD_TENSOR_ROWS_H
#define TAPEHEAD_TENSOR_ROWS_H

#include "kernels.h"

/* Of a row's columns those from `first` to below `limit` may be seen, and of those the ones `allowed` (NULL: all). */
typedef struct {
  int64_t first, limit;
  const uint8_t *allowed;
  int64_t step; /* between two columns of `allowed` */
} row_view;

/* What `mask` (NULL: nothing hidden) leaves of row `row`, counted over all axes of x but the last. */
row_view th_row_visible(const th_mask *mask, const th_tensor *x, int64_t row);
void th_softmax_one(th_dtype dtype, int64_t n, row_view see, bool logarithm, const void *x, void *y);
void th_softmax_one_backward(th_dtype dtype, int64_t n, bool logarithm, const void *y, const void *gy,
                             void *gx);

#endif
