// What the audits of a model have in common on the command line: which model, sentences and loss.
#pragma once

#include <string>

#include "costeff/audit/subject.h"
#include "tools/options.h"

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

// What the audits write to files: the file whole or not at all. Throws Error when it cannot be written.
void write_audit_file(const std::string& path, const std::string& text);

}  // namespace costeff
