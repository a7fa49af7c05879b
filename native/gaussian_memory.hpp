// A memory of Gaussian clusters that points look up, move and make.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "clusters.hpp"
#include "distances.hpp"
#include "kernels.hpp"

namespace carls {

// The least of n numbers; those that are NaN do not count.
CARLS_VECTOR inline float least_of(const float *row, size_t n) {
    float least[16];
    for (float &lane : least) lane = std::numeric_limits<float>::infinity();
    const size_t whole = n & ~size_t{15};
    for (size_t i = 0; i < whole; i += 16) {
        for (size_t k = 0; k < 16; ++k) least[k] = row[i + k] < least[k] ? row[i + k] : least[k];
    }
    for (size_t i = whole; i < n; ++i) least[0] = row[i] < least[0] ? row[i] : least[0];
    for (size_t k = 1; k < 16; ++k) least[0] = least[k] < least[0] ? least[k] : least[0];
    return least[0];
}

// Positions of the numbers up to `bound`, ascending; those that are NaN do not count.
CARLS_VECTOR inline void append_within(const float *row, size_t n, float bound, std::vector<size_t> &found) {
    for (size_t i = 0; i < n; i += 16) {
        const size_t end = i + 16 < n ? i + 16 : n;
        uint32_t any = 0;
        for (size_t k = i; k < end; ++k) any |= row[k] <= bound;
        if (!any) continue;
        for (size_t k = i; k < end; ++k) {
            if (row[k] <= bound) found.push_back(k);
        }
    }
}

struct MemoryPolicy {
    uint32_t dim, buffer_size;
    double distance_threshold;
    size_t max_clusters;
    uint64_t bootstrap_steps;
    double min_variance;
    bool gaussian;
};

enum class MemoryMode { Read, Update, Grow };

// What happened in all calls that updated or grew: how many there were, their points, and points that were far
// from all clusters and made none.
struct MemoryCounts {
    uint64_t calls = 0, points = 0, refused_bootstrap = 0, refused_full = 0;
};

// Where the results of n points go: (n,), (n, dim), (n, dim) and (n,).
struct MemoryResults {
    int64_t *cluster;
    float *mean, *variance, *distance;
};

// Look-ups that only read run side by side; one that changes something runs alone, and those that come after it
// wait behind it, so that it gets its turn however many read.
class GaussianMemory {
public:
    explicit GaussianMemory(const MemoryPolicy &policy) : policy_(policy), clusters_(none()) {}

    void lookup(const float *points, size_t n, MemoryMode mode, const MemoryResults &to) {
        std::unique_lock<std::mutex> turn(turn_);
        if (mode == MemoryMode::Read) {
            const std::shared_lock<std::shared_mutex> guard(mutex_);
            turn.unlock();
            read(points, n, to);
        } else {
            const std::unique_lock<std::shared_mutex> guard(mutex_);
            turn.unlock();
            absorb(points, n, mode == MemoryMode::Grow, to.cluster);
            write_results(points, n, to);
        }
    }

    // All points, cluster by cluster and oldest first: (n, dim) and the cluster of each.
    void save(std::vector<float> &points, std::vector<int64_t> &cluster, MemoryCounts &counts) {
        const auto guard = reading();
        for (size_t c = 0; c < clusters_.size(); ++c) {
            clusters_.visit(c, [&](const float *point) { points.insert(points.end(), point, point + policy_.dim); });
            cluster.insert(cluster.end(), clusters_.filled(c), static_cast<int64_t>(c));
        }
        counts = counts_;
    }

    // Takes the place of everything with what save gave: clusters ascending from 0 without gaps.
    void load(const float *points, const int64_t *cluster, size_t n, const MemoryCounts &counts) {
        Clusters loaded = none();
        for (size_t i = 0; i < n; ++i) {
            const auto at = static_cast<size_t>(cluster[i]);
            if (at == loaded.size()) loaded.add_cluster();
            loaded.add_point(at, points + i * policy_.dim);
        }
        for (size_t c = 0; c < loaded.size(); ++c) {
            loaded.follow(c);
            loaded.settle(c);
        }
        const std::lock_guard<std::mutex> turn(turn_);
        const std::unique_lock<std::shared_mutex> guard(mutex_);
        std::swap(clusters_, loaded);
        counts_ = counts;
    }

    MemoryCounts counts() {
        const auto guard = reading();
        return counts_;
    }
    size_t size() {
        const auto guard = reading();
        return clusters_.size();
    }
    size_t bytes() {
        const auto guard = reading();
        return clusters_.bytes();
    }
    const MemoryPolicy &policy() const { return policy_; }

private:
    // A cluster and the squared distance to it, over variances if so.
    struct Nearest {
        double distance = std::numeric_limits<double>::infinity();
        int64_t cluster = -1;

        void meet(double other, size_t at) {
            const auto index = static_cast<int64_t>(at);
            if (cluster < 0 || other < distance || (other == distance && index < cluster)) {
                distance = other, cluster = index;
            }
        }
    };

    // Distances of a few points to all clusters as they are now, in float32.
    class Block {
    public:
        Block(const float *points, size_t n, uint32_t dim, const Clusters &clusters, std::vector<float> &room)
            : clusters_(clusters),
              size_(clusters.size()),
              stride_(clusters.centres().rows()),
              rows_(room),
              error_(relative_error(dim)),
              slack_(dim * 2.0 * std::numeric_limits<float>::min()) {
            rows_.resize(n * stride_);
            squared_distances(points, n, dim, clusters.centres(), clusters.weights(), rows_.data());
        }

