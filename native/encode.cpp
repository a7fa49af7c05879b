#include "encode.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "keys.hpp"

namespace carls {

namespace {

std::string shown(PyObject *object) {
    nb::object text = nb::steal(PyObject_Repr(object));
    if (!text.is_valid()) {
        PyErr_Clear();
        return "?";
    }
    std::string repr = nb::cast<std::string>(nb::str(text));
    return repr.size() > 80 ? repr.substr(0, 77) + "..." : repr;
}

[[noreturn]] void mixed(Py_ssize_t i, PyObject *key, const char *type) {
    throw nb::type_error(("key " + std::to_string(i) + " is " + shown(key) + " of type " + Py_TYPE(key)->tp_name +
                          ": expected " + type + ", as all keys of a batch have one type")
                             .c_str());
}

nb::tuple encode_integers(PyObject *const *items, Py_ssize_t n) {
    std::vector<int64_t> keys(static_cast<size_t>(n));
    for (Py_ssize_t i = 0; i < n; ++i) {
        if (PyBool_Check(items[i]) || !PyIndex_Check(items[i])) mixed(i, items[i], "an int");
        const nb::object number = nb::steal(PyNumber_Index(items[i]));
        if (!number.is_valid()) throw nb::python_error();
        int overflow = 0;
        keys[static_cast<size_t>(i)] = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
        if (overflow != 0) {
            throw nb::value_error(("key " + std::to_string(i) + " is " + shown(items[i]) +
                                   ": beyond int64; expected -2**63 to 2**63 - 1, or write it as a string")
                                      .c_str());
        }
    }
    return nb::make_tuple("int64", to_numpy(std::move(keys)), nb::none());
}

// Calls piece(i, data, size) for the bytes of each key.
nb::tuple encode_bytes(PyObject *const *items, Py_ssize_t n, bool text) {
    std::vector<int32_t> offsets;
    std::vector<uint8_t> data;
    offsets.reserve(static_cast<size_t>(n) + 1);
    data.reserve(static_cast<size_t>(n) * 16);
    offsets.push_back(0);
    for (Py_ssize_t i = 0; i < n; ++i) {
        const char *bytes;
        Py_ssize_t size;
        if (text) {
            if (!PyUnicode_Check(items[i])) mixed(i, items[i], "a str");
            bytes = PyUnicode_AsUTF8AndSize(items[i], &size);
            if (bytes == nullptr) {
                PyErr_Clear();
                throw nb::value_error(("key " + std::to_string(i) + " is " + shown(items[i]) +
                                       ": not valid Unicode; expected text that UTF-8 can encode, or bytes")
                                          .c_str());
            }
        } else {
            if (!PyBytes_Check(items[i])) mixed(i, items[i], "bytes");
            bytes = PyBytes_AS_STRING(items[i]);
            size = PyBytes_GET_SIZE(items[i]);
        }
        if (size > Py_ssize_t{kMaxKeyBytes}) {
            throw nb::value_error(("key " + std::to_string(i) + " has " + std::to_string(size) +
                                   " bytes: expected at most 65536; use a digest of it as key")
                                      .c_str());
        }
        if (data.size() + static_cast<size_t>(size) > INT32_MAX) {
            throw nb::value_error("a batch of keys of over 2 GiB: split it");
        }
        data.insert(data.end(), bytes, bytes + size);
        offsets.push_back(static_cast<int32_t>(data.size()));
    }
    return nb::make_tuple(text ? "string" : "bytes", to_numpy(std::move(offsets)), to_numpy(std::move(data)));
}

// Starts to fetch the objects of a batch. They lie anywhere in memory: met one by one, each of
// them would be waited for.
void fetch(const nb::object &keys) {
    PyObject *const *items = PySequence_Fast_ITEMS(keys.ptr());
    for (Py_ssize_t i = 0, n = PySequence_Fast_GET_SIZE(keys.ptr()); i < n; ++i) {
        __builtin_prefetch(items[i]);
        __builtin_prefetch(reinterpret_cast<const char *>(items[i]) + 64);  // the end of a short str
    }
}

// A list or tuple of int, str or bytes, not empty, as (type, integers or offsets, None or data).
nb::tuple encode_keys(const nb::object &keys) {
    require(PyList_Check(keys.ptr()) || PyTuple_Check(keys.ptr()), "expected a list or tuple");
    fetch(keys);
    // A tuple, as a key's own __index__ or __repr__ may change the list while it is read.
    const nb::object held = nb::steal(PySequence_Tuple(keys.ptr()));
    if (!held.is_valid()) throw nb::python_error();
    PyObject *const *items = PySequence_Fast_ITEMS(held.ptr());
    const Py_ssize_t n = PyTuple_GET_SIZE(held.ptr());
    if (n == 0) throw nb::value_error("empty batch of keys: expected at least one key");
    if (PyUnicode_Check(items[0])) return encode_bytes(items, n, true);
    if (PyBytes_Check(items[0])) return encode_bytes(items, n, false);
    if (!PyBool_Check(items[0]) && PyIndex_Check(items[0])) return encode_integers(items, n);
    mixed(0, items[0], "an int, a str or bytes");
}

// Positions of the first of each distinct key, and for every key which of them equals it.
template <class Keys>
nb::tuple unique(const Keys &keys, size_t n) {
    std::vector<int64_t> first, inverse(n);
    {
        const nb::gil_scoped_release release;
        size_t slots = 16;
        while (slots < 2 * n) slots *= 2;
        std::vector<uint32_t> index(slots, 0);
        for (size_t i = 0; i < n; ++i) {
            for (size_t slot = keys.hash(i) & (slots - 1);; slot = (slot + 1) & (slots - 1)) {
                if (index[slot] == 0) {
                    first.push_back(static_cast<int64_t>(i));
                    index[slot] = static_cast<uint32_t>(first.size());
                } else if (!keys.same(static_cast<size_t>(first[index[slot] - 1]), i)) {
                    continue;
                }
                inverse[i] = index[slot] - 1;
                break;
            }
        }
    }
    return nb::make_tuple(to_numpy(std::move(first)), to_numpy(std::move(inverse)));
}

// The hash of each key.
nb::object hashes(const ByteKeys &keys, size_t n) {
    std::vector<int64_t> found(n);
    {
        const nb::gil_scoped_release release;
        for (size_t i = 0; i < n; ++i) found[i] = static_cast<int64_t>(keys.hash(i));
    }
    return to_numpy(std::move(found));
}

}  // namespace

void bind_keys(nb::module_ &module) {
    module.def("encode_keys", &encode_keys, nb::arg("keys"));
    module.def(
        "unique_integers",
        [](const Vector<int64_t> &keys) { return unique(IntegerKeys{keys.data()}, keys.shape(0)); },
        nb::arg("keys"));
    module.def(
        "unique_bytes",
        [](const Vector<int32_t> &offsets, const Vector<uint8_t> &data) {
            return unique(byte_keys(offsets, data), offsets.shape(0) - 1);
        },
        nb::arg("offsets"), nb::arg("data"));
    module.def(
        "hash_bytes",
        [](const Vector<int32_t> &offsets, const Vector<uint8_t> &data) {
            return hashes(byte_keys(offsets, data), offsets.shape(0) - 1);
        },
        nb::arg("offsets"), nb::arg("data"));
    module.def(
        "xxh64",
        [](const nb::bytes &data) {
            return XXH64::hash(static_cast<const uint8_t *>(data.data()), data.size());
        },
        nb::arg("data"));
}

}  // namespace carls
