// costeff inspect: what a model consists of, and where a run stands.
#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "costeff/exits/cost.h"
#include "costeff/methods/method_list.h"
#include "costeff/train/classifier.h"
#include "costeff/train/pipeline.h"
#include "costeff/train/run_folder.h"
#include "costeff/train/settings.h"
#include "data/text_file.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/model_options.h"
#include "tools/cli/model_text.h"
#include "tools/cli/options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

Json flops_json(const BertConfig& config) {
  const std::int64_t tokens = std::min(kDefaultLength, config.max_position_embeddings);
  const Flops flops = forward_flops(config, tokens);
  Json by_exit = Json::array();
  for (const double count : flops.by_exit()) by_exit.push_back(whole(count));
  return {{"tokens", tokens}, {"total", whole(flops.total())}, {"by_exit", by_exit}};
}

// Without the weights that the file lacks: a pre-trained model has no classifier yet.
ParameterCounts count_stored(const Bert& model, const LoadReport& report) {
  ParameterCounts counts = count_parameters(model.config());
  for (const std::string& name : report.initialised) {
    const NamedTensor& absent = model.parameters().find(name);
    auto& exit = counts.exits[static_cast<std::size_t>(absent.role.exit - model.config().first_exit())];
    (absent.role.part == Part::exit_dense ? exit.dense : exit.classifier) -= absent.value().numel();
  }
  return counts;
}

Json layers_json(const BertConfig& config, const ParameterCounts& counts) {
  Json table = Json::array();
  for (std::size_t k = 0; k < counts.layers.size(); ++k) {
    table.push_back({{"layer", k + 1},
                     {"heads", config.heads[k]},
                     {"head_size", config.head_dim},
                     {"ffn", config.ffn[k]},
                     {"parameters", counts.layers[k]}});
    if (!config.kept_heads.empty()) table.back()["kept_heads"] = config.kept_heads[k];
  }
  return table;
}

Json parameters_json(const ParameterCounts& counts, std::int64_t first_exit) {
  std::int64_t pooler = 0, classifier = 0;  // of all exits together
  Json by_exit = Json::array();
  for (const auto& exit : counts.exits) {
    pooler += exit.dense;
    classifier += exit.classifier;
    if (exit.total() > 0) by_exit.push_back({{"exit", first_exit}, {"parameters", exit.total()}});
    ++first_exit;
  }
  return {{"embeddings", counts.embeddings},
          {"encoder", std::accumulate(counts.layers.begin(), counts.layers.end(), std::int64_t{0})},
          {"pooler", pooler},
          {"classifier", classifier},
          {"by_exit", by_exit},
          {"total", counts.total()}};
}

Json vocabulary_json(const std::string& folder) {
  if (!fs::exists(folder + "/vocab.txt")) return nullptr;
  const Tokenizer tokenizer = Tokenizer::from_folder(folder);
  return {{"tokens", tokenizer.vocabulary_size()}, {"lower_case", tokenizer.options().lower_case}};
}

Json file_json(const SafetensorsFile& file) {
  std::map<std::string, std::int64_t> dtypes;
  for (const std::string& name : file.names()) ++dtypes[file.info(name).dtype];
  return {{"bytes", fs::file_size(file.path())}, {"tensors", file.names().size()}, {"dtypes", dtypes}};
}

struct ModelDescription {
  BertConfig config;
  Json json;
};

// Reads the model as training would, so that what is shown was checked, and counts what its file holds.
ModelDescription describe_model(const std::string& path) {
  const std::string folder = resolve_model(path);
  LoadReport report;
  // With labels of its own a model may lack a classifier.
  const BertConfig stored = BertConfig::read(folder + "/config.json");
  const std::unique_ptr<Bert> model = load_bert(folder, {.labels = stored.labels}, &report);
  const BertConfig& config = model->config();
  const Json parameters = parameters_json(count_stored(*model, report), config.first_exit());
  Json json{
      {"folder", folder},
      {"architecture", config.exits ? "CosteffForSequenceClassification" : "BertForSequenceClassification"},
      {"plain", config.is_plain()},
      {"slender", is_slender(config)},
      {"hidden_size", config.hidden_size},
      {"vocab_size", config.vocab_size},
      {"embedding_rank", config.embedding_rank},
      {"positions", config.max_position_embeddings},
      {"token_types", config.type_vocab_size},
      {"labels", parameters["classifier"] > 0 ? Json(config.labels) : Json::array()},
      {"exits", exits_json(config)},
      {"layers", layers_json(config, count_parameters(config))},
      {"parameters", parameters},
      {"flops", flops_json(config)},
      {"vocabulary", vocabulary_json(folder)},
      {"file", file_json(SafetensorsFile(folder + "/model.safetensors"))},
      {"ignored", report.ignored}};
  return {config, std::move(json)};
}

