// The epilogue out = gain · h(‖x‖) · g(z / (‖x‖‖w‖)) + bias and its backward, compiled once for each instruction
// set. One pass over z (or its output and its gradient); nothing of z's size is held beside what comes and goes.
#include "cpu/capability.h"
#include "response.h"

namespace {

using decoupled::Angle;
using decoupled::EpilogueArgs;
using decoupled::Layout;

constexpr int64_t kBlock = 1024;  // the largest number of positions a task may have

template <typename A>
struct Block {
  A norm[kBlock], inverse[kBlock], h[kBlock], slope[kBlock], grad[kBlock], grad_h[kBlock];

  Position<A> operator[](int64_t i) const { return {norm[i], inverse[i], h[i], slope[i]}; }
};

template <typename A>
struct Channels {
  const A *gain, *inverse_norm, *radius, *bias;

  explicit Channels(const EpilogueArgs& a)
      : gain(static_cast<const A*>(a.gain)),
        inverse_norm(static_cast<const A*>(a.inverse_norm)),
        radius(static_cast<const A*>(a.radius)),
        bias(static_cast<const A*>(a.bias)) {}
  Channel<A> operator[](int64_t c) const {
    return {gain[c], inverse_norm[c], radius[c], A(1) / radius[c], bias[c]};
  }
};

// Where a task lies: its image and its stretch of positions.
struct Stretch {
  int64_t image, start, count;

  Stretch(const EpilogueArgs& a, int64_t task) {
    const int64_t blocks = (a.positions + a.block - 1) / a.block;
    image = task / blocks;
    start = task % blocks * a.block;
    count = least(a.block, a.positions - start);
  }
  int64_t norms(const EpilogueArgs& a, int64_t group) const {
    return (image * a.groups + group) * a.positions + start;
  }
  int64_t row(const EpilogueArgs& a, int64_t channel) const {
    return (image * a.channels + channel) * a.positions + start;
  }
};

template <typename A>
void load_block(const EpilogueArgs& a, const Stretch& s, int64_t group, Block<A>& block) {
  const A* norm = static_cast<const A*>(a.norm) + s.norms(a, group);
  const A* h = a.h == nullptr ? nullptr : static_cast<const A*>(a.h) + s.norms(a, group);
  const Constants<A> with{static_cast<A>(a.alpha), static_cast<A>(a.beta)};
  for (int64_t i = 0; i < s.count; ++i) {
    Position<A> at{norm[i], A(1) / norm[i], h == nullptr ? A(0) : h[i], A(0)};
    respond_at(Magnitudes{}, a.magnitude, with, at);
    block.norm[i] = at.norm;
    block.inverse[i] = at.inverse;
    block.h[i] = at.h;
    block.slope[i] = at.slope;
    block.grad[i] = 0;
    block.grad_h[i] = 0;
  }
}

// The parameters of an angle, by value: what a loop stores could otherwise be one of them.
template <typename A, Angle angle>
struct AllParameters {
  static constexpr int count = decoupled::parameters_of(angle);
  static constexpr bool by_channel = decoupled::parameters_by_channel(angle);
  const A* from;
  int64_t channels, width;

