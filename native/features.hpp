// Python's view of feature tables.
#pragma once

#include <nanobind/nanobind.h>

#include "feature_table.hpp"
#include "keyed.hpp"

namespace carls {

using Features = Keyed<FeatureTable>;

void bind_features(nanobind::module_ &m);

}  // namespace carls
