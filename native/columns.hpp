// Columns: the arrays that the core works on, out of Arrow record batches.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_columns(nanobind::module_ &module);

}  // namespace carls
