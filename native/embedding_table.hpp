// EmbeddingTable: rows of float32 or float16 values with an optimizer's state, float32, beside them.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "growth.hpp"
#include "half.hpp"
#include "initializer.hpp"
#include "optimizer.hpp"
#include "row_store.hpp"
#include "stamp.hpp"

namespace carls {

// What a write did: rows written, how many of them had their gradient clipped by the optimizer, and
// positions of the batch that were dropped, for their keys have no row and got none.
struct Written {
    uint64_t rows = 0, clipped = 0, dropped = 0;
};

// How a table may grow: which keys get rows, how many, and which rows go for others.
struct GrowthPolicy {
    Limits limits;
    Eviction eviction;
    uint32_t admit_after;  // 0: all keys at once
    uint64_t admission_window;
};

class EmbeddingTable {
public:
    EmbeddingTable(const VectorLayout &vector, const Initializer &initializer, const std::string &optimizer,
                   const Parameters &parameters, const GrowthPolicy &policy)
        : vector_(vector), dim_(vector.dim), state_offset_((vector.bytes() + 3) & ~3u), initializer_(initializer),
          optimizer_(optimizer, parameters),
          admission_(policy.admit_after == 0 ? nullptr : new Admission(policy.admit_after, policy.admission_window)),
          store_(state_offset_ + optimizer_.state_floats(dim_) * static_cast<uint32_t>(sizeof(float)),
                 policy.limits.without(admission_bytes()), !policy.eviction.none()),
          growth_(store_, policy.eviction) {}

    RowStore &store() { return store_; }
    const VectorLayout &vector() const { return vector_; }
    void set_lr(float lr) { optimizer_.set_lr(lr); }
    uint64_t bytes() const { return store_.bytes() + admission_bytes(); }
    const GrowthCounts &growth_counts() const { return growth_.counts; }
    bool expired(uint64_t written, uint64_t now) const { return growth_.eviction().expired(written, now); }

    // Training look-ups of a key that have been counted so far.
    uint64_t lookups() const { return lookups_.load(std::memory_order_relaxed); }
    // Rows made, removed and restored so far.
    uint64_t changes() const { return store_.changes() + restored_.load(std::memory_order_relaxed); }

    // Copies the rows of n keys to values, n vectors, and meta (n); zeros where there is none.
    template <class Keys>
    void lookup(const Keys &keys, size_t n, const AgeBound &bound, uint64_t now, uint8_t *values, RowMeta *meta) {
        const BatchPlan plan = store_.plan(keys, n);
        read(keys, plan, [&](uint32_t i, const RowHeader *row, std::atomic<uint64_t> *) {
            if (row != nullptr && !growth_.expired(row, now)) {
                copy(row, i, bound, now, values, meta);
                return;
            }
            std::memset(at(values, i), 0, vector_.bytes());
            describe_absent(meta[i]);
        });
    }

    // Whether n keys have rows, 1 or 0 in found (n).
    template <class Keys>
    void present(const Keys &keys, size_t n, uint64_t now, uint8_t *found) {
        const BatchPlan plan = store_.plan(keys, n);
        read(keys, plan, [&](uint32_t i, const RowHeader *row, std::atomic<uint64_t> *) {
            found[i] = row != nullptr && !growth_.expired(row, now);
        });
    }

