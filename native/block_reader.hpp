// BlockReader: visits the rows of a batch of keys, while those of the next keys are on their way from memory.
#pragma once

#include <algorithm>
#include <utility>

#include "row_store.hpp"

namespace carls {

// Has the first so many bytes of a row, 1024 at most, come from memory.
inline void fetch(const RowHeader *row, uint32_t bytes) {
    const char *p = reinterpret_cast<const char *>(row);
    for (uint32_t at = 0; at < bytes && at < 1024; at += 64) __builtin_prefetch(p + at);
}

class BlockReader {
public:
    // Of each row, so many bytes are read.
    BlockReader(RowStore &store, uint32_t row_bytes) : store_(store), row_bytes_(row_bytes) {}

    // Calls visit(position, row or nullptr, word of use or nullptr) for all keys, stripe by stripe: those first that nobody
    // writes. A reader waits for a stripe only while it holds none, and a writer too, so that
    // nobody waits in a circle.
    template <class Keys, class Visit>
    void read(const Keys &keys, const BatchPlan &plan, Visit visit) {
        StripeList left(plan);
        for (bool wait = false; left.count != 0; wait = true) read_free(keys, plan, left, wait, visit);
    }

private:
    static constexpr uint32_t kAhead = 4;        // rows being fetched at once
    static constexpr uint32_t kSlotsAhead = 16;  // index slots being fetched at once

    // Up to kAhead positions of one stripe, which is locked while their rows are fetched and
    // read. The lock passes from a block to the next one of the same stripe.
    struct Block {
        uint32_t stripe = kStripes, from = 0, count = 0;
        RowHeader *rows[kAhead];              // the likely row of each position, or nullptr
        std::atomic<uint64_t> *uses[kAhead];  // their words of use, where the table has them
        RowStore::ReadGuard guard;
    };

    // Reads the stripes that are free, and leaves the others in the list; waits for the first one
    // if it is to. While the rows of one block are copied, the keys of the next and the rows of the
    // one after that are on their way from memory.
    template <class Keys, class Visit>
    void read_free(const Keys &keys, const BatchPlan &plan, StripeList &left, bool wait, Visit visit) {
        Cursor cursor{left, plan.begin[left.stripes[0]], wait};
        store_.prefetch_slots(plan, cursor.at, kSlotsAhead);
        Block ring[3];
        Block *current = &ring[0], *next = &ring[1], *last = &ring[2];
        fetch_rows(plan, cursor, kStripes, *current);
        fetch_rows(plan, cursor, current->stripe, *next);
        fetch_keys<Keys>(*current);
        while (current->count != 0) {
            fetch_rows(plan, cursor, next->stripe, *last);
            fetch_keys<Keys>(*next);
            for (uint32_t k = 0; k < current->count; ++k) {
                const uint32_t i = plan.order[current->from + k];
                RowHeader *row = current->rows[k];
                std::atomic<uint64_t> *use = current->uses[k];
                if (row != nullptr && !keys.equals(row->key, i, store_.arena())) {
                    const uint32_t number = store_.find(current->stripe, plan.hashes[i], keys, i);
                    row = number == RowStore::kNone ? nullptr : store_.row(current->stripe, number);
                    if (row != nullptr && use != nullptr) use = store_.use(current->stripe, number);
                }
                visit(i, row, use);
            }
            if (next->stripe == current->stripe) next->guard = std::move(current->guard);
            current->guard.release();
            Block *done = std::exchange(current, next);
            next = std::exchange(last, done);
        }
        left.count = cursor.kept;
    }

    // Where a pass over the list of stripes is; the first `kept` of the list are for the next pass.
    struct Cursor {
        StripeList &left;
        uint32_t at;  // in the plan's order
        bool wait;
        uint32_t turn = 0, kept = 0;
    };

    // Fills the next block; locks its stripe unless the block before has it locked.
    void fetch_rows(const BatchPlan &plan, Cursor &cursor, uint32_t locked, Block &block) {
        block.count = 0;
        block.stripe = kStripes;
        StripeList &left = cursor.left;
        uint32_t s = kStripes;
        for (; cursor.turn < left.count; ++cursor.turn) {
            s = left.stripes[cursor.turn];
            if (s == locked) {
                if (cursor.at < plan.begin[s + 1]) break;
                continue;
            }
            cursor.at = plan.begin[s];
            block.guard = RowStore::ReadGuard(store_, s, std::exchange(cursor.wait, false));
            if (block.guard.holds()) break;
            left.stripes[cursor.kept++] = static_cast<uint8_t>(s);
        }
        if (cursor.turn == left.count) return;
        block.stripe = s;
        block.from = cursor.at;
        block.count = std::min(kAhead, plan.begin[s + 1] - cursor.at);
        store_.prefetch_slots(plan, cursor.at + kSlotsAhead, block.count);
        cursor.at += block.count;
        store_.guess_rows(s, plan, block.from, block.count, block.rows, block.uses);
        for (uint32_t k = 0; k < block.count; ++k) {
            if (block.rows[k] != nullptr) fetch(block.rows[k], row_bytes_);
            if (block.uses[k] != nullptr) __builtin_prefetch(block.uses[k], 1);
        }
    }

    template <class Keys>
    void fetch_keys(const Block &block) const {
        for (uint32_t k = 0; k < block.count; ++k) {
            if (block.rows[k] != nullptr) Keys::prefetch_stored(block.rows[k]->key, store_.arena());
        }
    }

    RowStore &store_;
    const uint32_t row_bytes_;
};

}  // namespace carls
