// Norms, shares and cosines of the audit against those of PyTorch's gradients (exit_gradients), group by
// group.
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "costeff/audit/gradients.h"
#include "costeff/train/losses.h"
#include "tests/costeff/reference.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;

// The part of the model that a checkpoint name belongs to, as a word of this test's own.
std::string part_of(const std::string& name, std::int64_t layers) {
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  const auto after = [&](const std::string& word) {
    return std::stoi(name.substr(name.find(word) + word.size())) + 1;
  };
  if (has("highway.")) return fmt::format("exit {}", after("highway."));
  if (name.starts_with("classifier")) return fmt::format("exit {}", layers);
  const bool norm = has("LayerNorm");
  if (has("layer.")) {
    const char* kind = norm ? "LayerNorm" : has(".attention.") ? "attention" : "FFN";
    return fmt::format("layer {} {}", after("layer."), kind);
  }
  if (norm) return "embeddings' LayerNorm";
  return has("word_embeddings1") || has("word_embeddings2") ? "low-rank factors" : "embeddings";
}

using Flat = std::vector<double>;
using Parts = std::map<std::string, Flat>;

Parts gradient(const SafetensorsFile& file, const std::string& name, const Bert& model) {
  Parts parts;
  for (const NamedTensor& t : model.parameters().named()) {
    const Tensor g = read_tensor(file, "out/" + name + "/" + t.name);
    Flat& flat = parts[part_of(t.name, model.config().layers())];
    for (std::int64_t i = 0; i < g.numel(); ++i) flat.push_back(g.at(i));
  }
  return parts;
}

double dot(const Flat& a, const Flat& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

TEST(AuditReference, NormsSharesAndCosinesOfExitGradients) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "exit_gradients.safetensors").string());
  const Batch batch = read_packed(file, "");
  const auto model = read_model(file, "", DType::f64);
  const AuditedLoss loss = [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
    return hard_loss(multi_exit(*model, forward, tokens, true), b);
  };
  const GradientAudit audit = audit_gradients(*model, std::span(&batch, 1), {}, loss, {});
  const auto layers = static_cast<std::size_t>(model->config().layers());
  ASSERT_EQ(audit.roots.size(), layers);
  std::vector<Parts> exits;
  for (std::size_t i = 1; i <= layers; ++i)
    exits.push_back(gradient(file, fmt::format("exit.{}", i), *model));
  const Parts sum = gradient(file, "sum", *model), equal = gradient(file, "equalised", *model);
  ASSERT_EQ(audit.groups.size(), sum.size());
  constexpr double kTolerance = 1e-10;
  double whole[2] = {0, 0};
  for (const GroupSums& g : audit.groups) {
    const std::string part = g.group.name();
    ASSERT_TRUE(sum.contains(part)) << part;
    const double joint = dot(sum.at(part), sum.at(part));
    whole[plain] += joint;
    whole[equalised] += dot(equal.at(part), equal.at(part));
    EXPECT_NEAR(std::sqrt(g.of[plain].joint), std::sqrt(joint), kTolerance * std::sqrt(joint)) << part;
    EXPECT_NEAR(std::sqrt(g.of[equalised].joint), std::sqrt(dot(equal.at(part), equal.at(part))),
                kTolerance * std::sqrt(joint))
        << part;
    for (std::size_t j = 0; j < layers; ++j) {
      const double size = std::sqrt(dot(exits[j].at(part), exits[j].at(part)));
      EXPECT_NEAR(std::sqrt(g.of[plain].square[j]), size, kTolerance * std::sqrt(joint)) << part;
      EXPECT_NEAR(g.of[plain].joint_with[j] / g.of[plain].joint, dot(exits[j].at(part), sum.at(part)) / joint,
                  kTolerance)
          << part;
      for (std::size_t i = 0; i < j; ++i) {
        const double other = std::sqrt(dot(exits[i].at(part), exits[i].at(part)));
        if (size == 0 || other == 0) continue;
        const double cosine =
            g.gram[i * layers + j] / std::sqrt(g.gram[i * layers + i] * g.gram[j * layers + j]);
        EXPECT_NEAR(cosine, dot(exits[i].at(part), exits[j].at(part)) / (size * other), kTolerance) << part;
      }
    }
  }
  for (const Variant v : kVariants)
    EXPECT_NEAR(audit.norm[v], std::sqrt(whole[v]), kTolerance * audit.norm[v]);
}

}  // namespace
}  // namespace costeff::audit
