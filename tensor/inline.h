// How functions shared by every backend are declared: inlined by force, so that a copy compiled for one
// instruction set never serves another, and callable from device code.
#pragma once

#if defined(__CUDACC__)
#define COSTEFF_INLINE __host__ __device__ inline
#else
#define COSTEFF_INLINE [[gnu::always_inline]] inline
#endif
