#include "candidates.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>

#include "arrays.hpp"
#include "errors.hpp"
#include "results.hpp"
#include "sampling.hpp"

namespace carls {

namespace {

using Numbers = Vector<int64_t>;

Weights::Kind kind_of(const std::string &name) {
    if (name == "uniform") return Weights::Kind::Uniform;
    if (name == "log_uniform") return Weights::Kind::LogUniform;
    if (name == "frequency") return Weights::Kind::Frequency;
    throw nb::value_error(("unknown strategy " + name).c_str());
}

// Ranks of n keys (n) int64, -1 where there is none.
nb::object ranks(const Population &self, const std::optional<Numbers> &integers,
                 const std::optional<Vector<int32_t>> &offsets, const std::optional<Vector<uint8_t>> &data) {
    require(self.integers() ? integers.has_value() : offsets && data, "expected keys of the table's own type");
    const size_t n = self.integers() ? integers->shape(0) : offsets->shape(0) - 1;
    std::vector<int64_t> found(n);
    const auto fill = [&](const auto &keys) {
        for (size_t i = 0; i < n; ++i) found[i] = self.rank(keys, i);
    };
    if (self.integers()) {
        fill(IntegerKeys{integers->data()});
    } else {
        fill(byte_keys(*offsets, *data));
    }
    return to_numpy(std::move(found));
}

// The keys of those ranks: (integers or offsets, None or data).
nb::tuple keys(const Population &self, const Numbers &ranks) {
    const size_t n = ranks.shape(0);
    const int64_t *rank = ranks.data();
    size_t bytes = 0;
    for (size_t i = 0; i < n; ++i) {
        require(rank[i] >= 0 && static_cast<size_t>(rank[i]) < self.size(), "expected ranks of the population");
        if (!self.integers()) bytes += self.key_bytes(static_cast<size_t>(rank[i]));
    }
    if (self.integers()) {
        Result<int64_t> numbers({n});
        for (size_t i = 0; i < n; ++i) numbers.data[i] = self.number(static_cast<size_t>(rank[i]));
        return nb::make_tuple(numbers.array, nb::none());
    }
    check_key_bytes(bytes);
    Result<int32_t> offsets({n + 1});
    Result<uint8_t> data({bytes});
    offsets.data[0] = 0;
    for (size_t i = 0; i < n; ++i) {
        const size_t length = self.key_bytes(static_cast<size_t>(rank[i]));
        const auto at = static_cast<size_t>(offsets.data[i]);
        if (length != 0) std::memcpy(data.data + at, self.key(static_cast<size_t>(rank[i])), length);
        offsets.data[i + 1] = static_cast<int32_t>(at + length);
    }
    return nb::make_tuple(offsets.array, data.array);
}

// (ranks (contexts, n) int64 or -1, expected (contexts, n) float32), or (context, wanted, there) where there is not enough.
nb::tuple draw_candidates(const Weights &weights, size_t n, const Numbers &starts, const Numbers &positives,
                          const Numbers &excluded, bool unique, uint64_t seed, uint64_t counter, uint64_t round,
                          bool hits) {
    const auto size = static_cast<int64_t>(weights.size());
    require(starts.shape(0) > 0 && starts.data()[0] == 0, "expected starts from 0 on");
    const size_t contexts = starts.shape(0) - 1;
    for (size_t c = 0; c < contexts; ++c) {
        const int64_t positive = starts.data()[c + 1] - starts.data()[c];
        require(positive >= 0 && static_cast<size_t>(positive) <= n, "expected 0 to n positives for each context");
    }
    require(static_cast<size_t>(starts.data()[contexts]) == positives.shape(0), "expected starts within the positives");
    for (size_t i = 0; i < positives.shape(0); ++i) {
        require(positives.data()[i] >= -1 && positives.data()[i] < size, "expected ranks of the population, or -1");
    }
    Request request{contexts, n, starts.data(), positives.data(), {}, unique, hits, seed, counter, round};
    int64_t before = -1;
    for (size_t i = 0; i < excluded.shape(0); ++i) {
        const int64_t rank = excluded.data()[i];
        require(rank > before && rank < size, "expected ascending ranks of the population");
        request.excluded.push_back(static_cast<uint32_t>(before = rank));
    }
    Result<int64_t> ranks({contexts, n});
    Result<float> expected({contexts, n});
    Shortage shortage;
    {
        const nb::gil_scoped_release release;
        shortage = draw(weights, request, ranks.data, expected.data);
    }
    if (shortage.context >= 0) return nb::make_tuple(shortage.context, shortage.wanted, shortage.there);
    return nb::make_tuple(ranks.array, expected.array);
}

}  // namespace

void bind_candidates(nb::module_ &module) {
    nb::class_<Population>(module, "Population")
        .def("__len__", &Population::size)
        .def_prop_ro("total", &Population::total)
        .def_prop_ro("oldest", &Population::oldest)
        .def_prop_ro("lookups", &Population::lookups)
        .def_prop_ro("changes", &Population::changes)
        .def_prop_ro("nbytes", &Population::bytes)
        .def("ranks", &ranks, nb::arg("integers").none(), nb::arg("offsets").none(), nb::arg("data").none())
        .def("keys", &keys, nb::arg("ranks"))
        .def(
            "weights",
            [](const Population &self, const std::string &name, double alpha) {
                const Weights::Kind kind = kind_of(name);
                const nb::gil_scoped_release release;
                return new Weights(self, kind, alpha);
            },
            nb::arg("kind"), nb::arg("alpha") = 0.0, nb::rv_policy::take_ownership);
    nb::class_<Weights>(module, "Weights")
        .def_prop_ro("nbytes", &Weights::bytes)
        .def("draw", &draw_candidates, nb::arg("n"), nb::arg("starts"), nb::arg("positives"), nb::arg("excluded"),
             nb::arg("unique"), nb::arg("seed"), nb::arg("counter"), nb::arg("round") = 0, nb::arg("hits") = false);
}

}  // namespace carls
