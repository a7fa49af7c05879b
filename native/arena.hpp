// Arena: all memory of one table, addressed by offset so that another process can map it elsewhere.
#pragma once

#include <sys/mman.h>

#include <algorithm>
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
        for (uint64_t i = 0; i < kMaxSegments && segments_[i] != nullptr; ++i) {
            // The pages first, which takes longer, and keeps nobody from mapping memory meanwhile.
            madvise(segments_[i], kSegmentBytes, MADV_DONTNEED);
            munmap(segments_[i], kSegmentBytes);
        }
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
        bool fresh;
        const uint64_t offset = take(bytes, fresh);
        if (!fresh) std::memset(at(offset), 0, bytes);
        return offset;
    }

    // A block with anything in it. Throws std::bad_alloc.
    uint64_t allocate_dirty(uint64_t bytes) {
        bool fresh;
        return take(bytes, fresh);
    }

    // Has memory ready for blocks of so many bytes in all, and some more, as far as the system
    // lets us; so that the system does not look for it and clear it when the blocks are used,
    // under a lock that others wait for. Hold none here. A small arena gets little.
    void make_ready(uint64_t bytes) {
        const uint64_t used = end_.load(std::memory_order_relaxed);
        const uint64_t wanted =
            std::min(used + bytes + std::min(used, kReadyBytes), std::min(limit_, kMaxSegments << kSegmentBits));
        if (ready_.load(std::memory_order_relaxed) >= wanted || wanted < kReadyStep) return;
        const std::unique_lock<std::mutex> guard(ready_mutex_, std::try_to_lock);
        if (!guard.owns_lock()) return;
        for (uint64_t from = ready_; from < wanted; from += kReadyStep) {
            if (!map(from >> kSegmentBits)) return;
            // Others may use the memory already, so nothing may change. MADV_POPULATE_WRITE would
            // keep other threads from mapping memory.
            for (uint64_t page = from; page < from + kReadyStep; page += 4096) {
                at<volatile std::atomic<uint8_t>>(page)->fetch_or(0, std::memory_order_relaxed);
            }
            ready_.store(from + kReadyStep, std::memory_order_relaxed);
        }
    }

    // Maps what blocks of so many bytes in all may need. Throws std::bad_alloc where the system gives
    // no more, before anybody has changed anything.
    void require(uint64_t bytes) {
        const uint64_t end = end_.load(std::memory_order_relaxed) + bytes;
        for (uint64_t segment = end_.load(std::memory_order_relaxed) >> kSegmentBits; segment <= end >> kSegmentBits; ++segment) {
            if (!map(segment)) throw std::bad_alloc();
        }
    }

    // Gives a block back for blocks of the same size; only powers of two from 64 on are used again.
    // Never throws: a block that cannot be noted for want of memory is not used again.
    void release(uint64_t offset, uint64_t bytes) noexcept {
        bytes = round_up(bytes);
        used_.fetch_sub(bytes, std::memory_order_relaxed);
        if (!is_power_of_two(bytes)) return;
        const std::lock_guard<std::mutex> guard(mutex_);
        try {
            free_[bits(bytes)].push_back(offset);
        } catch (const std::bad_alloc &) {
        }
    }

    // Bytes that blocks may take together. Called before the first one.
    void set_limit(uint64_t bytes) { limit_ = bytes; }

    // Bytes in blocks handed out. Waits for nobody.
    uint64_t used() const { return used_.load(std::memory_order_relaxed); }

