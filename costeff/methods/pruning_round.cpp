#include "costeff/methods/pruning_round.h"

#include <algorithm>

#include "costeff/methods/importance.h"
#include "costeff/train/stage_data.h"
#include "costeff/train/teacher.h"
#include "tensor/philox.h"

namespace costeff {
namespace {

constexpr std::uint32_t kCalibration = 2, kRandomScores = 3;  // purposes of random draws

// Scores drawn at random: what importance is compared with.
ImportanceScores random_scores(const BertConfig& config, std::uint64_t seed, std::int64_t round) {
  const auto low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
  std::uint32_t next = 0;
  const auto draw_layer = [&](std::int64_t width) {
    std::vector<double> scores;
    for (std::int64_t i = 0; i < width; ++i) {
      scores.push_back(
          philox4x32({next++, static_cast<std::uint32_t>(round), kRandomScores, 0}, {low, high})[0]);
    }
    return scores;
  };
  ImportanceScores scores;
  for (const std::int64_t width : config.heads) scores.heads.push_back(draw_layer(width));
  for (const std::int64_t width : config.ffn) scores.neurons.push_back(draw_layer(width));
  return scores;
}

ImportanceScores scores_for_round(const Surgery& at) {
  const Settings& s = at.settings;
  if (s.importance == ImportanceKind::random) return random_scores(at.student.config(), s.seed, at.round);
  const bool release = s.importance == ImportanceKind::release;
  const bool last = s.importance == ImportanceKind::last_exit || s.exit_losses == ExitLosses::last;
  const std::vector<LossTerm> terms =
      importance_terms(s.importance_hard, s.temperature, last ? LossTerm::Exits::last : LossTerm::Exits::all,
                       release ? FeatureMean::padded : FeatureMean::real_tokens);
  const auto purpose = static_cast<std::uint32_t>(kCalibration + (at.round << 8));
  const auto sample = draw(static_cast<std::size_t>(s.calibration), at.train.size(), s.seed, purpose);
  Importance importance(at.student, release ? UnitSum::release : UnitSum::paper, s.precision);
  const auto size = static_cast<std::size_t>(s.batch);
  Batch batch;
  for (std::size_t begin = 0; begin < sample.size(); begin += size) {
    fill_batch(at.train, std::span(sample).subspan(begin, std::min(size, sample.size() - begin)),
               std::nullopt, batch);
    importance.add(batch, [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
      const MultiExitOutputs outputs = multi_exit(at.student, forward, tokens, !s.no_equalise);
      return sum_of_terms(terms, outputs, at.teacher(b, tokens), b, tokens.layout);
    });
  }
  return importance.scores();
}

// How often each word piece occurs in the training data, and a little for those that do not.
std::vector<double> piece_weights(const EncodedDataset& train, std::int64_t vocabulary) {
  constexpr double kUnseen = 0.1;
  std::vector<double> weights(static_cast<std::size_t>(vocabulary), kUnseen);
  for (const std::int32_t id : train.ids) weights[static_cast<std::size_t>(id)] += 1;
  return weights;
}

}  // namespace

SlenderSizes sizes_of(const BertConfig& c) {
  return {*std::max_element(c.heads.begin(), c.heads.end()), *std::max_element(c.ffn.begin(), c.ffn.end()),
          c.embedding_rank < 0 ? c.hidden_size : c.embedding_rank};
}

std::int64_t rounds_of(const Settings& s, std::int64_t full_heads) {
  constexpr std::int64_t kWithoutHeads = 4;
  if (s.rounds > 0) return s.rounds;
  return full_heads > s.heads ? full_heads - s.heads : kWithoutHeads;
}

std::vector<LossTerm> importance_terms(double hard, double temperature, LossTerm::Exits exits,
                                       FeatureMean mean) {
  std::vector<LossTerm> terms;
  if (hard < 1) terms.push_back(logits_term(1 - hard, temperature, exits));
  if (hard > 0) terms.push_back(labels_term(hard, exits));
  terms.push_back(states_term(mean));
  return terms;
}

std::unique_ptr<Bert> slenderise(const Surgery& at) {
  const Settings& s = at.settings;
  const SlenderSizes sizes = sizes_after(at.round, at.rounds, sizes_of(at.full), {s.heads, s.ffn, s.rank});
  const ImportanceScores scores = scores_for_round(at);
  const Kept kept = s.budget == Budget::global ? keep_globally(scores, sizes.heads, sizes.ffn)
                                               : keep_per_layer(scores, sizes.heads, sizes.ffn);
  std::unique_ptr<Bert> slender = prune(at.student, kept);
  if (sizes.rank < 0) return slender;
  std::vector<double> weights;
  if (s.embedding == EmbeddingKind::weighted)
    weights = piece_weights(at.train, at.student.config().vocab_size);
  return factorise(*slender, sizes.rank, weights);
}

}  // namespace costeff
