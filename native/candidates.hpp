// Python's view of populations and of what is drawn from them.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_candidates(nanobind::module_ &module);

}  // namespace carls
