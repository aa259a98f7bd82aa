// One entry of a weight: how its gradient comes about, and whether it is the derivative of the loss.
#pragma once

#include "costeff/audit/path_trace.h"

namespace costeff::audit {

// A summand of the entry's gradient: of one row of what the record computes, a token or a sequence.
struct EntryTerm {
  std::int64_t row = 0;
  double gradient = 0;  // what comes into the record there
  double factor = 1;    // what it is multiplied with
  double product = 0;
};

// A record that reads the weight.
struct EntryReading {
  std::int32_t record = -1;
  const Op* op = nullptr;
  std::string path;
  std::string formula;           // "dW[i,j] = sum over t of dy[t,i] x[t,j]"
  std::string factor;            // the factor's name, "x[t,j]"; empty where there is none
  std::int64_t rows = 0;         // of the record's output
  std::vector<EntryTerm> terms;  // of rows that contribute anything, the largest first
};

struct EntryAudit {
  std::int64_t row = 0, col = 0;  // of the weight; col 0 in a vector
  double value = 0;
  std::vector<EntryReading> readings;
  double gradient = 0;       // with equalisation, if it is asked for: the sum of the readings' terms
  double plain = 0;          // dL/dw without equalisation: what the differences are compared with
  double numeric = 0;        // by central differences of the loss
  double numeric_error = 0;  // of them, as they estimate it themselves
  double scale =
      0;  // what the error is measured against: |plain|, or kFloor of the parameter's largest entry
  // Relative to scale; 0 where all are 0; infinite where one is not finite.
  double error = 0;         // |plain - numeric|
  double sum_error = 0;     // |sum of the readings' terms - gradient|
  double scaled_error = 0;  // |gradient - factor plain|; 0 without a factor

  static constexpr double kFloor = 1e-3;
  static constexpr double kTolerance = 1e-6;
  bool agrees() const { return error <= kTolerance && sum_error <= kTolerance && scaled_error <= kTolerance; }
};

// Entry (row, col) of the query's weight, in a model and with a loss in f64. `factor`: what the rescale
// factors multiply to on every way to the weight, where that is one number. Changes the entry while it runs.
// Throws as Trace does, and UsageError for an entry outside the weight's shape; col is 0 for a vector.
EntryAudit audit_entry(const Bert& model, const LossOf& loss, const PathQuery& query, bool equalise,
                       std::int64_t row, std::int64_t col, std::optional<double> factor = std::nullopt);

}  // namespace costeff::audit
