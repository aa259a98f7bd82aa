// costeff tokenize: what a model reads instead of the text.
#include <cstddef>
#include <filesystem>
#include <string>

#include "costeff/train/run_folder.h"
#include "data/tokenizer.h"
#include "tools/cli/commands.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

// A vocabulary by its file takes the settings that lie beside it, as its folder does.
Tokenizer open_vocabulary(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_directory(path, error)) return Tokenizer::from_folder(path);
  const fs::path file = path;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const bool has_settings = fs::exists(folder / "tokenizer_config.json", error);
  if (file.filename() == "vocab.txt" && has_settings) return Tokenizer::from_folder(folder.string());
  return Tokenizer::from_file(path);
}

}  // namespace

int run_tokenize(const Invocation& invocation) {
  std::string vocabulary = default_model();
  Settings settings;
  Options options("costeff tokenize --vocab FILE [options] < TEXTS",
                  "Cuts texts into word pieces: a line of standard input is a text, or two with a tab "
                  "between them. Each\n"
                  "gets a line of JSON with the ids that a model reads: ids and token_type_ids.");
  options.group("Options");
  options.add("vocab", "PATH", &vocabulary,
              "vocabulary file (vocab.txt: with the tokenizer_config.json beside it), or a model's folder");
  add_setting(options, settings, &Settings::max_length, {.shown = "no limit"});
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  require_model(vocabulary);
  const Tokenizer tokenizer = open_vocabulary(vocabulary);
  const std::size_t limit =
      options.given("max-length") ? static_cast<std::size_t>(settings.max_length) : Tokenizer::kNoLimit;

  InputTexts texts;
  const bool interactive = input_is_terminal();
  for (InputText text; texts.next(text);) {
    const Encoding encoding =
        text.pair ? tokenizer.encode(text.text, *text.pair, limit) : tokenizer.encode(text.text, limit);
    write_output(Json{{"ids", encoding.ids}, {"token_type_ids", encoding.token_type_ids}}.dump() + "\n");
    if (interactive) flush_output();
  }
  return 0;
}

}  // namespace costeff
