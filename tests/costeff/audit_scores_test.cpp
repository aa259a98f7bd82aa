// The signed sums of heads and neurons against finite differences, identities, and slenderising's; all in
// f64.
#include <fmt/format.h>

#include <cmath>

#include "costeff/audit/importance_compare.h"
#include "costeff/methods/pruning_round.h"
#include "tests/costeff/audit_subject.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;

class AuditScores : public ::testing::Test {
 protected:
  std::vector<SourceScores> scores(bool equalise = false) const {
    return score_sources(subject_, loss_sources(subject_, "predictions"), "predictions", equalise,
                         [](std::int64_t, std::int64_t) {});
  }

  // Multiplies rows or columns of a weight: those of unit `place`, `width` each.
  void scale(const std::string& name, bool columns, std::int64_t place, std::int64_t width,
             double factor) const {
    const Tensor w = subject_.student.model->parameters().find(name).value();
    const std::int64_t rows = w.shape()[0], cols = w.numel() / rows;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        if ((columns ? c : r) / width == place) w.data<double>()[r * cols + c] *= factor;
      }
    }
  }

  void scale_unit(Units units, std::int64_t k, std::int64_t place, bool gate, double factor) const {
    const std::string layer = fmt::format("bert.encoder.layer.{}.", k - 1);
    const bool heads = units == Units::heads;
    const std::int64_t width = heads ? subject_.student.model->config().head_dim : 1;
    scale(layer + (heads ? "attention.output.dense.weight" : "output.dense.weight"), true, place, width,
          factor);
    if (gate) return;
    for (const char* name : {"query", "key", "value"}) {
      if (!heads) continue;
      scale(fmt::format("{}attention.self.{}.weight", layer, name), false, place, width, factor);
      scale(fmt::format("{}attention.self.{}.bias", layer, name), false, place, width, factor);
    }
    if (heads) return;
    scale(layer + "intermediate.dense.weight", false, place, 1, factor);
    scale(layer + "intermediate.dense.bias", false, place, 1, factor);
  }

  // dL/dz, where z multiplies the unit's weights.
  SampleLoss derivative(Units units, std::int64_t k, std::int64_t place, bool gate) const {
    constexpr double kStep = 1e-4;
    const Tensor before = subject_.student.model->parameters().values().clone();
    const auto at = [&](double factor) {
      scale_unit(units, k, place, gate, factor);
      SampleLoss loss = from_scratch(subject_, *subject_.student.model, false);
      subject_.student.model->parameters().values().copy_from(before);
      return loss;
    };
    const SampleLoss up = at(1 + kStep), down = at(1 - kStep);
    SampleLoss d{up.exits, (up.features - down.features) / (2 * kStep)};
    for (std::size_t i = 0; i < d.exits.size(); ++i) d.exits[i] = (up.exits[i] - down.exits[i]) / (2 * kStep);
    return d;
  }

  static double number(const ImportanceScores& sums, Units units, std::int64_t k, std::int64_t place) {
    const ByLayer& layers = units == Units::heads ? sums.heads : sums.neurons;
    return layers[static_cast<std::size_t>(k - 1)][static_cast<std::size_t>(place)];
  }

  const Subject subject_ = make_subject(true);
};

TEST_F(AuditScores, SignedSumsAreDerivatives) {
  // Biases are 0 in a new model: they would not count.
  for (const NamedTensor& t : subject_.student.model->parameters().named()) {
    if (t.name.ends_with(".bias")) initialise_normal(t.value(), t.name, 0.2, 5);
  }
  const std::vector<SourceScores> found = scores();
  ASSERT_EQ(found.size(), 7);  // predictions, exits 1 to 3, labels, features, all
  for (const Units units : {Units::heads, Units::neurons}) {
    for (std::int64_t k = 1; k <= 3; ++k) {
      const std::int64_t place = units == Units::heads ? k : 11 * k;
      for (const bool gate : {false, true}) {
        const SampleLoss d = derivative(units, k, place, gate);
        const auto sum = [&](std::size_t source) {
          return number(gate ? found[source].gate : found[source].paper, units, k, place);
        };
        EXPECT_GT(std::abs(sum(0)), 1e-5);
        EXPECT_NEAR(sum(0), d.total(), 1e-7) << "layer " << k << (gate ? " gate" : "");
        for (std::size_t i = 1; i <= 3; ++i) EXPECT_NEAR(sum(i), d.exits[i - 1], 1e-7) << "exit " << i;
        EXPECT_NEAR(sum(5), d.features, 1e-7);
      }
    }
  }
}

