// Python's view of the core. Arguments are checked here for what memory safety needs; what they
// mean is checked in Python, where errors have better words.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "arrays.hpp"
#include "candidates.hpp"
#include "columns.hpp"
#include "embedding_table.hpp"
#include "encode.hpp"
#include "feature_table.hpp"
#include "half.hpp"
#include "memories.hpp"
#include "population.hpp"
#include "inverted_file.hpp"
#include "reader.hpp"
#include "results.hpp"
#include "search.hpp"

namespace nb = nanobind;
using namespace carls;

namespace {

using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MutableMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using HalfMatrix = nb::ndarray<const Half, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
// Of float32 or float16.
using Vectors = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MutableVectors = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Bytes = Vector<uint8_t>;
using Positions = Vector<int32_t>;
using MutableBytes = MutableVector<uint8_t>;

// Bytes of keys in one page of a scan; a single key always fits.
constexpr size_t kMaxPageKeyBytes = size_t{64} << 20;

// A batch of keys as Python hands it over: integers, or offsets and data.
class KeyBatch {
public:
    KeyBatch(const std::optional<Vector<int64_t>> &integers, const std::optional<Positions> &offsets,
             const std::optional<Bytes> &data) {
        if (integers) {
            integers_ = IntegerKeys{integers->data()};
            size_ = integers->shape(0);
            return;
        }
        require(offsets && data, "expected integers, or offsets and data");
        bytes_ = byte_keys(*offsets, *data);
        size_ = offsets->shape(0) - 1;
    }

    size_t size() const { return size_; }
    bool integers() const { return integers_.has_value(); }

    // Calls work(keys) without the GIL.
    template <class Work>
    auto run(Work work) const {
        const nb::gil_scoped_release release;
        return integers_ ? work(*integers_) : work(bytes_);
    }

private:
    std::optional<IntegerKeys> integers_;
    ByteKeys bytes_{};
    size_t size_ = 0;
};

// A table remembers which of the two kinds of keys its rows have; mixing them would be fatal.
template <class Table>
class Keyed {
public:
    template <class... Arguments>
    explicit Keyed(bool integers, Arguments &&...arguments)
        : owned_(std::make_unique<Table>(std::forward<Arguments>(arguments)...)),
          table(*owned_),
          integers_(integers) {}
    // Giving gigabytes back takes a while, which other threads of Python need not wait for.
    ~Keyed() {
        const nb::gil_scoped_release release;
        owned_.reset();
    }

    void check(const KeyBatch &keys) const {
        require(keys.integers() == integers_, "expected keys of the table's own type");
    }

    nb::object erase(const KeyBatch &keys, uint64_t now) {
        check(keys);
        std::vector<uint8_t> found(keys.size());
        keys.run([&](const auto &k) { table.erase(k, keys.size(), now, found.data()); });
        return to_numpy(std::move(found));
    }

