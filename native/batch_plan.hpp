// BatchPlan: which keys of a batch belong to which stripe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "layout.hpp"

namespace carls {

// Positions of a batch grouped by stripe, in their order within each.
struct BatchPlan {
    std::vector<uint64_t> hashes;
    std::vector<uint32_t> order;
    uint32_t begin[kStripes + 1];
    uint32_t stripe_bits;

    template <class Keys>
    BatchPlan(const Keys &keys, size_t n, uint32_t bits = kStripeBits)
        : hashes(n), order(n), begin{}, stripe_bits(bits) {
        for (size_t i = 0; i < n; ++i) {
            hashes[i] = keys.hash(i);
            ++begin[stripe_of(hashes[i]) + 1];
        }
        group(n, [](size_t k) { return static_cast<uint32_t>(k); });
    }

    // Those at `chosen` of another plan's positions.
    BatchPlan(const BatchPlan &whole, const std::vector<uint32_t> &chosen)
        : hashes(whole.hashes), order(chosen.size()), begin{}, stripe_bits(whole.stripe_bits) {
        for (const uint32_t i : chosen) ++begin[stripe_of(whole.hashes[i]) + 1];
        group(chosen.size(), [&](size_t k) { return chosen[k]; });
    }

    uint32_t stripe_of(uint64_t hash) const {
        return static_cast<uint32_t>(hash >> (64 - kStripeBits)) >> (kStripeBits - stripe_bits);
    }
    uint32_t size(uint32_t stripe) const { return begin[stripe + 1] - begin[stripe]; }
    // The stripe after that one which has a part of the batch, or kStripes.
    uint32_t next(uint32_t stripe) const {
        do ++stripe;
        while (stripe < kStripes && size(stripe) == 0);
        return stripe;
    }
    const uint32_t *positions(uint32_t stripe) const { return order.data() + begin[stripe]; }

private:
    // From the stripes' sizes, in begin[stripe + 1], to their beginnings and the order of positions.
    template <class Position>
    void group(size_t n, Position position) {
        for (uint32_t s = 0; s < kStripes; ++s) begin[s + 1] += begin[s];
        uint32_t next[kStripes];
        std::copy(begin, begin + kStripes, next);
        for (size_t k = 0; k < n; ++k) order[next[stripe_of(hashes[position(k)])]++] = position(k);
    }
};

// Stripes that a batch has still to go to.
struct StripeList {
    uint32_t count = 0;
    uint8_t stripes[kStripes];

    explicit StripeList(const BatchPlan &plan) {
        for (uint32_t s = 0; s < kStripes; ++s) {
            if (plan.size(s) != 0) stripes[count++] = static_cast<uint8_t>(s);
        }
    }

    // Calls visit(stripe) for each; those stay for which it returns true.
    template <class Visit>
    void keep(Visit visit) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; ++i) {
            if (visit(stripes[i])) stripes[kept++] = stripes[i];
        }
        count = kept;
    }
};

}  // namespace carls
