// Which loss moves which part of a multi-exit model, with and without gradient equalisation (COST-EFF Eq. 3),
// and what clipping, Adam and weight decay leave of it.
//
// Each batch is one forward pass and one walk back over its tape, with a lane (autograd/lanes.h) per term of
// the loss and one for the loss whole, all of these twice: as recorded (equalised), and with rescale records
// passing gradients on as they are (plain). Inner products of the lanes are added up parameter by parameter;
// no lane's gradient of the whole model is ever held.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <vector>

#include "costeff/audit/groups.h"
#include "costeff/audit/loss_roots.h"
#include "data/batches.h"
#include "nn/bert.h"
#include "nn/optimizer.h"

namespace costeff::audit {

enum Variant : std::uint8_t { plain, equalised };
inline constexpr std::array<Variant, 2> kVariants = {plain, equalised};

struct GradientSettings {
  double max_norm = 1;  // of clipping; 0: none
  AdamWOptions adam = {};
  double learning_rate = 1e-4;
  std::string checkpoint;  // optimiser state of a run's checkpoint, of its equalised or plain training ...
  Variant checkpoint_of = equalised;
  std::int64_t checkpoint_steps = 0;
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
  const std::atomic<bool>* stop = nullptr;  // set from outside: throws Error
};

// The training loss of a batch, recorded with equalisation's rescale records.
using AuditedLoss = std::function<Variable(Forward& forward, const Batch& batch, const TokenBatch& tokens)>;

// A term of the loss, as the audit found it.
struct AuditedRoot {
  std::string name, kind;
  std::int64_t place = 0;  // exit, or layer of the features
  double coefficient = 1;  // in the loss
  bool reaches = false;    // a parameter of a layer or of the embeddings; false: it is detached from them
};

// Sums over batches, of one part of the model. Roots are in the order of GradientAudit::roots, their
// gradients times their coefficient: sum_j g_j = g.
struct GroupSums {
  Group group;
  std::int64_t parameters = 0;  // scalars, mean over batches, rounded down: of tables, in the rows read
  double weights = 0;           // |w|^2
  double decayed = 0;           // |w|^2 of those that decay

  struct Sums {
    std::vector<double> square;       // |g_j|^2
    std::vector<double> joint_with;   // <g_j, g>
    double joint = 0;                 // |g|^2
    double gap = 0;                   // |g - sum_j g_j|^2
    double clipped = 0;               // |clip g|^2
    std::vector<double> update_with;  // <u_j, u>: u_j what g_j adds to Adam's update u
    double history_with = 0;          // <u_h, u>: u_h what Adam's memory adds to it
    double update = 0;                // |u|^2
    double undamped = 0;              // |u|^2 with epsilon = 0
    double near_epsilon = 0;          // elements whose sqrt(v) is below 100 epsilon
    double elements = 0;
  };
  std::array<Sums, 2> of;                        // by Variant
  std::vector<double> crossed;                   // <g_j equalised, g_j plain>
  double updates_crossed = 0;                    // <u equalised, u plain>
  std::vector<double> gram;                      // [roots, roots] <g_i, g_j>, plain
  std::vector<std::vector<double>> batch_grams;  // of each batch: they add up to gram
};

struct GradientAudit {
  std::int64_t layers = 0;
  std::int64_t batches = 0;
  DType dtype = DType::f32;
  std::vector<AuditedRoot> roots;
  std::vector<GroupSums> groups;    // ascending
  std::array<double, 2> norm = {};  // root mean square over batches of |g|, all parameters
  std::array<double, 2> clip = {};  // mean scale of clipping
  // The smallest and largest scale of a batch, those that filled Adam's memory included.
  std::array<double, 2> least_clip = {1, 1}, most_clip = {0, 0};
  std::array<std::int64_t, 2> steps = {};  // that Adam's moments have seen
  std::array<bool, 2> has_moments = {};    // false: nothing is said of Adam
  double learning_rate = 0;
  double max_norm = 0;  // of clipping; 0: none
  AdamWOptions adam = {};
};

// `warm`: batches from which Adam's moments are made, with the weights as they are, before the first batch.
// Throws Error when the loss has other terms in one batch than in another, and as its parts do.
GradientAudit audit_gradients(const Bert& model, std::span<const Batch> batches, std::span<const Batch> warm,
                              const AuditedLoss& loss, const GradientSettings& settings);

}  // namespace costeff::audit
