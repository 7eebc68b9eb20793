/* Vectors of the width this build is for, and exp, tanh, erf and log on them, from SLEEF (Shibata &
 * Petrogalli 2020), for fused kernels. Each result is within 1 ulp (tanh of float: 2) and depends on
 * its own lane alone, so cutting an array differently, or padding its tail, does not change a bit. */
#ifndef TH_TENSOR_VECMATH_H
#define TH_TENSOR_VECMATH_H

#include <sleef.h>
#include <stdint.h>
#include <string.h>

/* ---- whole arrays; y may be x ---- */

void th_vexp_f32(int64_t n, const float *x, float *y);
void th_vtanh_f32(int64_t n, const float *x, float *y);
void th_verf_f32(int64_t n, const float *x, float *y);
void th_vlog_f32(int64_t n, const float *x, float *y);
void th_vexp_f64(int64_t n, const double *x, double *y);
void th_vtanh_f64(int64_t n, const double *x, double *y);
void th_verf_f64(int64_t n, const double *x, double *y);
void th_vlog_f64(int64_t n, const double *x, double *y);

/* ---- vectors ---- */

#if defined(__AVX512F__)
#define TH_VECTOR_BYTES 64
#elif defined(__AVX__)
#define TH_VECTOR_BYTES 32
#else
#define TH_VECTOR_BYTES 16
#endif

#define TH_VF_LANES (TH_VECTOR_BYTES / (int)sizeof(float))
#define TH_VD_LANES (TH_VECTOR_BYTES / (int)sizeof(double))

/* + - * / and comparisons are the compiler's own on these types, lane by lane. */
typedef float th_vf __attribute__((vector_size(TH_VECTOR_BYTES)));
typedef double th_vd __attribute__((vector_size(TH_VECTOR_BYTES)));
typedef int32_t th_vi __attribute__((vector_size(TH_VECTOR_BYTES))); /* what comparing two th_vf gives */

/* SLEEF's name for a function is SLEEF_F(exp) or SLEEF_D(exp), e.g. Sleef_expf8_u10avx2. */
#if defined(__AVX512F__)
#define TH_SLEEF_F(name) Sleef_##name##f16_u10avx512f
#define TH_SLEEF_D(name) Sleef_##name##d8_u10avx512f
#elif defined(__AVX2__) && defined(__FMA__)
#define TH_SLEEF_F(name) Sleef_##name##f8_u10avx2
#define TH_SLEEF_D(name) Sleef_##name##d4_u10avx2
#elif defined(__AVX__)
#define TH_SLEEF_F(name) Sleef_##name##f8_u10avx
#define TH_SLEEF_D(name) Sleef_##name##d4_u10avx
#elif defined(__SSE2__)
#define TH_SLEEF_F(name) Sleef_##name##f4_u10sse2
#define TH_SLEEF_D(name) Sleef_##name##d2_u10sse2
#elif defined(__aarch64__)
#define TH_SLEEF_F(name) Sleef_##name##f4_u10advsimd
#define TH_SLEEF_D(name) Sleef_##name##d2_u10advsimd
#endif

#ifdef TH_SLEEF_F
#define TH_DEFINE_F(name) \
  static inline th_vf th_vf_##name(th_vf x) { return TH_SLEEF_F(name)(x); }
#define TH_DEFINE_D(name) \
  static inline th_vd th_vd_##name(th_vd x) { return TH_SLEEF_D(name)(x); }
#else /* a processor for which SLEEF has no vectors: one lane after the other */
#define TH_DEFINE_F(name) \
  static inline th_vf th_vf_##name(th_vf x) { \
    for (int i = 0; i < TH_VF_LANES; i++) x[i] = Sleef_##name##f1_u10purec(x[i]); \
    return x; \
  }
#define TH_DEFINE_D(name) \
  static inline th_vd th_vd_##name(th_vd x) { \
    for (int i = 0; i < TH_VD_LANES; i++) x[i] = Sleef_##name##d1_u10purec(x[i]); \
    return x; \
  }
#endif

TH_DEFINE_F(exp)
TH_DEFINE_F(erf)
TH_DEFINE_F(log)
TH_DEFINE_D(exp)
TH_DEFINE_D(tanh)
TH_DEFINE_D(erf)
TH_DEFINE_D(log)

/* a where the mask is -1, b where it is 0. */
static inline th_vf th_vf_select(th_vi mask, th_vf a, th_vf b) {
  return (th_vf)((mask & (th_vi)a) | (~mask & (th_vi)b));
}

/* From exp, and near 0, where that would cancel, by Cephes' polynomial (Moshier 1989): 2.5 times as
 * fast as SLEEF's tanhf, and within 2 ulp. */
static inline th_vf th_vf_tanh(th_vf x) {
  th_vi sign = (th_vi)x & INT32_MIN;
  th_vf a = (th_vf)((th_vi)x & INT32_MAX), s = a * a;
  th_vf p = s * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * s - 5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s - 3.33332819422e-1f;
  th_vf near = p * s * a + a, far = 1.0f - 2.0f / (th_vf_exp(a + a) + 1.0f);
  return (th_vf)((th_vi)th_vf_select(a < 0.625f, near, far) | sign);
}

/* set: one value in all lanes. load, store: a whole vector, at any address. load_part: the first n
 * elements, and `pad` in the other lanes; it reads nothing past them, as store_part writes nothing. */
#define TH_DEFINE_LANE_ACCESS(vector, element) \
  static inline vector vector##_set(element value) { return value - (vector){0}; } \
  static inline vector vector##_load(const element *from) { \
    vector lanes; \
    memcpy(&lanes, from, sizeof lanes); \
    return lanes; \
  } \
  static inline void vector##_store(element *to, vector lanes) { memcpy(to, &lanes, sizeof lanes); } \
  static inline vector vector##_load_part(const element *from, int64_t n, element pad) { \
    vector lanes = vector##_set(pad); \
    memcpy(&lanes, from, (size_t)n * sizeof *from); \
    return lanes; \
  } \
  static inline void vector##_store_part(element *to, int64_t n, vector lanes) { \
    memcpy(to, &lanes, (size_t)n * sizeof *to); \
  }

TH_DEFINE_LANE_ACCESS(th_vf, float)
TH_DEFINE_LANE_ACCESS(th_vd, double)

#endif
