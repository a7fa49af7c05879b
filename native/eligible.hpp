// Eligible: what a context may draw, and with what probability.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "draws.hpp"
#include "weights.hpp"

namespace carls {

// The ranks that a context may draw: all but the excluded ones.
class Eligible {
public:
    // `excluded` ascends and has none twice.
    Eligible(const Weights &weights, const std::vector<uint32_t> &excluded) : weights_(weights) {
        size_t first = 0;
        for (const uint32_t rank : excluded) {
            if (rank > first) runs_.push_back({first, rank, 0});
            first = rank + size_t{1};
        }
        if (first < weights.size()) runs_.push_back({first, weights.size(), 0});
        for (size_t i = runs_.size(); i-- > 0;) {
            runs_[i].after = mass_;
            mass_ += weights.sum(runs_[i].first, runs_[i].end);
            count_ += runs_[i].end - runs_[i].first;
        }
    }

    size_t count() const { return count_; }
    double mass() const { return mass_; }

    // One of them, each with the probability weight / mass().
    size_t draw(Draws &draws) const {
        const double mass = draws.unit() * mass_;
        const auto run = std::partition_point(runs_.begin(), runs_.end() - 1, [&](const Run &r) { return r.after > mass; });
        return weights_.find(run->first, run->end, mass - run->after);
    }

    // Of m ranks drawn without replacement, rank r comes with the probability min(1, rate * weight(r)), where the
    // rate makes them m in all. The heaviest ranks may come with certainty.
    struct Rates {
        std::vector<uint32_t> certain;
        double rate = 0;
    };
    Rates rates(size_t m) const {
        Rates rates;
        rates.rate = walk(m, weights_.size(), 0, [&](size_t rank) { rates.certain.push_back(static_cast<uint32_t>(rank)); });
        return rates;
    }

    // The probability that one more rank, of that weight, would have beside them; `rank` is weights.size() for
    // a row that is not in the population.
    double inclusion(size_t m, size_t rank, double weight) const {
        bool certain = false;
        const double rate = walk(m, rank, weight, [&](size_t taken) { certain |= taken == rank; });
        return certain ? 1 : std::min(1.0, rate * weight);
    }

private:
    struct Run {
        size_t first, end;  // ranks
        double after;       // the mass of all later runs
    };

    // Calls certain(rank) for the ranks that come with certainty, the heaviest first, and returns the rate of the
    // others. `extra` is one more rank, of that weight, 0 for none.
    template <class Certain>
    double walk(size_t m, size_t extra, double weight, Certain certain) const {
        size_t run = 0, rank = runs_.empty() ? 0 : runs_[0].first;
        while (m > 0) {
            const bool more = run < runs_.size();
            const double rest = (more ? weights_.sum(rank, runs_[run].end) + runs_[run].after : 0) + weight;
            const bool is_extra = weight > 0 && (!more || extra < rank);
            if (!is_extra && !more) return 0;
            const double heaviest = is_extra ? weight : weights_[rank];
            if (heaviest * static_cast<double>(m) <= rest) return static_cast<double>(m) / rest;
            certain(is_extra ? extra : rank);
            --m;
            if (is_extra) {
                weight = 0;
            } else if (++rank == runs_[run].end && ++run < runs_.size()) {
                rank = runs_[run].first;
            }
        }
        return 0;
    }

    const Weights &weights_;
    std::vector<Run> runs_;
    double mass_ = 0;
    size_t count_ = 0;
};

}  // namespace carls
