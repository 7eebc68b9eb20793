/* A file of tensors: whatever it says, the tensors of one that is taken lie in it. */
#include "fuzz.h"

#include "tapehead/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  th_safetensors *archive;
  th_error error = {0};
  if (th_safetensors_parse(&archive, "input", bytes, size, &error)) {
    CLAIM_ERROR(error);
    CLAIM(archive == NULL);
    return 0;
  }
  size_t elements = 0;
  double sum = 0;
  for (size_t i = 0; i < th_safetensors_count(archive); i++) {
    const th_tensor *t = th_safetensors_tensor(archive, i);
    CLAIM(th_safetensors_find(archive, th_safetensors_name(archive, i)) == t);
    elements += (size_t)th_tensor_count(t) * th_dtype_size(t->dtype);
    for (int64_t k = 0; k < th_tensor_count(t); k++) sum += th_tensor_get(t, k);
  }
  CLAIM(elements <= size);
  CLAIM(th_safetensors_tensor(archive, th_safetensors_count(archive)) == NULL);
  const char *step = th_safetensors_metadata(archive, "step");
  CLAIM(!step || strlen(step) < size);
  th_safetensors_free(archive);
  CLAIM(sum != sum || sum == sum); /* so that each element is read */
  return 0;
}
