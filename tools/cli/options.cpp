#include "tools/cli/options.h"

#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <sstream>
#include <utility>

#include "data/nearest.h"
#include "tensor/error.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 100;
constexpr unsigned kDescriptionWidth = 60;

}  // namespace

Options::Options(std::string usage, std::string about) : usage_(std::move(usage)), about_(std::move(about)) {}

void Options::group(const std::string& title) {
  groups_.emplace_back(title, kHelpWidth, kDescriptionWidth);
}

void Options::add(const std::string& name, const std::string& argument, const OptionTarget& target,
                  const std::string& help, const OptionDetails& details) {
  po::value_semantic* semantic = nullptr;
  if (target.is_switch) {
    semantic = new po::untyped_value(true);
  } else {
    auto* value = po::value<std::string>()->value_name(argument);
    const std::string shown = details.shown.value_or(target.shown);
    if (!shown.empty()) value->default_value("", shown);
    semantic = value;
  }
  groups_.back().add_options()(name.c_str(), semantic, help.c_str());
  options_.insert_or_assign(name, Option{target, details.least});
}

void Options::flag(const std::string& name, bool* target, const std::string& help) {
  add(name, "", target, help);
}

void Options::positional(const std::string& argument, std::string* target) {
  positional_name_ = argument;
  positional_ = target;
}

void Options::positionals(const std::string& argument, std::vector<std::string>* target) {
  positional_name_ = argument;
  positionals_ = target;
}

std::string Options::help() const {
  std::ostringstream text;
  text << about_ << "\n\nUsage: " << usage_ << "\n";
  for (const auto& group : groups_) text << "\n" << group;
  return text.str();
}

void Options::unknown(const std::string& flag) const {
  std::vector<std::string> names = {"--help"};
  for (const auto& [name, option] : options_) names.push_back("--" + name);
  fail_usage("unknown flag {}; the nearest is {} (--help lists all)", flag, nearest(flag, names));
}

bool Options::parse(const std::vector<std::string>& arguments) {
  po::options_description all;
  for (const auto& group : groups_) all.add(group);
  all.add_options()("help,h", "");
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    const po::parsed_options parsed = po::command_line_parser(arguments).options(all).style(style).run();
    for (const po::option& option : parsed.options) {
      const std::string text = option.value.empty() ? "" : option.value.front();
      const std::string& name = option.string_key;
      if (name == "help") {
        write_output(help());
        return false;
      }
      if (name.empty()) {
        if (positionals_ == nullptr && (positional_ == nullptr || !positional_texts_.empty()))
          fail_usage("unexpected argument \"{}\"", text);
        positional_texts_.push_back(text);
        continue;
      }
      if (text.starts_with("--") && options_.contains(text.substr(2))) {
        fail_usage("--{} needs a value, but {} follows", name, text);
      }
      const std::string value = options_.at(name).target.is_switch ? "true" : text;
      if (!given_.emplace(name, value).second) fail_usage("--{} stands twice", name);
    }
  } catch (const po::unknown_option& error) {
    unknown(error.get_option_name());
  } catch (const po::error& error) {
    throw UsageError(error.what());
  }
  return true;
}

void Options::apply() const {
  for (const auto& [name, text] : given_) {
    const Option& option = options_.at(name);
    option.target.assign("--" + name, text, option.least);
  }
  if (positional_name_.empty()) return;
  if (positional_texts_.empty() || positional_texts_[0].empty())
    fail_usage("{} is missing: {}", positional_name_, usage_);
  if (positional_ != nullptr) *positional_ = positional_texts_[0];
  if (positionals_ != nullptr) *positionals_ = positional_texts_;
}

}  // namespace costeff
