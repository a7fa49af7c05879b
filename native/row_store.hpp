// RowStore: the keyed rows of one table, in stripes with a lock and a sequence counter each.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arena.hpp"
#include "changes.hpp"
#include "key_index.hpp"
#include "keys.hpp"
#include "layout.hpp"

namespace carls {

// More rows than a table can hold; nothing was changed.
struct TableFull : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Readers share, a writer is alone; waiting writers go before new readers, so that a stream
// of look-ups cannot starve a push.
class alignas(64) StripeLock {
public:
    StripeLock() {
        pthread_rwlockattr_t attributes;
        pthread_rwlockattr_init(&attributes);
#ifdef __GLIBC__
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
        pthread_rwlock_init(&lock_, &attributes);
        pthread_rwlockattr_destroy(&attributes);
    }
    ~StripeLock() { pthread_rwlock_destroy(&lock_); }
    StripeLock(const StripeLock &) = delete;
    StripeLock &operator=(const StripeLock &) = delete;
    void lock() { pthread_rwlock_wrlock(&lock_); }
    bool try_lock() { return pthread_rwlock_trywrlock(&lock_) == 0; }
    void lock_shared() { pthread_rwlock_rdlock(&lock_); }
    bool try_lock_shared() { return pthread_rwlock_tryrdlock(&lock_) == 0; }
    void unlock() { pthread_rwlock_unlock(&lock_); }

private:
    pthread_rwlock_t lock_;
};

// How large a table may grow: it has fewer stripes if it is to stay small, so that each has enough
// rows to choose from when one has to go.
struct Limits {
    uint64_t rows = UINT64_MAX, bytes = UINT64_MAX;

    bool any() const { return rows != UINT64_MAX || bytes != UINT64_MAX; }
    // Where so many of the bytes are taken by something else.
    Limits without(uint64_t taken) const { return {rows, bytes == UINT64_MAX ? bytes : bytes - taken}; }
    uint32_t stripe_bits(uint32_t row_bytes) const {
        const uint64_t most = std::min(rows, bytes / row_bytes);
        uint32_t bits = 0;
        while (bits < kStripeBits && most >> (bits + 1) >= 1024) ++bits;
        return bits;
    }
};

// Positions of a batch grouped by stripe, in their order within each.
struct BatchPlan {
    std::vector<uint64_t> hashes;
    std::vector<uint32_t> order;
    uint32_t begin[kStripes + 1];
    uint32_t stripe_bits;

    template <class Keys>
    BatchPlan(const Keys &keys, size_t n, uint32_t bits = kStripeBits)
        : hashes(n), order(n), begin{}, stripe_bits(bits) {
        for (size_t i = 0; i < n; ++i) {
            hashes[i] = keys.hash(i);
            ++begin[stripe_of(hashes[i]) + 1];
        }
        group(n, [](size_t k) { return static_cast<uint32_t>(k); });
    }

    // Those at `chosen` of another plan's positions.
    BatchPlan(const BatchPlan &whole, const std::vector<uint32_t> &chosen)
        : hashes(whole.hashes), order(chosen.size()), begin{}, stripe_bits(whole.stripe_bits) {
        for (const uint32_t i : chosen) ++begin[stripe_of(whole.hashes[i]) + 1];
        group(chosen.size(), [&](size_t k) { return chosen[k]; });
    }

    uint32_t stripe_of(uint64_t hash) const {
        return static_cast<uint32_t>(hash >> (64 - kStripeBits)) >> (kStripeBits - stripe_bits);
    }
    uint32_t size(uint32_t stripe) const { return begin[stripe + 1] - begin[stripe]; }
    // The stripe after that one which has a part of the batch, or kStripes.
    uint32_t next(uint32_t stripe) const {
        do ++stripe;
        while (stripe < kStripes && size(stripe) == 0);
        return stripe;
    }
    const uint32_t *positions(uint32_t stripe) const { return order.data() + begin[stripe]; }

private:
    // From the stripes' sizes, in begin[stripe + 1], to their beginnings and the order of positions.
    template <class Position>
    void group(size_t n, Position position) {
        for (uint32_t s = 0; s < kStripes; ++s) begin[s + 1] += begin[s];
        uint32_t next[kStripes];
        std::copy(begin, begin + kStripes, next);
        for (size_t k = 0; k < n; ++k) order[next[stripe_of(hashes[position(k)])]++] = position(k);
    }
};

// Stripes that a batch has still to go to.
struct StripeList {
    uint32_t count = 0;
    uint8_t stripes[kStripes];

    explicit StripeList(const BatchPlan &plan) {
        for (uint32_t s = 0; s < kStripes; ++s) {
            if (plan.size(s) != 0) stripes[count++] = static_cast<uint8_t>(s);
        }
    }

    // Calls visit(stripe) for each; those stay for which it returns true.
    template <class Visit>
    void keep(Visit visit) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; ++i) {
            if (visit(stripes[i])) stripes[kept++] = stripes[i];
        }
        count = kept;
    }
};

