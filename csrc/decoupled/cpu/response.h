// The decoupled response of one element: h, its derivatives, and g. Everything has internal linkage (see scalar.h).
#pragma once

#include "cpu/kernels.h"
#include "cpu/scalar.h"

namespace {

// How h is found: from the position alone (computed once for all channels), or from position and channel.
enum class Kind { Position, Ball, Tanh, Seg };

inline Kind kind_of(decoupled::Magnitude magnitude) {
  if (magnitude == decoupled::Magnitude::Ball) return Kind::Ball;
  if (magnitude == decoupled::Magnitude::Tanh) return Kind::Tanh;
  return magnitude == decoupled::Magnitude::Seg ? Kind::Seg : Kind::Position;
}

template <typename A>
struct Position {
  A norm, inverse;  // ‖x‖ and 1/‖x‖
  A h, slope;       // of a magnitude of Kind::Position
};

template <typename A>
struct Channel {
  A gain, inverse_norm, radius, inverse_radius, bias;
};

template <typename A>
struct Constants {
  A alpha, beta;
};

template <typename A>
struct Response {
  A h, by_norm, by_radius;
};

template <Kind kind, typename A>
inline Response<A> respond(const Position<A>& at, const Channel<A>& of, const Constants<A>& with) {
  if constexpr (kind == Kind::Position) return {at.h, at.slope, A(0)};
  if constexpr (kind == Kind::Ball) {
    const A ratio = at.norm * of.inverse_radius, slope = with.alpha * of.inverse_radius;
    const bool outside = at.norm > of.radius;  // not for a NaN
    return {with.alpha * least(ratio, A(1)), outside ? A(0) : slope, outside ? A(0) : -slope * ratio};
  }
  if constexpr (kind == Kind::Tanh) {
    const A ratio = at.norm * of.inverse_radius;
    const Tanh<A> t = hyperbolic_tangent(ratio);
    const A slope = with.alpha * t.slope * of.inverse_radius;
    // The slope vanishes long before the ratio is cut; the cut keeps an infinite ratio from giving 0·∞.
    return {with.alpha * t.value, slope, -slope * least(ratio, A(1e6))};
  }
  if constexpr (kind == Kind::Seg) {
    const bool inside = at.norm < of.radius;
    const A step = with.alpha - with.beta;
    return {inside ? with.alpha * at.norm : with.beta * at.norm + step * of.radius,
            inside ? with.alpha : with.beta, step};
  }
}

// The gradient by the radius, given that by h. Masked behind the product: what a comparison did not choose has a
// gradient of zero whatever comes in, NaN included.
template <Kind kind, typename A>
inline A by_radius(A by_h, const Response<A>& r, const Position<A>& at, const Channel<A>& of) {
  const A share = by_h * r.by_radius;
  if constexpr (kind == Kind::Seg) return at.norm < of.radius ? A(0) : share;
  return share;
}

// h and dh/d‖x‖ where they do not depend on the channel.
template <typename A>
inline void respond_at(decoupled::Magnitude magnitude, const Constants<A>& with, Position<A>& at) {
  using decoupled::Magnitude;
  const A inverse = A(1) / (A(1) + at.norm);
  at.h = with.alpha;
  at.slope = 0;
  if (magnitude == Magnitude::Linear) {
    at.h = with.alpha * at.norm;
    at.slope = with.alpha;
  } else if (magnitude == Magnitude::Log) {
    at.h = with.alpha * log_one_plus(at.norm);
    at.slope = with.alpha * inverse;
  } else if (magnitude == Magnitude::Mix) {
    at.h = with.alpha * at.norm + with.beta * log_one_plus(at.norm);
    at.slope = with.alpha + with.beta * inverse;
  }
}

// g and g' of the angular functions that are powers of the cosine; `degree` is the power.
template <decoupled::Angle angle>
constexpr int degree = angle == decoupled::Angle::Cos ? 1 : 2;

template <typename A>
struct Angular {
  A g, slope;
};

template <decoupled::Angle angle, typename A>
inline Angular<A> angular(A cosine) {
  if constexpr (angle == decoupled::Angle::Cos) return {cosine, A(1)};
  const A size = magnitude_of(cosine);
  return {cosine * size, A(2) * size};
}

template <decoupled::Angle angle, typename A>
inline Angular<A> angular_from_g(A g) {
  if constexpr (angle == decoupled::Angle::Cos) return {g, A(1)};
  return {g, A(2) * root(magnitude_of(g))};
}

}  // namespace
