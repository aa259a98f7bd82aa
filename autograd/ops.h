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
Variable linear(const Variable& x, const Variable& weight);  // x [rows, in] weight [out, in]^T
Variable linear(const Variable& x, const Variable& weight, const Variable& bias);  // + bias [out]

// ---- the same in mixed precision (ops_mixed_precision.cpp): f32 tensors, products of their values rounded
// to bf16
Variable linear_bf16(const Variable& x, const Variable& weight);
Variable linear_bf16(const Variable& x, const Variable& weight, const Variable& bias);
Variable attention_bf16(const Variable& qkv, std::int64_t heads, const Dropout& dropout,
                        const LayoutPtr& layout);  // as attention; keeps no probabilities

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
Variable embedding(const Variable& table,
                   const Tensor& ids);  // table [V, n], ids [rows] -> [rows, n]; throws on an id outside
Variable gather_rows(const Variable& x, const Tensor& index);  // x [rows, n], index [k] -> [k, n]
Variable concat_rows(std::span<const Variable> parts);         // up to 6 of [*, n] -> [sum, n]
// x + a[ia] + b[ib]: position and segment embeddings onto word embeddings
Variable add_embeddings(const Variable& x, const Variable& a, const Tensor& ia, const Variable& b,
                        const Tensor& ib);
Variable first_rows(const Variable& x,
                    const LayoutPtr& layout);  // each sequence's [CLS]: [tokens, n] -> [sequences, n]
Variable sequence_mean(const Variable& x, const LayoutPtr& layout);  // mean over each sequence's real rows

// ---- attention (ops_attention.cpp)
// softmax(q k^T / sqrt(head_dim)) v for each head within each sequence, qkv [tokens, 3 * heads * head_dim] ->
// [tokens, heads * head_dim]. `dropout` acts on the probabilities. Saves "probabilities", see
// Kernels::attention.
Variable attention(const Variable& qkv, std::int64_t heads, const Dropout& dropout, const LayoutPtr& layout);

// ---- losses (ops_loss.cpp): means over rows, scalars
Variable cross_entropy(const Variable& logits,
                       const Tensor& labels);  // logits [rows, classes], labels i32 [rows]
// -mean over rows of softmax(teacher / T) . log_softmax(logits / T); no gradient to the teacher, no factor
// T^2
Variable soft_cross_entropy(const Variable& logits, const Tensor& teacher, double temperature);
Variable mean_squared_error(const Variable& a, const Variable& b);  // mean over all elements of (a - b)^2

// sum over rows of weights[r] |a_r - b_r|^2, a and b [rows, n], weights [rows] of their dtype, a constant
Variable weighted_squared_error(const Variable& a, const Variable& b, const Tensor& weights);

}  // namespace costeff
