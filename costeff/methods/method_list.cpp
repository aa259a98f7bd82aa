#include "costeff/methods/method_list.h"

#include <vector>

#include "tensor/error.h"

namespace costeff {

std::span<const Method> all_methods() {
  static const std::vector<Method> methods = {costeff_method(), deebert_method()};
  return methods;
}

const Method& find_method(std::string_view name) {
  std::string known;
  for (const Method& method : all_methods()) {
    if (method.name == name) return method;
    known += (known.empty() ? "" : ", ") + method.name;
  }
  fail_usage("method {}: must be one of {}", name, known);
}

}  // namespace costeff
