// Python's view of conversions to and from float16.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_halves(nanobind::module_ &m);

}  // namespace carls
