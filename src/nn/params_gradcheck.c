#include "tapehead/nn.h"

#include <stdlib.h>

typedef struct {
  th_tensor **input;
  const th_tensor **grad;
  const char **name;
} lists;

static void fill(const lists *l, const th_params *set, int inputs, th_tensor *const *input) {
  for (int i = 0; i < inputs; i++) {
    l->input[i] = input[i];
    l->grad[i] = NULL;
    l->name[i] = NULL;
  }
  for (int i = 0; i < th_params_count(set); i++) {
    th_param *param = th_params_at(set, i);
    l->input[inputs + i] = &param->value;
    l->grad[inputs + i] = &param->grad;
    l->name[inputs + i] = param->name;
  }
}

th_status th_params_gradcheck(th_params *set, th_function *function, void *context, int inputs,
                              th_tensor *const *input, const th_gradcheck_options *options,
                              th_gradcheck_report *report, th_error *error) {
  int count = inputs + th_params_count(set);
  size_t n = (size_t)count + 1;
  lists l = {calloc(n, sizeof *l.input), calloc(n, sizeof *l.grad), calloc(n, sizeof *l.name)};
  th_status status =
      l.input && l.grad && l.name ? TH_OK : th_error_set(error, TH_ENOMEM, "gradcheck: no memory");
  if (!status) {
    th_gradcheck_options all = options ? *options : (th_gradcheck_options){0};
    fill(&l, set, inputs, input);
    all.input_names = l.name;
    all.grads = l.grad;
    status = th_gradcheck(function, context, count, l.input, &all, report, error);
    th_params_zero_grads(set);
  }
  free(l.input);
  free(l.grad);
  free(l.name);
  return status;
}
