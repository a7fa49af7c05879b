// KeyIndex: the index of one stripe, from a key's hash to the number of its row.
#pragma once

#include <atomic>
#include <cstring>

#include "arena.hpp"
#include "layout.hpp"

namespace carls {

// Extendible hashing (Fagin et al., TODS 1979): the stripe's entries share pages of slots, and a
// page that is full is split in two by one more bit of its keys' hashes. So an insertion moves
// at most one page of slots, however many rows there are. Slots are probed one after another,
// within their page.
//
// A view: made where it is used, under the stripe's lock if not said otherwise.
class KeyIndex {
public:
    KeyIndex(Arena &arena, StripeHeader &header) : arena_(arena), header_(header) {}

    // Fetches a hash's first slot into the cache. Needs no lock: entries are never released, so
    // old ones name old pages.
    static void prefetch(const Arena &arena, const StripeHeader &header, uint64_t hash) {
        const uint64_t index = header.index.load(std::memory_order_acquire);
        if (index == 0) return;
        const uint64_t page = entries(arena, index)[position(index, hash)].page.load(std::memory_order_relaxed);
        __builtin_prefetch(arena.at<uint32_t>(offset(page)) + (hash & mask(page)));
    }

    // Calls visit(slot, row number) for the slots of a hash's tag until it returns true.
    template <class Visit>
    static void probe(const Arena &arena, const StripeHeader &header, uint64_t hash, Visit visit) {
        probe(arena, header.index.load(std::memory_order_relaxed), hash, visit);
    }
    // The same with the stripe's `index`, read once for several hashes.
    template <class Visit>
    static void probe(const Arena &arena, uint64_t index, uint64_t hash, Visit visit) {
        if (index == 0) return;
        const uint64_t page = entries(arena, index)[position(index, hash)].page.load(std::memory_order_relaxed);
        const uint32_t *slots = arena.at<uint32_t>(offset(page));
        const uint32_t wanted = tag(hash), last = mask(page);
        for (uint32_t slot = static_cast<uint32_t>(hash) & last;; slot = (slot + 1) & last) {
            const uint32_t held = slots[slot];
            if (held == 0) return;
            if ((held & ~kRowMask) == wanted && visit(slot, (held & kRowMask) - 1)) return;
        }
    }

    // Bytes that the arena would have to give for a row of that hash to be placed, as a rule.
    uint64_t growth(uint64_t hash) {
        const uint64_t index = header_.index.load(std::memory_order_relaxed);
        if (index == 0) return 128;
        IndexEntry &first = first_entry(hash);
        const uint64_t page = first.page.load(std::memory_order_relaxed);
        if (!full(first)) return 0;
        if (bits(page) < kPageBits || first.depth == kMaxIndexBits) return uint64_t{8} << bits(page);
        return (uint64_t{4} << kPageBits) + (first.depth == bits(index) ? sizeof(IndexEntry) << (bits(index) + 1) : 0);
    }

    // Calls visit(row number) for up to `most` rows in slots of the hash's page, from its first one on.
    template <class Visit>
    void near(uint64_t hash, uint32_t most, Visit visit) {
        if (header_.index.load(std::memory_order_relaxed) == 0) return;
        const uint64_t page = first_entry(hash).page.load(std::memory_order_relaxed);
        const uint32_t *slots = arena_.at<uint32_t>(offset(page));
        const uint32_t last = mask(page), home = static_cast<uint32_t>(hash);
        for (uint32_t step = 0; step <= last && most != 0; ++step) {
            const uint32_t held = slots[(home + step) & last];
            if (held == 0) continue;
            visit((held & kRowMask) - 1);
            --most;
        }
    }

