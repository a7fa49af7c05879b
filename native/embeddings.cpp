#include "embeddings.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "population.hpp"
#include "reader.hpp"

namespace carls {

namespace {

// Of float32 or float16.
using Vectors = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MutableVectors = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// The first byte of a matrix of n vectors as they lie in the table's rows.
template <class Byte, class Array>
Byte *bytes_of(const Array &array, size_t n, const VectorLayout &vector) {
    const nb::dlpack::dtype dtype = vector.half ? nb::dtype<Half>() : nb::dtype<float>();
    require(array.shape(0) == n && array.shape(1) == vector.dim && array.dtype() == dtype,
            "expected values (n, dim) of the table's dtype");
    return static_cast<Byte *>(array.data());
}

Initializer::Kind initializer_kind(const std::string &name) {
    if (name == "constant") return Initializer::Kind::Constant;
    if (name == "uniform") return Initializer::Kind::Uniform;
    if (name == "normal") return Initializer::Kind::Normal;
    throw nb::value_error(("unknown initializer " + name).c_str());
}

nb::tuple tuple_of(const Written &written) {
    return nb::make_tuple(written.rows, written.clipped, written.dropped);
}

}  // namespace

nb::class_<Embeddings> bind_embeddings(nb::module_ &m) {
    nb::class_<Embeddings> embeddings(m, "EmbeddingTable");
    embeddings
        .def(
            "__init__",
            [](Embeddings *self, bool integers, uint32_t dim, uint64_t seed, const std::string &initializer, double a,
               double b, const std::string &optimizer, const Parameters &parameters, bool half, uint64_t max_rows,
               uint64_t max_bytes, const std::string &eviction, uint64_t ttl, uint32_t admit_after,
               uint64_t admission_window, bool lazy, uint32_t max_pending, uint64_t max_delay, double outlier_factor,
               bool drop_outliers) {
                const GrowthPolicy growth{{max_rows, max_bytes}, {eviction, ttl}, admit_after, admission_window};
                require(!growth.limits.any() || !growth.eviction.none(), "expected a limit to have an eviction");
                new (self) Embeddings(integers, VectorLayout{dim, half}, Initializer{initializer_kind(initializer), a, b, seed},
                                      optimizer, parameters, growth,
                                      Aggregation{lazy, max_pending, max_delay, outlier_factor, drop_outliers});
            },
            nb::arg("integers"), nb::arg("dim"), nb::arg("seed"), nb::arg("initializer"), nb::arg("a"), nb::arg("b"),
            nb::arg("optimizer"), nb::arg("parameters"), nb::arg("half") = false, nb::arg("max_rows") = UINT64_MAX,
            nb::arg("max_bytes") = UINT64_MAX, nb::arg("eviction") = "none", nb::arg("ttl") = 0,
            nb::arg("admit_after") = 0, nb::arg("admission_window") = 0, nb::arg("lazy") = false,
            nb::arg("max_pending") = 0, nb::arg("max_delay") = 0, nb::arg("outlier_factor") = 0.0,
            nb::arg("drop_outliers") = false)
        .def("growth",
             [](const Embeddings &self) {
                 const GrowthCounts &counts = self.table.growth_counts();
                 return nb::make_tuple(counts.evicted.load(), counts.expired.load(), counts.unadmitted.load());
             })
        .def("pending",
             [](const Embeddings &self) {
                 const PendingCounts &counts = self.table.pending_counts();
                 return nb::make_tuple(counts.waiting.load(), counts.clipped.load(), counts.outliers.load(),
                                       counts.discarded.load());
             })
        .def("settle",
             [](Embeddings &self) {
                 const nb::gil_scoped_release release;
                 self.table.settle(UINT64_MAX);
             })
        .def("settle_due",
             [](Embeddings &self, uint64_t now) {
                 const nb::gil_scoped_release release;
                 self.table.settle(self.table.due(now));
             }, nb::arg("now"))
        .def("set_lr", [](Embeddings &self, float lr) { self.table.set_lr(lr); }, nb::arg("lr"))
        .def(
            "lookup",
            [](Embeddings &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
               std::optional<Bytes> data, bool create, int64_t min_step, double max_age, uint64_t now,
               const MutableVectors &values, const MutableBytes &meta, Reader *reader, std::optional<int64_t> at_step) {
                const KeyBatch keys(integers, offsets, data);
                self.check(keys);
                const size_t n = keys.size();
                auto *vectors = bytes_of<uint8_t>(values, n, self.table.vector());
                RowMeta *to = meta_of(meta, n);
                const AgeBound bound{min_step, max_age};
                keys.run([&](const auto &k) {
                    if (create) {
                        self.table.lookup_or_create(k, n, bound, now, vectors, to);
                    } else {
                        self.table.lookup(k, n, bound, now, vectors, to);
                    }
                    if (reader != nullptr) reader->count(to, n, at_step);
                });
            },
            nb::arg("integers").none(), nb::arg("offsets").none(), nb::arg("data").none(), nb::arg("create"),
            nb::arg("min_step"), nb::arg("max_age"), nb::arg("now"), nb::arg("values"), nb::arg("meta"),
            nb::arg("reader") = nb::none(), nb::arg("at_step") = nb::none())
        .def("assign",
             [](Embeddings &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, const Vectors &values, int64_t step, uint16_t producer, uint64_t now) {
                 const KeyBatch keys(integers, offsets, data);
                 self.check(keys);
                 const auto *vectors = bytes_of<const uint8_t>(values, keys.size(), self.table.vector());
                 return tuple_of(keys.run([&](const auto &k) {
                     return self.table.assign(k, keys.size(), vectors, Stamp{step, producer, now});
                 }));
             })
        .def("push",
             [](Embeddings &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, const Matrix &gradients, int64_t step, uint16_t producer, uint64_t now) {
                 const KeyBatch keys(integers, offsets, data);
                 self.check(keys);
                 require(gradients.shape(0) == keys.size() && gradients.shape(1) == self.table.vector().dim,
                         "expected gradients (n, dim)");
                 return tuple_of(keys.run([&](const auto &k) {
                     return self.table.push(k, keys.size(), gradients.data(), Stamp{step, producer, now});
                 }));
             });
    embeddings.def_prop_ro("record_floats", [](Embeddings &self) { return self.table.record_floats(); })
        .def("read_records",
             [](Embeddings &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, uint64_t now, const MutableMatrix &records, const MutableBytes &meta) {
                 const KeyBatch keys(integers, offsets, data);
                 self.check(keys);
                 require(records.shape(0) == keys.size() && records.shape(1) == self.table.record_floats(),
                         "expected records (n, record_floats)");
                 RowMeta *to = meta_of(meta, keys.size());
                 keys.run([&](const auto &k) {
                     self.table.read_records(k, keys.size(), now, records.data(), to);
                 });
             })
        .def("restore",
             [](Embeddings &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, const Matrix &records, const Bytes &meta, uint64_t now) {
                 const KeyBatch keys(integers, offsets, data);
                 self.check(keys);
                 const uint32_t width = static_cast<uint32_t>(records.shape(1));
                 require(records.shape(0) == keys.size() &&
                             (width == self.table.vector().dim || width == self.table.record_floats()),
                         "expected records (n, dim) or (n, record_floats)");
                 const Restored restored{meta_of(meta, keys.size()), now};
                 return tuple_of(keys.run([&](const auto &k) {
                     return self.table.restore(k, keys.size(), records.data(), width, restored);
                 }));
             });
    embeddings.def_prop_ro("lookups", [](const Embeddings &self) { return self.table.lookups(); })
        .def_prop_ro("changes", [](const Embeddings &self) { return self.table.changes(); })
        .def(
            "expired", [](const Embeddings &self, uint64_t written, uint64_t now) { return self.table.expired(written, now); },
            nb::arg("written"), nb::arg("now"))
        .def(
            "population",
            [](Embeddings &self, uint64_t now) {
                const nb::gil_scoped_release release;
                return new Population(self.table, self.integers(), now);
            },
            nb::arg("now"), nb::rv_policy::take_ownership)
        .def("present", [](Embeddings &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                           std::optional<Bytes> data, uint64_t now) {
            const KeyBatch keys(integers, offsets, data);
            self.check(keys);
            std::vector<uint8_t> found(keys.size());
            keys.run([&](const auto &k) { self.table.present(k, keys.size(), now, found.data()); });
            return to_numpy(std::move(found));
        });
    bind_common(embeddings);
    return embeddings;
}

}  // namespace carls
