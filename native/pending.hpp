// Pending: gradients that wait in a table to be applied together, as their mean.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "kernels.hpp"
#include "records.hpp"

namespace carls {

// When contributions are applied that nobody looks at, and which of them are outliers;
// carls/specs/aggregation.py says what each means.
struct Aggregation {
    bool lazy;             // false: gradients are applied as they come, and nothing ever waits
    uint32_t max_pending;
    uint64_t max_delay;    // ticks
    double outlier_factor;
    bool drop_outliers;    // rather than clip them
};

struct PendingCounts {
    std::atomic<uint64_t> waiting{0};    // contributions now
    std::atomic<uint64_t> clipped{0};    // steps whose gradient the optimizer clipped, so far
    std::atomic<uint64_t> outliers{0};   // contributions clipped or dropped for their norm, so far
    std::atomic<uint64_t> discarded{0};  // contributions that went with their rows, so far
};

// The norms of one push's contributions, and what the table's pushes before it had.
struct PushNorms {
    double mean;  // of the pushes before; 0 while there are too few
    double most;  // that a contribution may feed the table's mean with
    double sum = 0;
    uint64_t count = 0;
};

// The sums of the rows that have contributions waiting, beside the rows: most rows of a large table have none,
// and those that do are found without a look at the others. Each stripe has its own, oldest first. All
// that takes a stripe is called under its write lock.
class Pending {
public:
    // `share`: bytes that the sums of a stripe may take; there is room for some in any case.
    Pending(const Records &records, const Aggregation &aggregation, uint64_t share)
        : records_(records), aggregation_(aggregation),
          sum_bytes_((static_cast<uint32_t>(sizeof(Sum)) + records.vector().dim * 4 + 7) & ~7u),
          per_chunk_(std::max(kChunkBytes / sum_bytes_, 1u)),
          max_chunks_(std::clamp<uint64_t>(share / chunk_bytes(), 1, kNone / per_chunk_ - 1)),
          pools_(aggregation.lazy ? new Pool[kStripes] : nullptr) {}

    PendingCounts counts;

    bool lazy() const { return aggregation_.lazy; }
    // Whether anything waits in the table.
    bool any() const { return counts.waiting.load(std::memory_order_relaxed) != 0; }
    bool any(uint32_t s) const { return lazy() && length(s) != 0; }
    // Rows of the stripe that something waits for. Needs no lock.
    uint32_t length(uint32_t s) const { return pools_[s].length.load(std::memory_order_relaxed); }
    // Whether something waits for the row. Under the stripe's lock.
    bool holds(const RowHeader *row) const { return lazy() && records_.contributions(row)->pending != 0; }
    uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    // First contributions from before here have waited long enough.
    uint64_t due(uint64_t now) const { return now > aggregation_.max_delay ? now - aggregation_.max_delay : 0; }

    // A push begins, and ends. Under no lock.
    PushNorms begin() {
        const std::lock_guard<std::mutex> guard(mutex_);
        const double mean = table_.mean_norm;
        return {table_.seen >= kKnown ? mean : 0, mean == 0 ? HUGE_VAL : aggregation_.outlier_factor * mean};
    }
    void end(const PushNorms &push) {
        if (push.count == 0) return;
        const std::lock_guard<std::mutex> guard(mutex_);
        feed(table_, push.sum / static_cast<double>(push.count));
    }

