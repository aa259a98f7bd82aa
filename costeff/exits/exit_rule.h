// When a sequence leaves a multi-exit model: by what an exit says of it, and what the exits before said.
#pragma once

#include <cstdint>
#include <span>

namespace costeff {

struct ExitRule {
  enum class Kind : std::uint8_t {
    entropy,     // leaves where the entropy of softmax(z_i) is below `threshold`, in nats (DeeBERT, COST-EFF)
    confidence,  // leaves where the largest probability is above `threshold`
    patience,    // leaves at the `patience`-th exit in a row that answers as the one before it (PABEE); 0:
                 // never
  };
  Kind kind = Kind::entropy;
  double threshold = 0;
  std::int64_t patience = 0;
  double tolerance = 0;  // of patience with a regression: answers less than this apart are equal
};
ExitRule entropy_below(double threshold);
ExitRule confidence_above(double threshold);
ExitRule patience_of(std::int64_t exits, double tolerance = 0);

// What a rule knows of a sequence from exit to exit; a new one for each sequence.
struct ExitMemory {
  double answer = 0;        // of the exit before: a class, or a regression's value
  std::int64_t agreed = 0;  // exits in a row that answered as the one before
  bool any = false;         // there was an exit before
};

// Whether a sequence leaves at an exit with these logits [labels]; called for each exit in turn. Whatever the
// rule, exit L answers.
bool leaves(const ExitRule& rule, std::span<const double> logits, ExitMemory& memory);

// Throws UsageError if a threshold is negative or nan, a patience negative, or if there is one output and the
// rule needs classes: a regression has no entropy, and always answers at exit L.
void check_rule(const ExitRule& rule, std::int64_t labels);

// Entropy of softmax(logits) in nats: -sum p ln p with 0 ln 0 = 0; nan if a logit is nan.
double entropy(std::span<const double> logits);
// ln sum e^z, without overflow.
double log_sum_exp(std::span<const double> logits);

}  // namespace costeff
