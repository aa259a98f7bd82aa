#include "tools/cli/options.h"

#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <charconv>
#include <cmath>
#include <sstream>
#include <system_error>
#include <utility>

#include "tensor/error.h"
#include "tools/cli/nearest.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 100;
constexpr unsigned kDescriptionWidth = 60;

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string shown_default(const Options::Target& target) {
  if (const auto* choice = std::get_if<Options::ChoiceTarget>(&target)) return choice->shown;
  std::string text = std::visit(
      [](const auto& value) {
        if constexpr (std::is_pointer_v<std::decay_t<decltype(value)>>) return fmt::format("{}", *value);
        return std::string();
      },
      target);
  const std::size_t exponent = text.find("e-0");  // 5e-05 as one types it
  if (exponent != std::string::npos && std::holds_alternative<double*>(target)) text.erase(exponent + 2, 1);
  return text;
}

void assign(const std::string& name, const std::string& text, const OptionDetails&, std::string* target) {
  if (text.empty()) fail_usage("--{} is empty", name);
  *target = text;
}

void assign(const std::string& name, const std::string& text, const OptionDetails&,
            const Options::ChoiceTarget& target) {
  if (!target.assign(text)) fail_usage("--{} {}: must be one of {}", name, text, target.names);
}

void assign(const std::string& name, const std::string& text, const OptionDetails&, double* target) {
  const std::optional<double> value = parse_real(text);
  if (!value) fail_usage("--{} {}: not a finite number", name, text);
  *target = *value;
}

void assign(const std::string& name, const std::string& text, const OptionDetails& details,
            std::int64_t* target) {
  const std::optional<std::int64_t> value = parse_integer(text);
  if (!value) fail_usage("--{} {}: not a whole number from -2^63 to 2^63 - 1", name, text);
  if (*value < details.least) fail_usage("--{} {}: must be at least {}", name, text, details.least);
  *target = *value;
}

void assign(const std::string& name, const std::string& text, const OptionDetails&, std::uint64_t* target) {
  const auto value = parse_number<std::uint64_t>(text);
  if (!value) fail_usage("--{} {}: not a whole number from 0 to 2^64 - 1", name, text);
  *target = *value;
}

}  // namespace

std::optional<double> parse_real(std::string_view text) {
  const auto value = parse_number<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  return parse_number<std::int64_t>(text);
}

Options::Options(std::string usage, std::string about) : usage_(std::move(usage)), about_(std::move(about)) {}

void Options::group(const std::string& title) {
  groups_.emplace_back(title, kHelpWidth, kDescriptionWidth);
}

void Options::add(const std::string& name, const std::string& argument, Target target,
                  const std::string& help, OptionDetails details) {
  auto* value = po::value<std::string>()->value_name(argument);
  const std::string shown = details.shown ? *details.shown : shown_default(target);
  if (!shown.empty()) value->default_value("", shown);
  groups_.back().add_options()(name.c_str(), value, help.c_str());
  options_[name] = {target, std::move(details)};
}

void Options::flag(const std::string& name, bool* target, const std::string& help) {
  groups_.back().add_options()(name.c_str(), new po::untyped_value(true), help.c_str());
  options_[name] = {target, {}};
}

void Options::positional(const std::string& argument, std::string* target) {
  positional_name_ = argument;
  positional_ = target;
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
        if (positional_ == nullptr || positional_text_) fail_usage("unexpected argument \"{}\"", text);
        positional_text_ = text;
        continue;
      }
      if (text.starts_with("--") && options_.contains(text.substr(2))) {
        fail_usage("--{} needs a value, but {} follows", name, text);
      }
      if (!given_.emplace(name, text).second) fail_usage("--{} stands twice", name);
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
    if (bool* const* flag = std::get_if<bool*>(&option.target)) {
      **flag = true;
      continue;
    }
    std::visit(
        [&, &key = name, &value = text](const auto& target) { assign(key, value, option.details, target); },
        std::get<Target>(option.target));
  }
  if (positional_ == nullptr) return;
  if (!positional_text_ || positional_text_->empty())
    fail_usage("{} is missing: {}", positional_name_, usage_);
  *positional_ = *positional_text_;
}

}  // namespace costeff
