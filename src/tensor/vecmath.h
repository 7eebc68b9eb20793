/* Vectors of the width this build is for, and exp, tanh, erf and log on them, for fused kernels: of double, and log of float,
 * SLEEF's (Shibata & Petrogalli 2020). Each result is within 1 ulp (tanh and erf of float: 2) and depends on
 * its own lane alone, so cutting an array differently, or padding its tail, does not change a bit. */
#ifndef TH_TENSOR_VECMATH_H
#define TH_TENSOR_VECMATH_H

#include <sleef.h>
#include <stdbool.h>
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
typedef int64_t th_vl __attribute__((vector_size(TH_VECTOR_BYTES))); /* and two th_vd */

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

TH_DEFINE_F(log)
TH_DEFINE_D(exp)
TH_DEFINE_D(tanh)
TH_DEFINE_D(erf)
TH_DEFINE_D(log)

/* a where the mask is -1, b where it is 0. */
static inline th_vf th_vf_select(th_vi mask, th_vf a, th_vf b) {
  return (th_vf)((mask & (th_vi)a) | (~mask & (th_vi)b));
}
static inline th_vd th_vd_select(th_vl mask, th_vd a, th_vd b) {
  return (th_vd)((mask & (th_vl)a) | (~mask & (th_vl)b));
}

/* The first n lanes of a vector of 4- or 8-byte elements, n from 0 to all of them: through memcpy, which is a call, unless the
 * processor can mask. */
#ifdef __AVX512F__
#include <immintrin.h>
#define TH_PARTS_ARE_CHEAP true
#define TH_F32_PART(n) ((__mmask16)((1u << (n)) - 1))
#define TH_F64_PART(n) ((__mmask8)((1u << (n)) - 1))
#define TH_LOAD_PART_F32(lanes, from, n) \
  ((lanes) = (th_vf)_mm512_mask_loadu_ps((__m512)(lanes), TH_F32_PART(n), from))
#define TH_LOAD_PART_F64(lanes, from, n) \
  ((lanes) = (th_vd)_mm512_mask_loadu_pd((__m512d)(lanes), TH_F64_PART(n), from))
#define TH_STORE_PART_F32(to, lanes, n) _mm512_mask_storeu_ps(to, TH_F32_PART(n), (__m512)(lanes))
#define TH_STORE_PART_F64(to, lanes, n) _mm512_mask_storeu_pd(to, TH_F64_PART(n), (__m512d)(lanes))
#else
#define TH_PARTS_ARE_CHEAP false
#define TH_LOAD_PART_F32(lanes, from, n) memcpy(&(lanes), from, (size_t)(n) * sizeof *(from))
#define TH_LOAD_PART_F64 TH_LOAD_PART_F32
#define TH_STORE_PART_F32(to, lanes, n) memcpy(to, &(lanes), (size_t)(n) * sizeof *(to))
#define TH_STORE_PART_F64 TH_STORE_PART_F32
#endif

/* set: one value in all lanes. load, store: a whole vector, at any address. load_part: the first n
 * elements, and `pad` in the other lanes; it reads nothing past them, as store_part writes nothing. */
#define TH_DEFINE_LANE_ACCESS(vector, element, suffix) \
  static inline vector vector##_set(element value) { return value - (vector){0}; } \
  static inline vector vector##_load(const element *from) { \
    vector lanes; \
    memcpy(&lanes, from, sizeof lanes); \
    return lanes; \
  } \
  static inline void vector##_store(element *to, vector lanes) { memcpy(to, &lanes, sizeof lanes); } \
  static inline vector vector##_load_part(const element *from, int64_t n, element pad) { \
    if (!TH_PARTS_ARE_CHEAP && n == (int64_t)(sizeof(vector) / sizeof(element))) return vector##_load(from); \
    vector lanes = vector##_set(pad); \
    TH_LOAD_PART_##suffix(lanes, from, n); \
    return lanes; \
  } \
  static inline void vector##_store_part(element *to, int64_t n, vector lanes) { \
    if (!TH_PARTS_ARE_CHEAP && n == (int64_t)(sizeof(vector) / sizeof(element))) vector##_store(to, lanes); \
    else TH_STORE_PART_##suffix(to, lanes, n); \
  }

TH_DEFINE_LANE_ACCESS(th_vf, float, F32)
TH_DEFINE_LANE_ACCESS(th_vd, double, F64)

/* max, min: lane by lane, b's where either is a NaN. top, sum: of all lanes; a NaN is no top unless it is alone. */
#ifdef __AVX512F__
static inline th_vf th_vf_max(th_vf a, th_vf b) { return (th_vf)_mm512_max_ps((__m512)a, (__m512)b); }
static inline th_vf th_vf_min(th_vf a, th_vf b) { return (th_vf)_mm512_min_ps((__m512)a, (__m512)b); }
static inline th_vd th_vd_max(th_vd a, th_vd b) { return (th_vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
static inline float th_vf_top(th_vf x) { return _mm512_reduce_max_ps((__m512)x); }
static inline double th_vd_top(th_vd x) { return _mm512_reduce_max_pd((__m512d)x); }
static inline float th_vf_sum(th_vf x) { return _mm512_reduce_add_ps((__m512)x); }
static inline double th_vd_sum(th_vd x) { return _mm512_reduce_add_pd((__m512d)x); }
#else
#define TH_DEFINE_LANE_REDUCTION(vector, element, lanes) \
  static inline vector vector##_max(vector a, vector b) { \
    for (int i = 0; i < (lanes); i++) b[i] = a[i] > b[i] ? a[i] : b[i]; \
    return b; \
  } \
  static inline element vector##_top(vector x) { \
    element top = x[0]; \
    for (int i = 1; i < (lanes); i++) top = x[i] > top ? x[i] : top; \
    return top; \
  } \
  static inline element vector##_sum(vector x) { \
    element sum = x[0]; \
    for (int i = 1; i < (lanes); i++) sum += x[i]; \
    return sum; \
  }
