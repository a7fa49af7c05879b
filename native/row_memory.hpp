// RowMemory: where the rows of a table lie, in chunks that never move.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <vector>

#include "arena.hpp"
#include "layout.hpp"
#include "limits.hpp"

namespace carls {

class RowMemory {
public:
    // With `uses`, each row has a word that tells of its use; see Eviction.
    RowMemory(uint32_t payload_bytes, const Limits &limits, bool uses)
        : row_bytes_((static_cast<uint32_t>(sizeof(RowHeader)) + payload_bytes + 7) & ~7u),
          uses_(uses),
          limits_(limits) {
        // Small chunks where memory is scarce: the last one of each stripe is used in part.
        chunk_bits_ = limits.any() ? 0 : 4;
        while ((uint64_t{row_bytes_} << chunk_bits_) < (limits.any() ? kSmallChunkBytes : kChunkBytes)) ++chunk_bits_;
        arena_.set_limit(limits.bytes);
        header_ = arena_.at<TableHeader>(arena_.allocate(sizeof(TableHeader)));
        header_->magic = kMagic;
        header_->stripes = 1u << limits.stripe_bits(row_bytes_);
        header_->row_bytes = row_bytes_;
        header_->chunk_bits = chunk_bits_;
        header_->payload_offset = sizeof(RowHeader);
        heaps_.reserve(kStripes);
        for (uint32_t s = 0; s < kStripes; ++s) heaps_.emplace_back(arena_);
    }

    Arena &arena() { return arena_; }
    const Arena &arena() const { return arena_; }
    BlockHeap &heap(uint32_t stripe) { return heaps_[stripe]; }
    uint64_t bytes() const { return arena_.used(); }
    const Limits &limits() const { return limits_; }
    bool fits(uint64_t bytes) const { return bytes == 0 || arena_.used() + bytes <= limits_.bytes; }
    uint32_t row_bytes() const { return row_bytes_; }
    bool uses() const { return uses_; }

    // Row numbers in use or freed in a stripe. Under its lock.
    uint32_t rows_end(uint32_t stripe) const { return header_->stripe[stripe].rows_end.load(std::memory_order_relaxed); }

    RowHeader *row(uint32_t stripe, uint32_t number) const {
        return row(arena_.at<uint64_t>(header_->stripe[stripe].directory.load(std::memory_order_relaxed)), number);
    }
    RowHeader *row(const uint64_t *directory, uint32_t number) const {
        const uint64_t chunk = directory[number >> chunk_bits_];
        return arena_.at<RowHeader>(chunk + uint64_t{number & ((1u << chunk_bits_) - 1)} * row_bytes_);
    }
    // The row's word of use, behind the rows of its chunk; 0 while there is no row.
    std::atomic<uint64_t> *use(uint32_t stripe, uint32_t number) const {
        return use(arena_.at<uint64_t>(header_->stripe[stripe].directory.load(std::memory_order_relaxed)), number);
    }
    std::atomic<uint64_t> *use(const uint64_t *directory, uint32_t number) const {
        const uint64_t uses = directory[number >> chunk_bits_] + (uint64_t{row_bytes_} << chunk_bits_);
        return arena_.at<std::atomic<uint64_t>>(uses) + (number & ((1u << chunk_bits_) - 1));
    }
    static uint8_t *payload(RowHeader *row) { return reinterpret_cast<uint8_t *>(row + 1); }

    // Has memory ready for so many new rows and some more; see Arena. Under no lock.
    void make_ready(uint64_t rows) { arena_.make_ready(rows * row_bytes_); }

protected:
    // Bytes that the arena has to give before a stripe has one more row number.
    uint64_t growth(uint32_t stripe) const {
        const StripeHeader &header = header_->stripe[stripe];
        const uint32_t number = rows_end(stripe);
        if ((number & ((1u << chunk_bits_) - 1)) != 0) return 0;
        const bool full = number >> chunk_bits_ == header.directory_capacity;
        return chunk_bytes() + (full ? 16 * std::max(header.directory_capacity, 8u) : 0);
    }

    // A row number that was never used, its row free. Under the stripe's write lock. Throws std::bad_alloc,
    // and nothing was added.
    uint32_t add_row(uint32_t stripe) {
        StripeHeader &header = header_->stripe[stripe];
        const uint32_t number = rows_end(stripe);
        if (number >= kMaxRowsPerStripe) throw std::bad_alloc();
        const uint32_t chunk = number >> chunk_bits_;
        if ((number & ((1u << chunk_bits_) - 1)) == 0) {
            if (chunk == header.directory_capacity) grow_directory(header);
            const uint64_t rows = arena_.allocate(chunk_bytes());
            arena_.at<uint64_t>(header.directory.load(std::memory_order_relaxed))[chunk] = rows;
        }
        header.rows_end.store(number + 1, std::memory_order_relaxed);
        row(stripe, number)->mark = kFree;
        return number;
    }

    // Without the words of use, in bytes.
    uint64_t chunk_of_rows() const { return uint64_t{row_bytes_} << chunk_bits_; }

    Arena arena_;
    TableHeader *header_;
    std::vector<BlockHeap> heaps_;

private:
    static constexpr uint64_t kChunkBytes = 32768, kSmallChunkBytes = 8192;

    uint64_t chunk_bytes() const { return uint64_t{row_bytes_ + (uses_ ? 8 : 0)} << chunk_bits_; }

    void grow_directory(StripeHeader &header) {
        const uint32_t old_capacity = header.directory_capacity;
        const uint32_t capacity = old_capacity == 0 ? 8 : old_capacity * 2;
        const uint64_t grown = arena_.allocate(uint64_t{8} * capacity);
        if (old_capacity != 0) {
            const uint64_t old = header.directory.load(std::memory_order_relaxed);
            std::memcpy(arena_.at(grown), arena_.at(old), uint64_t{8} * old_capacity);
            arena_.release(old, uint64_t{8} * old_capacity);
        }
        header.directory.store(grown, std::memory_order_relaxed);
        header.directory_capacity = capacity;
    }

    uint32_t row_bytes_, chunk_bits_;
    const bool uses_;
    const Limits limits_;
};

}  // namespace carls
