#include "columns.hpp"

#include <nanobind/ndarray.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "arrow.hpp"
#include "keys.hpp"
#include "layout.hpp"
#include "results.hpp"
#include "utf8.hpp"

namespace carls {

namespace {

// Copies of so many bytes are worth letting other Python threads run.
constexpr size_t kLongCopy = 64 << 10;

// A received column is not what it has to be. Everything that Arrow has not checked is here.
struct Forged : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void refuse_nulls(const ArrowArray &array) {
    if (array.null_count == 0 || array.n_buffers == 0 || array.buffers[0] == nullptr) return;
    const auto *bits = static_cast<const uint8_t *>(array.buffers[0]);
    int64_t nulls = 0;
    for (int64_t i = array.offset; i < array.offset + array.length; ++i) nulls += !(bits[i / 8] >> (i % 8) & 1);
    if (nulls != 0) throw Forged(std::to_string(nulls) + " nulls: expected none");
}

// Elements of `width` bytes from the array's first on, copied: received ones lie at any address.
void copy_elements(void *to, const ArrowArray &array, size_t width, size_t count) {
    const size_t bytes = width * count;
    if (bytes == 0) return;
    const auto *from = static_cast<const uint8_t *>(array.buffers[1]) + width * static_cast<size_t>(array.offset);
    if (bytes < kLongCopy) {
        std::memcpy(to, from, bytes);
        return;
    }
    const nb::gil_scoped_release release;
    std::memcpy(to, from, bytes);
}

nb::object read_integers(const ArrowArray &array) {
    Result<int64_t> result({static_cast<size_t>(array.length)});
    copy_elements(result.data, array, sizeof(int64_t), static_cast<size_t>(array.length));
    return result.array;
}

// (type of key, offsets from 0 on, bytes), with all that ByteKeys::well_formed asks.
nb::object read_strings(const ArrowArray &array, bool text) {
    const size_t n = static_cast<size_t>(array.length);
    Result<int32_t> offsets({n + 1});
    if (n == 0) {
        offsets.data[0] = 0;
    } else {
        copy_elements(offsets.data, array, sizeof(int32_t), n + 1);
    }
    const int32_t first = offsets.data[0], last = offsets.data[n];
    int32_t before = first;
    for (size_t i = 0; i <= n; ++i) {
        const int32_t at = offsets.data[i];
        const int64_t length = int64_t{at} - before;
        if (length < 0 || at < first || at > last) throw Forged("offsets that do not ascend");
        if (length > kMaxKeyBytes) {
            throw Forged("key " + std::to_string(i - 1) + " has " + std::to_string(length) +
                         " bytes: expected at most " + std::to_string(kMaxKeyBytes));
        }
        before = at;
        offsets.data[i] = at - first;
    }
    const size_t bytes = static_cast<size_t>(last - first);
    Result<uint8_t> data({bytes});
    if (bytes != 0) std::memcpy(data.data, static_cast<const uint8_t *>(array.buffers[2]) + first, bytes);
    if (text && !is_ascii(data.data, bytes)) {
        for (size_t i = 0; i < n; ++i) {
            const int32_t from = offsets.data[i];
            if (!is_utf8(data.data + from, static_cast<size_t>(offsets.data[i + 1] - from))) {
                throw Forged("key " + std::to_string(i) + " is not UTF-8");
            }
        }
    }
    return nb::make_tuple(text ? "string" : "bytes", offsets.array, data.array);
}

template <class T>
nb::object read_matrix(const ArrowArray &array, size_t width) {
    const ArrowArray &items = *array.children[0];
    refuse_nulls(items);
    Result<T> result({static_cast<size_t>(array.length), width});
    ArrowArray from = items;
    from.offset += array.offset * static_cast<int64_t>(width);
    copy_elements(result.data, from, sizeof(T), static_cast<size_t>(array.length) * width);
    return result.array;
}

nb::object read_meta(const ArrowArray &array) {
    const size_t n = static_cast<size_t>(array.length);
    Result<uint8_t> result({n * sizeof(RowMeta)});
    copy_elements(result.data, array, sizeof(RowMeta), n);
    uint32_t truths = 0;
    for (size_t i = 0; i < n; ++i) truths |= reinterpret_cast<const RowMeta *>(result.data)[i].truths;
    if (truths & ~(RowMeta::kFound | RowMeta::kCreated | RowMeta::kFresh)) {
        throw Forged("row metadata with a truth value above 1: expected 0 or 1");
    }
    return result.array;
}

nb::object read_column(const ArrowSchema &schema, const ArrowArray &array) {
    const std::string format = schema.format;
    const std::string item = format.rfind("+w:", 0) == 0 ? schema.children[0]->format : "";
    const bool list = item == "f" || item == "e";
    const bool strings = format == "u" || format == "z";
    const bool meta = format == "w:" + std::to_string(sizeof(RowMeta));
    if (!list && !strings && !meta && format != "l") return nb::none();
    refuse_nulls(array);
    if (list) {
        const size_t width = std::strtoul(format.c_str() + 3, nullptr, 10);
        return item == "f" ? read_matrix<float>(array, width) : read_matrix<uint16_t>(array, width);
    }
    if (strings) return read_strings(array, format == "u");
    return meta ? read_meta(array) : read_integers(array);
}

// For each column of a batch its value: an int64 array of integers; (type, offsets, data) of strings
// or bytes; a matrix of lists of float (or of half floats, as uint16) of one size; the bytes of row
// metadata; None for others.
nb::list read_columns(const nb::capsule &schema_capsule, const nb::capsule &array_capsule) {
    const auto *schema = static_cast<const ArrowSchema *>(schema_capsule.data("arrow_schema"));
    const auto *array = static_cast<const ArrowArray *>(array_capsule.data("arrow_array"));
    if (array->offset != 0) throw nb::value_error("expected a batch that is no slice");
    nb::list columns;
    for (int64_t i = 0; i < array->n_children; ++i) columns.append(read_column(*schema->children[i], *array->children[i]));
    return columns;
}

}  // namespace

void bind_columns(nb::module_ &module) {
    const nb::object forged = nb::exception<Forged>(module, "ForgedColumn");
    module.def("read_columns", &read_columns, nb::arg("schema"), nb::arg("array"));
}

}  // namespace carls
