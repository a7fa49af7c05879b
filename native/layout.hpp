// What lies where in a table's arena: enough for another process to map it and read rows.
//
// A reader finds the table header at offset 0 and the stripes behind it. It takes a consistent
// copy of a row without a lock: read the stripe's sequence (even, or wait), probe the index,
// copy the row, read the sequence again; if it changed, start over. Offsets that it reads
// meanwhile may be old, but never point outside the arena; what lies there may be used for
// something else by now, so the sequence is also read before an offset found there is followed.
#pragma once

#include <atomic>
#include <cstdint>

namespace carls {

constexpr uint32_t kStripeBits = 6;
constexpr uint32_t kStripes = 1 << kStripeBits;

// A slot of the index: 0 when empty, else bits 40 to 48 of the key's hash above (row number + 1).
constexpr uint32_t kRowBits = 23;
constexpr uint32_t kRowMask = (1u << kRowBits) - 1;
constexpr uint32_t kMaxRowsPerStripe = kRowMask - 1;

// Of a hash, the top bits choose the stripe, those from kIndexShift on the entry of its index, and
// the low bits the first slot to probe in the page that the entry names.
constexpr uint32_t kIndexShift = 24, kMaxIndexBits = 14;

struct IndexEntry {
    std::atomic<uint64_t> page;  // offset of 2^b slots of 4 bytes, plus b
    uint32_t depth;              // the page's keys agree in so many bits from kIndexShift on
    uint32_t live;               // slots in use, counted in the first of the entries of a page
};
static_assert(sizeof(IndexEntry) == 16);

// In a cache line of its own, as its lock is: threads at work on neighbours do not meet.
struct alignas(64) StripeHeader {
    std::atomic<uint64_t> sequence;   // odd while a writer is at work
    std::atomic<uint64_t> index;      // offset of 2^b entries, plus b; 0: none yet
    std::atomic<uint64_t> directory;  // offset of the offsets of the chunks of rows
    std::atomic<uint32_t> rows_end;   // row numbers below this have been used
    std::atomic<uint32_t> live;       // rows that are there
    uint32_t directory_capacity;
    uint32_t free_row;                // row number + 1 of the first freed row, 0 for none
    std::atomic<uint64_t> changes;    // rows made and removed so far
};

struct TableHeader {
    uint64_t magic;
    uint32_t stripes, row_bytes, chunk_bits, payload_offset;
    StripeHeader stripe[kStripes];
};

constexpr uint64_t kMagic = 0x31736c726163ULL;  // "carls1"

// In front of every row's payload (value and optimizer state, or features). 32 bytes, so that
// rows of the usual sizes start at half a cache line and need one line less than with 40.
struct RowHeader {
    uint64_t key;      // see keys.hpp; in a freed row the next freed row
    int64_t step;      // of the last write; -1: never said
    uint32_t written;  // low bits of the time of the last write, in ticks of the bank's clock
    uint32_t version;  // writes so far
    std::atomic<uint32_t> count;  // training look-ups so far; also counted under a shared lock
    uint8_t written_high;
    uint8_t mark;       // kFree, kLive, or kMarked while a writer at work takes notes
    uint16_t producer;  // index into the bank's list of names

    // Ticks since the bank's start; 40 bits are 3.4 years.
    uint64_t written_at() const { return uint64_t{written_high} << 32 | written; }
    void set_written_at(uint64_t ticks) {
        written = static_cast<uint32_t>(ticks);
        written_high = static_cast<uint8_t>(ticks >> 32);
    }
};
static_assert(sizeof(RowHeader) == 32);

constexpr double kSecondsPerTick = 1e-4;
constexpr uint8_t kFree = 0, kLive = 1, kMarked = 2;

// What is told about a row; ROW_META in messages.py.
struct RowMeta {
    uint32_t version, count;
    int64_t step;
    double age;
    uint32_t producer;
    uint32_t truths;  // bytes: found, created, fresh, reserved

    static constexpr uint32_t kFound = 1, kCreated = 1 << 8, kFresh = 1 << 16;
};
static_assert(sizeof(RowMeta) == 32);

}  // namespace carls
