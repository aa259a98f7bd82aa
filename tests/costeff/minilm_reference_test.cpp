// Real weights on real sentences against PyTorch: hidden states, and ten steps of fine-tuning.
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;

class MiniLmReference : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    const auto folder = reference_folder();
    COSTEFF_SKIP_WITHOUT(folder);
    if (!is_model_folder(backbone_folder()))
      GTEST_SKIP() << "no backbone at " << backbone_folder() << ": run tools/fetch_backbone.sh";
    file_.emplace((*folder / "minilm.safetensors").string());
    data_ = source_dir() + "/data/samples/SST-2/train.tsv.gz";  // begins as SST-2's whole file does
    classifier_.emplace(load_classifier(backbone_folder(), {.dtype = GetParam(), .labels = {"0", "1"}}));
    read_weights(*file_, "w/", classifier_->model->parameters());
    classifier_->model->to(test_device());
  }

  std::optional<SafetensorsFile> file_;
  std::string data_;
  std::optional<Classifier> classifier_;
};

TEST_P(MiniLmReference, HiddenStates) {
  const double tolerance = GetParam() == DType::f64 ? 1e-10 : 1e-5;
  const TokenBatch batch = read_batch(*file_, "");
  const Bert& model = *classifier_->model;
  Forward forward;
  Variable hidden = model.embed(forward, batch);
  for (std::int64_t k = 0; k <= model.config().layers(); ++k) {
    if (k > 0) hidden = model.layer(forward, k, hidden, batch.layout);
    EXPECT_LT(largest_difference(first_rows(hidden, batch.layout).value(),
                                 read_tensor(*file_, fmt::format("out/hidden.{}.cls", k))),
              tolerance)
        << k;
    EXPECT_LT(largest_difference(sequence_mean(hidden, batch.layout).value(),
                                 read_tensor(*file_, fmt::format("out/hidden.{}.mean", k))),
              tolerance)
        << k;
  }
}

TEST_P(MiniLmReference, TenFineTuningSteps) {
  const bool exact = GetParam() == DType::f64;
  const nlohmann::json settings = metadata(*file_, "fine_tune");
  const auto& log = settings.at("log [loss, grad norm, lr]");
  const auto batch_size = settings.at("batch").get<std::size_t>();
  std::vector<Example> rows = load_examples(find_task("SST-2"), data_).rows;
  rows.resize(batch_size * log.size());
  const EncodedDataset data = encode_dataset(classifier_->tokenizer, rows, 128);
  BertConfig& config = classifier_->model->config();
  config.hidden_dropout_prob = config.attention_probs_dropout_prob = config.classifier_dropout = 0;
  Trainer trainer(classifier_->model->parameters(),
                  {.adam = {.variant = choice_named<AdamVariant>(settings.at("adam").get<std::string>()),
                            .weight_decay = settings.at("weight_decay")},
                   .learning_rate = settings.at("lr"),
                   .warmup = settings.at("warmup"),
                   .total = settings.at("steps"),
                   .max_norm = settings.at("max_norm")});
  for (std::size_t step = 0; step < log.size(); ++step) {
    const auto begin = static_cast<std::int32_t>(step * batch_size);
    const Batch batch = batch_of(data, begin, begin + static_cast<std::int32_t>(batch_size));
    const StepReport r = trainer.step(std::span(&batch, 1), loss_of(*classifier_->model));
    EXPECT_NEAR(r.loss, log[step][0].get<double>(), exact ? 1e-10 : 1e-5) << step;
    EXPECT_NEAR(r.gradient_norm / log[step][1].get<double>(), 1, exact ? 1e-9 : 1e-3) << step;
    EXPECT_NEAR(r.learning_rate, log[step][2].get<double>(), 1e-18) << step;
  }
  trainer.flush();
  Forward forward;
  const Variable logits = classifier_->model->logits(forward, read_batch(*file_, ""));
  EXPECT_LT(largest_difference(logits.value(), read_tensor(*file_, "out/fine_tuned_logits")),
            exact ? 1e-9 : 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, MiniLmReference, ::testing::Values(DType::f64, DType::f32),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace costeff