    // Keys of up to `limit` rows and 64 MiB: (integers or offsets, None or data, next cursor or -1).
    nb::tuple scan(int64_t cursor, uint64_t limit) {
        require(cursor >= 0, "expected a cursor >= 0");
        RowStore &store = table.store();
        std::vector<int64_t> integers;
        std::vector<int32_t> offsets{0};
        std::vector<uint8_t> data;
        int64_t next;
        {
            const nb::gil_scoped_release release;
            next = store.scan(cursor, [&](const RowHeader *row) {
                if (integers_) {
                    if (integers.size() == limit) return false;
                    integers.push_back(static_cast<int64_t>(row->key));
                    return true;
                }
                const uint64_t length = ByteKeys::length(row->key);
                if (offsets.size() > limit || data.size() + length > kMaxPageKeyBytes) return false;
                const uint8_t *bytes = ByteKeys::bytes(row->key, store.arena());
                data.insert(data.end(), bytes, bytes + length);
                offsets.push_back(static_cast<int32_t>(data.size()));
                return true;
            });
        }
        if (integers_) return nb::make_tuple(to_numpy(std::move(integers)), nb::none(), next);
        return nb::make_tuple(to_numpy(std::move(offsets)), to_numpy(std::move(data)), next);
    }

private:
    std::unique_ptr<Table> owned_;

public:
    Table &table;
    bool integers() const { return integers_; }

private:
    bool integers_;
};

using Embeddings = Keyed<EmbeddingTable>;
using Features = Keyed<FeatureTable>;

// The first byte of a matrix of n vectors as they lie in the table's rows.
template <class Byte, class Array>
Byte *bytes_of(const Array &array, size_t n, const VectorLayout &vector) {
    const nb::dlpack::dtype dtype = vector.half ? nb::dtype<Half>() : nb::dtype<float>();
    require(array.shape(0) == n && array.shape(1) == vector.dim && array.dtype() == dtype,
            "expected values (n, dim) of the table's dtype");
    return static_cast<Byte *>(array.data());
}

template <class Array>
auto *meta_of(const Array &bytes, size_t n) {
    require(bytes.shape(0) == n * sizeof(RowMeta) && reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0,
            "expected 32 aligned bytes of meta for each key");
    if constexpr (std::is_const_v<std::remove_pointer_t<decltype(bytes.data())>>) {
        return reinterpret_cast<const RowMeta *>(bytes.data());
    } else {
        return reinterpret_cast<RowMeta *>(bytes.data());
    }
}

Initializer::Kind initializer_kind(const std::string &name) {
    if (name == "constant") return Initializer::Kind::Constant;
    if (name == "uniform") return Initializer::Kind::Uniform;
    if (name == "normal") return Initializer::Kind::Normal;
    throw nb::value_error(("unknown initializer " + name).c_str());
}

Metric metric_of(const std::string &name) {
    if (name == "dot") return Metric::Dot;
    if (name == "cosine") return Metric::Cosine;
    if (name == "squared_l2") return Metric::SquaredL2;
    throw nb::value_error(("unknown metric " + name).c_str());
}

Column column_of(const std::string &kind, uint32_t width) {
    if (kind == "fixed") return {Column::Kind::Fixed, width};
    if (kind == "list") return {Column::Kind::List, width};
    if (kind == "strings") return {Column::Kind::Strings, 1};
    throw nb::value_error(("unknown column kind " + kind).c_str());
}

// Elements of a list column: ascending from 0, within what they point to.
void require_offsets(const Positions &offsets, size_t n, size_t most) {
    require(offsets.shape(0) == n + 1, "expected one offset more than rows");
    const int32_t *at = offsets.data();
    bool ordered = at[0] >= 0 && static_cast<size_t>(at[n]) <= most;
    for (size_t i = 0; i < n; ++i) ordered &= at[i + 1] >= at[i];
    require(ordered, "expected ascending offsets within the values");
}

// The array itself, never a converted copy, which would be gone before the core reads it.
template <class Array>
Array array_of(const nb::handle &object) {
    Array array;
    require(nb::try_cast<Array>(object, array, false), "expected contiguous arrays of uint8 and int32");
    return array;
}

// One column of a batch that is written: the input and the arrays that it points into.
struct HeldColumn {
    Bytes values;
    Positions offsets, ends;
    ColumnInput input;

