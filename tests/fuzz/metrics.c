/* metrics.jsonl: read by key, and gone on with. */
#include "fuzz.h"

#include "tapehead/io.h"

static void read_key(const char *path, const char *key) {
  int64_t *steps;
  double *values, sum = 0;
  size_t count;
  th_error error = {0};
  if (th_metrics_read(path, key, &steps, &values, &count, &error)) {
    CLAIM_ERROR(error);
    CLAIM(!steps && !values && !count);
    return;
  }
  CLAIM(steps && values);
  for (size_t i = 0; i < count; i++) sum += values[i] + (double)steps[i];
  CLAIM(sum != sum || sum == sum); /* so that each is read */
  free(steps);
  free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  fuzz_file file = fuzz_file_open(bytes, size);
  read_key(file.path, "loss");
  read_key(file.path, "");
  th_metrics *metrics;
  th_error error = {0};
  /* A file without a directory cannot be replaced, so one that has lines to drop is an error. */
  if (th_metrics_open(&metrics, file.path, 10, &error)) CLAIM_ERROR(error);
  else CLAIM(th_metrics_append(metrics, 11, (th_metric[]){{"loss", 1}}, 1, &error) == TH_OK);
  th_metrics_close(metrics);
  fuzz_file_close(&file);
  return 0;
}
