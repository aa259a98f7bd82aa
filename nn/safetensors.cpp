#include "nn/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "tensor/dtype.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "data are copied as they lie in the file");

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as in the original implementation
constexpr int kMaxHeaderDepth = 4;                      // the header, a tensor, its shape; one to spare
constexpr char kMetadataKey[] = "__metadata__";

std::optional<std::int64_t> size_of_dtype(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "F16" || dtype == "BF16") return 2;
  return std::nullopt;
}

// Elements in a shape, or nothing if there is a negative extent or the bytes overflow.
std::optional<std::int64_t> checked_count(const std::vector<std::int64_t>& shape, std::int64_t element_size) {
  std::int64_t bytes = element_size;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes / element_size;
}

// ---------------------------------------------------------------------------------------------- reading

std::string_view header_text(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < 8) {
    fail("{}: not a safetensors file: {} bytes, at least 8 are needed", file.path(), bytes.size());
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeaderBytes) {
    fail("{}: not a safetensors file: it claims a header of {} bytes, at most {} are allowed", file.path(),
         length, kMaxHeaderBytes);
  }
  if (length > bytes.size() - 8) {
    fail("{}: truncated: it claims a header of {} bytes, but only {} follow", file.path(), length,
         bytes.size() - 8);
  }
  return {reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<std::size_t>(length)};
}

// The parser alone would keep the last of two equal keys, and build nests of any depth.
json parse_header(std::string_view text, const std::string& path) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      if (depth >= kMaxHeaderDepth) fail("{}: the header is nested too deeply", path);
      if (event == json::parse_event_t::object_start) keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) fail("{}: the header has '{}' twice", path, key);
    }
    return true;
  };
  try {
    json header = json::parse(text, check);
    if (!header.is_object()) fail("{}: the header is not a JSON object", path);
    return header;
  } catch (const json::exception& error) {
    fail("{}: the header is not valid JSON: {}", path, std::string_view(error.what()).substr(0, 200));
  }
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& path) {
  if (!value.is_object()) fail("{}: {} is not an object of strings", path, kMetadataKey);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail("{}: {}: the value of '{}' is not a string", path, kMetadataKey, key);
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

// A list of integers from 0 to 2^63 - 1.
std::vector<std::int64_t> parse_sizes(const json& entry, const char* key, const std::string& path,
                                      const std::string& name) {
  const auto list = entry.find(key);
  if (list == entry.end() || !list->is_array()) fail("{}: tensor '{}' has no list '{}'", path, name, key);
  std::vector<std::int64_t> sizes;
  for (const json& size : *list) {
    if (!size.is_number_unsigned() ||
        size.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      fail("{}: tensor '{}': '{}' holds {}, which is not a size", path, name, key, size.dump());
    }
    sizes.push_back(size.get<std::int64_t>());
  }
  return sizes;
}

TensorInfo parse_tensor(const json& entry, std::span<const std::byte> data, const std::string& path,
                        const std::string& name) {
  if (!entry.is_object()) fail("{}: tensor '{}' is not described by an object", path, name);
  TensorInfo info;
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) fail("{}: tensor '{}' has no dtype", path, name);
  info.dtype = dtype->get<std::string>();
  const std::optional<std::int64_t> element_size = size_of_dtype(info.dtype);
  if (!element_size) {
    fail("{}: tensor '{}' has dtype {}; supported are F32, F64, F16, BF16, I64 and I32", path, name,
         info.dtype);
  }
  info.shape = parse_sizes(entry, "shape", path, name);
  const std::optional<std::int64_t> count = checked_count(info.shape, *element_size);
  if (!count) fail("{}: tensor '{}': the shape [{}] is too large", path, name, fmt::join(info.shape, ", "));

  const std::vector<std::int64_t> offsets = parse_sizes(entry, "data_offsets", path, name);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail("{}: tensor '{}': data_offsets [{}] are not a begin and an end", path, name,
         fmt::join(offsets, ", "));
  }
  if (offsets[1] > static_cast<std::int64_t>(data.size())) {
    fail("{}: tensor '{}' ends at byte {}, but the file has {} bytes of data: truncated?", path, name,
         offsets[1], data.size());
  }
  if (offsets[1] - offsets[0] != *count * *element_size) {
    fail("{}: tensor '{}' of dtype {} and shape [{}] needs {} bytes, its data_offsets span {}", path, name,
         info.dtype, fmt::join(info.shape, ", "), *count * *element_size, offsets[1] - offsets[0]);
  }
  info.bytes =
      data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(offsets[1] - offsets[0]));
  return info;
}

