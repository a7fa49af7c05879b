// Hashes of keys. Fixed for ever: a row's stripe, its shard and its initial value follow from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace carls {

// Finalizer of MurmurHash3 (Appleby): a bijection of 64-bit integers.
inline uint64_t mix64(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    x ^= x >> 33;
    return x;
}

// XXH64 with seed 0, after the published specification of xxHash (Collet).
// Little-endian machines only, as the rest of the core.
class XXH64 {
public:
    static uint64_t hash(const uint8_t *p, size_t length) {
        const uint8_t *const end = p + length;
        uint64_t h;
        if (length >= 32) {
            uint64_t v[4] = {P1 + P2, P2, 0, 0 - P1};
            do {
                for (uint64_t &lane : v) {
                    lane = round(lane, read64(p));
                    p += 8;
                }
            } while (p + 32 <= end);
            h = rotate(v[0], 1) + rotate(v[1], 7) + rotate(v[2], 12) + rotate(v[3], 18);
            for (uint64_t lane : v) h = (h ^ round(0, lane)) * P1 + P4;
        } else {
            h = P5;
        }
        h += length;
        for (; p + 8 <= end; p += 8) h = rotate(h ^ round(0, read64(p)), 27) * P1 + P4;
        if (p + 4 <= end) {
            uint32_t word;
            std::memcpy(&word, p, 4);
            h = rotate(h ^ (word * P1), 23) * P2 + P3;
            p += 4;
        }
        for (; p < end; ++p) h = rotate(h ^ (*p * P5), 11) * P1;
        h ^= h >> 33;
        h *= P2;
        h ^= h >> 29;
        h *= P3;
        h ^= h >> 32;
        return h;
    }

private:
    static constexpr uint64_t P1 = 0x9E3779B185EBCA87ULL, P2 = 0xC2B2AE3D27D4EB4FULL,
                              P3 = 0x165667B19E3779F9ULL, P4 = 0x85EBCA77C2B2AE63ULL,
                              P5 = 0x27D4EB2F165667C5ULL;
    static uint64_t rotate(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }
    static uint64_t round(uint64_t lane, uint64_t input) { return rotate(lane + input * P2, 31) * P1; }
    static uint64_t read64(const uint8_t *p) {
        uint64_t x;
        std::memcpy(&x, p, 8);
        return x;
    }
};

}  // namespace carls
