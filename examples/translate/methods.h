/* How the heads of a run attend. */
#ifndef TRANSLATE_METHODS_H
#define TRANSLATE_METHODS_H

#include "settings.h"

/* Fills layer->attention and cross_attention, where `layer` has width and heads, and sequences have at most `longest`
 * tokens. TH_EINVAL for a setting of a method that neither is. */
th_status settings_methods(const settings *s, int64_t longest, th_nn_layer_config *layer, th_error *error);

/* "local, window 8; across full", or "" where both are full. */
#define METHODS_TEXT 256
void methods_text(const th_nn_layer_config *layer, char text[METHODS_TEXT]);

#endif
