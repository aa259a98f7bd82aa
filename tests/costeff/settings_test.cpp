// Settings as JSON and back, and values that make no sense.
#include "costeff/methods/costeff.h"
#include "costeff/train/settings_table.h"
#include "costeff/train/stage.h"
#include "data/task.h"
#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;

const Uses kStage = kTraining;

Settings good() {
  Settings s;
  s.model = "m";
  s.task = "SST-2";
  s.data = "d";
  s.out = "o";
  return s;
}

TEST(Settings, JsonRoundTrip) {
  Settings s = good();
  s.lr = 3e-5;
  s.seed = 18446744073709551615u;
  s.bucket = true;
  EXPECT_EQ(to_json(kStage, settings_from_json(kStage, to_json(kStage, s), {})), to_json(kStage, s));
  EXPECT_THROW(settings_from_json(kStage, {{"learning_rate", 1}}, {}), UsageError);
  EXPECT_THROW(settings_from_json(kStage, {{"lr", "high"}}, {}), UsageError);
  EXPECT_THROW(settings_from_json(kStage, {{"epochs", 1.5}}, {}), UsageError);
  EXPECT_THROW(settings_from_json(kStage, {{"seed", -1}}, {}), UsageError);
  EXPECT_THROW(settings_from_json(kStage, {{"save_dtype", "f8"}}, {}), UsageError);
  EXPECT_THROW(settings_from_json(kStage, {{"save_dtype", 8}}, {}), UsageError);
  EXPECT_THROW(settings_from_json(kStage, {{"epochs", 18446744073709551615u}}, {}), UsageError);
}

// What each fidelity makes of every "auto": the table of docs/fidelity.md.
TEST(Settings, FidelityDecidesWhatIsAuto) {
  struct Row {
    const char* stage;
    Fidelity fidelity;
    Prediction prediction;
    ImportanceKind importance;
    EmbeddingKind embedding;
    double feature_epochs;
  };
  for (const Row& row :
       {Row{"assist", Fidelity::paper, Prediction::soft, ImportanceKind::paper, EmbeddingKind::plain, 0},
        Row{"assist", Fidelity::release, Prediction::both, ImportanceKind::release, EmbeddingKind::plain, 2},
        Row{"assist", Fidelity::tuned, Prediction::soft, ImportanceKind::paper, EmbeddingKind::weighted, 0},
        Row{"slenderise", Fidelity::paper, Prediction::soft, ImportanceKind::paper, EmbeddingKind::plain, 0},
        Row{"slenderise", Fidelity::release, Prediction::soft, ImportanceKind::release, EmbeddingKind::plain,
            0},
        Row{"slenderise", Fidelity::tuned, Prediction::soft, ImportanceKind::paper, EmbeddingKind::weighted,
            0},
        Row{"recover", Fidelity::paper, Prediction::soft, ImportanceKind::paper, EmbeddingKind::plain, 6},
        Row{"recover", Fidelity::release, Prediction::soft, ImportanceKind::release, EmbeddingKind::plain, 6},
        Row{"recover", Fidelity::tuned, Prediction::none, ImportanceKind::paper, EmbeddingKind::weighted,
            0}}) {
    const std::string what = fmt::format("{} {}", row.stage, name_of(row.fidelity));
    const StageSpec& stage = costeff_stage(row.stage);
    Settings s = stage.defaults;
    s.fidelity = row.fidelity;
    s.epochs = 6;
    s.lr = 3e-4;
    const Settings now = decided(stage, s);
    EXPECT_EQ(now.prediction, row.prediction) << what;
    if ((stage.uses.bits & kSlenderises) != 0) {
      EXPECT_EQ(now.importance, row.importance) << what;
      EXPECT_EQ(now.importance_hard, row.fidelity == Fidelity::paper ? 0 : 0.1) << what;
      EXPECT_EQ(now.embedding, row.embedding) << what;
    }
    EXPECT_EQ(now.feature_epochs, row.feature_epochs) << what;
    EXPECT_EQ(now.feature_lr, 3e-4) << what;
    Settings alone = s;
    alone.no_features = true;
    EXPECT_NE(decided(stage, alone).prediction, Prediction::none) << what << ": something must be learned";
    EXPECT_EQ(now.pooling, PoolingChoice::automatic) << "the model decides";

    s.prediction = Prediction::hard;
    s.importance = ImportanceKind::random;
    s.importance_hard = 0.25;
    s.embedding = row.embedding == EmbeddingKind::plain ? EmbeddingKind::weighted : EmbeddingKind::plain;
    s.feature_epochs = 1.5;
    s.feature_lr = 1e-3;
    EXPECT_EQ(to_json(stage.uses, decided(stage, s)), to_json(stage.uses, s)) << "what is said stays";
    s.no_features = true;
    EXPECT_EQ(decided(stage, s).feature_epochs, 0) << what;
  }
}

