// Memory of the arrays that Python gets: blocks that come back are kept for the next results.
//
// The C library's allocator gives blocks of a look-up's size back to the system whenever its heap
// happens to end there; taking them anew costs up to 0.2 ms of page faults in each call.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdlib>
#include <initializer_list>
#include <mutex>
#include <new>
#include <vector>

namespace carls {

namespace nb = nanobind;

class ResultBlocks {
public:
    // One for the process; never destroyed, as arrays may outlive everything else.
    static ResultBlocks &shared() {
        static ResultBlocks *blocks = new ResultBlocks();
        return *blocks;
    }

    // At least so many bytes, aligned for any use. Throws std::bad_alloc.
    void *take(size_t bytes) {
        const unsigned bits = size_bits(bytes);
        if (bits <= kMostBits) {
            const std::lock_guard<std::mutex> guard(mutex_);
            std::vector<void *> &free = free_[bits];
            if (!free.empty()) {
                void *block = free.back();
                free.pop_back();
                return block;
            }
        }
        void *block = std::aligned_alloc(64, bits <= kMostBits ? size_t{1} << bits : (bytes + 63) & ~size_t{63});
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }

    void give_back(void *block, size_t bytes) noexcept {
        const unsigned bits = size_bits(bytes);
        if (bits <= kMostBits) {
            const std::lock_guard<std::mutex> guard(mutex_);
            if (free_[bits].size() < kMostKept) return free_[bits].push_back(block);
        }
        std::free(block);
    }

private:
    static constexpr unsigned kLeastBits = 12, kMostBits = 22;
    static constexpr size_t kMostKept = 4;  // of each size: 32 MiB at most in all

    ResultBlocks() {
        for (std::vector<void *> &free : free_) free.reserve(kMostKept);
    }

    static unsigned size_bits(size_t bytes) {
        unsigned bits = kLeastBits;
        while ((size_t{1} << bits) < bytes) ++bits;
        return bits;
    }

    std::mutex mutex_;
    std::vector<void *> free_[kMostBits + 1];
};

// An array whose memory goes back to the blocks with it; its elements are as they come.
template <class T>
struct Result {
    T *data;
    nb::object array;

    explicit Result(std::initializer_list<size_t> shape) {
        size_t bytes = sizeof(T);
        for (const size_t extent : shape) bytes *= extent;
        auto *block = new Block{nullptr, bytes};
        const nb::capsule owner(block, [](void *p) noexcept {
            auto *held = static_cast<Block *>(p);
            if (held->memory != nullptr) ResultBlocks::shared().give_back(held->memory, held->bytes);
            delete held;
        });
        block->memory = ResultBlocks::shared().take(bytes);
        data = static_cast<T *>(block->memory);
        array = nb::cast(nb::ndarray<nb::numpy, T>(data, shape.size(), shape.begin(), owner));
    }

private:
    struct Block {
        void *memory;
        size_t bytes;
    };
};

}  // namespace carls
