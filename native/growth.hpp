// Growth: keeps a table within its limits, by evicting rows and by taking expired ones back.
#pragma once

#include <atomic>
#include <memory>
#include <new>

#include "admission.hpp"
#include "eviction.hpp"
#include "pending.hpp"
#include "row_store.hpp"

namespace carls {

// How a table may grow: which keys get rows, how many, and which rows go for others.
struct GrowthPolicy {
    Limits limits;
    Eviction eviction;
    uint32_t admit_after;  // 0: all keys at once
    uint64_t admission_window;
};

// What became of rows and keys for want of room or of time, since the table was made.
struct GrowthCounts {
    std::atomic<uint64_t> evicted{0}, expired{0}, unadmitted{0};
};

class Growth {
public:
    static constexpr uint32_t kNone = RowStore::kNone;

    Growth(RowStore &store, const Eviction &eviction, Pending &pending)
        : store_(store), eviction_(eviction), pending_(pending), pools_(eviction.none() ? nullptr : new Pool[kStripes]) {}

    GrowthCounts counts;

    // Whether rows may go by themselves.
    bool none() const { return eviction_.none(); }
    const Eviction &eviction() const { return eviction_; }
    bool expired(const RowHeader *row, uint64_t now) const { return eviction_.expired(row->written_at(), now); }

    // A batch of n keys begins.
    Batch begin(size_t n, uint64_t now) {
        if (none()) return {0, 0, now};
        const uint64_t stamp = eviction_.expires() ? now : batches_.fetch_add(1, std::memory_order_relaxed) + 1;
        if (eviction_.ages()) age(n);
        return {stamp & Eviction::kStampMask, epoch_.load(std::memory_order_relaxed) & Eviction::kEpochMask, now};
    }

    // Adds a row for a key that has none; kNone if there is no room and no row may go. Under the
    // stripe's write lock. Throws std::bad_alloc if the table has no limit.
    template <class Keys>
    uint32_t add(uint32_t s, uint64_t hash, const Keys &keys, size_t i, Batch &batch) {
        if (!store_.limits().any()) return mark(s, store_.insert(s, hash, keys, i), batch);
        const uint64_t stripe_bit = uint64_t{1} << s;
        for (uint32_t tries = 0; tries < kTries && (batch.spent & stripe_bit) == 0; ++tries) {
            const RowStore::Need need = store_.need(s, hash, keys.stored_bytes(i));
            if (store_.fits(need.bytes()) && store_.reserve()) {
                try {
                    return mark(s, store_.insert(s, hash, keys, i), batch);
                } catch (const std::bad_alloc &) {
                    store_.give_back();  // another stripe took the memory meanwhile
                }
            }
            const bool done = !store_.fits(need.index) ? evict_near<Keys>(s, hash, batch)
                              : !store_.fits(need.key) ? evict_alike<Keys>(s, keys.stored_bytes(i), batch)
                                                       : evict<Keys>(s, batch);
            if (!done) break;
        }
        // Later keys of the batch get none here either, so that equal keys are treated alike.
        batch.spent |= stripe_bit;
        return kNone;
    }

    // Makes room for up to so many rows in any stripes, for keys whose own stripe had no row to give.
    // Under no lock. Returns whether it is worth another try.
    template <class Keys>
    bool make_room_elsewhere(uint64_t rows, Batch &batch) {
        if (store_.limits().rows == UINT64_MAX) return false;
        const uint32_t stripes = 1u << store_.limits().stripe_bits(store_.row_bytes());
        uint64_t evicted = 0;
        for (uint32_t turn = 0; turn < stripes && evicted < rows; ++turn) {
            const uint32_t s = (static_cast<uint32_t>(batch.stamp) + turn) & (stripes - 1);
            if ((batch.spent >> s & 1) != 0) continue;
            const RowStore::WriteGuard guard(store_, s, true);
            const uint64_t share = evicted + (rows - evicted + stripes - turn - 1) / (stripes - turn);
            while (evicted < share && evict<Keys>(s, batch)) ++evicted;
        }
        batch.spent = 0;
        return evicted != 0;
    }

    // Takes back expired ones among the next rows of the stripe. Under its write lock.
    template <class Keys>
    void sweep(uint32_t s, const Batch &batch) {
        if (!eviction_.expires()) return;
        const uint32_t end = store_.rows_end(s);
        uint32_t &hand = pools_[s].sweep;
        for (uint32_t looked = 0; looked < std::min(end, kSwept); ++looked) {
            if (hand >= end) hand = 0;
            const uint32_t number = hand++;
            const uint64_t use = store_.use(s, number)->load(std::memory_order_relaxed);
            if (use != 0 && eviction_.expired(Eviction::stamp(use), batch.now)) take_back<Keys>(s, number);
        }
    }

    template <class Keys>
    void take_back(uint32_t s, uint32_t number) {
        pending_.discard(s, store_.row(s, number));
        store_.remove<Keys>(s, number);
        counts.expired.fetch_add(1, std::memory_order_relaxed);
    }

private:
    static constexpr uint32_t kTries = 8;         // evictions for one key
    static constexpr uint32_t kLooked = 16;       // rows looked at for an eviction
    static constexpr uint32_t kMostLooked = 4096; // where the batch's own rows are in the way
    static constexpr uint32_t kSwept = 16;
    static constexpr uint64_t kUsesPerRow = 32;   // of an epoch

