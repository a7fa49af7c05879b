// EmbeddingTable: rows of float32 or float16 values with an optimizer's state, float32, beside them.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block_reader.hpp"
#include "gradient_totals.hpp"
#include "growth.hpp"
#include "pending.hpp"
#include "records.hpp"
#include "row_store.hpp"
#include "row_writer.hpp"
#include "stamp.hpp"

namespace carls {

// What a write did: rows written or contributed to, how many of them had their gradient clipped by the optimizer
// at once, and positions of the batch that were dropped, for their keys have no row and got none.
struct Written {
    uint64_t rows = 0, clipped = 0, dropped = 0;
};

class EmbeddingTable {
public:
    EmbeddingTable(const VectorLayout &vector, const Initializer &initializer, const std::string &optimizer,
                   const Parameters &parameters, const GrowthPolicy &policy, const Aggregation &aggregation)
        : records_(vector, initializer, optimizer, parameters, aggregation.lazy),
          admission_(policy.admit_after == 0 ? nullptr : new Admission(policy.admit_after, policy.admission_window)),
          sums_bytes_(aggregation.lazy && policy.limits.bytes != UINT64_MAX ? policy.limits.bytes / kSumsShare : 0),
          store_(records_.bytes(), policy.limits.without(admission_bytes() + sums_bytes_), !policy.eviction.none()),
          pending_(records_, aggregation, sums_bytes_ == 0 ? UINT64_MAX : sums_bytes_ / store_.stripes()),
          growth_(store_, policy.eviction, pending_),
          reader_(store_, static_cast<uint32_t>(sizeof(RowHeader)) + records_.looked_at_bytes()),
          writer_(store_, growth_, pending_, records_) {}

    RowStore &store() { return store_; }
    const VectorLayout &vector() const { return records_.vector(); }
    void set_lr(float lr) { records_.set_lr(lr); }
    uint64_t bytes() const { return store_.bytes() + admission_bytes() + pending_.bytes(); }
    const GrowthCounts &growth_counts() const { return growth_.counts; }
    bool expired(uint64_t written, uint64_t now) const { return growth_.eviction().expired(written, now); }

    // Training look-ups of a key that have been counted so far.
    uint64_t lookups() const { return lookups_.load(std::memory_order_relaxed); }
    // Rows made, removed and restored so far.
    uint64_t changes() const { return store_.changes() + restored_.load(std::memory_order_relaxed); }
    const PendingCounts &pending_counts() const { return pending_.counts; }
    uint64_t due(uint64_t now) const { return pending_.due(now); }

    // Whether there is a row, and its time is not over.
    bool present(const RowHeader *row, uint64_t now) const { return row->mark != kFree && !growth_.expired(row, now); }
    void prefetch_value(const RowHeader *row) const {
        fetch(row, static_cast<uint32_t>(sizeof(RowHeader)) + vector().bytes());
    }

    // Copies the rows of n keys to values, n vectors, and meta (n); zeros where there is none.
    template <class Keys>
    void lookup(const Keys &keys, size_t n, const AgeBound &bound, uint64_t now, uint8_t *values, RowMeta *meta) {
        const BatchPlan plan = store_.plan(keys, n);
        read(keys, plan, now, [&](uint32_t i, const RowHeader *row, std::atomic<uint64_t> *) {
            if (row != nullptr && !growth_.expired(row, now)) {
                copy(row, i, bound, now, values, meta);
                return;
            }
            std::memset(at(values, i), 0, vector().bytes());
            describe_absent(meta[i]);
        });
    }