    // Takes a contribution at `now`. Returns false if it was dropped as an outlier.
    [[gnu::noinline]] bool take(uint32_t s, RowHeader *row, const float *gradient, uint64_t now, PushNorms &push) {
        const uint32_t dim = records_.vector().dim;
        std::vector<float> shorter;
        const double norm = std::sqrt(sum_of_squares(gradient, gradient, dim, Pull{1.0f, 0.0f}));
        const double most = longest(*records_.contributions(row), norm, push);
        if (norm > most) {
            counts.outliers.fetch_add(1, std::memory_order_relaxed);
            if (aggregation_.drop_outliers) return false;
            shorter.resize(dim);
            scale(shorter.data(), gradient, dim, static_cast<float>(most / norm));
            gradient = shorter.data();
        }
        uint32_t number = number_of(row);
        // Its time is over, though nobody noticed: this contribution begins anew.
        if (number != kNone && at(s, number).since <= due(now)) settle(s, row);
        number = number_of(row);
        if (number == kNone) {
            number = begin(s, row, now);
            if (number == kNone) {  // no memory at all
                step(s, row, gradient);
                return true;
            }
            std::memcpy(at(s, number).gradient(), gradient, dim * sizeof(float));
        } else {
            add_to(at(s, number).gradient(), gradient, dim);
        }
        counts.waiting.fetch_add(1, std::memory_order_relaxed);
        if (++at(s, number).count >= aggregation_.max_pending) settle(s, row);
        return true;
    }

    // Applies what waits for the row, if anything does: one step, one version.
    void settle(uint32_t s, RowHeader *row) {
        if (holds(row)) apply(s, row);
    }

    // Likewise, the rows of the stripe whose first contribution came at `latest` or before, oldest
    // first and at most `most`.
    void settle(uint32_t s, uint64_t latest, uint32_t most) {
        if (!any(s)) return;
        for (uint32_t number = pools_[s].oldest; number != kNone && most-- > 0; number = pools_[s].oldest) {
            if (at(s, number).since > latest) return;
            settle(s, at(s, number).row);
        }
    }

    // Forgets what waits for a row that goes.
    void discard(uint32_t s, RowHeader *row) {
        if (!holds(row)) return;
        counts.discarded.fetch_add(at(s, number_of(row)).count, std::memory_order_relaxed);
        end(s, row);
    }

private:
    static constexpr uint32_t kNone = UINT32_MAX, kChunkBytes = 4096;
    static constexpr uint32_t kKeptChunks = 16;  // of a stripe that has nothing waiting
    static constexpr float kKnown = 10;          // contributions, or pushes, after which their mean counts

    // What waits for one row; the sum of its contributions lies behind.
    struct Sum {
        RowHeader *row;
        uint64_t since;            // when the first contribution came
        uint32_t earlier, later;   // neighbours in the order of `since`; the next free one
        uint32_t count;

        float *gradient() { return reinterpret_cast<float *>(this + 1); }
    };
    struct alignas(64) Pool {
        std::vector<std::unique_ptr<uint8_t[]>> chunks;
        std::vector<float> wide;
        uint32_t free = kNone, oldest = kNone, newest = kNone;
        std::atomic<uint32_t> length{0};
    };

    uint32_t chunk_bytes() const { return per_chunk_ * sum_bytes_; }
    Sum &at(uint32_t s, uint32_t number) const {
        uint8_t *chunk = pools_[s].chunks[number / per_chunk_].get();
        return *reinterpret_cast<Sum *>(chunk + size_t{number % per_chunk_} * sum_bytes_);
    }
    uint32_t number_of(const RowHeader *row) const { return records_.contributions(row)->pending - 1; }

    // The mean of all norms up to the tenth, from then on an exponential one.
    static void feed(Contributions &known, double norm) {
        known.seen = std::min(known.seen + 1, kKnown);
        known.mean_norm = static_cast<float>(known.mean_norm + (norm - known.mean_norm) / known.seen);
    }

    // The longest that a contribution of that norm may be; then the norm is among those known. While a row has too
    // few of its own, the larger of its mean and the table's is the measure. The means are fed at most the
    // longest norm of the moment: so one outlier, however long, moves them little, and a lasting rise is followed
    // in steps. A gradient of zeros tells nothing.
    double longest(Contributions &known, double norm, PushNorms &push) const {
        if (norm == 0) return 0;
        const bool enough = known.seen >= kKnown;
        const double measure = enough ? known.mean_norm : std::max<double>(known.mean_norm, push.mean);
        const double most = measure == 0 ? norm : aggregation_.outlier_factor * measure;
        feed(known, std::min(norm, most));
        push.sum += std::min(norm, push.most);
        ++push.count;
        return enough || push.mean > 0 ? most : norm;
    }