// Applies `convert` to each element of type `Stored`, which may lie unaligned.
template <class Stored, class T, class Convert>
void convert_all(std::span<const std::byte> bytes, T* out, Convert convert) {
  const std::size_t count = bytes.size() / sizeof(Stored);
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<T>(convert(stored));
  }
}

}  // namespace

std::int64_t TensorInfo::count() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) product *= extent;
  return product;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const std::string_view text = header_text(file_);
  const std::span<const std::byte> data = file_.bytes().subspan(8 + text.size());
  const json header = parse_header(text, path);
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataKey) {
      metadata_ = parse_metadata(entry, path);
    } else {
      tensors_.emplace(name, parse_tensor(entry, data, path, name));
      names_.push_back(name);
    }
  }

  const auto begin_of = [&](const TensorInfo& tensor) { return tensor.bytes.data() - data.data(); };
  std::stable_sort(names_.begin(), names_.end(), [&](const std::string& a, const std::string& b) {
    const TensorInfo& first = tensors_.at(a);
    const TensorInfo& second = tensors_.at(b);
    return std::pair(begin_of(first), first.bytes.size()) < std::pair(begin_of(second), second.bytes.size());
  });
  std::ptrdiff_t end = 0;
  for (const std::string& name : names_) {
    const TensorInfo& tensor = tensors_.at(name);
    const std::ptrdiff_t begin = begin_of(tensor);
    if (begin < end)
      fail(
          "{}: tensor '{}' overlaps the one before it: it begins at byte {} of the data, "
          "that one ends at {}",
          path, name, begin, end);
    if (begin > end) fail("{}: there is a hole of {} bytes before tensor '{}'", path, begin - end, name);
    end = begin + static_cast<std::ptrdiff_t>(tensor.bytes.size());
  }
  if (static_cast<std::size_t>(end) != data.size()) {
    fail("{}: {} bytes follow the last tensor and belong to none", path,
         data.size() - static_cast<std::size_t>(end));
  }
}

const TensorInfo& SafetensorsFile::info(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail("{}: there is no tensor '{}'", path(), name);
  return found->second;
}

const TensorInfo& SafetensorsFile::info_of_size(std::string_view name, std::int64_t n) const {
  const TensorInfo& tensor = info(name);
  if (tensor.count() != n) {
    fail("{}: tensor '{}' of shape [{}] has {} elements, {} are expected", path(), name,
         fmt::join(tensor.shape, ", "), tensor.count(), n);
  }
  return tensor;
}

template <class T>
void SafetensorsFile::read_floats(std::string_view name, T* out, std::int64_t n) const {
  const TensorInfo& tensor = info_of_size(name, n);
  if (tensor.dtype == "F32") {
    convert_all<float>(tensor.bytes, out, [](float x) { return x; });
  } else if (tensor.dtype == "F64") {
    convert_all<double>(tensor.bytes, out, [](double x) { return x; });
  } else if (tensor.dtype == "F16") {
    convert_all<std::uint16_t>(tensor.bytes, out, [](std::uint16_t x) { return f16_to_f32(x); });
  } else if (tensor.dtype == "BF16") {
    convert_all<bf16>(tensor.bytes, out, [](bf16 x) { return to_f32(x); });
  } else {
    fail("{}: tensor '{}' holds integers ({}), floating-point numbers are expected", path(), name,
         tensor.dtype);
  }
}

void SafetensorsFile::read_f32(std::string_view name, float* out, std::int64_t n) const {
  read_floats(name, out, n);
}

void SafetensorsFile::read_f64(std::string_view name, double* out, std::int64_t n) const {
  read_floats(name, out, n);
}

void SafetensorsFile::read_i64(std::string_view name, std::int64_t* out, std::int64_t n) const {
  const TensorInfo& tensor = info_of_size(name, n);
  if (tensor.dtype == "I64") {
    convert_all<std::int64_t>(tensor.bytes, out, [](std::int64_t x) { return x; });
  } else if (tensor.dtype == "I32") {
    convert_all<std::int32_t>(tensor.bytes, out, [](std::int32_t x) { return x; });
  } else {
    fail("{}: tensor '{}' holds floating-point numbers ({}), integers are expected", path(), name,
         tensor.dtype);
  }
}

