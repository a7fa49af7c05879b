// RowStore: the rows of one table and the keys that they are found by.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>
#include <string>

#include "batch_plan.hpp"
#include "changes.hpp"
#include "errors.hpp"
#include "key_index.hpp"
#include "keys.hpp"
#include "row_memory.hpp"
#include "stripes.hpp"

namespace carls {

class RowStore : public RowMemory, public Stripes {
public:
    static constexpr uint32_t kNone = UINT32_MAX;

    // With `uses`, each row has a word that tells of its use; see Eviction.
    explicit RowStore(uint32_t payload_bytes, const Limits &limits = {}, bool uses = false)
        : RowMemory(payload_bytes, limits, uses), Stripes(header_->stripe), stripe_bits_(limits.stripe_bits(row_bytes())) {}

    uint32_t stripes() const { return 1u << stripe_bits_; }
    template <class Keys>
    BatchPlan plan(const Keys &keys, size_t n) const {
        return BatchPlan(keys, n, stripe_bits_);
    }

    // Waits for nobody.
    uint64_t size() const {
        uint64_t rows = 0;
        for (const StripeHeader &stripe : header_->stripe) rows += stripe.live.load(std::memory_order_relaxed);
        return rows;
    }

    // Rows made and removed so far. Waits for nobody.
    uint64_t changes() const {
        uint64_t changes = 0;
        for (const StripeHeader &stripe : header_->stripe) changes += stripe.changes.load(std::memory_order_relaxed);
        return changes;
    }

    // Whoever makes, removes or writes a row says so here, under the stripe's write lock.
    void changed(uint32_t stripe, uint32_t number) {
        Changes *changes = changes_.load(std::memory_order_acquire);
        if (changes != nullptr) changes->note(stripe, number);
    }
    // Has changes noted there from now on; false if they are noted elsewhere.
    bool watch(Changes &changes) {
        Changes *none = nullptr;
        if (!changes_.compare_exchange_strong(none, &changes)) return false;
        wait_for_writers();
        return true;
    }
    // Has them noted there no more; nobody uses it then.
    void unwatch(Changes &changes) {
        Changes *watched = &changes;
        if (changes_.compare_exchange_strong(watched, nullptr)) wait_for_writers();
    }

