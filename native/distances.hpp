// Squared distances from points to many centres in float32, to find the few that may be nearest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace carls {

// One element of sixteen rows.
struct alignas(64) Lanes {
    static constexpr size_t kCount = 16;
    float of[kCount];
};

// Rows of dim floats, kept so that sixteen of them are met at once: [row / 16][element][row % 16].
class Panels {
public:
    explicit Panels(uint32_t dim) : dim_(dim) {}

    void set(size_t row, const float *values) {
        const size_t first = row / Lanes::kCount * dim_;
        if (lanes_.size() < first + dim_) lanes_.resize(first + dim_);
        for (uint32_t i = 0; i < dim_; ++i) lanes_[first + i].of[row % Lanes::kCount] = values[i];
    }

    const Lanes *data() const { return lanes_.data(); }
    // Rows there is room for: what distances are computed to.
    size_t rows() const { return lanes_.size() / dim_ * Lanes::kCount; }
    size_t bytes() const { return lanes_.capacity() * sizeof(Lanes); }

private:
    uint32_t dim_;
    std::vector<Lanes> lanes_;
};

// out[p * centres.rows() + c] = sum of (x - centre)^2, or of (x - centre)^2 * weight with weights, which has a
// row for each row of centres. All terms are of one sign, so the relative error is below relative_error(dim).
void squared_distances(const float *points, size_t n, uint32_t dim, const Panels &centres, const Panels *weights,
                       float *out);

// (dim + 8) roundings of half a unit in the last place each, and as much again.
inline double relative_error(uint32_t dim) { return (dim + 8.0) * std::numeric_limits<float>::epsilon(); }

}  // namespace carls
