// Optimizers: what a gradient does to a row's value and state.
#pragma once

#include <cstdint>

#include "kernels.hpp"

namespace carls {

struct Optimizer {
    enum class Kind { None, SGD, Adagrad };

    Kind kind = Kind::None;
    float lr = 0, eps = 0, initial_accumulator = 0;

    // Floats of state of a row of `dim` elements.
    uint32_t state_floats(uint32_t dim) const { return kind == Kind::Adagrad ? dim : 0; }

    void start(float *state, uint32_t dim) const {
        for (uint32_t i = 0, n = state_floats(dim); i < n; ++i) state[i] = initial_accumulator;
    }

    void apply(float *value, float *state, const float *grad, uint32_t dim) const {
        if (kind == Kind::SGD) sgd(value, grad, dim, lr);
        if (kind == Kind::Adagrad) adagrad(value, state, grad, dim, lr, eps);
    }
};

}  // namespace carls
