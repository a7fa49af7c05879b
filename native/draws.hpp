// Draws: evenly distributed numbers of one stream.
#pragma once

#include <cstdint>

#include "random.hpp"

namespace carls {

class Draws {
public:
    Draws(uint64_t key0, uint64_t key1) : random_(key0, key1) {}

    // Evenly in [0, 1).
    double unit() { return static_cast<double>(random_.next() >> 11) * 0x1p-53; }
    // Evenly in 0 .. n - 1; the error of a probability is below n * 2^-64.
    uint32_t below(uint32_t n) {
        return static_cast<uint32_t>(static_cast<unsigned __int128>(random_.next()) * n >> 64);
    }

private:
    Philox random_;
};

}  // namespace carls
