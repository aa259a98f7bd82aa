// How commands speak of a model's sizes, and of numbers too long to be read digit by digit.
#pragma once

#include <cstdint>
#include <string>

#include "costeff/train/run_folder.h"
#include "nn/bert_config.h"

namespace costeff {

std::string grouped(std::int64_t number);  // "1,234,567"
std::string scaled(double number);         // four digits and a unit: "22.35 G", "1.538 k", "812"
// A number without a fraction, as an integer where it is below 2^63.
Json whole(double number);

// Whether heads do not fill the hidden size, layers differ, or the word embedding is a product.
bool is_slender(const BertConfig& config);
std::string kind_of_model(const BertConfig& config);  // "slender multi-exit BERT"
// "hidden 768, vocabulary 30522 of rank 128, 512 positions, 2 token types"
std::string sizes_text(const BertConfig& config);

// {"first", "last", "pooling", "hidden_mode", "last_n_hidden", "pooler_dense"}; null without exits
Json exits_json(const BertConfig& config);
// "1 to 12, each on [CLS] of the last 2 states side by side, through a dense layer"
std::string exits_text(const BertConfig& config);

}  // namespace costeff
