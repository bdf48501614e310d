// An empty library by the name of libtorch's. Linking against it makes the kernels ask the loader for libtorch,
// which is in the process already, without an installed torch at build time; it is never installed.
