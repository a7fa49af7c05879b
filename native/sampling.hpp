// Candidate sampling: draws ranks of a population, with known expected counts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "population.hpp"
#include "random.hpp"

namespace carls {

// Numbers of one stream of draws.
class Draws {
public:
    Draws(uint64_t key0, uint64_t key1) : random_(key0, key1) {}

    // Evenly in [0, 1).
    double unit() { return static_cast<double>(random_.next() >> 11) * 0x1p-53; }
    // Evenly in 0 .. n - 1; the error of a probability is below n * 2^-64.
    uint32_t below(uint32_t n) {
        return static_cast<uint32_t>(static_cast<unsigned __int128>(random_.next()) * n >> 64);
    }

private:
    Philox random_;
};

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
        for (size_t place = weights.depth(); place <= taken_.size(); place += weights.depth()) {
            taken_[place - 1] = weights.rank(place - 1) >= weights.size();
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

// What is to be drawn: for each of `contexts` contexts a row of n, its positives first.
struct Request {
    size_t contexts, n;
    const int64_t *starts;     // (contexts + 1) of each context's positives
    const int64_t *positives;  // ranks, or -1 for keys that have none
    std::vector<uint32_t> excluded;  // from all contexts; ascending, none twice
    bool unique;
    uint64_t seed, counter, round;  // other draws for each
};

// A context that wants more than there is.
struct Shortage {
    int64_t context = -1;
    size_t wanted = 0, there = 0;
};

// Writes ranks (contexts, n), -1 for positives, and the expected counts (contexts, n). What is expected of a positive
// is what would be if just that one were not excluded.
inline Shortage draw(const Weights &weights, const Request &request, int64_t *ranks, float *expected) {
    std::optional<Systematic> systematic;
    if (request.unique) systematic.emplace(weights, request.excluded);
    const uint64_t key = Philox(request.seed, request.counter).next();
    std::vector<uint32_t> out, own, chosen;
    for (size_t c = 0; c < request.contexts; ++c, ranks += request.n, expected += request.n) {
        Draws draws(key, request.round << 32 | c);
        const int64_t *first = request.positives + request.starts[c], *last = request.positives + request.starts[c + 1];
        const auto positives = static_cast<size_t>(last - first), m = request.n - positives;
        own.clear();
        for (const int64_t *p = first; p < last; ++p) {
            if (*p >= 0) own.push_back(static_cast<uint32_t>(*p));
        }
        std::sort(own.begin(), own.end());
        own.erase(std::unique(own.begin(), own.end()), own.end());
        out.clear();
        std::set_union(own.begin(), own.end(), request.excluded.begin(), request.excluded.end(), std::back_inserter(out));
        const Eligible eligible(weights, out);
        if (request.unique ? m > eligible.count() : m > 0 && eligible.count() == 0) {
            return {static_cast<int64_t>(c), m, eligible.count()};
        }
        for (size_t i = 0; i < positives; ++i) {
            const bool known = first[i] >= 0;
            const double weight = known ? weights[static_cast<size_t>(first[i])] : weights.of_new_row();
            ranks[i] = -1;
            expected[i] = static_cast<float>(
                request.unique ? eligible.inclusion(m, known ? static_cast<size_t>(first[i]) : weights.size(), weight)
                               : static_cast<double>(m) * (weight / (eligible.mass() + weight)));
        }
        if (!request.unique) {
            for (size_t i = positives; i < request.n; ++i) {
                const size_t rank = eligible.draw(draws);
                ranks[i] = static_cast<int64_t>(rank);
                expected[i] = static_cast<float>(static_cast<double>(m) * (weights[rank] / eligible.mass()));
            }
            continue;
        }
        Eligible::Rates rates = eligible.rates(m);
        chosen = rates.certain;
        own.insert(own.end(), rates.certain.begin(), rates.certain.end());
        systematic->draw(m - chosen.size(), rates.rate, own, draws, chosen);
        const size_t certain = rates.certain.size();
        for (size_t i = 0; i < m; ++i) {
            // In a random order: each takes a place among those before it.
            const size_t place = positives + draws.below(static_cast<uint32_t>(i + 1)), end = positives + i;
            ranks[end] = ranks[place];
            expected[end] = expected[place];
            ranks[place] = chosen[i];
            expected[place] = i < certain ? 1.0f : static_cast<float>(std::min(1.0, rates.rate * weights[chosen[i]]));
        }
    }
    return {};
}

}  // namespace carls
