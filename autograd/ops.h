// The differentiable operations. Each appends one record to the tape of its inputs and returns the output; on
// constants alone it just computes. Forward and backward of each stand together, with the formula, in
// ops_<family>.cpp.
//
// Dtypes are f32 or f64, the same for all inputs of an operation, and so is their device. Index and label
// tensors are i32 and on the CPU: they are checked there, and the operation copies them to its device. A
// shape or a device that does not fit throws Error naming the operation and the inputs. [..., n] means any
// leading dimensions.
#pragma once

#include <optional>
#include <span>

#include "autograd/tape.h"

namespace costeff {

// Those that somebody looks for on a tape: a record's op is compared by address.
extern const Op kAdd, kScale, kGradientRescale, kLinear, kBiasGelu, kLayerNorm, kFusedLayerNorm, kEmbedding,
    kAddEmbeddings;

// ---- arithmetic (ops_arithmetic.cpp)
Variable add(const Variable& a, const Variable& b);           // a + b, equal shapes
Variable multiply(const Variable& a, const Variable& b);      // a b elementwise, equal shapes
Variable scale(const Variable& x, double factor);             // factor x
Variable gradient_rescale(const Variable& x, double factor);  // x; its gradient times factor (COST-EFF Eq. 3)
Variable detach(const Variable& x);                           // x as a constant: no gradient passes
Variable sum(const Variable& x);                              // scalar
Variable mean(const Variable& x);                             // scalar
Variable dropout(const Variable& x, const Dropout& dropout);  // x where kept / (1 - p), 0 elsewhere
Variable reshape(const Variable& x, const Shape& shape);      // the same elements

// ---- matrix products (ops_linear.cpp)
// a [m, k] b [k, n], or for each of a leading batch [batch, m, k] [batch, k, n]; `trans_b`: b is [n, k].
Variable matmul(const Variable& a, const Variable& b, bool trans_b = false);
// x [rows, in] weight [out, in]^T, + bias [out]
Variable linear(const Variable& x, const Variable& weight, Precision precision = Precision::full);
Variable linear(const Variable& x, const Variable& weight, const Variable& bias,
                Precision precision = Precision::full);

// ---- activations (ops_activation.cpp)
Variable tanh(const Variable& x);
Variable gelu(const Variable& x);                             // x Phi(x)
Variable bias_gelu(const Variable& x, const Variable& bias);  // gelu(x + bias), x [rows, n], bias [n]
Variable softmax(const Variable& x);                          // over the last dimension
Variable log_softmax(const Variable& x);

// ---- normalisation (ops_norm.cpp), over the last dimension
Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon);
// layer_norm(dropout(x + bias) + residual)
Variable bias_dropout_residual_layer_norm(const Variable& x, const Variable& bias, const Dropout& dropout,
                                          const Variable& residual, const Variable& gamma,
                                          const Variable& beta, double epsilon);

// ---- rows (ops_rows.cpp)
// table [V, n], ids [rows] -> [rows, n]; throws on an id outside
Variable embedding(const Variable& table, const Tensor& ids);
// x [rows, n], index [k] -> [k, n]
Variable gather_rows(const Variable& x, const Tensor& index);
// any number of [*, n] -> [sum, n]
Variable concat_rows(std::span<const Variable> parts);
// x + a[ia] + b[ib]: position and segment embeddings onto word embeddings
Variable add_embeddings(const Variable& x, const Variable& a, const Tensor& ia, const Variable& b,
                        const Tensor& ib);
// each sequence's [CLS]: [tokens, n] -> [sequences, n]
Variable first_rows(const Variable& x, const LayoutPtr& layout);
// mean over each sequence's real rows: [tokens, n] -> [sequences, n]
Variable sequence_mean(const Variable& x, const LayoutPtr& layout);

// ---- attention (ops_attention.cpp)
// softmax(q k^T / sqrt(head_dim)) v for each head within each sequence, qkv [tokens, 3 * heads * head_dim] ->
// [tokens, heads * head_dim]. `dropout` acts on the probabilities. Saves "probabilities" or, in bf16,
// "log_sums": AttentionForward::kept in tensor/kernels.h.
Variable attention(const Variable& qkv, std::int64_t heads, const Dropout& dropout, const LayoutPtr& layout,
                   Precision precision = Precision::full);

// ---- losses (ops_loss.cpp): means over rows, scalars
// logits [rows, classes], labels i32 [rows]
Variable cross_entropy(const Variable& logits, const Tensor& labels);
// -mean over rows of softmax(teacher / T) . log_softmax(logits / T); no gradient to the teacher, no factor
// T^2
Variable soft_cross_entropy(const Variable& logits, const Tensor& teacher, double temperature);
// mean over all elements of (a - b)^2
Variable mean_squared_error(const Variable& a, const Variable& b);
// sum over rows of weights[r] |a_r - b_r|^2, a and b [rows, n], weights [rows] of their dtype, a constant
Variable weighted_squared_error(const Variable& a, const Variable& b, const Tensor& weights);

}  // namespace costeff
