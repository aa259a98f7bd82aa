// Settings as JSON and back, and values that make no sense.
#include "costeff/settings.h"

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;

constexpr Stage kStage = Stage::finetune;

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
  EXPECT_THROW(settings_from_json(kStage, {{"epochs", 18446744073709551615u}}, {}), UsageError);
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
      {"--save-dtype", [](auto& s) { s.save_dtype = "f8"; }},
      {"--labels", [](auto& s) { s.labels = "a,b"; }},
      {"--task", [](auto& s) { s.task = ""; }},
  };
  for (const auto& [flag, change] : cases) {
    Settings s = good();
    change(s);
    const std::string message = message_of<UsageError>([&, &settings = s] { check(kStage, settings); });
    EXPECT_EQ(message.rfind(flag, 0), 0U) << message;
  }
}

}  // namespace
}  // namespace costeff