class RowStore {
public:
    static constexpr uint32_t kNone = UINT32_MAX;

    // With `uses`, each row has a word that tells of its use; see Eviction.
    explicit RowStore(uint32_t payload_bytes, const Limits &limits = {}, bool uses = false)
        : row_bytes_((static_cast<uint32_t>(sizeof(RowHeader)) + payload_bytes + 7) & ~7u),
          uses_(uses),
          limits_(limits),
          stripe_bits_(limits.stripe_bits(row_bytes_)) {
        // Small chunks where memory is scarce: the last one of each stripe is used in part.
        chunk_bits_ = limits.any() ? 0 : 4;
        while ((uint64_t{row_bytes_} << chunk_bits_) < (limits.any() ? kSmallChunkBytes : kChunkBytes)) ++chunk_bits_;
        arena_.set_limit(limits.bytes);
        header_ = arena_.at<TableHeader>(arena_.allocate(sizeof(TableHeader)));
        header_->magic = kMagic;
        header_->stripes = 1u << stripe_bits_;
        header_->row_bytes = row_bytes_;
        header_->chunk_bits = chunk_bits_;
        header_->payload_offset = sizeof(RowHeader);
        heaps_.reserve(kStripes);
        for (uint32_t s = 0; s < kStripes; ++s) heaps_.emplace_back(arena_);
    }

    // Holds a stripe for reading. Holds nothing if another writes there and `wait` is false.
    class ReadGuard {
    public:
        ReadGuard() = default;
        ReadGuard(RowStore &store, uint32_t stripe, bool wait) : lock_(&store.locks_[stripe]) {
            if (wait) {
                lock_->lock_shared();
            } else if (!lock_->try_lock_shared()) {
                lock_ = nullptr;
            }
        }
        ReadGuard(ReadGuard &&other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
        ReadGuard &operator=(ReadGuard &&other) noexcept {
            std::swap(lock_, other.lock_);
            return *this;
        }
        ~ReadGuard() { release(); }
        bool holds() const { return lock_ != nullptr; }
        void release() {
            if (lock_ != nullptr) std::exchange(lock_, nullptr)->unlock();
        }

    private:
        StripeLock *lock_ = nullptr;
    };

    // Holds a stripe for writing; its sequence is odd meanwhile. Holds nothing if another is there
    // and `wait` is false.
    class WriteGuard {
    public:
        WriteGuard(RowStore &store, uint32_t stripe, bool wait)
            : lock_(store.locks_[stripe]), sequence_(store.header_->stripe[stripe].sequence) {
            if (wait) lock_.lock();
            holds_ = wait || lock_.try_lock();
            if (!holds_) return;
            sequence_.fetch_add(1, std::memory_order_relaxed);
            std::atomic_thread_fence(std::memory_order_release);
        }
        ~WriteGuard() {
            if (!holds_) return;
            sequence_.fetch_add(1, std::memory_order_release);
            lock_.unlock();
        }
        WriteGuard(const WriteGuard &) = delete;
        WriteGuard &operator=(const WriteGuard &) = delete;
        bool holds() const { return holds_; }

    private:
        StripeLock &lock_;
        std::atomic<uint64_t> &sequence_;
        bool holds_;
    };

    // Calls work(stripe) for the stripes of a batch, holding each, after prepare(stripe), holding
    // none: those first that are free. A thread that has lost its core may hold any of them, and
    // waiting for one such after the other would add up.
    template <class Guard, class Prepare, class Work>
    void each(StripeList stripes, Prepare prepare, Work work) {
        for (bool wait = false; stripes.count != 0; wait = true) {
            stripes.keep([&](uint32_t stripe) {
                prepare(stripe);
                const Guard guard(*this, stripe, wait);
                if (!guard.holds()) return true;
                wait = false;
                work(stripe);
                return false;
            });
        }
    }
    template <class Guard, class Work>
    void each(const StripeList &stripes, Work work) {
        each<Guard>(stripes, [](uint32_t) {}, work);
    }

    Arena &arena() { return arena_; }
    const Arena &arena() const { return arena_; }
    BlockHeap &heap(uint32_t stripe) { return heaps_[stripe]; }
    uint64_t bytes() const { return arena_.used(); }
    const Limits &limits() const { return limits_; }
    uint32_t row_bytes() const { return row_bytes_; }
    bool uses() const { return uses_; }
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

    // Row numbers in use or freed in a stripe. Under its lock.
    uint32_t rows_end(uint32_t stripe) const { return header_->stripe[stripe].rows_end.load(std::memory_order_relaxed); }

