// Admission: which keys have been asked for often enough to get a row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace carls {

// A count-min sketch (Cormode, Muthukrishnan 2005) with conservative update (Estan, Varghese 2002):
// a key has four counters of a byte, all in one cache line, and its count is the least of them. So
// it is never too low within a window; keys that share all four with others count as seen too
// often. After `window` sightings, all counters are halved (Einziger et al. 2017, TinyLFU).
//
// In parts with a lock each; there are 8 counters for each sighting of a window.
class Admission {
public:
    // Keys are admitted at their `after`-th sighting, 1 to 255.
    Admission(uint32_t after, uint64_t window)
        : after_(after),
          lines_(std::max<uint64_t>(window / kParts * kCountersPerSighting / kLine, 1)),
          window_(std::max<uint64_t>(window / kParts, 1)),
          counters_(lines_ * kLine * kParts),
          parts_(new Part[kParts]) {}

    uint64_t bytes() const { return counters_.size(); }

    // Counts one sighting.
    void see(uint64_t hash) {
        const uint64_t at = part_of(hash);
        Part &part = parts_[at];
        const std::lock_guard<std::mutex> guard(part.mutex);
        uint8_t *line = line_of(at, hash);
        const uint8_t count = least(line, hash);
        if (count < UINT8_MAX) {
            for (unsigned k = 0; k < kRows; ++k) line[place(hash, k)] = std::max<uint8_t>(line[place(hash, k)], count + 1);
        }
        if (++part.seen < window_) return;
        part.seen = 0;
        uint8_t *from = counters_.data() + at * lines_ * kLine;
        for (uint64_t i = 0; i < lines_ * kLine; ++i) from[i] /= 2;
    }

    // Whether the key has been seen often enough.
    bool admits(uint64_t hash) {
        const uint64_t at = part_of(hash);
        const std::lock_guard<std::mutex> guard(parts_[at].mutex);
        return least(line_of(at, hash), hash) >= after_;
    }

private:
    static constexpr uint64_t kParts = 16, kLine = 64, kCountersPerSighting = 8;
    static constexpr unsigned kRows = 4;

    struct alignas(64) Part {
        std::mutex mutex;
        uint64_t seen = 0;
    };

    // Bits of the hash that choose the row's stripe and page choose nothing here.
    static uint64_t mix(uint64_t hash) { return (hash ^ hash >> 31) * 0x9e3779b97f4a7c15ULL; }
    static uint64_t part_of(uint64_t hash) { return mix(hash) >> 60; }
    uint8_t *line_of(uint64_t part, uint64_t hash) {
        const uint64_t line = (mix(hash) >> 28 & 0xffffffff) * lines_ >> 32;
        return counters_.data() + (part * lines_ + line) * kLine;
    }
    // Each of the four counters has its own quarter of the line.
    static unsigned place(uint64_t hash, unsigned k) {
        return k * (kLine / kRows) + (static_cast<unsigned>(mix(hash) >> (4 * k + 4)) & (kLine / kRows - 1));
    }
    static uint8_t least(const uint8_t *line, uint64_t hash) {
        uint8_t found = UINT8_MAX;
        for (unsigned k = 0; k < kRows; ++k) found = std::min(found, line[place(hash, k)]);
        return found;
    }

    const uint32_t after_;
    const uint64_t lines_, window_;
    std::vector<uint8_t> counters_;
    std::unique_ptr<Part[]> parts_;
};

}  // namespace carls
