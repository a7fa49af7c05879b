// FeatureTable: rows of typed columns; lists lie in blocks beside the row.
#pragma once

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "errors.hpp"
#include "row_store.hpp"
#include "stamp.hpp"

namespace carls {

// Fixed: `width` bytes in the row. List: elements of `width` bytes each. Strings: byte strings.
struct Column {
    enum class Kind { Fixed, List, Strings };

    Kind kind;
    uint32_t width;
    uint32_t at = 0;  // place in the row's payload

    uint32_t bytes_in_row() const { return kind == Kind::Fixed ? width : 8; }
    // Without the list's own.
    size_t bytes_in_reply() const { return kind == Kind::Fixed ? width : 4; }
};

// One column of a batch that is written, in Arrow's layout: row i of a list column has the
// elements offsets[i] to offsets[i + 1]; of Strings, element j has the bytes ends[j] to ends[j + 1].
struct ColumnInput {
    const uint8_t *values;
    const int32_t *offsets = nullptr;
    const int32_t *ends = nullptr;
};

// One column of a batch that was read, in the same layout.
struct ColumnOutput {
    std::vector<uint8_t> values;
    std::vector<int32_t> offsets, ends;
};

// That a column has one of some values, as bytes: of numbers those in the row, of lists all elements'.
struct Condition {
    size_t column = 0;
    std::vector<std::string_view> values;  // in order

    bool holds(std::string_view value) const { return std::binary_search(values.begin(), values.end(), value); }
};

// Bytes of columns, lists included, that one look-up may give.
constexpr size_t kMaxLookupBytes = size_t{64} << 20;

class FeatureTable {
public:
    explicit FeatureTable(std::vector<Column> columns)
        : columns_(place(std::move(columns))), store_(payload_bytes(columns_)) {}

    RowStore &store() { return store_; }
    uint64_t bytes() const { return store_.bytes(); }
    const std::vector<Column> &columns() const { return columns_; }

    // Sets the rows of n keys. Throws TableFull (nothing was changed) or std::bad_alloc (some rows
    // were set, none in part).
    template <class Keys, class Stamps>
    void assign(const Keys &keys, size_t n, const std::vector<ColumnInput> &inputs, const Stamps &stamps) {
        const BatchPlan plan(keys, n);
        store_.check_room(keys, plan);
        store_.make_ready(0);
        std::vector<uint64_t> lists(columns_.size());
        store_.each<RowStore::WriteGuard>(StripeList(plan), [&](uint32_t s) {
            for (uint32_t k = 0; k < plan.size(s); ++k) {
                const uint32_t i = plan.positions(s)[k];
                RowHeader *row = make_room(s, plan.hashes[i], keys, i, inputs, lists);
                for (size_t c = 0; c < columns_.size(); ++c) set(s, row, columns_[c], inputs[c], i, lists[c]);
                stamps.put_on(row, i);
            }
        });
    }

    // Reads the rows of n keys; zeros and empty lists where there is none. Throws BatchTooLarge.
    template <class Keys>
    std::vector<ColumnOutput> lookup(const Keys &keys, size_t n, const AgeBound &bound, uint64_t now, RowMeta *meta) {
        ReplySize size;
        size_t row_bytes = 0;
        for (const Column &column : columns_) row_bytes += column.bytes_in_reply();
        size.add(n * row_bytes);
        // Rows come stripe by stripe; what they hold is put in the batch's order afterwards.
        std::vector<std::vector<uint8_t>> pools(columns_.size());
        std::vector<std::vector<Block>> blocks(columns_.size(), std::vector<Block>(n));
        const BatchPlan plan(keys, n);
        store_.prefetch_slots(plan);
        store_.each<RowStore::ReadGuard>(StripeList(plan), [&](uint32_t s) {
            for (uint32_t k = 0; k < plan.size(s); ++k) {
                const uint32_t i = plan.positions(s)[k];
                const uint32_t number = store_.find(s, plan.hashes[i], keys, i);
                if (number == RowStore::kNone) {
                    describe_absent(meta[i]);
                    continue;
                }
                RowHeader *row = store_.row(s, number);
                describe(row, now, bound, meta[i]);
                for (size_t c = 0; c < columns_.size(); ++c) blocks[c][i] = get(row, columns_[c], pools[c], size);
            }
        });
        std::vector<ColumnOutput> outputs(columns_.size());
        for (size_t c = 0; c < columns_.size(); ++c) arrange(columns_[c], pools[c], blocks[c], outputs[c]);
        return outputs;
    }

