// Python's view of memories.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_memories(nanobind::module_ &m);

}  // namespace carls
