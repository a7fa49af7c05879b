#include "halves.hpp"

#include <cstdint>

#include "arrays.hpp"
#include "half.hpp"
#include "results.hpp"

namespace carls {

namespace {

using HalfMatrix = nb::ndarray<const Half, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

}  // namespace

void bind_halves(nb::module_ &m) {
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
}

}  // namespace carls