    RowHeader *row(uint32_t stripe, uint32_t number) const {
        return row(arena_.at<uint64_t>(header_->stripe[stripe].directory.load(std::memory_order_relaxed)), number);
    }
    RowHeader *row(const uint64_t *directory, uint32_t number) const {
        const uint64_t chunk = directory[number >> chunk_bits_];
        return arena_.at<RowHeader>(chunk + uint64_t{number & ((1u << chunk_bits_) - 1)} * row_bytes_);
    }
    // The row's word of use, behind the rows of its chunk; 0 while there is no row.
    std::atomic<uint64_t> *use(uint32_t stripe, uint32_t number) const {
        return use(arena_.at<uint64_t>(header_->stripe[stripe].directory.load(std::memory_order_relaxed)), number);
    }
    std::atomic<uint64_t> *use(const uint64_t *directory, uint32_t number) const {
        const uint64_t uses = directory[number >> chunk_bits_] + (uint64_t{row_bytes_} << chunk_bits_);
        return arena_.at<std::atomic<uint64_t>>(uses) + (number & ((1u << chunk_bits_) - 1));
    }
    static uint8_t *payload(RowHeader *row) { return reinterpret_cast<uint8_t *>(row + 1); }

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
                if (uses_) uses[k] = use(directory, number);
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
        if (limits_.any()) return;  // keys without room get no row, one by one
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
        const uint64_t most = n * row_bytes_ + 2 * keys.bytes(n) + stripes * ((uint64_t{row_bytes_} << chunk_bits_) + kSpare);
        try {
            arena_.require(most);
        } catch (const std::bad_alloc &) {
            if (any_missing(keys, plan)) throw;
        }
    }

    // Has memory ready for so many new rows and some more; see Arena. Under no lock.
    void make_ready(uint64_t rows) { arena_.make_ready(rows * row_bytes_); }

    // Counts one more row, if there may be one. Who reserves inserts a row, or gives it back.
    bool reserve() {
        uint64_t rows = reserved_.load(std::memory_order_relaxed);
        while (rows < limits_.rows) {
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
        const uint32_t number = rows_end(stripe);
        Need need{0, KeyIndex(arena_, header).growth(hash), key_bytes == 0 ? 0 : heaps_[stripe].growth(key_bytes)};
        if (header.free_row != 0 || (number & ((1u << chunk_bits_) - 1)) != 0) return need;
        need.row = chunk_bytes();
        if (number >> chunk_bits_ == header.directory_capacity) need.row += 16 * std::max(header.directory_capacity, 8u);
        return need;
    }
    bool fits(uint64_t bytes) const { return bytes == 0 || arena_.used() + bytes <= limits_.bytes; }

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
        if (uses_) use(stripe, number)->store(0, std::memory_order_relaxed);
        header.live.fetch_sub(1, std::memory_order_relaxed);
        header.changes.fetch_add(1, std::memory_order_relaxed);
        changed(stripe, number);
        if (limits_.rows != UINT64_MAX) give_back();
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
    static constexpr uint64_t kChunkBytes = 32768, kSmallChunkBytes = 8192, kSpare = 65536;
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

    // Until those are done who may not have seen that somebody watches, or not any more.
    void wait_for_writers() {
        for (uint32_t s = 0; s < kStripes; ++s) const WriteGuard guard(*this, s, true);
    }

    uint64_t chunk_bytes() const { return uint64_t{row_bytes_ + (uses_ ? 8 : 0)} << chunk_bits_; }

    uint32_t add_row(uint32_t stripe) {
        StripeHeader &header = header_->stripe[stripe];
        const uint32_t number = rows_end(stripe);
        if (number >= kMaxRowsPerStripe) throw std::bad_alloc();
        const uint32_t chunk = number >> chunk_bits_;
        if ((number & ((1u << chunk_bits_) - 1)) == 0) {
            if (chunk == header.directory_capacity) grow_directory(header);
            const uint64_t rows = arena_.allocate(chunk_bytes());
            arena_.at<uint64_t>(header.directory.load(std::memory_order_relaxed))[chunk] = rows;
        }
        header.rows_end.store(number + 1, std::memory_order_relaxed);
        row(stripe, number)->mark = kFree;
        return number;
    }

    void grow_directory(StripeHeader &header) {
        const uint32_t old_capacity = header.directory_capacity;
        const uint32_t capacity = old_capacity == 0 ? 8 : old_capacity * 2;
        const uint64_t grown = arena_.allocate(uint64_t{8} * capacity);
        if (old_capacity != 0) {
            const uint64_t old = header.directory.load(std::memory_order_relaxed);
            std::memcpy(arena_.at(grown), arena_.at(old), uint64_t{8} * old_capacity);
            arena_.release(old, uint64_t{8} * old_capacity);
        }
        header.directory.store(grown, std::memory_order_relaxed);
        header.directory_capacity = capacity;
    }

    Arena arena_;
    uint32_t row_bytes_, chunk_bits_;
    const bool uses_;
    const Limits limits_;
    const uint32_t stripe_bits_;
    std::atomic<uint64_t> reserved_{0};  // rows that are there or about to be, where they are limited
    TableHeader *header_;
    std::vector<BlockHeap> heaps_;
    StripeLock locks_[kStripes];
    std::atomic<Changes *> changes_{nullptr};
};

}  // namespace carls