    // Out of the way of tables where nothing waits.
    [[gnu::noinline]] void apply(uint32_t s, RowHeader *row) {
        Sum &sum = at(s, number_of(row));
        if (sum.count > 1) divide(sum.gradient(), records_.vector().dim, static_cast<float>(sum.count));
        step(s, row, sum.gradient());
        end(s, row);
    }

    void step(uint32_t s, RowHeader *row, const float *gradient) {
        Pool &pool = pools_[s];
        if (pool.wide.empty()) pool.wide = records_.room();
        if (records_.step(row, gradient, pool.wide)) counts.clipped.fetch_add(1, std::memory_order_relaxed);
        ++row->version;
    }

    // A sum for the row, the newest; kNone if there is no memory. If it is the limit that is in the way, the
    // oldest one is applied.
    uint32_t begin(uint32_t s, RowHeader *row, uint64_t now) {
        Pool &pool = pools_[s];
        if (pool.free == kNone && !add_chunk(pool)) {
            if (pool.oldest == kNone) return kNone;
            settle(s, at(s, pool.oldest).row);
        }
        const uint32_t number = pool.free;
        Sum &sum = at(s, number);
        pool.free = sum.later;
        sum = {row, now, pool.newest, kNone, 0};
        (pool.newest == kNone ? pool.oldest : at(s, pool.newest).later) = number;
        pool.newest = number;
        pool.length.fetch_add(1, std::memory_order_relaxed);
        records_.contributions(row)->pending = number + 1;
        return number;
    }

    void end(uint32_t s, RowHeader *row) {
        Pool &pool = pools_[s];
        const uint32_t number = number_of(row);
        Sum &sum = at(s, number);
        counts.waiting.fetch_sub(sum.count, std::memory_order_relaxed);
        (sum.earlier == kNone ? pool.oldest : at(s, sum.earlier).later) = sum.later;
        (sum.later == kNone ? pool.newest : at(s, sum.later).earlier) = sum.earlier;
        sum.later = pool.free;
        pool.free = number;
        records_.contributions(row)->pending = 0;
        if (pool.length.fetch_sub(1, std::memory_order_relaxed) != 1 || pool.chunks.size() <= kKeptChunks) return;
        bytes_.fetch_sub(pool.chunks.size() * chunk_bytes(), std::memory_order_relaxed);
        pool.chunks.clear();
        pool.free = kNone;
    }

    bool add_chunk(Pool &pool) {
        if (pool.chunks.size() >= max_chunks_) return false;
        const uint32_t first = static_cast<uint32_t>(pool.chunks.size()) * per_chunk_;
        try {
            pool.chunks.emplace_back(new uint8_t[chunk_bytes()]);
        } catch (const std::bad_alloc &) {
            return false;
        }
        bytes_.fetch_add(chunk_bytes(), std::memory_order_relaxed);
        uint8_t *chunk = pool.chunks.back().get();
        for (uint32_t k = per_chunk_; k-- > 0; pool.free = first + k) {
            new (chunk + size_t{k} * sum_bytes_) Sum{nullptr, 0, kNone, pool.free, 0};
        }
        return true;
    }

    const Records &records_;
    const Aggregation aggregation_;
    const uint32_t sum_bytes_, per_chunk_;
    const uint64_t max_chunks_;
    const std::unique_ptr<Pool[]> pools_;
    std::atomic<uint64_t> bytes_{0};
    std::mutex mutex_;
    Contributions table_{};  // the mean norms of pushes
};

}  // namespace carls
