// The decoupled response of one element: h, its derivatives, and g. A magnitude function is a struct here and a place
// in the list Magnitudes; nothing else in C++ knows of it. Everything has internal linkage (see scalar.h).
#pragma once

#include <type_traits>

#include "cpu/kernels.h"
#include "cpu/scalar.h"

namespace {

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

// A function of the norm alone gives h and dh/d‖x‖ of a position, found once for all channels; `per_channel` says
// that it depends on the radius, too, and gives all three derivatives of an element.
struct Sphere {
  static constexpr const char* name = "sphere";
  static constexpr bool per_channel = false;
  template <typename A>
  static void at(const Constants<A>& with, Position<A>& at) {
    at.h = with.alpha;
    at.slope = 0;
  }
};

struct Ball {
  static constexpr const char* name = "ball";
  static constexpr bool per_channel = true;
  template <typename A>
  static Response<A> respond(const Position<A>& at, const Channel<A>& of, const Constants<A>& with) {
    const A ratio = at.norm * of.inverse_radius, slope = with.alpha * of.inverse_radius;
    const bool outside = at.norm > of.radius;  // not for a NaN
    return {with.alpha * least(ratio, A(1)), outside ? A(0) : slope, outside ? A(0) : -slope * ratio};
  }
};

struct Tangent {
  static constexpr const char* name = "tanh";
  static constexpr bool per_channel = true;
  template <typename A>
  static Response<A> respond(const Position<A>& at, const Channel<A>& of, const Constants<A>& with) {
    const A ratio = at.norm * of.inverse_radius;
    const Tanh<A> t = hyperbolic_tangent(ratio);
    const A slope = with.alpha * t.slope * of.inverse_radius;
    // The slope vanishes long before the ratio is cut; the cut keeps an infinite ratio from giving 0·∞.
    return {with.alpha * t.value, slope, -slope * least(ratio, A(1e6))};
  }
};

struct Linear {
  static constexpr const char* name = "linear";
  static constexpr bool per_channel = false;
  template <typename A>
  static void at(const Constants<A>& with, Position<A>& at) {
    at.h = with.alpha * at.norm;
    at.slope = with.alpha;
  }
};

struct Seg {
  static constexpr const char* name = "seg";
  static constexpr bool per_channel = true;
  template <typename A>
  static Response<A> respond(const Position<A>& at, const Channel<A>& of, const Constants<A>& with) {
    const bool inside = at.norm < of.radius;
    const A step = with.alpha - with.beta;
    return {inside ? with.alpha * at.norm : with.beta * at.norm + step * of.radius,
            inside ? with.alpha : with.beta, step};
  }
};

struct Log {
  static constexpr const char* name = "log";
  static constexpr bool per_channel = false;
  template <typename A>
  static void at(const Constants<A>& with, Position<A>& at) {
    at.h = with.alpha * log_one_plus(at.norm);
    at.slope = with.alpha * (A(1) / (A(1) + at.norm));
  }
};

struct Mix {
  static constexpr const char* name = "mix";
  static constexpr bool per_channel = false;
  template <typename A>
  static void at(const Constants<A>& with, Position<A>& at) {
    at.h = with.alpha * at.norm + with.beta * log_one_plus(at.norm);
    at.slope = with.alpha + with.beta * (A(1) / (A(1) + at.norm));
  }
};

// Values that come as a map, of a magnitude that is learned: once a patch, too, but with a gradient of their own.
struct Given {
  static constexpr const char* name = "given";
  static constexpr bool per_channel = true;
  template <typename A>
  static Response<A> respond(const Position<A>& at, const Channel<A>&, const Constants<A>& with) {
    return {with.alpha * at.h, A(0), A(0)};
  }
};

template <typename... H>
struct List {};
using Magnitudes = List<Sphere, Ball, Tangent, Linear, Seg, Log, Mix, Given>;

// In the kernels' loops all functions of the norm alone are one: h and its slope lie there already.
struct AtPosition {
  template <typename A>
  static Response<A> respond(const Position<A>& at, const Channel<A>&, const Constants<A>&) {
    return {at.h, at.slope, A(0)};
  }
};

template <typename A, typename... H>
inline void respond_at(List<H...>, int magnitude, const Constants<A>& with, Position<A>& at) {
  int place = 0;
  const auto one = [&](auto h) {
    if constexpr (!decltype(h)::per_channel)
      if (place == magnitude) decltype(h)::at(with, at);
    ++place;
  };
  (one(H{}), ...);
}

// The gradient by the radius, given that by h. Masked behind the product: what a comparison did not choose has a
// gradient of zero whatever comes in, NaN included.
template <typename H, typename A>
inline A by_radius(A by_h, const Response<A>& r, const Position<A>& at, const Channel<A>& of) {
  const A share = by_h * r.by_radius;
  if constexpr (std::is_same_v<H, Seg>) return at.norm < of.radius ? A(0) : share;
  return share;
}

// g and g' of the angular functions that are powers of the cosine; `degree` is the power.
using decoupled::Angle;
template <Angle angle>
constexpr int degree = angle == Angle::Cos ? 1 : 2;

template <typename A>
struct Angular {
  A g, slope;
};

template <typename A>
struct Parameters {
  A of[decoupled::kTurns];
};

// The other functions, of t, with the derivatives by t and by the parameters. Of learned ones t = √d·cosine is what
// comes in, and the derivatives are of what they give, g·√d; of the others t is the cosine.
template <Angle angle, typename A>
struct Turned {
  static constexpr int count = decoupled::parameters_of(angle);
  A t, g, slope, by[count ? count : 1];
};

// Up to where a cosine computed in T is trusted, and where the straight line ends that goes on from there. Of bfloat16
// all is rounding beyond, as in composed.py; for the others see asin in angle.py.
template <typename T>
struct Ends {
  static constexpr T edge = T(1) - (sizeof(T) == sizeof(float) ? T(0x1p-23) : T(0x1p-52)), reach = T(1);
};
template <>
struct Ends<bfloat16> {
  static constexpr float edge = 1.0f - 0x1p-8f, reach = edge;
};

// asin of a cosine's magnitude, and its derivative.
template <typename T, typename A>
INLINED Arc<A> arc_of(A size) {
  const A inside = least(size, A(Ends<T>::edge));
  const Arc<A> arc = arc_sine(inside);
  return {arc.value + (least(size, A(Ends<T>::reach)) - inside) * arc.slope, arc.slope};
}

// ``sqrt(t² + this)`` takes the place of |t|.
constexpr double kRounded = 1e-3;

template <typename T, Angle angle, typename A>
INLINED Turned<angle, A> turned(A t, const Parameters<A>& parameters) {
  const auto& s = parameters.of;
  const A size = magnitude_of(t), sign = t < A(0) ? A(-1) : A(1);
  if constexpr (angle == Angle::Linear) {
    const Arc<A> arc = arc_of<T>(size);
    return {t, sign * (arc.value * A(1 / kRightAngle)), arc.slope * A(1 / kRightAngle), {}};
  } else if constexpr (angle == Angle::Sigmoid) {
    const A width = s[0], inverse_top = s[1], of_top = s[2];
    const Arc<A> arc = arc_of<T>(size);
    const Tanh<A> up = hyperbolic_tangent(arc.value * width);
    const A by_width = inverse_top * (arc.value * up.slope - up.value * of_top);
    return {t, sign * (up.value * inverse_top), width * up.slope * inverse_top * arc.slope, {sign * by_width}};
  } else if constexpr (angle == Angle::Power) {
    const A half = A(0.5) * (s[0] - A(1)), square = t * t, rounded = square + A(kRounded);
    const A log_size = logarithm(rounded), power = exponential_within(half * log_size);
    return {t, t * power, power * (A(1) + A(2) * half * (square / rounded)), {A(0.5) * log_size * (t * power)}};
  } else {
    const A first = least(size, A(1)), second = least(most(size - A(1), A(0)), A(1));
    const A third = least(most(size - A(2), A(0)), A(1)), last = most(size - A(3), A(0));
    const A low = size < A(1) ? s[0] : s[1], high = size < A(3) ? s[2] : s[3];
    const A g = s[0] * first + s[1] * second + (s[2] * third + s[3] * last);
    return {t, sign * g, size < A(2) ? low : high, {sign * first, sign * second, sign * third, sign * last}};
  }
}

// The same for g, of one that can be inverted. 1 - |g| is exact where the cosine of the turn is small.
template <typename T, Angle angle, typename A>
INLINED Turned<angle, A> turned_from_g(A g) {
  static_assert(angle == Angle::Linear);
  constexpr A edge = A(Ends<T>::edge);
  const A size = magnitude_of(g), sign = g < A(0) ? A(-1) : A(1);
  const A across = most(sine((A(1) - size) * A(kRightAngle)), root((A(1) - edge) * (A(1) + edge)));
  return {sign * sine(size * A(kRightAngle)), g, A(1 / kRightAngle) / across, {}};
}

template <Angle angle, typename A>
inline Angular<A> angular(A cosine) {
  if constexpr (angle == Angle::Cos) return {cosine, A(1)};
  const A size = magnitude_of(cosine);
  return {cosine * size, A(2) * size};
}

template <Angle angle, typename A>
inline Angular<A> angular_from_g(A g) {
  if constexpr (angle == Angle::Cos) return {g, A(1)};
  return {g, A(2) * root(magnitude_of(g))};
}

}  // namespace
