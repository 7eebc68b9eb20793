#include "ops.h"

#define TH_POINTER(name) &th_op_##name,
static const th_op *const table[] = {TH_EACH_OP(TH_POINTER)};

const th_op *const *th_ops(int *count) {
  *count = (int)(sizeof table / sizeof *table);
  return table;
}
