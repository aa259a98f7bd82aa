// The families of kernels: each has a file in tensor/cpu and one in tensor/cuda with a function
// fill_<family>, which fills its entries of the table. What is done to every element or every row by itself
// has its mathematics in tensor/elementwise.h and tensor/rowwise.h, once for both. The matrix product is
// OpenBLAS's or cuBLAS's.
#pragma once

#define COSTEFF_FAMILIES(X) \
  X(elementwise)            \
  X(bias)                   \
  X(rowwise)                \
  X(layer_norm)             \
  X(attention)              \
  X(attention_backward)     \
  X(attention_bf16)         \
  X(rows)                   \
  X(reduce)                 \
  X(loss)                   \
  X(adamw)

#define COSTEFF_DECLARE_FAMILY(name) \
  template <class T>                 \
  void fill_##name(Kernels<T>& k);
#define COSTEFF_FILL_FAMILY(name) fill_##name(k);

// To stand in a backend's namespace: declares its families, and fill_families, which calls them all.
#define COSTEFF_BACKEND_FAMILIES           \
  COSTEFF_FAMILIES(COSTEFF_DECLARE_FAMILY) \
  template <class T>                       \
  void fill_families(Kernels<T>& k) {      \
    COSTEFF_FAMILIES(COSTEFF_FILL_FAMILY)  \
  }
