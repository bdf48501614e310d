// Registers of the machine the file is compiled for, as vectors of the compiler: + and * are elementwise, a number
// beside a vector counts for every lane, and a plain number is a vector of one lane. Everything has internal linkage.
#pragma once

#include "scalar.h"

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename A>
struct Machine;
template <>
struct Machine<float> {
  typedef float vector __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Machine<double> {
  typedef double vector __attribute__((vector_size(kVectorBytes)));
};

template <typename A>
using Vector = typename Machine<A>::vector;
template <typename A, typename V>
constexpr int64_t lanes = sizeof(V) / sizeof(A);

// Elements from p on, wherever p points.
template <typename V, typename A>
inline V read(const A* p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}

template <typename V>
inline V read(const bfloat16* p) {
  typedef uint16_t narrow __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint32_t wide __attribute__((vector_size(kVectorBytes)));
  if constexpr (sizeof(V) == sizeof(float)) {
    return load(p);
  } else {
    narrow bits;
    memcpy(&bits, p, sizeof bits);
    const wide shifted = __builtin_convertvector(bits, wide) << 16;
    V v;
    memcpy(&v, &shifted, sizeof v);
    return v;
  }
}

template <typename V, typename A>
inline void write(A* p, V v) {
  memcpy(p, &v, sizeof v);
}

// As store() rounds.
template <typename V>
inline void write(bfloat16* p, V v) {
  typedef uint16_t narrow __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint32_t wide __attribute__((vector_size(kVectorBytes)));
  if constexpr (sizeof(V) == sizeof(float)) {
    store(p, v);
  } else {
    wide bits;
    memcpy(&bits, &v, sizeof bits);
    const wide even = bits + 0x7fffu + ((bits >> 16) & 1u), quiet = bits | 0x400000u;
    const wide number = reinterpret_cast<wide>(v == v);
    const narrow rounded = __builtin_convertvector(((even & number) | (quiet & ~number)) >> 16, narrow);
    memcpy(p, &rounded, sizeof rounded);
  }
}

template <typename A, int bytes>
struct Block {
  typedef A vector __attribute__((vector_size(bytes)));
};

template <typename A, int bytes>
inline __attribute__((always_inline)) A sum_of_block(const typename Block<A, bytes>::vector& v) {
  if constexpr (bytes == 2 * sizeof(A)) {
    return v[0] + v[1];
  } else {
    typename Block<A, bytes / 2>::vector low, high;
    memcpy(&low, &v, sizeof low);
    memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
    return sum_of_block<A, bytes / 2>(low + high);
  }
}

// The sum of the lanes, in pairs: the same order every time.
template <typename A, typename V>
inline __attribute__((always_inline)) A sum_of(const V& v) {
  if constexpr (sizeof(V) == sizeof(A))
    return v;
  else
    return sum_of_block<A, sizeof(V)>(v);
}

}  // namespace