  explicit AllParameters(const EpilogueArgs& a)
      : from(static_cast<const A*>(a.parameters)), channels(a.channels), width(a.channels / a.groups) {}
  INLINED Parameters<A> operator[](int64_t c) const {
    Parameters<A> own{};
    if constexpr (by_channel)
      for (int j = 0; j < decoupled::kOfSigmoid; ++j) own.of[j] = from[j * channels + c];
    else
      for (int j = 0; j < count; ++j) own.of[j] = from[c / width * count + j];
    return own;
  }
};

template <typename T, typename H, Angle angle, typename A>
INLINED A forward(A z, const Position<A>& at, const Channel<A>& of, const Constants<A>& with,
                 const Parameters<A>& parameters) {
  const A cosine = z * at.inverse * of.inverse_norm, size = of.gain * H::respond(at, of, with).h;
  if constexpr (decoupled::is_power_of_cosine(angle))
    return size * angular<angle>(cosine).g + of.bias;
  else
    return size * turned<T, angle>(cosine, parameters).g + of.bias;
}

// `h` by the map of a given magnitude; `log_value` by the logarithm of z, and `by` by the angle's parameters.
template <Angle angle, typename A>
struct Gradients {
  static constexpr int count = decoupled::parameters_of(angle);
  A value, norm, gain, radius, h, log_value, by[count ? count : 1];
};

template <typename T, Angle angle, bool from_output, typename A>
INLINED Turned<angle, A> turned_of(A value, A size, A inverse, const Parameters<A>& parameters) {
  if constexpr (from_output)
    return turned_from_g<T, angle>(value / size);
  else
    return turned<T, angle>(value * inverse, parameters);
}

template <typename T, typename H, Angle angle, bool from_output, typename A>
INLINED Gradients<angle, A> backward(A grad, A value, const Position<A>& at, const Channel<A>& of,
                                    const Constants<A>& with, const Parameters<A>& parameters) {
  const Response<A> r = H::respond(at, of, with);
  const A size = of.gain * r.h;
  if constexpr (!decoupled::is_power_of_cosine(angle)) {
    const A inverse = at.inverse * of.inverse_norm, by_g = grad * size;
    const Turned<angle, A> g = turned_of<T, angle, from_output>(value, size, inverse, parameters);
    const A by_cosine = by_g * g.slope, by_h = grad * of.gain * g.g;
    Gradients<angle, A> d{by_cosine * inverse,
                          by_h * r.by_norm - by_cosine * g.t * at.inverse,
                          grad * r.h * g.g,
                          by_radius<H>(by_h, r, at, of),
                          by_h * with.alpha,
                          by_cosine * g.t,
                          {}};
    for (int j = 0; j < Gradients<angle, A>::count; ++j) d.by[j] = by_g * g.by[j];
    return d;
  } else {
    const Angular<A> g = from_output ? angular_from_g<angle>(value / size)
                                     : angular<angle>(value * at.inverse * of.inverse_norm);
    const A by_gain = grad * r.h * g.g, by_h = grad * of.gain * g.g;
    return {grad * size * g.slope * at.inverse * of.inverse_norm,
            by_h * (r.by_norm - A(degree<angle>) * r.h * at.inverse), by_gain,
            by_radius<H>(by_h, r, at, of), by_h * with.alpha, A(0), {}};
  }
}

template <typename T, typename H, Angle angle>
struct Forward {
  using A = typename Accumulate<T>::type;
  static constexpr bool by_channel = decoupled::parameters_by_channel(angle);

  static void first(const EpilogueArgs& a, const Stretch& s, int64_t, Block<A>& block) {
    const Constants<A> with{static_cast<A>(a.alpha), static_cast<A>(a.beta)};
    const Channels<A> channels(a);
    const AllParameters<A, angle> every(a);
    const int64_t width = a.channels / a.groups;
    for (int64_t c = 0; c < a.channels; ++c) {
      if (c % width == 0) load_block(a, s, c / width, block);
      const Channel<A> of = channels[c];
      const Parameters<A> parameters = every[c];
      const T* z = static_cast<const T*>(a.value) + s.row(a, c);
      T* out = static_cast<T*>(a.out) + s.row(a, c);
      INDEPENDENT
      for (int64_t i = 0; i < s.count; ++i)
        store(out + i, forward<T, H, angle>(static_cast<A>(load(z + i)), block[i], of, with, parameters));
    }
  }

  static void last(const EpilogueArgs& a, const Stretch& s, int64_t, Block<A>& block) {
    const Constants<A> with{static_cast<A>(a.alpha), static_cast<A>(a.beta)};
    const Channels<A> channels(a);
    const AllParameters<A, angle> every(a);
    const int64_t width = a.channels / a.groups;
    for (int64_t g = 0; g < a.groups; ++g) {
      load_block(a, s, g, block);
      const Parameters<A> shared = by_channel ? Parameters<A>{} : every[g * width];
      for (int64_t i = 0; i < s.count; ++i) {
        const int64_t row = (s.image * a.positions + s.start + i) * a.channels;
        const T* z = static_cast<const T*>(a.value) + row;
        T* out = static_cast<T*>(a.out) + row;
        const Position<A> at = block[i];
        INDEPENDENT
        for (int64_t c = g * width; c < (g + 1) * width; ++c)
          store(out + c, forward<T, H, angle>(static_cast<A>(load(z + c)), at, channels[c], with,
                                              by_channel ? every[c] : shared));
      }
    }
  }
};

template <typename T, typename H, Angle angle, bool from_output>
struct Backward {
  using A = typename Accumulate<T>::type;
  static constexpr bool given = std::is_same_v<H, Given>;
  static constexpr int shares = decoupled::shares_of(angle), parameters_count = decoupled::parameters_of(angle);
  static constexpr bool turns = !decoupled::is_power_of_cosine(angle);
  static constexpr bool by_channel = decoupled::parameters_by_channel(angle);

