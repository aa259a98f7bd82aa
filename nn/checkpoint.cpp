#include "nn/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "tensor/error.h"

namespace costeff {
namespace {

constexpr std::size_t kListed = 8;  // names in an error; the rest is counted

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kListed); ++i) text += (i ? ", " : "") + names[i];
  return names.size() <= kListed ? text : fmt::format("{} and {} more", text, names.size() - kListed);
}

constexpr std::string_view kHighway = "bert.encoder.highway.";

bool is_classifier(std::string_view name) {
  return name.starts_with("classifier.") ||
         (name.starts_with(kHighway) && name.find(".classifier.") != name.npos);
}
bool is_exit(std::string_view name) {
  return is_classifier(name) || name.starts_with("bert.pooler.") || name.starts_with(kHighway);
}

// The name that the model uses for a tensor of a checkpoint.
std::string canonical(std::string name) {
  for (const auto& [old_ending, ending] :
       {std::pair{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}}) {
    if (name.ends_with(old_ending))
      name = name.substr(0, name.size() - std::string_view(old_ending).size()) + ending;
  }
  const bool prefixed = name.starts_with("bert.") || name.starts_with("cls.") || is_classifier(name);
  return prefixed ? name : "bert." + name;
}

// Tensors that checkpoints carry beside a BERT classifier: heads of pre-training, and a constant buffer of
// old versions.
bool is_ignored(std::string_view name) {
  return name.starts_with("cls.") || name == "bert.embeddings.position_ids";
}
// Exits before the first: the authors' code keeps them, untrained.
bool is_before_first_exit(std::string_view name, std::int64_t first) {
  for (std::int64_t i = 1; i < first; ++i) {
    if (name.starts_with(fmt::format("{}{}.", kHighway, i - 1))) return true;
  }
  return false;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void read_into(const SafetensorsFile& file, const std::string& stored, const NamedTensor& target) {
  const TensorInfo& info = file.info(stored);
  const Tensor value = target.value();
  std::vector<std::int64_t> wanted;
  wanted.reserve(Shape::kMaxRank);
  for (int i = 0; i < value.shape().rank(); ++i) wanted.push_back(value.shape()[i]);
  if (info.shape != wanted) {
    fail("{}: tensor {} is {} but config.json makes it {}", file.path(), stored, shape_text(info.shape),
         shape_text(wanted));
  }
  dispatch(value.dtype(), [&](auto element) {
    using T = decltype(element);
    if constexpr (std::is_same_v<T, float>) {
      file.read_f32(stored, value.host<float>(), value.numel());
    } else {
      file.read_f64(stored, value.host<double>(), value.numel());
    }
  });
}

// Where each of `wanted` stands among `labels`, when they are the same labels in another order; otherwise
// empty.
std::vector<std::int64_t> places(const std::vector<std::string>& wanted,
                                 const std::vector<std::string>& labels) {
  if (wanted == labels || !std::is_permutation(wanted.begin(), wanted.end(), labels.begin(), labels.end()))
    return {};
  std::vector<std::int64_t> order;
  order.reserve(wanted.size());
  for (const std::string& label : wanted)
    order.push_back(std::find(labels.begin(), labels.end(), label) - labels.begin());
  return order;
}

// Row i becomes what row order[i] was.
void reorder_rows(const Tensor& rows, const std::vector<std::int64_t>& order) {
  const Tensor before = rows.clone();
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    rows.slice(row, row + 1).copy_from(before.slice(order[i], order[i] + 1));
  }
}

}  // namespace

bool is_model_folder(const std::string& folder) {
  return std::filesystem::is_regular_file(folder + "/config.json");
}