    HeldColumn(const Column &column, const nb::tuple &arrays, size_t n) : values(array_of<Bytes>(arrays[0])) {
        input.values = values.data();
        if (column.kind == Column::Kind::Fixed) {
            require(values.shape(0) == n * column.width, "expected one value for each row");
            return;
        }
        offsets = array_of<Positions>(arrays[1]);
        input.offsets = offsets.data();
        size_t elements = values.shape(0) / column.width;
        if (column.kind == Column::Kind::Strings) {
            ends = array_of<Positions>(arrays[2]);
            require(ends.shape(0) > 0, "expected one end more than strings");
            elements = ends.shape(0) - 1;
            require_offsets(ends, elements, values.shape(0));
            input.ends = ends.data();
        }
        require_offsets(offsets, n, elements);
    }
};

// Sets rows of a feature table.
template <class Stamps>
void assign(Features &self, const KeyBatch &keys, const nb::list &arrays, const Stamps &stamps) {
    self.check(keys);
    const std::vector<Column> &columns = self.table.columns();
    require(arrays.size() == columns.size(), "expected every column");
    std::vector<HeldColumn> held;
    std::vector<ColumnInput> inputs;
    for (size_t c = 0; c < columns.size(); ++c) {
        held.emplace_back(columns[c], nb::cast<nb::tuple>(arrays[c]), keys.size());
        inputs.push_back(held.back().input);
    }
    keys.run([&](const auto &k) { self.table.assign(k, keys.size(), inputs, stamps); });
}

nb::tuple output_of(const Column &column, ColumnOutput &&output) {
    nb::object offsets = nb::none(), ends = nb::none();
    if (column.kind != Column::Kind::Fixed) offsets = to_numpy(std::move(output.offsets));
    if (column.kind == Column::Kind::Strings) ends = to_numpy(std::move(output.ends));
    return nb::make_tuple(to_numpy(std::move(output.values)), offsets, ends);
}

nb::dict dict_of(const ReaderCounts &counts) {
    nb::dict result;
    result["lookups"] = counts.lookups;
    result["looked_up"] = counts.keys;
    result["created"] = counts.created;
    result["missed"] = counts.missed;
    result["stale"] = counts.stale;
    result["ahead"] = counts.ahead;
    result["unsaid"] = counts.unsaid;
    result["steps"] = std::vector<uint64_t>(counts.steps.begin(), counts.steps.end());
    result["milliseconds"] = std::vector<uint64_t>(counts.milliseconds.begin(), counts.milliseconds.end());
    return result;
}

nb::tuple tuple_of(const Written &written) {
    return nb::make_tuple(written.rows, written.clipped, written.dropped);
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

template <class Table>
void bind_common(nb::class_<Table> &table) {
    table
        .def("erase",
             [](Table &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, uint64_t now) { return self.erase(KeyBatch(integers, offsets, data), now); })
        .def("scan", &Table::scan, nb::arg("cursor"), nb::arg("limit"))
        .def("__len__", [](Table &self) { return self.table.store().size(); })
        .def_prop_ro("nbytes", [](Table &self) { return self.table.bytes(); });
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "The core of carls: keyed rows with optimizers inside. Use carls.bank instead.";
    // At exit a module that is still alive, say in an autograd graph, keeps its table: no leak.
    nb::set_leak_warnings(false);
    bind_keys(m);
    bind_columns(m);
    bind_candidates(m);
    bind_memories(m);

    const nb::object full = nb::exception<TableFull>(m, "TableFull");
    const nb::object large = nb::exception<BatchTooLarge>(m, "BatchTooLarge");

    // The limit is a double: as a float, one that is none exactly would have the halves converted first.
    m.def(
        "all_within",
        [](const nb::ndarray<const float, nb::c_contig, nb::device::cpu> &array, double limit) {
            const nb::gil_scoped_release release;
            return all_within(array.data(), array.size(), static_cast<float>(limit));
        },
        nb::arg("array"), nb::arg("limit"));
    m.def(
        "all_within",
        [](const nb::ndarray<const Half, nb::c_contig, nb::device::cpu> &array, double limit) {
            const nb::gil_scoped_release release;
            const auto *halves = reinterpret_cast<const uint16_t *>(array.data());
            return all_within(halves, array.size(), static_cast<float>(limit));
        },
        nb::arg("array"), nb::arg("limit"));
    m.def(
        "to_halves",
        [](const Matrix &array) {
            Result<Half> result({array.shape(0), array.shape(1)});
            {
                const nb::gil_scoped_release release;
                to_halves(reinterpret_cast<uint16_t *>(result.data), array.data(), array.size());
            }
            return result.array;
        },
        nb::arg("array"));
    m.def(
        "to_floats",
        [](const HalfMatrix &array) {
            Result<float> result({array.shape(0), array.shape(1)});
            {
                const nb::gil_scoped_release release;
                to_floats(result.data, reinterpret_cast<const uint16_t *>(array.data()), array.size());
            }
            return result.array;
        },
        nb::arg("array"));
    m.def("normal_quantile", &normal_quantile, nb::arg("p"));

    nb::class_<Reader>(m, "Reader")
        .def(nb::init<>())
        .def("count_points", &Reader::count_points, nb::arg("n"), nb::arg("missed"))
        .def("counts", [](const Reader &self) { return dict_of(self.counts()); });

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
    bind_common(embeddings);

    nb::class_<Features> features(m, "FeatureTable");
    features
        .def(
            "__init__",
            [](Features *self, bool integers, const std::vector<std::pair<std::string, uint32_t>> &kinds) {
                require(!kinds.empty(), "expected at least one column");
                std::vector<Column> columns;
                for (const auto &[kind, width] : kinds) columns.push_back(column_of(kind, width));
                new (self) Features(integers, std::move(columns));
            },
            nb::arg("integers"), nb::arg("columns"))
        .def("assign",
             [](Features &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, const nb::list &arrays, int64_t step, uint16_t producer, uint64_t now) {
                 assign(self, KeyBatch(integers, offsets, data), arrays, Stamp{step, producer, now});
             })
        .def("restore",
             [](Features &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
                std::optional<Bytes> data, const nb::list &arrays, const Bytes &meta, uint64_t now) {
                 const KeyBatch keys(integers, offsets, data);
                 assign(self, keys, arrays, Restored{meta_of(meta, keys.size()), now});
             })
        .def(
            "lookup",
            [](Features &self, std::optional<Vector<int64_t>> integers, std::optional<Positions> offsets,
               std::optional<Bytes> data, int64_t min_step, double max_age, uint64_t now, const MutableBytes &meta,
               Reader *reader, std::optional<int64_t> at_step) {
                const KeyBatch keys(integers, offsets, data);
                self.check(keys);
                const size_t n = keys.size();
                RowMeta *to = meta_of(meta, n);
                std::vector<ColumnOutput> outputs = keys.run([&](const auto &k) {
                    std::vector<ColumnOutput> found = self.table.lookup(k, n, AgeBound{min_step, max_age}, now, to);
                    if (reader != nullptr) reader->count(to, n, at_step);
                    return found;
                });
                nb::list result;
                for (size_t c = 0; c < outputs.size(); ++c) {
                    result.append(output_of(self.table.columns()[c], std::move(outputs[c])));
                }
                return result;
            },
            nb::arg("integers").none(), nb::arg("offsets").none(), nb::arg("data").none(), nb::arg("min_step"),
            nb::arg("max_age"), nb::arg("now"), nb::arg("meta"), nb::arg("reader") = nb::none(),
            nb::arg("at_step") = nb::none());
    bind_common(features);
}
