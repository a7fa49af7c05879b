// Systematic: draws without replacement.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "draws.hpp"
#include "weights.hpp"

namespace carls {

// Draws without replacement: systematic sampling (Madow, Annals of Mathematical Statistics 20, 1949) over a
// random order. The probabilities of all ranks lie end to end on a line; the points u, u + 1, u + 2, ... for one u in
// [0, 1) choose the ranks that they fall on, so each is chosen with just its probability, whatever the order.
// The order is random block by block (see Weights), so that the work does not grow with the table.
class Systematic {
public:
    Systematic(const Weights &weights, const std::vector<uint32_t> &excluded)
        : weights_(weights), taken_(weights.by_place().size()), sums_(weights.block_sums()), order_(sums_.size()) {
        for (uint32_t b = 0; b < order_.size(); ++b) order_[b] = b;
        // The last places of some blocks are without a rank.
        for (size_t b = 1; b <= order_.size(); ++b) {
            const size_t last = b * weights.depth() - 1;
            taken_[last] = weights.rank(last) >= weights.size();
        }
        take(excluded);
        saved_.clear();
    }

    // Puts `m` ranks that are drawn at that rate behind `chosen`; never those in `out`.
    void draw(size_t m, double rate, const std::vector<uint32_t> &out, Draws &draws, std::vector<uint32_t> &chosen) {
        if (m == 0) return;
        take(out);
        const size_t before = chosen.size(), wanted = before + m;
        double line = 0, point = draws.unit();
        const auto blocks = static_cast<uint32_t>(order_.size());
        for (uint32_t t = 0; t < blocks && chosen.size() < wanted; ++t) {
            std::swap(order_[t], order_[t + draws.below(blocks - t)]);
            const double end = line + rate * sums_[order_[t]];
            if (end > point) {
                const size_t first = order_[t] * weights_.depth();
                for (size_t place = first; place < first + weights_.depth() && point < end; ++place) {
                    if (taken_[place] != 0) continue;
                    line += rate * weights_.by_place()[place];
                    if (line <= point || chosen.size() == wanted) continue;
                    chosen.push_back(static_cast<uint32_t>(weights_.rank(place)));
                    ++point;
                }
            }
            line = end;
        }
        // The line may end a rounding error before the last point.
        for (size_t r = 0; chosen.size() < wanted; ++r) {
            if (taken_[weights_.place(r)] == 0 && std::find(chosen.begin() + static_cast<int64_t>(before), chosen.end(), r) == chosen.end()) {
                chosen.push_back(static_cast<uint32_t>(r));
            }
        }
        give_back(out);
    }

private:
    struct Saved {
        size_t block;
        double sum;
    };

    // Takes ranks out, and their weights out of their blocks: summed anew, as what is left may be small.
    void take(const std::vector<uint32_t> &ranks) {
        for (const uint32_t rank : ranks) {
            const size_t place = weights_.place(rank), block = place / weights_.depth();
            if (taken_[place]++ == 0) saved_.push_back({block, sums_[block]});
        }
        for (const Saved &saved : saved_) {
            double &sum = sums_[saved.block] = 0;
            const size_t first = saved.block * weights_.depth();
            for (size_t place = first; place < first + weights_.depth(); ++place) {
                if (taken_[place] == 0) sum += weights_.by_place()[place];
            }
        }
    }
    void give_back(const std::vector<uint32_t> &ranks) {
        for (const uint32_t rank : ranks) --taken_[weights_.place(rank)];
        for (const Saved &saved : saved_) sums_[saved.block] = saved.sum;
        saved_.clear();
    }

    const Weights &weights_;
    std::vector<uint8_t> taken_;  // by place, as often as it was taken out
    std::vector<double> sums_;
    std::vector<uint32_t> order_;
    std::vector<Saved> saved_;
};

}  // namespace carls
