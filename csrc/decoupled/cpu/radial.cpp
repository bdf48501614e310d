// A learned magnitude, h(u) of u = ‖x‖/ρ, and its derivatives; compiled once for each instruction set.
#include "cpu/capability.h"
#include "cpu/scalar.h"

namespace {

using decoupled::kPieces;
using decoupled::kRadialShares;
using decoupled::kWidth;
using decoupled::Radial;
using decoupled::RadialArgs;

// The positions of one task, all of one row.
template <typename A>
struct Stretch {
  int64_t row, count;
  const A *norm, *grad;
  A *out, *grad_norm;
  double* sums;

  Stretch(const RadialArgs& a, int64_t task) {
    const int64_t blocks = (a.positions + a.block - 1) / a.block;
    const int64_t line = task / blocks, start = task % blocks * a.block, at = line * a.positions + start;
    row = line % a.rows;
    count = least(a.block, a.positions - start);
    norm = static_cast<const A*>(a.norm) + at;
    out = static_cast<A*>(a.out) + (a.out == nullptr ? 0 : at);
    grad = static_cast<const A*>(a.grad) + (a.grad == nullptr ? 0 : at);
    grad_norm = static_cast<A*>(a.grad_norm) + (a.grad_norm == nullptr ? 0 : at);
    sums = a.sums + (a.sums == nullptr ? 0 : task * kRadialShares);
  }
};

// u^q; `log_u` is finite.
template <typename A>
struct Raised {
  A value, log_u;
};

template <typename A>
inline Raised<A> raised(A u, A exponent) {
  // As float32 has it for both types: what is no normal number has no logarithm of ours.
  const A low = A(1.2e-38), high = A(3e38), inside = u < low ? low : u > high ? high : u;
  const A log_u = logarithm(inside);
  A value = exponential(exponent * log_u);
  if constexpr (sizeof(A) == sizeof(float)) {
    value = u < low ? (exponent > A(0) ? A(0) : A(1)) : value;
    value = u > high && exponent > A(0) ? u : value;
  } else {
    value = pow(u, exponent);
  }
  return {u == u ? value : u, log_u};
}

template <typename A>
void power(const RadialArgs& a, const Stretch<A>& s) {
  const A exponent = static_cast<const A*>(a.parameters)[s.row], inverse = A(1) / static_cast<A>(a.radius);
  if (a.grad == nullptr) {
    INDEPENDENT
    for (int64_t i = 0; i < s.count; ++i) s.out[i] = raised(s.norm[i] * inverse, exponent).value;
    return;
  }
  Lanes<A> by_exponent, by_log;
  for_lanes(0, s.count, [&](int64_t i, int64_t lane) {
    const Raised<A> r = raised(s.norm[i] * inverse, exponent);
    const A share = s.grad[i] * r.value;
    s.grad_norm[i] = share * exponent / s.norm[i];
    by_exponent.of[lane] += share * r.log_u;
    by_log.of[lane] += share * exponent;
  });
  for (int j = 0; j < kRadialShares; ++j) s.sums[j] = 0;
  s.sums[0] = by_exponent.sum();
  s.sums[kRadialShares - 1] = by_log.sum();
}

// Slopes and heights at the left ends of the pieces, in u.
template <typename A>
struct Pieces {
  A slope[kPieces], height[kPieces];

  explicit Pieces(const A* slopes) {
    double at = 0;
    for (int j = 0; j < kPieces; ++j) {
      slope[j] = slopes[j];
      height[j] = static_cast<A>(at);
      at += kWidth * slopes[j];
    }
  }
  static int32_t of(A u) {
    const A place = u * A(1 / kWidth);
    // The first one below 0, which no norm is but in units of a radius that is; the last one for a NaN.
    const A within = place > A(0) ? place : A(0);
    return place < A(kPieces - 1) ? static_cast<int32_t>(within) : kPieces - 1;
  }
  static A from_left(A u, int32_t piece) { return u - A(kWidth) * static_cast<A>(piece); }
};

template <typename A>
void spline(const RadialArgs& a, const Stretch<A>& s) {
  const Pieces<A> pieces(static_cast<const A*>(a.parameters) + s.row * kPieces);
  const A inverse = A(1) / static_cast<A>(a.radius);
  if (a.grad == nullptr) {
    INDEPENDENT
    for (int64_t i = 0; i < s.count; ++i) {
      const A u = s.norm[i] * inverse;
      const int32_t piece = Pieces<A>::of(u);
      s.out[i] = pieces.height[piece] + pieces.slope[piece] * Pieces<A>::from_left(u, piece);
    }
    return;
  }
  double* sums = s.sums;
  for (int j = 0; j < kRadialShares; ++j) sums[j] = 0;
  for (int64_t i = 0; i < s.count; ++i) {
    const A u = s.norm[i] * inverse, grad = s.grad[i];
    const int32_t piece = Pieces<A>::of(u);
    const A by_u = grad * pieces.slope[piece];
    s.grad_norm[i] = by_u * inverse;
    sums[piece] += grad * Pieces<A>::from_left(u, piece);
    sums[kPieces + piece] += grad;
    sums[kRadialShares - 1] += by_u * u;
  }
}

template <typename A>
void run(const RadialArgs& a, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const Stretch<A> s(a, task);
    a.magnitude == Radial::Power ? power(a, s) : spline(a, s);
  }
}

}  // namespace

namespace decoupled::CAPABILITY {

void radial(const RadialArgs& a, int64_t begin, int64_t end) {
  a.scalar == Scalar::Float ? run<float>(a, begin, end) : run<double>(a, begin, end);
}

}  // namespace decoupled::CAPABILITY
