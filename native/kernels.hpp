// Loops over the elements of rows, compiled once per vector width and chosen when loaded.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define CARLS_VECTOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CARLS_VECTOR
#endif

namespace carls {

CARLS_VECTOR inline void add_to(float *__restrict sum, const float *__restrict x, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) sum[i] += x[i];
}

CARLS_VECTOR inline void sgd(float *__restrict value, const float *__restrict grad, uint32_t n, float lr) {
    for (uint32_t i = 0; i < n; ++i) value[i] -= lr * grad[i];
}

CARLS_VECTOR inline void adagrad(float *__restrict value, float *__restrict sum, const float *__restrict grad,
                                 uint32_t n, float lr, float eps) {
    for (uint32_t i = 0; i < n; ++i) {
        const float g = grad[i];
        const float s = sum[i] + g * g;
        sum[i] = s;
        value[i] -= lr * g / (std::sqrt(s) + eps);
    }
}

// Whether all elements are finite and at most `limit` in size.
CARLS_VECTOR inline bool all_within(const float *x, size_t n, float limit) {
    uint32_t most, bad = 0;
    std::memcpy(&most, &limit, 4);
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits;
        std::memcpy(&bits, x + i, 4);
        // Without their sign, floats are ordered as their bits are; infinity and NaN come last.
        bad |= (bits & 0x7fffffffu) > most;
    }
    return !bad;
}

}  // namespace carls
