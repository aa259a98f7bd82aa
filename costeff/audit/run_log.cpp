#include "costeff/audit/run_log.h"

#include <algorithm>
#include <cmath>

#include "costeff/train/run_folder.h"
#include "costeff/train/settings.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kShareTolerance = 1e-4;  // sums in f32
constexpr double kNormTolerance = 1e-5;

double number_at(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_number() ? json[key].get<double>() : kNan;
}

void check(const LoggedAudit& audit, double gradient_norm, RunLog& run) {
  const auto fault = [&](std::string what) {
    run.faults.push_back({fmt::format("step {}", audit.step), std::move(what)});
  };
  if (!std::isfinite(audit.norm) || !std::isfinite(gradient_norm)) return fault("the gradient is not finite");
  if (!(audit.share_gap <= kShareTolerance))
    fault(fmt::format("the losses' shares in a layer do not add up to 1: off by {:.2g}", audit.share_gap));
  if (run.accumulate == 1 && !(std::abs(audit.norm - gradient_norm) <= kNormTolerance * gradient_norm)) {
    fault(fmt::format("the gradient that was looked at has norm {:.6g}, that of the step {:.6g}", audit.norm,
                      gradient_norm));
  }
}

// What audit_step() wrote at a step. Throws Json::exception for anything else.
LoggedAudit logged_audit(std::int64_t step, const Json& audit) {
  LoggedAudit found{.step = step, .norm = number_at(audit, "norm")};
  for (const Json& root : audit.at("roots")) found.roots.push_back(root.get<std::string>());
  found.shares.assign(found.roots.size(), 0.0);
  double total = 0;
  for (const Json& layer : audit.at("layers")) {
    const double square = std::pow(number_at(layer, "norm"), 2);
    if (std::isnan(square)) found.norm = kNan;
    total += square;
    double sum = 0, sizes = 0;
    for (std::size_t j = 0; j < found.roots.size(); ++j) {
      const Json& share = layer.at("shares").at(j);
      if (!share.is_number()) continue;
      found.shares[j] += square * share.get<double>();
      sum += share.get<double>();
      sizes += std::abs(share.get<double>());
    }
    if (square > 0) found.share_gap = std::max(found.share_gap, std::abs(sum - 1) / std::max(1.0, sizes));
    const Json& conflict = layer.at("conflict");
    if (conflict.is_null()) continue;
    const double cosine = conflict.at("cosine").get<double>();
    if (!std::isnan(found.cosine) && cosine >= found.cosine) continue;
    found.cosine = cosine;
    found.conflict = fmt::format("{} and {}", conflict.at("between").at(0).get<std::string>(),
                                 conflict.at("between").at(1).get<std::string>());
    const auto m = layer.at("layer").get<std::int64_t>();
    found.where = m == 0 ? "the embeddings" : fmt::format("layer {}", m);
  }
  for (double& share : found.shares) share = total > 0 ? share / total : 0;
  return found;
}

}  // namespace

RunLog read_run_log(const std::string& folder) {
  RunLog run{.path = folder};
  const Json json = run_config(folder);
  if (!json.contains("settings")) fail("{}/config.json: not the settings of a run", folder);
  run.stage = json.value("command", "");
  if (run.stage == "run")
    fail("{}: a run of all stages; name the folder of one, as in {}/assist", folder, folder);
  run.equalised = !json["settings"].value("no_equalise", false);
  run.accumulate = json["settings"].value("accumulate", std::int64_t{1});
  for (LogLine& line : read_log(folder)) {
    auto* step = std::get_if<StepLine>(&line);
    if (step == nullptr) continue;
    run.steps.push_back(std::move(*step));
    if (run.steps.back().audit.is_null()) continue;
    try {
      run.audits.push_back(logged_audit(run.steps.back().step, run.steps.back().audit));
    } catch (const Json::exception&) {
      fail("{}/log.jsonl: step {}: not what {} writes", folder, run.steps.back().step,
           flag_of(&Settings::audit_every));
    }
    check(run.audits.back(), run.steps.back().gradient_norm, run);
  }
  if (run.steps.empty()) fail("{}: the log has no step yet", folder);
  return run;
}

double clipped_share(const RunLog& run) {
  const auto clipped =
      std::count_if(run.steps.begin(), run.steps.end(), [](const StepLine& s) { return s.clip_scale < 1; });
  return static_cast<double>(clipped) / static_cast<double>(run.steps.size());
}

double mean_share(const RunLog& run, std::size_t root, std::size_t first, std::size_t last) {
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t i = first; i < last; ++i) {
    if (run.audits[i].roots != run.audits.back().roots) continue;
    sum += run.audits[i].shares[root];
    ++count;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

const LoggedAudit* worst_audit(const RunLog& run) {
  const LoggedAudit* worst = nullptr;
  for (const LoggedAudit& audit : run.audits) {
    if (!std::isnan(audit.cosine) && (worst == nullptr || audit.cosine < worst->cosine)) worst = &audit;
  }
  return worst;
}

}  // namespace costeff::audit
