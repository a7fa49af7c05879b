// Keyed: a table as Python sees it, and what tables of all kinds have.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "key_batch.hpp"
#include "keys.hpp"
#include "layout.hpp"
#include "row_store.hpp"

namespace carls {

// Bytes of keys in one page of a scan; a single key always fits.
constexpr size_t kMaxPageKeyBytes = size_t{64} << 20;

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

}  // namespace carls