void SafetensorsFile::read(std::string_view name, const Tensor& out) const {
  if (out.device() != kCpu) {
    const Tensor host = Tensor::empty(out.shape(), out.dtype());
    read(name, host);
    return out.copy_from(host);
  }
  dispatch(out.dtype(), [&](auto element) { read_floats(name, out.host<decltype(element)>(), out.numel()); });
}

// ---------------------------------------------------------------------------------------------- writing

SafetensorsEntry entry_of(std::string name, const Tensor& values) {
  SafetensorsEntry entry{.name = std::move(name)};
  for (int i = 0; i < values.shape().rank(); ++i) entry.shape.push_back(values.shape()[i]);
  dispatch(values.dtype(), [&](auto element) { entry.data = values.host<const decltype(element)>(); });
  return entry;
}

namespace {

struct Encoding {
  const char* name;
  std::int64_t size;
  double largest;
};

Encoding target_of(SaveDType dtype) {
  switch (dtype) {
    case SaveDType::f16:
      return {"F16", 2, 65504.0};
    case SaveDType::f64:
      return {"F64", 8, std::numeric_limits<double>::max()};
    case SaveDType::f32:
      break;
  }
  return {"F32", 4, std::numeric_limits<float>::max()};
}

// Length and JSON text, as the file begins.
std::string make_header(const std::string& path, std::span<const SafetensorsEntry> entries,
                        const std::map<std::string, std::string>& metadata, const Encoding& target) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::set<std::string> seen;
  std::int64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.name.empty() || entry.name == kMetadataKey) {
      fail("cannot write {}: '{}' cannot name a tensor", path, entry.name);
    }
    if (!seen.insert(entry.name).second) fail("cannot write {}: tensor '{}' stands twice", path, entry.name);
    const std::optional<std::int64_t> count = checked_count(entry.shape, target.size);
    std::int64_t end = 0;
    if (!count || __builtin_add_overflow(offset, *count * target.size, &end)) {
      fail("cannot write {}: tensor '{}': the shape [{}] is impossible", path, entry.name,
           fmt::join(entry.shape, ", "));
    }
    header[entry.name] = {{"dtype", target.name}, {"shape", entry.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& error) {
    fail("cannot write {}: a name or a metadata text is not UTF-8: {}", path, error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxHeaderBytes)
    fail("cannot write {}: the header is larger than {} bytes", path, kMaxHeaderBytes);
  std::string length(8, '\0');
  const std::uint64_t size = text.size();
  std::memcpy(length.data(), &size, 8);
  return length + text;
}

// Appends data[0, n) as Stored, a piece at a time.
template <class Stored, class T, class Convert>
void write_converted(AtomicFile& file, const std::string& path, const std::string& name, const T* data,
                     std::int64_t n, const Encoding& target, Convert convert) {
  std::vector<Stored> piece;
  for (std::int64_t i = 0; i < n;) {
    const std::int64_t end = std::min<std::int64_t>(n, i + 65536);
    piece.clear();
    for (; i < end; ++i) {
      if (std::abs(data[i]) > target.largest && std::isfinite(data[i])) {
        fail("cannot write {}: tensor '{}': element {} is {}, beyond the range of {} (+-{})", path, name, i,
             data[i], target.name, target.largest);
      }
      piece.push_back(convert(data[i]));
    }
    file.write(std::as_bytes(std::span(piece)));
  }
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata, SaveDType dtype) {
  const Encoding target = target_of(dtype);
  const std::string header = make_header(path, entries, metadata, target);
  write_atomically(path, [&](AtomicFile& file) {
    file.write(header);
    for (const SafetensorsEntry& entry : entries) {
      const std::int64_t n = *checked_count(entry.shape, target.size);
      const auto write = [&](const auto* data) {
        if (dtype == SaveDType::f16) {
          write_converted<std::uint16_t>(file, path, entry.name, data, n, target,
                                         [](auto x) { return f32_to_f16(static_cast<float>(x)); });
        } else if (dtype == SaveDType::f64) {
          write_converted<double>(file, path, entry.name, data, n, target,
                                  [](auto x) { return static_cast<double>(x); });
        } else {
          write_converted<float>(file, path, entry.name, data, n, target,
                                 [](auto x) { return static_cast<float>(x); });
        }
      };
      std::visit(write, entry.data);
    }
  });
}

}  // namespace costeff
