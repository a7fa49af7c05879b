// Half precision: IEEE 754 binary16, as numpy's float16, rounded to nearest, ties to even. What lies
// beyond the largest number, infinities too, becomes that number; NaN stays NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define CARLS_F16C __attribute__((target("avx,f16c")))
#endif

namespace carls {

constexpr float kLargestHalf = 65504.0f;

inline float float_of_half(uint16_t half) {
    const uint32_t sign = uint32_t{half & 0x8000u} << 16, rest = half & 0x7fffu;
    uint32_t bits;
    if (rest >= 0x7c00) {
        bits = 0x7f800000u | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000u : 0);  // infinity, quiet NaN
    } else if (rest >= 0x400) {
        bits = (rest << 13) + ((127 - 15) << 23);
    } else {  // zero and subnormals: a whole number of 2^-24
        const float value = static_cast<float>(rest) * 0x1p-24f;
        std::memcpy(&bits, &value, 4);
    }
    bits |= sign;
    float result;
    std::memcpy(&result, &bits, 4);
    return result;
}

inline uint16_t half_of_float(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    const uint32_t rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return sign | 0x7e00 | static_cast<uint16_t>(rest >> 13 & 0x3ff);  // NaN
    if (rest >= 0x477fe000) return sign | 0x7bff;  // 65504 and more
    if (rest < 0x38800000) {                       // below 2^-14: adding rounds to a multiple of 2^-24
        float magic;
        std::memcpy(&magic, &rest, 4);
        magic += 0.5f;
        std::memcpy(&bits, &magic, 4);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000));
    }
    const uint32_t odd = rest >> 13 & 1;
    return static_cast<uint16_t>(sign | ((rest - ((127u - 15u) << 23) + 0xfff + odd) >> 13));
}

#ifdef CARLS_F16C
CARLS_F16C inline size_t halves_to_floats_f16c(float *to, const uint16_t *from, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i))));
    }
    return i;
}
CARLS_F16C inline size_t floats_to_halves_f16c(uint16_t *to, const float *from, size_t n) {
    const __m256 most = _mm256_set1_ps(kLargestHalf), least = _mm256_set1_ps(-kLargestHalf);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        // In this order of the operands NaN stays.
        const __m256 within = _mm256_max_ps(least, _mm256_min_ps(most, _mm256_loadu_ps(from + i)));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to + i), _mm256_cvtps_ph(within, _MM_FROUND_TO_NEAREST_INT));
    }
    return i;
}
inline bool has_f16c() {
    static const bool has = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
    return has;
}
#endif

inline void to_floats(float *to, const uint16_t *from, size_t n) {
    size_t i = 0;
#ifdef CARLS_F16C
    if (has_f16c()) i = halves_to_floats_f16c(to, from, n);
#endif
    for (; i < n; ++i) to[i] = float_of_half(from[i]);
}

inline void to_halves(uint16_t *to, const float *from, size_t n) {
    size_t i = 0;
#ifdef CARLS_F16C
    if (has_f16c()) i = floats_to_halves_f16c(to, from, n);
#endif
    for (; i < n; ++i) to[i] = half_of_float(from[i]);
}

// Whether all elements are finite and at most `limit` in size.
CARLS_VECTOR inline bool all_within(const uint16_t *x, size_t n, float limit) {
    const int16_t most = static_cast<int16_t>(half_of_float(limit));
    int16_t bad = 0;
    for (size_t i = 0; i < n; ++i) {
        bad |= static_cast<int16_t>(x[i] & 0x7fff) > most;  // ordered as their bits are
    }
    return !bad;
}

// A vector as it lies in a row and in arrays of rows: elements of float32 or of float16.
struct VectorLayout {
    uint32_t dim;
    bool half;

    uint32_t bytes() const { return dim * (half ? 2u : 4u); }
};

}  // namespace carls
