// RowLists: rows of a table in lists around centroids.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "distance.hpp"

namespace carls {

// Centroids, and the lists of rows around them. A row is its stripe and number in one. Rows are in lists
// by direction, where directions are what the metric compares, as in k-means on the sphere.
struct RowLists {
    QueryGroups centroids;
    std::vector<std::vector<uint32_t>> lists;  // in order

    RowLists(const std::vector<float> &of, uint32_t dim, Metric metric)
        : centroids(of.data(), static_cast<uint32_t>(of.size() / dim), dim,
                    metric == Metric::SquaredL2 ? metric : Metric::Cosine),
          lists(centroids.n) {}

    // The centroids that are best for a query, at most so many.
    std::vector<uint32_t> best(const float *query, uint32_t most) const {
        const float *rows[kTile];
        float by[kTile], none[kLanes], ranks[kTile * kLanes];
        std::fill_n(rows, kTile, query);
        std::fill_n(by, kTile, centroids.by_of(query));
        std::fill_n(none, kLanes, -std::numeric_limits<float>::infinity());
        std::vector<std::pair<float, uint32_t>> ranked;  // the best one least
        for (uint32_t g = 0; g < centroids.groups(); ++g) {
            centroids.rank(g, rows, by, none, ranks);
            for (uint32_t lane = 0; lane < kLanes && g * kLanes + lane < centroids.n; ++lane) {
                // Sums beyond float32 may be no number, which has no place in an order.
                const float last = std::numeric_limits<float>::infinity();
                ranked.emplace_back(std::isnan(ranks[lane]) ? last : -ranks[lane], g * kLanes + lane);
            }
        }
        most = std::min(most, centroids.n);
        std::partial_sort(ranked.begin(), ranked.begin() + most, ranked.end());
        std::vector<uint32_t> best;
        for (uint32_t i = 0; i < most; ++i) best.push_back(ranked[i].second);
        return best;
    }
};

}  // namespace carls
