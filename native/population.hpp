// Population: the rows of a table at one time, in the order of how often they were looked up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "embedding_table.hpp"
#include "keys.hpp"

namespace carls {

// Rank 0 is the row looked up most often; rows looked up as often are in the order of their keys' hashes. So the
// ranks follow from keys and counts alone. Frozen.
class Population {
public:
    // Reads the table row by row, each stripe held for a few rows at a time; expired rows are left out.
    // Others may write meanwhile: then the rows are those of some time during the walk.
    Population(EmbeddingTable &table, bool integers, uint64_t now)
        : integers_(integers), lookups_(table.lookups()), changes_(table.changes()) {
        std::vector<Entry> entries;
        std::vector<int64_t> numbers;
        std::vector<uint64_t> begins;
        std::vector<uint8_t> bytes;
        RowStore &store = table.store();
        entries.reserve(store.size());
        if (integers) numbers.reserve(store.size());
        store.scan(0, [&](const RowHeader *row) {
            const uint64_t written = row->written_at();
            if (table.expired(written, now)) return true;
            oldest_ = std::min(oldest_, written);
            const uint32_t count = row->count.load(std::memory_order_relaxed);
            const auto at = static_cast<uint32_t>(entries.size());
            if (integers) {
                entries.push_back({IntegerKeys::stored_hash(row->key, store.arena()), count, at});
                numbers.push_back(static_cast<int64_t>(row->key));
                return true;
            }
            entries.push_back({ByteKeys::stored_hash(row->key, store.arena()), count, at});
            const uint8_t *key = ByteKeys::bytes(row->key, store.arena());
            begins.push_back(bytes.size());
            bytes.insert(bytes.end(), key, key + ByteKeys::length(row->key));
            return true;
        });
        begins.push_back(bytes.size());
        const auto key_of = [&](const Entry &entry) {
            return std::string_view(reinterpret_cast<const char *>(bytes.data()) + begins[entry.at],
                                    begins[entry.at + 1] - begins[entry.at]);
        };
        sort(entries, [&](const Entry &a, const Entry &b) {
            if (a.count != b.count) return a.count > b.count;
            if (a.hash != b.hash || integers) return a.hash < b.hash;
            return key_of(a) < key_of(b);
        });

        slot_bits_ = 4;
        while (uint64_t{1} << slot_bits_ < 2 * entries.size()) ++slot_bits_;
        slots_.assign(size_t{1} << slot_bits_, 0);
        counts_.reserve(entries.size());
        if (integers) {
            numbers_.reserve(entries.size());
        } else {
            bytes_.reserve(bytes.size());
            begins_.reserve(entries.size() + 1);
        }
        begins_.push_back(0);
        for (const Entry &entry : entries) {
            if (integers) {
                const int64_t number = numbers[entry.at];
                add(entry, IntegerKeys{&number}, [&] { numbers_.push_back(number); });
                continue;
            }
            const auto *key = bytes.data() + begins[entry.at], *end = bytes.data() + begins[entry.at + 1];
            const int32_t offsets[] = {0, static_cast<int32_t>(end - key)};
            add(entry, ByteKeys{offsets, key}, [&] {
                bytes_.insert(bytes_.end(), key, end);
                begins_.push_back(bytes_.size());
            });
        }
    }

    bool integers() const { return integers_; }
    size_t size() const { return counts_.size(); }
    uint32_t count(size_t rank) const { return counts_[rank]; }
    uint64_t total() const { return total_; }  // of all counts
    uint64_t oldest() const { return oldest_; }  // the least time of a row's last write, in ticks
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
        return static_cast<int64_t>(slots_[slot(keys.hash(i), keys, i)]) - 1;
    }

    int64_t number(size_t rank) const { return numbers_[rank]; }
    const uint8_t *key(size_t rank) const { return bytes_.data() + begins_[rank]; }
    size_t key_bytes(size_t rank) const { return begins_[rank + 1] - begins_[rank]; }

private:
    struct Entry {
        uint64_t hash;
        uint32_t count, at;
    };

    // By counts, downwards, and the hashes' first bits: from the last digits to the first ones. What these
    // bits do not tell apart is put in order afterwards, which is little.
    template <class Before>
    static void sort(std::vector<Entry> &entries, Before before) {
        constexpr unsigned kBits = 11;
        std::vector<Entry> sorted(entries.size());
        const auto pass = [&](auto digit_of) {
            size_t ends[1 << kBits] = {};
            for (const Entry &entry : entries) ++ends[digit_of(entry)];
            if (std::find(ends, ends + (1 << kBits), entries.size()) != ends + (1 << kBits)) return;
            size_t sum = 0;
            for (size_t &end : ends) sum += std::exchange(end, sum);
            for (const Entry &entry : entries) sorted[ends[digit_of(entry)]++] = entry;
            std::swap(entries, sorted);
        };
        constexpr uint32_t kMask = (1 << kBits) - 1;
        for (unsigned shift = 64 - 3 * kBits; shift < 64; shift += kBits) {
            pass([=](const Entry &entry) { return entry.hash >> shift & kMask; });
        }
        for (unsigned shift = 0; shift < 32; shift += kBits) {
            pass([=](const Entry &entry) { return ~entry.count >> shift & kMask; });
        }
        for (size_t i = 1; i < entries.size(); ++i) {
            for (size_t k = i; k > 0 && before(entries[k], entries[k - 1]); --k) std::swap(entries[k], entries[k - 1]);
        }
    }

    bool same(const IntegerKeys &keys, size_t i, size_t rank) const { return keys.keys[i] == numbers_[rank]; }
    bool same(const ByteKeys &keys, size_t i, size_t rank) const {
        return keys.size(i) == key_bytes(rank) && std::memcmp(keys.begin(i), key(rank), key_bytes(rank)) == 0;
    }

    // The slot that holds the i-th key's rank, or the empty one where it would be.
    template <class Keys>
    size_t slot(uint64_t hash, const Keys &keys, size_t i) const {
        const size_t last = slots_.size() - 1;
        size_t at = hash >> (64 - slot_bits_);
        while (slots_[at] != 0 && !same(keys, i, slots_[at] - 1)) at = (at + 1) & last;
        return at;
    }

    // The next rank is that key's, unless it has one: a row that was removed and made anew during the
    // walk is met twice.
    template <class Keys, class Store>
    void add(const Entry &entry, const Keys &key, Store store) {
        const size_t at = slot(entry.hash, key, 0);
        if (slots_[at] != 0) return;
        store();
        counts_.push_back(entry.count);
        total_ += entry.count;
        slots_[at] = static_cast<uint32_t>(counts_.size());
    }

    const bool integers_;
    const uint64_t lookups_, changes_;
    uint64_t total_ = 0, oldest_ = UINT64_MAX;
    unsigned slot_bits_;
    std::vector<uint32_t> slots_;   // rank + 1, or 0
    std::vector<uint32_t> counts_;  // by rank, as all that follows
    std::vector<int64_t> numbers_;  // integer keys
    std::vector<uint64_t> begins_;  // of the others' bytes
    std::vector<uint8_t> bytes_;
};

}  // namespace carls
