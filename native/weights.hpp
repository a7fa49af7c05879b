// Weights: how likely the rows of a population are to be drawn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "population.hpp"

namespace carls {

// What each rank weighs under a strategy: weights do not ascend with the rank. They are summed from the
// last rank on, the small ones first, so that what is left after heavy ranks are taken away is exact.
class Weights {
public:
    enum class Kind { Uniform, LogUniform, Frequency };

    Weights(const Population &population, Kind kind, double alpha)
        : kind_(kind), alpha_(alpha), weights_(population.size()), tails_(population.size() + 1) {
        const size_t n = population.size();
        for (size_t r = 0; r < n; ++r) weights_[r] = weigh(r, population.count(r));
        for (size_t r = n; r-- > 0;) tails_[r] = tails_[r + 1] + weights_[r];
        blocks_ = n <= kSingles ? n : static_cast<size_t>(std::max(kSingles / 2.0, std::sqrt(8.0 * static_cast<double>(n))));
        depth_ = n == 0 ? 0 : (n + blocks_ - 1) / blocks_;
        by_block_.resize(blocks_ * depth_);
        sums_.resize(blocks_);
        for (size_t b = 0; b < blocks_; ++b) {
            for (size_t r = b, at = b * depth_; r < n; r += blocks_) sums_[b] += by_block_[at++] = weights_[r];
        }
    }

    size_t size() const { return weights_.size(); }
    double operator[](size_t rank) const { return weights_[rank]; }
    // Of ranks from `first` on, below `end`.
    double sum(size_t first, size_t end) const { return tails_[first] - tails_[end]; }
    // What one more row would weigh that nobody has looked up: the last one.
    double of_new_row() const { return weigh(size(), 0); }
    uint64_t bytes() const { return 8 * (weights_.size() + tails_.size() + by_block_.size() + sums_.size()); }

    // The rank within [first, end) where that mass, counted from `end` down, is reached.
    size_t find(size_t first, size_t end, double mass) const {
        const double target = tails_[end] + mass;
        // The first rank whose tail is the target or less is the one behind it.
        const auto behind = std::partition_point(tails_.begin() + static_cast<int64_t>(first) + 1,
                                                 tails_.begin() + static_cast<int64_t>(end),
                                                 [&](double tail) { return tail > target; });
        return static_cast<size_t>(behind - tails_.begin()) - 1;
    }

    // Blocks of ranks: block b has the ranks b, b + blocks(), b + 2 * blocks(), ..., at places b * depth() and
    // following. Places without a rank weigh nothing.
    size_t blocks() const { return blocks_; }
    size_t depth() const { return depth_; }
    size_t place(size_t rank) const { return rank % blocks_ * depth_ + rank / blocks_; }
    size_t rank(size_t place) const { return place / depth_ + place % depth_ * blocks_; }
    const std::vector<double> &by_place() const { return by_block_; }
    const std::vector<double> &block_sums() const { return sums_; }

private:
    static constexpr double kSingles = 2048;  // up to so many ranks, each is a block

    double weigh(size_t rank, uint32_t count) const {
        switch (kind_) {
            case Kind::Uniform: return 1;
            case Kind::LogUniform: return std::log1p(1 / (static_cast<double>(rank) + 1));
            default: return std::pow(static_cast<double>(std::max(count, 1u)), alpha_);
        }
    }

    const Kind kind_;
    const double alpha_;
    std::vector<double> weights_, tails_, by_block_, sums_;
    size_t blocks_, depth_;
};

}  // namespace carls
