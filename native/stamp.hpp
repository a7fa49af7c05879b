// What a write puts on a row, and what a reader is told about it.
#pragma once

#include <cstdint>

#include "layout.hpp"

namespace carls {

// Bounds on the age of a row that is to count as fresh.
struct AgeBound {
    int64_t min_step;    // INT64_MIN where any step will do
    double max_age;      // seconds; infinite where any age will do
};

// Who writes, and when.
struct Stamp {
    int64_t step;
    uint16_t producer;
    uint64_t now;  // ticks of the bank's clock

    void put_on(RowHeader *row) const {
        row->step = step;
        row->producer = producer;
        row->set_written_at(now);
        ++row->version;
    }
};

inline RowMeta describe(const RowHeader *row, uint64_t now, const AgeBound &bound) {
    RowMeta meta{};
    meta.version = row->version;
    meta.count = row->count.load(std::memory_order_relaxed);
    meta.step = row->step;
    const uint64_t written = row->written_at();
    meta.age = now > written ? static_cast<double>(now - written) * kSecondsPerTick : 0.0;
    meta.producer = row->producer;
    meta.found = 1;
    meta.fresh = row->step >= bound.min_step && meta.age <= bound.max_age;
    return meta;
}

// What is told about a row that is not there.
inline RowMeta absent() {
    RowMeta meta{};
    meta.step = -1;
    return meta;
}

}  // namespace carls
