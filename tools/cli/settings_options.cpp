#include "tools/cli/settings_options.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <vector>

#include "costeff/train/run_folder.h"
#include "data/task.h"
#include "tensor/error.h"
#include "tensor/json_file.h"
#include "tools/cli/model_options.h"
#include "tools/cli/nearest.h"

namespace costeff {
namespace {

void add_distillation_options(Options& options, Stage stage, Settings& s) {
  options.group("Distillation");
  options.add(
      "fidelity", "F", &s.fidelity,
      "paper: its text; release: the authors' code; tuned: the paper's definitions with what proved better");
  options.add("temperature", "T", &s.temperature, "of the teacher's and the student's predictions");
  options.add("teacher-memory", "MIB", &s.teacher_memory,
              "for what the teacher says of the training sentences; it says it anew in each epoch where that "
              "is not enough");
  options.add("prediction", "P", &s.prediction,
              "what predictions learn from: soft (the teacher), hard (the labels), both, none; auto: by "
              "stage and fidelity");
  options.flag("no-features", &s.no_features, "no feature distillation");
  options.flag("no-equalise", &s.no_equalise, "no gradient equalisation (Eq. 3)");
  options.add("exit-losses", "E", &s.exit_losses, "all, or last: only the last exit is trained");
  if (stage == Stage::slenderise) return;
  options.add("feature-epochs", "X", &s.feature_epochs, "of feature distillation alone, before predictions",
              {.shown = "by stage and fidelity"});
  options.add("feature-lr", "X", &s.feature_lr, "peak learning rate of it", {.shown = "as --lr"});
}

void add_exit_options(Options& options, Settings& s) {
  options.group("Exits, of a model that has none yet");
  options.add("exit-start", "K", &s.exit_start, "the first layer with an exit");
  options.add("pooling", "P", &s.pooling, "what an exit reads: cls, mean, or auto: by what [CLS] carries");
  options.add("last-n-hidden", "N", &s.last_n_hidden, "hidden states that an exit reads");
  options.add("hidden-mode", "M", &s.hidden_mode, "how they are joined: concat or average");
  options.flag("pooler-dense", &s.pooler_dense, "a dense layer before each exit's tanh");
}

}  // namespace

void add_data_options(Options& options, Settings& s) {
  options.add("task", "T", &s.task, fmt::format("task of GLUE: {}", fmt::join(task_names(), ", ")));
  options.add("columns", "LIST", &s.columns,
              "any other TSV: one or two text columns, then the label's, as in \"sentence,label\"");
  options.add("labels", "LIST", &s.labels,
              "with --columns: label names in the order of the classes (default: those in the training file, "
              "sorted)");
  options.add("data", "DIR", &s.data, "folder with train.tsv and dev.tsv, also gzipped");
  options.add("max-length", "N", &s.max_length, "tokens of a text; the rest is cut off");
  options.add("pad-to", "N", &s.pad_to, "pad every sequence to N tokens; 0: no padding");
  options.flag("bucket", &s.bucket, "put sentences of similar length into a batch");
  options.add("holdout", "N", &s.holdout, "training sentences to leave out, to choose a threshold on");
}

void add_run_options(Options& options, Settings& s) {
  options.add("eval-every", "N", &s.eval_every, "steps between evaluations; 0: after each epoch");
  options.add("keep-checkpoints", "N", &s.keep_checkpoints, "how many checkpoints stay");
  options.add("save-dtype", "T", &s.save_dtype, "of the weights in best and last: f32 or f16");
  add_computing_options(options, s);
}

void add_computing_options(Options& options, Settings& s) {
  add_device(options, &s.device);
  add_precision(options, &s.precision);
  options.add("threads", "N", &s.threads, "0: all cores this process may use");
  options.add("checkpoint-every", "N", &s.checkpoint_every,
              "steps between checkpoints; 0: with each evaluation");
  options.add(
      "audit-every", "N", &s.audit_every,
      "steps between lines of the log that say which loss moves what, for costeff audit run; 0: none");
  options.flag("check-finite", &s.check_finite,
               "name the first operation that gives a nan or infinity (slower)");
}

void add_training_options(Options& options, Settings& s) {
  options.group("Training");
  options.add("epochs", "N", &s.epochs, "passes over the training data");
  options.add("max-steps", "N", &s.max_steps, "stop after so many steps; 0: epochs decide");
  options.add("batch", "N", &s.batch, "sequences computed together");
  options.add("accumulate", "N", &s.accumulate, "batches of a step");
  options.add("lr", "X", &s.lr, "peak learning rate, as in 2e-5");
  options.add("warmup", "X", &s.warmup, "steps until the peak; below 1 a share of a phase's steps");
  options.add("weight-decay", "X", &s.weight_decay, "of AdamW; not on biases and LayerNorm");
  options.add("adam-variant", "V", &s.adam_variant, "torch, or transformers for its older AdamW");
  options.add("max-norm", "X", &s.max_norm, "gradients are clipped to this norm; 0: never");
  options.add("dropout", "X", &s.dropout, "share of activations dropped", {.shown = "the model's"});
  options.add("seed", "N", &s.seed, "of shuffling, dropout and new weights");
}

void add_method_options(Options& options, Stage stage, Settings& s) {
  if (stage == Stage::finetune) return;
  if (stage == Stage::slenderise) add_slender_options(options, s);
  add_distillation_options(options, stage, s);
  if (stage == Stage::recover) return;
  add_exit_options(options, s);
  if (stage == Stage::assist) {
    options.flag("two-stage", &s.two_stage,
                 "the backbone with the last exit first, then the other exits alone");
  }
}

void add_slender_options(Options& options, Settings& s) {
  options.group("Sizes and rounds");
  options.add("heads", "N", &s.heads, "attention heads to keep in each layer", {.shown = ""});
  options.add("ffn", "N", &s.ffn, "FFN neurons to keep in each layer", {.shown = ""});
  options.add("rank", "N", &s.rank, "rank of the word embedding; -1: stays one matrix", {.shown = ""});
  options.add("rounds", "N", &s.rounds, "in which it is done; 1: at once; 0: one head a round");
  options.add("period", "X", &s.period,
              "steps of a round; below 1 a share of an epoch; 0: all steps shared out");
  options.add("feature-share", "X", &s.feature_share, "of a round's steps, with feature distillation alone");
  options.add("restore", "X", &s.restore, "by which share the learning rate grows each round");
  options.add("calibration", "N", &s.calibration, "training sentences that importance is computed from");
  options.add(
      "importance", "I", &s.importance,
      "paper or release (Taylor scores), last-exit (of the last exit alone), random; auto: by fidelity");
  options.add(
      "importance-hard", "SHARE", &s.importance_hard,
      "of the hard labels in what scores are computed from; -1: 0.1 when tuned or with --importance release, "
      "else 0");
  options.add("budget", "B", &s.budget, "layer: as many in each; global: the best of all layers together");
  options.add("embedding", "E", &s.embedding,
              "plain truncated SVD, or weighted by how often word pieces occur; auto: by fidelity");
}

// The settings in a run's config.json.
Json run_settings(const std::string& out, std::string_view command) {
  const std::string path = out + "/config.json";
  const Json json = RunFolder::open(out).config();
  if (!json.is_object() || !json.contains("settings")) fail("{}: not the settings of a run", path);
  if (json.value("command", std::string(command)) != command) {
    fail("{} holds a run of costeff {}, which is to be gone on with by that", out, json.at("command").dump());
  }
  return json["settings"];
}

// Settings from a JSON file of the user's, or from the config.json of a run, whose folder is not taken over.
Settings with_config(Stage stage, const std::string& path, const Settings& base) {
  Json json = read_json<Json>(path);
  if (json.is_object() && json.contains("settings")) {
    json = Json(json["settings"]);
    if (json.is_object()) json.erase("out");
  }
  if (!json.is_object()) fail_usage("{}: not a JSON object of settings", path);
  std::vector<std::string> known;
  const Json defaults = to_json(stage, base);
  for (const auto& [key, value] : defaults.items()) known.push_back(key);
  Json settings = Json::object();
  for (const auto& [name, value] : json.items()) {
    std::string key = name;
    std::replace(key.begin(), key.end(), '-', '_');
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      fail_usage("{}: unknown setting \"{}\"; the nearest is \"{}\"", path, name, nearest(key, known));
    }
    settings[key] = value;
  }
  try {
    return settings_from_json(stage, settings, base);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {}", path, error.what()));
  }
}

std::string absolute(const std::string& path) {
  if (path.empty()) return path;
  std::string text = std::filesystem::absolute(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();  // as completion by the shell leaves it
  return text;
}

// A resumed run has the settings it was begun with; whatever was asked for beside --resume must agree.
void require_same(const Json& run, const Json& wanted) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : wanted.items()) {
    std::string flag = key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (!run.contains(key))
      fail(
          "the run was begun by another version of costeff, which had no --{}; that version can go on with "
          "it",
          flag);
    if (key == "out" || run.at(key) == value) continue;
    differences.push_back(fmt::format("--{} {} (the run has {})", flag, value.dump(), run.at(key).dump()));
  }
  if (!differences.empty()) {
    fail_usage("a resumed run keeps its settings; these differ: {}", fmt::join(differences, ", "));
  }
}

// A word that the shell reads as it stands.
std::string shell_word(const std::string& word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("/._-+=:,@").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string quoted(1, '\'');
  for (const char c : word) {
    if (c == '\'') {
      quoted.append("'\\''");
    } else {
      quoted.push_back(c);
    }
  }
  quoted.push_back('\'');
  return quoted;
}

}  // namespace costeff
