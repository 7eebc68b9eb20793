/* Batches without their padding: between the attentions, whose sequences stay apart, every row is a token. */
#ifndef TAPEHEAD_NN_PACKING_H
#define TAPEHEAD_NN_PACKING_H

#include "tapehead/nn.h"

/* Of a batch [B,T] the N places that are tokens. */
typedef struct th_packing {
  int64_t batch, longest, count; /* B, T, N */
  const int32_t *length;         /* [B], from 0 to T */
  th_tensor row;                 /* TH_I32 [N]: b T + t */
  th_tensor place;               /* TH_I32 [B,T]: where a row went, -1 for padding */
} th_packing;

/* In the tape's memory, as long as the tape has what was computed with it. NULL: no lengths (NULL), too little padding to
 * be worth it, or an error on the tape. */
const th_packing *th_packing_of(th_tape *tape, const int32_t *length, int64_t batch, int64_t longest);

/* x [B,T,..] to [N,..], and back, with zeros for padding. Without a packing (NULL), x. */
th_var *th_pack(const th_packing *packing, th_var *x);
th_var *th_unpack(const th_packing *packing, th_var *x);
/* th_dropout, which drops of a packed x what it drops of the whole batch. */
th_var *th_packed_dropout(const th_packing *packing, th_var *x, double p);

#endif
