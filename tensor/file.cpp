#include "tensor/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "tensor/error.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) {
  return std::generic_category().message(error);
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

// The path behind links and dots, without a trailing slash: what a rename has to replace.
std::string resolve(const std::string& path) {
  if (path.empty()) fail("cannot write a file with an empty name");
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  std::string resolved = error ? path : real.string();
  while (resolved.size() > 1 && resolved.back() == '/') resolved.pop_back();
  return resolved;
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// Flushes a file, or a folder's list of names. Some file systems cannot flush a folder and say EINVAL.
void flush(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || (::fsync(file.get()) != 0 && errno != EINVAL)) {
    fail("cannot flush '{}' to the disk: {}", path, reason(errno));
  }
}

void flush_tree(const std::string& folder) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (!entry->is_symlink()) flush(entry->path().string());
  }
  if (error) fail("cannot list '{}': {}", folder, error.message());
  flush(folder);
}

void remove_tree(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) fail("cannot remove '{}': {}", folder, error.message());
}

// The state of the file opened to be read from `path`.
struct stat check_readable(const std::string& path, int descriptor) {
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) fail("cannot read '{}': {}", path, reason(errno));
  if (S_ISDIR(status.st_mode)) fail("cannot read '{}': it is a folder, not a file", path);
  return status;
}

// rename(2), where a source that is gone counts as done: a reader's recover_folder may have been faster.
int rename_if_there(const std::string& from, const std::string& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 || errno == ENOENT ? 0 : errno;
}

// From a whole `ready` to a whole `path`. On failure `path` is again what it was.
void swap_in(const std::string& ready, const std::string& path, const std::string& old) {
  if (const int error = rename_if_there(path, old)) {
    fail("cannot replace the folder '{}': {}", path, reason(error));
  }
  if (const int error = rename_if_there(ready, path)) {
    ::rename(old.c_str(), path.c_str());
    fail("cannot replace the folder '{}': {}", path, reason(error));
  }
  flush(parent_of(path));
}

}  // namespace

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const struct stat status = check_readable(path_, file.get());
  if (!S_ISREG(status.st_mode)) fail("cannot read '{}': it is not a regular file", path_);
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail("cannot map '{}' into memory: {}", path_, reason(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::string read_text(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const struct stat status = check_readable(path, file.get());
  std::string text;
  std::size_t used = 0;
  for (;;) {
    // One byte more than the file has, so that its end shows without growing.
    text.resize(used == 0 ? static_cast<std::size_t>(status.st_size) + 1 : used + used / 2 + 4096);
    while (used < text.size()) {
      const ssize_t got = ::read(file.get(), text.data() + used, text.size() - used);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("cannot read '{}': {}", path, reason(errno));
      if (got == 0) {
        text.resize(used);
        return text;
      }
      used += static_cast<std::size_t>(got);
    }
  }
}

AtomicFile::AtomicFile(const std::string& path) : path_(resolve(path)), temporary_(path_ + ".tmp") {
  struct stat existing {};
  const bool replaces = ::stat(path_.c_str(), &existing) == 0;
  if (replaces && S_ISDIR(existing.st_mode)) fail("cannot write '{}': it is a folder", path_);
  if (replaces && !S_ISREG(existing.st_mode)) fail("cannot write '{}': it is not a regular file", path_);
  open_temporary();
  if (::ftruncate(descriptor_, 0) != 0) give_up(errno);
  if (replaces && ::fchmod(descriptor_, existing.st_mode & 07777) != 0) give_up(errno);
}

AtomicFile::~AtomicFile() {
  discard();
}

// The lock tells a temporary in use from one that a killed process left. Between opening and locking, its
// holder may have renamed or removed it: then the name no longer leads to the file that was locked, and it is
// tried anew.
void AtomicFile::open_temporary() {
  for (;;) {
    const int descriptor = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0 && errno == ENOENT) {
      fail("cannot write '{}': there is no folder '{}'", path_, parent_of(path_));
    }
    if (descriptor < 0) fail("cannot write '{}': {}", path_, reason(errno));
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(descriptor);
      fail("cannot write '{}': another writer is at it ('{}' is locked)", path_, temporary_);
    }
    struct stat locked {};
    struct stat named {};
    if (::fstat(descriptor, &locked) == 0 && ::lstat(temporary_.c_str(), &named) == 0 &&
        locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) {
      descriptor_ = descriptor;
      return;
    }
    ::close(descriptor);
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) fail("cannot write '{}': an earlier write failed, or it is complete", path_);
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) give_up(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit() {
  if (descriptor_ < 0) fail("cannot write '{}': an earlier write failed, or it is complete", path_);
  if (::fsync(descriptor_) != 0) give_up(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) give_up(errno);
  ::close(std::exchange(descriptor_, -1));
  flush(parent_of(path_));
}

void AtomicFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::unlink(temporary_.c_str());
  ::close(std::exchange(descriptor_, -1));
}

void AtomicFile::give_up(int error) {
  discard();
  fail("cannot write '{}': {}; what was there before is untouched", path_, reason(error));
}

void write_atomically(const std::string& path, const std::function<void(AtomicFile&)>& fill) {
  AtomicFile file(path);
  fill(file);
  file.commit();
}

void write_atomically(const std::string& path, std::string_view content) {
  write_atomically(path, [content](AtomicFile& file) { file.write(content); });
}

void write_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill) {
  const std::string target = resolve(path);
  const std::string writing = target + ".writing";
  const std::string ready = target + ".ready";
  const std::string old = target + ".old";
  struct stat existing {};
  if (::stat(target.c_str(), &existing) == 0 && !S_ISDIR(existing.st_mode)) {
    fail("cannot write the folder '{}': there is a file of that name", target);
  }
  recover_folder(target);
  for (const std::string& leftover : {writing, ready, old}) remove_tree(leftover);
  if (::mkdir(writing.c_str(), 0777) != 0) fail("cannot write the folder '{}': {}", target, reason(errno));
  try {
    fill(writing);
    flush_tree(writing);
    if (::rename(writing.c_str(), ready.c_str()) != 0) {
      fail("cannot write the folder '{}': {}", target, reason(errno));
    }
    flush(parent_of(target));
    swap_in(ready, target, old);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(writing, ignored);
    fs::remove_all(ready, ignored);
    throw;
  }
  remove_tree(old);
}

bool recover_folder(const std::string& path) {
  const std::string target = resolve(path);
  const std::string ready = target + ".ready";
  struct stat status {};
  if (::lstat(target.c_str(), &status) == 0 || errno != ENOENT) return false;
  if (::stat(ready.c_str(), &status) != 0) return false;
  if (const int error = rename_if_there(ready, target)) {
    if (error == EEXIST || error == ENOTEMPTY) return false;  // The writer completed it meanwhile.
    fail("cannot complete the folder '{}' from '{}': {}", target, ready, reason(error));
  }
  flush(parent_of(target));
  return true;
}

}  // namespace costeff
