#include "private.h"

#include <stdlib.h>

th_status th_safetensors_read(const th_safetensors *archive, const char *path, const char *name,
                              const th_tensor *to, th_error *error) {
  char want[TH_SHAPE_TEXT], have[TH_SHAPE_TEXT];
  const th_tensor *from = th_safetensors_find(archive, name);
  if (!from) return th_error_set(error, TH_EFORMAT, "%s: there is no tensor %s", path, name);
  if (!th_tensor_same_shape(from, to))
    return th_error_set(error, TH_EFORMAT, "%s: %s is %s, the model's is %s", path, name,
                        th_shape_text(have, from), th_shape_text(want, to));
  return th_tensor_copy(to, from, error);
}

th_status th_params_save(const th_params *set, const char *path, const th_text_pair *metadata,
                         size_t metadata_count, th_error *error) {
  size_t count = (size_t)th_params_count(set);
  th_named_tensor *list = calloc(count ? count : 1, sizeof *list);
  if (!list) return th_error_set(error, TH_ENOMEM, "%s: no memory to save", path);
  for (size_t i = 0; i < count; i++) {
    const th_param *param = th_params_at(set, (int)i);
    list[i] = (th_named_tensor){param->name, &param->value};
  }
  th_status status = th_safetensors_save(path, list, count, metadata, metadata_count, error);
  free(list);
  return status;
}

th_status th_params_load(th_params *set, const char *path, th_error *error) {
  th_safetensors *archive;
  char quoted[TH_QUOTED];
  th_status status = th_safetensors_load(&archive, path, error);
  if (status) return status;
  for (size_t i = 0; i < th_safetensors_count(archive) && !status; i++)
    if (!th_params_find(set, th_safetensors_name(archive, i)))
      status = th_error_set(error, TH_EFORMAT, "%s: the model has no parameter %s", path,
                            th_io_quoted(quoted, th_safetensors_name(archive, i)));
  for (int i = 0; i < th_params_count(set) && !status; i++) {
    const th_param *param = th_params_at(set, i);
    status = th_safetensors_read(archive, path, param->name, &param->value, error);
  }
  th_safetensors_free(archive);
  return status;
}
