// The whole method against PyTorch, step by step: pipeline.safetensors, release rules, dropout off.
#include "costeff/methods/costeff.h"
#include "costeff/methods/pruning_round.h"
#include "costeff/methods/slenderise.h"
#include "costeff/train/classifier.h"
#include "costeff/train/trainer.h"
#include "tests/costeff/reference.h"

namespace costeff {
namespace {

using namespace testing;

struct Accuracy {
  DType dtype;
  double tolerance;         // of losses, norms and rates
  double logits_tolerance;  // at the end
};

class PipelineReference : public ::testing::TestWithParam<Accuracy> {};

EncodedDataset read_data(const SafetensorsFile& file) {
  const auto ids = read_integers(file, "in/ids"), types = read_integers(file, "in/types"),
             lengths = read_integers(file, "in/lengths"), labels = read_integers(file, "in/labels");
  const auto longest = static_cast<std::size_t>(file.info("in/ids").shape[1]);
  EncodedDataset data;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    Encoding e;
    for (std::size_t t = 0; t < static_cast<std::size_t>(lengths[s]); ++t) {
      e.ids.push_back(static_cast<std::int32_t>(ids[s * longest + t]));
      e.token_type_ids.push_back(static_cast<std::int32_t>(types[s * longest + t]));
    }
    data.add(e, static_cast<std::int32_t>(labels[s]), std::nan(""));
  }
  return data;
}

class Pipeline {
 public:
  Pipeline(const SafetensorsFile& file, const Accuracy& accuracy)
      : file_(file),
        accuracy_(accuracy),
        data_(read_data(file)),
        stages_(metadata(file, "stages")),
        batch_(metadata(file, "batch").get<std::size_t>()) {}

  // The batch of these rows of the data.
  Batch batch(std::span<const std::int32_t> rows) const {
    Batch batch;
    fill_batch(data_, rows, std::nullopt, batch);
    return batch;
  }
  Batch calibration(std::size_t i) const {
    std::vector<std::int32_t> rows;
    for (std::size_t j = 0; j < batch_; ++j) rows.push_back(static_cast<std::int32_t>(i * batch_ + j));
    return batch(rows);
  }
  Batch everything() const {
    std::vector<std::int32_t> rows;
    for (std::size_t i = 0; i < data_.size(); ++i) rows.push_back(static_cast<std::int32_t>(i));
    return batch(rows);
  }

  // Trains as the file says, and compares every step's loss, gradient norm and rate. `loss` gets the step's
  // number.
  template <class F>
  void train(const std::string& stage, Bert& model, F&& loss) const {
    const nlohmann::json& about = stages_.at(stage);
    Trainer trainer(model.parameters(), {.adam = {.variant = AdamVariant::transformers,
                                                  .epsilon = metadata(file_, "eps"),
                                                  .weight_decay = metadata(file_, "weight_decay")},
                                         .learning_rate = about.at("lr"),
                                         .warmup = about.at("warmup"),
                                         .total = about.at("total"),
                                         .max_norm = metadata(file_, "max_norm")});
    const auto per_epoch = metadata(file_, "steps_per_epoch").get<std::int64_t>();
    const nlohmann::json& log = about.at("log [loss, grad norm, lr]");
    std::vector<std::int64_t> order;
    for (std::int64_t s = 0; s < about.at("steps").get<std::int64_t>(); ++s) {
      if (s % per_epoch == 0)
        order = read_integers(file_, fmt::format("in/{}/order.{}", stage, s / per_epoch));
      std::vector<std::int32_t> rows;
      for (std::size_t j = 0; j < batch_; ++j) {
        rows.push_back(
            static_cast<std::int32_t>(order[static_cast<std::size_t>(s % per_epoch) * batch_ + j]));
      }
      const std::vector<Batch> batches = {batch(rows)};
      const StepReport report =
          trainer.step(batches, [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
            // A tape without dropout: the file's numbers have none.
            Forward plain(*forward.tape());
            return loss(plain, b, tokens, s);
          });
      const auto close = [&](double found, double expected, const char* what) {
        EXPECT_LE(std::abs(found - expected), accuracy_.tolerance * std::max(std::abs(expected), 1e-3))
            << stage << " step " << s << " " << what << ": " << found << ", expected " << expected;
      };
      const nlohmann::json& expected = log.at(static_cast<std::size_t>(s));
      close(report.loss, expected[0], "loss");
      close(report.gradient_norm, expected[1], "norm");
      close(report.learning_rate, expected[2], "rate");
    }
    trainer.flush();
  }

  void compare_final(const std::string& name, const Bert& model) const {
    Forward forward;
    const MultiExitOutputs out = multi_exit(model, forward, token_batch(everything()), false);
    for (std::int64_t i = 1; i <= out.last(); ++i) {
      const Tensor expected = read_tensor(file_, fmt::format("out/final/{}/logits.{}", name, i));
      EXPECT_LT(largest_difference(out.exit(i).value(), expected), accuracy_.logits_tolerance)
          << name << " exit " << i;
    }
  }

