// Eviction: which rows go first when a table may not grow further. carls/specs/eviction.py says what
// each policy promises.
#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace carls {

// A batch at work in a table. Rows that it has met are not evicted for its own sake.
struct Batch {
    uint64_t stamp;       // of the batch, or the time where rows expire
    uint64_t epoch;       // how often counts have been halved
    uint64_t now;         // ticks of the bank's clock
    uint64_t spent = 0;   // a bit for each stripe that had no row to give
    bool tried = false;   // to get room from other stripes
};

// A row's word of use: 40 bits of a stamp and 24 bits more. Never 0. The stamp is that of the batch that
// used the row last. LFU: with 8 bits of a count of uses, and 16 of the count's epoch. FIFO and TTL: the
// stamp of the batch that made the row, or the time of its last write; then the low bits of the last
// use's stamp.
class Eviction {
public:
    enum class Kind { None, LRU, LFU, FIFO, TTL };

    // `ttl` in ticks. Throws std::invalid_argument.
    Eviction(const std::string &name, uint64_t ttl) : kind_(kind_of(name)), ttl_(ttl) {}

    bool none() const { return kind_ == Kind::None; }
    bool expires() const { return kind_ == Kind::TTL; }
    bool ages() const { return kind_ == Kind::LFU; }
    bool expired(uint64_t written, uint64_t now) const { return expires() && now > written && now - written >= ttl_; }

    static uint64_t stamp(uint64_t use) { return use & kStampMask; }
    uint64_t created(const Batch &batch) const {
        return batch.stamp | (ages() ? batch.epoch << kEpochShift : last_use(batch));
    }
    // Whether the batch has met the row.
    bool met(uint64_t use, const Batch &batch) const {
        return stamp(use) == batch.stamp || (!ages() && (use & ~kStampMask) == last_use(batch));
    }

    // What a look-up makes of the word. Others may do so at the same time: then one use counts.
    void look(std::atomic<uint64_t> &use, const Batch &batch) const {
        const uint64_t old = use.load(std::memory_order_relaxed);
        if (kind_ == Kind::LFU) {
            const uint64_t count = count_of(old, batch.epoch);
            const uint64_t more = count < kMostCount ? count + 1 : count;
            renew(use, old, created(batch) | more << kCountShift);
        } else {
            renew(use, old, (kind_ == Kind::LRU ? batch.stamp : stamp(old)) | last_use(batch));
        }
    }

    // What a write makes of it.
    void write(std::atomic<uint64_t> &use, const Batch &batch) const {
        const uint64_t old = use.load(std::memory_order_relaxed);
        if (kind_ == Kind::LFU) {
            renew(use, old, (old & ~kStampMask) | batch.stamp);
        } else {
            renew(use, old, (kind_ == Kind::FIFO ? stamp(old) : batch.stamp) | last_use(batch));
        }
    }

    // Rows of lower rank go first.
    uint64_t rank(uint64_t use, uint64_t epoch) const {
        return kind_ == Kind::LFU ? count_of(use, epoch) << kCountShift | stamp(use) : stamp(use);
    }

    static constexpr uint64_t kStampMask = (uint64_t{1} << 40) - 1, kEpochMask = 0xffff;

private:
    static constexpr unsigned kCountShift = 40, kEpochShift = 48;
    static constexpr uint64_t kMostCount = 255;

    static Kind kind_of(const std::string &name) {
        if (name == "none") return Kind::None;
        if (name == "lru") return Kind::LRU;
        if (name == "lfu") return Kind::LFU;
        if (name == "fifo") return Kind::FIFO;
        if (name == "ttl") return Kind::TTL;
        throw std::invalid_argument("unknown eviction " + name);
    }

    static uint64_t last_use(const Batch &batch) { return batch.stamp << kCountShift; }
    static void renew(std::atomic<uint64_t> &use, uint64_t old, uint64_t word) {
        if (old != word) use.store(word, std::memory_order_relaxed);
    }

    // Uses, halved once for each epoch since.
    static uint64_t count_of(uint64_t use, uint64_t epoch) {
        const uint64_t halvings = (epoch - (use >> kEpochShift)) & kEpochMask;
        return halvings > 8 ? 0 : (use >> kCountShift & kMostCount) >> halvings;
    }

    const Kind kind_;
    const uint64_t ttl_;
};

}  // namespace carls
