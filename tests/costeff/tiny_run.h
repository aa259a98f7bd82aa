// A model, sentences and settings for stages that take a moment: a sentence's first word decides its label.
#pragma once

#include "costeff/methods/costeff.h"
#include "costeff/train/stage.h"
#include "nn/checkpoint.h"
#include "tests/support.h"

namespace costeff::testing {

class TinyRun {
 public:
  TinyRun() {
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    for (int i = 0; i < kWords; ++i) vocabulary += fmt::format("w{}\n", i);
    folder_.write("vocab.txt", vocabulary);
    folder_.write("train.tsv", sentences(24));
    folder_.write("dev.tsv", sentences(10));
    BertConfig config = BertConfig::plain(kWords + 4, 16, 2, 2, 24);
    config.max_position_embeddings = 16;
    config.labels = {"0", "1"};
    Bert model(config);
    model.initialise(5);
    std::filesystem::create_directory(folder_.path("model"));
    save_bert(folder_.path("model"), model, folder_.path());
  }

  const TemporaryFolder& folder() const { return folder_; }

  // Of a stage on a device; each writes to a folder of its own, and all but fine-tuning begin with the model
  // that fine-tuning left there.
  Settings settings(const std::string& stage, const std::string& device) const {
    Settings s = costeff_stage(stage).defaults;
    s.model = folder_.path(stage == "finetune" ? "model" : "finetune " + device);
    s.teacher = folder_.path("finetune " + device);
    s.columns = "sentence,label";
    s.data = folder_.path();
    s.out = folder_.path(fmt::format("{} {}", stage, device));
    s.max_length = 8;
    s.batch = 5;
    s.epochs = 2;
    s.lr = 1e-3;
    s.threads = threads();
    s.device = device;
    return s;
  }

  static StageResult run(const std::string& stage, const Settings& settings, bool resume = false,
                         const StageEvents& events = {}) {
    StageShared shared;
    return run_stage(costeff_stage(stage), settings, resume, events, shared);
  }

 private:
  static constexpr int kWords = 20;

  static std::string sentences(int count) {
    std::string text = "sentence\tlabel\n";
    for (int i = 0; i < count; ++i)
      text += fmt::format("w{} w{} w{}\t{}\n", i % kWords, i * 7 % kWords, 3, i % 2);
    return text;
  }

  TemporaryFolder folder_;
};

}  // namespace costeff::testing
