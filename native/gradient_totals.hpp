// GradientTotals: the gradients of a batch for the rows of one stripe, those of equal rows summed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels.hpp"
#include "layout.hpp"
#include "row_writer.hpp"

namespace carls {

class GradientTotals {
public:
    explicit GradientTotals(uint32_t dim) : dim_(dim) {}

    // Takes the gradients (n, dim) at `positions`, for one of `rows` each, in place of those before, and marks each
    // row once, in the order of the totals. While rows are marked, their time of write, which is about to change
    // in most cases, tells where their total is.
    void gather(const std::vector<RowHeader *> &rows, const uint32_t *positions, const float *gradients, Marks &marks) {
        totals_.clear();
        sums_.clear();
        for (size_t k = 0; k < rows.size(); ++k) {
            RowHeader *row = rows[k];
            const float *gradient = gradients + size_t{positions[k]} * dim_;
            if (row->mark == kLive) {
                marks.set(row);
                totals_.push_back({gradient, nullptr, row->written});
                row->written = static_cast<uint32_t>(totals_.size() - 1);
                continue;
            }
            Total &total = totals_[row->written];
            if (total.sum == nullptr) {
                sums_.emplace_back(total.gradient, total.gradient + dim_);
                total.sum = sums_.back().data();
            }
            add_to(total.sum, gradient, dim_);
        }
    }

    size_t size() const { return totals_.size(); }
    const float *gradient(size_t k) const { return totals_[k].sum != nullptr ? totals_[k].sum : totals_[k].gradient; }
    // What the row's time of write was.
    uint32_t written(size_t k) const { return totals_[k].written; }

private:
    struct Total {
        const float *gradient;  // of the first position
        float *sum;             // of all positions, where there are several
        uint32_t written;
    };

    const uint32_t dim_;
    std::vector<Total> totals_;
    std::vector<std::vector<float>> sums_;
};

}  // namespace carls
