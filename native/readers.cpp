#include "readers.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <vector>

#include "reader.hpp"

namespace carls {

namespace nb = nanobind;

namespace {

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

}  // namespace

void bind_readers(nb::module_ &m) {
    nb::class_<Reader>(m, "Reader")
        .def(nb::init<>())
        .def("count_points", &Reader::count_points, nb::arg("n"), nb::arg("missed"))
        .def("counts", [](const Reader &self) { return dict_of(self.counts()); });
}

}  // namespace carls
