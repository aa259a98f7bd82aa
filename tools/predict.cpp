// costeff predict: lines of standard input, classified.
#include <algorithm>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "costeff/classifier.h"
#include "costeff/run_folder.h"
#include "tools/commands.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/streams.h"

namespace costeff {
namespace {

struct PredictSettings {
  std::string model = default_model();
  std::int64_t batch = 32;
  std::int64_t max_length = kDefaultLength;
  std::int64_t threads = 0;
};

Options predict_options(PredictSettings& s) {
  Options options("costeff predict --model DIR [options] < TEXTS",
                  "Classifies texts: a line of standard input is a text, or two with a tab between them. "
                  "Each gets a line\n"
                  "of JSON: text, pair, label and probabilities, or the score of a regression.");
  options.group("Model");
  options.add("model", "DIR", &s.model, "model or run folder (of a run: its best model)");
  options.add("max-length", "N", &s.max_length, "tokens of a text; the rest is cut off",
              {.shown = "128, or the model's positions", .least = 3});
  options.group("Computing");
  options.add("batch", "N", &s.batch,
              "lines that are read before they are answered; 1 where a terminal is typed into", {.least = 1});
  options.add("threads", "N", &s.threads, "0: all cores this process may use", {.least = 0});
  return options;
}

Json answer(const InputText& input, const std::vector<double>& logits,
            const std::vector<std::string>& labels) {
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

void answer_all(const Classifier& classifier, const std::vector<InputText>& inputs, std::size_t max_length) {
  if (inputs.empty()) return;
  EncodedDataset data;
  data.pad_id = classifier.tokenizer.pad_id();
  std::vector<std::int32_t> order;
  for (const InputText& input : inputs) {
    order.push_back(static_cast<std::int32_t>(order.size()));
    const Tokenizer& tokenizer = classifier.tokenizer;
    data.add(input.pair ? tokenizer.encode(input.text, *input.pair, max_length)
                        : tokenizer.encode(input.text, max_length),
             -1, 0);
  }
  Batch batch;
  fill_batch(data, order, std::nullopt, batch);
  const auto logits = predict_logits(*classifier.model, batch);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    write_output(answer(inputs[i], logits[i], classifier.model->config().labels).dump() + "\n");
  }
  flush_output();
}

}  // namespace

int run_predict(const Invocation& invocation) {
  PredictSettings s;
  Options options = predict_options(s);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  require_model(s.model);
  use_threads(s.threads);
  const Classifier classifier = load_classifier(s.model, {});
  const std::size_t limit = length_limit(*classifier.model, s.max_length, options.given("max-length"));
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
      answer_all(classifier, waiting, limit);
      waiting.clear();
    }
  }
  if (refused) std::rethrow_exception(refused);
  return 0;
}

}  // namespace costeff
