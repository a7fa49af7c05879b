// Columns: Arrow record batches to and from the arrays that the core works on.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_columns(nanobind::module_ &module);

}  // namespace carls
