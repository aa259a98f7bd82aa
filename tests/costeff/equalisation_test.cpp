// What equalisation is, as identities (Eq. 3), on a model of twelve layers in f64; and other identities of
// the method.
#include "costeff/methods/slenderise.h"
#include "costeff/train/classifier.h"
#include "costeff/train/losses.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;

constexpr std::int64_t kLayers = 12;
constexpr double kClose = 1e-12;

BertConfig twelve_layers(const ExitConfig& exits = {}) {
  BertConfig c = BertConfig::plain(60, 24, kLayers, 4, 40);
  c.max_position_embeddings = 40;
  c.labels = {"a", "b", "c"};
  c.initializer_range = 0.2;
  c.exits = exits;
  return c;
}

std::unique_ptr<Bert> made(const BertConfig& config, std::uint64_t seed = 3) {
  auto model = std::make_unique<Bert>(config, DType::f64);
  model->initialise(seed);
  return model;
}

// The layer that a parameter belongs to: 1..L; 0 the embeddings; -1 the exits.
std::int64_t layer_of(std::string_view name) {
  constexpr std::string_view kLayer = "bert.encoder.layer.";
  if (name.starts_with("bert.embeddings.")) return 0;
  return name.starts_with(kLayer) ? std::stol(std::string(name.substr(kLayer.size()))) + 1 : -1;
}

class Equalisation : public ::testing::Test {
 protected:
  using Gradient = std::vector<Tensor>;  // by parameter, zeros where no root reached it

  template <class F>
  Gradient gradient(const Bert& model, bool equalise, F&& loss) {
    Tape tape;
    Forward forward(tape);
    const Gradients found = tape.backward(loss(multi_exit(model, forward, tokens_, equalise)));
    Gradient all;
    for (Parameter* p : model.parameters().parameters()) {
      const Tensor g = found.of(tape.parameter(*p));
      all.push_back(g.defined() ? g.clone() : Tensor::zeros(p->value.shape(), DType::f64));
    }
    return all;
  }

  // | a - factor(layer) b | is small beside the largest entry of b's whole gradient.
  template <class F>
  void expect_scaled(const Bert& model, const Gradient& a, const Gradient& b, F&& factor) {
    const auto parameters = model.parameters().parameters();
    double largest = 0;
    for (const Tensor& g : b)
      largest = std::max(largest, largest_difference(g, Tensor::zeros(g.shape(), DType::f64)));
    ASSERT_GT(largest, 0);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const Tensor scaled = scale(Variable(b[i]), factor(layer_of(parameters[i]->name))).value();
      EXPECT_LT(largest_difference(a[i], scaled) / largest, kClose) << parameters[i]->name;
    }
  }

  Batch batch_ = batch_of(random_dataset(5), 0, 5);
  TokenBatch tokens_ = token_batch(batch_);
};

// Layer k's gradient is divided by L-k+1, the embeddings' by L, the exits' not at all.
double equalised(std::int64_t layer) {
  return layer < 0 ? 1 : 1.0 / static_cast<double>(kLayers - std::max<std::int64_t>(layer, 1) + 1);
}

TEST_F(Equalisation, DividesEachLayersGradientByTheExitsAbove) {
  for (const ExitConfig& exits : {ExitConfig{}, ExitConfig{.first = 5}, ExitConfig{.pooling = Pooling::mean},
                                  ExitConfig{.first = 3, .mode = HiddenMode::average, .last_hidden = 3}}) {
    const auto model = made(twelve_layers(exits));
    const auto loss = [&](const MultiExitOutputs& out) { return hard_loss(out, batch_); };
    const Gradient plain = gradient(*model, false, loss), scaled = gradient(*model, true, loss);
    expect_scaled(*model, scaled, plain, equalised);
  }
}

TEST_F(Equalisation, AnExitReachesALayerWithTheSameFactorWhicheverItIs) {
  const auto model = made(twelve_layers());
  for (const std::int64_t exit : {1, 4, 11, 12}) {
    const auto loss = [&](const MultiExitOutputs& out) {
      return hard_loss({exit, {out.exit(exit)}, out.hidden}, batch_);
    };
    expect_scaled(*model, gradient(*model, true, loss), gradient(*model, false, loss), equalised);
  }
}

