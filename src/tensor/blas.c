/* Which of its kernels OpenBLAS runs, and whether it has better ones for this processor: it knows processors by their names, up
 * to those of its own time. */
#include "kernels.h"
#include "vecmath.h"

#include <cblas.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

const char *th_blas_kernels(void) { return openblas_get_corename(); }

void th_blas_one_thread(void) {
  if (openblas_get_num_threads() != 1) openblas_set_num_threads(1);
}

static int find_bytes(void) {
  static const struct {
    const char *name;
    int bytes;
  } kernels[] = {{"SkylakeX", 64},  {"Cooperlake", 64},  {"SapphireRapids", 64}, {"Haswell", 32},
                 {"Zen", 32},       {"Excavator", 32},   {"Steamroller", 32},    {"Piledriver", 32},
                 {"Bulldozer", 32}, {"Sandybridge", 32}, {"NEOVERSEV1", 32},     {"A64FX", 64}};
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
    if (!strcasecmp(th_blas_kernels(), kernels[i].name)) return kernels[i].bytes;
  return 16;
}

int th_blas_bytes(void) {
  static atomic_int known; /* whoever finds it finds the same */
  int bytes = atomic_load_explicit(&known, memory_order_relaxed);
  if (!bytes) atomic_store_explicit(&known, bytes = find_bytes(), memory_order_relaxed);
  return bytes;
}

const char *th_blas_better_kernels(void) {
#ifdef __x86_64__
  int bytes = th_blas_bytes() > TH_VECTOR_BYTES ? th_blas_bytes() : TH_VECTOR_BYTES;
  if (!strstr(openblas_get_config(), "DYNAMIC_ARCH")) return NULL; /* it has those of one processor alone */
  if (bytes < 64 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return "SkylakeX";
  if (bytes < 32 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
  return NULL;
}
