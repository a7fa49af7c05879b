// What the core refuses, beside TableFull.
#pragma once

#include <stdexcept>

namespace carls {

// The result of one call would be too large; nothing was changed.
struct BatchTooLarge : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace carls
