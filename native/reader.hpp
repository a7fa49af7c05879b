// Reader: one reader of one table, and how old the rows were that its look-ups gave it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>

#include "stamp.hpp"

namespace carls {

// Bucket 0 counts the values below 1, bucket b those from 2^(b-1) on and below 2^b.
constexpr size_t kBuckets = 64;
using Histogram = std::array<uint64_t, kBuckets>;

struct ReaderCounts {
    uint64_t lookups = 0, keys = 0;
    uint64_t created = 0, missed = 0, stale = 0;  // keys by what became of them; the others were fresh
    // Of look-ups that said their step, rows read, that is neither created by them nor missed:
    uint64_t ahead = 0;        // the row's step is above the reader's
    uint64_t unsaid = 0;       // nobody ever said the row's step
    Histogram steps{};         // of the others, the reader's step minus the row's
    Histogram milliseconds{};  // of all rows read, the time since the last write
};

class Reader {
public:
    // Counts one look-up of n keys; at_step is the reader's own step. Thread-safe.
    void count(const RowMeta *meta, size_t n, const std::optional<int64_t> &at_step) {
        Tallies tallies;
        uint64_t found = 0, created = 0, fresh = 0;
        for (size_t from = 0; from < n; from += kBlock) {
            const size_t rows = std::min(n - from, kBlock);
            // Rows with a step are ahead of all readers' steps below 0 alike.
            const uint32_t truths = at_step ? add(tallies, meta + from, rows, std::max<int64_t>(*at_step, -1))
                                            : add(tallies, meta + from, rows);
            found += truths & 0xff;
            created += truths >> 8 & 0xff;
            fresh += truths >> 16 & 0xff;
        }
        // Rows that were not read have age 0 and no step; they were counted as such.
        const uint64_t unread = n - found + created;

        const std::lock_guard<std::mutex> lock(mutex_);
        ++counts_.lookups;
        counts_.keys += n;
        counts_.created += created;
        counts_.missed += n - found;
        counts_.stale += found - created - fresh;
        for (const Tally &tally : tallies) {
            for (size_t b = 0; b < kBuckets; ++b) counts_.milliseconds[b] += tally.milliseconds[b];
        }
        counts_.milliseconds[0] -= unread;
        if (!at_step) return;
        for (const Tally &tally : tallies) {
            counts_.ahead += tally.steps[kAhead];
            counts_.unsaid += tally.steps[kUnsaid];
            for (size_t b = 0; b < kBuckets; ++b) counts_.steps[b] += tally.steps[b];
        }
        counts_.unsaid -= unread;
    }

    // Counts one look-up of n points, for `missed` of which there was nothing to find. Thread-safe.
    void count_points(uint64_t n, uint64_t missed) {
        const std::lock_guard<std::mutex> lock(mutex_);
        ++counts_.lookups;
        counts_.keys += n;
        counts_.missed += missed;
    }

    ReaderCounts counts() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return counts_;
    }

private:
    // Places behind the buckets.
    static constexpr size_t kAhead = kBuckets, kUnsaid = kBuckets + 1;
    // Rows whose truths add up without a carry from one byte to the next.
    static constexpr size_t kBlock = 252;

    struct Tally {
        uint32_t milliseconds[kBuckets] = {}, steps[kBuckets + 2] = {};
    };
    // Rows that follow each other count in tallies of their own: they mostly meet in one bucket,
    // and adding to what was stored just before makes the processor wait.
    using Tallies = std::array<Tally, 4>;

    // The sum of the rows' truths; `at_step` is there or not.
    template <class... Step>
    static uint32_t add(Tallies &tallies, const RowMeta *meta, size_t n, Step... at_step) {
        uint32_t truths = 0;
        size_t i = 0;
        for (; i + tallies.size() <= n; i += tallies.size()) {
            for (size_t t = 0; t < tallies.size(); ++t) truths += add(tallies[t], meta[i + t], at_step...);
        }
        for (; i < n; ++i) truths += add(tallies[0], meta[i], at_step...);
        return truths;
    }
    static uint32_t add(Tally &tally, const RowMeta &row, int64_t at_step) {
        ++tally.steps[step_bucket(row.step, at_step)];
        return add(tally, row);
    }
    static uint32_t add(Tally &tally, const RowMeta &row) {
        ++tally.milliseconds[age_bucket(row.age)];
        return row.truths;
    }

    // By the exponent of the number of milliseconds. An age is a number of ticks of 0.1 ms, rounded
    // once; of 2^k ms, this product is 2^k itself. 40 bits of ticks stay far below the last bucket.
    static size_t age_bucket(double seconds) {
        const double milliseconds = seconds * 1000.0;
        uint64_t bits;
        std::memcpy(&bits, &milliseconds, sizeof bits);
        return static_cast<size_t>(std::max<int64_t>(static_cast<int64_t>(bits >> 52) - 1022, 0));
    }

    static size_t step_bucket(int64_t row_step, int64_t at_step) {
        if (row_step < 0) return kUnsaid;
        if (row_step > at_step) return kAhead;
        const uint64_t behind = static_cast<uint64_t>(at_step - row_step);
        // Its bit length: twice the number plus one, which is never 0, has one bit more.
        return static_cast<size_t>(63 - __builtin_clzll(2 * behind + 1));
    }

    mutable std::mutex mutex_;
    ReaderCounts counts_;
};

}  // namespace carls
