// Changes: which rows of a table were written, made or removed since somebody last took notice.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "layout.hpp"

namespace carls {

// Row numbers by stripe, each once. Under the stripe's lock: its write lock for all that is not const.
class Changes {
public:
    void note(uint32_t s, uint32_t number) {
        Stripe &stripe = stripes_[s];
        const size_t word = number / 64;
        if (word >= stripe.known.size()) stripe.known.resize(word + 1 + stripe.known.size() / 2);
        const uint64_t bit = uint64_t{1} << (number % 64);
        if ((stripe.known[word] & bit) != 0) return;
        stripe.fresh.push_back(number);
        stripe.known[word] |= bit;
        count_.fetch_add(1, std::memory_order_relaxed);
    }

    // Those since the last turn are pending until they are settled; there may be none pending. What
    // changes from now on is noted anew.
    const std::vector<uint32_t> &take(uint32_t s) {
        Stripe &stripe = stripes_[s];
        stripe.pending.swap(stripe.fresh);
        for (const uint32_t number : stripe.pending) stripe.known[number / 64] &= ~(uint64_t{1} << (number % 64));
        return stripe.pending;
    }
    void settle(uint32_t s) {
        count_.fetch_sub(stripes_[s].pending.size(), std::memory_order_relaxed);
        stripes_[s].pending.clear();
    }

    // Fresh and pending ones together, each once.
    std::vector<uint32_t> all(uint32_t s) const {
        const Stripe &stripe = stripes_[s];
        std::vector<uint32_t> numbers(stripe.fresh);
        for (const uint32_t number : stripe.pending) {
            if ((stripe.known[number / 64] >> (number % 64) & 1) == 0) numbers.push_back(number);
        }
        return numbers;
    }

    // In all stripes. Waits for nobody.
    uint64_t count() const { return count_.load(std::memory_order_relaxed); }

private:
    struct alignas(64) Stripe {
        std::vector<uint64_t> known;  // a bit for each row number that is fresh
        std::vector<uint32_t> fresh, pending;
    };
    Stripe stripes_[kStripes];
    std::atomic<uint64_t> count_{0};
};

}  // namespace carls
