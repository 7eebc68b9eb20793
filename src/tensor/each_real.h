/* Compiles the file named by TH_KERNELS twice, once for float and once for double, so that a kernel
 * is written once. Inside it, REAL is the element type, FN(name) the name with its suffix, and the
 * vectorised functions of vecmath.h go by VEC(name). */
#define REAL float
#define FN(name) name##_f32
#define VEC(name) th_v##name##_f32
#include TH_KERNELS
#undef REAL
#undef FN
#undef VEC

#define REAL double
#define FN(name) name##_f64
#define VEC(name) th_v##name##_f64
#include TH_KERNELS
#undef REAL
#undef FN
#undef VEC
#undef TH_KERNELS

/* Calls the twin that fits the element type. */
#define TH_FOR(dtype, name, ...) \
  do { \
    if ((dtype) == TH_F32) name##_f32(__VA_ARGS__); \
    else name##_f64(__VA_ARGS__); \
  } while (0)
