#include "nn/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "nn/checkpoint_names.h"
#include "tensor/error.h"

namespace costeff {
namespace {

constexpr std::size_t kListed = 8;  // names in an error; the rest is counted

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kListed); ++i) text += (i ? ", " : "") + names[i];
  return names.size() <= kListed ? text : fmt::format("{} and {} more", text, names.size() - kListed);
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
  file.read(stored, value);
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

// The tensors of a file: the model's name for each -> the file's.
using StoredNames = std::map<std::string, std::string, std::less<>>;

StoredNames stored_names(const SafetensorsFile& file, const CheckpointNames& names) {
  StoredNames stored;
  for (const std::string& name : file.names()) {
    const auto [at, fresh] = stored.emplace(names.canonical(name), name);
    if (!fresh) fail("{}: tensors {} and {} are the same parameter", file.path(), at->second, name);
  }
  return stored;
}

// What the model that the options ask for shares with a checkpoint's exits.
struct Wanted {
  bool labels_given = false;
  bool other_classes = false;       // another number of them: new classifiers
  bool other_exits = false;         // new classifiers and poolers
  std::vector<std::int64_t> order;  // of the classifiers' rows; empty: as they are stored
  bool is_backbone = false;         // the checkpoint has no classifier
};

// Makes a checkpoint's config that of the wanted model.
Wanted apply(const LoadOptions& options, BertConfig& config) {
  Wanted wanted;
  if (!options.labels.empty()) {
    wanted.labels_given = true;
    wanted.other_classes = options.labels.size() != config.labels.size();
    wanted.order = places(options.labels, config.labels);
    config.labels = options.labels;
  }
  if (!options.own_exits) {
    wanted.other_exits = options.exits != config.exits;
    config.exits = options.exits;
  }
  return wanted;
}

enum class Source : std::uint8_t { take, reorder, initialise, missing };

struct Row {
  const NamedTensor* target;
  std::string stored;  // the tensor's name in the file; empty: none
  Source source;
};

Source source_of(const WeightRole& role, bool is_stored, const Wanted& wanted) {
  const bool classifier = role.part == Part::exit_classifier;
  if (is_exit(role.part) && (wanted.other_exits || (classifier && wanted.other_classes)))
    return Source::initialise;
  if (is_stored) return classifier && !wanted.order.empty() ? Source::reorder : Source::take;
  const bool gets_exits = wanted.is_backbone && wanted.labels_given;
  return is_exit(role.part) && gets_exits ? Source::initialise : Source::missing;
}

// Where each of the model's tensors comes from. Takes them out of `stored`.
std::vector<Row> table_of(const Bert& model, const Wanted& wanted, StoredNames& stored) {
  std::vector<Row> table;
  for (const NamedTensor& target : model.parameters().named()) {
    const StoredNames::node_type found = stored.extract(target.name);
    table.push_back({&target, found ? found.mapped() : "", source_of(target.role, !found.empty(), wanted)});
  }
  return table;
}

void require_all(const SafetensorsFile& file, const std::vector<Row>& table, const Wanted& wanted) {
  std::vector<std::string> missing;
  bool no_classifier = false;  // is what is missing first
  for (const Row& row : table) {
    if (row.source != Source::missing) continue;
    if (missing.empty()) no_classifier = row.target->role.part == Part::exit_classifier && wanted.is_backbone;
    missing.push_back(row.target->name);
  }
  if (missing.empty()) return;
  fail("{}: missing {} of the model's tensors: {}{}", file.path(), missing.size(), list(missing),
       no_classifier ? "; the model is not fine-tuned yet (costeff finetune makes its classifier)" : "");
}

// The tensors that are left, which must be of exits that others replace or that lie before the first (the
// authors' code keeps those, untrained), or of no classifier.
std::vector<std::string> ignored(const SafetensorsFile& file, const CheckpointNames& names,
                                 const StoredNames& left, std::int64_t first_exit, const Wanted& wanted) {
  std::vector<std::string> unused, unexpected;
  for (const auto& [name, original] : left) {
    const WeightRole role = names.role(name).value_or(WeightRole{});
    const bool replaced = is_exit(role.part) && (wanted.other_exits || role.exit < first_exit);
    (replaced || names.is_unused(name) ? unused : unexpected).push_back(original);
  }
  if (!unexpected.empty()) {
    fail("{}: {} tensors that the model of config.json does not have: {}", file.path(), unexpected.size(),
         list(unexpected));
  }
  return unused;
}

}  // namespace

bool is_model_folder(const std::string& folder) {
  return std::filesystem::is_regular_file(folder + "/config.json");
}

std::unique_ptr<Bert> load_bert(const std::string& folder, const LoadOptions& options, LoadReport* report) {
  recover_folder(folder);
  BertConfig config = BertConfig::read(folder + "/config.json");
  Wanted wanted = apply(options, config);
  config.check(folder + "/config.json");
  const SafetensorsFile file(folder + "/model.safetensors");
  const CheckpointNames names(kBertNames, config.layers());
  StoredNames stored = stored_names(file, names);
  wanted.is_backbone = std::none_of(stored.begin(), stored.end(), [&](const auto& entry) {
    return names.role(entry.first).value_or(WeightRole{}).part == Part::exit_classifier;
  });

  auto model = std::make_unique<Bert>(std::move(config), options.dtype);
  const std::vector<Row> table = table_of(*model, wanted, stored);
  require_all(file, table, wanted);
  LoadReport loaded;
  loaded.ignored = ignored(file, names, stored, model->config().first_exit(), wanted);
  for (const Row& row : table) {
    if (row.source == Source::initialise) {
      model->initialise(*row.target, options.seed);
      loaded.initialised.push_back(row.target->name);
      continue;
    }
    read_into(file, row.stored, *row.target);
    if (row.source == Source::reorder) reorder_rows(row.target->value(), wanted.order);
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
    entries.push_back(entry_of(t.name, values.slice(begin, begin + shape.numel()).reshape(shape)));
  }
  write_safetensors(folder + "/model.safetensors", entries, {{"format", "pt"}}, dtype);
  write_atomically(folder + "/config.json", model.config().to_json().dump(2) + "\n");
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) {
    const std::string source = tokenizer_folder + "/" + name;
    if (std::filesystem::exists(source)) write_atomically(folder + "/" + name, read_text(source));
  }
}

}  // namespace costeff