    // Whether the i-th key has a row, and the condition holds for it.
    template <class Keys>
    bool holds(const Keys &keys, size_t i, const Condition &condition) {
        const uint64_t hash = keys.hash(i);
        const uint32_t s = static_cast<uint32_t>(hash >> (64 - kStripeBits));
        const RowStore::ReadGuard guard(store_, s, true);
        const uint32_t number = store_.find(s, hash, keys, i);
        if (number == RowStore::kNone) return false;
        const Column &column = columns_[condition.column];
        const uint8_t *value = field(store_.row(s, number), column);
        size_t bytes = column.width;
        if (column.kind != Column::Kind::Fixed) {
            uint64_t offset;
            std::memcpy(&offset, value, 8);
            if (offset == 0) return condition.holds({});
            const BlockHeader *header = store_.arena().at<BlockHeader>(offset);
            value = reinterpret_cast<const uint8_t *>(header + 1);
            bytes = header->bytes;
        }
        return condition.holds({reinterpret_cast<const char *>(value), bytes});
    }

    template <class Keys>
    void erase(const Keys &keys, size_t n, uint64_t, uint8_t *found) {
        store_.erase(keys, n, found, [this](uint32_t s, RowHeader *row) {
            for (const Column &column : columns_) drop_block(s, row, column);
            return true;
        });
    }

private:
    // Bytes of one row's column in a pool, and how many elements they are.
    struct Block {
        size_t begin = 0;
        uint32_t bytes = 0, count = 0;
    };
    // In front of a list's bytes. Strings: `count` ends of 4 bytes each, then the characters.
    struct BlockHeader {
        uint32_t bytes, count;
    };

    // Counts what a look-up gives, before it is copied.
    struct ReplySize {
        size_t bytes = 0;

        void add(size_t more) {
            bytes += more;
            if (bytes <= kMaxLookupBytes) return;
            throw BatchTooLarge("the rows of one look-up take " + std::to_string(bytes) +
                                " bytes or more; expected at most " + std::to_string(kMaxLookupBytes) +
                                ": look up fewer keys at once");
        }
    };

    static std::vector<Column> place(std::vector<Column> columns) {
        uint32_t at = 0;
        for (Column &column : columns) {
            column.at = at;
            at += (column.bytes_in_row() + 7) & ~7u;
        }
        return columns;
    }
    static uint32_t payload_bytes(const std::vector<Column> &columns) {
        return columns.back().at + ((columns.back().bytes_in_row() + 7) & ~7u);
    }
    static uint8_t *field(RowHeader *row, const Column &column) { return RowStore::payload(row) + column.at; }

    void drop_block(uint32_t s, RowHeader *row, const Column &column) {
        if (column.kind == Column::Kind::Fixed) return;
        uint64_t offset;
        std::memcpy(&offset, field(row, column), 8);
        release(s, offset);
        std::memset(field(row, column), 0, 8);
    }

    void release(uint32_t s, uint64_t offset) {
        if (offset == 0) return;
        store_.heap(s).release(offset, sizeof(BlockHeader) + store_.arena().at<BlockHeader>(offset)->bytes);
    }

    // The key's row, made if there is none, and the new blocks of its lists: all memory that the
    // write needs, so that none is left half done.
    template <class Keys>
    RowHeader *make_room(uint32_t s, uint64_t hash, const Keys &keys, uint32_t i,
                         const std::vector<ColumnInput> &inputs, std::vector<uint64_t> &lists) {
        std::fill(lists.begin(), lists.end(), 0);
        try {
            for (size_t c = 0; c < columns_.size(); ++c) lists[c] = copy_list(s, columns_[c], inputs[c], i);
            uint32_t number = store_.find(s, hash, keys, i);
            if (number != RowStore::kNone) return store_.row(s, number);
            number = store_.insert(s, hash, keys, i);
            RowHeader *row = store_.row(s, number);
            for (const Column &column : columns_) std::memset(field(row, column), 0, column.bytes_in_row());
            return row;
        } catch (const std::bad_alloc &) {
            for (const uint64_t offset : lists) release(s, offset);
            throw;
        }
    }

