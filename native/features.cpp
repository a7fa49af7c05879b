#include "features.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reader.hpp"

namespace carls {

namespace {

Column column_of(const std::string &kind, uint32_t width) {
    if (kind == "fixed") return {Column::Kind::Fixed, width};
    if (kind == "list") return {Column::Kind::List, width};
    if (kind == "strings") return {Column::Kind::Strings, 1};
    throw nb::value_error(("unknown column kind " + kind).c_str());
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

}  // namespace

void bind_features(nb::module_ &m) {
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

}  // namespace carls