TEST(Settings, WhatMakesNoSenseIsRefusedByFlag) {
  check(kStage, good());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<const char*, std::function<void(Settings&)>>> cases = {
      {"--lr", [&](auto& s) { s.lr = nan; }},
      {"--lr", [](auto& s) { s.lr = -1; }},
      {"--batch", [](auto& s) { s.batch = 0; }},
      {"--batch", [](auto& s) { s.batch = 1 << 20; }},
      {"--epochs", [](auto& s) { s.epochs = std::int64_t{1} << 62; }},
      {"--accumulate", [](auto& s) { s.accumulate = std::int64_t{1} << 40; }},
      {"--threads", [](auto& s) { s.threads = (std::int64_t{1} << 32) + 1; }},
      {"--warmup", [](auto& s) { s.warmup = 1e30; }},
      {"--dropout", [](auto& s) { s.dropout = 1; }},
      {"--max-norm", [&](auto& s) { s.max_norm = nan; }},
      {"--pad-to", [](auto& s) { s.pad_to = 64; }},
      {"--labels", [](auto& s) { s.labels = "a,b"; }},
      {"--task", [](auto& s) { s.task = ""; }},
  };
  for (const auto& [flag, change] : cases) {
    Settings s = good();
    change(s);
    const std::string message = message_of<UsageError>([&, &settings = s] { check(kStage, settings); });
    EXPECT_EQ(message.rfind(flag, 0), 0U) << message;
  }
  Settings s = costeff_stage("slenderise").defaults;
  for (std::string* text : {&s.model, &s.data, &s.out, &s.task, &s.teacher}) *text = "there";
  s.heads = s.ffn = s.rank = 1;
  check(costeff_stage("slenderise").uses, s);
  s.importance_hard = 1.5;
  EXPECT_THAT(message_of<UsageError>([&] { check(costeff_stage("slenderise").uses, s); }),
              ::testing::StartsWith("--importance-hard"));
}

// A setting that nobody has yet, as a row more in a copy of the table: of files, checks and names nothing
// else is to be done. (tests/tools/options_test.cpp has its flag and its line in the docs.)
TEST(Settings, ANewOneIsARow) {
  std::vector<Setting> table(settings_table().begin(), settings_table().end());
  table.push_back({"patience",
                   &Settings::max_steps,
                   kTeacher,
                   SettingGroup::training,
                   "N",
                   "evaluations to wait",
                   {.least = 0, .most = 9}});
  Settings s = good();
  s.teacher = "t";
  s.max_steps = 7;
  const Json json = to_json(costeff_stage("recover").uses, s, table);
  EXPECT_EQ(json.at("patience"), 7);
  EXPECT_FALSE(to_json(costeff_stage("finetune").uses, s, table).contains("patience"));
  EXPECT_FALSE(to_json(costeff_stage("recover").uses, s).contains("patience"));
  EXPECT_EQ(settings_from_json(costeff_stage("recover").uses, {{"patience", 5}}, {}, table).max_steps, 5);
  EXPECT_THROW(settings_from_json(costeff_stage("recover").uses, {{"patience", "5"}}, {}, table), UsageError);
  EXPECT_THROW(settings_from_json(costeff_stage("finetune").uses, {{"patience", 5}}, {}, table), UsageError);
  set(setting_named(costeff_stage("recover").uses, "patience", table), "8", s);
  EXPECT_EQ(s.max_steps, 8);
  check_values(costeff_stage("recover").uses, s, table);
  s.max_steps = 10;
  EXPECT_EQ(message_of<UsageError>([&] { check_values(costeff_stage("recover").uses, s, table); }),
            "--patience 10: must be from 0 to 9");
}

TEST(Settings, TextIsReadStrictly) {
  Settings s;
  const auto refuses = [&](const char* name, const char* text) {
    const std::string message =
        message_of<UsageError>([&] { set(setting_named(costeff_stage("slenderise").uses, name), text, s); });
    EXPECT_THAT(message, ::testing::StartsWith(setting_named(costeff_stage("slenderise").uses, name).flag() +
                                               " " + text + ": "));
  };
  refuses("lr", "5x");
  refuses("epochs", "1.5");
  refuses("seed", "-1");
  refuses("no_features", "yes");
  refuses("importance", "taylor");
  set(setting_named(costeff_stage("slenderise").uses, "no-features"), "true", s);
  set(setting_named(costeff_stage("slenderise").uses, "importance"), "last-exit", s);
  EXPECT_TRUE(s.no_features);
  EXPECT_EQ(s.importance, ImportanceKind::last_exit);
  EXPECT_THAT(message_of<UsageError>([&] { setting_named(costeff_stage("slenderise").uses, "hedas"); }),
              ::testing::HasSubstr("nearest is \"heads\""));
  EXPECT_THROW(setting_named(costeff_stage("finetune").uses, "heads"), UsageError);
}

TEST(Settings, RowsAreOfMembersOfTheirOwn) {
  for (const Setting& a : settings_table()) {
    EXPECT_EQ(&setting_of(a.field), &a) << a.name;
    EXPECT_EQ(std::string_view(a.argument).empty(), std::holds_alternative<bool Settings::*>(a.field))
        << a.name;
  }
  EXPECT_THAT(setting_of(&Settings::task).help,
              ::testing::EndsWith(fmt::format("{}", fmt::join(task_names(), ", "))));
}

TEST(NumberRange, Holds) {
  const NumberRange rank{.least = 1, .most = 9, .also = -1}, above{.least = 0, .above = true},
      share{.least = 0, .most = 1, .below = true}, any;
  for (const double x : {-1.0, 1.0, 9.0}) EXPECT_TRUE(rank.holds(x)) << x;
  for (const double x : {-2.0, 0.0, 10.0, std::nan("")}) EXPECT_FALSE(rank.holds(x)) << x;
  EXPECT_TRUE(above.holds(1e-300));
  EXPECT_FALSE(above.holds(0));
  EXPECT_TRUE(share.holds(0));
  EXPECT_FALSE(share.holds(1));
  EXPECT_TRUE(any.holds(-1e300));
  EXPECT_FALSE(any.holds(std::numeric_limits<double>::infinity()));
  EXPECT_EQ(rank.text(), "from 1 to 9, or -1");
  EXPECT_EQ(above.text(), "above 0");
  EXPECT_EQ(share.text(), "from 0 to below 1");
  EXPECT_EQ(any.text(), "");
}

}  // namespace
}  // namespace costeff
