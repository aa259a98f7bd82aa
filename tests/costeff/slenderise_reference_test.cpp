// Importance, pruning and factorisation against PyTorch: slenderise.safetensors, both fidelities, two rounds.
#include "costeff/methods/pruning_round.h"
#include "costeff/methods/slenderise.h"
#include "costeff/train/classifier.h"
#include "costeff/train/settings.h"
#include "tests/costeff/reference.h"

namespace costeff {
namespace {

using namespace testing;

struct Case {
  DType dtype;
  Fidelity fidelity;
  double tolerance;
};

class SlenderiseReference : public ::testing::TestWithParam<Case> {};

double error(std::span<const double> found, const Tensor& expected) {
  return largest_difference(Tensor::from(found, {static_cast<std::int64_t>(found.size())}), expected) /
         largest_difference(expected, Tensor::zeros(expected.shape(), DType::f64));
}

TEST_P(SlenderiseReference, ScoresKeptAndLogitsOfTwoRounds) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const DType dtype = GetParam().dtype;
  const Fidelity fidelity = GetParam().fidelity;
  const bool release = fidelity == Fidelity::release;
  const double tolerance = GetParam().tolerance;
  const SafetensorsFile file((*folder / "slenderise.safetensors").string());
  const nlohmann::json keep = metadata(file, "keep");
  const nlohmann::json rounds = metadata(file, "rounds");
  const auto assistant = read_model(file, "assistant/", dtype);
  auto model = read_model(file, "", dtype);
  const SlenderSizes full{model->config().heads[0], model->config().ffn[0], model->config().hidden_size};
  const SlenderSizes goal{keep.at("heads"), keep.at("ffn"), keep.at("rank")};
  std::vector<Batch> batches;
  while (file.contains(fmt::format("in/{}.ids", batches.size()))) {
    batches.push_back(read_packed(file, fmt::format("{}.", batches.size())));
  }
  ASSERT_GT(batches.size(), 1);
  std::vector<std::vector<std::int64_t>> original_heads;
  const std::int64_t total = keep.at("rounds");
  for (std::int64_t r = 1; r <= total; ++r) {
    Importance importance(*model, release ? UnitSum::release : UnitSum::paper);
    for (const Batch& batch : batches) {
      importance.add(batch, [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
        const MultiExitOutputs student = multi_exit(*model, forward, tokens, true);
        return sum_of_terms(importance_terms(release ? 0.1 : 0, 1, LossTerm::Exits::all,
                                             release ? FeatureMean::padded : FeatureMean::real_tokens),
                            student, teach(*assistant, tokens), b, tokens.layout);
      });
    }
    const ImportanceScores scores = importance.scores();
    const std::string out = fmt::format("out/{}/{}/", name_of(fidelity), r);
    for (std::size_t k = 0; k < scores.heads.size(); ++k) {
      EXPECT_LT(error(scores.heads[k], read_tensor(file, fmt::format("{}heads.{}", out, k + 1))), tolerance);
      EXPECT_LT(error(scores.neurons[k], read_tensor(file, fmt::format("{}neurons.{}", out, k + 1))),
                tolerance);
    }
    const nlohmann::json expected = rounds.at(fmt::format("{}.round.{}", name_of(fidelity), r));
    const SlenderSizes sizes = sizes_after(r, total, full, goal);
    const Kept kept = keep_per_layer(scores, sizes.heads, sizes.ffn);
    EXPECT_EQ(nlohmann::json(kept.heads), expected.at("heads"));
    EXPECT_EQ(nlohmann::json(kept.neurons), expected.at("neurons"));
    EXPECT_EQ(sizes.rank, expected.at("rank").get<std::int64_t>());
    model = factorise(*prune(*model, kept), sizes.rank);
    EXPECT_EQ(model->config().heads, config_of(expected.at("config")).heads);
    EXPECT_EQ(model->config().ffn, config_of(expected.at("config")).ffn);

    const auto factor = [&](const char* name) {
      return Variable(model->parameters().find(fmt::format("bert.embeddings.{}.weight", name)).value());
    };
    const Tensor product = linear(factor("word_embeddings1"), factor("word_embeddings2")).value();
    EXPECT_LT(largest_difference(product, read_tensor(file, out + "embedding_product")), tolerance);
    Forward forward;
    const MultiExitOutputs outputs = multi_exit(*model, forward, token_batch(batches[0]), false);
    for (std::int64_t i = 1; i <= outputs.last(); ++i) {
      const Tensor logits = read_tensor(file, fmt::format("{}logits.{}", out, i));
      EXPECT_LT(largest_difference(outputs.exit(i).value(), logits), tolerance)
          << "round " << r << " exit " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SlenderiseReference,
    ::testing::Values(Case{DType::f64, Fidelity::paper, 1e-10}, Case{DType::f64, Fidelity::release, 1e-10},
                      Case{DType::f32, Fidelity::paper, 1e-4}, Case{DType::f32, Fidelity::release, 1e-4}),
    [](const auto& p) { return fmt::format("{}_{}", name_of(p.param.dtype), name_of(p.param.fidelity)); });

}  // namespace
}  // namespace costeff
