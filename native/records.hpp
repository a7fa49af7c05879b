// Records: what a row of an embedding table holds — its value, float32 or float16, and behind it the
// optimizer's state, float32. Between them, where gradients wait, what is known of the row's contributions.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "half.hpp"
#include "initializer.hpp"
#include "optimizer.hpp"
#include "row_store.hpp"

namespace carls {

// The contributions to a row so far; the first two travel with the row's state.
struct Contributions {
    float mean_norm, seen;
    uint32_t pending;  // number of the sum of those that wait, plus 1; 0: none does
};

class Records {
public:
    Records(const VectorLayout &vector, const Initializer &initializer, const std::string &optimizer,
            const Parameters &parameters, bool lazy)
        : vector_(vector), dim_(vector.dim), contributions_offset_((vector.bytes() + 3) & ~3u),
          state_offset_(contributions_offset_ + (lazy ? static_cast<uint32_t>(sizeof(Contributions)) : 0)), lazy_(lazy),
          initializer_(initializer), optimizer_(optimizer, parameters), state_floats_(optimizer_.state_floats(dim_)) {}

    const VectorLayout &vector() const { return vector_; }
    // Of a row's payload, and of the part of it that look-ups need.
    uint32_t bytes() const { return state_offset_ + state_floats_ * static_cast<uint32_t>(sizeof(float)); }
    uint32_t looked_at_bytes() const { return lazy_ ? state_offset_ : vector_.bytes(); }
    // Floats of a record as it travels: the value, the state, and what is known of contributions.
    uint32_t floats() const { return dim_ + state_floats_ + (lazy_ ? kKnownFloats : 0); }
    void set_lr(float lr) { optimizer_.set_lr(lr); }

    // Room for one vector as float32, where it is another in the row.
    std::vector<float> room() const { return std::vector<float>(vector_.half ? dim_ : 0); }

    // Makes the first value of a key's row.
    void fill(uint64_t key, uint8_t *value, std::vector<float> &wide) const {
        if (!vector_.half) return initializer_.fill(key, reinterpret_cast<float *>(value), dim_);
        initializer_.fill(key, wide.data(), dim_);
        to_halves(reinterpret_cast<uint16_t *>(value), wide.data(), dim_);
    }

    // A new row: that value, and state at its start.
    void start(RowHeader *row, const uint8_t *value) const {
        std::memcpy(RowStore::payload(row), value, vector_.bytes());
        optimizer_.start(state(row), dim_);
        if (lazy_) *contributions(row) = {};
    }

    // Only where gradients wait.
    const Contributions *contributions(const RowHeader *row) const {
        const auto *payload = reinterpret_cast<const uint8_t *>(row + 1);
        return reinterpret_cast<const Contributions *>(payload + contributions_offset_);
    }
    Contributions *contributions(RowHeader *row) const {
        return reinterpret_cast<Contributions *>(RowStore::payload(row) + contributions_offset_);
    }

    // One step of a row, in float32. Returns whether the gradient was clipped.
    bool step(RowHeader *row, const float *gradient, std::vector<float> &wide) const {
        uint8_t *value = RowStore::payload(row);
        if (!vector_.half) return optimizer_.apply(reinterpret_cast<float *>(value), state(row), gradient, dim_);
        to_floats(wide.data(), reinterpret_cast<const uint16_t *>(value), dim_);
        const bool clipped = optimizer_.apply(wide.data(), state(row), gradient, dim_);
        to_halves(reinterpret_cast<uint16_t *>(value), wide.data(), dim_);
        return clipped;
    }

    // The record in floats, whatever the value is in the row.
    void read(const RowHeader *row, float *to) const {
        const uint8_t *from = reinterpret_cast<const uint8_t *>(row + 1);
        if (vector_.half) {
            to_floats(to, reinterpret_cast<const uint16_t *>(from), dim_);
        } else {
            std::memcpy(to, from, vector_.bytes());
        }
        std::memcpy(to + dim_, from + state_offset_, state_floats_ * sizeof(float));
        if (lazy_) std::memcpy(to + dim_ + state_floats_, contributions(row), kKnownFloats * sizeof(float));
    }

    // Sets the record of `width` floats: the value alone, or all of it.
    void write(RowHeader *row, const float *from, uint32_t width) const {
        uint8_t *to = RowStore::payload(row);
        if (vector_.half) {
            to_halves(reinterpret_cast<uint16_t *>(to), from, dim_);
        } else {
            std::memcpy(to, from, vector_.bytes());
        }
        if (width == dim_) return;
        std::memcpy(to + state_offset_, from + dim_, state_floats_ * sizeof(float));
        if (lazy_) std::memcpy(contributions(row), from + dim_ + state_floats_, kKnownFloats * sizeof(float));
    }

private:
    static constexpr uint32_t kKnownFloats = 2;

    float *state(RowHeader *row) const {
        return reinterpret_cast<float *>(RowStore::payload(row) + state_offset_);
    }

    const VectorLayout vector_;
    const uint32_t dim_, contributions_offset_, state_offset_;
    const bool lazy_;
    const Initializer initializer_;
    Optimizer optimizer_;
    const uint32_t state_floats_;
};

}  // namespace carls
