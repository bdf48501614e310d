// Element types and elementary functions the compiler can vectorise. Included by the per-instruction-set files
// only; everything has internal linkage, so that no copy made for a newer machine can serve an older one.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

// The iterations of the loop behind it do not depend on each other.
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
// What is called in such a loop, and long: a loop with a call left in it is not vectorised.
#define INLINED inline __attribute__((always_inline))

namespace {

template <typename T>
struct Accumulate {
  using type = T;
};

struct bfloat16 {
  uint16_t bits;
};

template <>
struct Accumulate<bfloat16> {
  using type = float;
};

inline float load(const float* p) { return *p; }
inline double load(const double* p) { return *p; }
inline float load(const bfloat16* p) {
  uint32_t wide = static_cast<uint32_t>(p->bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

inline void store(float* p, float value) { *p = value; }
inline void store(double* p, double value) { *p = value; }
inline void store(bfloat16* p, float value) {
  uint32_t wide;
  memcpy(&wide, &value, sizeof wide);
  const uint32_t even = wide + 0x7fffu + ((wide >> 16) & 1u);
  const uint32_t quiet = wide | 0x400000u;  // rounding must not turn a NaN into infinity
  p->bits = static_cast<uint16_t>((value == value ? even : quiet) >> 16);
}

// Of a NaN the first argument decides: least(NaN, b) is NaN, as torch's clamp has it, and so is most(NaN, b).
template <typename A>
inline A least(A a, A b) {
  return b < a ? b : a;
}
template <typename A>
inline A most(A a, A b) {
  return b > a ? b : a;
}

inline float root(float x) { return sqrtf(x); }
inline double root(double x) { return sqrt(x); }
inline float magnitude_of(float x) { return fabsf(x); }
inline double magnitude_of(double x) { return fabs(x); }
inline float log_one_plus(float x) { return log1pf(x); }
inline double log_one_plus(double x) { return log1p(x); }

// The natural logarithm of a positive normal number, to a few units in the last place.
INLINED float logarithm(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t from_root = bits - 0x3f3504f3u;  // of sqrt(1/2): the mantissa comes to lie in [sqrt(1/2), sqrt(2))
  const float exponent = static_cast<float>(static_cast<int32_t>(from_root) >> 23);
  bits = (from_root & 0x007fffffu) + 0x3f3504f3u;
  float mantissa;
  memcpy(&mantissa, &bits, sizeof mantissa);
  const float r = mantissa - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * r - 1.1514610310e-1f;
  p = p * r + 1.1676998740e-1f;
  p = p * r - 1.2420140846e-1f;
  p = p * r + 1.4249322787e-1f;
  p = p * r - 1.6668057665e-1f;
  p = p * r + 2.0000714765e-1f;
  p = p * r - 2.4999993993e-1f;
  p = p * r + 3.3333331174e-1f;
  const float square = r * r;
  return ((p * r * square + exponent * -2.12194440e-4f) - 0.5f * square) + r + exponent * 0.693359375f;
}
inline double logarithm(double x) { return log(x); }

// exp(x) = scale · (1 + rest) of an x between -87 and 88.3, or of a NaN; the scale is a power of two.
struct Exponential {
  float scale, rest;
};

INLINED Exponential exponential_parts(float x) {
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5·2²³ leaves the nearest integer
  const float whole = shifted - 12582912.0f;
  const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + 0x3f800000u;
  float scale;
  memcpy(&scale, &bits, sizeof scale);
  return {scale, p};
}

INLINED float exponential_within(float x) {
  const Exponential e = exponential_parts(x);
  return e.scale * e.rest + e.scale;
}
inline double exponential_within(double x) { return exp(x); }

// exp(x); 0 and infinity where it is no normal number. Not for a NaN.
INLINED float exponential(float x) {
  const float value = exponential_within(x < -87.0f ? -87.0f : x > 88.3f ? 88.3f : x);
  return x < -87.0f ? 0.0f : x > 88.3f ? INFINITY : value;
}
inline double exponential(double x) { return exp(x); }

// Sums run in this many lanes on every machine, so their order is written down rather than the compiler's choice.
constexpr int64_t kLanes = 16;

template <typename A>
struct Lanes {
  A of[kLanes] = {};

  A sum() {
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
      for (int64_t j = 0; j < half; ++j) of[j] += of[j + half];
    return of[0];
  }
};

// Calls f(i, lane) for every i in [begin, end).
template <typename F>
inline __attribute__((always_inline)) void for_lanes(int64_t begin, int64_t end, const F& f) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    INDEPENDENT
    for (int64_t j = 0; j < kLanes; ++j) f(i + j, j);
  }
  for (int64_t j = 0; i + j < end; ++j) f(i + j, j);
}

// tanh(x) for x >= 0 with its derivative, both to a few units in the last place, also where tanh is almost 1:
// with e = exp(-2x), tanh = (1 - e)/(1 + e) and its derivative is 4e/(1 + e)².
template <typename A>
struct Tanh {
  A value, slope;
};

template <typename A>
inline Tanh<A> tanh_from(A exponential, A minus_one) {  // e and e - 1
  const A inverse = A(1) / (A(2) + minus_one);
  return {-minus_one * inverse, A(4) * exponential * inverse * inverse};
}

inline Tanh<float> hyperbolic_tangent(float x) {
  // Beyond 43, e is no normal number and long without weight.
  const Exponential e = exponential_parts(-2.0f * least(x, 43.0f));
  return tanh_from(e.scale * e.rest + e.scale, e.scale * e.rest + (e.scale - 1.0f));
}

inline Tanh<double> hyperbolic_tangent(double x) {
  const double minus_one = expm1(-2.0 * least(x, 350.0));
  return tanh_from(exp(-2.0 * least(x, 350.0)), minus_one);
}

// asin(x) for 0 <= x < 1 and its derivative, both to a few units in the last place: beyond one half by
// asin(x) = π/2 - 2 asin(sqrt((1 - x)/2)), because 1 - x is exact there. What follows is (asin(r) - r)/r³ by r².
INLINED float arc_series(float square) {
  float p = 4.2163199048e-2f;
  p = p * square + 2.4181311049e-2f;
  p = p * square + 4.5470025998e-2f;
  p = p * square + 7.4953002686e-2f;
  return p * square + 1.6666752422e-1f;
}

INLINED double arc_series(double square) {
  double p = 3.47933107596021167570e-05;
  p = p * square + 7.91534994289814532176e-04;
  p = p * square - 4.00555345006794114027e-02;
  p = p * square + 2.01212532134862925881e-01;
  p = p * square - 3.25565818622400915405e-01;
  p = p * square + 1.66666666666666657415e-01;
  double q = 7.70381505559019352791e-02;
  q = q * square - 6.88283971605453293030e-01;
  q = q * square + 2.02094576023350569471e+00;
  q = q * square - 2.40339491173441421878e+00;
  return p / (q * square + 1.0);
}

constexpr double kRightAngle = 1.57079632679489661923;

template <typename A>
struct Arc {
  A value, slope;
};

template <typename A>
INLINED Arc<A> arc_sine(A x) {
  const A rest = A(1) - x;
  const bool steep = x > A(0.5);
  const A square = steep ? A(0.5) * rest : x * x, base = steep ? root(square) : x;
  const A value = base * square * arc_series(square) + base;
  return {steep ? A(kRightAngle) - A(2) * value : value, A(1) / root(rest * (A(1) + x))};
}

// sin(x) for 0 <= x <= π/2, to a few units in the last place.
template <typename A>
INLINED A sine(A x) {
  constexpr int terms = sizeof(A) == sizeof(float) ? 6 : 11;
  const A square = x * x;
  A p = A(1);
  for (int i = terms; i > 0; --i) p = A(1) - p * square * (A(1) / A(2 * i * (2 * i + 1)));
  return p * x;
}

}  // namespace
