// How an audit of gradients is shown: for the terminal, for programs, as a page.
#pragma once

#include <string>

#include "costeff/audit/gradients.h"
#include "costeff/audit/identities.h"
#include "costeff/json.h"

namespace costeff {

struct GradientFindings {
  audit::GradientAudit audit;
  audit::Identities identities;
  std::string model, task, loss;  // what was audited, in words
  std::string command;            // that does it again
};

std::string gradients_text(const GradientFindings& findings);
Json gradients_json(const GradientFindings& findings);
std::string gradients_page(const GradientFindings& findings);

// The three answers that all of these begin with.
struct Answer {
  std::string question;
  std::string answer;
};
std::vector<Answer> gradient_answers(const GradientFindings& findings);

}  // namespace costeff