    // Makes sure that a row of that hash can be placed. `rows` tells what is in the rows:
    // rows.hash(number), and rows.fetch(number) and rows.fetch_key(number) some steps before.
    // Throws std::bad_alloc, and the index is as good as before.
    template <class Rows>
    void make_room(uint64_t hash, const Rows &rows) {
        if (header_.index.load(std::memory_order_relaxed) == 0) start();
        for (;;) {
            IndexEntry &first = first_entry(hash);
            const uint64_t page = first.page.load(std::memory_order_relaxed);
            if (!full(first)) return;
            if (bits(page) < kPageBits || first.depth == kMaxIndexBits) {
                enlarge(first, hash, rows);
            } else {
                split(hash, rows);
            }
        }
    }

    // Adds a row, for which there is room.
    void place(uint64_t hash, uint32_t number) {
        IndexEntry &first = first_entry(hash);
        put(first.page.load(std::memory_order_relaxed), hash, number);
        ++first.live;
    }

    // Takes a row out. Moves later slots of the probe sequence up, so that no tombstones are needed.
    template <class Rows>
    void remove(uint64_t hash, uint32_t number, const Rows &rows) {
        IndexEntry &first = first_entry(hash);
        const uint64_t page = first.page.load(std::memory_order_relaxed);
        uint32_t *slots = arena_.at<uint32_t>(offset(page));
        const uint32_t last = mask(page);
        uint32_t hole = 0;
        probe(arena_, header_, hash, [&](uint32_t slot, uint32_t candidate) {
            hole = slot;
            return candidate == number;
        });
        for (uint32_t slot = (hole + 1) & last; slots[slot] != 0; slot = (slot + 1) & last) {
            const uint32_t home = static_cast<uint32_t>(rows.hash((slots[slot] & kRowMask) - 1)) & last;
            if (((slot - home) & last) >= ((slot - hole) & last)) {
                slots[hole] = slots[slot];
                hole = slot;
            }
        }
        slots[hole] = 0;
        --first.live;
    }

private:
    static constexpr uint32_t kFirstPageBits = 4;
    static constexpr uint32_t kPageBits = 12;  // 16 KiB; a page that cannot be split gets larger

    // An offset with the binary logarithm of how many things lie there in its low bits.
    static uint64_t offset(uint64_t place) { return place & ~uint64_t{63}; }
    static uint32_t bits(uint64_t place) { return static_cast<uint32_t>(place & 63); }
    static uint32_t mask(uint64_t place) { return static_cast<uint32_t>((uint64_t{1} << bits(place)) - 1); }

