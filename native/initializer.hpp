// Initializers: the first value of a row as a function of (table seed, key).
#pragma once

#include <cstdint>

#include "random.hpp"

namespace carls {

// Zeros and constants are Constant; a and b are (value, -), (low, high) or (mean, std).
struct Initializer {
    enum class Kind { Constant, Uniform, Normal };

    Kind kind;
    double a, b;
    uint64_t seed;

    // `key` is the key itself for integers, XXH64 of its bytes for other keys.
    void fill(uint64_t key, float *out, uint32_t dim) const {
        if (kind == Kind::Constant) {
            for (uint32_t i = 0; i < dim; ++i) out[i] = static_cast<float>(a);
            return;
        }
        Philox random(seed, key);
        for (uint32_t i = 0; i < dim; ++i) {
            // 53 bits, in the middle of their interval: never 0, never 1.
            const double u = (static_cast<double>(random.next() >> 11) + 0.5) * 0x1p-53;
            const double x = kind == Kind::Uniform ? a + (b - a) * u : a + b * normal_quantile(u);
            out[i] = static_cast<float>(x);
        }
    }
};

}  // namespace carls
