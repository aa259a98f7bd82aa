// The families of CUDA kernels: each file of this folder fills its entries of the table.
#pragma once

#include "tensor/cuda/context.h"
#include "tensor/kernels.h"

namespace costeff::COSTEFF_GPU {

template <class T>
void fill_gemm(Kernels<T>& k);
template <class T>
void fill_elementwise(Kernels<T>& k);
template <class T>
void fill_bias(Kernels<T>& k);
template <class T>
void fill_softmax(Kernels<T>& k);
template <class T>
void fill_layer_norm(Kernels<T>& k);
template <class T>
void fill_attention(Kernels<T>& k);
template <class T>
void fill_attention_backward(Kernels<T>& k);
template <class T>
void fill_attention_bf16(Kernels<T>& k);  // of f32
template <class T>
void fill_rows(Kernels<T>& k);
template <class T>
void fill_reduce(Kernels<T>& k);
template <class T>
void fill_loss(Kernels<T>& k);
template <class T>
void fill_adamw(Kernels<T>& k);

// All but the matrix product, which is cuBLAS's.
template <class T>
void fill_own_kernels(Kernels<T>& k) {
  fill_elementwise(k);
  fill_bias(k);
  fill_softmax(k);
  fill_layer_norm(k);
  fill_attention(k);
  fill_attention_backward(k);
  fill_attention_bf16(k);
  fill_rows(k);
  fill_reduce(k);
  fill_loss(k);
  fill_adamw(k);
}

}  // namespace costeff::COSTEFF_GPU
