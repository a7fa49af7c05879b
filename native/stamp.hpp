// What a write puts on a row, and what a reader is told about it.
#pragma once

#include <cmath>
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
        tell(row);
        ++row->version;
    }
    // For a gradient that waits: the version comes when it is applied, and nobody sees the row before.
    void tell(RowHeader *row) const {
        row->step = step;
        row->producer = producer;
        row->set_written_at(now);
    }
    void put_on(RowHeader *row, uint32_t) const { put_on(row); }
};

// What rows that were moved here were: for each position of a batch, what is told about a row.
struct Restored {
    const RowMeta *meta;
    uint64_t now;  // ticks of the bank's clock; ages count back from here

    void put_on(RowHeader *row, uint32_t i) const {
        const double age = std::round(meta[i].age / kSecondsPerTick);
        row->step = meta[i].step;
        row->producer = static_cast<uint16_t>(meta[i].producer);
        row->set_written_at(age < static_cast<double>(now) ? now - static_cast<uint64_t>(age) : 0);
        row->version = meta[i].version;
        row->count.store(meta[i].count, std::memory_order_relaxed);
    }
};

// Written field by field to where it belongs: built elsewhere and copied, it would make the
// processor wait for its own narrow stores.
inline void describe(const RowHeader *row, uint64_t now, const AgeBound &bound, RowMeta &meta) {
    const uint64_t written = row->written_at();
    const double age = now > written ? static_cast<double>(now - written) * kSecondsPerTick : 0.0;
    meta.version = row->version;
    meta.count = row->count.load(std::memory_order_relaxed);
    meta.step = row->step;
    meta.age = age;
    meta.producer = row->producer;
    meta.truths = RowMeta::kFound | (row->step >= bound.min_step && age <= bound.max_age ? RowMeta::kFresh : 0);
}

// What is told about a row that is not there.
inline void describe_absent(RowMeta &meta) { meta = RowMeta{0, 0, -1, 0.0, 0, 0}; }

}  // namespace carls
