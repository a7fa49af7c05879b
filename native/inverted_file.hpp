// InvertedFile: an index of an embedding table's rows, in lists around centroids.
//
// Each row is in the list of the centroid that is best for it by the metric; a query looks at the lists of
// the centroids that are best for it (Sivic and Zisserman, ICCV 2003; Jegou et al., TPAMI 2011). What is
// looked at is the row itself, as it is then. Rows that changed since they were put into lists are
// looked at for every query.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "changes.hpp"
#include "row_lists.hpp"
#include "search.hpp"

namespace carls {

class InvertedFile {
public:
    InvertedFile(EmbeddingTable &table, Metric metric, uint32_t lists, uint32_t probes)
        : table_(table), metric_(metric), wanted_(lists), probes_(probes) {
        if (!table_.store().watch(changes_)) throw std::runtime_error("the table has an index already");
    }
    ~InvertedFile() { stop(); }
    InvertedFile(const InvertedFile &) = delete;
    InvertedFile &operator=(const InvertedFile &) = delete;

    Metric metric() const { return metric_; }
    uint64_t changed() const { return changes_.count(); }  // rows that every query looks at
    uint64_t indexed() const { return indexed_.load(std::memory_order_relaxed); }
    uint32_t lists() const { return lists_count_.load(std::memory_order_relaxed); }
    // Ends it: changes are not noted any more, and whoever builds or refreshes returns soon.
    void stop() {
        stopped_.store(true);
        table_.store().unwatch(changes_);
    }

    // Finds new centroids, and puts all rows into their lists. False if it was stopped. One at a time.
    bool build(uint64_t now) {
        const std::vector<float> centroids = train(now);
        if (stopped_) return false;
        auto built = std::make_unique<RowLists>(centroids, table_.vector().dim, metric_);
        std::vector<std::vector<uint32_t>> homes(kStripes);
        uint64_t rows = 0;
        for (uint32_t s = 0; s < kStripes; ++s) {
            take(s);
            std::vector<uint32_t> numbers(table_.store().rows_end(s));
            std::iota(numbers.begin(), numbers.end(), 0);
            homes[s].resize(numbers.size(), kNone);
            assign(*built, s, numbers, now, [&](uint32_t number, uint32_t list) {
                homes[s][number] = list;
                if (list == kNone) return;
                built->lists[list].push_back(s << kRowBits | number);
                ++rows;
            });
            if (stopped_) return false;  // what is pending is taken again with what comes
        }
        {
            lock_.lock();
            built_.swap(built);
            lock_.unlock();
        }
        homes_ = std::move(homes);
        indexed_.store(rows, std::memory_order_relaxed);
        lists_count_.store(built_->centroids.n, std::memory_order_relaxed);
        for (uint32_t s = 0; s < kStripes; ++s) settle(s);
        return true;
    }

    // Puts rows that changed into the lists where they belong now. How many; stops when stopped.
    uint64_t refresh(uint64_t now) {
        if (built_ == nullptr) return 0;
        uint64_t rows = 0;
        std::vector<std::pair<uint32_t, uint32_t>> moves;  // row number, list
        for (uint32_t s = 0; s < kStripes && !stopped_; ++s) {
            const std::vector<uint32_t> numbers = take(s);
            if (numbers.empty()) continue;
            moves.clear();
            assign(*built_, s, numbers, now, [&](uint32_t number, uint32_t list) { moves.emplace_back(number, list); });
            if (stopped_) break;
            publish(s, moves);
            settle(s);
            rows += numbers.size();
        }
        return rows;
    }

