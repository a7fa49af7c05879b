// Views of a batch of keys, and how a key lies in its row. A table uses one of the two for ever.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "arena.hpp"
#include "hash.hpp"

namespace carls {

// int64 keys: the row's key field is the key.
struct IntegerKeys {
    const int64_t *keys;

    uint64_t bytes(size_t) const { return 0; }  // of n keys, beside their rows
    uint64_t hash(size_t i) const { return mix64(static_cast<uint64_t>(keys[i])); }
    uint64_t initializer_key(size_t i, uint64_t) const { return static_cast<uint64_t>(keys[i]); }
    bool equals(uint64_t stored, size_t i, const Arena &) const { return stored == static_cast<uint64_t>(keys[i]); }
    bool same(size_t i, size_t j) const { return keys[i] == keys[j]; }
    uint64_t stored_bytes(size_t) const { return 0; }  // beside the row
    uint64_t store(size_t i, Arena &, BlockHeap &) const { return static_cast<uint64_t>(keys[i]); }

    static void prefetch_stored(uint64_t, const Arena &) {}
    static uint64_t stored_hash(uint64_t stored, const Arena &) { return mix64(stored); }
    static void release(uint64_t, BlockHeap &) {}
    static bool makes_room(uint64_t, uint64_t) { return true; }
};

constexpr uint32_t kMaxKeyBytes = 65536;

// Byte-string keys of up to 64 KiB: the row's key field is (offset << 17 | length) of its bytes.
struct ByteKeys {
    const int32_t *offsets;
    const uint8_t *data;

    // Whether n + 1 offsets, n keys, are safe to read with so many bytes of data.
    static bool well_formed(const int32_t *offsets, size_t n, size_t data_bytes) {
        bool ordered = offsets[0] == 0 && offsets[n] >= 0 && static_cast<size_t>(offsets[n]) <= data_bytes;
        for (size_t i = 0; i < n; ++i) {
            const uint32_t length = static_cast<uint32_t>(offsets[i + 1]) - static_cast<uint32_t>(offsets[i]);
            ordered &= offsets[i + 1] >= offsets[i] && length <= kMaxKeyBytes;
        }
        return ordered;
    }

    static constexpr unsigned kLengthBits = 17;
    static uint64_t length(uint64_t stored) { return stored & ((uint64_t{1} << kLengthBits) - 1); }
    static const uint8_t *bytes(uint64_t stored, const Arena &arena) { return arena.at(stored >> kLengthBits); }

    const uint8_t *begin(size_t i) const { return data + offsets[i]; }
    size_t size(size_t i) const { return static_cast<size_t>(offsets[i + 1] - offsets[i]); }

    uint64_t bytes(size_t n) const { return static_cast<uint64_t>(offsets[n]); }
    uint64_t hash(size_t i) const { return XXH64::hash(begin(i), size(i)); }
    uint64_t initializer_key(size_t, uint64_t hash) const { return hash; }
    bool equals(uint64_t stored, size_t i, const Arena &arena) const {
        return length(stored) == size(i) && std::memcmp(bytes(stored, arena), begin(i), size(i)) == 0;
    }
    bool same(size_t i, size_t j) const {
        return size(i) == size(j) && std::memcmp(begin(i), begin(j), size(i)) == 0;
    }
    uint64_t stored_bytes(size_t i) const { return std::max<size_t>(size(i), 1); }
    uint64_t store(size_t i, Arena &arena, BlockHeap &heap) const {
        const uint64_t offset = heap.allocate(size(i));
        if (size(i) != 0) std::memcpy(arena.at(offset), begin(i), size(i));
        return offset << kLengthBits | size(i);
    }

    static void prefetch_stored(uint64_t stored, const Arena &arena) { __builtin_prefetch(bytes(stored, arena)); }
    static uint64_t stored_hash(uint64_t stored, const Arena &arena) {
        return XXH64::hash(bytes(stored, arena), length(stored));
    }
    // Whether the block of the stored key would serve a key of so many bytes.
    static bool makes_room(uint64_t stored, uint64_t bytes) { return BlockHeap::same_block(length(stored), bytes); }
    static void release(uint64_t stored, BlockHeap &heap) { heap.release(stored >> kLengthBits, length(stored)); }
};

}  // namespace carls
