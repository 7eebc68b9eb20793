/* What stands on the residual stream, or the two of a reversible stack, and what changes it. */
#ifndef TAPEHEAD_NN_BLOCKS_H
#define TAPEHEAD_NN_BLOCKS_H

#include "packing.h"

/* `other` NULL: the ordinary residual connection. Else sublayers read `other` and are added to x, and the two change
 * places. `kept`: somebody looks on, or nothing is to be trained: the sums are ordinary ops. */
typedef struct th_nn_stream {
  th_var *x, *other;
  bool kept;
  const th_packing *packing; /* of x, where there is no other; NULL: x is [B,T,E] */
} th_nn_stream;

th_nn_stream th_nn_stream_begin(th_var *x, bool reversible, bool kept, const th_packing *packing);
th_var *th_nn_stream_end(const th_nn_stream *stream); /* of two, their mean; packed, if it is */

th_var *th_nn_feed_forward_packed(const th_nn_feed_forward *layer, th_var *x, const th_packing *packing);

/* self NULL: all at once, under self_mask; else token by token. In a reversible stack what masks point to must hold until
 * backward. */
void th_nn_encoder_layer_change(const th_nn_encoder_layer *layer, th_nn_stream *stream, th_nn_cache *self,
                                const th_mask *self_mask, const th_tap *tap);
/* cross NULL: the memory is read as it is, or packed. */
void th_nn_decoder_layer_change(const th_nn_decoder_layer *layer, th_nn_stream *stream, th_nn_cache *self,
                                const th_mask *self_mask, th_var *memory, const th_packing *memory_packing,
                                const th_nn_cache *cross, const th_mask *memory_mask, const th_tap *tap);

#endif
