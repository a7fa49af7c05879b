// Compiled with fused multiply-add (see CMakeLists.txt), which differs between machines: these distances only
// choose candidates, among which gaussian_memory.hpp decides by numbers that are the same everywhere.
#include "distances.hpp"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define CARLS_FUSED __attribute__((target_clones("fma", "default")))
#else
#define CARLS_FUSED
#endif

namespace carls {

namespace {

// Eight floats that the compiler computes with as one; wider vectors are slow where the processor has none.
typedef float Vector __attribute__((vector_size(32), may_alias));
constexpr size_t kHalf = sizeof(Vector) / sizeof(float);
static_assert(2 * kHalf == Lanes::kCount, "two vectors are sixteen lanes");

// Points that share each read of the centres.
constexpr size_t kPoints = 4;

template <size_t Points, bool Weighted>
inline __attribute__((always_inline)) void to_block(const float *points, uint32_t dim, const Lanes *centres,
                                                    const Lanes *weights, size_t stride, float *out) {
    Vector low[Points] = {}, high[Points] = {};
    for (uint32_t i = 0; i < dim; ++i) {
        const Vector *centre = reinterpret_cast<const Vector *>(centres + i);
        for (size_t p = 0; p < Points; ++p) {
            const Vector first = points[p * dim + i] - centre[0], second = points[p * dim + i] - centre[1];
            if constexpr (Weighted) {
                const Vector *weight = reinterpret_cast<const Vector *>(weights + i);
                low[p] += first * (first * weight[0]);
                high[p] += second * (second * weight[1]);
            } else {
                low[p] += first * first;
                high[p] += second * second;
            }
        }
    }
    for (size_t p = 0; p < Points; ++p) {
        std::memcpy(out + p * stride, &low[p], sizeof(Vector));
        std::memcpy(out + p * stride + kHalf, &high[p], sizeof(Vector));
    }
}

template <bool Weighted>
inline __attribute__((always_inline)) void to_all(const float *points, size_t n, uint32_t dim, const Lanes *centres,
                                                  const Lanes *weights, size_t rows, float *out) {
    for (size_t row = 0; row < rows; row += Lanes::kCount, centres += dim) {
        size_t p = 0;
        for (; p + kPoints <= n; p += kPoints) {
            to_block<kPoints, Weighted>(points + p * dim, dim, centres, weights, rows, out + p * rows + row);
        }
        for (; p < n; ++p) to_block<1, Weighted>(points + p * dim, dim, centres, weights, rows, out + p * rows + row);
        if constexpr (Weighted) weights += dim;
    }
}

CARLS_FUSED void plain(const float *points, size_t n, uint32_t dim, const Lanes *centres, size_t rows, float *out) {
    to_all<false>(points, n, dim, centres, nullptr, rows, out);
}

CARLS_FUSED void weighted(const float *points, size_t n, uint32_t dim, const Lanes *centres, const Lanes *weights,
                          size_t rows, float *out) {
    to_all<true>(points, n, dim, centres, weights, rows, out);
}

}  // namespace

void squared_distances(const float *points, size_t n, uint32_t dim, const Panels &centres, const Panels *weights,
                       float *out) {
    if (weights == nullptr) {
        plain(points, n, dim, centres.data(), centres.rows(), out);
    } else {
        weighted(points, n, dim, centres.data(), weights->data(), centres.rows(), out);
    }
}

}  // namespace carls
