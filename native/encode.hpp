// Keys between Python and the core: encoding lists, finding duplicates.
#pragma once

#include <nanobind/nanobind.h>

namespace carls {

void bind_keys(nanobind::module_ &module);

}  // namespace carls
