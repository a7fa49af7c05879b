// KeyBatch: a batch of keys as Python hands it over.
#pragma once

#include <nanobind/stl/optional.h>

#include <optional>

#include "arrays.hpp"
#include "keys.hpp"

namespace carls {

// Integers, or offsets and data.
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

}  // namespace carls
