// Candidate sampling: rows of candidates for many contexts, with known expected counts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <vector>

#include "draws.hpp"
#include "eligible.hpp"
#include "systematic.hpp"
#include "weights.hpp"

namespace carls {

// What is to be drawn: for each of `contexts` contexts a row of n, its positives first.
struct Request {
    size_t contexts, n;
    const int64_t *starts;     // (contexts + 1) of each context's positives
    const int64_t *positives;  // ranks, or -1 for keys that have none
    std::vector<uint32_t> excluded;  // from all contexts; ascending, none twice
    bool unique;
    bool hits;                      // whether a context's positives may be drawn for it too
    uint64_t seed, counter, round;  // other draws for each
};

// A context that wants more than there is.
struct Shortage {
    int64_t context = -1;
    size_t wanted = 0, there = 0;
};

// Writes ranks (contexts, n), -1 for positives, and the expected counts (contexts, n). What is expected of a positive
// is what would be if just that one were not excluded; with `hits`, what is.
inline Shortage draw(const Weights &weights, const Request &request, int64_t *ranks, float *expected) {
    std::optional<Systematic> systematic;
    if (request.unique) systematic.emplace(weights, request.excluded);
    const uint64_t key = Philox(request.seed, request.counter).next();
    std::vector<uint32_t> out, own, chosen;
    for (size_t c = 0; c < request.contexts; ++c, ranks += request.n, expected += request.n) {
        Draws draws(key, request.round << 32 | c);
        const int64_t *first = request.positives + request.starts[c], *last = request.positives + request.starts[c + 1];
        const auto positives = static_cast<size_t>(last - first), m = request.n - positives;
        own.clear();
        for (const int64_t *p = first; p < last; ++p) {
            if (*p >= 0 && !request.hits) own.push_back(static_cast<uint32_t>(*p));
        }
        std::sort(own.begin(), own.end());
        own.erase(std::unique(own.begin(), own.end()), own.end());
        out.clear();
        std::set_union(own.begin(), own.end(), request.excluded.begin(), request.excluded.end(), std::back_inserter(out));
        const Eligible eligible(weights, out);
        if (request.unique ? m > eligible.count() : m > 0 && eligible.count() == 0) {
            return {static_cast<int64_t>(c), m, eligible.count()};
        }
        const Eligible::Rates rates = request.unique ? eligible.rates(m) : Eligible::Rates();
        const auto expected_of = [&](size_t rank) {
            if (!request.unique) return static_cast<double>(m) * (weights[rank] / eligible.mass());
            const bool certain = std::binary_search(rates.certain.begin(), rates.certain.end(), rank);
            return certain ? 1.0 : std::min(1.0, rates.rate * weights[rank]);
        };
        for (size_t i = 0; i < positives; ++i) {
            const bool known = first[i] >= 0;
            const double weight = known ? weights[static_cast<size_t>(first[i])] : weights.of_new_row();
            ranks[i] = -1;
            if (known && !std::binary_search(out.begin(), out.end(), static_cast<uint32_t>(first[i]))) {
                expected[i] = static_cast<float>(expected_of(static_cast<size_t>(first[i])));
                continue;
            }
            expected[i] = static_cast<float>(
                request.unique ? eligible.inclusion(m, known ? static_cast<size_t>(first[i]) : weights.size(), weight)
                               : static_cast<double>(m) * (weight / (eligible.mass() + weight)));
        }
        if (!request.unique) {
            for (size_t i = positives; i < request.n; ++i) {
                const size_t rank = eligible.draw(draws);
                ranks[i] = static_cast<int64_t>(rank);
                expected[i] = static_cast<float>(expected_of(rank));
            }
            continue;
        }
        chosen = rates.certain;
        own.insert(own.end(), rates.certain.begin(), rates.certain.end());
        systematic->draw(m - chosen.size(), rates.rate, own, draws, chosen);
        for (size_t i = 0; i < m; ++i) {
            // In a random order: each takes a place among those before it.
            const size_t place = positives + draws.below(static_cast<uint32_t>(i + 1)), end = positives + i;
            ranks[end] = ranks[place];
            expected[end] = expected[place];
            ranks[place] = chosen[i];
            expected[place] = static_cast<float>(expected_of(chosen[i]));
        }
    }
    return {};
}

}  // namespace carls
