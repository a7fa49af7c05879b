// Batches: Arrow record batches out of the arrays that the core works on.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_batches(nanobind::module_ &module);

}  // namespace carls
