#include "searches.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "errors.hpp"
#include "features.hpp"
#include "inverted_file.hpp"
#include "search.hpp"

namespace carls {

namespace {

Metric metric_of(const std::string &name) {
    if (name == "dot") return Metric::Dot;
    if (name == "cosine") return Metric::Cosine;
    if (name == "squared_l2") return Metric::SquaredL2;
    throw nb::value_error(("unknown metric " + name).c_str());
}

// Keys that each query must not get; of all queries if there is one list.
template <class Keys>
std::vector<std::unordered_set<typename HeldKey<Keys>::Type>> lists_of(const Keys &keys, const Positions &ends) {
    std::vector<std::unordered_set<typename HeldKey<Keys>::Type>> lists(ends.shape(0) - 1);
    for (size_t i = 0; i < lists.size(); ++i) {
        for (int32_t j = ends.data()[i]; j < ends.data()[i + 1]; ++j) lists[i].insert(HeldKey<Keys>::at(keys, static_cast<size_t>(j)));
    }
    return lists;
}

nb::tuple tuple_of(std::vector<Best<int64_t>> &&best, const QueryGroups &queries) {
    std::vector<int32_t> counts;
    std::vector<int64_t> keys;
    std::vector<float> scores;
    for (const auto &of_query : best) {
        counts.push_back(static_cast<int32_t>(of_query.found.size()));
        for (const auto &one : of_query.found) {
            keys.push_back(one.key);
            scores.push_back(queries.score_of(one.rank));
        }
    }
    return nb::make_tuple(to_numpy(std::move(keys)), nb::none(), to_numpy(std::move(scores)), to_numpy(std::move(counts)));
}
nb::tuple tuple_of(std::vector<Best<std::string>> &&best, const QueryGroups &queries) {
    std::vector<int32_t> counts, offsets{0};
    std::vector<uint8_t> data;
    std::vector<float> scores;
    size_t bytes = 0;
    for (const auto &of_query : best) {
        for (const auto &one : of_query.found) bytes += one.key.size();
    }
    check_key_bytes(bytes);
    data.reserve(bytes);
    for (const auto &of_query : best) {
        counts.push_back(static_cast<int32_t>(of_query.found.size()));
        for (const auto &one : of_query.found) {
            data.insert(data.end(), one.key.begin(), one.key.end());
            offsets.push_back(static_cast<int32_t>(data.size()));
            scores.push_back(queries.score_of(one.rank));
        }
    }
    return nb::make_tuple(to_numpy(std::move(offsets)), to_numpy(std::move(data)), to_numpy(std::move(scores)),
                          to_numpy(std::move(counts)));
}

// As `nearest` of the stubs says.
nb::tuple nearest(Embeddings &self, const Matrix &queries, const std::string &metric, uint64_t k,
                  const std::optional<Vector<int64_t>> &integers, const std::optional<Positions> &offsets,
                  const std::optional<Bytes> &data, const std::optional<Positions> &ends, Features *features,
                  uint64_t column, const std::optional<Positions> &value_offsets, const std::optional<Bytes> &value_data,
                  uint64_t now, uint32_t threads, InvertedFile *index) {
    require(queries.shape(0) > 0 && queries.shape(1) == self.table.vector().dim, "expected queries (n, dim)");
    require(k > 0 && threads > 0, "expected k and threads of at least 1");
    const auto n = static_cast<uint32_t>(queries.shape(0));
    Where where;
    if (features != nullptr) {
        require(features->integers() == self.integers(), "expected a feature table of keys of the same type");
        require(column < features->table.columns().size() && value_offsets && value_data, "expected a column and values");
        const ByteKeys values = byte_keys(*value_offsets, *value_data);
        where.features = &features->table;
        where.condition.column = column;
        for (size_t i = 0; i + 1 < value_offsets->shape(0); ++i) {
            where.condition.values.emplace_back(reinterpret_cast<const char *>(values.begin(i)), values.size(i));
        }
        std::sort(where.condition.values.begin(), where.condition.values.end());
    }
    const auto search = [&](const auto &keys) {
        using Keys = std::decay_t<decltype(keys)>;
        std::vector<std::unordered_set<typename HeldKey<Keys>::Type>> excluded;
        if (ends) excluded = lists_of(keys, *ends);
        const SearchRequest<Keys> request{QueryGroups(queries.data(), n, self.table.vector().dim, metric_of(metric)), k,
                                          {std::move(excluded), features == nullptr ? nullptr : &where}, now};
        std::vector<Best<typename HeldKey<Keys>::Type>> best;
        {
            const nb::gil_scoped_release release;
            bool enough = index != nullptr && index->search(request, queries.data(), best);
            for (const auto &of_query : best) enough = enough && of_query.found.size() == k;
            if (!enough) best = search_all(self.table, request, threads);
        }
        return tuple_of(std::move(best), request.queries);
    };
    require(index == nullptr || index->metric() == metric_of(metric), "expected an index of the same metric");
    if (ends) {
        const KeyBatch excluded(integers, offsets, data);
        self.check(excluded);
        require(ends->shape(0) == 2 || ends->shape(0) == n + 1, "expected one list of excluded keys, or one a query");
        require_offsets(*ends, ends->shape(0) - 1, excluded.size());
    }
    static constexpr int32_t none[1] = {0};
    static constexpr uint8_t no_data[1] = {0};
    if (self.integers()) return search(IntegerKeys{ends ? integers->data() : nullptr});
    return search(ends ? byte_keys(*offsets, *data) : ByteKeys{none, no_data});
}

}  // namespace

void bind_searches(nb::module_ &m, nb::class_<Embeddings> &embeddings) {
    embeddings.def("nearest", &nearest, nb::arg("queries"), nb::arg("metric"), nb::arg("k"), nb::arg("integers").none(),
                   nb::arg("offsets").none(), nb::arg("data").none(), nb::arg("ends").none(), nb::arg("features").none(),
                   nb::arg("column"), nb::arg("value_offsets").none(), nb::arg("value_data").none(), nb::arg("now"),
                   nb::arg("threads"), nb::arg("index").none() = nb::none());
    nb::class_<InvertedFile>(m, "InvertedFile")
        .def(
            "__init__",
            [](InvertedFile *self, Embeddings &table, const std::string &metric, uint32_t lists, uint32_t probes) {
                require(probes > 0, "expected at least one probe");
                new (self) InvertedFile(table.table, metric_of(metric), lists, probes);
            },
            nb::arg("table"), nb::arg("metric"), nb::arg("lists"), nb::arg("probes"), nb::keep_alive<1, 2>())
        .def("build", &InvertedFile::build, nb::arg("now"), nb::call_guard<nb::gil_scoped_release>())
        .def("refresh", &InvertedFile::refresh, nb::arg("now"), nb::call_guard<nb::gil_scoped_release>())
        .def("stop", &InvertedFile::stop, nb::call_guard<nb::gil_scoped_release>())
        .def_prop_ro("changed", &InvertedFile::changed)
        .def_prop_ro("indexed", &InvertedFile::indexed)
        .def_prop_ro("lists", &InvertedFile::lists);
}

}  // namespace carls
