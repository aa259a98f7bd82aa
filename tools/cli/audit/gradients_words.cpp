// What the words on the page of a gradient audit mean.
#include "tools/cli/audit/gradients.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

// One term of the glossary.
std::string word(const char* term, const std::string& meaning) {
  return fmt::format("<dt>{}</dt><dd>{}</dd>\n", term, meaning);
}

}  // namespace

std::string gradient_words(const GradientFindings& f) {
  const audit::GradientAudit& a = f.audit;
  std::string words =
      word("Exit 3 hard, exit 3 soft, features 2",
           "The terms of the training loss: cross-entropy of exit 3 with the labels, or with the teacher’s "
           "probabilities (Eq. 4); mean squared difference of the student’s and the teacher’s hidden states "
           "after "
           "layer 2 (Eq. 5), features 0 being the embeddings’ output. Each stands with its coefficient in "
           "the loss.") +
      word("With and without equalisation",
           "Same weights, same sentences, same loss; Eq. 3 scales only what the backward pass hands on. Of L "
           "layers, layer m gets 1/(L−m+1) of its gradient; so do the embeddings, through layer 1: 1/L.") +
      word("Length, share, ratio",
           "A length is the root of the sum of squares over a layer’s weights (its exit’s own apart), of all "
           "batches end to end; ratios and shares are of such sums. Each batch is clipped by its own norm "
           "over "
           "the whole model.") +
      word("Adam’s update",
           fmt::format(
               "What the optimiser subtracts, before the learning rate and without weight decay: m̂ / (√v̂ + "
               "ε), with β1 = {:g}, β2 = {:g}, ε = {:g}, and m and v from {}; once for a training with and "
               "once for one without equalisation. The weights are those of one checkpoint; each batch here "
               "is taken "
               "as the next step from that same memory.",
               a.adam.beta1, a.adam.beta2, a.adam.epsilon, escape_markup(f.memory))) +
      word("Hardly, a little",
           fmt::format(
               "Equalisation changes Adam’s update hardly where in every layer its length changes by at "
               "most {:.0f} % and the cosine of the two is at least {:g}; a little: at most {:.0f} %, at "
               "least {:g}.",
               100 * kHardly.length, kHardly.cosine, 100 * kLittle.length, kLittle.cosine)) +
      word("Fight",
           "A pair of exits fights in a layer where its cosine is below 0 in every batch. The cosine of all "
           "batches "
           "together weighs those with long gradients more, so that it may lie outside those of single "
           "batches.");
  return "<dl>\n" + words + "</dl>\n";
}

}  // namespace costeff
