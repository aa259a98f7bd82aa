// costeff predict: lines of standard input, classified.
#include <algorithm>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "costeff/exits/early_exit.h"
#include "costeff/train/classifier.h"
#include "costeff/train/run_folder.h"
#include "tools/cli/commands.h"
#include "tools/cli/exit_options.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct PredictSettings : Settings {
  ExitFlags exits;
};

Options predict_options(PredictSettings& s) {
  Options options(
      "costeff predict --model DIR [options] < TEXTS",
      "Classifies texts: a line of standard input is a text, or two with a tab between them. "
      "Each gets a line\n"
      "of JSON: text, pair, label and probabilities, or the score of a regression; of a model with "
      "several\nexits also the exit that answered.");
  options.group("Model");
  add_setting(options, s, &Settings::model, {.help = kModelHelp});
  add_setting(options, s, &Settings::max_length, {.shown = kShownLength});
  options.group("Exits");
  add_exit_flags(options, s.exits);
  options.group("Computing");
  add_setting(options, s, &Settings::batch,
              {.help = "lines that are read before they are answered; 1 where a terminal is typed into"});
  add_computing(options, s);
  return options;
}

Json answer(const InputText& input, std::span<const double> logits, const std::vector<std::string>& labels) {
  Json out{{"text", input.text}};
  if (input.pair) out["pair"] = *input.pair;
  if (logits.size() == 1) {
    out["score"] = logits[0];
    return out;
  }
  const std::vector<double> p = probabilities(logits);
  const auto best = static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  out["label"] = labels[best];
  out["probabilities"] = Json::object();
  for (std::size_t c = 0; c < labels.size(); ++c) out["probabilities"][labels[c]] = p[c];
  return out;
}

// Classifies texts with one model, batch by batch.
class Answerer {
 public:
  Answerer(const Classifier& classifier, std::size_t max_length, const std::optional<ExitRule>& rule,
           Precision precision)
      : classifier_(classifier), max_length_(max_length), rule_(rule), precision_(precision) {}

  void answer_all(const std::vector<InputText>& inputs) const {
    if (inputs.empty()) return;
    const Batch batch = batch_of(inputs);
    const BertConfig& config = classifier_.model->config();
    if (!rule_) {
      const auto logits = predict_logits(*classifier_.model, batch, precision_);
      for (std::size_t i = 0; i < inputs.size(); ++i) write(inputs[i], logits[i], config.layers());
    } else {
      const auto [exits, logits] = early_exit(*classifier_.model, token_batch(batch), *rule_, precision_);
      const auto columns = static_cast<std::size_t>(config.num_labels());
      for (std::size_t i = 0; i < inputs.size(); ++i)
        write(inputs[i], std::span(logits).subspan(i * columns, columns), exits[i]);
    }
    flush_output();
  }

 private:
  Batch batch_of(const std::vector<InputText>& inputs) const {
    const Tokenizer& tokenizer = classifier_.tokenizer;
    EncodedDataset data;
    data.pad_id = tokenizer.pad_id();
    std::vector<std::int32_t> order;
    for (const InputText& input : inputs) {
      order.push_back(static_cast<std::int32_t>(order.size()));
      data.add(input.pair ? tokenizer.encode(input.text, *input.pair, max_length_)
                          : tokenizer.encode(input.text, max_length_),
               -1, 0);
    }
    Batch batch;
    fill_batch(data, order, std::nullopt, batch);
    return batch;
  }

  void write(const InputText& input, std::span<const double> logits, std::int64_t exit) const {
    const BertConfig& config = classifier_.model->config();
    Json line = answer(input, logits, config.labels);
    if (rule_ || config.first_exit() < config.layers()) line["exit"] = exit;
    write_output(line.dump() + "\n");
  }

  const Classifier& classifier_;
  std::size_t max_length_;
  std::optional<ExitRule> rule_;
  Precision precision_;
};

}  // namespace

int run_predict(const Invocation& invocation) {
  PredictSettings s;
  s.model = default_model();
  Options options = predict_options(s);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  const Classifier classifier = open_model(s);
  const std::size_t limit = length_limit(*classifier.model, s, options.given("max-length"));
  const Answerer answerer(classifier, limit,
                          asked_rule(options, s.exits, classifier.model->config(), "predict"), s.precision);
  const std::size_t size = input_is_terminal() ? 1 : static_cast<std::size_t>(s.batch);

  InputTexts texts;
  std::vector<InputText> waiting;
  std::exception_ptr refused;  // a line; those before it are answered first
  for (bool more = true; more;) {
    InputText text;
    try {
      more = texts.next(text);
    } catch (const std::exception&) {
      refused = std::current_exception();
      more = false;
    }
    if (more) waiting.push_back(std::move(text));
    if (!more || waiting.size() == size) {
      answerer.answer_all(waiting);
      waiting.clear();
    }
  }
  if (refused) std::rethrow_exception(refused);
  return 0;
}

}  // namespace costeff
