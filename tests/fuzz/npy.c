/* A file of one array: its elements are all there. */
#include "fuzz.h"

#include "tapehead/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  fuzz_file file = fuzz_file_open(bytes, size);
  th_tensor tensor;
  th_error error = {0};
  if (th_npy_load(&tensor, file.path, &error)) CLAIM_ERROR(error);
  else {
    int64_t count = th_tensor_count(&tensor);
    CLAIM(count >= 0 && (size_t)count * th_dtype_size(tensor.dtype) <= size);
    for (int64_t i = 0; i < count; i++) th_tensor_set(&tensor, i, th_tensor_get(&tensor, i));
    th_tensor_free(&tensor);
  }
  fuzz_file_close(&file);
  return 0;
}