        // The cluster nearest to the i-th of the points, `changed` ones met as they are by now. Float32 leaves those
        // that may be the nearest, few as a rule; double decides.
        Nearest nearest(size_t i, const float *point, const std::vector<size_t> &changed) {
            Nearest best;
            float *row = rows_.data() + i * stride_;
            for (const size_t c : changed) {
                best.meet(clusters_.distance(c, point), c);
                if (c < size_) row[c] = std::numeric_limits<float>::quiet_NaN();
            }
            const double least = least_of(row, size_);
            const double bound = least * (1 + error_) / (1 - error_) + slack_;
            candidates_.clear();
            append_within(row, size_, std::nextafter(static_cast<float>(bound), std::numeric_limits<float>::infinity()),
                          candidates_);
            for (const size_t c : candidates_) best.meet(clusters_.distance(c, point), c);
            return best;
        }

    private:
        const Clusters &clusters_;
        size_t size_, stride_;
        std::vector<float> &rows_;
        double error_, slack_;
        std::vector<size_t> candidates_;
    };

    Clusters none() const {
        return Clusters(policy_.dim, policy_.buffer_size, policy_.min_variance, policy_.gaussian);
    }

    std::shared_lock<std::shared_mutex> reading() {
        const std::lock_guard<std::mutex> turn(turn_);
        return std::shared_lock<std::shared_mutex>(mutex_);
    }

    // Points that are met together: clusters that one of them has changed are met anew by those after it.
    size_t block_points() const {
        const size_t fitting = kBlockFloats / (clusters_.size() + 1);
        return fitting < 4 ? 4 : fitting > 32 ? 32 : fitting;
    }

    void read(const float *points, size_t n, const MemoryResults &to) const {
        const std::vector<size_t> unchanged;
        std::vector<float> room;
        const size_t step = block_points();
        for (size_t start = 0; start < n; start += step) {
            const size_t count = std::min(step, n - start);
            const float *first = points + start * policy_.dim;
            Block block(first, count, policy_.dim, clusters_, room);
            for (size_t i = 0; i < count; ++i) {
                to.cluster[start + i] = block.nearest(i, first + i * policy_.dim, unchanged).cluster;
            }
        }
        write_results(points, n, to);
    }

    void absorb(const float *points, size_t n, bool grow, int64_t *cluster) {
        const bool bootstrapped = counts_.calls > policy_.bootstrap_steps;
        std::vector<float> room;
        std::vector<size_t> changed;
        for (size_t start = 0; start < n;) {
            const size_t count = std::min(block_points(), n - start);
            const float *first = points + start * policy_.dim;
            Block block(first, count, policy_.dim, clusters_, room);
            changed.clear();
            for (size_t i = 0; i < count; ++i) {
                const float *point = first + i * policy_.dim;
                const size_t taker = taker_of(block.nearest(i, point, changed), grow, bootstrapped);
                clusters_.add_point(taker, point);
                clusters_.follow(taker);
                if (std::find(changed.begin(), changed.end(), taker) == changed.end()) changed.push_back(taker);
                cluster[start + i] = static_cast<int64_t>(taker);
            }
            for (const size_t c : changed) clusters_.settle(c);
            start += count;
        }
        ++counts_.calls;
        counts_.points += n;
    }

    // The cluster that takes a point with this nearest one.
    size_t taker_of(const Nearest &nearest, bool grow, bool bootstrapped) {
        if (nearest.cluster < 0) return clusters_.add_cluster();
        if (grow && is_far(nearest.distance)) {
            if (!bootstrapped) {
                ++counts_.refused_bootstrap;
            } else if (clusters_.size() >= policy_.max_clusters) {
                ++counts_.refused_full;
            } else {
                return clusters_.add_cluster();
            }
        }
        return static_cast<size_t>(nearest.cluster);
    }

    // The distance as callers know it.
    double told(double squared) const { return policy_.gaussian ? std::exp(-squared / policy_.dim / 2) : squared; }

    bool is_far(double squared) const {
        return policy_.gaussian ? told(squared) < policy_.distance_threshold : squared > policy_.distance_threshold;
    }

    void write_results(const float *points, size_t n, const MemoryResults &to) const {
        const uint32_t dim = policy_.dim;
        for (size_t i = 0; i < n; ++i) {
            if (to.cluster[i] < 0) {
                // As good as no normalisation, and farther than anything.
                std::fill_n(to.mean + i * dim, dim, 0.0f);
                std::fill_n(to.variance + i * dim, dim, 1.0f);
                to.distance[i] = policy_.gaussian ? 0.0f : std::numeric_limits<float>::infinity();
                continue;
            }
            const auto c = static_cast<size_t>(to.cluster[i]);
            std::memcpy(to.mean + i * dim, clusters_.mean(c), dim * sizeof(float));
            std::memcpy(to.variance + i * dim, clusters_.variance(c), dim * sizeof(float));
            to.distance[i] = static_cast<float>(told(clusters_.distance(c, points + i * dim)));
        }
    }

    // Floats of the distances that are met together.
    static constexpr size_t kBlockFloats = size_t{1} << 20;

    const MemoryPolicy policy_;
    Clusters clusters_;
    MemoryCounts counts_;
    std::shared_mutex mutex_;
    std::mutex turn_;
};

}  // namespace carls
