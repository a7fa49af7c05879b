// What the core refuses.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace carls {

// More rows than a table can hold; nothing was changed.
struct TableFull : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The result of one call would be too large; nothing was changed.
struct BatchTooLarge : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// That the keys which one call gives are not too many bytes for a reply. Throws BatchTooLarge.
inline void check_key_bytes(size_t bytes) {
    constexpr size_t kMost = size_t{1} << 30;
    if (bytes <= kMost) return;
    throw BatchTooLarge("the keys of one call take " + std::to_string(bytes) + " bytes: expected at most " +
                        std::to_string(kMost));
}

}  // namespace carls
