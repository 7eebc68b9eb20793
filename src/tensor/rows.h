/* What rows.c shares with the kernels of attention: what a mask leaves of one row. */
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

#endif