 private:
  const SafetensorsFile& file_;
  Accuracy accuracy_;
  EncodedDataset data_;
  nlohmann::json stages_;
  std::size_t batch_;
};

// What the reference does where features alone are distilled: classifiers have gradient zero, and decay.
Variable features_alone(const MultiExitOutputs& student, const TeacherOutputs& teacher, const Batch& batch,
                        const LayoutPtr& layout) {
  return add(feature_loss(student, teacher, layout), scale(hard_loss(student, batch), 0));
}

TEST_P(PipelineReference, EveryStepOfEveryStage) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "pipeline.safetensors").string());
  const Accuracy accuracy = GetParam();
  const Pipeline pipeline(file, accuracy);

  const auto teacher = read_model(file, "backbone/", accuracy.dtype, std::nullopt);
  pipeline.train("fine_tune", *teacher, [&](Forward& f, const Batch& b, const TokenBatch& t, std::int64_t) {
    return hard_loss({teacher->config().layers(), {teacher->logits(f, t)}, {}}, b);
  });

  const auto assistant = read_model(file, "backbone/", accuracy.dtype);
  read_weights(file, "w/exits/", assistant->parameters());
  pipeline.train("ta_features", *assistant,
                 [&](Forward& f, const Batch& b, const TokenBatch& t, std::int64_t) {
                   return features_alone(multi_exit(*assistant, f, t, true), teach(*teacher, t), b, t.layout);
                 });
  pipeline.train("ta", *assistant, [&](Forward& f, const Batch& b, const TokenBatch& t, std::int64_t) {
    return sum_of_terms(prediction_terms({.prediction = Prediction::both}),
                        multi_exit(*assistant, f, t, true), teach(*teacher, t), b, t.layout);
  });
  pipeline.compare_final("ta", *assistant);

  const nlohmann::json about = metadata(file, "slenderise");
  const std::int64_t rounds = about.at("rounds");
  const BertConfig& c = assistant->config();
  const SlenderSizes full{c.heads[0], c.ffn[0], c.hidden_size};
  const SlenderSizes goal{about.at("keep").at("heads"), about.at("keep").at("ffn"),
                          about.at("keep").at("rank")};
  std::unique_ptr<Bert> student;
  const auto loss = [&](Forward& f, const Batch& b, const TokenBatch& t, bool features_only) {
    const MultiExitOutputs out = multi_exit(*student, f, t, true);
    const TeacherOutputs target = teach(*assistant, t);
    if (features_only) return features_alone(out, target, b, t.layout);
    return add(prediction_loss(out, target, 1), feature_loss(out, target, t.layout));
  };
  for (std::int64_t r = 1; r <= rounds; ++r) {
    const Bert& before = student == nullptr ? *assistant : *student;
    Importance importance(before, UnitSum::release);
    for (std::size_t i = 0; i < 3; ++i) {
      importance.add(pipeline.calibration(i), [&](Forward& f, const Batch& b, const TokenBatch& t) {
        return sum_of_terms(importance_terms(0.1, 1, LossTerm::Exits::all, FeatureMean::padded),
                            multi_exit(before, f, t, true), teach(*assistant, t), b, t.layout);
      });
    }
    const SlenderSizes sizes = sizes_after(r, rounds, full, goal);
    const Kept kept = keep_per_layer(importance.scores(), sizes.heads, sizes.ffn);
    const nlohmann::json& expected = about.at("kept").at(static_cast<std::size_t>(r - 1));
    ASSERT_EQ(nlohmann::json(kept.heads), expected.at("heads")) << "round " << r;
    ASSERT_EQ(nlohmann::json(kept.neurons), expected.at("neurons")) << "round " << r;
    student = factorise(*prune(before, kept), sizes.rank);
    const auto share =
        static_cast<std::int64_t>(about.at("feature_share").get<double>() * about.at("period").get<double>());
    pipeline.train(fmt::format("slenderise.{}", r), *student,
                   [&](Forward& f, const Batch& b, const TokenBatch& t, std::int64_t step) {
                     return loss(f, b, t, r < rounds && step < share);
                   });
  }
  pipeline.train(
      "recover_features", *student,
      [&](Forward& f, const Batch& b, const TokenBatch& t, std::int64_t) { return loss(f, b, t, true); });
  pipeline.train("recover", *student, [&](Forward& f, const Batch& b, const TokenBatch& t, std::int64_t) {
    return loss(f, b, t, false);
  });
  pipeline.compare_final("costeff", *student);
}

// In f32 rounding grows along a trajectory of a hundred steps, to 2e-3 of a gradient norm.
INSTANTIATE_TEST_SUITE_P(Dtypes, PipelineReference,
                         ::testing::Values(Accuracy{DType::f64, 1e-10, 1e-10},
                                           Accuracy{DType::f32, 1e-2, 1e-2}),
                         [](const auto& p) { return std::string(name_of(p.param.dtype)); });

}  // namespace
}  // namespace costeff
