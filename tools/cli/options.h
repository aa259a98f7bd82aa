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
#include <variant>
#include <vector>

#include "tensor/choice.h"

namespace costeff {

struct OptionDetails {
  std::optional<std::string> shown;  // what --help gives as the default, instead of the value; "" for none
  std::int64_t least = std::numeric_limits<std::int64_t>::min();  // of whole numbers
};

class Options {
 public:
  // A target that is one of a few names.
  struct ChoiceTarget {
    template <Choice E>
    ChoiceTarget(E* target)  // NOLINT: converts, as the other targets do
        : shown(name_of(*target)),
          assign([target](const std::string& text) {
            const std::optional<E> value = find_choice<E>(text);
            if (value) *target = *value;
            return value.has_value();
          }),
          names(choices<E>()) {}
    std::string shown;
    std::function<bool(const std::string& text)> assign;  // false for another name
    std::string names;
  };
  using Target = std::variant<std::string*, std::int64_t*, std::uint64_t*, double*, ChoiceTarget>;

  Options(std::string usage, std::string about);

  void group(const std::string& title);  // the options that follow belong to it
  void add(const std::string& name, const std::string& argument, Target target, const std::string& help,
           OptionDetails details = {});
  void flag(const std::string& name, bool* target, const std::string& help);
  // One argument without a flag; throws UsageError in apply() when it is not given.
  void positional(const std::string& argument, std::string* target);

  // Reads the command line; false if --help was asked for and printed. Targets stay as they are. Throws
  // UsageError for a flag that is unknown (with the nearest one), stands twice, or lacks its value, and for a
  // stray argument.
  bool parse(const std::vector<std::string>& arguments);
  // Writes the given values to their targets. Throws UsageError for a value that is not what its target
  // holds.
  void apply() const;

  bool given(const std::string& name) const { return given_.contains(name); }
  std::string help() const;

 private:
  struct Option {
    std::variant<Target, bool*> target;
    OptionDetails details;
  };

  [[noreturn]] void unknown(const std::string& flag) const;

  std::string usage_;
  std::string about_;
  std::deque<boost::program_options::options_description> groups_;
  std::map<std::string, Option> options_;
  std::map<std::string, std::string> given_;  // name -> text
  std::string positional_name_;
  std::string* positional_ = nullptr;
  std::optional<std::string> positional_text_;
};

// The whole text as a number; nothing for other text, infinities and nan, and what the type cannot hold.
std::optional<double> parse_real(std::string_view text);
std::optional<std::int64_t> parse_integer(std::string_view text);

}  // namespace costeff