TEST_F(Equalisation, AFeatureLossIsEqualisedWithTheExits) {
  const auto model = made(twelve_layers());
  const TeacherOutputs teacher = teach(*made(twelve_layers(), 4), tokens_);
  const auto loss = [&](const MultiExitOutputs& out) {
    // h_0 is read before any rescale, so its loss is left out here.
    MultiExitOutputs without = out;
    without.hidden[0] = Variable(teacher.hidden[0]);
    return feature_loss(without, teacher, tokens_.layout);
  };
  expect_scaled(*model, gradient(*model, true, loss), gradient(*model, false, loss), equalised);
}

TEST_F(Equalisation, ExitsAddUp) {
  const auto model = made(twelve_layers());
  for (const bool equalise : {false, true}) {
    const Gradient joint =
        gradient(*model, equalise, [&](const MultiExitOutputs& o) { return hard_loss(o, batch_); });
    Gradient total;
    for (std::int64_t exit = 1; exit <= kLayers; ++exit) {
      const Gradient one = gradient(*model, equalise, [&](const MultiExitOutputs& out) {
        return hard_loss({exit, {out.exit(exit)}, out.hidden}, batch_);
      });
      for (std::size_t i = 0; i < one.size(); ++i) {
        if (exit == 1) {
          total.push_back(one[i]);
        } else {
          total[i] = add(Variable(total[i]), Variable(one[i])).value();
        }
      }
    }
    expect_scaled(*model, total, joint, [](std::int64_t) { return 1.0; });
  }
}

TEST_F(Equalisation, AStudentLikeItsTeacherLearnsNothingFromFeatures) {
  const auto model = made(twelve_layers());
  const TeacherOutputs teacher = teach(*model, tokens_);
  Tape tape;
  Forward forward(tape);
  const Variable loss = feature_loss(multi_exit(*model, forward, tokens_, true), teacher, tokens_.layout);
  EXPECT_EQ(loss.value().item(), 0);
  const Gradients found = tape.backward(loss);
  for (Parameter* p : model->parameters().parameters()) {
    const Tensor g = found.of(tape.parameter(*p));
    if (!g.defined()) continue;
    for (std::int64_t i = 0; i < g.numel(); ++i) ASSERT_EQ(g.at(i), 0) << p->name;
  }
}

TEST_F(Equalisation, AHeadWithoutOutputIsRemovedWithoutATrace) {
  const auto model = made(twelve_layers());
  const BertConfig& c = model->config();
  Kept kept;
  for (std::int64_t k = 0; k < kLayers; ++k) {
    const std::int64_t silent = k % 4;
    const Tensor w = model->parameters()
                         .find(fmt::format("bert.encoder.layer.{}.attention.output.dense.weight", k))
                         .value();
    for (std::int64_t r = 0; r < w.shape()[0]; ++r) {
      for (std::int64_t d = 0; d < c.head_dim; ++d) {
        w.data<double>()[r * w.shape()[1] + silent * c.head_dim + d] = 0;
      }
    }
    auto& heads = kept.heads.emplace_back();
    for (std::int64_t h = 0; h < 4; ++h) {
      if (h != silent) heads.push_back(h);
    }
    auto& neurons = kept.neurons.emplace_back();
    for (std::int64_t n = 0; n < 40; ++n) neurons.push_back(n);
  }
  Forward forward;
  const MultiExitOutputs before = multi_exit(*model, forward, tokens_, false);
  const auto slender = prune(*model, kept);
  const MultiExitOutputs after = multi_exit(*slender, forward, tokens_, false);
  for (std::int64_t i = 1; i <= kLayers; ++i) {
    EXPECT_LT(largest_difference(after.exit(i).value(), before.exit(i).value()), kClose) << i;
  }
  EXPECT_EQ(slender->config().kept_heads, kept.heads);
  EXPECT_THROW(prune(*slender, kept), Error) << "there is no fourth head";
}

}  // namespace
}  // namespace costeff
