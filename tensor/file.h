// Files: reading whole ones, and writing so that a reader finds the old content or the new, never a part.
//
// A file is written to a temporary beside it, flushed to the disk and renamed over the old one (rename(2) is
// atomic). Every function throws Error with the path and the system's reason, and leaves what was there
// before as it was: on a full disk, in a read-only folder, or when the process is killed at any moment. One
// failure comes later: where the folder's list of names cannot be flushed, the new content is in its place,
// but a power cut may bring the old one back.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace costeff {

// A file's bytes, mapped read-only; pages are read when touched. An empty file has no bytes.
// Files that this header writes are replaced, not changed, so a mapping of the old content stays valid.
class MappedFile {
 public:
  // Throws Error if `path` is missing, unreadable, a folder or not a regular file.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The whole content, bytes as they are; pipes too. Throws Error as MappedFile does.
std::string read_text(const std::string& path);

// A file that appears under its name on commit(), complete and on the disk; destroyed earlier, it leaves no
// trace. Until then it is `path`.tmp, which one writer at a time may hold. A killed process leaves that file
// behind; the next writer of `path` takes it over. A symbolic link to a file is followed, an
// existing file's permissions are kept.
class AtomicFile {
 public:
  // Throws Error if the folder does not exist or cannot be written, if `path` is something other than a
  // regular file, or if another AtomicFile is writing it.
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Appends, unbuffered. After a failure the temporary is gone, and later calls throw as well.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  // Flushes, renames, flushes the folder's entry. Call once, last.
  void commit();

 private:
  void open_temporary();
  void discard() noexcept;
  [[noreturn]] void give_up(int error);

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

// One AtomicFile from creation to commit; `fill` writes the content and may throw.
void write_atomically(const std::string& path, const std::function<void(AtomicFile&)>& fill);
void write_atomically(const std::string& path, std::string_view content);

// Replaces the folder `path`, or makes it, with what `fill` puts into the empty folder it is given.
//
// Steps, after each of which the process may be killed: fill `path`.writing and flush everything in it;
// rename it to `path`.ready; rename an existing `path` to `path`.old; rename `path`.ready to `path`; remove
// `path`.old. So `path`, when it exists, is whole; when it does not but did before, `path`.ready is whole and
// recover_folder puts it in place. One writer at a time; the parent folder must exist. Leftovers go with the
// next write.
void write_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill);

// Completes a replacement of `path` that was interrupted between its renames; otherwise does nothing. Call it
// before reading such a folder; that is safe while a writer is at work. True if there was something to
// complete.
bool recover_folder(const std::string& path);

}  // namespace costeff
