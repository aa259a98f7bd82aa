// Inner products of lanes' gradients.
#pragma once

#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace costeff::audit {

// <x, y> of all elements, accumulated in f64.
double dot(const Tensor& x, const Tensor& y);

// products[lanes[a], lanes[b]] += <values[lanes[a]], values[lanes[b]]> for all pairs of these rows of
// values [rows, elements], `products` being [count, count] and lanes below `count`. By matrix products of
// pieces, which are added up in f64.
void add_products(const Tensor& values, std::span<const std::size_t> lanes, std::size_t count,
                  std::vector<double>& products);

}  // namespace costeff::audit
