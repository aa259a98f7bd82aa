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
  std::string memory;             // what filled Adam's m and v: "20 other batches, weights held fixed"
  std::string command;            // that does it again
};

std::string gradients_text(const GradientFindings& findings);
Json gradients_json(const GradientFindings& findings);
std::string gradients_page(const GradientFindings& findings);
std::string gradient_words(const GradientFindings& findings);  // the page's glossary, HTML

// The three answers that all of these begin with.
struct Answer {
  std::string question;
  std::string verdict;  // in a few words, for a headline: "exits do not fight"
  std::string answer;
};
std::vector<Answer> gradient_answers(const GradientFindings& findings);
// The verdicts as a sentence.
std::string gradient_headline(const GradientFindings& findings);

// How far equalisation changes Adam's update at most, over layers, where it is said to do so "hardly" and "a
// little": in length, as |ratio - 1|, and in direction, as the least cosine.
struct Change {
  double length, cosine;
};
inline constexpr Change kHardly{0.1, 0.95}, kLittle{0.3, 0.9};

std::string setting_text(const GradientFindings& findings);  // "4 batches, Adam's memory from ..."
std::string layer_text(std::int64_t layer);                  // "embeddings", "layer 3"

}  // namespace costeff
