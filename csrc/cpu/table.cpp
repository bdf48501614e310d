// The table of one instruction set; compiled with it, like the kernels.
#include "capability.h"

namespace decoupled::CAPABILITY {

#define NAME_OF(x) #x
#define NAME(x) NAME_OF(x)

extern const KernelTable table;
const KernelTable table = {NAME(CAPABILITY), magnitudes, square_sums, window_norms, window_adjoint, scale_input,
                           epilogue, radial, ddf, add_shares};

}  // namespace decoupled::CAPABILITY
