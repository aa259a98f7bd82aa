#include "data/text_file.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "tensor/error.h"

namespace costeff {

std::string read_text_file(const std::string& path) {
  std::error_code unused;
  if (std::filesystem::is_directory(path, unused)) fail("{}: is a folder, not a file", path);
  errno = 0;
  // zlib reads files without the gzip magic as they are.
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) fail("{}: cannot be opened: {}", path, errno != 0 ? std::strerror(errno) : "out of memory");
  gzbuffer(file.get(), 1u << 17);

  std::string content;
  const std::uintmax_t size = std::filesystem::file_size(path, unused);
  std::size_t used = 0;
  content.resize(unused || size > (1u << 30) ? (1u << 16) : static_cast<std::size_t>(size) + 1);
  for (;;) {
    if (used == content.size()) content.resize(2 * content.size());
    const std::size_t room = std::min<std::size_t>(content.size() - used, 1u << 30);
    const int got = gzread(file.get(), content.data() + used, static_cast<unsigned>(room));
    if (got > 0) {
      used += static_cast<std::size_t>(got);
      continue;
    }
    int code = Z_OK;
    const char* message = gzerror(file.get(), &code);
    if (code == Z_ERRNO) fail("{}: cannot be read: {}", path, std::strerror(errno));
    if (code == Z_BUF_ERROR) fail("{}: the gzip stream ends too early", path);
    if (got < 0 || code != Z_OK) fail("{}: damaged gzip stream: {}", path, message);
    break;
  }
  content.resize(used);
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
  return content;
}

std::size_t find_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const std::size_t n = text.size();
  const auto follows = [&](std::size_t at) { return at < n && (bytes[at] & 0xC0) == 0x80; };
  std::size_t i = 0;
  while (i < n) {
    if (i + 8 <= n) {
      std::uint64_t eight;
      std::memcpy(&eight, bytes + i, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const unsigned char c = bytes[i];
    if (c < 0x80) {
      i += 1;
    } else if (c >= 0xC2 && c <= 0xDF && follows(i + 1)) {
      i += 2;
    } else if ((c & 0xF0) == 0xE0 && follows(i + 1) && follows(i + 2) &&
               !(c == 0xE0 && bytes[i + 1] < 0xA0) && !(c == 0xED && bytes[i + 1] > 0x9F)) {
      i += 3;
    } else if (c >= 0xF0 && c <= 0xF4 && follows(i + 1) && follows(i + 2) && follows(i + 3) &&
               !(c == 0xF0 && bytes[i + 1] < 0x90) && !(c == 0xF4 && bytes[i + 1] > 0x8F)) {
      i += 4;
    } else {
      return i;
    }
  }
  return std::string_view::npos;
}

}  // namespace costeff