std::string model_text(const ModelDescription& model) {
  const Json& m = model.json;
  const BertConfig& config = model.config;
  const auto number = [](const Json& value) { return value.get<std::int64_t>(); };
  std::string out = fmt::format("model       {}\n", m["folder"].get<std::string>());
  out += fmt::format("            {}{}: {}\n", is_slender(config) ? "slender " : "",
                     m["architecture"].get<std::string>(), sizes_text(config));
  if (config.exits) out += fmt::format("exits       {}\n", exits_text(config));
  std::vector<std::string> labels;
  for (const Json& label : m["labels"]) labels.push_back(label.get<std::string>());
  out += fmt::format("labels      {}\n", labels.empty() ? "none yet: costeff finetune makes the classifier"
                                                        : fmt::format("{}", fmt::join(labels, ", ")));
  std::string dtypes;
  for (const auto& [name, count] : m["file"]["dtypes"].items()) {
    dtypes += fmt::format("{}{} {}", dtypes.empty() ? "" : ", ", number(count), name);
  }
  out += fmt::format("weights     {} bytes in {} tensors: {}\n", grouped(number(m["file"]["bytes"])),
                     number(m["file"]["tensors"]), dtypes);
  out += m["vocabulary"].is_null()
             ? "vocabulary  no vocab.txt\n"
             : fmt::format("vocabulary  {} tokens, {}\n", number(m["vocabulary"]["tokens"]),
                           m["vocabulary"]["lower_case"].get<bool>() ? "lower case" : "cased");
  if (!m["ignored"].empty())
    out += fmt::format("not used    {} tensors of other heads\n", m["ignored"].size());
  const Json& flops = m["flops"];
  out += fmt::format("FLOPs       {} for {} tokens", scaled(flops["total"].get<double>()),
                     number(flops["tokens"]));
  if (flops["by_exit"].size() > 1) {
    out += fmt::format(", {} up to exit {}", scaled(flops["by_exit"][0].get<double>()), config.first_exit());
  }

  out += fmt::format("\n\n{:<12}{:>6}{:>11}{:>7}{:>15}{}\n", "layer", "heads", "head size", "FFN",
                     "parameters", config.kept_heads.empty() ? "" : "  heads kept");
  const auto row = [&](const std::string& name, std::int64_t parameters) {
    out += fmt::format("{:<12}{:>6}{:>11}{:>7}{:>15}\n", name, "", "", "", grouped(parameters));
  };
  row("embeddings", number(m["parameters"]["embeddings"]));
  for (const Json& layer : m["layers"]) {
    out +=
        fmt::format("{:<12}{:>6}{:>11}{:>7}{:>15}", number(layer["layer"]), number(layer["heads"]),
                    number(layer["head_size"]), number(layer["ffn"]), grouped(number(layer["parameters"])));
    if (layer.contains("kept_heads"))
      out += fmt::format("  {}", fmt::join(layer["kept_heads"].get<std::vector<std::int64_t>>(), " "));
    out += "\n";
  }
  if (config.exits) {
    for (const Json& exit : m["parameters"]["by_exit"])
      row(fmt::format("exit {}", number(exit["exit"])), number(exit["parameters"]));
  } else {
    for (const char* part : {"pooler", "classifier"}) row(part, number(m["parameters"][part]));
  }
  row("total", number(m["parameters"]["total"]));
  return out;
}

bool is_run(const std::string& path) {
  std::error_code error;
  return fs::exists(path + "/log.jsonl", error) && fs::exists(path + "/config.json", error);
}

// Whether a run has a model to show: its own, or that of its last stage.
bool has_model(const std::string& run) {
  return is_model_folder(run + "/best") || is_model_folder(run + "/last") || has_results(run);
}

Json describe_run(const std::string& path);