    // As lookup, but counts, and makes rows for keys that have none. Keys that are not admitted, or
    // find no room, get their initial value and are told as absent. Throws TableFull (nothing was
    // changed) or std::bad_alloc.
    template <class Keys>
    void lookup_or_create(const Keys &keys, size_t n, const AgeBound &bound, uint64_t now, uint8_t *values,
                          RowMeta *meta) {
        const BatchPlan plan = store_.plan(keys, n);
        store_.check_room(keys, plan);
        const Counted counted{lookups_, n};
        Batch batch = growth_.begin(n, now);
        std::vector<uint32_t> missing;
        read(keys, plan, [&](uint32_t i, RowHeader *row, std::atomic<uint64_t> *use) {
            if (row == nullptr || growth_.expired(row, now)) {
                missing.push_back(i);
                return;
            }
            if (use != nullptr) growth_.eviction().look(*use, batch);
            row->count.fetch_add(1, std::memory_order_relaxed);
            copy(row, i, bound, now, values, meta);
        });
        if (missing.empty()) return;
        // What takes time is done before a lock is taken.
        store_.make_ready(missing.size());
        std::vector<float> wide = room();
        for (const uint32_t i : missing) {
            fill(keys.initializer_key(i, plan.hashes[i]), at(values, i), wide);
            describe_absent(meta[i]);
        }
        uint64_t unadmitted = missing.size();
        if (admission_ != nullptr) admit(plan, missing);
        unadmitted -= missing.size();
        std::vector<uint32_t> left;
        do {
            left.clear();
            const BatchPlan rest(plan, missing);
            store_.each<RowStore::WriteGuard>(StripeList(rest), [&](uint32_t s) {
                growth_.sweep<Keys>(s, batch);
                Marks created(rest.size(s));
                for (uint32_t k = 0; k < rest.size(s); ++k) {
                    // Another call, or this one for an equal key, may have made the row meanwhile.
                    const uint32_t i = rest.positions(s)[k];
                    uint32_t number = find(s, plan.hashes[i], keys, i, now);
                    if (number == RowStore::kNone) {
                        number = add(keys, plan.hashes[i], s, i, batch, at(values, i));
                        if (number == RowStore::kNone) {
                            left.push_back(i);
                            continue;
                        }
                        created.set(store_.row(s, number));
                    }
                    RowHeader *row = store_.row(s, number);
                    if (store_.uses()) growth_.eviction().look(*store_.use(s, number), batch);
                    row->count.fetch_add(1, std::memory_order_relaxed);
                    copy(row, i, bound, now, values, meta);
                    if (row->mark == kMarked) meta[i].truths = RowMeta::kFound | RowMeta::kCreated;
                }
            });
        } while (another_turn<Keys>(missing, left, batch));
        unadmitted += left.size();
        if (unadmitted != 0) growth_.counts.unadmitted.fetch_add(unadmitted, std::memory_order_relaxed);
    }

    // Sets rows to values, n vectors, in the batch's order where keys repeat; optimizer state stays.
    // All keys are admitted.
    template <class Keys>
    Written assign(const Keys &keys, size_t n, const uint8_t *values, const Stamp &stamp) {
        Written written{n, 0, 0};
        written.dropped = write(keys, n, stamp.now, true, [&](const uint32_t *positions, const std::vector<RowHeader *> &rows,
                                                                Ahead &ahead) {
            for (size_t k = 0; k < rows.size(); ++k) {
                ahead.keep_pace(k);
                std::memcpy(RowStore::payload(rows[k]), at(values, positions[k]), vector_.bytes());
                stamp.put_on(rows[k]);
            }
        });
        written.rows -= written.dropped;
        return written;
    }

    // Applies gradients (n, dim) float32; those of equal keys are summed first, in the batch's order. Those of
    // keys that are not admitted are dropped.
    template <class Keys>
    Written push(const Keys &keys, size_t n, const float *gradients, const Stamp &stamp) {
        struct Total {
            const float *gradient;  // of the first position
            float *sum;             // of all positions, where there are several
        };
        Written pushed;
        std::vector<Total> totals;
        std::vector<std::vector<float>> sums;
        std::vector<float> wide = room();
        const bool admitted = admission_ == nullptr;
        pushed.dropped = write(keys, n, stamp.now, admitted, [&](const uint32_t *positions,
                                                                  const std::vector<RowHeader *> &rows, Ahead &ahead) {
            totals.clear();
            sums.clear();
            Marks marks(rows.size());
            // While duplicates are summed, a marked row's time of write, which is about to change
            // anyway, tells where its total is.
            for (size_t k = 0; k < rows.size(); ++k) {
                RowHeader *row = rows[k];
                const float *gradient = gradients + size_t{positions[k]} * dim_;
                if (row->mark == kLive) {
                    marks.set(row);
                    row->written = static_cast<uint32_t>(totals.size());
                    totals.push_back({gradient, nullptr});
                    continue;
                }
                Total &total = totals[row->written];
                if (total.sum == nullptr) {
                    sums.emplace_back(total.gradient, total.gradient + dim_);
                    total.sum = sums.back().data();
                }
                add_to(total.sum, gradient, dim_);
            }
            for (size_t k = 0; k < totals.size(); ++k) {
                ahead.keep_pace(k);
                RowHeader *row = marks.rows[k];
                const Total &total = totals[k];
                const float *gradient = total.sum != nullptr ? total.sum : total.gradient;
                pushed.clipped += apply(row, gradient, wide);
                stamp.put_on(row);
            }
            pushed.rows += totals.size();
        });
        return pushed;
    }

