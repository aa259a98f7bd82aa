// One instruction set's table of kernels, all but the matrix product.
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {

void fill_table(Kernels<float>& k);
void fill_table(Kernels<double>& k);

void fill_table(Kernels<float>& k) {
  fill_families(k);
}
void fill_table(Kernels<double>& k) {
  fill_families(k);
}

}  // namespace costeff::COSTEFF_ISA