    // A new block with row i's list; 0 for an empty one and for Fixed. Throws std::bad_alloc.
    uint64_t copy_list(uint32_t s, const Column &column, const ColumnInput &input, uint32_t i) {
        if (column.kind == Column::Kind::Fixed) return 0;
        const size_t first = static_cast<size_t>(input.offsets[i]), last = static_cast<size_t>(input.offsets[i + 1]);
        const size_t count = last - first;
        if (count == 0) return 0;
        const bool strings = column.kind == Column::Kind::Strings;
        const size_t begin = strings ? static_cast<size_t>(input.ends[first]) : first * column.width;
        const size_t end = strings ? static_cast<size_t>(input.ends[last]) : last * column.width;
        const size_t bytes = end - begin + (strings ? 4 * count : 0);
        const uint64_t offset = store_.heap(s).allocate(sizeof(BlockHeader) + bytes);
        // A block is no larger than a segment, so its size fits.
        *store_.arena().at<BlockHeader>(offset) = {static_cast<uint32_t>(bytes), static_cast<uint32_t>(count)};
        uint8_t *to = store_.arena().at(offset) + sizeof(BlockHeader);
        for (size_t j = 0; strings && j < count; ++j, to += 4) {
            const uint32_t stop = static_cast<uint32_t>(static_cast<size_t>(input.ends[first + j + 1]) - begin);
            std::memcpy(to, &stop, 4);
        }
        if (end != begin) std::memcpy(to, input.values + begin, end - begin);
        return offset;
    }

    void set(uint32_t s, RowHeader *row, const Column &column, const ColumnInput &input, uint32_t i, uint64_t list) {
        if (column.kind == Column::Kind::Fixed) {
            std::memcpy(field(row, column), input.values + size_t{i} * column.width, column.width);
            return;
        }
        drop_block(s, row, column);
        std::memcpy(field(row, column), &list, 8);
    }

    Block get(RowHeader *row, const Column &column, std::vector<uint8_t> &pool, ReplySize &size) {
        Block block;
        block.begin = pool.size();
        const uint8_t *from = field(row, column);
        block.bytes = column.width;
        block.count = 1;
        if (column.kind != Column::Kind::Fixed) {
            uint64_t offset;
            std::memcpy(&offset, from, 8);
            if (offset == 0) return Block{};
            const BlockHeader *header = store_.arena().at<BlockHeader>(offset);
            block.bytes = header->bytes;
            block.count = header->count;
            size.add(block.bytes);
            from = reinterpret_cast<const uint8_t *>(header + 1);
        }
        pool.insert(pool.end(), from, from + block.bytes);
        return block;
    }

    static void arrange(const Column &column, const std::vector<uint8_t> &pool, const std::vector<Block> &blocks,
                        ColumnOutput &out) {
        if (column.kind == Column::Kind::Fixed) {
            out.values.assign(blocks.size() * column.width, 0);
            for (size_t i = 0; i < blocks.size(); ++i) {
                if (blocks[i].count == 0) continue;
                std::memcpy(out.values.data() + i * column.width, pool.data() + blocks[i].begin, column.width);
            }
            return;
        }
        const bool strings = column.kind == Column::Kind::Strings;
        out.values.reserve(pool.size());
        out.offsets.reserve(blocks.size() + 1);
        out.offsets.push_back(0);
        if (strings) out.ends.push_back(0);
        for (const Block &block : blocks) {
            const uint8_t *from = pool.data() + block.begin, *to = from + block.bytes;
            const int32_t base = static_cast<int32_t>(out.values.size());
            for (uint32_t j = 0; strings && j < block.count; ++j, from += 4) {
                int32_t end;
                std::memcpy(&end, from, 4);
                out.ends.push_back(base + end);
            }
            out.values.insert(out.values.end(), from, to);
            out.offsets.push_back(out.offsets.back() + static_cast<int32_t>(block.count));
        }
    }

    const std::vector<Column> columns_;
    RowStore store_;
};

}  // namespace carls