    // The nearest rows: of those in the lists that are probed, and those that changed. False where
    // nothing is built yet. Queries that got fewer than k may have missed rows elsewhere.
    template <class Keys>
    bool search(const SearchRequest<Keys> &request, const float *queries,
                std::vector<Best<typename HeldKey<Keys>::Type>> &best) {
        // In this order: a row leaves the changes after it has come into a list.
        Searcher<Keys> changed(table_, request, request.queries);
        for (uint32_t s = 0; s < kStripes; ++s) {
            std::vector<uint32_t> numbers;
            {
                const RowStore::ReadGuard guard(table_.store(), s, true);
                numbers = changes_.all(s);
            }
            changed.look(s, numbers.data(), numbers.size());
        }
        best = std::move(changed.best);
        const uint32_t dim = request.queries.dim;
        std::vector<uint32_t> numbers[kStripes];
        for (uint32_t q = 0; q < request.queries.n; ++q, queries += dim) {
            for (auto &of_stripe : numbers) of_stripe.clear();
            lock_.lock_shared();
            const bool built = built_ != nullptr;
            if (built) {
                for (const uint32_t list : built_->best(queries, probes_)) {
                    for (const uint32_t row : built_->lists[list]) numbers[row >> kRowBits].push_back(row & kRowMask);
                }
            }
            lock_.unlock();
            if (!built) return false;
            const QueryGroups one(queries, 1, dim, metric_);
            Searcher<Keys> probing(table_, request, one, q);
            for (uint32_t s = 0; s < kStripes; ++s) probing.look(s, numbers[s].data(), numbers[s].size());
            best[q].join(request.k, std::move(probing.best[0]));
        }
        return true;
    }

private:
    static constexpr uint32_t kNone = UINT32_MAX;
    static constexpr uint32_t kSamples = 32, kRounds = 6;      // of the training: rows for each list, and turns
    static constexpr uint64_t kMostSampled = uint64_t{1} << 26;  // elements

    // A gradient is noted when it comes, not when it is applied: rows for which some wait stay changed.
    std::vector<uint32_t> take(uint32_t s) {
        RowStore &store = table_.store();
        const RowStore::WriteGuard guard(store, s, true);
        std::vector<uint32_t> numbers = changes_.take(s);
        const auto stays = [&](uint32_t number) {
            if (!table_.waits(store.row(s, number))) return false;
            changes_.note(s, number);
            return true;
        };
        numbers.erase(std::remove_if(numbers.begin(), numbers.end(), stays), numbers.end());
        return numbers;
    }
    void settle(uint32_t s) {
        const RowStore::WriteGuard guard(table_.store(), s, true);
        changes_.settle(s);
    }

    // Copies the values of rows of a stripe, a tile of them; present[i] tells whether there is one.
    void copy(uint32_t s, const uint32_t *numbers, uint32_t n, uint64_t now, float *values, bool *present) {
        const uint32_t dim = table_.vector().dim;
        const RowStore::ReadGuard guard(table_.store(), s, true);
        for (uint32_t i = 0; i < n; ++i) {
            const RowHeader *row = table_.store().row(s, numbers[i]);
            present[i] = table_.present(row, now);
            if (!present[i]) {
                std::fill_n(values + size_t{i} * dim, dim, 0.0f);
            } else if (table_.vector().half) {
                to_floats(values + size_t{i} * dim, reinterpret_cast<const uint16_t *>(row + 1), dim);
            } else {
                std::memcpy(values + size_t{i} * dim, row + 1, size_t{dim} * sizeof(float));
            }
        }
    }

    // Calls put(number, list) for rows of a stripe; kNone for those that are not there.
    template <class Put>
    void assign(const RowLists &to, uint32_t s, const std::vector<uint32_t> &numbers, uint64_t now, Put put) {
        const uint32_t dim = table_.vector().dim;
        std::vector<float> values(size_t{kTile} * dim);
        bool present[kTile];
        uint32_t lists[kTile];
        const float *rows[kTile];
        for (uint32_t i = 0; i < kTile; ++i) rows[i] = values.data() + size_t{i} * dim;
        for (size_t at = 0; at < numbers.size() && !stopped_; at += kTile) {
            const auto n = static_cast<uint32_t>(std::min<size_t>(kTile, numbers.size() - at));
            copy(s, numbers.data() + at, n, now, values.data(), present);
            to.centroids.best_of(rows, lists);
            for (uint32_t i = 0; i < n; ++i) put(numbers[at + i], present[i] ? lists[i] : kNone);
        }
    }

    // Moves rows of a stripe to other lists; kNone: to none.
    void publish(uint32_t s, const std::vector<std::pair<uint32_t, uint32_t>> &moves) {
        lock_.lock();
        for (const auto &[number, list] : moves) {
            if (number >= homes_[s].size()) homes_[s].resize(number + 1, kNone);
            uint32_t &home = homes_[s][number];
            if (home == list) continue;
            const uint32_t row = s << kRowBits | number;
            if (home != kNone) {
                std::vector<uint32_t> &old = built_->lists[home];
                old.erase(std::lower_bound(old.begin(), old.end(), row));
                indexed_.fetch_sub(1, std::memory_order_relaxed);
            }
            home = list;
            if (list != kNone) {
                std::vector<uint32_t> &grown = built_->lists[list];
                grown.insert(std::lower_bound(grown.begin(), grown.end(), row), row);
                indexed_.fetch_add(1, std::memory_order_relaxed);
            }
        }
        lock_.unlock();
    }