    struct Candidate {
        uint64_t rank;
        uint32_t number;
    };
    // Of each stripe, rows that were looked at and are to go soon, the next one last; and the numbers
    // of the rows that are looked at next. Under the stripe's lock.
    struct Pool {
        static constexpr uint32_t kMost = 16;
        Candidate candidates[kMost];
        uint32_t count = 0, hand = 0, sweep = 0;

        void offer(const Candidate &offered) {
            uint32_t at = count;
            if (count == kMost) {
                if (offered.rank >= candidates[0].rank) return;
                std::copy(candidates + 1, candidates + kMost, candidates);
                at = --count;
            }
            while (at > 0 && candidates[at - 1].rank < offered.rank) {
                candidates[at] = candidates[at - 1];
                --at;
            }
            candidates[at] = offered;
            ++count;
        }
    };

    uint32_t mark(uint32_t s, uint32_t number, const Batch &batch) {
        if (!none()) store_.use(s, number)->store(eviction_.created(batch), std::memory_order_relaxed);
        return number;
    }

    template <class Keys>
    void remove(uint32_t s, uint32_t number, const Batch &batch) {
        const bool expired = eviction_.expired(Eviction::stamp(*store_.use(s, number)), batch.now);
        pending_.discard(s, store_.row(s, number));
        store_.remove<Keys>(s, number);
        (expired ? counts.expired : counts.evicted).fetch_add(1, std::memory_order_relaxed);
    }

    // Evicts a row of the stripe; false if none of those looked at may go.
    template <class Keys>
    bool evict(uint32_t s, const Batch &batch) {
        Pool &pool = pools_[s];
        const uint32_t end = store_.rows_end(s);
        for (uint32_t looked = 0; looked < std::min(end, kMostLooked);) {
            for (const uint32_t stop = std::min(end, looked + kLooked); looked < stop; ++looked) {
                if (pool.hand >= end) pool.hand = 0;
                const uint32_t number = pool.hand++;
                const uint64_t use = store_.use(s, number)->load(std::memory_order_relaxed);
                if (use == 0 || eviction_.met(use, batch)) continue;
                pool.offer({eviction_.rank(use, batch.epoch), number});
            }
            while (pool.count != 0) {
                const Candidate next = pool.candidates[--pool.count];
                const uint64_t use = store_.use(s, next.number)->load(std::memory_order_relaxed);
                // Gone, or used since.
                if (use == 0 || eviction_.rank(use, batch.epoch) != next.rank || eviction_.met(use, batch)) continue;
                remove<Keys>(s, next.number, batch);
                return true;
            }
        }
        return false;
    }

    // Likewise, one of the index's page that the hash belongs to, for a slot in it.
    template <class Keys>
    bool evict_near(uint32_t s, uint64_t hash, const Batch &batch) {
        Candidate best{UINT64_MAX, kNone};
        store_.near(s, hash, kLooked, [&](uint32_t number) {
            const uint64_t use = store_.use(s, number)->load(std::memory_order_relaxed);
            const uint64_t rank = eviction_.rank(use, batch.epoch);
            if (rank < best.rank && !eviction_.met(use, batch)) best = {rank, number};
        });
        if (best.number != kNone) remove<Keys>(s, best.number, batch);
        return best.number != kNone;
    }

    // Likewise, one whose key's block a key of so many bytes can have.
    template <class Keys>
    bool evict_alike(uint32_t s, uint64_t key_bytes, const Batch &batch) {
        Candidate best{UINT64_MAX, kNone};
        const uint32_t end = store_.rows_end(s);
        uint32_t &hand = pools_[s].hand;
        for (uint32_t looked = 0, alike = 0; looked < std::min(end, kMostLooked) && alike < kLooked; ++looked) {
            if (hand >= end) hand = 0;
            const uint32_t number = hand++;
            const uint64_t use = store_.use(s, number)->load(std::memory_order_relaxed);
            if (use == 0 || eviction_.met(use, batch)) continue;
            if (!Keys::makes_room(store_.row(s, number)->key, key_bytes)) continue;
            ++alike;
            const uint64_t rank = eviction_.rank(use, batch.epoch);
            if (rank < best.rank) best = {rank, number};
        }
        if (best.number != kNone) remove<Keys>(s, best.number, batch);
        return best.number != kNone;
    }

    // Halves all counts after so many uses for each row.
    void age(size_t n) {
        const uint64_t uses = uses_.fetch_add(n, std::memory_order_relaxed) + n;
        uint64_t due = due_.load(std::memory_order_relaxed);
        if (uses < due) return;
        const uint64_t next = uses + kUsesPerRow * std::max<uint64_t>(store_.size(), 64);
        if (due_.compare_exchange_strong(due, next) && due != 0) epoch_.fetch_add(1, std::memory_order_relaxed);
    }

    RowStore &store_;
    const Eviction eviction_;
    Pending &pending_;
    const std::unique_ptr<Pool[]> pools_;
    std::atomic<uint64_t> batches_{0}, uses_{0}, due_{0}, epoch_{0};
};

}  // namespace carls
