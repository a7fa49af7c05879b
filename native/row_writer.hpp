// RowWriter: finds and makes the rows that a batch writes, stripe by stripe.
#pragma once

#include <utility>
#include <vector>

#include "block_reader.hpp"
#include "growth.hpp"
#include "pending.hpp"
#include "records.hpp"

namespace carls {

// Rows marked by a writer; the marks go before the writer leaves the stripe.
struct Marks {
    std::vector<RowHeader *> rows;

    explicit Marks(size_t most) { rows.reserve(most); }
    ~Marks() {
        for (RowHeader *row : rows) row->mark = kLive;
    }
    Marks(const Marks &) = delete;
    Marks &operator=(const Marks &) = delete;
    void set(RowHeader *row) {
        row->mark = kMarked;
        rows.push_back(row);
    }
};

// Likely rows of the stripe that is written next. They are fetched while the stripe before it is
// worked on, one at a time: all at once they are more than the processor can have on their way,
// and it would wait in place of working.
struct Ahead {
    std::vector<const RowHeader *> rows;
    size_t fetched = 0;
    uint32_t row_bytes;  // state included

    // For the k-th row of each of the two passes over a stripe, finding and changing its rows.
    void keep_pace(size_t k) {
        if (k % 2 == 0 && fetched < rows.size()) fetch(rows[fetched++], row_bytes);
    }
    void fetch_rest() {
        while (fetched < rows.size()) fetch(rows[fetched++], row_bytes);
    }
};

class RowWriter {
public:
    RowWriter(RowStore &store, Growth &growth, Pending &pending, const Records &records)
        : store_(store), growth_(growth), pending_(pending), records_(records) {}

    // The key's row, or kNone; one whose time is over is taken back. Under the stripe's write lock.
    template <class Keys>
    uint32_t find(uint32_t s, uint64_t hash, const Keys &keys, size_t i, uint64_t now) {
        const uint32_t number = store_.find(s, hash, keys, i);
        if (number == RowStore::kNone || !growth_.eviction().expires()) return number;
        if (!growth_.expired(store_.row(s, number), now)) return number;
        growth_.take_back<Keys>(s, number);
        return RowStore::kNone;
    }

    // A new row of that value, the optimizer's state at its start; kNone if there is no room.
    template <class Keys>
    uint32_t add(const Keys &keys, uint64_t hash, uint32_t s, uint32_t i, Batch &batch, const uint8_t *from) {
        const uint32_t number = growth_.add(s, hash, keys, i, batch);
        if (number == RowStore::kNone) return number;
        RowHeader *row = store_.row(s, number);
        row->set_written_at(batch.now);
        records_.start(row, from);
        return number;
    }

    // Whether to try the positions that are left once more, at most one time: if other stripes gave
    // room for them. Then they are the batch.
    template <class Keys>
    bool another_turn(std::vector<uint32_t> &positions, std::vector<uint32_t> &left, Batch &batch) {
        if (left.empty() || std::exchange(batch.tried, true)) return false;
        if (!growth_.make_room_elsewhere<Keys>(left.size(), batch)) return false;
        std::swap(positions, left);
        return true;
    }

    // Calls visit(stripe, positions, rows, ahead) for each stripe's part of the batch, under its write lock,
    // with a row for every key; visit keeps ahead's pace. While one stripe is written, the rows of the
    // next one and the index slots of the one after that are on their way from memory. Returns how many
    // positions were dropped: their keys have no row and got none, for want of room, or as nothing is
    // to be created.
    template <class Keys, class Visit>
    uint64_t write(const Keys &keys, size_t n, uint64_t now, bool create, Visit visit) {
        if (n == 0) return 0;
        const BatchPlan plan = store_.plan(keys, n);
        store_.check_room(keys, plan);
        store_.make_ready(0);
        Batch batch = growth_.begin(0, now);
        uint64_t dropped = 0;
        std::vector<uint32_t> left = write(keys, plan, batch, create, dropped, visit), positions;
        while (another_turn<Keys>(positions, left, batch)) {
            left = write(keys, BatchPlan(plan, positions), batch, create, dropped, visit);
        }
        return dropped + left.size();
    }

private:
    static constexpr uint32_t kSettled = 64;  // rows of a stripe, whose gradients have waited long enough

