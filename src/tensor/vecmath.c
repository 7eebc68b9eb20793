/* exp, tanh, erf and log of whole arrays. */
#include "vecmath.h"

/* The tail goes through the same vector code, padded with ones, whose result is nobody's and which no
 * function here finds special. */
#define DEFINE_ARRAY_FUNCTION(name, suffix, vector, element, lanes) \
  void th_v##name##_##suffix(int64_t n, const element *x, element *y) { \
    int64_t i = 0; \
    for (; i + (lanes) <= n; i += (lanes)) vector##_store(y + i, vector##_##name(vector##_load(x + i))); \
    if (i < n) { \
      vector part = vector##_load_part(x + i, n - i, 1); \
      vector##_store_part(y + i, n - i, vector##_##name(part)); \
    } \
  }

DEFINE_ARRAY_FUNCTION(exp, f32, th_vf, float, TH_VF_LANES)
DEFINE_ARRAY_FUNCTION(tanh, f32, th_vf, float, TH_VF_LANES)
DEFINE_ARRAY_FUNCTION(erf, f32, th_vf, float, TH_VF_LANES)
DEFINE_ARRAY_FUNCTION(log, f32, th_vf, float, TH_VF_LANES)
DEFINE_ARRAY_FUNCTION(exp, f64, th_vd, double, TH_VD_LANES)
DEFINE_ARRAY_FUNCTION(tanh, f64, th_vd, double, TH_VD_LANES)
DEFINE_ARRAY_FUNCTION(erf, f64, th_vd, double, TH_VD_LANES)
DEFINE_ARRAY_FUNCTION(log, f64, th_vd, double, TH_VD_LANES)
