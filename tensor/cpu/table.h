// The families of CPU kernels: each file of this folder fills its entries of the table.
#pragma once

#include "tensor/kernels.h"

namespace costeff::COSTEFF_ISA {

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

}  // namespace costeff::COSTEFF_ISA