    // Fetches the index slots of the batch's keys from `from` on into the cache; harmless while
    // others write.
    void prefetch_slots(const BatchPlan &plan, uint32_t from, uint32_t count) const {
        const uint32_t end = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{from} + count, plan.order.size()));
        for (uint32_t at = from; at < end; ++at) {
            const uint64_t hash = plan.hashes[plan.order[at]];
            KeyIndex::prefetch(arena_, header_->stripe[plan.stripe_of(hash)], hash);
        }
    }
    void prefetch_slots(const BatchPlan &plan) const { prefetch_slots(plan, 0, UINT32_MAX); }

    // The first row whose tag matches: nearly always the key's row if there is one. No row is
    // touched, so that the caller can fetch many rows at once. Under the stripe's lock.
    uint32_t guess(uint32_t stripe, uint64_t hash) const {
        uint32_t found = kNone;
        KeyIndex::probe(arena_, header_->stripe[stripe], hash, [&](uint32_t, uint32_t number) {
            found = number;
            return true;
        });
        return found;
    }

    // As guess, the rows of several positions of a batch, all of one stripe, and their words of use;
    // nullptr for none.
    void guess_rows(uint32_t stripe, const BatchPlan &plan, uint32_t from, uint32_t count, RowHeader **rows,
                    std::atomic<uint64_t> **uses) const {
        const uint64_t index = header_->stripe[stripe].index.load(std::memory_order_relaxed);
        const uint64_t *directory = arena_.at<uint64_t>(header_->stripe[stripe].directory.load(std::memory_order_relaxed));
        for (uint32_t k = 0; k < count; ++k) {
            rows[k] = nullptr;
            uses[k] = nullptr;
            KeyIndex::probe(arena_, index, plan.hashes[plan.order[from + k]], [&](uint32_t, uint32_t number) {
                rows[k] = row(directory, number);
                if (this->uses()) uses[k] = use(directory, number);
                return true;
            });
        }
    }

    // The key's row, or kNone. Under the stripe's lock.
    template <class Keys>
    uint32_t find(uint32_t stripe, uint64_t hash, const Keys &keys, size_t i) const {
        uint32_t found = kNone;
        KeyIndex::probe(arena_, header_->stripe[stripe], hash, [&](uint32_t, uint32_t number) {
            if (!keys.equals(row(stripe, number)->key, i, arena_)) return false;
            found = number;
            return true;
        });
        return found;
    }

    // Throws TableFull or std::bad_alloc unless every stripe can take its part of the batch. Called
    // before a batch changes anything.
    template <class Keys>
    void check_room(const Keys &keys, const BatchPlan &plan) {
        if (limits().any()) return;  // keys without room get no row, one by one
        for (uint32_t s = 0; s < kStripes; ++s) {
            if (uint64_t{header_->stripe[s].live.load(std::memory_order_relaxed)} + plan.size(s) > kMaxRowsPerStripe) {
                throw TableFull("a table holds at most about " + std::to_string(uint64_t{kMaxRowsPerStripe} * kStripes) +
                                " rows; erase some, or spread the keys over several tables");
            }
        }
        // What the batch takes at most if all its keys are new: rows, keys twice as their blocks are
        // powers of two, and for each stripe a chunk of rows, one of keys and pages of the index.
        const uint64_t n = plan.order.size();
        const uint64_t stripes = std::min<uint64_t>(n, kStripes);
        const uint64_t most = n * row_bytes() + 2 * keys.bytes(n) + stripes * (chunk_of_rows() + kSpare);
        try {
            arena_.require(most);
        } catch (const std::bad_alloc &) {
            if (any_missing(keys, plan)) throw;
        }
    }

    // Counts one more row, if there may be one. Who reserves inserts a row, or gives it back.
    bool reserve() {
        uint64_t rows = reserved_.load(std::memory_order_relaxed);
        while (rows < limits().rows) {
            if (reserved_.compare_exchange_weak(rows, rows + 1, std::memory_order_relaxed)) return true;
        }
        return false;
    }
    void give_back() { reserved_.fetch_sub(1, std::memory_order_relaxed); }

    // Bytes that the arena has to give before a row of that key can be added. Under the stripe's lock.
    struct Need {
        uint64_t row, index, key;
        uint64_t bytes() const { return row + index + key; }
    };
    Need need(uint32_t stripe, uint64_t hash, uint64_t key_bytes) {
        StripeHeader &header = header_->stripe[stripe];
        return {header.free_row != 0 ? 0 : growth(stripe), KeyIndex(arena_, header).growth(hash),
                key_bytes == 0 ? 0 : heaps_[stripe].growth(key_bytes)};
    }

    // Calls visit(number) for some rows whose slots are near the hash's. Under the stripe's lock.
    template <class Visit>
    void near(uint32_t stripe, uint64_t hash, uint32_t most, Visit visit) {
        KeyIndex(arena_, header_->stripe[stripe]).near(hash, most, visit);
    }

    // Adds a row for a key that has none, reserved if rows are limited: version 0, step -1, payload
    // as it comes. Under the stripe's write lock. Throws std::bad_alloc, and nothing was added.
    template <class Keys>
    uint32_t insert(uint32_t stripe, uint64_t hash, const Keys &keys, size_t i) {
        StripeHeader &header = header_->stripe[stripe];
        KeyIndex index(arena_, header);
        index.make_room(hash, StoredKeys<Keys>{*this, stripe});
        const uint64_t key = keys.store(i, arena_, heaps_[stripe]);
        uint32_t number;
        try {
            number = header.free_row != 0 ? header.free_row - 1 : add_row(stripe);
        } catch (const std::bad_alloc &) {
            Keys::release(key, heaps_[stripe]);
            throw;
        }
        RowHeader *added = row(stripe, number);
        if (header.free_row != 0) header.free_row = static_cast<uint32_t>(added->key);
        added->key = key;
        added->step = -1;
        added->set_written_at(0);
        added->version = 0;
        added->count.store(0, std::memory_order_relaxed);
        added->producer = 0;
        added->mark = kLive;
        index.place(hash, number);
        header.live.fetch_add(1, std::memory_order_relaxed);
        header.changes.fetch_add(1, std::memory_order_relaxed);
        changed(stripe, number);
        return number;
    }

    // Removes a row. Under the stripe's write lock.
    template <class Keys>
    void remove(uint32_t stripe, uint64_t hash, uint32_t number) {
        StripeHeader &header = header_->stripe[stripe];
        KeyIndex(arena_, header).remove(hash, number, StoredKeys<Keys>{*this, stripe});
        RowHeader *erased = row(stripe, number);
        Keys::release(erased->key, heaps_[stripe]);
        erased->mark = kFree;
        erased->key = header.free_row;
        header.free_row = number + 1;
        if (uses()) use(stripe, number)->store(0, std::memory_order_relaxed);
        header.live.fetch_sub(1, std::memory_order_relaxed);
        header.changes.fetch_add(1, std::memory_order_relaxed);
        changed(stripe, number);
        if (limits().rows != UINT64_MAX) give_back();
    }
    // Likewise, by what is stored.
    template <class Keys>
    void remove(uint32_t stripe, uint32_t number) {
        remove<Keys>(stripe, StoredKeys<Keys>{*this, stripe}.hash(number), number);
    }

    // Removes the rows of n keys; found[i] tells whether there was one, as `forget(stripe, row)`
    // says before a row goes.
    template <class Keys, class Forget>
    void erase(const Keys &keys, size_t n, uint8_t *found, Forget forget) {
        const BatchPlan plan = this->plan(keys, n);
        each<WriteGuard>(StripeList(plan), [&](uint32_t s) {
            for (uint32_t k = 0; k < plan.size(s); ++k) {
                const uint32_t i = plan.positions(s)[k];
                const uint32_t number = find(s, plan.hashes[i], keys, i);
                found[i] = 0;
                if (number == kNone) continue;
                found[i] = forget(s, row(s, number));
                remove<Keys>(s, plan.hashes[i], number);
            }
        });
    }

    // Calls take(row) for the rows from `cursor` on (0 at first), stripe by stripe, until it
    // returns false: that row is the first of the next page. Returns the cursor to go on with, or
    // -1 after the last row. A stripe is held for some rows at a time, whose numbers do not change.
    template <class Take>
    int64_t scan(int64_t cursor, Take take) {
        uint32_t number = static_cast<uint32_t>(cursor & kRowMask);
        for (uint64_t s = static_cast<uint64_t>(cursor) >> kRowBits; s < kStripes; ++s, number = 0) {
            const uint32_t stripe = static_cast<uint32_t>(s);
            while (number < rows_end(stripe)) {
                const ReadGuard guard(*this, stripe, true);
                const uint32_t end = std::min(rows_end(stripe), number + kMaxHeld);
                for (; number < end; ++number) {
                    const RowHeader *present = row(stripe, number);
                    if (present->mark == kFree) continue;
                    if (!take(present)) return static_cast<int64_t>(s << kRowBits | number);
                }
            }
        }
        return -1;
    }