  static void store_norms(const EpilogueArgs& a, const Stretch& s, int64_t group, const Block<A>& block) {
    A* grad_norm = static_cast<A*>(a.grad_norm) + s.norms(a, group);
    for (int64_t i = 0; i < s.count; ++i) grad_norm[i] = block.grad[i];
    if constexpr (given) {
      A* grad_h = static_cast<A*>(a.grad_h) + s.norms(a, group);
      for (int64_t i = 0; i < s.count; ++i) grad_h[i] = block.grad_h[i];
    }
  }

  static void first(const EpilogueArgs& a, const Stretch& s, int64_t task, Block<A>& block) {
    const Constants<A> with{static_cast<A>(a.alpha), static_cast<A>(a.beta)};
    const Channels<A> channels(a);
    const AllParameters<A, angle> every(a);
    const int64_t width = a.channels / a.groups;
    A* sums = static_cast<A*>(a.sums) + task * shares * a.channels;
    for (int64_t c = 0; c < a.channels; ++c) {
      if (c % width == 0) load_block(a, s, c / width, block);
      const Channel<A> of = channels[c];
      const T* value = static_cast<const T*>(a.value) + s.row(a, c);
      const T* grad = static_cast<const T*>(a.grad) + s.row(a, c);
      T* grad_value = static_cast<T*>(a.grad_value) + s.row(a, c);
      const Parameters<A> parameters = every[c];
      Lanes<A> gain, radius, bias, log_value, by[parameters_count ? parameters_count : 1];
      for_lanes(0, s.count, [&](int64_t i, int64_t lane) {
        const A own = load(grad + i);
        const Gradients<angle, A> d = backward<T, H, angle, from_output>(
            own, static_cast<A>(load(value + i)), block[i], of, with, parameters);
        store(grad_value + i, d.value);
        block.grad[i] += d.norm;
        if constexpr (given) block.grad_h[i] += d.h;
        gain.of[lane] += d.gain;
        if constexpr (!given) radius.of[lane] += d.radius;
        bias.of[lane] += own;
        if constexpr (turns) {
          log_value.of[lane] += d.log_value;
          for (int j = 0; j < parameters_count; ++j) by[j].of[lane] += d.by[j];
        }
      });
      sums[c] = gain.sum();
      sums[a.channels + c] = radius.sum();
      sums[2 * a.channels + c] = bias.sum();
      if constexpr (turns) {
        sums[3 * a.channels + c] = log_value.sum();
        for (int j = 0; j < parameters_count; ++j) sums[(4 + j) * a.channels + c] = by[j].sum();
      }
      if ((c + 1) % width == 0) store_norms(a, s, c / width, block);
    }
  }

