/* Feeds files to a target, without libFuzzer: fuzz_NAME FILE... */
#include "fuzz.h"

#include "tapehead/io.h"

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char *bytes;
    size_t size;
    th_error error;
    if (th_file_read(argv[i], &bytes, &size, &error)) {
      fprintf(stderr, "%s\n", error.text);
      return 1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
    free(bytes);
  }
  return argc < 2;
}
