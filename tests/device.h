// The device that the reference tests run on: COSTEFF_TEST_DEVICE is cpu (the default), mock, or a GPU as
// --device names it.
#pragma once

#include <cstdlib>
#include <string>

#include "tensor/device.h"
#include "tests/mock/mock.h"

namespace costeff::testing {

inline Device test_device() {
  static const Device device = [] {
    const char* name = std::getenv("COSTEFF_TEST_DEVICE");
    if (name == nullptr) return kCpu;
    if (std::string(name) != "mock") return device_named(name);
    mock::install();
    return mock::kMock;
  }();
  return device;
}

}  // namespace costeff::testing
