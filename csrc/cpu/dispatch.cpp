// Chooses the instruction set once, when the first kernel runs.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace decoupled {

namespace baseline {
extern const KernelTable table;
}
#ifdef DECOUPLED_X86
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
#endif

namespace {

const KernelTable& choose() {
#ifdef DECOUPLED_X86
  const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
  const bool lowest = wanted && std::strcmp(wanted, "default") == 0;
  const bool not_highest = lowest || (wanted && std::strcmp(wanted, "avx2") == 0);
  __builtin_cpu_init();
  // What -march=x86-64-v3 and -v4 let the compiler use, as far as it is used here.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4 && !not_highest) return avx512::table;
  if (v3 && !lowest) return avx2::table;
#endif
  return baseline::table;
}

}  // namespace

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace decoupled
