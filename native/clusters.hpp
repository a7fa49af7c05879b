// Clusters of points: the last points of each, and their mean and variance.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "distances.hpp"
#include "kernels.hpp"

namespace carls {

// Eight numbers that the compiler computes with as one.
typedef double Doubles __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(32)));

inline __attribute__((always_inline)) void read(Floats &to, const float *from) { std::memcpy(&to, from, sizeof to); }

// Adds to sums and squares, of n elements, those of x - shift for all rows of a run, `stride` floats apart. In
// blocks that stay in registers while the rows go by.
CARLS_VECTOR inline void add_moments(double *__restrict sums, double *__restrict squares, const float *__restrict rows,
                                     size_t count, size_t stride, const float *__restrict shift, uint32_t n) {
    constexpr uint32_t kParts = 2, kEach = 8;
    uint32_t i = 0;
    for (; i + kParts * kEach <= n; i += kParts * kEach) {
        Doubles sum[kParts], square[kParts], from[kParts];
        Floats x;
        for (uint32_t part = 0; part < kParts; ++part) {
            std::memcpy(&sum[part], sums + i + part * kEach, sizeof(Doubles));
            std::memcpy(&square[part], squares + i + part * kEach, sizeof(Doubles));
            read(x, shift + i + part * kEach);
            from[part] = __builtin_convertvector(x, Doubles);
        }
        for (size_t row = 0; row < count; ++row) {
            for (uint32_t part = 0; part < kParts; ++part) {
                read(x, rows + row * stride + i + part * kEach);
                const Doubles difference = __builtin_convertvector(x, Doubles) - from[part];
                sum[part] += difference;
                square[part] += difference * difference;
            }
        }
        for (uint32_t part = 0; part < kParts; ++part) {
            std::memcpy(sums + i + part * kEach, &sum[part], sizeof(Doubles));
            std::memcpy(squares + i + part * kEach, &square[part], sizeof(Doubles));
        }
    }
    for (; i < n; ++i) {
        for (size_t row = 0; row < count; ++row) {
            const double difference = static_cast<double>(rows[row * stride + i]) - static_cast<double>(shift[i]);
            sums[i] += difference;
            squares[i] += difference * difference;
        }
    }
}

