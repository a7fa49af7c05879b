// numpy arrays over memory of the core's.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

namespace carls {

namespace nb = nanobind;

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using MutableVector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

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
