// What the kernels of the dynamic filters take and give; plain, like kernels.h.
#pragma once

#include "cpu/kernels.h"

namespace decoupled {

// Axes are rows, then columns. A task is one image and head, a slab of its rows and a chunk of its channels; how
// many slabs and chunks there are follows from the shapes alone.
struct DdfArgs {
  int64_t batch, channels, heads;
  int64_t in[2], out[2], kernel[2], stride[2], dilation[2];
  Scalar scalar;
  Layout layout;  // of the input, the output and their gradients
  bool add;       // the filters are added, not multiplied
  int64_t bands;  // parts of the output rows that are worked on one after the other
  int64_t slabs, chunks;
  int64_t of_image, of_tap, of_row, of_column;  // steps in the spatial filter and its gradient
  int64_t spatial_size;                         // elements of the spatial filter
  const void* input;                            // (batch, channels, *in)
  const void* channel;                          // (batch, channels, *kernel), contiguous
  const void* spatial;                          // (batch, heads * taps, *out)
  void* output;                                 // (batch, channels, *out), forward only
  // Backward only.
  const void* grad;
  void* grad_input;
  void* grad_spatial;    // as `spatial`; its sum over chunks is in spatial_shares where that is given
  void* channel_shares;  // (slabs, batch, channels, *kernel) in the type of accumulation
  void* spatial_shares;  // (chunks, ...) laid out as `spatial`, in the type of accumulation
};

// The sum of the shares of all slabs or chunks.
struct ShareArgs {
  Scalar scalar;
  int64_t count, size;
  const void* shares;  // (count, size) in the type of accumulation
  void* out;           // (size)
};

}  // namespace decoupled
