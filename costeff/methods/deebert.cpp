// DeeBERT (Xin et al., ACL 2020), as its published code has it.
//
//   finetune  the pre-trained BERT with its pooler and one classifier: labels
//   exits     that model with an exit after each layer before the last, each a pooler of its own (dense,
//   tanh, on
//             [CLS]) and a classifier: labels, summed over these exits; nothing else learns, though clipping
//             counts the gradients of everything
//
// The exits' poolers begin as copies of the pre-trained model's, not of the fine-tuned one's. The published
// model has an untrained exit beside its classifier after the last layer, which is left out here: the
// classifier is exit L.
#include "costeff/methods/method_list.h"
#include "costeff/train/classifier.h"
#include "costeff/train/student.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using Exits = LossTerm::Exits;

std::vector<Phase> finetune_phases(const Settings& s, const BertConfig&, std::int64_t steps_per_epoch) {
  Phase phase = make_phase("labels", s, s.epochs * steps_per_epoch, s.lr);
  phase.loss = {labels_term(1, Exits::last)};
  return limited({std::move(phase)}, s);
}

std::vector<Phase> exit_phases(const Settings& s, const BertConfig& model, std::int64_t steps_per_epoch) {
  if (model.layers() < 2) fail_usage("DeeBERT: a model of one layer has no earlier exit");
  Phase phase = make_phase("exits", s, s.epochs * steps_per_epoch, s.lr);
  phase.loss = {labels_term(1, Exits::early)};
  phase.equalise = false;
  phase.exits_only = true;
  phase.clip_by_all = true;
  return limited({std::move(phase)}, s);
}

// Exit L goes on with the fine-tuned pooler and classifier, the others with the pre-trained pooler.
void copy_poolers(const Settings& s, Bert& student) {
  const auto plain = [&](const std::string& path) {
    return load_classifier(path, {.dtype = student.parameters().dtype(),
                                  .labels = student.config().labels,
                                  .own_exits = false,
                                  .seed = s.seed});
  };
  const Classifier fine_tuned = plain(s.model), pre_trained = plain(s.pretrained);
  const std::int64_t last = student.config().layers();
  for (const NamedTensor& target : student.parameters().named()) {
    WeightRole role = target.role;
    if (role.part != Part::exit_dense && !(role.part == Part::exit_classifier && role.exit == last)) continue;
    const Bert& from = role.exit == last ? *fine_tuned.model : *pre_trained.model;
    role.exit = last;
    const Tensor source = from.parameters().find(role).value();
    if (!(source.shape() == target.value().shape())) {
      fail("{}: its pooler is {}, an exit's {}", s.pretrained, to_string(source.shape()),
           to_string(target.value().shape()));
    }
    target.value().copy_from(source);
  }
}

// As published: batches of 8, three epochs at 2e-5 without warm-up and weight decay, in both stages.
Settings published() {
  Settings s;
  s.epochs = 3;
  s.lr = 2e-5;
  s.batch = 8;
  s.warmup = 0;
  s.weight_decay = 0;
  s.adam_variant = AdamVariant::transformers;
  return s;
}

Settings with_poolers(Settings s) {
  s.pooling = PoolingChoice::cls;
  s.pooler_dense = true;
  return s;
}

StageSpec finetune() {
  return {.name = "finetune",
          .title = "Fine-tuning",
          .uses = kTraining,
          .exits = StudentExits::none,
          .defaults = published(),
          .phases = finetune_phases,
          .selects_best = false,
          .role = ModelRole::fine_tuned,
          .model_name = "fine-tuned"};
}

StageSpec exits() {
  return {.name = "exits",
          .title = "Exits",
          .uses = kTraining | kCopiesPooler,
          .student = "finetune",
          .exits = StudentExits::fresh,
          .defaults = with_poolers(published()),
          .phases = exit_phases,
          .prepare = copy_poolers,
          .selects_best = false,
          .role = ModelRole::full_depth,
          .model_name = "DeeBERT, full depth"};
}

// What is not published: the sentences that a threshold is chosen on.
void held_out(const StageSpec&, Settings& s) {
  s.holdout = 400;
}

// For the shipped sample: larger batches, and rates that go with them.
void quick(const StageSpec& stage, Settings& s) {
  held_out(stage, s);
  s.batch = 32;
  s.lr = stage.name == "exits" ? 1e-3 : 5e-5;
}

}  // namespace

Method deebert_method() {
  return {.name = "deebert",
          .title = "DeeBERT",
          .paper = "Xin et al., DeeBERT, ACL 2020",
          .about = "Fine-tunes a pre-trained BERT, then trains an exit after each layer on it as it stands.",
          .stages = {finetune(), exits()},
          .recipes = {{"published", "the published rates, epochs and batches", held_out},
                      {"quick", "minutes, for thousands of sentences", quick}},
          .early_name = "DeeBERT, early exit"};
}

}  // namespace costeff
