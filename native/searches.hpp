// Python's view of searches and indexes.
#pragma once

#include <nanobind/nanobind.h>

#include "embeddings.hpp"

namespace carls {

// After the tables that are searched.
void bind_searches(nanobind::module_ &m, nanobind::class_<Embeddings> &embeddings);

}  // namespace carls