    static uint32_t tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 40) << kRowBits; }
    static IndexEntry *entries(const Arena &arena, uint64_t index) { return arena.at<IndexEntry>(offset(index)); }
    static uint32_t position(uint64_t index, uint64_t hash) {
        return static_cast<uint32_t>(hash >> kIndexShift) & mask(index);
    }

    // Whether the page takes no further row.
    static bool full(const IndexEntry &first) {
        const uint64_t page = first.page.load(std::memory_order_relaxed);
        return uint64_t{first.live} + 1 > 3 * (uint64_t{mask(page)} + 1) / 4;
    }

    // The first of the entries that name the hash's page: the one that counts.
    IndexEntry &first_entry(uint64_t hash) {
        const uint64_t index = header_.index.load(std::memory_order_relaxed);
        IndexEntry *all = entries(arena_, index);
        const uint32_t at = position(index, hash);
        return all[at & ((1u << all[at].depth) - 1)];
    }

    void start() {
        const uint64_t index = arena_.allocate(sizeof(IndexEntry));
        const uint64_t slots = arena_.allocate(uint64_t{4} << kFirstPageBits);
        arena_.at<IndexEntry>(index)->page.store(slots | kFirstPageBits, std::memory_order_relaxed);
        header_.index.store(index, std::memory_order_release);
    }

    void put(uint64_t page, uint64_t hash, uint32_t number) {
        uint32_t *slots = arena_.at<uint32_t>(offset(page));
        const uint32_t last = mask(page);
        uint32_t slot = static_cast<uint32_t>(hash) & last;
        while (slots[slot] != 0) slot = (slot + 1) & last;
        slots[slot] = tag(hash) | (number + 1);
    }

    // Calls visit(hash, number) for all rows in `count` slots.
    template <class Rows, class Visit>
    static void each(const uint32_t *slots, uint32_t count, const Rows &rows, Visit visit) {
        constexpr uint32_t kRowsAhead = 24, kKeysAhead = 12;
        for (uint32_t slot = 0; slot < count + kRowsAhead; ++slot) {
            if (slot < count && slots[slot] != 0) rows.fetch((slots[slot] & kRowMask) - 1);
            const uint32_t second = slot - kRowsAhead + kKeysAhead, third = slot - kRowsAhead;
            if (second < count && slots[second] != 0) rows.fetch_key((slots[second] & kRowMask) - 1);
            if (third >= count || slots[third] == 0) continue;
            const uint32_t number = (slots[third] & kRowMask) - 1;
            visit(rows.hash(number), number);
        }
    }

    // Moves a page to one of twice the size.
    template <class Rows>
    void enlarge(IndexEntry &first, uint64_t hash, const Rows &rows) {
        const uint64_t old = first.page.load(std::memory_order_relaxed);
        const uint64_t grown = arena_.allocate(uint64_t{8} << bits(old)) | (bits(old) + 1);
        each(arena_.at<uint32_t>(offset(old)), mask(old) + 1, rows,
             [&](uint64_t present, uint32_t number) { put(grown, present, number); });
        const uint64_t index = header_.index.load(std::memory_order_relaxed);
        IndexEntry *all = entries(arena_, index);
        const uint32_t step = 1u << first.depth;
        for (uint32_t at = position(index, hash) & (step - 1); at <= mask(index); at += step) {
            all[at].page.store(grown, std::memory_order_release);
        }
        arena_.release(offset(old), uint64_t{4} << bits(old));
    }

    // Moves half of a page's rows, those with the next bit of their hashes set, to a new page.
    template <class Rows>
    void split(uint64_t hash, const Rows &rows) {
        if (first_entry(hash).depth == bits(header_.index.load(std::memory_order_relaxed))) double_entries();
        const uint64_t fresh = arena_.allocate(uint64_t{4} << kPageBits) | kPageBits;
        const uint64_t index = header_.index.load(std::memory_order_relaxed);
        IndexEntry *all = entries(arena_, index), &low = first_entry(hash);
        const uint64_t old = low.page.load(std::memory_order_relaxed);
        const uint32_t depth = low.depth, from = static_cast<uint32_t>(&low - all);
        for (uint32_t at = from; at <= mask(index); at += 1u << depth) {
            all[at].depth = depth + 1;
            if ((at >> depth & 1) != 0) all[at].page.store(fresh, std::memory_order_release);
        }
        IndexEntry &high = all[from + (1u << depth)];
        low.live = high.live = 0;
        uint32_t slots[1u << kPageBits];
        std::memcpy(slots, arena_.at(offset(old)), sizeof(slots));
        std::memset(arena_.at(offset(old)), 0, sizeof(slots));
        each(slots, 1u << kPageBits, rows, [&](uint64_t present, uint32_t number) { place(present, number); });
    }

    // Twice the entries, two for each one before. The old ones stay, for those who read without a
    // lock: together they are fewer than the new ones.
    void double_entries() {
        const uint64_t old = header_.index.load(std::memory_order_relaxed);
        const uint64_t grown = arena_.allocate(sizeof(IndexEntry) << (bits(old) + 1)) | (bits(old) + 1);
        const IndexEntry *from = entries(arena_, old);
        IndexEntry *to = entries(arena_, grown);
        for (uint32_t at = 0; at <= mask(grown); ++at) {
            const IndexEntry &entry = from[at & mask(old)];
            to[at].page.store(entry.page.load(std::memory_order_relaxed), std::memory_order_relaxed);
            to[at].depth = entry.depth;
            to[at].live = entry.live;
        }
        header_.index.store(grown, std::memory_order_release);
    }

    Arena &arena_;
    StripeHeader &header_;
};

}  // namespace carls
