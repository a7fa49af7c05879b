// Arrays that cross between Python and the core.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

#include "keys.hpp"

namespace carls {

namespace nb = nanobind;

// An element of numpy's float16; half.hpp works on the bits.
struct Half {
    uint16_t bits;
};

}  // namespace carls

template <>
struct nanobind::detail::dtype_traits<carls::Half> {
    static constexpr dlpack::dtype value{static_cast<uint8_t>(dlpack::dtype_code::Float), 16, 1};
    static constexpr auto name = const_name("float16");
};

namespace carls {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using MutableVector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MutableMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Bytes = Vector<uint8_t>;
using Positions = Vector<int32_t>;
using MutableBytes = MutableVector<uint8_t>;

inline void require(bool holds, const char *expectation) {
    if (!holds) throw nb::value_error(expectation);
}

// Byte-string keys over the arrays, once their offsets are known to be safe.
inline ByteKeys byte_keys(const Vector<int32_t> &offsets, const Vector<uint8_t> &data) {
    require(offsets.shape(0) > 0 && ByteKeys::well_formed(offsets.data(), offsets.shape(0) - 1, data.shape(0)),
            "expected ascending offsets within data, at most 65536 bytes apart");
    return {offsets.data(), data.data()};
}

// Elements of a list column: ascending from 0, within what they point to.
inline void require_offsets(const Positions &offsets, size_t n, size_t most) {
    require(offsets.shape(0) == n + 1, "expected one offset more than rows");
    const int32_t *at = offsets.data();
    bool ordered = at[0] >= 0 && static_cast<size_t>(at[n]) <= most;
    for (size_t i = 0; i < n; ++i) ordered &= at[i + 1] >= at[i];
    require(ordered, "expected ascending offsets within the values");
}

// A numpy array that owns the vector's memory.
template <class T>
nb::object to_numpy(std::vector<T> &&values) {
    auto *owned = new std::vector<T>(std::move(values));
    const nb::capsule owner(owned, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    static T none{};
    T *data = owned->empty() ? &none : owned->data();
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {owned->size()}, owner));
}

}  // namespace carls