    // Likewise, the positions of a plan; those that found no room are returned.
    template <class Keys, class Visit>
    std::vector<uint32_t> write(const Keys &keys, const BatchPlan &plan, Batch &batch, bool create, uint64_t &dropped,
                                Visit visit) {
        std::vector<RowHeader *> rows;
        std::vector<uint32_t> positions, absent, left;
        std::vector<float> wide = records_.room(), initial(records_.vector().dim);
        auto *value = reinterpret_cast<uint8_t *>(initial.data());
        Ahead ahead;
        ahead.row_bytes = static_cast<uint32_t>(sizeof(RowHeader)) + records_.bytes();
        const StripeList stripes(plan);
        const uint32_t first = stripes.stripes[0], second = plan.next(first);
        store_.prefetch_slots(plan, plan.begin[first], plan.size(first));
        if (second < kStripes) store_.prefetch_slots(plan, plan.begin[second], plan.size(second));
        look_ahead(plan, first, ahead);
        ahead.fetch_rest();
        store_.each<RowStore::WriteGuard>(
            stripes,
            [&](uint32_t s) {
                const uint32_t next = plan.next(s), after = next < kStripes ? plan.next(next) : kStripes;
                if (after < kStripes) store_.prefetch_slots(plan, plan.begin[after], plan.size(after));
                look_ahead(plan, next, ahead);
            },
            [&](uint32_t s) {
                rows.clear();
                positions.clear();
                absent.clear();
                growth_.sweep<Keys>(s, batch);
                pending_.settle(s, pending_.due(batch.now), kSettled);
                const auto place = [&](uint32_t i, uint32_t number) {
                    rows.push_back(store_.row(s, number));
                    store_.changed(s, number);
                    positions.push_back(i);
                    if (store_.uses()) growth_.eviction().write(*store_.use(s, number), batch);
                };
                for (uint32_t k = 0; k < plan.size(s); ++k) {
                    ahead.keep_pace(k);
                    const uint32_t i = plan.positions(s)[k];
                    const uint32_t number = find(s, plan.hashes[i], keys, i, batch.now);
                    if (number == RowStore::kNone) {
                        absent.push_back(i);
                    } else {
                        place(i, number);
                    }
                }
                // New rows come last, when those that the batch has met cannot go for them.
                if (!create) dropped += std::exchange(absent, {}).size();
                for (const uint32_t i : absent) {
                    uint32_t number = store_.find(s, plan.hashes[i], keys, i);
                    if (number == RowStore::kNone) {
                        records_.fill(keys.initializer_key(i, plan.hashes[i]), value, wide);
                        number = add(keys, plan.hashes[i], s, i, batch, value);
                    }
                    if (number == RowStore::kNone) {
                        left.push_back(i);
                    } else {
                        place(i, number);
                    }
                }
                visit(s, positions.data(), rows, ahead);
                ahead.fetch_rest();
            });
        return left;
    }

    // Notes the likely rows of a stripe's part of the batch, none where somebody writes or for
    // kStripes. Rows never move, so the lock need not be held until they are used.
    void look_ahead(const BatchPlan &plan, uint32_t s, Ahead &ahead) {
        ahead.rows.clear();
        ahead.fetched = 0;
        if (s == kStripes) return;
        const RowStore::ReadGuard guard(store_, s, false);
        if (!guard.holds()) return;
        for (uint32_t k = 0; k < plan.size(s); ++k) {
            const uint32_t number = store_.guess(s, plan.hashes[plan.positions(s)[k]]);
            if (number != RowStore::kNone) ahead.rows.push_back(store_.row(s, number));
        }
    }

    RowStore &store_;
    Growth &growth_;
    Pending &pending_;
    const Records &records_;
};

}  // namespace carls
