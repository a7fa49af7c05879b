// Whether bytes are valid UTF-8 (RFC 3629).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace carls {

inline bool is_ascii(const uint8_t *data, size_t n) {
    uint64_t bits = 0, word;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        std::memcpy(&word, data + i, 8);
        bits |= word;
    }
    for (; i < n; ++i) bits |= data[i];
    return (bits & 0x8080808080808080ULL) == 0;
}

inline bool is_utf8(const uint8_t *data, size_t n) {
    for (size_t i = 0; i < n;) {
        const uint8_t first = data[i];
        if (first < 0x80) {
            ++i;
            continue;
        }
        const size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
        if (first < 0xC2 || first > 0xF4 || i + more >= n) return false;
        uint32_t code = first & (0x3Fu >> more);
        for (size_t k = 1; k <= more; ++k) {
            if ((data[i + k] & 0xC0) != 0x80) return false;
            code = code << 6 | (data[i + k] & 0x3F);
        }
        const uint32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
        if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
        i += more + 1;
    }
    return true;
}

}  // namespace carls