  static void last(const EpilogueArgs& a, const Stretch& s, int64_t task, Block<A>& block) {
    const Constants<A> with{static_cast<A>(a.alpha), static_cast<A>(a.beta)};
    const Channels<A> channels(a);
    const AllParameters<A, angle> every(a);
    const int64_t width = a.channels / a.groups;
    A* gain = static_cast<A*>(a.sums) + task * shares * a.channels;
    A *radius = gain + a.channels, *bias = radius + a.channels;
    for (int64_t c = 0; c < shares * a.channels; ++c) gain[c] = 0;
    for (int64_t g = 0; g < a.groups; ++g) {
      load_block(a, s, g, block);
      const Parameters<A> shared = by_channel ? Parameters<A>{} : every[g * width];
      for (int64_t i = 0; i < s.count; ++i) {
        const int64_t row = (s.image * a.positions + s.start + i) * a.channels;
        const T* value = static_cast<const T*>(a.value) + row;
        const T* grad = static_cast<const T*>(a.grad) + row;
        T* grad_value = static_cast<T*>(a.grad_value) + row;
        const Position<A> at = block[i];
        Lanes<A> norm, h;
        for_lanes(g * width, (g + 1) * width, [&](int64_t c, int64_t lane) {
          const A own = load(grad + c);
          const Gradients<angle, A> d = backward<T, H, angle, from_output>(
              own, static_cast<A>(load(value + c)), at, channels[c], with, by_channel ? every[c] : shared);
          store(grad_value + c, d.value);
          norm.of[lane] += d.norm;
          if constexpr (given) h.of[lane] += d.h;
          gain[c] += d.gain;
          if constexpr (!given) radius[c] += d.radius;
          bias[c] += own;
          if constexpr (turns)
            for (int j = 0; j <= parameters_count; ++j)
              gain[(3 + j) * a.channels + c] += j ? d.by[j - 1] : d.log_value;
        });
        block.grad[i] = norm.sum();
        if constexpr (given) block.grad_h[i] = h.sum();
      }
      store_norms(a, s, g, block);
    }
  }
};

template <typename Pass, typename A>
void run(const EpilogueArgs& a, int64_t begin, int64_t end) {
  Block<A> block;
  for (int64_t task = begin; task < end; ++task) {
    const Stretch s(a, task);
    a.layout == Layout::ChannelsFirst ? Pass::first(a, s, task, block) : Pass::last(a, s, task, block);
  }
}

template <typename T, typename H, Angle angle>
void pass(const EpilogueArgs& a, int64_t begin, int64_t end) {
  using A = typename Accumulate<T>::type;
  if (a.grad == nullptr) return run<Forward<T, H, angle>, A>(a, begin, end);
  if constexpr (decoupled::is_invertible(angle))
    if (a.from_output) return run<Backward<T, H, angle, true>, A>(a, begin, end);
  run<Backward<T, H, angle, false>, A>(a, begin, end);
}

template <typename T, Angle angle, typename... H>
void pass_of_magnitude(List<H...>, const EpilogueArgs& a, int64_t begin, int64_t end) {
  int place = 0;
  const auto one = [&](auto h) {
    using Own = std::conditional_t<decltype(h)::per_channel, decltype(h), AtPosition>;
    if (place++ == a.magnitude) pass<T, Own, angle>(a, begin, end);
  };
  (one(H{}), ...);
}

template <typename T>
void pass_of_type(const EpilogueArgs& a, int64_t begin, int64_t end) {
  if (a.angle == Angle::Cos) return pass_of_magnitude<T, Angle::Cos>(Magnitudes{}, a, begin, end);
  if (a.angle == Angle::Sqcos) return pass_of_magnitude<T, Angle::Sqcos>(Magnitudes{}, a, begin, end);
  if (a.angle == Angle::Linear) return pass_of_magnitude<T, Angle::Linear>(Magnitudes{}, a, begin, end);
  if (a.angle == Angle::Sigmoid) return pass_of_magnitude<T, Angle::Sigmoid>(Magnitudes{}, a, begin, end);
  if (a.angle == Angle::Power) return pass_of_magnitude<T, Angle::Power>(Magnitudes{}, a, begin, end);
  pass_of_magnitude<T, Angle::Spline>(Magnitudes{}, a, begin, end);
}

}  // namespace

namespace decoupled::CAPABILITY {

void epilogue(const EpilogueArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Float) return pass_of_type<float>(a, begin, end);
  if (a.scalar == Scalar::Double) return pass_of_type<double>(a, begin, end);
  pass_of_type<bfloat16>(a, begin, end);
}

namespace {
template <typename... H>
const char* const* names_of(List<H...>) {
  static const char* const names[] = {H::name..., nullptr};
  return names;
}
}  // namespace

const char* const* magnitudes() { return names_of(Magnitudes{}); }

}  // namespace decoupled::CAPABILITY