    // Centroids of a sample of the rows, by k-means.
    std::vector<float> train(uint64_t now) {
        const uint32_t dim = table_.vector().dim;
        const uint64_t rows = std::max<uint64_t>(table_.store().size(), 1);
        const uint64_t room = std::max<uint64_t>(kMostSampled / dim, 1);
        uint64_t n = wanted_ != 0 ? wanted_ : static_cast<uint64_t>(std::sqrt(static_cast<double>(rows)));
        n = std::max<uint64_t>(std::min({n, rows, room}), 1);
        std::vector<float> samples = sample(std::max<uint64_t>(rows / std::min(room, n * kSamples), 1), now);
        const uint64_t sampled = samples.size() / dim;
        if (sampled == 0) return std::vector<float>(dim, 1.0f);
        n = std::min(n, sampled);
        std::vector<float> centroids(n * dim);
        for (uint64_t c = 0; c < n; ++c) copy_vector(centroids, c, samples, c * sampled / n);
        std::vector<uint32_t> counts(n);
        for (uint32_t round = 0; round < kRounds && n > 1; ++round) {
            const RowLists by(centroids, dim, metric_);
            std::fill(centroids.begin(), centroids.end(), 0.0f);
            std::fill(counts.begin(), counts.end(), 0);
            for (uint64_t at = 0; at < sampled; at += kTile) {
                if (stopped_) return {};
                const float *tile[kTile];
                uint32_t lists[kTile];
                const uint64_t last = sampled - 1;
                for (uint64_t i = 0; i < kTile; ++i) tile[i] = samples.data() + std::min(at + i, last) * dim;
                by.centroids.best_of(tile, lists);
                for (uint64_t i = 0; i < kTile && at + i < sampled; ++i) {
                    add_to(centroids.data() + uint64_t{lists[i]} * dim, tile[i], dim);
                    ++counts[lists[i]];
                }
            }
            for (uint64_t c = 0; c < n; ++c) {
                if (counts[c] == 0) {
                    copy_vector(centroids, c, samples, (c * 7919 + round) % sampled);
                } else {
                    for (uint32_t d = 0; d < dim; ++d) centroids[c * dim + d] /= static_cast<float>(counts[c]);
                }
            }
        }
        return centroids;
    }

    // Every so many-th row, one after the other; of length 1 where directions count.
    std::vector<float> sample(uint64_t every, uint64_t now) {
        const uint32_t dim = table_.vector().dim;
        std::vector<float> samples;
        uint64_t skip = 0;
        for (uint32_t s = 0; s < kStripes && !stopped_; ++s) {
            const uint32_t end = table_.store().rows_end(s);
            uint64_t number = skip;
            for (; number < end; number += every) {
                const auto at = static_cast<uint32_t>(number);
                bool present;
                samples.resize(samples.size() + dim);
                float *value = samples.data() + samples.size() - dim;
                copy(s, &at, 1, now, value, &present);
                if (!present) {
                    samples.resize(samples.size() - dim);
                    continue;
                }
                const float by = metric_ == Metric::SquaredL2 ? 1.0f : length_of(value, dim);
                for (uint32_t d = 0; d < dim; ++d) value[d] /= by;
            }
            skip = number - end;
        }
        return samples;
    }

    void copy_vector(std::vector<float> &to, uint64_t i, const std::vector<float> &from, uint64_t j) const {
        const uint32_t dim = table_.vector().dim;
        std::copy_n(from.begin() + static_cast<ptrdiff_t>(j * dim), dim, to.begin() + static_cast<ptrdiff_t>(i * dim));
    }

    EmbeddingTable &table_;
    const Metric metric_;
    const uint32_t wanted_, probes_;
    Changes changes_;
    StripeLock lock_;  // held shared while lists are read, alone while they change
    std::unique_ptr<RowLists> built_;
    std::vector<std::vector<uint32_t>> homes_;  // the list of each row, by stripe; only for the one who refreshes
    std::atomic<uint64_t> indexed_{0};
    std::atomic<uint32_t> lists_count_{0};
    std::atomic<bool> stopped_{false};
};

}  // namespace carls