TEST_F(AuditScores, SourcesAddUp) {
  const std::vector<SourceScores> s = scores();
  EXPECT_EQ(s[0].source.name, "predictions");
  EXPECT_EQ(s[6].source.name, "all");
  for (const Units units : {Units::heads, Units::neurons}) {
    for (std::int64_t k = 1; k <= 3; ++k) {
      for (std::int64_t place = 0; place < 4; ++place) {
        const auto of = [&](std::size_t i) { return number(s[i].paper, units, k, place); };
        EXPECT_NEAR(of(1) + of(2) + of(3), of(0), 1e-13);
        EXPECT_NEAR(of(0) + of(5), of(6), 1e-13);
        if (k == 3) {
          EXPECT_EQ(of(1), 0);
          EXPECT_EQ(of(2), 0);
        }
      }
    }
  }
}

TEST_F(AuditScores, AreThoseOfSlenderising) {
  const SourceScores all = scores().back();
  for (const UnitSum sum : {UnitSum::paper, UnitSum::release}) {
    Importance importance(*subject_.student.model, sum);
    for (const Batch& batch : subject_.batches) {
      importance.add(batch, [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
        return sum_of_terms(importance_terms(0, 2, LossTerm::Exits::all, FeatureMean::real_tokens),
                            multi_exit(*subject_.student.model, forward, tokens, false),
                            (*subject_.teacher)(b, tokens), b, tokens.layout);
      });
    }
    const ImportanceScores expected = importance.scores();
    const ImportanceScores& found = sum == UnitSum::paper ? all.paper : all.release;
    for (const Units units : {Units::heads, Units::neurons}) {
      for (std::int64_t k = 1; k <= 3; ++k) {
        for (std::int64_t place = 0; place < (units == Units::heads ? 4 : 40); ++place) {
          const double score = number(expected, units, k, place);
          EXPECT_NEAR(std::abs(number(found, units, k, place)), score, 1e-12 * std::max(1.0, score));
        }
      }
    }
  }
}

// What the page says of the paper's sum: W_V with its bias and W_O count the same thing.
TEST_F(AuditScores, ValuesAndOutputsOfAHeadSayTheSame) {
  const Batch& batch = subject_.batches[0];
  const TokenBatch tokens = token_batch(batch);
  Tape tape;
  Forward forward(tape);
  const Gradients gradients =
      tape.backward(hard_loss(multi_exit(*subject_.student.model, forward, tokens, false), batch));
  ImportanceScores gate = zero_scores(subject_.student.model->config());
  const auto of = [&](Parameter& p) { return gradients.of(tape.parameter(p)); };
  add_unit_sums(*subject_.student.model, UnitSum::gate, 1, of, gate);
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<double> values(4);
    for (const char* name : {"weight", "bias"}) {
      const NamedTensor t = subject_.student.model->parameters().find(
          fmt::format("bert.encoder.layer.{}.attention.self.value.{}", k, name));
      const Tensor g = of(*t.parameter).slice(t.begin, t.end), w = t.value();
      const std::int64_t unit = w.numel() / 4;
      for (std::int64_t i = 0; i < w.numel(); ++i)
        values[static_cast<std::size_t>(i / unit)] += g.data<double>()[i] * w.data<double>()[i];
    }
    for (std::size_t a = 0; a < 4; ++a) EXPECT_NEAR(values[a], gate.heads[k][a], 1e-13);
  }
}

}  // namespace
}  // namespace costeff::audit
