// Records: what a row of an embedding table holds — its value, float32 or float16, and behind it the
// optimizer's state, float32.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "half.hpp"
#include "initializer.hpp"
#include "optimizer.hpp"
#include "row_store.hpp"

namespace carls {

class Records {
public:
    Records(const VectorLayout &vector, const Initializer &initializer, const std::string &optimizer,
            const Parameters &parameters)
        : vector_(vector), dim_(vector.dim), state_offset_((vector.bytes() + 3) & ~3u), initializer_(initializer),
          optimizer_(optimizer, parameters) {}

    const VectorLayout &vector() const { return vector_; }
    // Of a row's payload.
    uint32_t bytes() const {
        return state_offset_ + optimizer_.state_floats(dim_) * static_cast<uint32_t>(sizeof(float));
    }
    // Floats of a record as it travels: the value, and the state behind it.
    uint32_t floats() const { return dim_ + optimizer_.state_floats(dim_); }
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
        std::memcpy(to + dim_, from + state_offset_, (floats() - dim_) * sizeof(float));
    }

    // Sets the first `width` floats of the record: the value alone, or all of it.
    void write(RowHeader *row, const float *from, uint32_t width) const {
        uint8_t *to = RowStore::payload(row);
        if (vector_.half) {
            to_halves(reinterpret_cast<uint16_t *>(to), from, dim_);
        } else {
            std::memcpy(to, from, vector_.bytes());
        }
        std::memcpy(to + state_offset_, from + dim_, (width - dim_) * sizeof(float));
    }

private:
    float *state(RowHeader *row) const {
        return reinterpret_cast<float *>(RowStore::payload(row) + state_offset_);
    }

    const VectorLayout vector_;
    const uint32_t dim_, state_offset_;
    const Initializer initializer_;
    Optimizer optimizer_;
};

}  // namespace carls