    // Floats of a record: a row's value, and the optimizer's state behind it.
    uint32_t record_floats() const { return dim_ + optimizer_.state_floats(dim_); }

    // Copies the records of n keys (n, record_floats()), of floats whatever the values are in the rows, and
    // meta (n); as they come where there is none.
    template <class Keys>
    void read_records(const Keys &keys, size_t n, uint64_t now, float *records, RowMeta *meta) {
        const uint32_t width = record_floats();
        const BatchPlan plan = store_.plan(keys, n);
        read(keys, plan, [&](uint32_t i, const RowHeader *row, std::atomic<uint64_t> *) {
            if (row == nullptr || growth_.expired(row, now)) return describe_absent(meta[i]);
            float *to = records + size_t{i} * width;
            const uint8_t *from = reinterpret_cast<const uint8_t *>(row + 1);
            if (vector_.half) {
                to_floats(to, reinterpret_cast<const uint16_t *>(from), dim_);
            } else {
                std::memcpy(to, from, vector_.bytes());
            }
            std::memcpy(to + dim_, from + state_offset_, (width - dim_) * sizeof(float));
            describe(row, now, AgeBound{INT64_MIN, HUGE_VAL}, meta[i]);
        });
    }

    // Sets rows to records (n, width): to their values alone, state staying, or with their state.
    template <class Keys>
    Written restore(const Keys &keys, size_t n, const float *records, uint32_t width, const Restored &restored) {
        Written written{n, 0, 0};
        const Counted counted{restored_, n};
        written.dropped = write(keys, n, restored.now, true, [&](const uint32_t *positions,
                                                                 const std::vector<RowHeader *> &rows, Ahead &ahead) {
            for (size_t k = 0; k < rows.size(); ++k) {
                ahead.keep_pace(k);
                const float *from = records + size_t{positions[k]} * width;
                uint8_t *to = RowStore::payload(rows[k]);
                if (vector_.half) {
                    to_halves(reinterpret_cast<uint16_t *>(to), from, dim_);
                } else {
                    std::memcpy(to, from, vector_.bytes());
                }
                std::memcpy(to + state_offset_, from + dim_, (width - dim_) * sizeof(float));
                restored.put_on(rows[k], positions[k]);
            }
        });
        written.rows -= written.dropped;
        return written;
    }

    template <class Keys>
    void erase(const Keys &keys, size_t n, uint64_t now, uint8_t *found) {
        store_.erase(keys, n, found, [&](uint32_t, RowHeader *row) {
            if (!growth_.expired(row, now)) return true;
            growth_.counts.expired.fetch_add(1, std::memory_order_relaxed);
            return false;
        });
    }

private:
    static constexpr uint32_t kAhead = 4;        // rows being fetched at once
    static constexpr uint32_t kSlotsAhead = 16;  // index slots being fetched at once

    // Adds to a counter when what is counted has been done: whoever reads the counter and then the rows
    // sees at least as much.
    struct Counted {
        std::atomic<uint64_t> &counter;
        const uint64_t n;
        ~Counted() { counter.fetch_add(n, std::memory_order_relaxed); }
    };

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

    float *state(RowHeader *row) const {
        return reinterpret_cast<float *>(RowStore::payload(row) + state_offset_);
    }
    // The i-th of an array of vectors.
    template <class Byte>
    Byte *at(Byte *values, uint32_t i) const {
        return values + size_t{i} * vector_.bytes();
    }

    void copy(const RowHeader *row, uint32_t i, const AgeBound &bound, uint64_t now, uint8_t *values, RowMeta *meta) {
        std::memcpy(at(values, i), row + 1, vector_.bytes());
        describe(row, now, bound, meta[i]);
    }

    // Room for one vector as float32, where it is another in the row.
    std::vector<float> room() const { return std::vector<float>(vector_.half ? dim_ : 0); }

    // Makes the first value of a key's row.
    void fill(uint64_t key, uint8_t *value, std::vector<float> &wide) const {
        if (!vector_.half) return initializer_.fill(key, reinterpret_cast<float *>(value), dim_);
        initializer_.fill(key, wide.data(), dim_);
        to_halves(reinterpret_cast<uint16_t *>(value), wide.data(), dim_);
    }

