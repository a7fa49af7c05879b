// Limits: how many rows and bytes a table may have.
#pragma once

#include <algorithm>
#include <cstdint>

#include "layout.hpp"

namespace carls {

// How large a table may grow: it has fewer stripes if it is to stay small, so that each has enough
// rows to choose from when one has to go.
struct Limits {
    uint64_t rows = UINT64_MAX, bytes = UINT64_MAX;

    bool any() const { return rows != UINT64_MAX || bytes != UINT64_MAX; }
    // Where so many of the bytes are taken by something else.
    Limits without(uint64_t taken) const { return {rows, bytes == UINT64_MAX ? bytes : bytes - taken}; }
    uint32_t stripe_bits(uint32_t row_bytes) const {
        const uint64_t most = std::min(rows, bytes / row_bytes);
        uint32_t bits = 0;
        while (bits < kStripeBits && most >> (bits + 1) >= 1024) ++bits;
        return bits;
    }
};

}  // namespace carls
