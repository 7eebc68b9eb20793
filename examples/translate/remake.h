/* What commands share that make a new run of another's model. */
#ifndef TRANSLATE_REMAKE_H
#define TRANSLATE_REMAKE_H

#include "run.h"

/* Whether `out` can take a run: TH_EINVAL or TH_EIO, and one line. `what` is what goes there: "the smaller run". */
th_status remake_check(const char *out, const char *what, th_error *error);
/* The run in `directory` with its data and the weights that --use names (NULL: the last). To be run_free()d, unless an
 * error is returned. */
th_status remake_open(run *r, const char *directory, const char *use, th_error *error);
/* r becomes a run in `out` of this model, which it then owns, whatever is returned: written whole, or not at all. */
th_status remake(run *r, th_transformer *model, const char *out, th_error *error);

typedef struct remake_size {
  long long heads, parameters, bytes; /* bytes: of model.safetensors */
} remake_size;
remake_size remake_size_of(const run *r);

#endif