    // One step of a row, in float32. Returns whether the gradient was clipped.
    bool apply(RowHeader *row, const float *gradient, std::vector<float> &wide) const {
        uint8_t *value = RowStore::payload(row);
        if (!vector_.half) return optimizer_.apply(reinterpret_cast<float *>(value), state(row), gradient, dim_);
        to_floats(wide.data(), reinterpret_cast<const uint16_t *>(value), dim_);
        const bool clipped = optimizer_.apply(wide.data(), state(row), gradient, dim_);
        to_halves(reinterpret_cast<uint16_t *>(value), wide.data(), dim_);
        return clipped;
    }

    static void fetch(const RowHeader *row, uint32_t bytes) {
        const char *p = reinterpret_cast<const char *>(row);
        for (uint32_t at = 0; at < bytes && at < 1024; at += 64) __builtin_prefetch(p + at);
    }

    // Up to kAhead positions of one stripe, which is locked while their rows are fetched and
    // read. The lock passes from a block to the next one of the same stripe.
    struct Block {
        uint32_t stripe = kStripes, from = 0, count = 0;
        RowHeader *rows[kAhead];              // the likely row of each position, or nullptr
        std::atomic<uint64_t> *uses[kAhead];  // their words of use, where the table has them
        RowStore::ReadGuard guard;
    };

    // Calls visit(position, row or nullptr, word of use or nullptr) for all keys, stripe by stripe: those first that nobody
    // writes. A reader waits for a stripe only while it holds none, and a writer too, so that
    // nobody waits in a circle.
    template <class Keys, class Visit>
    void read(const Keys &keys, const BatchPlan &plan, Visit visit) {
        StripeList left(plan);
        for (bool wait = false; left.count != 0; wait = true) read_free(keys, plan, left, wait, visit);
    }

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
        const uint32_t bytes = static_cast<uint32_t>(sizeof(RowHeader)) + vector_.bytes();
        store_.guess_rows(s, plan, block.from, block.count, block.rows, block.uses);
        for (uint32_t k = 0; k < block.count; ++k) {
            if (block.rows[k] != nullptr) fetch(block.rows[k], bytes);
            if (block.uses[k] != nullptr) __builtin_prefetch(block.uses[k], 1);
        }
    }

    template <class Keys>
    void fetch_keys(const Block &block) const {
        for (uint32_t k = 0; k < block.count; ++k) {
            if (block.rows[k] != nullptr) Keys::prefetch_stored(block.rows[k]->key, store_.arena());
        }
    }

    uint64_t admission_bytes() const { return admission_ == nullptr ? 0 : admission_->bytes(); }

    // Counts the sightings of keys without rows, and leaves those that are admitted.
    void admit(const BatchPlan &plan, std::vector<uint32_t> &missing) {
        for (const uint32_t i : missing) admission_->see(plan.hashes[i]);
        missing.erase(std::remove_if(missing.begin(), missing.end(),
                                     [&](uint32_t i) { return !admission_->admits(plan.hashes[i]); }),
                      missing.end());
    }

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
        std::memcpy(RowStore::payload(row), from, vector_.bytes());
        optimizer_.start(state(row), dim_);
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

    // Calls visit(positions, rows, ahead) for each stripe's part of the batch, under its write lock,
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

    // Likewise, the positions of a plan; those that found no room are returned.
    template <class Keys, class Visit>
    std::vector<uint32_t> write(const Keys &keys, const BatchPlan &plan, Batch &batch, bool create, uint64_t &dropped,
                                Visit visit) {
        std::vector<RowHeader *> rows;
        std::vector<uint32_t> positions, absent, left;
        std::vector<float> wide = room(), initial(dim_);
        auto *value = reinterpret_cast<uint8_t *>(initial.data());
        Ahead ahead;
        ahead.row_bytes = static_cast<uint32_t>(sizeof(RowHeader) + state_offset_ +
                                                optimizer_.state_floats(dim_) * sizeof(float));
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
                const auto place = [&](uint32_t i, uint32_t number) {
                    rows.push_back(store_.row(s, number));
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
                        fill(keys.initializer_key(i, plan.hashes[i]), value, wide);
                        number = add(keys, plan.hashes[i], s, i, batch, value);
                    }
                    if (number == RowStore::kNone) {
                        left.push_back(i);
                    } else {
                        place(i, number);
                    }
                }
                visit(positions.data(), rows, ahead);
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

    const VectorLayout vector_;
    const uint32_t dim_, state_offset_;
    const Initializer initializer_;
    Optimizer optimizer_;
    const std::unique_ptr<Admission> admission_;
    RowStore store_;
    Growth growth_;
    std::atomic<uint64_t> lookups_{0}, restored_{0};
};

}  // namespace carls