private:
    static constexpr uint64_t kSpare = 65536;
    static constexpr uint32_t kMaxHeld = 1024;

    template <class Keys>
    bool any_missing(const Keys &keys, const BatchPlan &plan) {
        for (uint32_t s = 0; s < kStripes; ++s) {
            const ReadGuard guard(*this, s, true);
            for (uint32_t k = 0; k < plan.size(s); ++k) {
                const uint32_t i = plan.positions(s)[k];
                if (find(s, plan.hashes[i], keys, i) == kNone) return true;
            }
        }
        return false;
    }

    // The keys of a stripe's rows, for its index.
    template <class Keys>
    struct StoredKeys {
        const RowStore &store;
        uint32_t stripe;

        void fetch(uint32_t number) const { __builtin_prefetch(store.row(stripe, number)); }
        void fetch_key(uint32_t number) const { Keys::prefetch_stored(store.row(stripe, number)->key, store.arena_); }
        uint64_t hash(uint32_t number) const {
            return Keys::stored_hash(store.row(stripe, number)->key, store.arena_);
        }
    };

    const uint32_t stripe_bits_;
    std::atomic<uint64_t> reserved_{0};  // rows that are there or about to be, where they are limited
    std::atomic<Changes *> changes_{nullptr};
};

}  // namespace carls
