// Declarations of the kernels of one instruction set; CAPABILITY is its name.
#pragma once

#include "kernels.h"

namespace decoupled::CAPABILITY {

const char* const* magnitudes();
void square_sums(const PatchNormArgs&, int64_t begin, int64_t end);
void window_norms(const PatchNormArgs&, int64_t begin, int64_t end);
void window_adjoint(const PatchNormArgs&, int64_t begin, int64_t end);
void scale_input(const PatchNormArgs&, int64_t begin, int64_t end);
void epilogue(const EpilogueArgs&, int64_t begin, int64_t end);
void radial(const RadialArgs&, int64_t begin, int64_t end);
void ddf(const DdfArgs&, int64_t begin, int64_t end);
void add_shares(const ShareArgs&, int64_t begin, int64_t end);

}  // namespace decoupled::CAPABILITY
