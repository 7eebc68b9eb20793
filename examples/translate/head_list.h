/* Heads by name, in a line: "enc0.1,3,dec1.0-2,cross0.2" are heads 1 and 3 of the encoder's first layer, three of
 * the decoder's second, one of a cross-attention. A number without a name before it is of the attention named last. */
#ifndef TRANSLATE_HEAD_LIST_H
#define TRANSLATE_HEAD_LIST_H

#include "settings.h"

/* Which of the heads of an encoder-decoder model are in the list: `*listed` [attentions,heads], in the order of
 * th_transformer_attention, is the caller's to free(). TH_EINVAL, and a line that begins with `flag`, for what is no
 * list of heads, each once, of the whole model that config describes. */
th_status head_list_parse(const char *flag, const char *list, const th_transformer_config *config,
                          bool **listed, th_error *error);
/* The shortest list of these heads. TH_EINVAL: it has no room. */
th_status head_list_write(const bool *listed, const th_transformer_config *config, char list[PATH_TEXT],
                          th_error *error);

#endif
