// What the audits of a model have in common on the command line: which model, sentences and loss.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "costeff/audit/identities.h"
#include "costeff/audit/subject.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/document.h"

namespace costeff {

struct SubjectOptions {
  audit::SubjectSettings settings;
  std::string stage = "ta";
  std::string dtype = "f32";
};

// Without `stage_loss` there are no options of what a stage's loss is made of: the audit has losses of its
// own.
void add_subject_options(Options& options, SubjectOptions& subject, bool stage_loss = true);
// The subject that was asked for, loaded, after options.apply(); lines about its files go to stderr, as
// `command`. Sets the number of threads. Throws as load_subject() does.
audit::Subject load_subject(const SubjectOptions& subject, std::string_view command);

// The command that makes all of it again: "costeff audit path --from ...", quoted for a shell.
std::string command_of(std::string_view command, const Invocation& invocation);

// ---- what an audit ends in

struct Outputs {
  std::string json = {}, html = {};
  bool draws = true;  // the page has pictures, which need gnuplot
};
void add_outputs(Options& options, Outputs& outputs);

// Before a long computation. Throws Error, naming the first of these files that cannot be written: its folder
// is not there or not writable, or it is a folder itself. Empty names are skipped.
void require_writable(std::initializer_list<std::string> files);
// The same of the outputs, and of gnuplot, which draws a page's pictures.
void require_outputs(const Outputs& outputs);
// The file whole or not at all. Throws Error when it cannot be written.
void write_audit_file(const std::string& path, const std::string& text);
// Prints the document and writes what was asked for; the exit code, 1 if there are faults. Bytes that are not
// UTF-8 (in names of files) become U+FFFD in JSON.
int deliver(Document& document, const Outputs& outputs);

std::vector<Note> notes_of(const std::vector<audit::Fault>& faults);

}  // namespace costeff