// Sum of (x - mean)^2, over variance where there is one. In double and in eight sums of fixed order, so that
// every machine finds the same nearest cluster.
template <bool Weighted>
inline double squared_distance(const float *__restrict x, const float *__restrict mean,
                               const float *__restrict variance, uint32_t n) {
    double sums[8] = {};
    const uint32_t whole = n & ~7u;
    const auto term = [&](uint32_t i) {
        const double difference = static_cast<double>(x[i]) - static_cast<double>(mean[i]);
        return Weighted ? difference * difference / static_cast<double>(variance[i]) : difference * difference;
    };
    for (uint32_t i = 0; i < whole; i += 8) {
        for (uint32_t k = 0; k < 8; ++k) sums[k] += term(i + k);
    }
    for (uint32_t i = whole; i < n; ++i) sums[i - whole] += term(i);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Each cluster has a ring of its last points. Means and variances are computed from the whole ring, oldest point
// first and in double: nothing adds up over time, and the same points give the same numbers.
class Clusters {
public:
    // With inverse variances beside the means, for distances that are weighted.
    Clusters(uint32_t dim, uint32_t buffer_size, double min_variance, bool weighted)
        : dim_(dim),
          buffer_size_(buffer_size),
          min_variance_(min_variance),
          weighted_(weighted),
          centres_(dim),
          weights_(dim),
          sums_(dim),
          squares_(dim),
          row_(dim) {}

    size_t size() const { return rings_.size(); }
    const float *mean(size_t cluster) const { return means_.data() + cluster * dim_; }
    const float *variance(size_t cluster) const { return variances_.data() + cluster * dim_; }
    const Panels &centres() const { return centres_; }
    const Panels *weights() const { return weighted_ ? &weights_ : nullptr; }

    // A new cluster without points; the caller adds one.
    size_t add_cluster() {
        rings_.reserve(rings_.size() + 1);
        means_.resize(means_.size() + dim_);
        variances_.resize(variances_.size() + dim_);
        rings_.emplace_back();
        rings_.back().points.resize(size_t{buffer_size_} * dim_);
        return rings_.size() - 1;
    }

    // Puts a point into the cluster's ring; its oldest point goes if the ring is full.
    void add_point(size_t cluster, const float *point) {
        Ring &ring = rings_[cluster];
        const uint32_t slot = (ring.first + ring.filled) % buffer_size_;
        std::memcpy(ring.points.data() + size_t{slot} * dim_, point, dim_ * sizeof(float));
        if (ring.filled < buffer_size_) {
            ++ring.filled;
        } else {
            ring.first = (ring.first + 1) % buffer_size_;
        }
    }

    // Makes mean and variance those of the ring. In one pass, by differences from the oldest point: that one is in the
    // ring itself, so the variance is at least its squared distance from the mean over the number of points, and
    // what cancels below is at most so many roundings.
    void follow(size_t cluster) {
        const Ring &ring = rings_[cluster];
        const float *points = ring.points.data(), *shift = points + size_t{ring.first} * dim_;
        // A ring mostly comes from far memory, and is met column by column: ask for all of it at once.
        for (size_t at = 0; at < size_t{ring.filled} * dim_; at += 16) __builtin_prefetch(points + at);
        std::fill(sums_.begin(), sums_.end(), 0.0);
        std::fill(squares_.begin(), squares_.end(), 0.0);
        const uint32_t older = std::min(ring.filled, buffer_size_ - ring.first);
        add_moments(sums_.data(), squares_.data(), shift, older, dim_, shift, dim_);
        add_moments(sums_.data(), squares_.data(), points, ring.filled - older, dim_, shift, dim_);
        const double n = ring.filled;
        float *means = means_.data() + cluster * dim_, *variances = variances_.data() + cluster * dim_;
        for (uint32_t i = 0; i < dim_; ++i) {
            const double mean = sums_[i] / n;
            means[i] = static_cast<float>(shift[i] + mean);
            variances[i] = static_cast<float>(std::max(squares_[i] / n - mean * mean, min_variance_));
        }
    }

    // Makes the panels those of mean and variance.
    void settle(size_t cluster) {
        centres_.set(cluster, mean(cluster));
        if (!weighted_) return;
        const float *variances = variance(cluster);
        for (uint32_t i = 0; i < dim_; ++i) row_[i] = 1.0f / variances[i];
        weights_.set(cluster, row_.data());
    }

    double distance(size_t cluster, const float *point) const {
        return weighted_ ? squared_distance<true>(point, mean(cluster), variance(cluster), dim_)
                         : squared_distance<false>(point, mean(cluster), nullptr, dim_);
    }

    uint32_t filled(size_t cluster) const { return rings_[cluster].filled; }

    // Calls visit(point) for the cluster's points, oldest first.
    template <class Visit>
    void visit(size_t cluster, Visit visit) const {
        const Ring &ring = rings_[cluster];
        for (uint32_t i = 0; i < ring.filled; ++i) {
            visit(ring.points.data() + size_t{(ring.first + i) % buffer_size_} * dim_);
        }
    }

    size_t bytes() const {
        const size_t ring = sizeof(Ring) + size_t{buffer_size_} * dim_ * sizeof(float);
        return rings_.size() * ring + (means_.capacity() + variances_.capacity()) * sizeof(float) +
               centres_.bytes() + weights_.bytes();
    }

private:
    struct Ring {
        std::vector<float> points;
        uint32_t first = 0, filled = 0;
    };

    uint32_t dim_, buffer_size_;
    double min_variance_;
    bool weighted_;
    std::vector<Ring> rings_;
    std::vector<float> means_, variances_;
    Panels centres_, weights_;
    // Room for one cluster's numbers.
    std::vector<double> sums_, squares_;
    std::vector<float> row_;
};

}  // namespace carls