std::unique_ptr<Bert> load_bert(const std::string& folder, const LoadOptions& options, LoadReport* report) {
  recover_folder(folder);
  BertConfig config = BertConfig::read(folder + "/config.json");
  const bool own_labels = options.labels.empty();
  const bool same_labels = own_labels || options.labels.size() == config.labels.size();
  const std::vector<std::int64_t> order =
      own_labels ? std::vector<std::int64_t>{} : places(options.labels, config.labels);
  if (!own_labels) config.labels = options.labels;
  const bool new_exits = !options.own_exits && options.exits != config.exits;
  if (!options.own_exits) config.exits = options.exits;
  config.check(folder + "/config.json");
  const SafetensorsFile file(folder + "/model.safetensors");

  std::map<std::string, std::string, std::less<>> stored;  // the model's name -> the file's
  for (const std::string& name : file.names()) {
    const auto [at, fresh] = stored.emplace(canonical(name), name);
    if (!fresh) fail("{}: tensors {} and {} are the same parameter", file.path(), at->second, name);
  }

  const bool has_classifier =
      std::any_of(stored.begin(), stored.end(), [](const auto& entry) { return is_classifier(entry.first); });
  // What may be missing from the file: what the options ask for beyond it.
  const auto is_new = [&](std::string_view name) {
    if (!is_exit(name)) return false;
    return new_exits || (!own_labels && (!has_classifier || (is_classifier(name) && !same_labels)));
  };

  auto model = std::make_unique<Bert>(std::move(config), options.dtype);
  LoadReport loaded;
  std::vector<std::string> missing;
  for (const NamedTensor& target : model->parameters().named()) {
    const auto at = stored.find(target.name);
    const bool usable =
        is_exit(target.name) ? !new_exits && (same_labels || !is_classifier(target.name)) : true;
    if (at != stored.end() && usable) {
      read_into(file, at->second, target);
      if (is_classifier(target.name) && !order.empty()) reorder_rows(target.value(), order);
    } else if (is_new(target.name)) {
      model->initialise(target, options.seed);
      loaded.initialised.push_back(target.name);
    } else {
      missing.push_back(target.name);
    }
    if (at != stored.end()) stored.erase(at);
  }
  if (!missing.empty()) {
    fail("{}: missing {} of the model's tensors: {}{}", file.path(), missing.size(), list(missing),
         !has_classifier && is_classifier(missing.front())
             ? "; the model is not fine-tuned yet (costeff finetune makes its classifier)"
             : "");
  }
  std::vector<std::string> unexpected;
  const std::int64_t first = model->config().first_exit();
  for (const auto& [name, original] : stored) {
    const bool unused = is_ignored(name) || (new_exits && is_exit(name)) || is_before_first_exit(name, first);
    (unused ? loaded.ignored : unexpected).push_back(original);
  }
  if (!unexpected.empty()) {
    fail("{}: {} tensors that the model of config.json does not have: {}", file.path(), unexpected.size(),
         list(unexpected));
  }
  if (report != nullptr) *report = std::move(loaded);
  return model;
}

void save_bert(const std::string& folder, const Bert& model, const std::string& tokenizer_folder,
               SaveDType dtype) {
  std::vector<SafetensorsEntry> entries;
  const Tensor values = model.parameters().values().to(kCpu);
  for (const NamedTensor& t : model.parameters().named()) {
    const Shape shape = t.value().shape();
    const std::int64_t begin = model.parameters().offset(*t.parameter) + t.begin * (shape.numel() / shape[0]);
    const Tensor value = values.slice(begin, begin + shape.numel()).reshape(shape);
    SafetensorsEntry entry{t.name, {}, static_cast<const float*>(nullptr)};
    for (int i = 0; i < value.shape().rank(); ++i) entry.shape.push_back(value.shape()[i]);
    if (value.dtype() == DType::f64) {
      entry.data = value.host<const double>();
    } else {
      entry.data = value.host<const float>();
    }
    entries.push_back(std::move(entry));
  }
  write_safetensors(folder + "/model.safetensors", entries, {{"format", "pt"}}, dtype);
  write_atomically(folder + "/config.json", model.config().to_json().dump(2) + "\n");
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) {
    const std::string source = tokenizer_folder + "/" + name;
    if (std::filesystem::exists(source)) write_atomically(folder + "/" + name, read_text(source));
  }
}

}  // namespace costeff
