// Python's view of embedding tables.
#pragma once

#include <nanobind/nanobind.h>

#include "embedding_table.hpp"
#include "keyed.hpp"

namespace carls {

using Embeddings = Keyed<EmbeddingTable>;

nanobind::class_<Embeddings> bind_embeddings(nanobind::module_ &m);

}  // namespace carls
