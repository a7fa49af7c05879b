// Nearest: the best rows for each query, kept while rows are looked at; ties go to the lesser key.
#pragma once

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

#include "distance.hpp"
#include "keys.hpp"

namespace carls {

// How a key that outlives its row is held.
template <class Keys>
struct HeldKey;
template <>
struct HeldKey<IntegerKeys> {
    using Type = int64_t;
    static Type of(uint64_t stored, const Arena &) { return static_cast<int64_t>(stored); }
    static Type at(const IntegerKeys &keys, size_t i) { return keys.keys[i]; }
};
template <>
struct HeldKey<ByteKeys> {
    using Type = std::string;
    static Type of(uint64_t stored, const Arena &arena) {
        return Type(reinterpret_cast<const char *>(ByteKeys::bytes(stored, arena)), ByteKeys::length(stored));
    }
    static Type at(const ByteKeys &keys, size_t i) {
        return Type(reinterpret_cast<const char *>(keys.begin(i)), keys.size(i));
    }
};

// A held key as a batch of one.
template <class Keys>
struct KeyView;
template <>
struct KeyView<IntegerKeys> {
    const IntegerKeys keys;
    explicit KeyView(const int64_t &key) : keys{&key} {}
};
template <>
struct KeyView<ByteKeys> {
    const int32_t offsets[2];
    const ByteKeys keys;
    explicit KeyView(const std::string &key)
        : offsets{0, static_cast<int32_t>(key.size())}, keys{offsets, reinterpret_cast<const uint8_t *>(key.data())} {}
    KeyView(const KeyView &) = delete;
};

template <class Key>
struct Neighbour {
    float rank;
    Key key;

    bool operator<(const Neighbour &other) const {  // the better one is less
        return rank > other.rank || (rank == other.rank && key < other.key);
    }
};

// The best k for one query.
template <class Key>
class Best {
public:
    std::vector<Neighbour<Key>> found;

    // The rank that one more has to reach.
    float threshold(size_t k) const {
        return found.size() < k ? -std::numeric_limits<float>::infinity() : found.front().rank;
    }
    void offer(size_t k, Neighbour<Key> &&one) {
        if (found.size() == k) {
            if (!(one < found.front())) return;
            std::pop_heap(found.begin(), found.end());
            found.pop_back();
        }
        found.push_back(std::move(one));
        std::push_heap(found.begin(), found.end());
    }
    // The best k of both, in order, each key once: rows may be met twice, when they are written meanwhile.
    void join(size_t k, Best &&other) {
        found.insert(found.end(), std::make_move_iterator(other.found.begin()), std::make_move_iterator(other.found.end()));
        std::sort(found.begin(), found.end());
        std::unordered_set<Key> known;
        found.erase(std::remove_if(found.begin(), found.end(), [&](const auto &one) { return !known.insert(one.key).second; }),
                    found.end());
        if (found.size() > k) found.resize(k);
    }
};

}  // namespace carls
