// The options of a command: named groups in --help, strict values, errors that name the flag.
//
//   Options options("costeff greet [options]", "Greets.");
//   options.group("Whom");
//   options.add("name", "NAME", &name, "who is greeted");          // the default is what `name` holds now
//   options.add("times", "N", &times, "how often", {.least = 1});
//   if (!options.parse(arguments)) return 0;                        // --help, printed
//   options.apply();
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "costeff/train/value.h"

namespace costeff {

struct OptionDetails {
  std::optional<std::string> shown;  // what --help gives as the default, instead of the value; "" for none
  double least = -std::numeric_limits<double>::infinity();  // of numbers
};

// Where an option's value goes: any type that read_value() reads.
struct OptionTarget {
  template <class T>
  OptionTarget(T* target)  // NOLINT: converts
      : is_switch(std::is_same_v<T, bool>),
        shown(value_text(*target)),
        assign([target](const std::string& flag, const std::string& text, double least) {
          read_value(flag, std::string_view(text), *target);
          if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
            const NumberRange range{.least = least};
            const auto value = static_cast<double>(*target);
            if (value < least) fail_usage("{} {}: must be {}", flag, text, range.text());
          }
        }) {}

  bool is_switch;  // given or not, without a value
  std::string shown;
  std::function<void(const std::string& flag, const std::string& text, double least)> assign;
};

class Options {
 public:
  Options(std::string usage, std::string about);

  void group(const std::string& title);  // the options that follow belong to it
  void add(const std::string& name, const std::string& argument, const OptionTarget& target,
           const std::string& help, const OptionDetails& details = {});
  void flag(const std::string& name, bool* target, const std::string& help);
  // One argument without a flag; throws UsageError in apply() when it is not given.
  void positional(const std::string& argument, std::string* target);
  // One or more of them.
  void positionals(const std::string& argument, std::vector<std::string>* target);

  // Reads the command line; false if --help was asked for and printed. Targets stay as they are. Throws
  // UsageError for a flag that is unknown (with the nearest one), stands twice, or lacks its value, and for a
  // stray argument.
  bool parse(const std::vector<std::string>& arguments);
  // Writes the given values to their targets. Throws UsageError for a value that is not what its target
  // holds.
  void apply() const;

  bool given(const std::string& name) const { return given_.contains(name); }
  // What was given, as it stands.
  const std::string& text(const std::string& name) const { return given_.at(name); }
  std::string help() const;

 private:
  struct Option {
    OptionTarget target;
    double least;
  };

  [[noreturn]] void unknown(const std::string& flag) const;

  std::string usage_;
  std::string about_;
  std::deque<boost::program_options::options_description> groups_;
  std::map<std::string, Option> options_;
  std::map<std::string, std::string> given_;  // name -> text
  std::string positional_name_;
  std::string* positional_ = nullptr;
  std::vector<std::string>* positionals_ = nullptr;
  std::vector<std::string> positional_texts_;
};

}  // namespace costeff
