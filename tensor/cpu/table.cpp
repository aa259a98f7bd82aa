// One instruction set's table of kernels, all but the matrix product.
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

template <class T>
void fill_all(Kernels<T>& k) {
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

}  // namespace

void fill_table(Kernels<float>& k);
void fill_table(Kernels<double>& k);

void fill_table(Kernels<float>& k) {
  fill_all(k);
}
void fill_table(Kernels<double>& k) {
  fill_all(k);
}

}  // namespace costeff::COSTEFF_ISA
