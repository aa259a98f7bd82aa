// What the tests of removals, scores and importance look at: a small multi-exit model, a teacher, sentences.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "costeff/audit/removal.h"
#include "costeff/methods/costeff.h"
#include "tests/costeff/support.h"

namespace costeff::testing {

inline Tokenizer any_tokenizer() {
  const std::string file = fmt::format("{}costeff_vocabulary_{}.txt", ::testing::TempDir(), getpid());
  std::ofstream(file) << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
  Tokenizer tokenizer = Tokenizer::from_file(file);
  std::remove(file.c_str());
  return tokenizer;
}

inline std::unique_ptr<Bert> made(std::uint64_t seed, std::optional<ExitConfig> exits) {
  BertConfig config = small_config();
  config.exits = exits;
  auto model = std::make_unique<Bert>(std::move(config), DType::f64);
  model->initialise(seed);
  return model;
}

// Ten sentences in batches of 4, 4 and 2; three layers of 4 heads and 40 neurons.
inline audit::Subject make_subject(bool taught, const ExitConfig& exits = {}) {
  EncodedDataset data = random_dataset(10);
  std::vector<Batch> batches = {batch_of(data, 0, 4), batch_of(data, 4, 8), batch_of(data, 8, 10)};
  Settings settings = costeff_stage("recover").defaults;
  settings.temperature = 2;
  std::unique_ptr<Teacher> teacher;
  if (taught) teacher = std::make_unique<Teacher>(made(8, std::nullopt));
  return {settings,
          {},
          custom_task("sentence,label", "0,1,2"),
          {"", any_tokenizer(), made(7, exits)},
          std::move(teacher),
          std::move(data),
          std::move(batches)};
}

// The loss of each exit and of the features, of any model, with nothing but multi_exit().
inline audit::SampleLoss from_scratch(const audit::Subject& subject, const Bert& model, bool labels) {
  audit::SampleLoss sum;
  for (const Batch& batch : subject.batches) {
    const TokenBatch tokens = token_batch(batch);
    Forward forward;
    const MultiExitOutputs out = multi_exit(model, forward, tokens, false);
    const double share = static_cast<double>(batch.sequences()) / static_cast<double>(subject.data.size());
    sum.exits.resize(out.logits.size());
    for (std::int64_t i = out.first; i <= out.last(); ++i) {
      const MultiExitOutputs exit{i, {out.exit(i)}, out.hidden};
      const Variable loss =
          labels ? hard_loss(exit, batch)
                 : prediction_loss(exit, (*subject.teacher)(batch, tokens), subject.training.temperature);
      sum.exits[static_cast<std::size_t>(i - out.first)] += share * loss.value().item();
    }
    if (subject.teacher != nullptr)
      sum.features +=
          share * feature_loss(out, (*subject.teacher)(batch, tokens), tokens.layout).value().item();
  }
  return sum;
}

inline std::vector<std::int64_t> all_but(std::int64_t width, std::span<const std::int64_t> without) {
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < width; ++i) {
    if (std::find(without.begin(), without.end(), i) == without.end()) kept.push_back(i);
  }
  return kept;
}

}  // namespace costeff::testing
