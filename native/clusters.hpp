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

CARLS_VECTOR inline void add_to(double *__restrict sum, const float *__restrict x, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) sum[i] += x[i];
}

CARLS_VECTOR inline void add_squares_to(double *__restrict sum, const float *__restrict x,
                                        const double *__restrict mean, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) {
        const double difference = x[i] - mean[i];
        sum[i] += difference * difference;
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

// Each cluster has a ring of its last points. Means and variances are computed from the ring, oldest point first,
// in two passes and in double: nothing adds up over time, and the same points give the same numbers.
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
          sum_(dim),
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

    // Makes mean and, where distances need it, variance those of the ring.
    void follow(size_t cluster) {
        compute_mean(cluster);
        if (weighted_) compute_variance(cluster);
    }

    // Makes everything about the cluster that of its ring; its mean was made before, by follow.
    void settle(size_t cluster) {
        centres_.set(cluster, mean(cluster));
        if (!weighted_) {
            compute_mean(cluster);
            compute_variance(cluster);
            return;
        }
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

    void compute_mean(size_t cluster) {
        std::fill(sum_.begin(), sum_.end(), 0.0);
        visit(cluster, [&](const float *point) { add_to(sum_.data(), point, dim_); });
        const double n = rings_[cluster].filled;
        float *means = means_.data() + cluster * dim_;
        for (uint32_t i = 0; i < dim_; ++i) {
            sum_[i] /= n;
            means[i] = static_cast<float>(sum_[i]);
        }
    }

    // After compute_mean, whose means are still there in double.
    void compute_variance(size_t cluster) {
        const std::vector<double> mean = sum_;
        std::fill(sum_.begin(), sum_.end(), 0.0);
        visit(cluster, [&](const float *point) { add_squares_to(sum_.data(), point, mean.data(), dim_); });
        const double n = rings_[cluster].filled;
        float *variances = variances_.data() + cluster * dim_;
        for (uint32_t i = 0; i < dim_; ++i) {
            variances[i] = static_cast<float>(std::max(sum_[i] / n, min_variance_));
        }
    }

    uint32_t dim_, buffer_size_;
    double min_variance_;
    bool weighted_;
    std::vector<Ring> rings_;
    std::vector<float> means_, variances_;
    Panels centres_, weights_;
    // Room for one cluster's numbers.
    std::vector<double> sum_;
    std::vector<float> row_;
};

}  // namespace carls
