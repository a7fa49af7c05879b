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

CARLS_VECTOR inline void divide(float *__restrict x, uint32_t n, float by) {
    for (uint32_t i = 0; i < n; ++i) x[i] /= by;
}

CARLS_VECTOR inline void scale(float *__restrict to, const float *__restrict x, uint32_t n, float by) {
    for (uint32_t i = 0; i < n; ++i) to[i] = by * x[i];
}

// The gradient that an optimizer's rule sees: scale * grad + decay * value.
struct Pull {
    float scale, decay;

    float operator()(float grad, float value) const { return scale * grad + decay * value; }
};

// In double, so that no float32 gradient is too large or too small for its square, and in eight
// sums of fixed order, so that every vector width gives the same number.
CARLS_VECTOR inline double sum_of_squares(const float *__restrict value, const float *__restrict grad, uint32_t n,
                                          Pull pull) {
    double sums[8] = {};
    const uint32_t whole = n & ~7u;
    for (uint32_t i = 0; i < whole; i += 8) {
        for (uint32_t k = 0; k < 8; ++k) {
            const double g = pull(grad[i + k], value[i + k]);
            sums[k] += g * g;
        }
    }
    for (uint32_t i = whole; i < n; ++i) {
        const double g = pull(grad[i], value[i]);
        sums[i - whole] += g * g;
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Also row-wise Adagrad, with a rate of the row's own.
CARLS_VECTOR inline void sgd(float *__restrict value, const float *__restrict grad, uint32_t n, Pull pull, float lr) {
    for (uint32_t i = 0; i < n; ++i) value[i] -= lr * pull(grad[i], value[i]);
}

// Moves by by_grad * g + by_velocity * velocity: (0, 1), or (1, momentum) for Nesterov's.
CARLS_VECTOR inline void momentum_sgd(float *__restrict value, float *__restrict velocity, const float *__restrict grad,
                                      uint32_t n, Pull pull, float lr, float momentum, float by_grad,
                                      float by_velocity) {
    for (uint32_t i = 0; i < n; ++i) {
        const float g = pull(grad[i], value[i]);
        const float v = momentum * velocity[i] + g;
        velocity[i] = v;
        value[i] -= lr * (by_grad * g + by_velocity * v);
    }
}

CARLS_VECTOR inline void adagrad(float *__restrict value, float *__restrict sum, const float *__restrict grad,
                                 uint32_t n, Pull pull, float lr, float eps) {
    for (uint32_t i = 0; i < n; ++i) {
        const float g = pull(grad[i], value[i]);
        const float s = sum[i] + g * g;
        sum[i] = s;
        value[i] -= lr * g / (std::sqrt(s) + eps);
    }
}

// step: lr / (1 - beta1^t); unbias: 1 / sqrt(1 - beta2^t).
CARLS_VECTOR inline void adam(float *__restrict value, float *__restrict mean, float *__restrict square,
                              const float *__restrict grad, uint32_t n, Pull pull, float step, float unbias,
                              float new_mean, float old_square, float new_square, float eps) {
    for (uint32_t i = 0; i < n; ++i) {
        const float g = pull(grad[i], value[i]);
        const float m = mean[i] + new_mean * (g - mean[i]);
        const float s = old_square * square[i] + new_square * (g * g);
        mean[i] = m;
        square[i] = s;
        value[i] -= step * m / (std::sqrt(s) * unbias + eps);
    }
}

// One element of FTRL-proximal, given the accumulator's roots before and after. z is kept times lr.
inline float ftrl_value(float value, float &z, float g, float root_before, float root, float lr, float beta, float l1,
                        float l2) {
    const float zi = z + lr * g - (root - root_before) * value;
    z = zi;
    const float threshold = lr * l1;
    const float beyond = std::fabs(zi) > threshold ? std::copysign(threshold, zi) - zi : 0.0f;
    return beyond / (beta + root + lr * l2);
}

CARLS_VECTOR inline void ftrl(float *__restrict value, float *__restrict sum, float *__restrict z,
                              const float *__restrict grad, uint32_t n, Pull pull, float lr, float beta, float l1,
                              float l2) {
    for (uint32_t i = 0; i < n; ++i) {
        const float g = pull(grad[i], value[i]);
        const float s = sum[i] + g * g;
        value[i] = ftrl_value(value[i], z[i], g, std::sqrt(sum[i]), std::sqrt(s), lr, beta, l1, l2);
        sum[i] = s;
    }
}

// With another power than the root; no vector code for that.
inline void ftrl_of_power(float *__restrict value, float *__restrict sum, float *__restrict z,
                          const float *__restrict grad, uint32_t n, Pull pull, float lr, float beta, float l1, float l2,
                          float power) {
    for (uint32_t i = 0; i < n; ++i) {
        const float g = pull(grad[i], value[i]);
        const float s = sum[i] + g * g;
        value[i] = ftrl_value(value[i], z[i], g, std::pow(sum[i], power), std::pow(s, power), lr, beta, l1, l2);
        sum[i] = s;
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
