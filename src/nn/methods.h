/* What differs between the ways to attend: how queries, keys and values are made, and what is made of them. */
#ifndef TAPEHEAD_NN_METHODS_H
#define TAPEHEAD_NN_METHODS_H

#include "packing.h"

/* Declares what the projections of queries, keys and values need. */
void th_nn_projections_make(th_params *set, const char *name, th_nn_attention *layer);
/* Numbers in a key: D; collaborative: the shared width and H. */
int64_t th_nn_key_depth(const th_nn_attention *layer);

/* th_nn_attention_forward of a packed x [N,E], or memory, and to a packed result; NULL: it is not. */
th_var *th_nn_attention_packed(const th_nn_attention *layer, th_var *x, const th_packing *packing,
                               th_var *memory, const th_packing *memory_packing, const th_mask *mask,
                               const th_tap *tap);

/* x [B,T,E] (packed [N,E]) to seen->query, memory [B,S,E] to seen->key and seen->value, in the shapes of th_seen, but values
 * [B,W,S,V]; LSH's keys as they are, of any length. */
void th_nn_project(const th_nn_attention *layer, th_var *x, const th_packing *packing, th_var *memory,
                   const th_packing *memory_packing, th_seen *seen);
void th_nn_project_query(const th_nn_attention *layer, th_var *x, const th_packing *packing, th_seen *seen);
void th_nn_project_memory(const th_nn_attention *layer, th_var *memory, const th_packing *packing,
                          th_seen *seen);

/* What the heads say, [B,H,T,V], from seen's query, key and value. `open` (something looks on): through weights that
 * are built from small ops and put into seen, with what th_seen says of key, value and mask. */
th_var *th_nn_heads_say(const th_nn_attention *layer, th_seen *seen, const th_attention_options *options,
                        bool open);

#endif
