// Scores of tiles of rows against groups of queries, and how good a score is.
//
// The lanes of a vector are queries, so that no sum runs across lanes: a score is one sum over the
// elements in their order, the same number on every machine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels.hpp"

namespace carls {

enum class Metric { Dot, Cosine, SquaredL2 };

constexpr uint32_t kLanes = 8;  // queries of a group
constexpr uint32_t kTile = 8;   // rows of a tile

using Lanes = float __attribute__((vector_size(4 * kLanes)));
using LaneTruths = int32_t __attribute__((vector_size(4 * kLanes)));

// sums[row][lane] = sum over d of step(rows[row][d], queries[d][lane]).
template <class Step>
inline __attribute__((always_inline)) void sum_tile(const float *const *rows, const float *queries, uint32_t dim,
                                                    float *sums, Step step) {
    Lanes totals[kTile] = {};
    for (uint32_t d = 0; d < dim; ++d) {
        Lanes query;
        std::memcpy(&query, queries + size_t{d} * kLanes, sizeof(query));
        for (uint32_t r = 0; r < kTile; ++r) totals[r] += step(rows[r][d], query);
    }
    std::memcpy(sums, totals, sizeof(totals));
}

CARLS_VECTOR inline void dot_tile(const float *const *rows, const float *queries, uint32_t dim, float *sums) {
    sum_tile(rows, queries, dim, sums, [](float x, Lanes query) __attribute__((always_inline)) { return x * query; });
}
CARLS_VECTOR inline void l2_tile(const float *const *rows, const float *queries, uint32_t dim, float *sums) {
    sum_tile(rows, queries, dim, sums, [](float x, Lanes query) __attribute__((always_inline)) {
        const Lanes off = x - query;
        return off * off;
    });
}

// Divides each row's sums by by[row], which gives ranks: the larger, the better. Whether any rank
// reaches its lane's threshold; one that is no number does.
CARLS_VECTOR inline bool rank_tile(float *sums, const float *by, const float *thresholds) {
    Lanes least;
    std::memcpy(&least, thresholds, sizeof(least));
    LaneTruths below = ~LaneTruths{};
    for (uint32_t r = 0; r < kTile; ++r) {
        Lanes ranks;
        std::memcpy(&ranks, sums + r * kLanes, sizeof(ranks));
        ranks /= by[r];
        std::memcpy(sums + r * kLanes, &ranks, sizeof(ranks));
        below &= ranks < least;
    }
    int32_t all = -1;
    for (uint32_t lane = 0; lane < kLanes; ++lane) all &= below[lane];
    return all == 0;
}

// Keeps for each row and lane the best rank so far, and of which group it is.
CARLS_VECTOR inline void keep_best(const float *ranks, int32_t group, float *best, int32_t *of) {
    for (uint32_t i = 0; i < kTile * kLanes; ++i) {
        const bool better = ranks[i] > best[i];
        best[i] = better ? ranks[i] : best[i];
        of[i] = better ? group : of[i];
    }
}

// The length of a vector; 1 for a zero vector, whose cosine with anything is 0.
inline float length_of(const float *x, uint32_t dim) {
    const double squares = sum_of_squares(x, x, dim, Pull{1.0f, 0.0f});
    if (squares == 0) return 1.0f;
    return static_cast<float>(std::min<double>(std::sqrt(squares), std::numeric_limits<float>::max()));
}

// Queries in groups of kLanes, element by element: group g has its lanes of element d at (g * dim + d) * kLanes.
struct QueryGroups {
    uint32_t n, dim;
    Metric metric;
    std::vector<float> lanes;

    QueryGroups(const float *queries, uint32_t count, uint32_t width, Metric wanted)
        : n(count), dim(width), metric(wanted), lanes(size_t{groups()} * width * kLanes) {
        for (uint32_t q = 0; q < n; ++q) {
            const float *query = queries + size_t{q} * dim;
            const float by = metric == Metric::Cosine ? length_of(query, dim) : 1.0f;
            float *to = lanes.data() + size_t{q / kLanes} * dim * kLanes + q % kLanes;
            for (uint32_t d = 0; d < dim; ++d) to[size_t{d} * kLanes] = query[d] / by;
        }
    }

    // For each row of a tile the query that is best for it, the first one of equals.
    void best_of(const float *const *rows, uint32_t *queries) const {
        float by[kTile], none[kLanes], ranks[kTile * kLanes], best[kTile * kLanes];
        int32_t of[kTile * kLanes] = {};
        for (uint32_t r = 0; r < kTile; ++r) by[r] = by_of(rows[r]);
        std::fill_n(none, kLanes, -std::numeric_limits<float>::infinity());
        std::fill_n(best, kTile * kLanes, -std::numeric_limits<float>::infinity());
        for (uint32_t g = 0; g < groups(); ++g) {
            rank(g, rows, by, none, ranks);
            if (g + 1 == groups()) {
                for (uint32_t i = 0; i < kTile * kLanes; ++i) {
                    if (g * kLanes + i % kLanes >= n) ranks[i] = -std::numeric_limits<float>::infinity();
                }
            }
            keep_best(ranks, static_cast<int32_t>(g), best, of);
        }
        for (uint32_t r = 0; r < kTile; ++r) {
            uint32_t first = 0;
            for (uint32_t lane = 1; lane < kLanes; ++lane) {
                const uint32_t i = r * kLanes + lane, j = r * kLanes + first;
                if (best[i] > best[j] || (best[i] == best[j] && of[i] < of[j])) first = lane;
            }
            queries[r] = static_cast<uint32_t>(of[r * kLanes + first]) * kLanes + first;
        }
    }

    uint32_t groups() const { return (n + kLanes - 1) / kLanes; }

    // Ranks of a tile against group g; as rank_tile. `by` holds what by_of says of each row.
    bool rank(uint32_t g, const float *const *rows, const float *by, const float *thresholds, float *ranks) const {
        const float *queries = lanes.data() + size_t{g} * dim * kLanes;
        if (metric == Metric::SquaredL2) {
            l2_tile(rows, queries, dim, ranks);
        } else {
            dot_tile(rows, queries, dim, ranks);
        }
        return rank_tile(ranks, by, thresholds);
    }
    float by_of(const float *row) const {
        if (metric == Metric::Cosine) return length_of(row, dim);
        return metric == Metric::Dot ? 1.0f : -1.0f;
    }
    float score_of(float rank) const { return metric == Metric::SquaredL2 ? -rank : rank; }
};

}  // namespace carls
