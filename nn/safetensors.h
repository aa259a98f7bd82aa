// Tensors by name in one file: the safetensors format, https://github.com/huggingface/safetensors
//
//   8 bytes   N, the header's length, little-endian
//   N bytes   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}, and it
//             may have "__metadata__": {"key": "text", ...}; padded with spaces
//   the rest  the tensors' data, row-major, little-endian, without holes; offsets count from here
//
// Every error is an Error that names the file and, where there is one, the tensor.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/choice.h"
#include "tensor/file.h"
#include "tensor/tensor.h"

namespace costeff {

// IEEE 754 half precision (1 sign, 5 exponent, 10 fraction bits) to f32, exactly. Right also where the
// processor flushes denormals: all floating-point operands are normal.
constexpr float f16_to_f32(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t magnitude = (half & 0x7fffu) << 13;
  constexpr std::uint32_t rebias = (127 - 15) << 23;
  std::uint32_t bits = magnitude + rebias;
  if (magnitude >= 0x0f800000u) {  // Infinity and NaN.
    bits = magnitude | 0x7f800000u;
  } else if (magnitude < 0x00800000u) {  // Zero and subnormals: 2^-14 · fraction.
    constexpr std::uint32_t smallest_normal = rebias + 0x00800000u;
    bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(smallest_normal + magnitude) -
                                        std::bit_cast<float>(smallest_normal));
  }
  return std::bit_cast<float>(sign | bits);
}

// f32 to half, to nearest, ties to even; from 65520 on infinity; a NaN stays a (quiet) NaN.
constexpr std::uint16_t f32_to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    magnitude = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {
    magnitude = 0x7c00u;
  } else if (magnitude <
             0x38800000u) {  // Subnormal: at 0.5 an f32's last bit is 2^-24, a subnormal half's unit.
    magnitude = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
                std::bit_cast<std::uint32_t>(0.5f);
  } else {
    magnitude = (magnitude + 0x0fffu + ((magnitude >> 13) & 1u) - ((127 - 15) << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | magnitude);
}

// What the header says of a tensor, and where its data lies: not aligned, valid while the file is open.
struct TensorInfo {
  std::string dtype;  // F64, F32, F16, BF16, I64 or I32
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  std::int64_t count() const;  // product of the shape; 1 for a scalar
};

// An open safetensors file. Opening reads and checks the header; data are read when asked for.
class SafetensorsFile {
 public:
  // Throws if the file is shorter than its header claims, the header is above 100 MB or not the JSON above, a
  // dtype is not one of TensorInfo's, a name stands twice, or sizes and offsets do not cover the data
  // exactly.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<std::string>& names() const { return names_; }  // in the order of their data
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  const TensorInfo& info(std::string_view name) const;  // Throws if there is no such tensor.

  // The tensor's values, converted as IEEE 754 does, into out[0, n). Throw if there is no such tensor, if it
  // does not have n elements, or if it is not of a floating dtype (read_i64: of an integer dtype).
  void read_f32(std::string_view name, float* out, std::int64_t n) const;
  void read_f64(std::string_view name, double* out, std::int64_t n) const;
  void read_i64(std::string_view name, std::int64_t* out, std::int64_t n) const;
  void read(std::string_view name, const Tensor& out) const;  // f32 or f64, on any device

 private:
  const TensorInfo& info_of_size(std::string_view name, std::int64_t n) const;
  template <class T>
  void read_floats(std::string_view name, T* out, std::int64_t n) const;

  MappedFile file_;
  std::vector<std::string> names_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A tensor to be written: row-major values that the caller keeps.
struct SafetensorsEntry {
  std::string name;
  std::vector<std::int64_t> shape;
  std::variant<const float*, const double*> data;
};

SafetensorsEntry entry_of(std::string name, const Tensor& values);  // f32 or f64, on the CPU

enum class SaveDType : std::uint8_t { f32, f16, f64 };
// Those that a user can ask for.
constexpr auto names_of(SaveDType) {
  return std::to_array<Name<SaveDType>>({{SaveDType::f32, "f32"}, {SaveDType::f16, "f16"}});
}

// Writes the entries in their order, converted to `dtype` (f64 to f16 by way of f32), through AtomicFile: the
// file at `path` is the old one or the new one, whole. Throws on a name that stands twice, is empty, not
// UTF-8 or "__metadata__", on a negative shape, and if a finite value is beyond the range of `dtype`.
void write_safetensors(const std::string& path, std::span<const SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata = {},
                       SaveDType dtype = SaveDType::f32);

}  // namespace costeff