// Where a run of all stages stands: how far each is, null if it has not begun.
Json describe_stages(const std::string& path, const Method& method) {
  Json stages = Json::object();
  for (const StageSpec& stage : method.stages) {
    const std::string folder = path + "/" + stage.name;
    stages[stage.name] = is_run(folder) ? describe_run(folder) : Json();
  }
  return {{"folder", path}, {"stages", stages}, {"finished", has_results(path)}};
}

// Where a run stands, from files that a running process may be writing: nothing is changed.
Json describe_run(const std::string& path) {
  const Json config = RunFolder::open(path).config();
  if (config.at("command") == "run")
    return describe_stages(path, find_method(method_of(config.at("settings"))));
  Json out{{"folder", path},
           {"settings", config.at("settings")},
           {"step", 0},
           {"last", nullptr},
           {"dev", Json::array()}};
  for_each_line(read_text(path + "/log.jsonl"), [&](std::size_t, std::string_view text) {
    const Json line = Json::parse(text, nullptr, false);
    if (line.is_discarded() || !line.contains("step")) return;  // the last line may be half-written
    if (line.contains("dev")) {
      out["dev"].push_back(line);
    } else {
      out["step"] = line["step"];
      out["last"] = line;
    }
  });
  std::vector<std::int64_t> steps;
  for (const auto& [step, folder] : checkpoints(path)) steps.push_back(step);
  out["checkpoints"] = steps;
  out["finished"] = is_model_folder(path + "/last");
  return out;
}

std::string state_text(const Json& run) {
  if (run.is_null()) return "not begun";
  std::string out = fmt::format("{} at step {}", run["finished"].get<bool>() ? "finished" : "not finished",
                                run["step"].get<std::int64_t>());
  if (!run["last"].is_null() && run["last"].contains("loss"))
    out += fmt::format(", loss {}", run["last"]["loss"].dump());
  return out;
}

std::string stages_text(const Json& run) {
  std::string out = fmt::format("run         {}, {}\n", run["folder"].get<std::string>(),
                                run["finished"].get<bool>() ? "finished" : "not finished");
  for (const auto& [name, stage] : run["stages"].items())
    out += fmt::format("{:<12}{}\n", name, state_text(stage));
  return out;
}

std::string run_text(const Json& run) {
  if (run.contains("stages")) return stages_text(run);
  const Json& settings = run["settings"];
  std::string out = fmt::format("run         {}\n", run["folder"].get<std::string>());
  std::string line;
  for (const auto& [key, value] : settings.items()) {
    if (value.is_string() && value.get<std::string>().empty()) continue;
    const std::string item =
        fmt::format("{} {}", key, value.is_string() ? value.get<std::string>() : value.dump());
    if (line.size() + item.size() > 84) {
      out += fmt::format("{:<12}{}\n", "", line);
      line.clear();
    }
    if (!line.empty()) line += ", ";
    line += item;
  }
  out += fmt::format("{:<12}{}\n", "", line);
  out += fmt::format("state       {}\ncheckpoints {}\n", state_text(run),
                     run["checkpoints"].empty() ? "none" : run["checkpoints"].dump());
  for (const Json& evaluation : run["dev"]) {
    out += fmt::format("dev         step {}: ", evaluation["step"].get<std::int64_t>());
    for (const auto& [name, value] : evaluation["dev"].items())
      out += fmt::format(" {} {}", name, value.dump());
    out += "\n";
  }
  return out;
}

}  // namespace

int run_inspect(const Invocation& invocation) {
  std::string path;
  bool json = false;
  Options options("costeff inspect DIR [options]",
                  "Says what the model in a folder consists of: layers, widths, parameters. Of a run's "
                  "folder, where the run\n"
                  "stands, and its model. The weights are read and checked.");
  options.group("Output");
  options.flag("json", &json, "one JSON object");
  options.positional("DIR", &path);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();

  const std::optional<Json> run = is_run(path) ? std::optional(describe_run(path)) : std::nullopt;
  const std::optional<ModelDescription> model =
      !run || has_model(path) ? std::optional(describe_model(path)) : std::nullopt;
  if (json) {
    Json out = Json::object();
    if (run) out["run"] = *run;
    if (model) out["model"] = model->json;
    write_output(out.dump() + "\n");
    return 0;
  }
  if (run) write_output(run_text(*run));
  if (run && model) write_output("\n");
  if (model) write_output(model_text(*model));
  return 0;
}

}  // namespace costeff
