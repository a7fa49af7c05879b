// Search: the rows of an embedding table that are nearest to queries, by looking at every one of them.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <thread>
#include <unordered_set>
#include <vector>

#include "embedding_table.hpp"
#include "feature_table.hpp"
#include "nearest.hpp"

namespace carls {

// Rows whose key has a row in a feature table with one of the values in a column.
struct Where {
    FeatureTable *features = nullptr;
    Condition condition;
};

// Which rows a query may get: none of its excluded keys, and only those that `where` admits.
template <class Keys>
class RowFilter {
public:
    using Key = typename HeldKey<Keys>::Type;

    // excluded[i]: keys that query i must not get; of all queries if there is one list only.
    RowFilter(std::vector<std::unordered_set<Key>> &&excluded, const Where *where)
        : excluded_(std::move(excluded)), where_(where) {}

    bool admits(uint32_t query, const Key &key) const {
        if (!excluded_.empty() && excluded_[excluded_.size() == 1 ? 0 : query].count(key) != 0) return false;
        return where_ == nullptr || where_->features->holds(KeyView<Keys>(key).keys, 0, where_->condition);
    }

private:
    const std::vector<std::unordered_set<Key>> excluded_;
    const Where *where_;
};

// What one search asks.
template <class Keys>
struct SearchRequest {
    QueryGroups queries;
    size_t k;
    RowFilter<Keys> filter;
    uint64_t now;
};

// One thread's share of a search. Rows are offered while their stripe is held, in tiles.
template <class Keys>
class Searcher {
public:
    using Key = typename HeldKey<Keys>::Type;

    std::vector<Best<Key>> best;  // of each query

    // Of the request's queries those from `first` on that are in `queries`.
    Searcher(EmbeddingTable &table, const SearchRequest<Keys> &request, const QueryGroups &queries, uint32_t first = 0)
        : best(queries.n), table_(table), request_(request), queries_(queries), first_(first),
          thresholds_(size_t{queries_.groups()} * kLanes, std::numeric_limits<float>::infinity()),
          wide_(table.vector().half ? size_t{kTile} * queries_.dim : 0) {
        // A writer waits for a tile at least, and else for some microseconds.
        held_ = std::max(kTile, std::min(1024u, 32768u / (queries_.groups() * kLanes)));
        std::fill_n(thresholds_.begin(), queries_.n, -std::numeric_limits<float>::infinity());
    }

    // Looks at all rows of a stripe, some at a time.
    void scan(uint32_t s) {
        RowStore &store = table_.store();
        uint32_t number = 0;
        while (number < store.rows_end(s)) {
            const RowStore::ReadGuard guard(store, s, true);
            const uint32_t rows_end = store.rows_end(s), end = std::min(rows_end, number + held_);
            for (; number < end; ++number) {
                if (number + kAhead < rows_end) table_.prefetch_value(store.row(s, number + kAhead));
                take(store.row(s, number));
            }
            finish();
        }
    }

    // Looks at the rows of these numbers, as far as they are there.
    void look(uint32_t s, const uint32_t *numbers, size_t n) {
        RowStore &store = table_.store();
        for (size_t at = 0; at < n;) {
            const RowStore::ReadGuard guard(store, s, true);
            const size_t end = std::min<size_t>(n, at + held_);
            for (size_t ahead = at; ahead < std::min<size_t>(end, at + kAhead); ++ahead) {
                table_.prefetch_value(store.row(s, numbers[ahead]));
            }
            for (; at < end; ++at) {
                if (at + kAhead < end) table_.prefetch_value(store.row(s, numbers[at + kAhead]));
                take(store.row(s, numbers[at]));
            }
            finish();
        }
    }

private:
    static constexpr uint32_t kAhead = 16;  // rows on their way from memory

    void take(const RowHeader *row) {
        if (!table_.present(row, request_.now)) return;
        const float *value = reinterpret_cast<const float *>(row + 1);
        if (table_.vector().half) {
            float *wide = wide_.data() + size_t{count_} * queries_.dim;
            to_floats(wide, reinterpret_cast<const uint16_t *>(row + 1), queries_.dim);
            value = wide;
        }
        rows_[count_] = row;
        values_[count_] = value;
        by_[count_] = queries_.by_of(value);
        if (++count_ == kTile) finish();
    }

    // Before the stripe is let go.
    void finish() {
        if (count_ == 0) return;
        std::fill(values_ + count_, values_ + kTile, values_[0]);
        std::fill(by_ + count_, by_ + kTile, by_[0]);
        for (uint32_t g = 0; g < queries_.groups(); ++g) {
            float *thresholds = thresholds_.data() + size_t{g} * kLanes;
            alignas(64) float ranks[kTile * kLanes];
            if (!queries_.rank(g, values_, by_, thresholds, ranks)) continue;
            const uint32_t lanes = std::min(kLanes, queries_.n - g * kLanes);
            for (uint32_t r = 0; r < count_; ++r) {
                for (uint32_t lane = 0; lane < lanes; ++lane) {
                    if (ranks[r * kLanes + lane] < thresholds[lane]) continue;
                    offer(g * kLanes + lane, rows_[r], ranks[r * kLanes + lane], thresholds[lane]);
                }
            }
        }
        count_ = 0;
    }

    void offer(uint32_t query, const RowHeader *row, float rank, float &threshold) {
        // Sums beyond float32 in both directions are no number: the worst rank.
        if (std::isnan(rank)) rank = -std::numeric_limits<float>::infinity();
        Neighbour<Key> one{rank, HeldKey<Keys>::of(row->key, table_.store().arena())};
        if (best[query].found.size() == request_.k && !(one < best[query].found.front())) return;
        if (!request_.filter.admits(first_ + query, one.key)) return;
        best[query].offer(request_.k, std::move(one));
        threshold = best[query].threshold(request_.k);
    }

    EmbeddingTable &table_;
    const SearchRequest<Keys> &request_;
    const QueryGroups &queries_;
    const uint32_t first_;
    std::vector<float> thresholds_, wide_;
    uint32_t held_, count_ = 0;
    const RowHeader *rows_[kTile];
    const float *values_[kTile];
    float by_[kTile];
};

// The nearest rows of all, with up to so many threads.
template <class Keys>
std::vector<Best<typename HeldKey<Keys>::Type>> search_all(EmbeddingTable &table, const SearchRequest<Keys> &request,
                                                           uint32_t threads) {
    std::vector<Searcher<Keys>> shares;
    shares.reserve(threads);
    for (uint32_t t = 0; t < threads; ++t) shares.emplace_back(table, request, request.queries);
    std::vector<std::exception_ptr> failures(threads);
    std::atomic<uint32_t> next{0};
    const auto work = [&](uint32_t t) {
        try {
            for (uint32_t s; (s = next.fetch_add(1)) < kStripes;) shares[t].scan(s);
        } catch (...) {
            failures[t] = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    try {
        for (uint32_t t = 1; t < threads; ++t) others.emplace_back(work, t);
    } catch (const std::system_error &) {
        // Fewer threads than wanted do it too.
    }
    work(0);
    for (std::thread &other : others) other.join();
    for (const std::exception_ptr &failure : failures) {
        if (failure) std::rethrow_exception(failure);
    }
    auto best = std::move(shares[0].best);
    for (uint32_t q = 0; q < best.size(); ++q) {
        for (uint32_t t = 1; t < threads; ++t) {
            auto &more = shares[t].best[q].found;
            best[q].found.insert(best[q].found.end(), std::make_move_iterator(more.begin()),
                                 std::make_move_iterator(more.end()));
        }
        best[q].join(request.k, {});
    }
    return best;
}

}  // namespace carls
