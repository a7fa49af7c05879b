// Population: the rows of a table at one time, in the order of how often they were looked up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "embedding_table.hpp"
#include "hash.hpp"
#include "keys.hpp"

namespace carls {

// Rank 0 is the row looked up most often; of rows looked up as often, the one with the smaller key comes
// first, byte strings compared byte by byte. So the ranks follow from keys and counts alone. Frozen.
class Population {
public:
    // Reads the table row by row, each stripe held for a few rows at a time; expired rows are left out.
    // Others may write meanwhile: then the rows are those of some time during the walk.
    Population(EmbeddingTable &table, bool integers, uint64_t now)
        : integers_(integers), lookups_(table.lookups()), changes_(table.changes()) {
        std::vector<Entry> entries;
        std::vector<uint64_t> begins;
        std::vector<uint8_t> bytes;
        RowStore &store = table.store();
        entries.reserve(store.size());
        store.scan(0, [&](const RowHeader *row) {
            if (table.expired(row, now)) return true;
            const uint32_t count = row->count.load(std::memory_order_relaxed);
            const auto at = static_cast<uint32_t>(entries.size());
            if (integers_) {
                entries.push_back({row->key ^ kSign, count, at});
                return true;
            }
            const uint64_t length = ByteKeys::length(row->key);
            const uint8_t *key = ByteKeys::bytes(row->key, store.arena());
            entries.push_back({prefix(key, length), count, at});
            begins.push_back(bytes.size());
            bytes.insert(bytes.end(), key, key + length);
            return true;
        });
        begins.push_back(bytes.size());
        const auto key_of = [&](const Entry &entry) {
            return std::make_pair(bytes.data() + begins[entry.at], begins[entry.at + 1] - begins[entry.at]);
        };
        std::sort(entries.begin(), entries.end(), [&](const Entry &a, const Entry &b) {
            if (a.count != b.count) return a.count > b.count;
            if (a.order != b.order || integers_) return a.order < b.order;
            const auto [left, left_bytes] = key_of(a);
            const auto [right, right_bytes] = key_of(b);
            const int order = std::memcmp(left, right, std::min(left_bytes, right_bytes));
            return order != 0 ? order < 0 : left_bytes < right_bytes;
        });

        slot_bits_ = 4;
        while (uint64_t{1} << slot_bits_ < 2 * entries.size()) ++slot_bits_;
        slots_.assign(size_t{1} << slot_bits_, 0);
        counts_.reserve(entries.size());
        if (integers_) {
            numbers_.reserve(entries.size());
        } else {
            bytes_.reserve(bytes.size());
            begins_.reserve(entries.size() + 1);
        }
        begins_.push_back(0);
        for (const Entry &entry : entries) {
            if (integers_) {
                const auto number = static_cast<int64_t>(entry.order ^ kSign);
                add(IntegerKeys{&number}, entry.count, [&] { numbers_.push_back(number); });
                continue;
            }
            const auto [key, length] = key_of(entry);
            const int32_t offsets[] = {0, static_cast<int32_t>(length)};
            add(ByteKeys{offsets, key}, entry.count, [&, from = key, to = key + length] {
                bytes_.insert(bytes_.end(), from, to);
                begins_.push_back(bytes_.size());
            });
        }
    }

    bool integers() const { return integers_; }
    size_t size() const { return counts_.size(); }
    uint32_t count(size_t rank) const { return counts_[rank]; }
    uint64_t total() const { return total_; }  // of all counts
    // The table's counters when the walk began.
    uint64_t lookups() const { return lookups_; }
    uint64_t changes() const { return changes_; }
    uint64_t bytes() const {
        return 4 * (slots_.capacity() + counts_.capacity()) + 8 * (numbers_.capacity() + begins_.capacity()) +
               bytes_.capacity();
    }

    // The i-th key's rank, or -1.
    template <class Keys>
    int64_t rank(const Keys &keys, size_t i) const {
        return static_cast<int64_t>(slots_[slot(keys, i)]) - 1;
    }

    int64_t number(size_t rank) const { return numbers_[rank]; }
    const uint8_t *key(size_t rank) const { return bytes_.data() + begins_[rank]; }
    size_t key_bytes(size_t rank) const { return begins_[rank + 1] - begins_[rank]; }

private:
    static constexpr uint64_t kSign = uint64_t{1} << 63;

    struct Entry {
        uint64_t order;  // ascends with the key, as far as its first eight bytes tell
        uint32_t count, at;
    };

    static uint64_t prefix(const uint8_t *key, uint64_t length) {
        uint8_t first[8] = {};
        std::memcpy(first, key, std::min<uint64_t>(length, 8));
        uint64_t order = 0;
        for (const uint8_t byte : first) order = order << 8 | byte;
        return order;
    }

    bool same(const IntegerKeys &keys, size_t i, size_t rank) const { return keys.keys[i] == numbers_[rank]; }
    bool same(const ByteKeys &keys, size_t i, size_t rank) const {
        return keys.size(i) == key_bytes(rank) && std::memcmp(keys.begin(i), key(rank), key_bytes(rank)) == 0;
    }

    // The slot that holds the i-th key's rank, or the empty one where it would be.
    template <class Keys>
    size_t slot(const Keys &keys, size_t i) const {
        const size_t last = slots_.size() - 1;
        size_t at = keys.hash(i) >> (64 - slot_bits_);
        while (slots_[at] != 0 && !same(keys, i, slots_[at] - 1)) at = (at + 1) & last;
        return at;
    }

    // The next rank is that key's, unless it has one: a row that was removed and made anew during the
    // walk is met twice.
    template <class Keys, class Store>
    void add(const Keys &keys, uint32_t count, Store store) {
        const size_t at = slot(keys, 0);
        if (slots_[at] != 0) return;
        store();
        counts_.push_back(count);
        total_ += count;
        slots_[at] = static_cast<uint32_t>(counts_.size());
    }

    const bool integers_;
    const uint64_t lookups_, changes_;
    uint64_t total_ = 0;
    unsigned slot_bits_;
    std::vector<uint32_t> slots_;   // rank + 1, or 0
    std::vector<uint32_t> counts_;  // by rank, as all that follows
    std::vector<int64_t> numbers_;  // integer keys
    std::vector<uint64_t> begins_;  // of the others' bytes
    std::vector<uint8_t> bytes_;
};

}  // namespace carls