private:
    static uint64_t round_up(uint64_t bytes) { return (bytes + 63) & ~uint64_t{63}; }
    static bool is_power_of_two(uint64_t x) { return (x & (x - 1)) == 0; }
    static unsigned bits(uint64_t x) { return 63 - static_cast<unsigned>(__builtin_clzll(x)); }

    // Of the memory made ready ahead: at once, and in all. A step is one large page.
    static constexpr uint64_t kReadyStep = uint64_t{2} << 20, kReadyBytes = uint64_t{4} << 20;

    // `fresh`: nobody had the block before, so it holds zeros.
    uint64_t take(uint64_t bytes, bool &fresh) {
        bytes = round_up(bytes);
        if (bytes > kSegmentBytes) throw std::bad_alloc();
        const std::lock_guard<std::mutex> guard(mutex_);
        if (bytes > limit_ || used() > limit_ - bytes) throw std::bad_alloc();
        std::vector<uint64_t> &freed = free_[bits(bytes)];
        fresh = !is_power_of_two(bytes) || freed.empty();
        uint64_t offset;
        if (fresh) {
            offset = end_.load(std::memory_order_relaxed);
            if ((offset & (kSegmentBytes - 1)) + bytes > kSegmentBytes) {
                offset = (offset + kSegmentBytes - 1) & ~(kSegmentBytes - 1);
            }
            if (!map(offset >> kSegmentBits)) throw std::bad_alloc();
            end_.store(offset + bytes, std::memory_order_relaxed);
        } else {
            offset = freed.back();
            freed.pop_back();
        }
        used_.fetch_add(bytes, std::memory_order_relaxed);
        return offset;
    }

    // Has the segment there; false for want of memory.
    bool map(uint64_t segment) {
        if (segment >= kMaxSegments) return false;
        if (segments_[segment].load(std::memory_order_acquire) != nullptr) return true;
        void *memory = mmap(nullptr, kSegmentBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return false;
#ifdef MADV_HUGEPAGE
        // Scattered rows miss the TLB on small pages.
        madvise(memory, kSegmentBytes, MADV_HUGEPAGE);
#endif
        uint8_t *none = nullptr;
        if (!segments_[segment].compare_exchange_strong(none, static_cast<uint8_t *>(memory))) {
            munmap(memory, kSegmentBytes);  // another thread was faster
        }
        return true;
    }

    std::unique_ptr<std::atomic<uint8_t *>[]> segments_;
    std::atomic<uint64_t> end_{0};    // blocks were handed out from below here
    std::atomic<uint64_t> used_{0};
    std::atomic<uint64_t> ready_{0};  // memory is ready below here
    uint64_t limit_ = UINT64_MAX;
    std::vector<uint64_t> free_[64];
    std::mutex mutex_, ready_mutex_;
};

// Blocks of any size for keys and lists, cut from the arena. Not thread-safe: one per stripe,
// under the stripe's lock. Freed blocks are chained through their first 8 bytes.
class BlockHeap {
public:
    explicit BlockHeap(Arena &arena) : arena_(&arena) {}

    uint64_t allocate(uint64_t bytes) {
        if (bytes > kLargest) return arena_->allocate_dirty(power_of_two(bytes));
        const unsigned size_class = class_of(bytes);
        if (free_[size_class] != 0) {
            const uint64_t offset = free_[size_class];
            std::memcpy(&free_[size_class], arena_->at(offset), 8);
            return offset;
        }
        const uint64_t size = (size_class + 1) * 8;
        if (left_ < size) {
            begin_ = arena_->allocate_dirty(kChunk);
            left_ = kChunk;
        }
        const uint64_t offset = begin_;
        begin_ += size;
        left_ -= size;
        return offset;
    }

    // Bytes that the arena would have to give for such a block.
    uint64_t growth(uint64_t bytes) const {
        if (bytes > kLargest) return power_of_two(bytes);
        const unsigned size_class = class_of(bytes);
        return free_[size_class] != 0 || left_ >= (size_class + 1) * 8 ? 0 : kChunk;
    }

    // Whether a block of the one size, once released, serves for the other.
    static bool same_block(uint64_t bytes, uint64_t others) {
        if (bytes > kLargest || others > kLargest) return power_of_two(bytes) == power_of_two(others);
        return class_of(bytes) == class_of(others);
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
