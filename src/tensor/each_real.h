/* Compiles the file named by TH_KERNELS twice, once for float and once for double, so that a kernel
 * is written once. Inside it, REAL is the element type, FN(name) the name with its suffix, and the
 * functions of vecmath.h go by VEC(name) for arrays, and by LANE(name) for a VECTOR of LANES elements. */
#define REAL float
#define FN(name) name##_f32
#define VEC(name) th_v##name##_f32
#define VECTOR th_vf
#define LANE(name) th_vf_##name
#define LANES TH_VF_LANES
#include TH_KERNELS
#undef REAL
#undef FN
#undef VEC
#undef VECTOR
#undef LANE
#undef LANES

#define REAL double
#define FN(name) name##_f64
#define VEC(name) th_v##name##_f64
#define VECTOR th_vd
#define LANE(name) th_vd_##name
#define LANES TH_VD_LANES
#include TH_KERNELS
#undef REAL
#undef FN
#undef VEC
#undef VECTOR
#undef LANE
#undef LANES
#undef TH_KERNELS

/* Calls the twin that fits the element type. */
#define TH_FOR(dtype, name, ...) \
  do { \
    if ((dtype) == TH_F32) name##_f32(__VA_ARGS__); \
    else name##_f64(__VA_ARGS__); \
  } while (0)