static inline th_vf th_vf_min(th_vf a, th_vf b) {
  for (int i = 0; i < TH_VF_LANES; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
  return b;
}
TH_DEFINE_LANE_REDUCTION(th_vf, float, TH_VF_LANES)
TH_DEFINE_LANE_REDUCTION(th_vd, double, TH_VD_LANES)
#endif

/* x times 2 to the power of t, a whole number from -150 to 128. */
static inline th_vf th_vf_scaled(th_vf x, th_vf t) {
#ifdef __AVX512F__
  return (th_vf)_mm512_scalef_ps((__m512)x, (__m512)t);
#else
  const float whole = 12582912; /* 1.5 times 2^23: the last bits of t + whole are t's */
  th_vi power = (th_vi)(t + whole) - (th_vi)th_vf_set(whole), half = power >> 1;
  return x * (th_vf)((half + 127) << 23) *
         (th_vf)((power - half + 127) << 23); /* either is a normal number */
#endif
}

/* SLEEF's polynomial and its steps, but inlined, so that exponentials of neighbours overlap; x from -104 to 89, or a NaN. */
static inline th_vf th_vf_exp_within(th_vf x) {
  const float whole = 12582912; /* beside it, fractions are rounded off */
  th_vf t = x * 1.442695040888963407f + whole - whole;
  th_vf r = t * -0.693145751953125f + x;
  r = t * -1.428606765330187045e-06f + r;
  th_vf p = r * 0.000198527617612853646278381f + 0.00139304355252534151077271f;
  p = p * r + 0.00833336077630519866943359f;
  p = p * r + 0.0416664853692054748535156f;
  p = p * r + 0.166666671633720397949219f;
  p = p * r + 0.5f;
  return th_vf_scaled(p * (r * r) + r + 1.0f, t);
}

static inline th_vf th_vf_exp(th_vf x) {
  th_vi nothing =
      x < -104.0f; /* 0 without being computed: denormals are slow, and what is hidden is -infinity */
  x = (th_vf)((th_vi)x & ~nothing);
  x = th_vf_min(th_vf_set(89), x); /* which gives infinity */
  return (th_vf)((th_vi)th_vf_exp_within(x) & ~nothing);
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

/* By two minimax polynomials of Juffa's ("Efficient faithfully rounded implementation of error function erff()",
 * stackoverflow.com/questions/35148198, 2016), the far one of -log(1 - erf(x)) / x - 1: 4 times as fast as SLEEF's erff. He states
 * errors below 1 ulp where multiplying and adding round once. */
static inline th_vf th_vf_erf(th_vf x) {
  th_vi sign = (th_vi)x & INT32_MIN;
  th_vf a = (th_vf)((th_vi)x & INT32_MAX), s = x * x;
  th_vf p = a * -1.72853470e-5f + 3.83197126e-4f;
  p = p * s + (a * -3.88396438e-3f + 2.42546219e-2f);
  p = p * a - 1.06777877e-1f;
  p = p * a - 6.34846687e-1f;
  p = p * a - 1.28717512e-1f;
  th_vf far = 1.0f - th_vf_exp_within(th_vf_max(th_vf_set(-20), p * a - a)); /* from -20 on it is 1 */
  th_vf q = s * -5.96761703e-4f + 4.99119423e-3f;
  q = q * s - 2.67681349e-2f;
  q = q * s + 1.12819925e-1f;
  q = q * s - 3.76125336e-1f;
  q = q * s + 1.28379166e-1f;
  th_vf near = q * x + x;
  return th_vf_select(a > 0.927734375f, (th_vf)((th_vi)far | sign), near);
}

/* In a kernel that each_real.h compiles: the vectors of a row of n elements, the last of which may be a part of one. */
#define EACH_VECTOR(n, i) for (int64_t i = 0; i < (n); i += LANES)
#define PART(n, i) ((n) - (i) < LANES ? (n) - (i) : LANES)
/* pairs: sums of neighbouring lanes, those of x, then those of y. */
#define TH_EVERY_OTHER_2(from) (from), (from) + 2
#define TH_EVERY_OTHER_4(from) TH_EVERY_OTHER_2(from), TH_EVERY_OTHER_2((from) + 4)
#define TH_EVERY_OTHER_8(from) TH_EVERY_OTHER_4(from), TH_EVERY_OTHER_4((from) + 8)
#define TH_EVERY_OTHER_16(from) TH_EVERY_OTHER_8(from), TH_EVERY_OTHER_8((from) + 16)
#define TH_DEFINE_LANE_PAIRS(vector, lanes) \
  static inline vector vector##_pairs(vector x, vector y) { \
    return __builtin_shufflevector(x, y, TH_EVERY_OTHER_##lanes(0)) + \
           __builtin_shufflevector(x, y, TH_EVERY_OTHER_##lanes(1)); \
  }
#if TH_VECTOR_BYTES == 64
TH_DEFINE_LANE_PAIRS(th_vf, 16)
TH_DEFINE_LANE_PAIRS(th_vd, 8)
#elif TH_VECTOR_BYTES == 32
TH_DEFINE_LANE_PAIRS(th_vf, 8)
TH_DEFINE_LANE_PAIRS(th_vd, 4)
#else
TH_DEFINE_LANE_PAIRS(th_vf, 4)
TH_DEFINE_LANE_PAIRS(th_vd, 2)
#endif

#endif