    // Whether n keys have rows, 1 or 0 in found (n).
    template <class Keys>
    void present(const Keys &keys, size_t n, uint64_t now, uint8_t *found) {
        const BatchPlan plan = store_.plan(keys, n);
        reader_.read(keys, plan, [&](uint32_t i, const RowHeader *row, std::atomic<uint64_t> *) {
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
        read(keys, plan, now, [&](uint32_t i, RowHeader *row, std::atomic<uint64_t> *use) {
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
        std::vector<float> wide = records_.room();
        for (const uint32_t i : missing) {
            records_.fill(keys.initializer_key(i, plan.hashes[i]), at(values, i), wide);
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
                    uint32_t number = writer_.find(s, plan.hashes[i], keys, i, now);
                    if (number == RowStore::kNone) {
                        number = writer_.add(keys, plan.hashes[i], s, i, batch, at(values, i));
                        if (number == RowStore::kNone) {
                            left.push_back(i);
                            continue;
                        }
                        created.set(store_.row(s, number));
                    }
                    RowHeader *row = store_.row(s, number);
                    pending_.settle(s, row);
                    if (store_.uses()) growth_.eviction().look(*store_.use(s, number), batch);
                    row->count.fetch_add(1, std::memory_order_relaxed);
                    copy(row, i, bound, now, values, meta);
                    if (row->mark == kMarked) meta[i].truths = RowMeta::kFound | RowMeta::kCreated;
                }
            });
        } while (writer_.template another_turn<Keys>(missing, left, batch));
        unadmitted += left.size();
        if (unadmitted != 0) growth_.counts.unadmitted.fetch_add(unadmitted, std::memory_order_relaxed);
    }

    // Sets rows to values, n vectors, in the batch's order where keys repeat; optimizer state stays.
    // All keys are admitted.
    template <class Keys>
    Written assign(const Keys &keys, size_t n, const uint8_t *values, const Stamp &stamp) {
        Written written{n, 0, 0};
        written.dropped = writer_.write(keys, n, stamp.now, true, [&](uint32_t s, const uint32_t *positions,
                                                                      const std::vector<RowHeader *> &rows, Ahead &ahead) {
            for (size_t k = 0; k < rows.size(); ++k) {
                ahead.keep_pace(k);
                pending_.settle(s, rows[k]);
                std::memcpy(RowStore::payload(rows[k]), at(values, positions[k]), vector().bytes());
                stamp.put_on(rows[k]);
            }
        });
        written.rows -= written.dropped;
        return written;
    }

    // Applies gradients (n, dim) float32, or keeps them where they are to wait; those of equal keys are summed first,
    // in the batch's order. Those of keys that are not admitted are dropped.
    template <class Keys>
    Written push(const Keys &keys, size_t n, const float *gradients, const Stamp &stamp) {
        Written pushed;
        GradientTotals totals(vector().dim);
        std::vector<float> wide = records_.room();
        const bool admitted = admission_ == nullptr;
        const bool lazy = pending_.lazy();
        PushNorms norms = pending_.begin();
        pushed.dropped = writer_.write(keys, n, stamp.now, admitted, [&](uint32_t s, const uint32_t *positions,
                                                                         const std::vector<RowHeader *> &rows,
                                                                         Ahead &ahead) {
            Marks marks(rows.size());
            totals.gather(rows, positions, gradients, marks);
            pushed.rows += totals.size();
            for (size_t k = 0; k < totals.size(); ++k) {
                ahead.keep_pace(k);
                RowHeader *row = marks.rows[k];
                const float *gradient = totals.gradient(k);
                if (lazy) {
                    row->written = totals.written(k);
                    if (pending_.take(s, row, gradient, stamp.now, norms)) {
                        stamp.tell(row);
                    } else {
                        --pushed.rows;
                    }
                    continue;
                }
                pushed.clipped += records_.step(row, gradient, wide);
                stamp.put_on(row);
            }
        });
        pending_.end(norms);
        return pushed;
    }

    // Floats of a record: a row's value, and the optimizer's state behind it.
    uint32_t record_floats() const { return records_.floats(); }

    // Copies the records of n keys (n, record_floats()), of floats whatever the values are in the rows, and
    // meta (n); as they come where there is none.
    template <class Keys>
    void read_records(const Keys &keys, size_t n, uint64_t now, float *records, RowMeta *meta) {
        const uint32_t width = records_.floats();
        const BatchPlan plan = store_.plan(keys, n);
        read(keys, plan, now, [&](uint32_t i, const RowHeader *row, std::atomic<uint64_t> *) {
            if (row == nullptr || growth_.expired(row, now)) return describe_absent(meta[i]);
            records_.read(row, records + size_t{i} * width);
            describe(row, now, AgeBound{INT64_MIN, HUGE_VAL}, meta[i]);
        });
    }

    // Sets rows to records (n, width): to their values alone, state staying, or with their state.
    template <class Keys>
    Written restore(const Keys &keys, size_t n, const float *records, uint32_t width, const Restored &restored) {
        Written written{n, 0, 0};
        const Counted counted{restored_, n};
        written.dropped = writer_.write(keys, n, restored.now, true, [&](uint32_t s, const uint32_t *positions,
                                                                         const std::vector<RowHeader *> &rows,
                                                                         Ahead &ahead) {
            for (size_t k = 0; k < rows.size(); ++k) {
                ahead.keep_pace(k);
                pending_.settle(s, rows[k]);
                records_.write(rows[k], records + size_t{positions[k]} * width, width);
                restored.put_on(rows[k], positions[k]);
            }
        });
        written.rows -= written.dropped;
        return written;
    }

    // Applies the gradients that wait for rows, as far as a row's first one came at `latest` or before. Those of a
    // stripe that come meanwhile may go on waiting.
    void settle(uint64_t latest) {
        for (uint32_t s = 0; s < kStripes; ++s) {
            if (!pending_.any(s)) continue;
            for (uint32_t left = pending_.length(s); left > 0; left -= std::min(left, kSettled)) {
                const RowStore::WriteGuard guard(store_, s, true);
                pending_.settle(s, latest, std::min(left, kSettled));
            }
        }
    }

    // Whether gradients wait for a row. Under its stripe's lock.
    bool waits(const RowHeader *row) const { return pending_.holds(row); }

    template <class Keys>
    void erase(const Keys &keys, size_t n, uint64_t now, uint8_t *found) {
        store_.erase(keys, n, found, [&](uint32_t s, RowHeader *row) {
            pending_.discard(s, row);
            if (!growth_.expired(row, now)) return true;
            growth_.counts.expired.fetch_add(1, std::memory_order_relaxed);
            return false;
        });
    }

private:
    static constexpr uint32_t kSettled = 1024;   // rows of a stripe, before others have their turn
    static constexpr uint64_t kSumsShare = 8;    // of limited memory, one part in so many is for gradients that wait

    // Adds to a counter when what is counted has been done: whoever reads the counter and then the rows
    // sees at least as much.
    struct Counted {
        std::atomic<uint64_t> &counter;
        const uint64_t n;
        ~Counted() { counter.fetch_add(n, std::memory_order_relaxed); }
    };

    // Calls visit(position, row or nullptr, word of use or nullptr) for all keys, what waited for the rows applied.
    template <class Keys, class Visit>
    void read(const Keys &keys, const BatchPlan &plan, uint64_t now, Visit visit) {
        if (!pending_.any()) return reader_.read(keys, plan, visit);
        std::vector<uint32_t> waiting;
        reader_.read(keys, plan, [&](uint32_t i, RowHeader *row, std::atomic<uint64_t> *use) {
            if (row != nullptr && pending_.holds(row)) return waiting.push_back(i);
            visit(i, row, use);
        });
        if (waiting.empty()) return;
        const BatchPlan rest(plan, waiting);
        store_.each<RowStore::WriteGuard>(StripeList(rest), [&](uint32_t s) {
            for (uint32_t k = 0; k < rest.size(s); ++k) {
                const uint32_t i = rest.positions(s)[k], number = store_.find(s, rest.hashes[i], keys, i);
                if (number == RowStore::kNone) {
                    visit(i, nullptr, nullptr);
                    continue;
                }
                RowHeader *row = store_.row(s, number);
                if (!growth_.expired(row, now)) pending_.settle(s, row);
                visit(i, row, store_.uses() ? store_.use(s, number) : nullptr);
            }
        });
    }

    // The i-th of an array of vectors.
    template <class Byte>
    Byte *at(Byte *values, uint32_t i) const {
        return values + size_t{i} * vector().bytes();
    }

    void copy(const RowHeader *row, uint32_t i, const AgeBound &bound, uint64_t now, uint8_t *values, RowMeta *meta) {
        std::memcpy(at(values, i), row + 1, vector().bytes());
        describe(row, now, bound, meta[i]);
    }

    uint64_t admission_bytes() const { return admission_ == nullptr ? 0 : admission_->bytes(); }

    // Counts the sightings of keys without rows, and leaves those that are admitted.
    void admit(const BatchPlan &plan, std::vector<uint32_t> &missing) {
        for (const uint32_t i : missing) admission_->see(plan.hashes[i]);
        missing.erase(std::remove_if(missing.begin(), missing.end(),
                                     [&](uint32_t i) { return !admission_->admits(plan.hashes[i]); }),
                      missing.end());
    }

    Records records_;
    const std::unique_ptr<Admission> admission_;
    const uint64_t sums_bytes_;
    RowStore store_;
    Pending pending_;
    Growth growth_;
    BlockReader reader_;
    RowWriter writer_;
    std::atomic<uint64_t> lookups_{0}, restored_{0};
};

}  // namespace carls
