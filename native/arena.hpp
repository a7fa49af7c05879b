// Arena: all memory of one table, addressed by offset so that another process can map it elsewhere.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace carls {

// Hands out blocks at 64-byte aligned offsets. Blocks never move, never straddle a segment
// and are never unmapped while the arena lives, so a stale offset reads old bytes, not a fault.
class Arena {
public:
    static constexpr unsigned kSegmentBits = 26;  // 64 MiB: also the largest block
    static constexpr uint64_t kSegmentBytes = uint64_t{1} << kSegmentBits;
    static constexpr uint64_t kMaxSegments = 1 << 14;  // 1 TiB

    Arena() : segments_(new std::atomic<uint8_t *>[kMaxSegments]()) {}
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    ~Arena() {
        for (uint64_t i = 0; i < segment_count_; ++i) munmap(segments_[i].load(), kSegmentBytes);
    }

    uint8_t *at(uint64_t offset) const {
        return segments_[offset >> kSegmentBits].load(std::memory_order_relaxed) + (offset & (kSegmentBytes - 1));
    }
    template <class T>
    T *at(uint64_t offset) const {
        return reinterpret_cast<T *>(at(offset));
    }

    // A block of zeros. Throws std::bad_alloc.
    uint64_t allocate(uint64_t bytes) {
        const std::lock_guard<std::mutex> guard(mutex_);
        bytes = round_up(bytes);
        used_ += bytes;
        std::vector<uint64_t> &freed = free_[bits(bytes)];
        if (is_power_of_two(bytes) && !freed.empty()) {
            const uint64_t offset = freed.back();
            freed.pop_back();
            std::memset(at(offset), 0, bytes);
            return offset;
        }
        if (segment_count_ == 0 || (end_ & (kSegmentBytes - 1)) + bytes > kSegmentBytes ||
            end_ == segment_count_ * kSegmentBytes) {
            try {
                grow(bytes);
            } catch (...) {
                used_ -= bytes;
                throw;
            }
        }
        const uint64_t offset = end_;
        end_ += bytes;
        return offset;
    }

    // Gives a block back for blocks of the same size; only powers of two from 64 on are used again.
    // Never throws: a block that cannot be noted for want of memory is not used again.
    void release(uint64_t offset, uint64_t bytes) noexcept {
        const std::lock_guard<std::mutex> guard(mutex_);
        bytes = round_up(bytes);
        used_ -= bytes;
        if (!is_power_of_two(bytes)) return;
        try {
            free_[bits(bytes)].push_back(offset);
        } catch (const std::bad_alloc &) {
        }
    }

    // Bytes in blocks handed out.
    uint64_t used() const {
        const std::lock_guard<std::mutex> guard(mutex_);
        return used_;
    }

private:
    static uint64_t round_up(uint64_t bytes) { return (bytes + 63) & ~uint64_t{63}; }
    static bool is_power_of_two(uint64_t x) { return (x & (x - 1)) == 0; }
    static unsigned bits(uint64_t x) { return 63 - static_cast<unsigned>(__builtin_clzll(x)); }

    void grow(uint64_t bytes) {
        if (bytes > kSegmentBytes || segment_count_ == kMaxSegments) throw std::bad_alloc();
        void *memory = mmap(nullptr, kSegmentBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        // Scattered rows miss the TLB on small pages.
        madvise(memory, kSegmentBytes, MADV_HUGEPAGE);
#endif
        segments_[segment_count_].store(static_cast<uint8_t *>(memory), std::memory_order_release);
        end_ = segment_count_ * kSegmentBytes;
        ++segment_count_;
    }

    std::unique_ptr<std::atomic<uint8_t *>[]> segments_;
    uint64_t segment_count_ = 0, end_ = 0, used_ = 0;
    std::vector<uint64_t> free_[64];
    mutable std::mutex mutex_;
};

// Blocks of any size for keys and lists, cut from the arena. Not thread-safe: one per stripe,
// under the stripe's lock. Freed blocks are chained through their first 8 bytes.
class BlockHeap {
public:
    explicit BlockHeap(Arena &arena) : arena_(&arena) {}

    uint64_t allocate(uint64_t bytes) {
        if (bytes > kLargest) return arena_->allocate(power_of_two(bytes));
        const unsigned size_class = class_of(bytes);
        if (free_[size_class] != 0) {
            const uint64_t offset = free_[size_class];
            std::memcpy(&free_[size_class], arena_->at(offset), 8);
            return offset;
        }
        const uint64_t size = (size_class + 1) * 8;
        if (left_ < size) {
            begin_ = arena_->allocate(kChunk);
            left_ = kChunk;
        }
        const uint64_t offset = begin_;
        begin_ += size;
        left_ -= size;
        return offset;
    }

    void release(uint64_t offset, uint64_t bytes) noexcept {
        if (bytes > kLargest) {
            arena_->release(offset, power_of_two(bytes));
            return;
        }
        const unsigned size_class = class_of(bytes);
        std::memcpy(arena_->at(offset), &free_[size_class], 8);
        free_[size_class] = offset;
    }

private:
    static constexpr uint64_t kLargest = 1024, kChunk = 16384;
    static unsigned class_of(uint64_t bytes) { return bytes == 0 ? 0 : static_cast<unsigned>((bytes - 1) / 8); }
    static uint64_t power_of_two(uint64_t bytes) {
        uint64_t size = 2048;
        while (size < bytes) size *= 2;
        return size;
    }

    Arena *arena_;
    uint64_t begin_ = 0, left_ = 0;
    uint64_t free_[kLargest / 8] = {};
};

}  // namespace carls
