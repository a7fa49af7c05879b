// Optimizers: what a gradient does to a row's value and state. carls/specs/optimizers.py has the
// formulas, their sources and the checks of the parameters.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>

#include "kernels.hpp"

namespace carls {

// An optimizer's parameters by name, as its policy in Python has them.
using Parameters = std::map<std::string, double>;

// One rule each. state_floats(dim) floats of state lie behind a row's value; the first dim of them
// start as initial(), further ones as 0.
namespace rules {

struct None {
    uint32_t state_floats(uint32_t) const { return 0; }
    float initial() const { return 0; }
    void apply(float *, float *, const float *, uint32_t, Pull, float) const {}
};

struct SGD {
    uint32_t state_floats(uint32_t) const { return 0; }
    float initial() const { return 0; }
    void apply(float *value, float *, const float *grad, uint32_t dim, Pull pull, float lr) const {
        sgd(value, grad, dim, pull, lr);
    }
};

struct Momentum {  // state: velocity
    float momentum;
    bool nesterov;

    uint32_t state_floats(uint32_t dim) const { return dim; }
    float initial() const { return 0; }
    void apply(float *value, float *state, const float *grad, uint32_t dim, Pull pull, float lr) const {
        momentum_sgd(value, state, grad, dim, pull, lr, momentum, nesterov ? 1.0f : 0.0f, nesterov ? momentum : 1.0f);
    }
};

struct Adagrad {  // state: sums of squares
    float eps, initial_accumulator;

    uint32_t state_floats(uint32_t dim) const { return dim; }
    float initial() const { return initial_accumulator; }
    void apply(float *value, float *state, const float *grad, uint32_t dim, Pull pull, float lr) const {
        adagrad(value, state, grad, dim, pull, lr, eps);
    }
};

struct RowwiseAdagrad {  // state: one sum of mean squares
    float eps, initial_accumulator;

    uint32_t state_floats(uint32_t) const { return 1; }
    float initial() const { return initial_accumulator; }
    void apply(float *value, float *state, const float *grad, uint32_t dim, Pull pull, float lr) const {
        state[0] += static_cast<float>(sum_of_squares(value, grad, dim, pull) / dim);
        sgd(value, grad, dim, pull, lr / (std::sqrt(state[0]) + eps));
    }
};

struct Adam {  // state: number of updates, mean, mean square
    double beta1, beta2;
    float eps;
    // exp(t * log(beta)) takes a third of the time of pow(beta, t).
    double log_beta1 = std::log(beta1), log_beta2 = std::log(beta2);

    uint32_t state_floats(uint32_t dim) const { return 2 * dim + 1; }
    float initial() const { return 0; }
    void apply(float *value, float *state, const float *grad, uint32_t dim, Pull pull, float lr) const {
        // A float counts exactly to 2^24 and stays there; the corrections are 1 long before.
        const double t = state[0] += 1.0f;
        const double step = lr / (1 - std::exp(t * log_beta1)), unbias = 1 / std::sqrt(1 - std::exp(t * log_beta2));
        adam(value, state + 1, state + 1 + dim, grad, dim, pull, static_cast<float>(step), static_cast<float>(unbias),
             static_cast<float>(1 - beta1), static_cast<float>(beta2), static_cast<float>(1 - beta2), eps);
    }
};

struct FTRL {  // state: sums of squares, lr * z
    float lr_power, initial_accumulator, beta, l1, l2;

    uint32_t state_floats(uint32_t dim) const { return 2 * dim; }
    float initial() const { return initial_accumulator; }
    void apply(float *value, float *state, const float *grad, uint32_t dim, Pull pull, float lr) const {
        if (lr_power == -0.5f) {
            ftrl(value, state, state + dim, grad, dim, pull, lr, beta, l1, l2);
        } else {
            ftrl_of_power(value, state, state + dim, grad, dim, pull, lr, beta, l1, l2, -lr_power);
        }
    }
};

}  // namespace rules

class Optimizer {
public:
    // Throws std::invalid_argument for another name, std::out_of_range where a parameter is missing.
    Optimizer(const std::string &name, const Parameters &parameters)
        : rule_(rule_of(name, parameters)), lr_(number(parameters, "lr")), decay_(number(parameters, "weight_decay")) {
        const auto bound = parameters.find("max_norm");
        if (bound != parameters.end()) max_norm_ = bound->second;
    }

    // Floats of state of a row of `dim` elements.
    uint32_t state_floats(uint32_t dim) const {
        return std::visit([&](const auto &rule) { return rule.state_floats(dim); }, rule_);
    }

    void start(float *state, uint32_t dim) const {
        const float initial = std::visit([](const auto &rule) { return rule.initial(); }, rule_);
        for (uint32_t i = 0, n = state_floats(dim); i < n; ++i) state[i] = i < dim ? initial : 0.0f;
    }

    // One step of a row. Returns whether the gradient was longer than it may be, and was clipped.
    bool apply(float *value, float *state, const float *grad, uint32_t dim) const {
        Pull pull{1.0f, decay_};
        bool clipped = false;
        if (max_norm_ < std::numeric_limits<double>::infinity()) {
            const double norm = std::sqrt(sum_of_squares(value, grad, dim, Pull{1.0f, 0.0f}));
            clipped = norm > max_norm_;
            if (clipped) pull.scale = static_cast<float>(max_norm_ / norm);
        }
        const float lr = lr_.load(std::memory_order_relaxed);
        std::visit([&](const auto &rule) { rule.apply(value, state, grad, dim, pull, lr); }, rule_);
        return clipped;
    }

    // May be called while others apply: each of their rows is changed at the one rate or the other.
    void set_lr(float lr) { lr_.store(lr, std::memory_order_relaxed); }

private:
    using Rule = std::variant<rules::None, rules::SGD, rules::Momentum, rules::Adagrad, rules::RowwiseAdagrad,
                              rules::Adam, rules::FTRL>;

    static float number(const Parameters &parameters, const char *name) {
        return static_cast<float>(parameters.at(name));
    }

    static Rule rule_of(const std::string &name, const Parameters &p) {
        if (name == "none") return rules::None{};
        if (name == "sgd") return rules::SGD{};
        if (name == "momentum") return rules::Momentum{number(p, "momentum"), p.at("nesterov") != 0};
        if (name == "adagrad") return rules::Adagrad{number(p, "eps"), number(p, "initial_accumulator")};
        if (name == "rowwise_adagrad") return rules::RowwiseAdagrad{number(p, "eps"), number(p, "initial_accumulator")};
        if (name == "adam") return rules::Adam{p.at("beta1"), p.at("beta2"), number(p, "eps")};
        if (name == "ftrl") {
            return rules::FTRL{number(p, "lr_power"), number(p, "initial_accumulator"), number(p, "beta"),
                               number(p, "l1"), number(p, "l2")};
        }
        throw std::invalid_argument("unknown optimizer " + name);
    }

    const Rule rule_;
    std::atomic<float> lr_;
    const float decay_;
    double max_norm_ = std::numeric_limits<double>::infinity();
};

}  // namespace carls
