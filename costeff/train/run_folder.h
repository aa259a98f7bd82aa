// The folder of a training run:
//
//   config.json         every effective setting, versions, threads, kernels
//   log.jsonl           one line per step and per evaluation, at full precision
//   checkpoints/step-N/ weights, optimiser and place in the data, enough to go on bit for bit
//   best/, last/        models as Hugging Face directories
//
// Each file and folder is there whole or not at all, whenever the process is killed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "costeff/json.h"
#include "tensor/file.h"

namespace costeff {

// config.json of a run. Throws Error when no run is there, and when it is not JSON.
Json run_config(const std::string& run);
// Step and folder of the checkpoints of a run that are whole, oldest first; none where no run is.
std::vector<std::pair<std::int64_t, std::string>> checkpoints(const std::string& run);

class RunFolder {
 public:
  // Makes the folder and writes config.json. Throws Error when it holds a run already, or anything else.
  static RunFolder create(const std::string& path, const Json& config);
  // Opens a run that was begun. Throws Error when there is none.
  static RunFolder open(const std::string& path);

  RunFolder(RunFolder&&) noexcept;
  RunFolder& operator=(RunFolder&&) noexcept;
  ~RunFolder();

  const std::string& path() const { return path_; }
  Json config() const;

  // Appends a line to log.jsonl; throws Error when it cannot be written.
  void log(const Json& line);

  // Writes checkpoints/step-N through `fill`, which gets the folder to write into, and drops all but the
  // newest `keep`. `state` is saved with it as state.json, together with the length of the log.
  void save_checkpoint(std::int64_t step, Json state, int keep,
                       const std::function<void(const std::string& folder)>& fill);

  struct Checkpoint {
    std::string folder;
    Json state;
  };
  // The newest checkpoint; the log is cut back to where it was then (to nothing when there is none). Throws
  // Error while another process is at this run.
  std::optional<Checkpoint> restore();

  // Writes the model folder `name` ("best", "last") whole.
  void save_model(const std::string& name, const std::function<void(const std::string& folder)>& fill) const;

 private:
  explicit RunFolder(std::string path);
  void open_log(std::int64_t length);

  std::string path_;
  int log_ = -1;  // file descriptor
  std::int64_t log_length_ = 0;
};

}  // namespace costeff
