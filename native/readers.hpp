// Python's view of what readers read.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_readers(nanobind::module_ &m);

}  // namespace carls
